"""What happened is read off where things were, and asked for only where it singles one thing out."""

from __future__ import annotations

import numpy as np
import pytest
from tables import film, thing

from villa.data.clips import EventFacts
from villa.data.language.motion_events import happenings, screen_of
from villa.data.language.requests import RequestSample, sample_requests
from villa.data.language.wordings import HELD_OUT, TRAINED, VALIDATED
from villa.training.auxiliary_heads import LESSONS
from villa.training.batches import lessons

FRAMES = 16
MUG, BOOK, PAN = thing(1, "mug", "red"), thing(2, "book", "blue"), thing(3, "pan", "black")
OTHER = thing(4, "mug", "green")


def rests(x: float, y: float = 0.1):
    return [(x, y, 0.05)] * FRAMES


def slides(first: int, last: int, x0: float = -0.3, x1: float = -0.1):
    share = np.clip((np.arange(FRAMES) - first) / (last - first), 0, 1)
    return [(x0 + float(s) * (x1 - x0), 0.1, 0.05) for s in share]


def falls(at: int, x: float = 0.0):
    return [(x, 0.1, 0.45 if t < at else 0.05) for t in range(FRAMES)]


def lifted(x: float = 0.0):
    return [(x, 0.1, 0.05 + 0.15 * float(np.sin(np.pi * t / (FRAMES - 1)))) for t in range(FRAMES)]


def asked(facts, word: str, kind: str = "time", count: int = 120, **more) -> list[RequestSample]:
    samples = sample_requests(facts, FRAMES - 1, np.random.default_rng(0), count, (kind,), **more)
    return [sample for sample in samples if word in sample.plain]


def test_moves_falls_and_lifts_are_told_apart() -> None:
    facts = film((MUG, BOOK, PAN, OTHER), (slides(2, 8), falls(5), lifted(0.2), rests(0.4)))
    seen = happenings(facts, 0, FRAMES - 1)
    assert seen.moved == {1, 2, 3}
    assert (seen.fell, seen.lifted, seen.still) == ({2}, {3}, {4})
    assert seen.moves[0].object_id == 3


def test_what_waits_out_of_sight_is_seen_to_move_when_it_comes_into_view() -> None:
    waits = [(0.0, 0.1, 3.5)] * 8 + [(0.0, 0.1, 0.4)] + [(0.0, 0.1, 0.05)] * 7
    facts = film((MUG, BOOK), (waits, slides(2, 4)), hidden=[(1, t) for t in range(8)])
    seen = happenings(facts, 0, FRAMES - 1)
    assert seen.fell == {1}
    assert [(move.object_id, move.first) for move in seen.moves] == [(2, 2), (1, 8)]


def test_of_a_fall_into_the_picture_a_part_is_enough() -> None:
    way = [(0.0, 0.1, 0.5)] * 5 + [(0.0, 0.1, 0.11)] + [(0.0, 0.1, 0.05)] * 10
    assert happenings(film((MUG,), (way,), hidden=[(1, t) for t in range(5)]), 0, FRAMES - 1).fell == {1}
    assert happenings(film((MUG,), ([(0.0, 0.1, 0.11)] * 5 + way[5:],)), 0, FRAMES - 1).fell == frozenset()


def test_a_fall_of_which_only_the_end_is_seen_leaves_open_what_fell() -> None:
    facts = film((MUG, BOOK), (falls(5), rests(0.3)), hidden=[(1, t) for t in range(5)])
    seen = happenings(facts, 0, FRAMES - 1)
    assert seen.fell == seen.moved == frozenset()
    assert seen.unsure == {1}
    assert not asked(facts, "fell", "absent", 400)


def test_what_goes_over_the_edge_and_out_of_sight_leaves_open_whether_it_fell() -> None:
    way = [(0.0 + 0.02 * t, 0.1, 0.05) for t in range(6)] + [(0.12, 0.1, -0.7)] * 10
    facts = film((MUG, BOOK), (way, rests(0.3)), hidden=[(1, t) for t in range(6, FRAMES)])
    seen = happenings(facts, 0, FRAMES - 1)
    assert (seen.moved, seen.fell, seen.unsure) == ({1}, frozenset(), {1})


def test_who_is_never_seen_leaves_nothing_open() -> None:
    """Such a thing is in the facts of older clips, and of a stretch of a clip that does not show it."""
    unseen = [(1, t) for t in range(FRAMES)]
    slow = [(0.3 + 0.002 * t, 0.1, 0.05) for t in range(FRAMES)]  # which would leave open who moved
    facts = film((PAN, BOOK, OTHER), (slow, slides(2, 8), rests(0.4)), hidden=[(3, t) for _, t in unseen])
    seen = happenings(facts, 0, FRAMES - 1)
    assert (seen.unsure, seen.moved, seen.still) == (frozenset(), {2}, {4})
    assert {s.targets for s in asked(facts, "moved")} == {(2,)}


