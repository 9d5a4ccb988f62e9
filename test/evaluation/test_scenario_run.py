"""Recordings through a scenario: scores against every kind of ground truth, drops, bad input, and what is kept."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from blob_loading import load_blobs
from fakes import BlobModel
from mevis import rle
from PIL import Image
from small_bags import (
    COMPRESSED_TOPIC,
    IMAGE_TOPIC,
    TYPES,
    jpeg,
    moving_red,
    painted,
    raw_image,
    stamp,
    tracklets,
    write_bag,
)

from villa.masks import encode
from villa_ros.bags.reader import Bag
from villa_ros.bags.run import read_run
from villa_ros.conversions.events import header_message
from villa_ros.evaluation.results import Asked, BagResult, ScenarioResult, read_result, to_json
from villa_ros.evaluation.scenario import Scenario, read_scenario
from villa_ros.evaluation.scenario_eval import evaluate_scenario
from villa_ros.pipeline.frame import FrameHeader
from villa_ros.pipeline.request import Request

FRAMES = 20
TRUTH = "/ground_truth/tracklets"
RED = [painted(**moving_red(index))[..., 0] > 127 for index in range(FRAMES)]


@pytest.fixture
def truth_bag(tmp_path: Path) -> Path:
    """Two seconds: the red box is asked for at 0.5 s, a banana at 1.5 s; ground truth on the usual topic."""
    commands = [Request("red", "the red box", stamp_ns=stamp(5)), Request("none", "a banana", stamp_ns=stamp(15))]
    masks = [encode(mask) for mask in RED]
    extra = [
        (TRUTH, stamp(14), tracklets("red", [stamp(i) for i in range(5, 15)], [masks[5:15]])),
        (TRUTH, stamp(19), tracklets("none", [stamp(i) for i in range(15, 20)], [])),
    ]
    return write_bag(tmp_path / "truth", FRAMES, commands, extra=extra)


def scenario(tmp_path: Path, text: str) -> Scenario:
    file = tmp_path / "scenario.yaml"
    file.write_text(text)
    return read_scenario(file)


def blobs(checkpoint: str, device: str, threads: int) -> BlobModel:
    return BlobModel()


def evaluated(tmp_path: Path, text: str, out: str = "out", **options: Any) -> ScenarioResult:
    return evaluate_scenario(scenario(tmp_path, text), tmp_path / out, **({"opening": blobs} | options))


def timeless(result: ScenarioResult) -> dict[str, Any]:
    """Everything but what was measured with a clock."""
    values = to_json(result)
    for bag in values["bags"]:
        del bag["timing"]
        for asked in bag["requests"]:
            del asked["first_mask_s"]
    return values


def only(result: ScenarioResult) -> tuple[BagResult, list[Asked]]:
    (bag,) = result.bags
    assert not bag.failed, bag.faults
    return bag, list(bag.requests)


ASK = "requests: [{at: 0.5, text: the red box, id: red}, {at: 1.5, text: a banana, id: none}]"


def test_commands_of_the_bag_are_scored_against_its_own_ground_truth(truth_bag: Path, tmp_path: Path) -> None:
    text = "bags: [{path: truth}]\ncriteria: [J&F of 'the red box' >= 0.8, absent stays absent, id switches = 0]"
    result = evaluated(tmp_path, text)
    bag, (red, banana) = only(result)
    assert result.passed
    assert [verdict.passed for verdict in result.verdicts] == [True] * 3
    assert (red.present, red.answered, red.right, red.answer, red.frames) == (True, True, True, "the red box", 10)
    assert red.jf is not None
    assert red.jf > 0.85
    assert (red.coverage, red.switches, red.state) == (1.0, 0, "SUPERSEDED")
    assert [moment.stamp_ns for moment in red.moments] == [stamp(i) for i in range(5, 15)]
    assert (banana.present, banana.answered, banana.right, banana.jf) == (False, False, True, None)
    assert bag.frames == {"camera": FRAMES}
    assert (bag.start_ns, bag.end_ns) == (stamp(0), stamp(19))
    assert bag.timing.latency_s
    run = read_run(tmp_path / "out" / "truth" / "run")
    with Bag(truth_bag) as opened:
        headers = {frame.header for frame in opened.frames(IMAGE_TOPIC, "camera")}
    assert {timed.value.header for timed in run.tracks} <= headers, "on the recording's own clock"
    assert read_result(tmp_path / "out") == result
    lines = [json.loads(line) for line in (tmp_path / "out" / "truth" / "frames.jsonl").read_text().splitlines()]
    assert [(line["request_id"], line["stamp_ns"]) for line in lines] == [
        (asked.request_id, moment.stamp_ns) for asked in (red, banana) for moment in asked.moments
    ]
    assert lines[0] == {
        "bag": "truth",
        "camera": "camera",
        "request_id": "red",
        "text": "the red box",
        "stamp_ns": stamp(5),
        "since_request_s": 0.0,
        "published": True,
        "masks": 1,
        "j": red.moments[0].j,
        "f": red.moments[0].f,
    }


def test_the_same_input_gives_the_same_output(truth_bag: Path, tmp_path: Path) -> None:
    first, second = (evaluated(tmp_path, "bags: [{path: truth}]", out) for out in ("one", "two"))
    assert timeless(first) == timeless(second)
    runs = [sorted((tmp_path / out / "truth" / "run").glob("*.mcap"))[0].read_bytes() for out in ("one", "two")]
    assert runs[0] == runs[1]


def mevis(tmp_path: Path, frames: int = FRAMES, size: tuple[int, int] = (48, 64)) -> None:
    root = tmp_path / "mevis"
    (root / "JPEGImages" / "v").mkdir(parents=True)
    for t in range(frames):
        image = cv2.resize(painted(**moving_red(t)), size[::-1], interpolation=cv2.INTER_NEAREST)
        cv2.imwrite(str(root / "JPEGImages" / "v" / f"{t:05d}.jpg"), image[..., ::-1])
    masks = [cv2.resize(mask.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST) > 0 for mask in RED]
    expressions = {
        "0": {"exp": "the red box", "obj_id": [0], "anno_id": ["1"]},
        "1": {"exp": "a banana", "obj_id": [], "anno_id": []},
    }
    video = {"frames": [f"{t:05d}" for t in range(frames)], "expressions": expressions}
    (root / "meta_expressions.json").write_text(json.dumps({"videos": {"v": video}}))
    (root / "mask_dict.json").write_text(json.dumps({"1": [rle(mask) for mask in masks[:frames]]}))


def palettes(tmp_path: Path, names: Callable[[int], str], frames: int = FRAMES) -> None:
    folder = tmp_path / "davis" / "Annotations" / "v"
    folder.mkdir(parents=True)
    for t in range(frames):
        image = Image.fromarray(RED[t].astype(np.uint8) * 3).convert("P")
        image.putpalette([0, 0, 0] + [200, 0, 0] * 255)
        image.save(folder / f"{names(t)}.png")


OBJECTS = (
    "requests: [{at: 0.5, text: the red box, id: red, objects: [3]}, {at: 1.5, text: a banana, id: none, objects: []}]"
)


@pytest.mark.parametrize("kind", ["mevis", "palettes by number", "palettes by stamp"])
def test_ground_truth_may_lie_in_a_folder_of_another_format(tmp_path: Path, kind: str) -> None:
    write_bag(tmp_path / "plain", FRAMES)
    if kind == "mevis":
        mevis(tmp_path)
        folder, asked = "mevis", ASK
    else:
        palettes(tmp_path, (lambda t: f"{t:05d}") if kind.endswith("number") else (lambda t: str(stamp(t))))
        folder, asked = "davis", OBJECTS
    _, (red, banana) = only(evaluated(tmp_path, f"bags: [{{path: plain, truth: {{folder: {folder}}}, {asked}}}]"))
    assert red.present
    assert red.jf is not None
    assert red.jf > 0.85
    assert red.frames == 10
    assert banana.present is False
    assert banana.right


def test_without_ground_truth_the_scenario_may_say_what_is_there(tmp_path: Path) -> None:
    write_bag(tmp_path / "plain", FRAMES)
    asked = "requests: [{at: 0.5, text: the red box, absent: false}, {at: 1 s, text: a banana, absent: true}]"
    result = evaluated(tmp_path, f"bags: [{{path: plain, {asked}}}]\ncriteria: [absent stays absent, present is found]")
    assert result.passed
    _, (red, banana) = only(result)
    assert (red.right, banana.right, red.jf) == (True, True, None)
    _, (red, banana) = only(evaluated(tmp_path, f"bags: [{{path: plain, {ASK}}}]", "unsaid"))
    assert (red.present, red.right, red.answered, banana.answered) == (None, None, True, False)


PACED = "mode: real-time\nlatencies: {{fast: {fast} ms, slow_step: 10 ms}}\nbags: [{{path: truth}}]"


def test_in_real_time_frames_are_dropped_where_the_model_is_slower_than_the_camera(
    truth_bag: Path, tmp_path: Path
) -> None:
    results = {fast: only(evaluated(tmp_path, PACED.format(fast=fast), f"{fast}")) for fast in (20, 250)}
    (quick, (red, _)), (slow, (late, _)) = results[20], results[250]
    assert red.coverage == 1.0
    assert late.coverage is not None
    assert late.coverage < 0.6
    assert sum(slow.dropped["camera"].values()) > sum(quick.dropped.get("camera", {}).values())
    assert max(quick.timing.latency_s) == pytest.approx(0.02)
    assert max(slow.timing.latency_s) >= 0.25
    assert late.jf is not None, "what was published is scored"
    assert late.jf > 0.8
    assert red.first_mask_s is not None
    assert 0.05 < red.first_mask_s < 0.3


def test_in_real_time_with_given_latencies_the_result_is_the_same_each_time(truth_bag: Path, tmp_path: Path) -> None:
    first, second = (evaluated(tmp_path, PACED.format(fast=130), out) for out in ("one", "two"))
    assert to_json(first)["bags"][0]["requests"] == to_json(second)["bags"][0]["requests"]
    assert first.bags[0].timing.latency_s == second.bags[0].timing.latency_s


def test_in_real_time_on_this_machine_all_is_answered(truth_bag: Path, tmp_path: Path) -> None:
    bag, (red, banana) = only(evaluated(tmp_path, "mode: real-time\nbags: [{path: truth}]"))
    assert red.answered
    assert banana.right
    assert bag.timing.latency_s
    assert bag.frames == {"camera": FRAMES}


def test_two_cameras_are_asked_each_for_its_own(tmp_path: Path) -> None:
    def boxes(index: int) -> dict[str, tuple[int, int, int, int]]:
        return moving_red(index)

    write_bag(tmp_path / "two", FRAMES, boxes=boxes, topics=("/front/image", "/wrist/image"))
    asked = "{at: 0.5, text: the red box, camera: front, id: a}, {at: 1, text: the blue box, camera: wrist, id: b}"
    text = f"bags: [{{path: two, cameras: {{front: /front/image, wrist: /wrist/image}}, requests: [{asked}]}}]"
    bag, (front, wrist) = only(evaluated(tmp_path, text))
    assert bag.frames == {"front": FRAMES, "wrist": FRAMES}
    assert (front.camera, front.answered, front.frames) == ("front", True, 15)
    assert (wrist.camera, wrist.answered, wrist.frames) == ("wrist", True, 10)


# -- bad input ---


def cut_short(path: Path) -> None:
    file = next(path.glob("*.mcap"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def no_index(path: Path) -> None:
    """The data is whole, the summary at the end is gone, and so is the folder's description."""
    cut = next(path.glob("*.mcap"))
    data = cut.read_bytes()
    cut.write_bytes(data[: data.rindex(b"\x0f\x0d")] if b"\x0f\x0d" in data else data[:-60])
    (path / "metadata.yaml").unlink()


