"""Each attacker for a moment, with the same inputs each time, and every input that was a finding once."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from attackers import ATTACKERS, REFUSED, TAKEN, made
from fuzz import MOST_MB, Arena, Meter, main, outcome_of, table
from mutation import damaged, garbled, generator, twisted

CORPUS = Path(__file__).with_name("corpus")
FOUND = sorted(path for path in CORPUS.glob("*/*") if path.is_file())
INPUTS = 25


@pytest.mark.parametrize("name", ATTACKERS)
def test_what_is_damaged_is_refused_in_words_or_taken(name: str, tmp_path: Path) -> None:
    attacker = made(name, tmp_path / name)
    assert attacker.attack(attacker.undamaged()) == TAKEN
    told = set()
    for number in range(INPUTS):
        data = attacker.make(generator(name, 1, number))
        outcome = outcome_of(attacker, data)
        assert not outcome.words or outcome.told == "time", f"input {number}: {outcome.words}"
        told.add(outcome.told)
    assert REFUSED in told


@pytest.mark.parametrize("path", FOUND, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_was_found_once_stays_mended(path: Path, tmp_path: Path) -> None:
    attacker = made(path.parent.name, tmp_path / "attacker")
    outcome = outcome_of(attacker, path.read_bytes())
    assert not outcome.words or outcome.told == "time", outcome.words


def test_the_same_seed_and_number_make_the_same_input(tmp_path: Path) -> None:
    attacker = made("results", tmp_path / "results")
    one, again, other = (attacker.make(generator("results", seed, 7)) for seed in (3, 3, 4))
    assert one == again != other


def test_inputs_are_damaged() -> None:
    rng = random.Random(0)
    assert sum(damaged(b"a" * 300, rng) != b"a" * 300 for _ in range(100)) > 90
    assert sum(garbled("the red mug", rng) != "the red mug" for _ in range(100)) > 80
    seed = {"a": [1, {"b": "x"}], "c": None}
    assert sum(twisted(seed, rng) != seed for _ in range(100)) > 60
    assert seed == {"a": [1, {"b": "x"}], "c": None}


def test_memory_is_measured_for_each_input() -> None:
    with Meter() as meter:
        held = bytearray(int(2 * MOST_MB) * 2**20)
        del held
    assert meter.grown_mb > MOST_MB
    with Meter() as meter:
        pass
    assert meter.grown_mb < MOST_MB / 4


def test_the_arena_counts_what_it_finds(tmp_path: Path) -> None:
    arena = Arena(tmp_path, seed=1)
    arena.batch("masks", 30)
    tally = arena.tallies["masks"]
    assert (tally.inputs, tally.told["taken"] + tally.told["refused"], tally.findings) == (30, 30, {})
    arena._hear("masks", ("finding", 3, "raised", 'File "x/villa_ros/a.py", line 3\nKeyError: 1', b"bytes"))
    assert tally.findings == {"raised: KeyError in villa_ros/a.py:3": 1}
    assert (tmp_path / "findings" / "masks" / "1-3").read_bytes() == b"bytes"
    assert "| masks | 30 |" in table(arena.tallies)


def test_the_command_ends_well_where_nothing_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--inputs", "5", "--seed", "1", "--only", "masks", "--out", str(tmp_path)]) == 0
    assert "| masks | 5 |" in capsys.readouterr().out
    assert "masks" in (tmp_path / "table.md").read_text()
