"""Offline replay: deterministic, complete, and equal to the run whose journal it repeats."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest
from fakes import BlobModel
from replays import commands_of, repeated, replayed
from small_bags import IMAGE_TOPIC, TYPES, jpeg, moving_red, painted, raw_image, stamp, write_bag
from typer.testing import CliRunner

from villa.masks import decode
from villa_ros.bags.cameras import names_of
from villa_ros.bags.reader import Bag, BagError
from villa_ros.bags.run import Run, Timed, read_run
from villa_ros.bags.writer import BagWriter, EventBag
from villa_ros.cli.main import app
from villa_ros.conversions.events import header_message, journal_line, nanoseconds
from villa_ros.pipeline.config import PipelineConfig
from villa_ros.pipeline.events import Event, JournalEvent, TracksEvent, TrackState
from villa_ros.pipeline.frame import FrameHeader
from villa_ros.pipeline.image_reading import ImageReading
from villa_ros.pipeline.mounting import Mounting
from villa_ros.pipeline.request import Action, Request, RequestState
from villa_ros.pipeline.worker import Worker
from villa_ros.replay.bag_replay import TimedTexts, replay
from villa_ros.replay.journal_replay import check_journal
from villa_ros.replay.track_comparison import compare, mask_iou
from villa_ros.video.overlay_video import PictureError


def rle_of(run: Run) -> list[tuple[Any, ...]]:
    """Everything about the tracks of a run but when it was recorded."""
    return [
        (event.header, event.sequence, i.track_id, i.request_id, i.label, i.state, i.score, i.mask.runs.tolist())
        for event in (timed.value for timed in run.tracks)
        for i in event.instances
    ]


def offline(bag: Path, folder: Path, requests: list[Request] | None = None, **options: Any) -> Run:
    given = commands_of(bag) if requests is None else requests
    return replayed(bag, given, BlobModel(), folder, pictures=False, **options).run


def test_two_replays_give_the_same_run_lengths_and_ids(bag: Path, tmp_path: Path) -> None:
    first, second = offline(bag, tmp_path / "one"), offline(bag, tmp_path / "two")
    assert len(first.tracks) == 15
    assert rle_of(first) == rle_of(second)
    assert [entry for entry, _ in first.journal] == [entry for entry, _ in second.journal]


def test_every_frame_after_the_command_has_a_mask_on_the_object(bag: Path, tmp_path: Path) -> None:
    run = offline(bag, tmp_path / "out")
    stamps = [timed.value.header.stamp_ns for timed in run.tracks]
    assert stamps == [stamp(index) for index in range(5, 20)]
    for index, timed in enumerate(run.tracks, 5):
        (instance,) = timed.value.instances
        assert abs(instance.mask.x - (2 + index)) <= 1
        assert abs(instance.mask.box_width - 12) <= 2


def test_the_recording_holds_command_answer_states_tracklets_and_journal(bag: Path, tmp_path: Path) -> None:
    run = offline(bag, tmp_path / "out")
    assert run.commands["red"].value.text == "the red box"
    assert run.answers["red"].value.is_final
    assert run.answers["red"].value.seg_track_ids == (run.tracks[0].value.instances[0].track_id,)
    states = [timed.value.state for timed in run.statuses["red"]]
    assert states[0] == RequestState.QUEUED
    assert states[-1] == RequestState.TRACKING
    assert set(run.tracklets["red"].value) == {stamp(index) for index in range(6)}
    submit = next(request for entry, request in run.journal if entry.op == "submit")
    assert submit is not None
    assert submit.text == "the red box"
    assert {timed.log_ns for timed in run.statuses["red"]} == {stamp(5)}


def test_no_frame_is_ever_stamped_anew(bag: Path, tmp_path: Path) -> None:
    run = offline(bag, tmp_path / "out")
    with Bag(bag) as opened:
        headers = {frame.header for frame in opened.frames(IMAGE_TOPIC, "camera")}
    assert {timed.value.header for timed in run.tracks} <= headers


@pytest.mark.parametrize("seconds", [0.0, 1_600_000_000.25])
def test_images_without_stamps_go_by_the_times_of_recording_and_out_as_they_came(
    tmp_path: Path, seconds: float
) -> None:
    """All stamped 0, as of many drivers, or all alike."""
    unstamped = [raw_image(index, painted(**moving_red(index))) for index in range(20)]
    for image in unstamped:
        image.header = header_message(FrameHeader(round(seconds * 1e9), "optical"), TYPES)
    extra = [(IMAGE_TOPIC, stamp(index), image) for index, image in enumerate(unstamped)]
    path = write_bag(tmp_path / "unstamped", frames=0, extra=extra)
    requests = [Request("r", "red", camera="camera", stamp_ns=stamp(5))]
    run = offline(path, tmp_path / "out", requests)
    assert len(run.tracks) == 15
    assert {timed.value.header.frame_id for timed in run.tracks} == {"optical"}
    for index, timed in enumerate(run.tracks, 5):
        assert timed.value.header.stamp_ns == round(seconds * 1e9)
        assert timed.log_ns == stamp(index)
        assert abs(timed.value.instances[0].mask.x - (2 + index)) <= 1
    with Bag(tmp_path / "out" / "run") as written:  # nothing is stamped anew
        tracks = [
            recorded.message for recorded in written.messages([t for t in written.topics if t.endswith("/tracks")])
        ]
    assert {nanoseconds(message.header.stamp) for message in tracks} == {round(seconds * 1e9)}
    with Bag(path) as bag:
        list(bag.frames(IMAGE_TOPIC, "camera"))
        list(bag.frames(IMAGE_TOPIC, "camera"))
        assert [fault for fault in bag.faults if "does not stamp" in fault] == list(bag.faults) != []
        assert not bag.bad_images


def test_a_stop_in_the_bag_ends_the_tracks(tmp_path: Path) -> None:
    commands = [
        Request("red", "the red box", stamp_ns=stamp(3)),
        Request("red", "", action=Action.STOP, stamp_ns=stamp(9)),
    ]
    run = offline(write_bag(tmp_path / "bag", commands=commands), tmp_path / "out")
    assert run.statuses["red"][-1].value.state == RequestState.CANCELED
    assert max(t.value.header.stamp_ns for t in run.tracks) == stamp(8)
    assert run.tracks[-1].value.instances[0].state == TrackState.REMOVED


def test_a_timeout_runs_on_the_stamps_of_the_frames(tmp_path: Path) -> None:
    commands = [Request("red", "the red box", stamp_ns=stamp(3), timeout_s=0.5)]
    run = offline(write_bag(tmp_path / "bag", commands=commands), tmp_path / "out")
    assert run.statuses["red"][-1].value.state == RequestState.SUCCEEDED
    assert run.statuses["red"][-1].log_ns == stamp(8)


def test_a_command_after_the_last_frame_is_still_answered(tmp_path: Path) -> None:
    commands = [Request("late", "the red box", stamp_ns=stamp(500))]
    run = offline(write_bag(tmp_path / "bag", frames=4, commands=commands), tmp_path / "out")
    assert run.answers["late"].value.text == "the red box"


def test_what_is_not_there_is_answered_without_a_mask(tmp_path: Path) -> None:
    commands = [Request("green", "the green box", stamp_ns=stamp(3))]
    run = offline(write_bag(tmp_path / "bag", commands=commands), tmp_path / "out")
    assert run.statuses["green"][-1].value.state == RequestState.NO_TARGET
    assert not run.tracks


def test_requests_of_the_command_line_are_timed_from_the_first_frame(bag: Path) -> None:
    asked = TimedTexts(["the red box", "the blue box"], [0.5, 99.0])
    run = replayed(bag, asked, BlobModel(), bag.parent / "out").run
    assert [timed.value.stamp_ns for timed in run.commands.values()] == [stamp(5), stamp(990)]
    # what is asked after the last frame is answered on it
    assert run.answers["request-2"].value.header.stamp_ns == stamp(19)


def test_a_bag_without_commands_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BagError, match="--command TEXT"):
        commands_of(write_bag(tmp_path / "bag", frames=2))
    assert commands_of(tmp_path / "bag", needed=False) == []


def test_a_bag_whose_images_are_all_bad_names_the_reason(tmp_path: Path) -> None:
    broken = [("/camera/image", stamp(index), jpeg(index, painted(), cut=300)) for index in range(3)]
    path = write_bag(tmp_path / "bag", frames=0, extra=broken)
    with pytest.raises(BagError, match=r"no usable frame: 3 x truncated"):
        replayed(path, [Request("a", "the red box")], BlobModel(), tmp_path / "out")


def test_overlay_video_and_contact_sheet_show_the_masks(bag: Path, tmp_path: Path) -> None:
    done = replayed(bag, commands_of(bag), BlobModel(), tmp_path / "out")
    video = cv2.VideoCapture(str(done.overlay))
    pictures = []
    while (read := video.read())[0]:
        pictures.append(read[1])
    assert len(pictures) == 20
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(10.0, abs=0.1)
    plain, drawn = pictures[2].astype(int), pictures[15].astype(int)
    inside = drawn[14:18, 19:27]
    assert np.abs(inside - np.array([0, 0, 255])).max() > 40, "the red box is painted over where its mask is"
    assert np.abs(plain[14:18, 6:12] - np.array([0, 0, 255])).max() < 40, "and not before it was asked for"
    sheet = cv2.imread(str(done.contact_sheet))
    assert sheet is not None
    assert sheet.shape[1] > 4 * 300


def live_run(
    bag: Path,
    folder: Path,
    model: BlobModel,
    act: Callable[[Worker, int], None],
    config: PipelineConfig | None = None,
) -> Path:
    """What the node does without its DDS: a worker fed frame by frame, its events recorded."""
    lock = threading.Lock()
    with BagWriter(folder) as writer, Bag(bag) as opened:
        events = EventBag(writer)

        def sink(event: Event) -> None:
            with lock:
                events.event(event, stamp(0))

        worker = Worker(model, config or PipelineConfig(), sink, nonce="live")
        submit = worker.submit

        def remembering(request: Request) -> str:
            events.remember(request)
            return submit(request)

        worker.submit = remembering  # type: ignore[method-assign]
        worker.start()
        for index, frame in enumerate(opened.frames(IMAGE_TOPIC, "camera")):
            worker.offer(frame)
            act(worker, index)
            threading.Event().wait(0.01)
        worker.stop()
        assert worker.close()
    return folder / f"{folder.name}.mcap"


def test_repeating_a_live_runs_journal_gives_its_tracks_again(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", frames=40)

    def act(worker: Worker, index: int) -> None:
        if index == 8:
            worker.submit(Request("red", "the red box"))
        if index == 20:
            worker.submit(Request("blue", "the blue box and the red box"))
        if index == 33:
            worker.stop("blue")

    run = live_run(bag, tmp_path / "run", BlobModel(sleep_s=0.003), act)
    recorded = read_run(run)
    assert any(len(timed.value.instances) == 2 for timed in recorded.tracks), "the run tracked both boxes"
    done, comparison = repeated(bag, run, BlobModel(), tmp_path / "like", pictures=False)
    assert comparison.same, comparison.verdict()
    assert comparison.frames == len(recorded.tracks)
    assert {timed.value.instances[0].track_id.split("-")[0] for timed in done.run.tracks} == {"replay"}


def test_a_run_is_repeated_under_the_settings_that_it_had(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", frames=30)

    def act(worker: Worker, index: int) -> None:
        if index in (6, 12):
            worker.submit(Request(f"r{index}", "the red box"))

    settings = PipelineConfig(policy="queue", confirm_frames=4, clip_duration_s=0.5)
    run = live_run(bag, tmp_path / "run", BlobModel(), act, settings)
    assert max(len(timed.value.instances) for timed in read_run(run).tracks) == 2, "both requests are tracked"
    _, comparison = repeated(bag, run, BlobModel(), tmp_path / "like", pictures=False)
    assert comparison.same, comparison.verdict()
    _, comparison = repeated(bag, run, BlobModel(), tmp_path / "other", config=PipelineConfig(), pictures=False)
    assert not comparison.same


def test_a_model_that_answers_otherwise_is_found_out(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", frames=30)
    run = live_run(
        bag, tmp_path / "run", BlobModel(), lambda w, i: w.submit(Request("r", "the red box")) if i == 5 else None
    )

    class Shifted(BlobModel):
        def encode(self, rgb: Any) -> Any:
            return np.roll(super().encode(rgb), 2, axis=1)

    _, comparison = repeated(bag, run, Shifted(), tmp_path / "like", pictures=False)
    assert not comparison.same
    assert "mask IoU" in comparison.verdict()


def test_another_bag_than_the_one_played_is_refused(bag: Path, tmp_path: Path) -> None:
    played = write_bag(tmp_path / "played", frames=30)
    run = live_run(
        played, tmp_path / "run", BlobModel(), lambda w, i: w.submit(Request("r", "the red box")) if i == 5 else None
    )
    with pytest.raises(BagError, match="give the bag that was played"):
        repeated(bag, run, BlobModel(), tmp_path / "like", pictures=False)


def journal_of(path: Path, indices: list[int]) -> Path:
    text = TYPES.cls("std_msgs/msg/String")
    extra = [
        ("/villa_node/journal", stamp(i), text(data=journal_line(JournalEvent(i, "ingest", "camera", stamp(i)))))
        for i in indices
    ]
    return write_bag(path, frames=0, extra=extra)


@pytest.mark.parametrize(
    ("indices", "wanted"), [([0, 1, 3], "lacks step 2"), ([7, 8], "begins with step 7"), ([], "holds no journal")]
)
def test_a_journal_that_is_not_whole_is_refused(tmp_path: Path, indices: list[int], wanted: str) -> None:
    run = read_run(journal_of(tmp_path / "run", indices)) if indices else Run()
    with pytest.raises(BagError, match=wanted):
        check_journal(run, "the run")


def test_a_request_that_only_the_command_topic_holds_is_found_there(bag: Path, tmp_path: Path) -> None:
    run = offline(bag, tmp_path / "one")
    stripped = Run(commands=run.commands, journal=[(entry, None) for entry, _ in run.journal], tracks=run.tracks)
    rewritten = tmp_path / "stripped"
    with BagWriter(rewritten) as writer:
        events = EventBag(writer)
        for timed in stripped.commands.values():
            events.command(timed.value, timed.log_ns)
        forgetful = EventBag(writer)
        for entry, _ in stripped.journal:
            forgetful.event(entry, stamp(0))
        for timed in stripped.tracks:
            events.event(timed.value, timed.log_ns)
    _, comparison = repeated(bag, rewritten, BlobModel(), tmp_path / "like", pictures=False)
    assert comparison.same, comparison.verdict()


def events_of(run: Run) -> list[TracksEvent]:
    return [timed.value for timed in run.tracks]


def renamed(event: TracksEvent, names: dict[str, str]) -> TracksEvent:
    instances = tuple(replace(i, track_id=names.get(i.track_id, i.track_id)) for i in event.instances)
    return replace(event, instances=instances)


@pytest.fixture
def two_tracks(tmp_path: Path) -> list[TracksEvent]:
    bag = write_bag(tmp_path / "pair", commands=[Request("both", "the red and the blue box", stamp_ns=stamp(2))])
    return events_of(offline(bag, tmp_path / "pair_out"))


def test_ids_that_differ_consistently_are_isomorphic(two_tracks: list[TracksEvent]) -> None:
    names = {"replay-1": "other-9", "replay-2": "other-4"}
    assert compare(two_tracks, [renamed(event, names) for event in two_tracks]).same


def test_ids_that_swap_on_the_way_are_not(two_tracks: list[TracksEvent]) -> None:
    swapped = {"replay-1": "replay-2", "replay-2": "replay-1"}
    changed = [renamed(event, swapped if at > 6 else {}) for at, event in enumerate(two_tracks)]
    assert "track replay-1 is replay-2, was replay-1 before" in compare(two_tracks, changed).verdict()


def test_two_tracks_that_become_one_are_not_isomorphic(two_tracks: list[TracksEvent]) -> None:
    assert not compare(two_tracks, [renamed(event, {"replay-2": "replay-1"}) for event in two_tracks]).same


def test_a_message_lost_by_the_recorder_is_no_difference_but_one_never_repeated_is(
    two_tracks: list[TracksEvent],
) -> None:
    assert compare([*two_tracks[:4], *two_tracks[5:]], two_tracks).same
    assert not compare(two_tracks, [*two_tracks[:4], *two_tracks[5:]]).same
    assert not compare(two_tracks[:-1], two_tracks).same


def test_a_run_without_tracks_cannot_be_called_equal() -> None:
    assert not compare([], []).same


def test_mask_iou_counts_empty_as_equal_and_sizes_as_different(two_tracks: list[TracksEvent]) -> None:
    from villa.masks import RleMask

    mask = two_tracks[0].instances[0].mask
    assert mask_iou(RleMask.empty(48, 64), RleMask.empty(48, 64)) == 1.0
    assert mask_iou(mask, RleMask.empty(48, 64)) == 0.0
    assert mask_iou(mask, RleMask.empty(10, 10)) == 0.0
    assert mask_iou(mask, mask) == 1.0


def test_the_output_is_replaced_only_when_it_is_complete(bag: Path, tmp_path: Path) -> None:
    offline(bag, tmp_path / "out")
    before = (tmp_path / "out" / "run" / "run.mcap").read_bytes()
    broken = write_bag(tmp_path / "none", frames=0, extra=[("/camera/image", stamp(0), jpeg(0, painted(), cut=300))])
    with pytest.raises(BagError):
        replayed(broken, [], BlobModel(), tmp_path / "out")
    assert (tmp_path / "out" / "run" / "run.mcap").read_bytes() == before
    assert not list((tmp_path / "out").glob("*.part"))


def test_runs_keep_when_things_were_recorded(bag: Path, tmp_path: Path) -> None:
    run = offline(bag, tmp_path / "out")
    assert all(isinstance(timed, Timed) and timed.log_ns == timed.value.header.stamp_ns for timed in run.tracks)
    assert moving_red(3)["red"][0] == 5


def test_a_bag_is_opened_once_and_read_once_whatever_is_written_of_it(
    bag: Path, tmp_path: Path, fake_model: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Overlay, labels and a Rerun recording watch one pass; and the run's bag is not read back."""
    pytest.importorskip("rerun_bindings", reason="needs Rerun (pip: villa-ros[rerun])")
    opened: list[Path] = []
    images = 0
    enter, raw = Bag.__enter__, Bag.raw

    def entered(self: Bag) -> Bag:
        opened.append(self.path)
        return enter(self)

    def counted(self: Bag, topics: Sequence[str] = (), span_ns: tuple[int, int] | None = None) -> Iterator[Any]:
        nonlocal images
        for topic, *rest in raw(self, topics, span_ns):
            images += topic == IMAGE_TOPIC
            yield (topic, *rest)

    monkeypatch.setattr(Bag, "__enter__", entered)
    monkeypatch.setattr(Bag, "raw", counted)
    out, labels = tmp_path / "out", tmp_path / "labels"
    done = CliRunner().invoke(
        app, ["replay", str(bag), "--commands-from-bag", "--rerun", "--draft-labels", str(labels), "--out", str(out)]
    )
    assert done.exit_code == 0, done.output
    assert opened == [bag]
    assert images == 20
    assert {path.name for path in out.iterdir()} == {"run", "overlay.mp4", "contact_sheet.png", "run.rrd"}
    assert len(list((labels / "JPEGImages").iterdir())) == 20