def test_what_falls_over_has_moved_and_did_not_fall() -> None:
    over = [(0.0, 0.1, 0.13 if t < 5 else 0.03) for t in range(FRAMES)]
    facts = film((MUG, BOOK), (over, rests(0.3)), (EventFacts("toppled", 1, 4, 6, 2),))
    seen = happenings(facts, 0, FRAMES - 1)
    assert (seen.moved, seen.fell, seen.unsure) == ({1}, frozenset(), frozenset())
    assert happenings(facts, 5, FRAMES - 1).unsure == {1}  # begins before
    assert happenings(facts, 8, FRAMES - 1).still == {1, 2}


def test_what_falls_over_an_edge_falls() -> None:
    over = [(0.0, 0.1, 0.13 if t < 5 else -0.7) for t in range(FRAMES)]
    facts = film((MUG, BOOK), (over, rests(0.3)), (EventFacts("toppled", 1, 4, 6),))
    assert happenings(facts, 0, FRAMES - 1).fell == {1}


def test_a_short_thing_that_falls_over_has_moved_though_its_middle_hardly_has() -> None:
    over = [(0.0 if t < 5 else 0.03, 0.1, 0.05 if t < 5 else 0.04) for t in range(FRAMES)]
    assert happenings(film((MUG,), (over,), (EventFacts("toppled", 1, 4, 6),)), 0, FRAMES - 1).moved == {1}
    assert happenings(film((MUG,), (over,)), 0, FRAMES - 1).unsure == {1}


def test_where_the_arm_pushed_one_thing_into_another_some_would_name_either() -> None:
    ways = (slides(2, 8), slides(5, 8, -0.1, 0.0), slides(6, 8, 0.0, 0.1), rests(0.4))
    events = (EventFacts("arm", 1, 2, 8), EventFacts("moved", 2, 5, 8, 1), EventFacts("moved", 3, 6, 8, 2))
    facts = film((MUG, BOOK, PAN, OTHER), ways, events)
    seen = happenings(facts, 0, FRAMES - 1)
    assert (seen.by_arm, seen.passed_on) == ({1}, {2, 3})
    assert not asked(facts, "arm")
    pushed = LESSONS.index("pushed")
    assert [row[pushed] for row in lessons(facts, [0, 15])] == [1, -1, -1, 0]
    alone = film((MUG, BOOK, PAN, OTHER), ways, (events[0], EventFacts("moved", 2, 5, 8, 4)))
    assert {s.targets for s in asked(alone, "arm")} == {(1,)}


def test_what_happened_before_the_first_seen_frame_did_not_happen() -> None:
    facts = film((MUG, BOOK), (falls(3), rests(0.3)))
    assert happenings(facts, 0, FRAMES - 1).fell == {1}
    assert happenings(facts, 8, FRAMES - 1).still == {1, 2}


@pytest.mark.parametrize("wording", [TRAINED, VALIDATED, HELD_OUT])
def test_the_one_that_fell_is_meant(wording) -> None:
    facts = film((MUG, BOOK, PAN), (slides(2, 8), falls(5), rests(0.3)))
    samples = [s for w in wording.happened["fell"] for s in asked(facts, w.format(n="").strip(), wording=wording)]
    assert samples
    assert {s.targets for s in samples} == {(2,)}
    assert {s.answer for s in samples} == {"The blue book [SEG]."}


def test_two_that_fell_single_nothing_out() -> None:
    facts = film((MUG, BOOK, PAN), (falls(3, -0.3), falls(9), rests(0.3)))
    assert not asked(facts, "fell")
    assert {s.targets for s in asked(facts, "moved first")} == {(1,)}
    assert {s.targets for s in asked(facts, "moved last")} == {(2,)}


def test_moves_that_begin_together_have_no_order() -> None:
    facts = film((MUG, BOOK, PAN), (slides(3, 8), slides(4, 9, 0.0, 0.2), rests(0.4)))
    assert not asked(facts, "first")


def test_who_began_last_is_not_asked_for_as_the_last_where_another_one_moves_on() -> None:
    facts = film((MUG, BOOK, PAN), (slides(1, 13), slides(5, 9, 0.0, 0.2), rests(0.4)))
    assert {s.targets for s in asked(facts, "first")} == {(1,)}
    assert not asked(facts, "last")
    mug, book, pan = (dict(zip(LESSONS, row, strict=True)) for row in lessons(facts, [0, 15]))
    assert [(thing["first"], thing["last"]) for thing in (mug, book, pan)] == [(1, -1), (0, -1), (0, -1)]


def test_a_slight_move_leaves_open_who_moved() -> None:
    facts = film((MUG, BOOK), (slides(3, 8), [(0.3 + 0.002 * t, 0.1, 0.05) for t in range(FRAMES)]))
    assert not asked(facts, "moved")


