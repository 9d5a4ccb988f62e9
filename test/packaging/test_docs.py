"""The documents name what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from installing import ROOT

DOCS = sorted([*ROOT.glob("docs/*.md"), *ROOT.glob("*.md")])


def code_spans(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def makefile_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_files_and_make_targets_that_a_document_names_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for span in code_spans(text):
        if re.fullmatch(r"(requirements|msg|config|docs|sample|test|launch)/[\w./-]+\.\w+", span):
            assert (ROOT / span).exists(), f"{path.name} names {span}"
    named = re.findall(r"(?:^|`)(?:\$ )?make ([a-z][a-z-]*)\b", text, re.MULTILINE)
    assert set(named) <= makefile_targets(), f"{path.name} names a target that is not there"


def test_every_interface_is_described() -> None:
    text = (ROOT / "docs" / "messages.md").read_text(encoding="utf-8")
    for path in [*(ROOT / "msg" / "msg").glob("*.msg"), *(ROOT / "msg" / "action").glob("*.action")]:
        assert re.search(rf"\b{path.stem}\b", text), path.stem


def test_every_topic_service_and_action_of_the_node_is_described() -> None:
    pytest.importorskip("rclpy", reason="needs ROS 2 (pip: ros-rclpy)")
    from villa_ros.node.depth_topics import DEPTH_TOPICS
    from villa_ros.node.image_topics import IMAGE_TOPICS

    text = (ROOT / "docs" / "messages.md").read_text(encoding="utf-8")
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "villa_ros" / "node").glob("*.py"))
    topics = {re.sub(r"\{\w+\}", "<camera>", name) for name in re.findall(r'f?"(~/[\w{}/]+)"', sources)}
    topics.remove("~/<camera>/<camera>")  # the derived topics, whose names are in tables
    derived = {f"~/<camera>/{topic.name}" for topic in (*IMAGE_TOPICS, *DEPTH_TOPICS)}
    assert {"~/<camera>/overlay", "~/<camera>/objects_3d", "~/<camera>/markers"} <= derived
    assert {"~/<camera>/tracks", "~/command", "~/segment_video"} <= topics
    assert not {name for name in topics | derived if f"`{name}`" not in text}


def test_every_requirements_file_is_described() -> None:
    text = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    for path in (ROOT / "requirements").glob("*.txt"):
        assert f"requirements/{path.name}" in text


def test_the_reader_of_masks_in_the_documentation_reads_masks() -> None:
    """The example is code that users copy, so it runs here against the encoder."""
    import numpy as np

    masks = pytest.importorskip("villa.masks", reason="needs OpenCV: pip install -r requirements/opencv.txt")
    text = (ROOT / "docs" / "messages.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, object] = {}
    exec(example, names)
    mask = np.zeros((9, 12), bool)
    mask[2:7, 3:9] = True
    mask[4, 5] = False
    coded = masks.encode(mask)

    class Message:
        height, width, area, runs = coded.height, coded.width, coded.area, coded.runs

        class roi:  # noqa: N801
            x_offset, y_offset, width, height = coded.x, coded.y, coded.box_width, coded.box_height

    assert np.array_equal(names["to_array"](Message), mask)  # type: ignore[operator]