def gone(path: Path) -> None:
    shutil.rmtree(path)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (cut_short, "damaged or was cut off"),
        (gone, "no bag at"),
    ],
)
def test_one_bad_bag_is_told_and_loses_nothing_of_the_others(
    truth_bag: Path, tmp_path: Path, damage: Callable[[Path], None], told: str
) -> None:
    shutil.copytree(truth_bag, tmp_path / "bad")
    damage(tmp_path / "bad")
    result = evaluated(tmp_path, "bags: [{path: bad}, {path: truth}]\ncriteria: [J&F >= 0.5]")
    bad, good = result.bags
    assert bad.failed
    assert told in bad.faults[0].message
    assert str(tmp_path / "bad") in bad.faults[0].message
    assert not good.failed
    assert len(good.requests) == 2
    assert result.verdicts[0].passed
    assert not result.passed, "a bag that could not be read fails the whole"


def test_of_a_bag_that_lost_its_end_the_rest_is_scored_and_that_is_told(truth_bag: Path, tmp_path: Path) -> None:
    shutil.copytree(truth_bag, tmp_path / "bad")
    no_index(tmp_path / "bad")
    (bad,) = evaluated(tmp_path, "bags: [{path: bad}]").bags
    assert not bad.failed
    assert len(bad.requests) == 2
    assert "damaged or was cut off" in bad.faults[0].message
    assert str(tmp_path / "bad") in bad.faults[0].file


