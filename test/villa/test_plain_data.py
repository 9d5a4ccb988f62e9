"""Text that anybody may have written: values, dataclasses, or an error that names the place."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from villa.files.plain_data import PlainDataError, from_json, from_yaml, is_there, read_json, read_yaml, shaped, shown


@dataclass(frozen=True)
class Inner:
    name: str
    size: int = 1


@dataclass(frozen=True)
class Outer:
    inner: Inner
    rows: tuple[Inner, ...] = ()
    more: dict[str, int] = field(default_factory=dict)


def test_values_become_dataclasses_by_their_annotations() -> None:
    made = shaped({"inner": {"name": "a"}, "rows": [{"name": "b", "size": 2}], "more": {"x": 1}}, Outer, exact=True)
    assert made == Outer(Inner("a"), (Inner("b", 2),), {"x": 1})


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, "missing required field `inner`"),
        ({"inner": {"name": 3}}, r"Expected `str`, got `int` - at `\$\.inner\.name`"),
        ({"inner": {"name": "a"}, "rows": [{"name": "b", "size": None}]}, r"at `\$\.rows\[0\]\.size`"),
        ({"inner": {"name": "a", "color": 1}}, r"unknown field `\$\.inner\.color`"),
        ({"inner": {"name": "a"}, "rows": [{"name": "b"}, {"name": "c", "z": 1}]}, r"unknown field `\$\.rows\[1\]\.z`"),
        ({"inner": {"name": "a", "\ud800": 1}}, "half a character"),
        ([], "Expected `object`, got `array`"),
    ],
)
def test_what_does_not_fit_is_named_by_its_place(values: object, told: str) -> None:
    with pytest.raises(PlainDataError, match=told):
        shaped(values, Outer, exact=True)


@pytest.mark.parametrize("text", ["", "{", "[" * 50_000, b"\xff\xfe{", '{"a": 1e5, }'])
def test_what_is_no_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(PlainDataError):
        from_json(text)


def test_aliases_stand_for_what_they_repeat() -> None:
    assert from_yaml("a: &x [1, 2]\nb: *x\n") == {"a": [1, 2], "b": [1, 2]}
    assert from_yaml("") is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "\n".join(
            f"a{row}: &a{row} [{', '.join([f'*a{row - 1}' if row else '*a'] * 10)}]" for row in range(8)
        ), "its aliases stand for"),
        ("a: &a [*a]", "what it is part of"),
        ("a: " + "[" * 5_000, "nested too deeply"),
        ("a: [", "no YAML"),
        ("a: 2026-13-45", "no YAML"),
        ("a: *nothing", "no YAML"),
    ],
    ids=["a thousand million values", "itself", "deep", "cut off", "no date", "no anchor"],
)  # fmt: skip
def test_yaml_that_is_none_or_too_costly_is_refused(text: str, told: str) -> None:
    with pytest.raises(PlainDataError, match=told):
        from_yaml(text)


def test_files_that_are_not_there_are_told_of(tmp_path: Path) -> None:
    for read in (read_json, read_yaml):
        with pytest.raises(PlainDataError, match="No such file"):
            read(tmp_path / "none")
    assert not is_there(tmp_path / ("x" * 5_000))
    assert not is_there(tmp_path / "a\0b")


def test_a_foreign_text_is_shown_in_short() -> None:
    assert len(shown("x" * 10_000)) < 400
    assert shown("half \ud800") == "half \\ud800"
