"""What a run segmented, written so that a person can correct it: frames, palette images, and COCO-video labels."""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image

from villa_ros.evaluation.labels.format import (
    ANNOTATIONS,
    BACKGROUND,
    IGNORE,
    IMAGES,
    LABELS,
    MOST_OBJECTS,
    README,
    SCHEMA,
    Indices,
    coco_runs,
    davis_palette,
    flatten,
)
from villa_ros.pipeline.events import TracksEvent, TrackState
from villa_ros.pipeline.image_view import ImageError
from villa_ros.pipeline.request import Action, Request, RequestState
from villa_ros.replay.run_watch import SettledFrame

if TYPE_CHECKING:
    from villa.masks import RleMask
    from villa_ros.bags.run import Run
    from villa_ros.pipeline.frame import Frame

JPEG_QUALITY = 95


class DraftLabelsError(RuntimeError):
    """Labels cannot be drafted; the message says what is in the way."""


@dataclass
class DraftObject:
    """One track of the run."""

    number: int  # its value in the palette images
    track_id: str
    name: str = ""
    request_ids: list[str] = field(default_factory=list)  # in the order in which it came to belong to them
    masks: dict[int, RleMask] = field(default_factory=dict)  # stamp in ns -> mask, where there is one
    states: dict[int, TrackState] = field(default_factory=dict)
    covered_px: int = 0  # that lie under smaller objects, over all frames
    covered_frames: int = 0


@dataclass(frozen=True)
class DraftLabels:
    """What was written."""

    folder: Path
    frames: int
    objects: tuple[DraftObject, ...]
    requests: int
    dropped: int  # frames of the bag without labels: the run did not see them
    bad_images: Counter[str]

    def text(self) -> str:
        """For people."""
        lines = [f"{self.folder}: {self.frames} frames, {len(self.objects)} objects of {self.requests} requests"]
        if self.dropped:
            lines.append(f"{self.dropped} frames are left out, as the run dropped them while it tracked")
        lines += [f"{count} images are left out: {reason}" for reason, count in self.bad_images.items()]
        lines += [_covered(one) for one in self.objects if one.covered_px]
        return "\n".join(lines)


@dataclass(frozen=True)
class _Window:
    """When a request is in force: until the next command, or as long as it is tracked beside later ones."""

    request: Request
    begin_ns: int
    end_ns: int | None  # the first stamp after it; None: to the end


class DraftLabelsWriter:
    """Writes a run's masks and frames into a new folder; a context manager, and a `FrameObserver` of the run.

    Every frame of the bag gets an image of labels, but those that a live run dropped while it tracked: nobody knows
    what it would have said there. The folder is there once it is complete; `evaluation.labels.read` reads it back.

    Args:
        folder: Must not be there.
        topic: The images, for whoever reads the labels.

    Raises:
        DraftLabelsError: the folder is there, the run holds more than 254 objects or masks of another size than the
            images, no frame is usable, or nothing can be written.
    """

    def __init__(self, folder: Path, topic: str) -> None:
        if folder.exists():
            raise DraftLabelsError(
                f"{folder} is there already, and may hold corrected labels: choose another folder, or remove it"
            )
        self._folder, self._topic, self._camera = folder, topic, ""
        self._part = folder.with_name(f"{folder.name}.part")
        self._writer = _Writer(self._part)
        self._untold: list[int] = []  # stamps of frames of which the run said nothing
        self._bad: Counter[str] = Counter()

    def __enter__(self) -> DraftLabelsWriter:
        shutil.rmtree(self._part, ignore_errors=True)
        try:
            for name in (IMAGES, ANNOTATIONS):
                (self._part / name).mkdir(parents=True)
        except OSError as error:
            raise self._cannot_write(error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._part, ignore_errors=True)

    @property
    def beside(self) -> Mapping[str, Callable[[Any], None]]:
        """Nothing."""
        return {}

    def observe(self, settled: SettledFrame, run: Run) -> None:
        """Write one frame and its labels; an image that does not decode is counted."""
        frame = settled.frame
        if frame.header.came_ns is not None:
            raise DraftLabelsError(
                f"the images of {self._topic} are not stamped, and labels find theirs by stamps: have the driver stamp "
                "its images and record them again"
            )
        stamp_ns = frame.header.stamp_ns
        self._camera = frame.camera
        self._writer.know(settled.told, stamp_ns)
        if not settled.told:
            self._untold.append(stamp_ns)
        try:
            self._writer.add(frame, self._bad)
        except OSError as error:
            raise self._cannot_write(error) from error

    def finish(self, run: Run, bad_images: Mapping[str, int]) -> DraftLabels:
        """Complete the folder; `bad_images` of the bag are told beside those met here."""
        writer, bad = self._writer, Counter(bad_images) + self._bad
        spans = [(min(one.states), max(one.states)) for one in writer.objects]
        dropped = [stamp for stamp in self._untold if any(first < stamp < last for first, last in spans)]
        writer.leave_out(dropped)
        if not writer.stamps:
            told = ", ".join(f"{count} x {reason}" for reason, count in bad.items()) or "no message"
            raise DraftLabelsError(f"topic {self._topic} holds no usable frame: {told}")
        windows = _windows(run, self._camera)
        try:
            (self._part / LABELS).write_text(_json(writer, windows, self._camera, self._topic), "utf-8")
            (self._part / README).write_text(_readme(writer.objects, windows), "utf-8")
            self._part.rename(self._folder)
        except OSError as error:
            raise self._cannot_write(error) from error
        return DraftLabels(self._folder, len(writer.stamps), tuple(writer.objects), len(windows), len(dropped), bad)

    def _cannot_write(self, error: OSError) -> DraftLabelsError:
        return DraftLabelsError(f"cannot write labels at {self._folder} ({error}); choose another folder")