def wrong(topic: str, index: int, message: Any) -> tuple[str, int, Any]:
    return (topic, stamp(index), message)


@pytest.mark.parametrize(
    ("bag", "spec", "told"),
    [
        (
            {},
            "requests: [{at: 9, text: the red box}]",
            ["the red box", "at 9 s", "frame at 1.90 s", IMAGE_TOPIC],
        ),
        ({}, "requests: []", ["neither the scenario nor the bag holds a request"]),
        ({}, f"cameras: {{c: /none}}, {ASK}", ["topic /none is not in the bag", IMAGE_TOPIC]),
        ({"topics": ("/a/image", "/b/image")}, ASK, ["several image topics", "/a/image, /b/image"]),
        ({}, f"truth: {{topic: /truth}}, {ASK}", ["/truth is not in the bag", "wanted villa_msgs/msg/TrackletArray"]),
        ({}, f"truth: {{topic: {IMAGE_TOPIC}}}, {ASK}", ["is sensor_msgs/msg/Image; wanted villa_msgs"]),
        ({}, f"truth: {{folder: nowhere}}, {ASK}", ["nowhere", "wanted labels.json", "saw no folder"]),
        ({}, f"command_topic: {IMAGE_TOPIC}", ["is sensor_msgs/msg/Image", "no command topic"]),
    ],
)
def test_what_a_bag_lacks_is_told_with_file_and_topic(
    tmp_path: Path, bag: dict[str, Any], spec: str, told: Sequence[str]
) -> None:
    write_bag(tmp_path / "plain", FRAMES, **bag)
    (result,) = evaluated(tmp_path, f"bags: [{{path: plain, {spec}}}]").bags
    assert result.failed
    for part in told:
        assert part in result.faults[0].message


