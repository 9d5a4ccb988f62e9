"""Write composites as clips: pictures of real things on real surfaces, with all that is known of them.

The same seeds and the same pictures give the same clips, and an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from villa.data.clip_making import SMALLEST_SEEN_PX, covered, each, view_of, write_whole
from villa.data.clips import SCHEMA, ClipFacts, EventFacts, ObjectFacts, View
from villa.data.coco_folder import CocoFolder
from villa.data.composites import stage as drawing
from villa.data.composites.cutouts import LARGEST_M, Cutout, Rgba, of_files, of_photos
from villa.data.composites.hands import hand_facts, read_hands
from villa.data.composites.props import Prop, make
from villa.data.composites.stage import Drawn, Set
from villa.data.composites.story import Story, place, plan
from villa.data.composites.surfaces import Surfaces, room
from villa.data.language.vocabulary import KIND
from villa.data.scenes.camera_effects import CameraEffects
from villa.data.scenes.view import CameraPath, plan_camera

GENERATOR = 1_001  # apart from the rendered scenes' numbers; raise it when the same seed would give another picture
SPLIT = "train"
_WIDTH, _HEIGHT, _FRAMES, _FPS = 416, 320, 16, 5.0
_THINGS = (4, 14)
_TWINS = 0.5  # of the clips hold several things of one kind, or near to each other
_EVENTS = {"slid": "pushed"}  # as rendered clips call it; the others have one name


class CompositeError(ValueError):
    """The pictures that composites are made of are not there."""


@dataclass(frozen=True)
class Sources:
    """Where the pictures are from."""

    photos: Path | None = None  # a folder in the format of COCO; what stands whole on its photos is cut out
    cutouts: tuple[Path, ...] = ()  # folders of pictures with alpha, whose file names tell the kind
    hands: Path | None = None  # pictures of hands with alpha, fingers up
    surfaces: Path | None = None
    split: str = "train"  # of the photos
    partly: tuple[str, ...] = ()  # sources of the photos of which nothing is cut out


@dataclass(frozen=True)
class CompositeReport:
    """What a call of `build` did."""

    folder: Path
    made: int
    kept: int  # clips that were there before
    cutouts: int
    seconds: float


@dataclass(frozen=True)
class _Job:
    folder: str
    seed: int
    sources: Sources
    cut: str  # where the cut-outs of the photos are


class Pictures:
    """Everything that composites are made of, loaded."""

    def __init__(self, sources: Sources, cut: Path | None = None) -> None:
        found: list[Cutout] = []
        for folder in (*((cut,) if cut is not None else ()), *sources.cutouts):
            found += of_files(folder)
        self.by_kind: dict[str, list[Cutout]] = {}
        for cutout in found:
            size = KIND[cutout.kind].size_m
            if size is not None and size[1] <= LARGEST_M:
                self.by_kind.setdefault(cutout.kind, []).append(cutout)
        if not self.by_kind:
            raise CompositeError("no cut-outs of a known kind: give photos with outlines, or pictures with alpha")
        self.hands: list[Rgba] = [] if sources.hands is None else read_hands(sources.hands)
        self.surfaces = Surfaces(sources.surfaces)
        self.photos = None if sources.photos is None else CocoFolder(sources.photos, sources.split)

    def choose(self, count: int, rng: np.random.Generator) -> list[Cutout]:
        """Things of many kinds; often some of one kind, or of kinds that look alike."""
        kinds = sorted(self.by_kind)
        picked = [str(kind) for kind in rng.choice(kinds, count)]
        if rng.random() < _TWINS:
            like = [kind for kind in (picked[0], *KIND[picked[0]].near) if kind in self.by_kind]
            for at in range(1, min(count, 2 + int(rng.integers(3)))):
                picked[at] = str(rng.choice(like))
        return [self.by_kind[kind][int(rng.integers(len(self.by_kind[kind])))] for kind in picked]


def compose(pictures: Pictures, seed: int) -> tuple[ClipFacts, list[np.ndarray], list[np.ndarray]]:
    """The clip of one seed: facts, frames [H, W, 3] and masks [H, W]."""
    rng = np.random.default_rng([GENERATOR, seed])
    camera = plan_camera(_FRAMES, _WIDTH, _HEIGHT, rng)
    chosen = pictures.choose(int(rng.integers(_THINGS[0], _THINGS[1] + 1)), rng)
    props = place([make(one, KIND[one.kind].size_m or (0.1, 0.1), _FRAMES, rng) for one in chosen], rng)
    story = plan(props, _FRAMES, len(pictures.hands), rng)
    stage = _stage(pictures, camera, rng)
    first = len(props) + 1
    hand_ids = [(first + 2 * number, first + 2 * number + 1) for number in range(len(story.reaches))]
    effects = CameraEffects.sample(rng)
    frames, masks, seen = [], [], []
    for index in range(_FRAMES):
        drawn = drawing.draw(props, story, stage, index, hand_ids)
        effects = effects.metered(drawn.rgb) if index == 0 else effects
        frames.append(effects.apply(drawn.rgb, rng))
        masks.append(drawn.ids)
        seen.append(_views(props, story, hand_ids, camera, drawn, index))
    focal = camera.focal_px
    facts = ClipFacts(
        schema=SCHEMA,
        generator=GENERATOR,
        seed=seed,
        split=SPLIT,
        fps=_FPS,
        width=_WIDTH,
        height=_HEIGHT,
        intrinsics=(focal, focal, _WIDTH / 2.0, _HEIGHT / 2.0),
        camera_position_m=tuple(tuple(row) for row in camera.position.round(5).tolist()),
        camera_rotation=tuple(tuple(row) for row in camera.rotation.reshape(-1, 9).round(6).tolist()),
        table="photographed",
        objects=(*(_thing(i + 1, prop) for i, prop in enumerate(props)), *_people(story, hand_ids)),
        frames=tuple(seen),
        events=_events(props, story, camera, seen),
    )
    return facts, frames, masks


def _stage(pictures: Pictures, camera: CameraPath, rng: np.random.Generator) -> Set:
    photo = None
    if pictures.photos is not None and rng.random() < 0.7:
        photo = pictures.photos.rgb(pictures.photos.pictures[int(rng.integers(len(pictures.photos)))])
    return Set(
        camera,
        pictures.surfaces.draw(rng),
        float(rng.uniform(0.3, 1.4)),
        room(photo, (_WIDTH, _HEIGHT), rng),
        pictures.hands,
        pictures.surfaces.draw(rng),
        float(np.exp(rng.normal(0, 0.1))) * np.exp(rng.normal(0, 0.03, 3)),
        float(rng.choice([0.0, rng.uniform(0.15, 0.6)], p=[0.2, 0.8])),
        (float(rng.normal(0, 0.5)), float(rng.uniform(-0.3, 0.5))),
    )


def _thing(identity: int, prop: Prop) -> ObjectFacts:
    kind, colours = KIND[prop.cutout.kind], prop.colours
    named = colours.main and colours.main not in kind.nouns
    return ObjectFacts(
        id=identity,
        key=prop.cutout.key,
        kind=kind.name,
        name=f"{colours.main} {kind.nouns[0]}" if named else kind.nouns[0],
        names=kind.nouns,
        colour=colours.main,
        colours=tuple(colour for colour in colours.shown if colour != colours.main),
        material="",
        uses=kind.uses,
        source=prop.cutout.source,
    )


def _people(story: Story, hand_ids: Sequence[tuple[int, int]]) -> Iterator[ObjectFacts]:
    for reach, identities in zip(story.reaches, hand_ids, strict=True):
        yield from hand_facts(reach.hand, identities)


def _views(
    props: Sequence[Prop],
    story: Story,
    hand_ids: Sequence[tuple[int, int]],
    camera: CameraPath,
    drawn: Drawn,
    index: int,
) -> tuple[View, ...]:
    middles = [(number + 1, prop.middle[index]) for number, prop in enumerate(props)]
    for reach, identities in zip(story.reaches, hand_ids, strict=True):
        at = reach.palm[index]
        middles += [
            (identity, at if np.all(np.isfinite(at)) else np.array([0.0, -3.0, 0.0])) for identity in identities
        ]
    return tuple(
        view_of(
            identity,
            drawn.ids == identity,
            drawn.amodal_px.get(identity, 0),
            at,
            float(camera.project(at[None], index)[0, 2]),
        )
        for identity, at in middles
    )


def _events(
    props: Sequence[Prop], story: Story, camera: CameraPath, seen: Sequence[tuple[View, ...]]
) -> tuple[EventFacts, ...]:
    events = [EventFacts(_EVENTS.get(kind, kind), index + 1, first, last) for kind, index, first, last in story.events]
    if camera.moves != "still":
        events.append(EventFacts(f"camera_{camera.moves}", 0, 0, len(seen) - 1))
    for number in range(len(props)):
        # Hidden while in view: covered on every frame of a run that has the object before it and after it.
        shown = [frame[number].visible_px >= SMALLEST_SEEN_PX for frame in seen]
        in_view = [frame[number].amodal_px > 0 for frame in seen]
        events += [EventFacts("occluded", number + 1, *run) for run in covered(shown, in_view)]
    return tuple(events)


def cut_photos(sources: Sources, folder: Path) -> int:
    """Write what stands whole on the photos as files with alpha, once; returns how many there are."""
    done = folder / "done"
    if sources.photos is None:
        return 0
    if not done.exists():
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        for number, cutout in enumerate(of_photos(CocoFolder(sources.photos, sources.split), sources.partly)):
            name = cutout.kind.replace(" ", "_")
            pixels = cv2.cvtColor(cutout.rgba, cv2.COLOR_RGBA2BGRA)
            cv2.imwrite(str(folder / f"{number:05d}_{name}.png"), pixels)
        done.touch()
    return sum(1 for _ in folder.glob("*.png"))


@cache
def _loaded(sources: Sources, cut: str) -> Pictures:
    return Pictures(sources, Path(cut) if cut else None)


def _run(job: _Job) -> int:
    cv2.setNumThreads(1)
    facts, frames, masks = compose(_loaded(job.sources, job.cut), job.seed)
    write_whole(Path(job.folder), facts, frames, masks)
    return len(frames)


def build(
    out: Path, sources: Sources, count: int, seed0: int = 0, workers: int = 1, *, quiet: bool = False
) -> CompositeReport:
    """Make clips with seeds seed0 .. seed0 + count - 1 in `out/train`, leaving finished ones as they are.

    Raises:
        CompositeError: no cut-outs of a known kind.
        CocoError: the photos are not in the format.
    """
    from rich.progress import track

    folder = out / SPLIT
    folder.mkdir(parents=True, exist_ok=True)
    cut = out / "cutouts"
    cutouts = cut_photos(sources, cut)
    path = str(cut) if cutouts else ""
    pictures = _loaded(sources, path)
    jobs = [
        _Job(str(folder / f"{seed:07d}"), seed, sources, path)
        for seed in range(seed0, seed0 + count)
        if not (folder / f"{seed:07d}" / "clip.json").is_file()
    ]
    start = time.monotonic()
    for _ in track(each(_run, jobs, workers), "composing", len(jobs), disable=quiet):
        pass
    things = sum(map(len, pictures.by_kind.values()))
    return CompositeReport(folder, len(jobs), count - len(jobs), things, time.monotonic() - start)