def test_the_run_in_memory_is_the_run_in_the_bag(bag: Path, tmp_path: Path) -> None:
    done = replayed(bag, commands_of(bag), BlobModel(), tmp_path / "out", pictures=False)
    read = read_run(done.bag)
    assert compare([t.value for t in done.run.tracks], [t.value for t in read.tracks]).same
    assert [t.log_ns for t in done.run.tracks] == [t.log_ns for t in read.tracks]
    assert dict(done.run.statuses) == dict(read.statuses)
    assert list(done.run.answers) == list(read.answers)
    assert [entry for entry, _ in done.run.journal] == [entry for entry, _ in read.journal]
    assert [one and one.text for _, one in done.run.journal] == [one and one.text for _, one in read.journal]
    assert done.run.arrivals == read.arrivals
    assert list(done.run.commands) == list(read.commands)
    mine, theirs = done.run.tracklets["red"].value, read.tracklets["red"].value
    assert {stamp_ns: [mask.area for mask in masks] for stamp_ns, masks in mine.items()} == {
        stamp_ns: [mask.area for mask in masks] for stamp_ns, masks in theirs.items()
    }


def test_a_picture_that_cannot_be_drawn_costs_no_run(bag: Path, tmp_path: Path) -> None:
    class Failing:
        beside: ClassVar[dict[str, Any]] = {}

        def observe(self, settled: Any, run: Any) -> None:
            raise PictureError("no room on the disk")

    with pytest.raises(PictureError, match="no room on the disk"):
        replayed(bag, commands_of(bag), BlobModel(), tmp_path / "out", observers=[Failing()])
    assert len(read_run(tmp_path / "out" / "run").tracks) > 10
    assert (tmp_path / "out" / "overlay.mp4").exists()


