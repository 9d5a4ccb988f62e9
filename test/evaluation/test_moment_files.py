"""The worst moments as files of other tools, read back by the libraries that read these formats."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from evaluated_bag import Evaluated, evaluate_small_bag
from fakes import HEIGHT, WIDTH
from mcap.reader import make_reader
from pycocotools.coco import COCO

from villa.masks import decode
from villa_ros.bags.run import read_run
from villa_ros.evaluation.moment_files import EVENT_TOPIC, MomentFilesError, write_moment_files
from villa_ros.evaluation.report.worst_moments import worst_moments
from villa_ros.evaluation.request_scores import masks_by_frame, published_tracks, union


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    return evaluate_small_bag(tmp_path_factory.mktemp("result"))


@pytest.fixture(scope="module")
def written(evaluated: Evaluated) -> Path:
    return write_moment_files(evaluated.result, evaluated.folder, evaluated.pictures())


def _coco(file: Path) -> COCO:
    return COCO(str(file))


def test_foxglove_is_told_when_and_why(evaluated: Evaluated, written: Path) -> None:
    chosen = worst_moments(evaluated.result)
    assert len(chosen) == 3
    with (written / "events.mcap").open("rb") as stream:
        read = list(make_reader(stream).iter_messages())
    assert {(schema.name, schema.encoding, channel.topic) for schema, channel, _ in read} == {
        ("foxglove.Event", "jsonschema", EVENT_TOPIC)
    }
    stamps = [message.log_time for _, _, message in read]
    assert stamps == sorted(moment.moment.stamp_ns for moment in chosen)
    for _, _, message in read:
        event = json.loads(message.data)
        assert event["start_time"] == event["end_time"]
        assert event["start_time"]["sec"] * 10**9 + event["start_time"]["nsec"] == message.log_time
        pairs = {pair["key"]: pair["value"] for pair in event["metadata"]}
        assert pairs["recording"] == "table top"
        assert pairs["fault"] in ("missed", "poor mask", "not there, but masked")
        assert pairs["request"] in {moment.asked.text for moment in chosen}


def test_a_call_of_the_api_has_the_time_to_the_nanosecond(evaluated: Evaluated, written: Path) -> None:
    lines = [json.loads(line) for line in (written / "events.jsonl").read_text("utf-8").splitlines()]
    chosen = worst_moments(evaluated.result)
    assert len(lines) == len(chosen)
    for line, moment in zip(lines, chosen, strict=True):
        assert line["start"] == line["end"]
        assert line["start"].endswith(f".{moment.moment.stamp_ns % 10**9:09d}Z")
        whole = np.datetime64(line["start"].rstrip("Z"), "ns")
        assert int(whole.astype(np.int64)) == moment.moment.stamp_ns
        assert all(isinstance(value, str) for value in line["metadata"].values())


def test_coco_has_the_frame_what_was_meant_and_what_was_published(evaluated: Evaluated, written: Path) -> None:
    truth, found = _coco(written / "truth.json"), _coco(written / "found.json")
    chosen = worst_moments(evaluated.result)
    run = read_run(evaluated.folder / "table top" / "run" / "run.mcap")
    assert sorted(truth.getImgIds()) == sorted(found.getImgIds()) == [n + 1 for n in range(len(chosen))]
    for number, moment in enumerate(chosen, 1):
        stamp_ns, request_id = moment.moment.stamp_ns, moment.asked.request_id
        (image,) = truth.loadImgs([number])
        picture = cv2.imread(str(written / "images" / image["file_name"]))
        assert picture.shape == (HEIGHT, WIDTH, 3) == (image["height"], image["width"], 3)
        meant = evaluated.pictures().truth_of("table top", request_id, stamp_ns)
        drawn = masks_by_frame(published_tracks(run, request_id)).get(stamp_ns, [])
        for coco, masks in ((truth, meant), (found, drawn)):
            entries = coco.loadAnns(coco.getAnnIds([number]))
            there = [mask for mask in masks if mask.area]
            assert len(entries) == len(there)
            for entry, mask in zip(entries, there, strict=True):
                assert np.array_equal(coco.annToMask(entry) > 0, decode(mask))
                assert entry["area"] == mask.area
                assert entry["request"] == moment.asked.text
        whole = union(drawn)
        assert moment.moment.masks == 0 or (whole is not None and whole.any())


def test_without_a_fault_the_files_are_there_and_empty(evaluated: Evaluated, tmp_path: Path) -> None:
    out = write_moment_files(evaluated.result, tmp_path, evaluated.pictures(), lambda _: [])
    assert (out / "events.jsonl").read_text() == ""
    with (out / "events.mcap").open("rb") as stream:
        assert not list(make_reader(stream).iter_messages())
    assert not _coco(out / "truth.json").getAnnIds()
    assert not list((out / "images").iterdir())


def test_a_folder_that_cannot_be_written_is_named(evaluated: Evaluated, tmp_path: Path) -> None:
    (tmp_path / "moments").write_text("in the way")
    with pytest.raises(MomentFilesError, match="moments"):
        write_moment_files(evaluated.result, tmp_path, evaluated.pictures())