def test_ground_truth_of_another_size_than_the_images_is_told_with_its_time(tmp_path: Path) -> None:
    write_bag(tmp_path / "plain", FRAMES)
    mevis(tmp_path, size=(96, 128))
    (bag,) = evaluated(tmp_path, f"bags: [{{path: plain, truth: {{folder: mevis}}, {ASK}}}]").bags
    assert bag.failed
    told = bag.faults[0].message
    assert f"at {stamp(5) / 1e9:.3f} s is 128x96 px" in told
    assert f"image on {IMAGE_TOPIC} 64x48" in told


def test_ground_truth_of_another_number_of_frames_is_refused(tmp_path: Path) -> None:
    write_bag(tmp_path / "plain", FRAMES)
    mevis(tmp_path, frames=12)
    (bag,) = evaluated(tmp_path, f"bags: [{{path: plain, truth: {{folder: mevis}}, {ASK}}}]").bags
    assert "has 12 frames; camera camera has 20" in bag.faults[0].message


def test_ground_truth_that_knows_nothing_of_a_request_names_what_it_has(truth_bag: Path, tmp_path: Path) -> None:
    asked = "requests: [{at: 1, text: the blue box}]"
    (bag,) = evaluated(tmp_path, f"bags: [{{path: truth, {asked}}}]").bags
    assert "no ground truth called 'request-1' or 'the blue box'; it has 'none', 'red'" in bag.faults[0].message
    asked = "requests: [{at: 1, text: the crimson thing, truth: red}]"
    _, (red,) = only(evaluated(tmp_path, f"bags: [{{path: truth, {asked}}}]"))
    assert red.present


def test_a_scenario_that_contradicts_its_ground_truth_is_refused(truth_bag: Path, tmp_path: Path) -> None:
    asked = "requests: [{at: 1, text: the red box, id: red, absent: true}]"
    spec = f"bags: [{{path: truth, truth: {{topic: {TRUTH}}}, {asked}}}]"
    (bag,) = evaluated(tmp_path, spec).bags
    assert "is absent says the scenario" in bag.faults[0].message


def test_frames_out_of_order_are_sorted_and_those_too_far_back_are_told(tmp_path: Path) -> None:
    order = [0, 2, 1, *range(3, FRAMES)]
    late = [*range(1, 40), 0]
    for name, indices in (("near", order), ("far", late)):
        extra = [
            (COMPRESSED_TOPIC, stamp(100 + place), jpeg(index, painted(**moving_red(index))))
            for place, index in enumerate(indices)
        ]
        write_bag(tmp_path / name, 0, extra=extra)
    result = evaluated(tmp_path, f"bags: [{{path: near, {ASK}}}, {{path: far, {ASK}}}]")
    near, far = result.bags
    assert not near.faults
    assert near.requests[0].answered
    assert not far.failed
    assert "1 frames are out of order" in far.faults[0].message
    assert far.faults[0].stamp_ns == stamp(0)


def test_what_is_true_of_images_without_stamps_cannot_be_known(tmp_path: Path) -> None:
    extra = []
    for index in range(6):
        image = raw_image(index, painted(**moving_red(index)))
        image.header = header_message(FrameHeader(0, "optical"), TYPES)
        extra.append((IMAGE_TOPIC, stamp(index), image))
    write_bag(tmp_path / "unstamped", frames=0, extra=extra)
    text = "bags:\n  - path: unstamped\n    requests: [{text: the red box, at: 0.1, absent: false}]\n"
    (bag,) = evaluated(tmp_path, text).bags
    assert bag.failed
    assert f"every image of {IMAGE_TOPIC} is stamped 0 s" in bag.faults[0].message


