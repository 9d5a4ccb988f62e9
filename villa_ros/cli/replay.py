"""`villa replay`: a bag through the node's own pipeline, without DDS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from villa_ros.cli.console import console_on_replay
from villa_ros.cli.terminal import (
    Checkpoint,
    Device,
    Threads,
    expected,
    fail,
    open_model,
    out,
    paths,
    tracked,
    usage,
)

if TYPE_CHECKING:
    from villa_ros.bags.reader import Bag
    from villa_ros.evaluation.labels.draft import DraftLabelsWriter
    from villa_ros.pipeline.request import Request
    from villa_ros.replay.bag_replay import TimedTexts
    from villa_ros.replay.run_watch import FrameObserver
    from villa_ros.viewers.rerun.replay_file import RunRecording


def replay(
    bag: Annotated[
        Path | None, typer.Argument(help="An .mcap or .db3 file, or a rosbag2 folder; default: the sample.")
    ] = None,
    command: Annotated[list[str] | None, typer.Option(help="A request in your words; repeat for several.")] = None,
    at: Annotated[
        list[float] | None,
        typer.Option(min=0.0, metavar="SECONDS", help="Time of a request after the first frame. (default: 1)"),
    ] = None,
    commands_from_bag: Annotated[
        bool, typer.Option("--commands-from-bag", help="Repeat the commands recorded in the bag.")
    ] = False,
    command_topic: Annotated[
        str | None, typer.Option(help="Topic of those commands; needed if the bag holds several.")
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN", help="Recording of a live run with ~/journal: repeat its steps and compare the tracks."
        ),
    ] = None,
    camera_topics: Annotated[
        list[str] | None,
        typer.Option(
            "--camera-topic", metavar="[NAME=]TOPIC", help="Image topic of a camera; repeat for several. Default: all."
        ),
    ] = None,
    rotation: Annotated[
        int, typer.Option(metavar="DEGREES", help="Turn the images so far clockwise to be upright: 90, 180, 270.")
    ] = 0,
    mirrored: Annotated[
        bool, typer.Option("--mirrored", help="Turned upright, the images have left and right the wrong way round.")
    ] = False,
    black: Annotated[float, typer.Option(help="Value of images of more than 8 bits that is black.")] = 0.0,
    white: Annotated[
        float, typer.Option(help="Value of them that is white, as 4095 of 12 bits; 0: both are told from each image.")
    ] = 0.0,
    folder: Annotated[Path, typer.Option("--out", help="Folder for the results.")] = Path("out/replay"),
    pictures: Annotated[bool, typer.Option(help="Write an overlay video and a contact sheet.")] = True,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--draft-labels",
            metavar="FOLDER",
            help="Also write draft masks for a person to correct, into a new folder.",
        ),
    ] = None,
    console: Annotated[
        bool, typer.Option("--console", help="Play the bag at its own rate instead, with the console in a browser.")
    ] = False,
    rerun: Annotated[
        bool, typer.Option("--rerun", help="Also write run.rrd, which `villa rerun` opens in the Rerun viewer.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="With --console: port on 127.0.0.1; 0: any.")] = 8080,
    checkpoint: Checkpoint = "",
    device: Device = "cpu",
    threads: Threads = 0,
) -> None:
    """Run a bag through the node's pipeline without DDS: every frame, and the same result each time."""
    from villa_ros.bags.reader import Bag, BagError
    from villa_ros.bags.typestore import TypestoreError
    from villa_ros.cli.run_summary import failed_requests, summary
    from villa_ros.conversions.events import MappingError
    from villa_ros.evaluation.labels.draft import DraftLabelsError
    from villa_ros.pipeline.image_reading import ImageReading, tones_of
    from villa_ros.pipeline.mounting import Mounting
    from villa_ros.replay.bag_replay import TimedTexts, recorded_requests, replay_like
    from villa_ros.replay.bag_replay import replay as run
    from villa_ros.runtime.package_share import share_path
    from villa_ros.video.overlay_video import PictureError
    from villa_ros.viewers.rerun.viewer import RerunError, require_rerun

    texts, times = command or [], at or [1.0]
    _check(texts, times, recorded=commands_from_bag or command_topic is not None, like=like is not None)
    if console and (like is not None or labels is not None or rerun):
        usage("--console plays a bag for people to look at: leave --like, --draft-labels and --rerun out")
    if labels is not None and labels.exists():
        usage(f"--draft-labels {labels}: it is there already, and may hold corrected labels; choose another folder")
    try:
        reading = ImageReading(tones_of(black, white), Mounting(rotation, mirrored))
    except ValueError as error:
        usage(str(error))
    one_alone = console or rerun or like is not None or labels is not None
    with expected(
        BagError, DraftLabelsError, FileNotFoundError, MappingError, PictureError, RerunError, TypestoreError
    ):
        if rerun:
            require_rerun()
        path = bag or share_path("sample", "tabletop")
        with Bag(path, reading) as opened:
            cameras = _cameras(opened, camera_topics or (), one_alone=one_alone)
            first, camera_topic = next(iter(cameras.items()))
            requests: Sequence[Request] | TimedTexts = TimedTexts(texts, times)
            if not texts and like is None:
                # people at the console make requests of their own
                requests = recorded_requests(opened, command_topic, first, needed=not console or commands_from_bag)
            with _observed(opened, camera_topic, labels, folder / "run.rrd" if rerun else None) as observed:
                model = open_model(checkpoint, device, threads)
                if console:
                    console_on_replay(path, requests, model, camera_topic=camera_topic, reading=reading, port=port)
                    return
                seen = observed.observers
                if like is not None:
                    done, comparison = replay_like(
                        opened, like, model, folder,
                        camera_topic=camera_topic, progress=tracked, pictures=pictures, observers=seen,
                    )  # fmt: skip
                else:
                    done = run(
                        opened, requests, model, folder,
                        cameras=cameras, progress=tracked, pictures=pictures, observers=seen,
                    )  # fmt: skip
                drafted = observed.labels.finish(done.run, done.bad_images) if observed.labels else None
                recording = observed.recording.finish(done.run) if observed.recording else None
    out.print(summary(done.run, f"{path.name}: {done.frames} frames"))
    for fault in done.faults:
        out.print(f"[yellow]{escape(fault)}[/]", soft_wrap=True)
    for reason, count in done.bad_images.items():
        out.print(f"[yellow]left out {count} images: {escape(reason)}[/]")
    shown = [
        (f"{what}{f' of {camera}' if len(cameras) > 1 else ''}", path)
        for camera, drawn in done.pictures.items()
        for what, path in zip(("overlay video", "contact sheet"), drawn, strict=True)
    ]
    paths(("recording", done.bag), *shown, ("for Rerun", recording))
    if drafted is not None:
        out.print(drafted.text(), highlight=False, markup=False, soft_wrap=True)
    if like is not None:
        out.print(comparison.verdict(), highlight=False, markup=False)
        if not comparison.same:
            fail(f"the repetition differs from {like}")
    elif failed := failed_requests(done.run):
        fail(f"{len(failed)} of {len(done.run.commands)} requests failed: {failed[0]}")