def test_a_drift_that_nobody_sees_is_rest() -> None:
    facts = film((MUG, BOOK), (slides(3, 8), [(0.3 + 0.0009 * t, 0.1, 0.05) for t in range(FRAMES)]))
    assert happenings(facts, 0, FRAMES - 1).still == {2}
    assert {s.targets for s in asked(facts, "moved")} == {(1,)}


def test_the_arm_pushed_what_moved_by_it_and_not_what_it_missed() -> None:
    pushed = (EventFacts("arm", 1, 2, 8),)
    facts = film((MUG, BOOK), (slides(2, 8), rests(0.3)), pushed)
    assert {s.targets for s in asked(facts, "arm")} == {(1,)}
    missed = film((MUG, BOOK), (rests(-0.3), rests(0.3)), pushed)
    assert not asked(missed, "arm")
    assert {s.answer for s in asked(missed, "arm", "absent", 400)} <= {
        f"There is no {noun} that was pushed by the arm." for noun in ("thing", "object", "item")
    }
    assert asked(missed, "arm", "absent", 400)


def test_of_two_alike_the_one_that_stayed_is_meant() -> None:
    facts = film((MUG, OTHER, BOOK), (slides(2, 8), rests(0.1), rests(0.3)))
    samples = asked(facts, "did not move")
    assert samples
    assert {s.targets for s in samples} == {(OTHER.id,)}


def test_what_was_behind_another_thing_is_found_by_that_thing() -> None:
    behind = [(-0.2 + 0.4 * t / (FRAMES - 1), 0.4, 0.05) for t in range(FRAMES)]
    hidden = [(1, t) for t in (6, 7, 8, 9)]
    facts = film((MUG, BOOK, PAN), (behind, rests(0.0, 0.0), rests(0.4)), (EventFacts("occluded", 1, 6, 9),), hidden)
    assert screen_of(facts, 1, 7) == 2
    samples = asked(facts, "behind the book")
    assert samples
    assert {s.targets for s in samples} == {(1,)}
    assert {s.targets for s in asked(facts, "hidden")} == {(1,)}


def test_who_is_out_of_sight_at_the_end_leaves_open_who_was_hidden() -> None:
    hidden = [(1, t) for t in range(12, FRAMES)] + [(2, t) for t in (4, 5, 6)]
    events = (EventFacts("occluded", 2, 4, 6), EventFacts("occluded", 1, 12, FRAMES - 1))
    facts = film((MUG, BOOK, PAN), (rests(-0.3), rests(0.0), rests(0.4)), events, hidden)
    assert not asked(facts, "hidden")


def test_nothing_fell_is_an_answer() -> None:
    facts = film((MUG, BOOK), (slides(2, 8), rests(0.3)))
    samples = asked(facts, "fell", "absent", 400)
    assert samples
    assert all(not s.targets and s.answer.startswith("There is no") for s in samples)


def test_lessons_tell_what_happened_over_the_frames_that_are_seen() -> None:
    facts = film(
        (MUG, BOOK, PAN, OTHER), (slides(2, 5), falls(9), lifted(0.2), rests(0.4)), (EventFacts("arm", 1, 2, 5),)
    )
    mug, book, pan, other = (dict(zip(LESSONS, row, strict=True)) for row in lessons(facts, [1, 6, 15]))
    assert (mug["moved"], mug["pushed"], mug["fell"]) == (1, 1, 0)
    assert (book["fell"], book["lifted"], pan["lifted"], pan["pushed"]) == (1, 0, 1, 0)
    assert set(other.values()) <= {0, -1}
    assert [thing["first"] for thing in (mug, book, pan)] == [-1, -1, -1]  # mug and pan begin together
    later = lessons(facts, [7, 10, 15])
    assert later[0][LESSONS.index("moved")] == 0


def test_lessons_name_who_moved_first_and_last_where_there_is_an_order() -> None:
    facts = film((MUG, BOOK, PAN), (slides(2, 5), falls(9), rests(0.4)))
    mug, book, pan = (dict(zip(LESSONS, row, strict=True)) for row in lessons(facts, [0, 15]))
    assert [(thing["first"], thing["last"]) for thing in (mug, book, pan)] == [(1, 0), (0, 1), (0, 0)]


def test_who_was_hidden_between_the_frames_that_are_seen_is_not_asked() -> None:
    facts = film(
        (MUG, BOOK), (rests(-0.3), rests(0.3)), (EventFacts("occluded", 1, 6, 8),), [(1, t) for t in (6, 7, 8)]
    )
    hidden = LESSONS.index("hidden")
    assert [row[hidden] for row in lessons(facts, [0, 7, 15])] == [1, 0]
    assert [row[hidden] for row in lessons(facts, [0, 5, 15])] == [-1, 0]