@pytest.mark.parametrize(("rotation", "mirrored"), [(90, False), (180, True), (270, False)])
def test_a_bag_of_a_camera_that_hangs_otherwise_is_seen_upright(tmp_path: Path, rotation: int, mirrored: bool) -> None:
    mounting = Mounting(rotation, mirrored)
    pictures = [mounting.as_given(painted(**moving_red(index))) for index in range(8)]
    extra = [(IMAGE_TOPIC, stamp(index), raw_image(index, picture)) for index, picture in enumerate(pictures)]
    path = write_bag(tmp_path / "hung", frames=0, extra=extra)
    with Bag(path, ImageReading(mounting=mounting)) as bag:
        seen = list(bag.frames(IMAGE_TOPIC, "camera"))
    assert np.array_equal(seen[3].upright(), painted(**moving_red(3)))
    assert np.array_equal(seen[3].rgb(), pictures[3])
    request = Request("r", "red", camera="camera", stamp_ns=stamp(2))
    with Bag(path, ImageReading(mounting=mounting)) as bag:
        run = replay(bag, [request], BlobModel(), tmp_path / "out", pictures=False).run
    truth = pictures[-1][..., 0] > 127
    mask = decode(run.tracks[-1].value.instances[0].mask)
    assert mask.shape == truth.shape
    assert (mask & truth).sum() > 0.6 * (mask | truth).sum()