def _windows(run: Run, camera: str) -> list[_Window]:
    carried = [request for entry, request in run.journal if entry.op == "submit" and request is not None]
    requests = {request.request_id: request for request in carried}
    requests |= {name: timed.value for name, timed in run.commands.items()}
    asked = [
        request
        for request in requests.values()
        if request.action in (Action.SEGMENT, Action.FOLLOW_UP) and request.camera in ("", camera)
    ]
    asked.sort(key=lambda request: request.stamp_ns)
    following = [request.stamp_ns for request in asked[1:]]
    windows = []
    for request, next_ns in zip(asked, [*following, None], strict=True):
        end_ns = next_ns
        superseded = any(t.value.state == RequestState.SUPERSEDED for t in run.statuses.get(request.request_id, ()))
        if end_ns is not None and not superseded:
            tracked = [timed.value.header.stamp_ns + 1 for timed in run.tracks_of(request.request_id)]
            end_ns = max([end_ns, *tracked])
        windows.append(_Window(request, request.stamp_ns, end_ns))
    return windows


class _Writer:
    """Writes frame after frame."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stamps: list[int] = []
        self._objects: dict[str, DraftObject] = {}  # by track
        self.size = (0, 0)  # height, width in px
        self._palette = davis_palette().tobytes()

    @property
    def objects(self) -> list[DraftObject]:
        """The tracks so far, in the order of their numbers."""
        return list(self._objects.values())

    def know(self, told: Sequence[TracksEvent], stamp_ns: int) -> None:
        """Take note of what the run said of a frame."""
        for instance in (one for event in told for one in event.instances if one.state != TrackState.REMOVED):
            new = DraftObject(len(self._objects) + 1, instance.track_id)
            one = self._objects.setdefault(instance.track_id, new)
            one.name = instance.name or one.name
            if instance.request_id not in one.request_ids:
                one.request_ids.append(instance.request_id)
            one.states.setdefault(stamp_ns, instance.state)
            if instance.mask.area:
                one.masks[stamp_ns] = instance.mask
        if len(self._objects) > MOST_OBJECTS:
            raise DraftLabelsError(
                f"the run tracked {len(self._objects)} objects, a palette image has numbers for {MOST_OBJECTS}: replay "
                "a shorter part, or fewer requests"
            )

    def leave_out(self, stamps: Sequence[int]) -> None:
        """Remove frames that were written."""
        for stamp_ns in set(stamps) & set(self.stamps):
            (self.folder / IMAGES / f"{stamp_ns}.jpg").unlink()
            (self.folder / ANNOTATIONS / f"{stamp_ns}.png").unlink()
            self.stamps.remove(stamp_ns)

    def add(self, frame: Frame, bad: Counter[str]) -> None:
        """Write one frame and its labels; an image that does not decode is counted."""
        try:
            rgb = frame.rgb()
        except ImageError as error:
            bad[error.reason] += 1
            return
        stamp_ns, size = frame.header.stamp_ns, (rgb.shape[0], rgb.shape[1])
        if not self.stamps:
            self.size = size
        masks = {one.number: one.masks[stamp_ns] for one in self.objects if stamp_ns in one.masks}
        sizes = {size, *((mask.height, mask.width) for mask in masks.values())}
        if sizes != {self.size}:
            other = next(other for other in sizes if other != self.size)
            raise DraftLabelsError(
                f"the frame at {stamp_ns / 1e9:.3f} s, or a mask of it, is {other[1]}x{other[0]} px, the first frame "
                f"{self.size[1]}x{self.size[0]}: labels are of one size, so write them for a part of the bag"
            )
        numbers = flatten(masks, *size)
        for one in self.objects:
            if one.number in masks:
                covered = masks[one.number].area - int(np.count_nonzero(numbers == one.number))
                one.covered_px += covered
                one.covered_frames += covered > 0
        jpeg = self.folder / IMAGES / f"{stamp_ns}.jpg"
        if not cv2.imwrite(str(jpeg), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]):
            raise DraftLabelsError(f"OpenCV cannot write {jpeg}; is the folder writable, with room on its disk?")
        self._write_png(self.folder / ANNOTATIONS / f"{stamp_ns}.png", numbers)
        self.stamps.append(stamp_ns)

    def _write_png(self, path: Path, numbers: Indices) -> None:
        image = Image.fromarray(numbers)
        image.putpalette(self._palette)
        image.save(path)


def _json(writer: _Writer, windows: list[_Window], camera: str, topic: str) -> str:
    """`labels.json`: what a person may edit at its beginning, one request or object a line."""
    height, width = writer.size
    stamps = writer.stamps
    numbers: defaultdict[str, list[int]] = defaultdict(list)
    for one in writer.objects:
        for request_id in one.request_ids:
            numbers[request_id].append(one.number)
    requests = [
        {
            "request_id": window.request.request_id,
            "text": window.request.text,
            "objects": numbers[window.request.request_id],
            "begin_ns": window.begin_ns,
            "end_ns": window.end_ns,
            "command": _command(window.request),
        }
        for window in windows
    ]
    texts = {window.request.request_id: window.request.text for window in windows}
    names = list(dict.fromkeys(one.name for one in writer.objects))
    annotations = [
        {
            "id": one.number,
            "track_id": one.track_id,
            "request_id": one.request_ids[0],
            "request_text": texts.get(one.request_ids[0], ""),
            "video_id": 1,
            "category_id": names.index(one.name) + 1,
            "iscrowd": 0,
            "height": height,
            "width": width,
            "length": len(stamps),
            "bboxes": [_box(one.masks.get(stamp)) for stamp in stamps],
            "areas": [one.masks[stamp].area if stamp in one.masks else None for stamp in stamps],
            "states": [one.states[stamp].name if stamp in one.states else None for stamp in stamps],
            "segmentations": [coco_runs(one.masks[stamp]) if stamp in one.masks else None for stamp in stamps],
        }
        for one in writer.objects
    ]
    video = {
        "id": 1,
        "camera": camera,
        "topic": topic,
        "height": height,
        "width": width,
        "length": len(stamps),
        "file_names": [f"{stamp}.jpg" for stamp in stamps],
        "stamps_ns": stamps,
    }
    parts: dict[str, list[Any]] = {
        "requests": requests,
        "categories": [{"id": place, "name": name} for place, name in enumerate(names, 1)],
        "videos": [video],
        "annotations": annotations,
    }
    lists = [
        f"{json.dumps(key)}: [\n" + ",\n".join(f"  {json.dumps(entry)}" for entry in entries) + "\n]"
        for key, entries in parts.items()
    ]
    return "{\n" + ",\n".join([f'"info": {json.dumps({"description": SCHEMA})}', *lists]) + "\n}\n"


def _command(request: Request) -> dict[str, Any]:
    fields: dict[str, Any] = asdict(request)
    if math.isnan(request.confidence):
        fields["confidence"] = None  # JSON has no NaN
    return fields


def _box(mask: RleMask | None) -> list[int] | None:
    return None if mask is None else [mask.x, mask.y, mask.box_width, mask.box_height]


def _covered(one: DraftObject) -> str:
    return (
        f"object {one.number} ({one.name or one.track_id}) lies under smaller ones with {one.covered_px} px on "
        f"{one.covered_frames} frames"
    )


def _readme(objects: list[DraftObject], windows: list[_Window]) -> str:
    known = [f"  {one.number:3d}  {one.name or 'no name'} (track {one.track_id})" for one in objects]
    asked = [
        f"  {window.request.request_id}: {window.request.text!r}, objects "
        f"{[one.number for one in objects if window.request.request_id in one.request_ids]}"
        for window in windows
    ]
    covered = [f"  {_covered(one)}" for one in objects if one.covered_px]
    lines = [
        "Labels to correct. A model drew them: they are a draft, and no ground truth yet.",
        "",
        f"{IMAGES}/STAMP.jpg is a frame, {ANNOTATIONS}/STAMP.png what is in it: each pixel holds the number of an",
        f"object, {BACKGROUND} where there is none. {IGNORE} says that nobody can tell; you need not use it.",
        "",
        "Numbers:",
        *(known or ["  none: the run segmented nothing"]),
        "",
        "Requests, and what the model took them to mean:",
        *(asked or ["  none"]),
        "",
        "How to correct:",
        "- Use an editor that keeps the image indexed and its palette as it is (GIMP does). Do not let it sort or",
        "  shrink the palette, smooth edges, save RGB, or change the size. A gray image of numbers will do too.",
        "- Paint with an object's number where the object is, with 0 where it is not. Keep every file.",
        "- A new object gets a number that is not in the list. It is then there, and no request means it.",
        f"- What a request means is `objects` of its line at the beginning of {LABELS}: add a number, take one away,",
        "  or leave [] where nothing in view is meant. `begin_ns` and `end_ns` say which frames the request is about.",
        "",
        "Where objects overlap, the smaller one is on top. Pixels that you leave as they are keep what lies beneath;",
        "pixels that you change belong to what you paint and to nothing else.",
        *(["", "Covered in this draft:", *covered] if covered else []),
    ]
    return "\n".join(lines) + "\n"