def test_images_that_cannot_be_used_are_counted_and_told(tmp_path: Path) -> None:
    broken = raw_image(3, painted(**moving_red(3)))
    broken.encoding = "rgb17"
    write_bag(tmp_path / "plain", FRAMES, extra=[(IMAGE_TOPIC, stamp(3), broken)])
    bag, _ = only(evaluated(tmp_path, f"bags: [{{path: plain, {ASK}}}]"))
    assert sum(bag.dropped["camera"].values()) == 1
    assert "1 images cannot be used" in bag.faults[0].message


def test_a_wrong_schema_of_what_nobody_asks_for_does_not_matter(tmp_path: Path) -> None:
    odd = TYPES.cls("std_msgs/msg/String")(data="not of interest")
    write_bag(tmp_path / "odd", FRAMES, extra=[("/odd", stamp(1), odd)])
    for file in (tmp_path / "odd").iterdir():  # under this name its definition has another hash
        file.write_bytes(file.read_bytes().replace(b"std_msgs/msg/String", b"abc_msgs/msg/String"))
    (bag,) = evaluated(tmp_path, f"bags: [{{path: odd, {ASK}}}]").bags
    assert not bag.failed
    assert not bag.faults


# -- again, and by several ---


def test_a_run_that_is_done_is_kept_and_one_whose_input_changed_is_not(truth_bag: Path, tmp_path: Path) -> None:
    opened: list[str] = []

    def opening(checkpoint: str, device: str, threads: int) -> BlobModel:
        opened.append(device)
        return BlobModel()

    told: list[tuple[str, bool]] = []
    text = "bags: [{path: truth}]\ncriteria: [J&F >= 0.5]"

    def run(text: str, **options: Any) -> ScenarioResult:
        return evaluated(
            tmp_path, text, opening=opening, told=lambda bag, kept: told.append((bag.name, kept)), **options
        )

    first = run(text)
    again = run(text.replace("0.5", "0.99"))  # other criteria ask nothing new of the model
    assert told == [("truth", False), ("truth", True)]
    assert len(opened) == 1
    assert again.bags == first.bags
    assert first.passed
    assert not again.passed
    run(text + "\nsettings: {confirm_frames: 1}")
    run(text + "\nsettings: {confirm_frames: 1}", fresh=True)
    assert [kept for _, kept in told] == [False, True, False, False]


def test_what_was_interrupted_goes_on_with_the_bags_that_are_missing(truth_bag: Path, tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        shutil.copytree(truth_bag, tmp_path / name)
    text = "bags: [{path: one}, {path: two}, {path: three}]"
    done: list[str] = []

    def stop_after_two(bag: BagResult, kept: bool) -> None:
        done.append(bag.name)
        if len(done) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluated(tmp_path, text, told=stop_after_two)
    kept: dict[str, bool] = {}
    result = evaluated(tmp_path, text, told=lambda bag, was_kept: kept.update({bag.name: was_kept}))
    assert kept == {"one": True, "two": True, "three": False}
    assert timeless(result)["bags"] == timeless(evaluated(tmp_path, text, "serial"))["bags"]


def test_two_processes_give_what_one_gives(truth_bag: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    for name in ("one", "two"):
        shutil.copytree(truth_bag, tmp_path / name)
    (tmp_path / "bad").mkdir()
    text = "bags: [{path: one}, {path: bad}, {path: two}]"
    serial = evaluated(tmp_path, text, "serial", opening=load_blobs)
    spread = evaluated(tmp_path, text, "spread", opening=load_blobs, workers=2)
    assert timeless(spread) == timeless(serial)
    assert [bag.failed for bag in spread.bags] == [False, True, False]


def test_results_of_other_versions_are_not_taken_for_this_ones(truth_bag: Path, tmp_path: Path) -> None:
    evaluated(tmp_path, "bags: [{path: truth}]")
    file = tmp_path / "out" / "truth" / "bag.json"
    values = json.loads(file.read_text())
    del values["result"]["requests"][0]["moments"]
    file.write_text(json.dumps(values))
    kept: list[bool] = []
    result = evaluated(tmp_path, "bags: [{path: truth}]", told=lambda bag, was_kept: kept.append(was_kept))
    assert kept == [False]
    assert result == replace(result, bags=result.bags)
