"""Segment any video, folder of images or camera by a request, without ROS."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from villa.files.whole import write_text
from villa_ros.bags.writer import BagWriter, EventBag
from villa_ros.pipeline.config import PipelineConfig
from villa_ros.pipeline.engine import Engine
from villa_ros.pipeline.events import (
    AnswerEvent,
    Event,
    JournalEvent,
    StatusEvent,
    TrackedInstance,
    TracksEvent,
    TrackState,
)
from villa_ros.pipeline.request import ErrorCode, Request, RequestState
from villa_ros.replay.driver import drive
from villa_ros.video.overlay_video import Caption, OverlayWriter

if TYPE_CHECKING:
    from villa.interface import SegmentationModel
    from villa_ros.pipeline.frame import Frame
    from villa_ros.video.source import VideoSource

TRACKS_SCHEMA = "villa-tracks-1"
_NONCE = "segment"
_REQUEST_ID = "request-1"

Progress = Callable[[Iterable["Frame"], "int | None", str], Iterable["Frame"]]


def quietly(frames: Iterable[Frame], count: int | None, doing: str) -> Iterable[Frame]:
    """No progress bar."""
    return frames


class SegmentError(RuntimeError):
    """The request could not be carried out."""


@dataclass(frozen=True)
class Segmented:
    """The answer, and what was written."""

    answer: str
    found: bool  # False: nothing in view is meant
    frames: int
    frames_with_mask: int
    overlay: Path
    contact_sheet: Path
    tracks_json: Path
    bag: Path


class _Collector:
    """The engine's sink: writes the bag and remembers what the pictures and the JSON file need."""

    def __init__(self, bag: EventBag, request: Request) -> None:
        self.caption = Caption(request.text)
        self.state = StatusEvent(request.request_id, RequestState.UNKNOWN, ErrorCode.NONE, "")
        self.found = False
        self.instances: tuple[TrackedInstance, ...] = ()
        self._bag = bag
        self._now_ns = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, JournalEvent) and event.op == "ingest":
            self._now_ns = event.stamp_ns
            self.instances = ()
        elif isinstance(event, TracksEvent) and event.header.time_ns == self._now_ns:
            self.instances = event.instances
        elif isinstance(event, AnswerEvent):
            self.caption = Caption(self.caption.request, event.text)
            self.found = bool(event.seg_track_ids)
        elif isinstance(event, StatusEvent):
            self.state = event
        self._bag.event(event, self._now_ns)

    def command(self, request: Request) -> None:
        self._bag.command(request, self._now_ns)


def segment(
    source: VideoSource,
    text: str,
    model: SegmentationModel,
    folder: Path,
    *,
    camera: str = "camera",
    at_s: float = 0.5,
    config: PipelineConfig | None = None,
    progress: Progress = quietly,
) -> Segmented:
    """Ask `text` at `at_s` seconds, follow what it means to the end, and write overlay, tracks and bag.

    The model answers on the frames up to that moment; a clip that is shorter is asked at its end. Ctrl-C ends
    a live camera's stream and keeps what there is.

    Raises:
        SegmentError: there was no frame, or the request was refused or failed.
        SourceError: a frame cannot be read.
    """
    last_s = at_s if source.count is None else (source.count - 1) / source.fps
    request = Request(_REQUEST_ID, text, camera=camera, stamp_ns=round(min(at_s, last_s) * 1e9))
    json_path = folder / "tracks.json"
    with ExitStack() as stack:
        writer = stack.enter_context(BagWriter(folder / "run"))
        overlay = stack.enter_context(OverlayWriter(folder, source.fps))
        collector = _Collector(EventBag(writer), request)
        engine = Engine(model, config or PipelineConfig(cameras=(camera,)), collector, _NONCE)
        described: list[dict[str, Any]] = []
        size: tuple[int, int] = (0, 0)
        frames = progress(source.frames, source.count, "segmenting")
        try:
            for frame in drive(engine, frames, [request], collector.command):
                size = (frame.height, frame.width)
                overlay.add(frame.rgb(), collector.instances, collector.caption, frame.header.time_ns)
                described.append(_describe(frame, collector.instances))
        except KeyboardInterrupt:  # ends a live camera's stream; what was segmented so far is kept
            if not described:
                raise
        if not described:
            raise SegmentError(f"{source.name} gave no frame")
        if collector.state.state in (RequestState.FAILED, RequestState.REJECTED):
            raise SegmentError(f"the request {collector.state.state.name.lower()}: {collector.state.message}")
        engine.stop()
    write_text(json_path, json.dumps(_document(source, text, collector, size, described)))
    return Segmented(
        answer=collector.caption.answer,
        found=collector.found,
        frames=len(described),
        frames_with_mask=sum(any(i["area"] for i in entry["instances"]) for entry in described),
        overlay=overlay.video,
        contact_sheet=overlay.sheet,
        tracks_json=json_path,
        bag=writer.file,
    )


def _describe(frame: Frame, instances: Iterable[TrackedInstance]) -> dict[str, Any]:
    return {
        "stamp_s": frame.header.time_ns / 1e9,
        "instances": [
            {
                "track_id": instance.track_id,
                "name": instance.name,
                "state": instance.state.name,
                "score": round(instance.score, 4),
                "mask_score": round(instance.mask_score, 4),
                "area": instance.mask.area,
                "box": [
                    instance.mask.x,
                    instance.mask.y,
                    instance.mask.box_width,
                    instance.mask.box_height,
                ],
                "runs": instance.mask.runs.tolist(),
            }
            for instance in instances
            if instance.state != TrackState.REMOVED
        ],
    }


def _document(
    source: VideoSource, text: str, collector: _Collector, size: tuple[int, int], frames: list[dict[str, Any]]
) -> dict[str, Any]:
    """What tracks.json holds. `runs` are row-major inside `box` [x, y, width, height], background first."""
    return {
        "schema": TRACKS_SCHEMA,
        "source": source.name,
        "request": text,
        "answer": collector.caption.answer,
        "height": size[0],
        "width": size[1],
        "fps": source.fps,
        "frames": frames,
    }
