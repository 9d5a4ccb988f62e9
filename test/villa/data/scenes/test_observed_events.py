"""Events of rendered clips are what was seen: falls, bumps with who bumped, things that fell over; tremble is rest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

pytest.importorskip("villa.data.scenes.physics", exc_type=RuntimeError)  # its RenderError

from villa.data.clips import EventFacts
from villa.data.scenes.motion import Motion
from villa.data.scenes.observed_events import Record, observed

FRAMES = 16
Way = Sequence[tuple[float, float, float]]


def rests(x: float = 0.3) -> Way:
    return [(x, 0.0, 0.05)] * FRAMES


def slides(first: int, last: int, x0: float, x1: float) -> Way:
    return [(float(x), 0.0, 0.05) for x in x0 + (x1 - x0) * np.clip((np.arange(FRAMES) - first) / (last - first), 0, 1)]


def falls(held: int, height: float = 0.5) -> Way:
    """Let go on frame `held`, at 5 Hz."""
    return [(0.0, 0.0, max(0.05, height - 9.81 / 2 * (max(0, t - held) / 5) ** 2)) for t in range(FRAMES)]


def motion(kind: str, subject: int, first: int, last: int) -> Motion:
    return Motion(kind, subject, first, last, np.zeros((FRAMES, 3)))


def record(
    *ways: Way,
    touching: dict[int, set[tuple[int, int]]] | None = None,
    unseen: Sequence[tuple[int, int]] = (),
    upright: dict[int, Sequence[float]] | None = None,
) -> Record:
    """`touching`: interval -> pairs; `unseen`: (object, frame); `upright`: object -> cosine on each frame."""
    seen = np.ones((FRAMES, len(ways)), bool)
    for index, t in unseen:
        seen[t, index] = False
    tilt = np.ones((FRAMES, len(ways)))
    for index, cosine in (upright or {}).items():
        tilt[:, index] = cosine
    pairs = [set(), *((touching or {}).get(t, set()) for t in range(FRAMES - 1))]
    return Record(np.swapaxes(np.array(ways, np.float64), 0, 1), tilt, seen, pairs)


def events(told: Record, *motions: Motion, kinds: Sequence[str] = ()) -> list[EventFacts]:
    return observed(told, motions, kinds or ["mug"] * told.seen.shape[1])


def test_a_drop_is_the_fall_and_not_the_wait_before_it() -> None:
    dropped = motion("dropped", 0, 0, 5)  # held until frame 6
    assert events(record(falls(6)), dropped) == [EventFacts("dropped", 1, 6, 8)]


def test_a_drop_begins_when_it_comes_into_view() -> None:
    above = [(0, t) for t in range(7)]
    assert events(record(falls(6), unseen=above), motion("dropped", 0, 0, 5)) == [EventFacts("dropped", 1, 7, 8)]


@pytest.mark.parametrize("until", [8, FRAMES])  # it lies there from frame 8 on
def test_a_fall_that_nobody_sees_is_no_event(until: int) -> None:
    hidden = [(0, t) for t in range(until)]
    assert events(record(falls(6), unseen=hidden), motion("dropped", 0, 0, 5)) == []


def test_what_hangs_to_the_end_of_the_clip_does_not_fall() -> None:
    assert events(record(falls(40)), motion("dropped", 0, 0, FRAMES - 1)) == []


def test_what_rolls_on_after_a_fall_or_a_push_is_not_moved_by_something_else() -> None:
    falling = [(0.01 * max(0, t - 8), y, z) for t, (_, y, z) in enumerate(falls(6))]
    told = events(record(falling), motion("dropped", 0, 0, 5))
    assert [event.kind for event in told] == ["dropped"]
    assert events(record(slides(2, 12, 0.0, 0.3)), motion("pushed", 0, 2, 8)) == []


def test_what_a_pushed_thing_runs_into_is_moved_by_it_and_so_on() -> None:
    told = record(
        slides(2, 10, 0.0, 0.4),
        slides(5, 9, 0.2, 0.3),
        slides(5, 9, 0.3, 0.4),
        rests(0.9),
        touching={4: {(0, 1)}, 5: {(0, 1), (1, 2)}, 8: {(2, 3)}},
    )
    assert events(told, motion("pushed", 0, 2, 10)) == [
        EventFacts("moved", 2, 5, 9, 1),
        EventFacts("moved", 3, 5, 9, 2),
    ]


def test_of_two_that_touch_the_one_that_moves_by_itself_did_it_and_else_nobody_knows() -> None:
    ways = (slides(2, 10, 0.0, 0.4), slides(3, 10, 0.0, 0.4), slides(5, 9, 0.2, 0.3))
    touching = {5: {(0, 2), (1, 2)}, 3: {(0, 1)}}
    pushed, also = motion("pushed", 0, 2, 10), motion("pushed", 1, 3, 10)
    assert EventFacts("moved", 3, 5, 9, 1) in events(record(*ways, touching=touching), pushed)
    assert events(record(*ways, touching=touching), pushed, also) == [EventFacts("moved", 3, 5, 9, 0)]
    assert events(record(*ways), pushed, also) == [EventFacts("moved", 3, 5, 9, 0)]


def test_tremble_and_creep_are_rest() -> None:
    rng = np.random.default_rng(0)
    trembling = [(0.3 + float(d), 0.0, 0.05) for d in rng.uniform(0, 0.0015, FRAMES)]
    creeping = [(0.001 * t, 0.0, 0.05) for t in range(FRAMES)]
    nudged = slides(4, 6, 0.0, 0.01)
    assert events(record(trembling, creeping, nudged)) == []


def test_what_falls_over_is_toppled_and_a_ball_that_rolls_is_not() -> None:
    tilt = [1.0] * 5 + [0.95, 0.7, 0.2] + [0.0] * 8
    told = record(slides(2, 9, 0.0, 0.2), slides(5, 9, 0.2, 0.26), touching={4: {(0, 1)}}, upright={1: tilt})
    pushed = motion("pushed", 0, 2, 9)
    assert events(told, pushed) == [EventFacts("toppled", 2, 5, 9, 1)]
    assert events(told, pushed, kinds=("mug", "ball")) == [EventFacts("moved", 2, 5, 9, 1)]


def test_what_falls_over_while_it_is_pushed_is_toppled_too() -> None:
    tilt = [1.0] * 5 + [0.95, 0.7, 0.2] + [0.0] * 8
    told = record(slides(2, 12, 0.0, 0.2), upright={0: tilt})
    assert events(told, motion("pushed", 0, 2, 12)) == [EventFacts("toppled", 1, 5, 8)]


def test_what_lands_on_its_side_has_not_fallen_over() -> None:
    tilt = [1.0] * 7 + [0.5, 0.1] + [0.0] * 7
    told = events(record(falls(6), upright={0: tilt}), motion("dropped", 0, 0, 5))
    assert [event.kind for event in told] == ["dropped"]
