"""What happens on a composite: things slide, are carried, fall, arrive and leave; hands and panels pass in front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from villa.data.composites.props import Prop

F64 = NDArray[np.float64]
TABLE_M = (0.5, 0.36)  # half the width and depth of where things are at most
_AWAY_M = np.array([0.0, -3.0, 0.0])  # behind the camera
_LIFTED_M = (0.07, 0.2)
_KINDS = ("slid", "carried", "dropped", "arrived", "left", "passed", "panel", "touched")
_ODDS = np.array([0.16, 0.22, 0.1, 0.12, 0.1, 0.1, 0.1, 0.1])


@dataclass
class Reach:
    """A hand on its way: where its palm is on each frame [N, 3] m, NaN while it is not seen."""

    palm: F64
    subject: int | None  # the thing that it holds; None: none
    entry: float  # radians in the image: the direction in which it points
    hand: int  # index of its picture
    size_m: float
    sleeve: tuple[float, float, float]
    flipped: bool


@dataclass
class Panel:
    """Something large that passes in front: its middle in shares of the picture on each frame [N, 2]."""

    middle: F64
    size: tuple[float, float]
    turn: float


@dataclass
class Story:
    """Everything that moves."""

    reaches: list[Reach] = field(default_factory=list)
    panels: list[Panel] = field(default_factory=list)
    events: list[tuple[str, int, int, int]] = field(default_factory=list)  # kind, thing, first, last


def place(props: Sequence[Prop], rng: np.random.Generator) -> list[Prop]:
    """Put things on the table, where they overlap little; what finds no place is left out."""
    crowded = float(rng.uniform(0.45, 1.0))  # share of their radii that must stay free
    spread = float(rng.uniform(0.45, 1.0))
    kept: list[Prop] = []
    for prop in props:
        for _ in range(30):
            spot = spread * rng.uniform(-1, 1, 2) * TABLE_M
            free = all(
                np.linalg.norm(spot - other.path[0, :2]) > crowded * (prop.radius + other.radius) for other in kept
            )
            if free:
                prop.path[:] = (spot[0], spot[1], 0.0)
                kept.append(prop)
                break
    return kept


def plan(props: Sequence[Prop], frames: int, hands: int, rng: np.random.Generator) -> Story:
    """Let something happen to at most three of the things; `hands`: how many pictures of hands there are.

    The camera is taken to stand at the table's near side: right in the picture is x, away from it is y.
    """
    story = Story()
    count = int(rng.choice([0, 1, 2, 3], p=[0.2, 0.35, 0.3, 0.15]))
    odds = _ODDS.copy()
    if not hands:
        odds[[_KINDS.index(name) for name in ("passed", "touched")]] = 0
    kinds = [str(kind) for kind in rng.choice(_KINDS, count, p=odds / odds.sum())]
    free = list(rng.permutation(len(props)))
    for kind in kinds:
        first = int(rng.integers(0, max(1, frames // 2)))
        last = min(frames - 1, first + int(rng.integers(max(3, frames // 4), max(4, frames))))
        if kind == "panel":
            story.panels.append(_panel(frames, first, last, rng))
        elif kind == "passed":
            story.reaches.append(_passing(frames, first, last, hands, rng))
        elif free:
            _move(kind, int(free.pop()), props, (first, last), hands, story, rng)
    return story


def _move(
    kind: str,
    index: int,
    props: Sequence[Prop],
    span: tuple[int, int],
    hands: int,
    story: Story,
    rng: np.random.Generator,
) -> None:
    prop, (first, last) = props[index], span
    frames = len(prop.path)
    start = prop.path[0].copy()
    share = _ease(frames, first, last)
    held, event = False, None
    if kind == "touched":
        held = True
    elif kind in ("slid", "carried"):
        goal = np.append(np.clip(start[:2] + _step(rng), -np.array(TABLE_M), TABLE_M), 0.0)
        prop.path[:] = start + (goal - start) * share[:, None]
        if kind == "carried":
            prop.path[:, 2] += float(rng.uniform(*_LIFTED_M)) * np.sin(np.pi * share)
        held = kind == "carried" or rng.random() < 0.5
    elif kind == "dropped":
        fall = int(rng.integers(1, 4))
        last = min(frames - 1, first + fall)
        height = float(rng.uniform(0.15, 0.45))
        down = np.clip((np.arange(frames) - first) / max(1, last - first), 0, 1)
        prop.path[:, 2] = height * (1 - down**2)
        event = first, last
        if rng.random() < 0.5:  # it comes from above the picture
            prop.path[:first] = start + _AWAY_M
        else:
            held = True
            last = first  # the hand lets go as the fall begins
            first = max(0, first - 2)
    else:  # arrived, left
        side = np.array([float(rng.choice([-1, 1])) * rng.uniform(0.9, 1.3), rng.uniform(-0.6, 0.2), 0.0])
        outside = start + side
        way = share if kind == "left" else 1 - share
        prop.path[:] = start + (outside - start) * way[:, None]
        prop.path[:, 2] += float(rng.uniform(*_LIFTED_M)) * np.sin(np.pi * np.clip(way, 0, 1)) * (rng.random() < 0.7)
        held = rng.random() < 0.75
    story.events.append((kind, index, *(event or (first, last))))
    if held and hands:
        story.reaches.append(_holding(prop, index, first, last, hands, rng))


def _holding(prop: Prop, index: int, first: int, last: int, hands: int, rng: np.random.Generator) -> Reach:
    """A hand that comes, holds on from `first` to `last`, and draws back."""
    frames = len(prop.path)
    entry = _entry(rng)
    grip = prop.middle.copy()
    grip[:, 2] += 0.0 if prop.lies else prop.height_m * float(rng.uniform(-0.1, 0.35))
    before, after = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    palm = np.full((frames, 3), np.nan)
    back = np.array([-0.5 * np.cos(entry), -0.4 * np.sin(entry), 0.1])  # the way that it came
    for t in range(max(0, first - before), min(frames, last + after + 1)):
        away = max(0.0, (first - t) / (before + 1), (t - last) / (after + 1))
        palm[t] = grip[t] + back * away
    return _reach(palm, index, entry, hands, rng)


def _passing(frames: int, first: int, last: int, hands: int, rng: np.random.Generator) -> Reach:
    """A hand that goes over the table and takes nothing."""
    entry = _entry(rng)
    goal = np.append(rng.uniform(-1, 1, 2) * TABLE_M, rng.uniform(0.05, 0.2))
    over = rng.uniform(-0.25, 0.25, 2)
    palm = np.full((frames, 3), np.nan)
    for t in range(first, last + 1):
        share = (t - first) / max(1, last - first)
        away = abs(2 * share - 1) ** 2
        palm[t] = goal + np.array([-np.cos(entry) * away * 0.7, -np.sin(entry) * away * 0.5, 0.0])
        palm[t, :2] += over * (share - 0.5)
    return _reach(palm, None, entry, hands, rng)


def _reach(palm: F64, subject: int | None, entry: float, hands: int, rng: np.random.Generator) -> Reach:
    colour = rng.uniform(25, 225, 3)
    return Reach(
        palm,
        subject,
        entry,
        int(rng.integers(hands)),
        float(rng.uniform(0.15, 0.2)),
        (float(colour[0]), float(colour[1]), float(colour[2])),
        bool(rng.random() < 0.5),
    )


def _entry(rng: np.random.Generator) -> float:
    """Direction in the image, y up: most often away from the camera, from the sides, seldom towards it."""
    return float(np.clip(rng.normal(np.pi / 2, 0.9), -0.6, np.pi + 0.6))


def _panel(frames: int, first: int, last: int, rng: np.random.Generator) -> Panel:
    size = (float(rng.uniform(0.15, 0.45)), float(rng.uniform(0.4, 1.1)))
    side = float(rng.choice([-1, 1]))
    share = np.clip((np.arange(frames) - first) / max(1, last - first), 0, 1)
    if rng.random() < 0.4:
        share = 1 - np.abs(2 * share - 1)
    across = 0.5 + side * (0.5 + size[0]) * (2 * share - 1)
    return Panel(np.stack([across, np.full(frames, rng.uniform(0.3, 0.7))], axis=1), size, float(rng.normal(0, 0.15)))


def _step(rng: np.random.Generator) -> F64:
    angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.45)
    return np.array([np.cos(angle), np.sin(angle)]) * length


def _ease(frames: int, first: int, last: int) -> F64:
    share = np.clip((np.arange(frames) - first) / max(last - first, 1), 0.0, 1.0)
    return share * share * (3 - 2 * share)
