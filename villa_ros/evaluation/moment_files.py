"""The worst moments of an evaluation as files that other tools open: Foxglove's events, and COCO for FiftyOne or CVAT.

Each tool is read by its public format alone: nothing of it need be installed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
from mcap.writer import Writer

from villa.files.whole import appearing, write_text
from villa_ros.evaluation.labels.format import coco_runs
from villa_ros.evaluation.report.moment_views import moment_views
from villa_ros.evaluation.report.players import camera_of
from villa_ros.evaluation.report.worst_moments import WorstMoment, worst_moments

if TYPE_CHECKING:
    from villa.masks import RleMask
    from villa_ros.evaluation.report.moment_views import Pictures
    from villa_ros.evaluation.results import ScenarioResult

MOMENTS = "moments"  # folder
EVENTS, API_EVENTS = "events.mcap", "events.jsonl"
IMAGES, TRUTH, FOUND = "images", "truth.json", "found.json"
EVENT_TOPIC = "/villa/worst_moments"
_CATEGORIES = [{"id": 1, "name": "meant"}]  # what a request means; what it is called is beside each
_JPEG_QUALITY = 92
# Of docs.foxglove.dev/docs/sdk/schemas/event, whose name makes Foxglove show a message as an event.
_EVENT = "foxglove.Event"
_TIME = {"type": "object", "properties": {"sec": {"type": "integer"}, "nsec": {"type": "integer"}}}
_PAIR = {"type": "object", "properties": {"key": {"type": "string"}, "value": {"type": "string"}}}
_EVENT_SCHEMA = {
    "title": _EVENT,
    "type": "object",
    "properties": {"start_time": _TIME, "end_time": _TIME, "metadata": {"type": "array", "items": _PAIR}},
}


class MomentFilesError(RuntimeError):
    """The files cannot be written."""


@dataclass
class _Coco:
    """Images, and the masks of one kind (true ones, or published ones) on them."""

    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)

    def add(self, image_id: int, masks: Iterable[RleMask], told: dict[str, str]) -> None:
        for mask in masks:
            if mask.area:
                self.annotations.append(
                    {
                        "id": len(self.annotations) + 1,
                        "image_id": image_id,
                        "category_id": _CATEGORIES[0]["id"],
                        "segmentation": coco_runs(mask),
                        "bbox": [mask.x, mask.y, mask.box_width, mask.box_height],
                        "area": mask.area,
                        "iscrowd": 0,
                        **told,
                    }
                )

    def text(self) -> str:
        return json.dumps(
            {"images": self.images, "annotations": self.annotations, "categories": _CATEGORIES}, ensure_ascii=False
        )


def write_moment_files(
    result: ScenarioResult,
    folder: Path,
    pictures: Pictures,
    choose: Callable[[ScenarioResult], Sequence[WorstMoment]] = worst_moments,
) -> Path:
    """Write `folder/moments`, where `folder` holds what the result's paths are relative to; returns it.

    It holds events (MCAP and, for Foxglove's API, a line of JSON each) and images with two COCO files, of what was
    meant and of what was published; where no request did badly, all of them are there and empty.

    Raises:
        MomentFilesError: a file cannot be written.
        BagError: a recording or its run is missing or damaged.
    """
    chosen = choose(result)
    out = folder / MOMENTS
    truth, found = _Coco(), _Coco()
    try:
        (out / IMAGES).mkdir(parents=True, exist_ok=True)
        for number, view in enumerate(moment_views(chosen, folder, pictures), 1):
            moment, rgb = view.moment, view.rgb
            told = _told(moment)
            name = f"{number:02d}_{_plain(told['recording'])}_{_plain(told['camera'])}_{moment.moment.stamp_ns}.jpg"
            bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
            if not cv2.imwrite(str(out / IMAGES / name), bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]):
                raise MomentFilesError(f"{out / IMAGES / name} cannot be written")
            about = {"id": number, "file_name": name, "height": rgb.shape[0], "width": rgb.shape[1], **told}
            for coco, masks in ((truth, view.true), (found, view.published)):
                coco.images.append(about)
                coco.add(number, masks, told)
        write_text(out / TRUTH, truth.text())
        write_text(out / FOUND, found.text())
        write_text(out / API_EVENTS, "".join(json.dumps(_api(one), ensure_ascii=False) + "\n" for one in chosen))
        _write_events(out / EVENTS, chosen)
    except OSError as error:
        raise MomentFilesError(f"cannot write {out} ({error}); choose another --out") from error
    return out


def _told(moment: WorstMoment) -> dict[str, str]:
    """What is known of a moment, as the pairs of words that events carry."""
    asked = moment.asked
    jf = "" if moment.jf is None else f"{moment.jf:.3f}"
    why = (
        "missed" if asked.present and not asked.answered else "poor mask" if asked.present else "not there, but masked"
    )
    return {
        "recording": moment.bag.name,
        "camera": camera_of(moment.bag, asked),
        "request": asked.text,
        "request_id": asked.request_id,
        "answer": asked.answer,
        "fault": why,
        "jf": jf,
    }


def _api(moment: WorstMoment) -> dict[str, Any]:
    """The body of a call that creates an event, without the device: whose recording it is, the uploader knows."""
    at = datetime.fromtimestamp(moment.moment.stamp_ns // 10**9, timezone.utc)
    told = f"{at:%Y-%m-%dT%H:%M:%S}.{moment.moment.stamp_ns % 10**9:09d}Z"
    return {"start": told, "end": told, "metadata": _told(moment)}


def _write_events(file: Path, moments: Sequence[WorstMoment]) -> None:
    with appearing(file) as part, part.open("wb") as stream:
        writer = Writer(stream)
        writer.start(library="villa_ros")
        schema = writer.register_schema(_EVENT, "jsonschema", json.dumps(_EVENT_SCHEMA).encode())
        channel = writer.register_channel(EVENT_TOPIC, "json", schema)
        for moment in sorted(moments, key=lambda one: one.moment.stamp_ns):
            stamp_ns = moment.moment.stamp_ns
            time = {"sec": stamp_ns // 10**9, "nsec": stamp_ns % 10**9}
            pairs = [{"key": key, "value": value} for key, value in _told(moment).items()]
            event = {"start_time": time, "end_time": time, "metadata": pairs}
            data = json.dumps(event, ensure_ascii=False).encode()
            writer.add_message(channel, log_time=stamp_ns, publish_time=stamp_ns, data=data)
        writer.finish()  # type: ignore[no-untyped-call] # mcap says of this alone nothing


def _plain(name: str) -> str:
    """Fit for a file's name everywhere."""
    return re.sub(r"[^\w.-]+", "_", name) or "_"