def _check(texts: Sequence[str], times: Sequence[float], *, recorded: bool, like: bool) -> None:
    """Do the ways of asking fit together?"""
    if bool(texts) + recorded + like > 1:
        usage("--command, --commands-from-bag and --like exclude each other; give one of them")
    if len(times) not in (1, max(1, len(texts))):
        usage(f"{len(times)} times --at for {len(texts)} requests; give one for each, or one for all")


def _cameras(bag: Bag, given: Sequence[str], *, one_alone: bool) -> dict[str, str]:
    """Names and topics: those that are `given`, else all that the bag has."""
    from villa_ros.bags.cameras import cameras_of, names_of
    from villa_ros.pipeline.config import CAMERA_NAME, DEFAULT_CAMERA

    if not given:
        return {DEFAULT_CAMERA: bag.choose_image_topic()} if one_alone else cameras_of(bag)
    named = [one.rpartition("=") for one in given]
    topics = [bag.choose_image_topic(topic) for _, _, topic in named]
    cameras = {name or made: topic for (name, _, _), made, topic in zip(named, names_of(topics), topics, strict=True)}
    for name in cameras:
        if not CAMERA_NAME.fullmatch(name):
            usage(f"--camera-topic: camera {name!r} names topics; wanted small letters, digits and _")
    if len(cameras) < len(given) or len(set(topics)) < len(topics):
        usage("--camera-topic: wanted another name and another topic for each camera")
    if one_alone and len(cameras) > 1:
        usage("--console, --like, --rerun and --draft-labels are for one camera: give one --camera-topic")
    return cameras


@dataclass(frozen=True)
class _Observed:
    """What watches a replay beside the overlay."""

    labels: DraftLabelsWriter | None
    recording: RunRecording | None

    @property
    def observers(self) -> list[FrameObserver]:
        return [one for one in (self.labels, self.recording) if one is not None]


@contextmanager
def _observed(bag: Bag, camera_topic: str | None, labels: Path | None, recording: Path | None) -> Iterator[_Observed]:
    """Make what watches a replay of the open bag: a folder of labels and a Rerun recording, where they are wanted."""
    with ExitStack() as stack:
        drafting = written = None
        if labels is not None:
            from villa_ros.evaluation.labels.draft import DraftLabelsWriter

            drafting = stack.enter_context(DraftLabelsWriter(labels, bag.choose_image_topic(camera_topic)))
        if recording is not None:
            from villa_ros.viewers.rerun.replay_file import RunRecording

            written = RunRecording(recording, bag, bag.choose_image_topic(camera_topic))
        yield _Observed(drafting, written)
