"""`villa replay --rerun`: what the run found is in the recording, at the bag's own stamps and on the right pixels."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import HEIGHT, WIDTH, BlobModel
from replays import commands_of
from small_bags import IMAGE_TOPIC, TYPES, jpeg, moving_red, painted, raw_image, stamp, write_bag
from typer.testing import CliRunner

from villa.masks import decode
from villa_ros.bags.reader import Bag
from villa_ros.bags.run import Run
from villa_ros.cli.main import app
from villa_ros.conversions.events import header_message
from villa_ros.conversions.images import BadImage, depth_from_message
from villa_ros.pipeline.events import TrackState
from villa_ros.pipeline.frame import FrameHeader
from villa_ros.pipeline.overlay import colour_of
from villa_ros.pipeline.request import Action, Request
from villa_ros.replay.bag_replay import replay
from villa_ros.runtime.package_share import share_path

pytest.importorskip("rerun.chunk", reason="needs Rerun's reader (pip: villa-ros[rerun], on Python 3.11 and later)")

from rrd_file import RrdFile

from villa_ros.bags.sample import pinhole_info
from villa_ros.viewers.rerun.replay_file import RunRecording
from villa_ros.viewers.rerun.viewer import RerunError

FOCAL_PX, TABLE_M, TOP_M = 60.0, 1.0, 0.9
FRAMES, ASKED, STOPPED = 20, 5, 15
DEPTH_TOPIC, INFO_TOPIC = "/camera/depth/image_raw", "/camera/camera_info"


def camera_info(index: int) -> object:
    return pinhole_info(header_message(FrameHeader(stamp(index), "optical"), TYPES), TYPES, HEIGHT, WIDTH, FOCAL_PX)


def depth_m(index: int, width: int = WIDTH) -> np.ndarray:
    return np.where(painted(HEIGHT, width, **moving_red(index)).any(axis=2), TOP_M, TABLE_M).astype(np.float32)


def raw_depth(index: int, width: int = WIDTH) -> object:
    return raw_image(index, depth_m(index, width), "32FC1")


def png_depth(index: int) -> object:
    _, data = cv2.imencode(".png", np.round(depth_m(index) * 1000).astype(np.uint16))
    before = np.zeros(12, np.uint8)  # what image_transport's compressedDepth puts there
    return TYPES.cls("sensor_msgs/msg/CompressedImage")(
        header=header_message(FrameHeader(stamp(index), "optical"), TYPES),
        format="16UC1; compressedDepth png",
        data=np.concatenate((before, data.reshape(-1))),
    )


COMMANDS = [
    Request("red", "the red box", stamp_ns=stamp(ASKED)),
    Request("red", "", action=Action.STOP, stamp_ns=stamp(STOPPED)),
]


class Recorded:
    """A replay of a small bag, and the recording of it."""

    def __init__(self, bag: Path, folder: Path) -> None:
        self.run, self.file = recorded_run(bag, commands_of(bag), folder)


def recorded_run(path: Path, requests: Sequence[Request], folder: Path) -> tuple[Run, RrdFile]:
    with Bag(path) as bag:
        recording = RunRecording(folder / "run.rrd", bag, bag.choose_image_topic())
        done = replay(bag, requests, BlobModel(), folder, pictures=False, observers=[recording])
        return done.run, RrdFile(recording.finish(done.run))


def with_depth(path: Path, kind: str = "raw") -> Path:
    extra: list[tuple[str, int, object]] = [(INFO_TOPIC, stamp(0), camera_info(0))]
    make = {"raw": raw_depth, "png": png_depth}[kind]
    extra += [(DEPTH_TOPIC, stamp(index), make(index)) for index in range(0, FRAMES, 4)]
    return write_bag(path, FRAMES, COMMANDS, extra=extra)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    folder = tmp_path_factory.mktemp("rerun")
    return Recorded(with_depth(folder / "bag"), folder / "out")


def test_every_picture_of_the_bag_is_there_under_its_own_stamp(recorded: Recorded) -> None:
    images = recorded.file.images("/camera/image")
    assert list(images) == [stamp(index) for index in range(FRAMES)]
    for index, data in enumerate(images.values()):
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert np.abs(bgr[..., ::-1].astype(int) - painted(**moving_red(index))).mean() < 6


def test_compressed_pictures_are_passed_on_as_they_are_and_damaged_ones_left_out(tmp_path: Path) -> None:
    pictures = [jpeg(0, painted(red=(5, 5, 9, 9))), jpeg(1, painted(), cut=400), jpeg(2, painted())]
    extra = [("/camera/image_raw/compressed", stamp(index), message) for index, message in enumerate(pictures)]
    commands = [Request("red", "the red box", stamp_ns=stamp(2))]
    made = Recorded(write_bag(tmp_path / "bag", 0, commands, topics=(), extra=extra), tmp_path / "out")
    assert made.file.images("/camera/image") == {stamp(index): bytes(pictures[index].data) for index in (0, 2)}


def test_masks_are_those_of_the_run_pixel_by_pixel_and_end_with_it(recorded: Recorded) -> None:
    masks = recorded.file.masks("/camera/image/masks")
    assert list(masks) == [stamp(index) for index in range(ASKED, STOPPED)]
    *tracks, end = recorded.run.tracks
    assert [one.state for one in end.value.instances] == [TrackState.REMOVED]
    instances = {timed.value.header.stamp_ns: timed.value.instances for timed in tracks}
    for index, (stamp_ns, labels) in enumerate(masks.items(), ASKED):
        (instance,) = instances[stamp_ns]
        assert np.array_equal(labels == instance.label, decode(instance.mask))
        red = painted(**moving_red(index))[..., 0] > 0
        assert np.count_nonzero((labels > 0) & red) / np.count_nonzero((labels > 0) | red) > 0.8
    for entity in ("masks", "boxes"):
        bare = list(recorded.file.only(f"/camera/image/{entity}", "Clear:is_recursive"))
        assert bare == [stamp(index) for index in (*range(ASKED), *range(STOPPED, FRAMES))]


def test_labels_have_the_names_and_colours_of_the_overlays(recorded: Recorded) -> None:
    instance = recorded.run.tracks[0].value.instances[0]
    ((when, (context,)),) = recorded.file.rows("/camera", "AnnotationContext:context")
    infos = {entry["class_id"]: entry["class_description"]["info"] for entry in context}
    red, green, blue = colour_of(instance.track_id)
    assert when is None
    assert infos[0]["color"] == 0  # what is no object stays as it is
    assert infos[instance.label]["label"] == "red box"
    assert infos[instance.label]["color"] == int.from_bytes((red, green, blue, 255), "big")


def test_boxes_have_track_request_state_and_score(recorded: Recorded) -> None:
    boxes = recorded.file.only("/camera/image/boxes", "Boxes2D:centers")
    particulars = {
        name: recorded.file.only("/camera/image/boxes", name) for name in ("track_id", "request_id", "state", "score")
    }
    assert len(boxes) == STOPPED - ASKED
    for timed in recorded.run.tracks[:-1]:
        (instance,), at = timed.value.instances, timed.value.header.stamp_ns
        mask = instance.mask
        assert boxes[at] == [[mask.x + mask.box_width / 2, mask.y + mask.box_height / 2]]
        assert particulars["track_id"][at] == [instance.track_id]
        assert particulars["request_id"][at] == ["red"]
        assert particulars["state"][at] == [instance.state.name]
        assert particulars["score"][at] == [pytest.approx(instance.score)]


def test_each_track_has_its_plots(recorded: Recorded) -> None:
    instances = {t.value.header.stamp_ns: t.value.instances[0] for t in recorded.run.tracks[:-1]}
    track_id = next(iter(instances.values())).track_id
    for kind, wanted in (
        ("score", lambda one: one.score),
        ("area", lambda one: one.mask.area),
        ("state", lambda one: int(one.state)),
    ):
        values = recorded.file.only(f"/{kind}/camera/{track_id}", "Scalars:scalars")
        assert values == {at: [pytest.approx(wanted(one))] for at, one in instances.items()}
    ((_, names),) = recorded.file.rows(f"/score/camera/{track_id}", "SeriesLines:names")
    assert names == ["red box"]


def test_every_frame_has_the_time_it_took(recorded: Recorded) -> None:
    times = recorded.file.only("/latency/camera", "Scalars:scalars")
    assert list(times) == [stamp(index) for index in range(FRAMES)]
    assert all(milliseconds > 0 for (milliseconds,) in times.values())


@pytest.mark.parametrize("kind", ["raw", "png"])
def test_points_and_boxes_are_in_metres_where_there_is_depth(tmp_path: Path, kind: str) -> None:
    made = Recorded(with_depth(tmp_path / "bag", kind), tmp_path / "out")
    clouds = made.file.only("/camera/points", "Points3D:positions")
    labels = made.file.only("/camera/points", "Points3D:class_ids")
    assert list(clouds) == [stamp(8), stamp(12)]
    tracks = {timed.value.header.stamp_ns: timed.value.instances[0] for timed in made.run.tracks[:-1]}
    for at, points in clouds.items():
        x, y, z = np.array(points).T
        columns, rows = x / z * FOCAL_PX + (WIDTH - 1) / 2, y / z * FOCAL_PX + (HEIGHT - 1) / 2
        seen = np.zeros((HEIGHT, WIDTH), bool)
        seen[rows.round().astype(int), columns.round().astype(int)] = True
        assert np.array_equal(seen, decode(tracks[at].mask))
        assert np.median(z) == pytest.approx(TOP_M, abs=1e-3)
        assert set(labels[at]) == {tracks[at].label}
    centres = made.file.only("/camera/objects", "Boxes3D:centers")
    assert list(centres) == list(clouds)
    for ((_, _, z),) in centres.values():
        assert TOP_M - 0.01 < z < TABLE_M
    for entity in ("points", "objects"):
        assert list(made.file.only(f"/camera/{entity}", "Clear:is_recursive")) == [stamp(STOPPED)]
    ((_, (resolution,)),) = made.file.rows("/camera/image", "Pinhole:resolution")
    assert resolution == [WIDTH, HEIGHT]


def test_metres_of_what_is_no_longer_asked_for_go_when_it_does(tmp_path: Path) -> None:
    bag = with_depth(tmp_path / "bag")
    later = Request("blue", "the blue box", stamp_ns=stamp(10))
    _, file = recorded_run(bag, [COMMANDS[0], later], tmp_path / "out")
    assert list(file.only("/camera/points", "Clear:is_recursive")) == [stamp(10)]
    assert list(file.only("/camera/points", "Points3D:positions")) == [stamp(8), stamp(12), stamp(16)]


def test_a_bag_without_depth_has_pictures_and_no_space(bag: Path, tmp_path: Path) -> None:
    made = Recorded(bag, tmp_path / "out")
    assert len(made.file.images("/camera/image")) == FRAMES
    assert not {"/camera/points", "/camera/objects"} & made.file.entities


def test_depth_of_another_size_is_told(tmp_path: Path) -> None:
    extra = [(INFO_TOPIC, stamp(0), camera_info(0)), (DEPTH_TOPIC, stamp(8), raw_depth(8, width=32))]
    bag = write_bag(tmp_path / "bag", FRAMES, COMMANDS, extra=extra)
    with pytest.raises(RerunError, match=f"{DEPTH_TOPIC} is not registered to {IMAGE_TOPIC}.*wanted one size"):
        Recorded(bag, tmp_path / "out")


def test_depth_whose_png_promises_more_than_it_holds_is_refused() -> None:
    message = png_depth(0)
    assert depth_from_message(message).height == HEIGHT
    at = message.data.tobytes().index(b"IDAT") - 4
    message.data[at] ^= 0x80
    with pytest.raises(BadImage, match="chunk IDAT") as raised:
        depth_from_message(message)
    assert raised.value.reason == "damaged"


def test_request_answer_and_states_are_told_at_their_frames(recorded: Recorded) -> None:
    assert recorded.file.words("request") == [(stamp(ASKED), "red: the red box")]
    assert recorded.file.words("answer") == [(stamp(ASKED), "red: the red box")]
    states = recorded.file.words("state")
    assert states[0] == (stamp(ASKED), "red: queued")
    assert states[-1][0] == stamp(STOPPED)
    assert states[-1][1].startswith("red: canceled")


def test_the_recording_brings_its_layout(recorded: Recorded) -> None:
    assert recorded.file.store.application_id == "villa_ros"
    assert recorded.file.layouts == 2  # with the first picture, and another with the first depth


def test_villa_replay_writes_it_beside_the_rest(fake_model: list[tuple[str, str]], bag: Path, tmp_path: Path) -> None:
    arguments = ["replay", str(bag), "--commands-from-bag", "--rerun", "--no-pictures", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "for Rerun:" in done.output
    assert len(RrdFile(tmp_path / "out" / "run.rrd").masks("/camera/image/masks")) == FRAMES - ASKED


def test_without_rerun_it_is_said_what_to_install_before_anything_is_run(
    fake_model: list[tuple[str, str]], bag: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rerun_bindings", None)
    done = CliRunner().invoke(app, ["replay", str(bag), "--commands-from-bag", "--rerun", "--out", str(tmp_path)])
    assert done.exit_code == 1
    assert 'pip install "villa_ros[rerun]"' in " ".join(done.output.split())
    assert fake_model == []


def test_a_console_and_a_recording_exclude_each_other(bag: Path) -> None:
    done = CliRunner().invoke(app, ["replay", str(bag), "--console", "--rerun"])
    assert done.exit_code == 2
    assert "leave --like, --draft-labels and --rerun out" in " ".join(done.output.split())


def test_the_sample_bag_is_recorded_with_its_depth(tmp_path: Path) -> None:
    _, file = recorded_run(share_path("sample", "tabletop"), [], tmp_path)  # pictures and camera alone
    assert len(file.images("/camera/image")) == 450
    assert file.rows("/camera/image", "Pinhole:resolution")


def test_writing_a_recording_leaves_nothing_to_be_sent_to_anybody(bag: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    script = (
        "from pathlib import Path; from test_rerun_replay import recorded_run;"
        f"recorded_run(Path({str(bag)!r}), [], Path({str(tmp_path)!r}))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | {"HOME": str(home)}
    environment["PYTHONPATH"] += os.pathsep + str(Path(__file__).parent)
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
    assert (tmp_path / "run.rrd").stat().st_size > 0
    assert [path for path in home.rglob("*") if "rerun" in path.parts] == []