def test_angles_and_tones_that_make_no_sense_are_named(bag: Path, tmp_path: Path) -> None:
    for given, said in (
        (["--rotation", "45"], "rotation is 45, wanted one of 0, 90, 180, 270"),
        (["--black", "5"], "black is 5 and white 0: wanted white above black"),
    ):
        done = CliRunner().invoke(app, ["replay", str(bag), "--command", "red", "--out", str(tmp_path / "out"), *given])
        assert done.exit_code == 2
        assert said in " ".join(done.output.split())


def alone_of(run: Run) -> list[TracksEvent]:
    return [timed.value for timed in run.tracks]


LEFT, RIGHT = "/rig/left/image_raw", "/rig/right/image_raw"


@pytest.fixture
def rig(tmp_path: Path) -> Path:
    """Two cameras, the right one half a period later and every other frame; the red box moves in the left one alone."""
    extra = []
    for index in range(20):
        extra.append((LEFT, stamp(index), raw_image(index, painted(**moving_red(index)))))
        if index % 2 == 0:
            extra.append((RIGHT, stamp(index + 0.5), raw_image(index + 0.5, painted(red=(30, 20, 10, 8)))))
    return write_bag(tmp_path / "rig", frames=0, extra=extra)


def test_several_cameras_are_replayed_together_as_the_node_would(rig: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    commands = TimedTexts(["the red box"], [0.5])
    with Bag(rig) as bag:
        done = replay(bag, commands, BlobModel(), out, cameras={"left": LEFT, "right": RIGHT})
    assert done.frames == 30
    of = {camera: [t.value for t in done.run.tracks if t.value.camera == camera] for camera in ("left", "right")}
    assert [event.header.stamp_ns for event in of["left"]] == [stamp(index) for index in range(5, 20)]
    assert [event.header.stamp_ns for event in of["right"]] == [stamp(index + 0.5) for index in range(4, 20, 2)]
    for index, event in enumerate(of["left"], 5):
        assert abs(event.instances[0].mask.x - (2 + index)) <= 1
    assert {event.instances[0].mask.x for event in of["right"]} == {30}
    assert list(done.run.commands) == ["request-1-left", "request-1-right"]
    ids = {camera: {one.track_id for event in events for one in event.instances} for camera, events in of.items()}
    assert len(ids["left"]) == len(ids["right"]) == 1
    assert ids["left"] != ids["right"]
    assert list(done.pictures) == ["left", "right"]
    for video, sheet in done.pictures.values():
        assert video.is_file()
        assert sheet.is_file()
    frames = cv2.VideoCapture(str(out / "right" / "overlay.mp4"))
    assert frames.get(cv2.CAP_PROP_FRAME_COUNT) == 10
    # One camera of them alone gives what it gave beside the other.
    alone = offline(rig, tmp_path / "alone", [Request("r", "the red box", stamp_ns=stamp(5))], camera_topic=LEFT)
    beside, by_itself = ([t.instances[0].mask.runs.tolist() for t in told] for told in (of["left"], alone_of(alone)))
    assert beside == by_itself


def test_the_command_line_takes_all_cameras_of_a_bag_and_names_them(
    rig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("villa_ros.cli.replay.open_model", lambda *_: BlobModel())

    def run(*given: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["replay", str(rig), "--command", "red", "--out", str(tmp_path / "out"), *given])
        return done.exit_code, " ".join(done.output.split())

    code, said = run()
    assert code == 0, said
    assert "overlay video of left" in said
    assert "contact sheet of right" in said
    assert (tmp_path / "out" / "right" / "contact_sheet.png").is_file()
    code, said = run("--camera-topic", f"front={RIGHT}", "--camera-topic", LEFT, "--no-pictures")
    assert code == 0, said
    with Bag(tmp_path / "out" / "run") as written:
        assert {"/villa_node/front/tracks", "/villa_node/left/tracks"} <= set(written.topics)
    code, said = run("--camera-topic", LEFT, "--console", "--camera-topic", RIGHT)
    assert (code, "are for one camera" in said) == (2, True)
    code, said = run("--camera-topic", f"Front!={LEFT}")
    assert (code, "names topics" in said) == (2, True)
    code, said = run("--camera-topic", LEFT, "--camera-topic", LEFT)
    assert (code, "another topic for each" in said) == (2, True)
    code, said = run("--rerun")
    assert code == 1
    assert "choose one with --camera-topic" in said


@pytest.mark.parametrize(
    ("topics", "names"),
    [
        (["/camera/image_raw"], ["camera"]),
        (["/left/image_raw", "/right/image_raw"], ["left", "right"]),
        (["/rig/cam0/color/image", "/rig/cam1/color/image"], ["cam0", "cam1"]),
        (["/a/x", "/b/y"], ["a_x", "b_y"]),
        (["/Front-Left/image", "/0/image"], ["front_left", "camera_0"]),
        (["/image", "/wrist/image"], ["image", "wrist_image"]),
        (["/A/image", "/a/image"], ["a", "a_again1"]),
    ],
)
def test_cameras_are_named_by_what_tells_their_topics_apart(topics: list[str], names: list[str]) -> None:
    assert names_of(topics) == names
