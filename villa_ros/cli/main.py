"""The `villa` command. Each command imports what it needs when it runs, so that help comes at once."""

from __future__ import annotations

import os
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from villa_ros.cli.bench import bench, overhead, soak
from villa_ros.cli.console import console as open_console
from villa_ros.cli.evaluate import compare, evaluate
from villa_ros.cli.models import download
from villa_ros.cli.models import show as show_config
from villa_ros.cli.policy import policy
from villa_ros.cli.replay import replay
from villa_ros.cli.rerun import rerun as show_in_rerun
from villa_ros.cli.speech import bench_speech, speech
from villa_ros.cli.terminal import (
    DISK_ERRORS,
    EXIT_FAILURE,
    Checkpoint,
    Device,
    Threads,
    expected,
    fail,
    need_ros,
    open_model,
    out,
    paths,
    playing_bar,
    replay_bars,
    tell,
    tracked,
)
from villa_ros.cli.training import average, data_app, train
from villa_ros.cli.tuning import convert, tune

if TYPE_CHECKING:
    from villa.interface import SegmentationModel

app = typer.Typer(
    name="villa",
    help="Find and track what a request in plain words means, in camera images.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:
    if asked:
        out.print(f"villa {_installed('villa-ros')}", highlight=False)
        raise typer.Exit


@app.callback()
def _options(
    asked: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    bag: Annotated[
        Path | None,
        typer.Option(help="Bag with commands and ground truth; default: the sample bags."),
    ] = None,
    folder: Annotated[
        Path, typer.Option("--out", help="Folder for the results; of the sample bags, a folder in it for each.")
    ] = Path("out/demo"),
    offline: Annotated[bool, typer.Option("--offline", help="Replay instead: no DDS, no dropped frames.")] = False,
    baseline: Annotated[
        bool, typer.Option(help="Also measure the model with the words ignored: one more pass.")
    ] = True,
    checkpoint: Checkpoint = "",
    device: Device = "cpu",
    threads: Threads = 0,
) -> None:
    """Play a bag to the node over DDS, record what it publishes, and compare it with the ground truth."""
    from villa_ros.bags.player import PlayerError
    from villa_ros.bags.reader import BagError
    from villa_ros.bags.recorder import RecorderError
    from villa_ros.bags.typestore import TypestoreError
    from villa_ros.cli.demo_table import table
    from villa_ros.cli.scenario_tables import verdict_table
    from villa_ros.conversions.events import MappingError
    from villa_ros.evaluation import demo as demonstration
    from villa_ros.evaluation.ground_truth import TruthError
    from villa_ros.evaluation.recording_inputs import RequestError
    from villa_ros.runtime.package_share import share_path
    from villa_ros.video.overlay_video import PictureError

    def load() -> SegmentationModel:
        return open_model(checkpoint, device, threads)

    of_bag = (BagError, MappingError, RequestError, TruthError, TypestoreError)
    of_run = (demonstration.DemoError, PictureError, PlayerError, RecorderError, FileNotFoundError)
    with expected(*of_bag, *of_run):
        shown = {bag: folder} if bag else {share_path("sample", name): folder / name for name in ("cup", "tabletop")}
    broken: list[str] = []
    for played, results in shown.items():
        with expected(*of_bag, *of_run):
            given = demonstration.demo_scenario(played, checkpoint, device, threads)
            if offline:
                done = demonstration.demo_offline(given, results, load, baseline=baseline, telling=replay_bars)
            else:
                loading = load if baseline else None
                done = demonstration.demo(given, results, loading, playing=playing_bar, telling=replay_bars)
        out.print(table(done.report, f"{played.name}, {'replayed, no DDS' if offline else 'live over DDS'}"))
        out.print(verdict_table(done.result))
        paths(
            ("recording", done.bag),
            ("overlay video", done.overlay),
            ("contact sheet", done.contact_sheet),
            ("report", done.report_json),
            ("node's log", done.node_log),
        )
        broken += [f"{verdict.text}: {verdict.reason}" for verdict in done.result.verdicts if not verdict.passed]
    if broken:
        fail(f"{'; '.join(broken)}. The node's log and the states in the recording say more.")


@app.command()
def segment(
    source: Annotated[
        str, typer.Argument(metavar="VIDEO|FOLDER|CAMERA", help="Video, folder of images, or camera index.")
    ],
    request: Annotated[str, typer.Option(help="What to look for, in your words.")],
    at: Annotated[
        float,
        typer.Option(min=0.0, metavar="SECONDS", help="Time of the request; it is answered from the frames before."),
    ] = 0.5,
    fps: Annotated[
        float | None, typer.Option(min=0.1, max=1000.0, help="Frame rate of a folder, or in place of a video's own.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help="Stop after this time; a camera runs until Ctrl-C.")
    ] = None,
    folder: Annotated[Path, typer.Option("--out", help="Folder for the results.")] = Path("out/segment"),
    checkpoint: Checkpoint = "",
    device: Device = "cpu",
    threads: Threads = 0,
) -> None:
    """Segment and track in a video, a folder of images or a camera, without ROS."""
    from villa_ros.bags.reader import BagError
    from villa_ros.bags.typestore import TypestoreError
    from villa_ros.pipeline.image_view import ImageError
    from villa_ros.replay.video_segmentation import SegmentError
    from villa_ros.replay.video_segmentation import segment as run
    from villa_ros.video.overlay_video import PictureError
    from villa_ros.video.source import SourceError, open_source

    with expected(BagError, ImageError, PictureError, SegmentError, SourceError, TypestoreError):
        opened = open_source(source, "camera", fps, seconds)
        model = open_model(checkpoint, device, threads)
        done = run(opened, request, model, folder, at_s=at, progress=tracked)
    out.print(f"[bold]> {escape(request)}[/]\n{escape(done.answer) or '(no words)'}", highlight=False)
    out.print(f"masks on {done.frames_with_mask} of {done.frames} frames", highlight=False)
    paths(
        ("overlay video", done.overlay),
        ("contact sheet", done.contact_sheet),
        ("tracks", done.tracks_json),
        ("recording", done.bag),
    )


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def node(
    context: typer.Context,
    image_topic: Annotated[
        str, typer.Option(help="Image topic; a name that ends in /compressed is read as compressed.")
    ] = "image",
    camera: Annotated[str, typer.Option(help="Name of the camera in topics and messages.")] = "camera",
    parameters: Annotated[
        Path | None, typer.Option("--params-file", exists=True, dir_okay=False, help="ROS parameter file.")
    ] = None,
    checkpoint: Checkpoint = "",
    device: Device = "cpu",
    threads: Threads = 0,
) -> None:
    """Start the ROS 2 node. Arguments after `--ros-args` are passed on, such as -p policy:=queue."""

    need_ros()
    from villa_ros.node.villa_node import main as run

    arguments = ["--ros-args"]
    if parameters is not None:
        arguments += ["--params-file", str(parameters)]
    given = {
        "camera": f"cameras:=[{camera}]",
        "image_topic": f"{camera}.image_topic:={image_topic}",
        "checkpoint": f"checkpoint:='{checkpoint}'",
        "device": f"device:={device}",
        "threads": f"threads:={threads}",
    }
    for option, assignment in given.items():
        # a parameter file must not be overruled by defaults that nobody typed
        source = context.get_parameter_source(option)
        if source is not None and source.name != "DEFAULT":
            arguments += ["-p", assignment]
    raise typer.Exit(run([sys.argv[0], *arguments, *[part for part in context.args if part != "--ros-args"]]))


@app.command()
def info(
    config: Annotated[
        str | None,
        typer.Argument(metavar="CONFIG", help="Name of a configuration, or its JSON file."),
    ] = None,
    checkpoint: Checkpoint = "",
) -> None:
    """Show versions, where the shipped files are, and the parts of the model; or the size of a named configuration."""
    if config is not None:
        show_config(config)
        return
    from villa_ros.replay.live_graph import have_ros
    from villa_ros.runtime.package_share import share_path

    for name in ("villa-ros", "torch", "transformers", "rosbags", "ros-rclpy"):
        out.print(f"{name:<16}{_installed(name)}", highlight=False)
    out.print(f"{'ROS 2':<16}{'available' if have_ros() else 'not here: villa demo --offline, replay, segment'}")
    out.print(f"{'CPU cores':<16}{os.cpu_count()}", highlight=False)
    with expected(FileNotFoundError):
        out.print(f"{'share':<16}{share_path()}", highlight=False, soft_wrap=True)
    for name in ("weights", "sample", "config"):
        try:
            place = str(share_path(name))
        except FileNotFoundError as error:
            place = str(error)
        out.print(f"{name:<16}{place}", highlight=False, soft_wrap=True)
    model = open_model(checkpoint, "cpu")
    parts: dict[str, int] = getattr(model, "parameters_by_part", dict)()
    for name, count in parts.items():
        out.print(f"  {name:<18}{count / 1e6:6.1f} M parameters", highlight=False)


@app.command()
def labels(
    folder: Annotated[Path, typer.Argument(help="Folder written by --draft-labels, corrected or not.")],
    bag: Annotated[
        Path | None, typer.Option(help="The source bag: write a copy with the labels as ground truth.")
    ] = None,
    where: Annotated[Path, typer.Option("--out", help="With --bag: the new bag.")] = Path("out/truth"),
) -> None:
    """Check labels that a person corrected, and make a bag with ground truth from them."""
    from villa_ros.bags.reader import BagError
    from villa_ros.bags.typestore import TypestoreError
    from villa_ros.evaluation.ground_truth_bag import TruthBagError, write_truth_bag
    from villa_ros.evaluation.labels.read import LabelsError, read_labels

    with expected(BagError, LabelsError, TruthBagError, TypestoreError):
        read = read_labels(folder)
        seen = f"{len(read.stamps)} frames, {len(read.corrected)} of them corrected, {len(read.objects)} objects"
        out.print(f"{folder}: {seen}", highlight=False, soft_wrap=True)
        for request_id, truth in read.truth().items():
            meant = ", ".join(truth.objects) or "nothing that is there"
            told = f"{request_id}: {truth.request.text!r} means {meant}, on {len(truth.stamps)} frames"
            out.print(told, highlight=False, markup=False, soft_wrap=True)
        made = None if bag is None else write_truth_bag(read, bag, where)
    paths(("ground truth", made))


app.command("replay")(replay)
app.command("train")(train)
app.command("average")(average)
app.command("tune")(tune)
app.command("convert")(convert)
app.command("download")(download)
app.command("eval")(evaluate)
app.command("compare")(compare)
app.command("bench")(bench)
app.command("overhead")(overhead)
app.command("console")(open_console)
app.command("rerun")(show_in_rerun)
app.command("speech")(speech)
app.command("policy", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(policy)
app.command("bench-speech")(bench_speech)
app.command("soak")(soak)
app.add_typer(data_app, name="data")


def _installed(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


def main() -> None:
    """Entry point of `villa`."""
    try:
        app()
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        tell(f"cannot write {error.filename or 'a file'}: {error.strerror}; make room, or choose another place")
        sys.exit(EXIT_FAILURE)


if __name__ == "__main__":
    main()
