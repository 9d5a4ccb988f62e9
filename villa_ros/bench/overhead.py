"""What this package costs beside the model: an image in, masks out, next to two usual ways of doing the same.

- *polygons*: pixels through one `cvtColor` copy as cv_bridge makes it, and each mask as the polygon of its whole
  contour (`CHAIN_APPROX_NONE`), one message a vertex, as YOLO nodes send it.
- *simplified*: the same with contours simplified to within a pixel (`approxPolyDP`).

All three take the same message and end with serialized messages; masks out is measured twice, from masks of the image's
size and from what a model gives, logits on a coarser grid. Polygons are geometry_msgs/Polygon: its Point32 stands for
the Point2D of vision packages, which are not in pip. Time is CPU time of this thread.
"""

from __future__ import annotations

import json
import time
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from geometry_msgs.msg import Point32, Polygon
from numpy.typing import NDArray
from rclpy.serialization import serialize_message
from rich.box import SIMPLE_HEAD
from rich.table import Table
from sensor_msgs.msg import Image

from villa.masks import Mask, decode, encode, from_logits, of_logits
from villa_ros.conversions.events import mask_from_message, rclpy_types, to_message
from villa_ros.conversions.images import frame_from_image
from villa_ros.conversions.rclpy_arrays import image_message
from villa_ros.pipeline.events import TrackedInstance, TracksEvent, TrackState
from villa_ros.pipeline.frame import FrameHeader

SIZES = ((480, 640), (1080, 1920))
COUNTS = (1, 5, 20)
OURS, POLYGONS, SIMPLIFIED = "villa_ros", "polygons", "simplified"
AIM_SIZE, AIM_COUNT, AIM_RATIO = (1080, 1920), 5, 10.0
_HEADER = FrameHeader(1_000_000_000, "optical")
_SIMPLE_PX = 1.0
_GRID = (64, 80)  # cells: what the default model gives
_SHARE = 0.045  # of the image that one object covers
_REPORT = "overhead.json"

Contours = list[NDArray[np.int32]]


@dataclass(frozen=True)
class Cost:
    """Medians in ms of one way, for one frame of one size with so many objects."""

    way: str
    height: int
    width: int
    objects: int
    ready_ms: float  # message to a frame that is checked and kept
    pixels_ms: float  # ... to its RGB pixels: every frame of the others, of ours what the model looks at
    out_ms: float  # masks of the image's size to serialized messages
    from_model_ms: float  # the model's logits to serialized messages
    image_ms: float  # a label image to a serialized message
    kilobytes: float  # of the masks' messages
    fidelity: float  # mean IoU of what arrives with what was sent

    @property
    def total_ms(self) -> float:
        """A frame in, and its masks out from what the model gave."""
        return self.ready_ms + self.from_model_ms

    @property
    def total_of_masks_ms(self) -> float:
        """The same where masks of the image's size are given."""
        return self.ready_ms + self.out_ms


@dataclass(frozen=True)
class Overhead:
    """All ways, sizes and counts, measured in one run."""

    costs: tuple[Cost, ...]

    def of(self, way: str, size: tuple[int, int], objects: int) -> Cost:
        """One of them."""
        return next(c for c in self.costs if (c.way, (c.height, c.width), c.objects) == (way, size, objects))

    @property
    def ratio(self) -> float:
        """How many times as much CPU the polygons take, at the size and count of the aim."""
        polygons, ours = (self.of(way, AIM_SIZE, AIM_COUNT) for way in (POLYGONS, OURS))
        return polygons.total_ms / ours.total_ms

    @property
    def ratio_of_masks(self) -> float:
        """The same where masks of the image's size are given."""
        polygons, ours = (self.of(way, AIM_SIZE, AIM_COUNT) for way in (POLYGONS, OURS))
        return polygons.total_of_masks_ms / ours.total_of_masks_ms

    @property
    def worse(self) -> list[Cost]:
        """Where this package takes more CPU than simplified polygons do."""
        mine = [cost for cost in self.costs if cost.way == OURS]
        return [c for c in mine if c.total_ms > self.of(SIMPLIFIED, (c.height, c.width), c.objects).total_ms]

    def table(self) -> Table:
        """For people."""
        shown = Table(box=SIMPLE_HEAD, pad_edge=False, title="CPU ms of one frame, medians")
        for heading in ("image", "objects", "way", "frame\nready", "pixels", "masks\nout", "model\nout"):
            shown.add_column(heading, justify="left" if heading == "way" else "right", no_wrap=True)
        for heading in ("label\nimage", "kB", "IoU"):
            shown.add_column(heading, justify="right", no_wrap=True)
        for cost in self.costs:
            times = (cost.ready_ms, cost.pixels_ms, cost.out_ms, cost.from_model_ms, cost.image_ms)
            shown.add_row(
                f"{cost.width}x{cost.height}", str(cost.objects), cost.way, *(f"{value:.2f}" for value in times),
                f"{cost.kilobytes:.1f}", f"{cost.fidelity:.3f}", end_section=cost.way == SIMPLIFIED,
            )  # fmt: skip
        return shown

    def text(self) -> str:
        """The verdict for people. It depends on the machine and its other work: told, no failure."""
        worse = ", ".join(f"{cost.width}x{cost.height} with {cost.objects}" for cost in self.worse) or "nowhere"
        return (
            f"{AIM_SIZE[1]}x{AIM_SIZE[0]} with {AIM_COUNT} objects: polygons take {self.ratio:.1f} times the CPU "
            f"from the model's logits (aim {AIM_RATIO:g}), {self.ratio_of_masks:.1f} times from masks of the image's "
            "size\n"
            f"more than simplified polygons: {worse}"
        )

    def save(self, folder: Path) -> Path:
        """Write everything as JSON; returns the file."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / _REPORT
        path.write_text(json.dumps([asdict(cost) for cost in self.costs], indent=1) + "\n", "utf-8")
        return path


def measure(
    repeats: int = 15, sizes: Sequence[tuple[int, int]] = SIZES, counts: Sequence[int] = COUNTS,
    tracked: Callable[[Iterable[Any], str], Iterable[Any]] = lambda items, _: items,
) -> Overhead:  # fmt: skip
    """Measure all ways on the same images and masks, one after the other in each round."""
    costs: list[Cost] = []
    cases = [(size, count) for size in sizes for count in counts]
    for size, count in tracked(cases, "measuring"):
        message, logits = bgr_message(size), blobs(count)
        masks = [from_logits(one, *size) for one in logits]
        times: dict[str, list[tuple[float, ...]]] = {way: [] for way in (OURS, POLYGONS, SIMPLIFIED)}
        for _ in range(repeats):
            for way in times:
                times[way].append(_round(way, message, logits, masks))
        for way, rounds in times.items():
            ready, pixels, out, from_model, image = (median(column) for column in zip(*rounds, strict=True))
            sent = _messages(way, _coded(way, masks))
            size_kb = sum(len(serialize_message(one)) for one in sent) / 1e3
            fidelity = _fidelity(sent, masks)
            costs.append(Cost(way, size[0], size[1], count, ready, pixels, out, from_model, image, size_kb, fidelity))
    return Overhead(tuple(costs))


def _round(way: str, message: Any, logits: Sequence[NDArray[np.float32]], masks: Sequence[Mask]) -> tuple[float, ...]:
    size = masks[0].shape
    labels = np.zeros(size, np.uint16)

    def from_model() -> Any:
        return [of_logits(x, *size) for x in logits] if way == OURS else [from_logits(x, *size) for x in logits]

    def sent(coded: Any) -> list[bytes]:
        return [serialize_message(one) for one in _messages(way, coded)]

    return (
        _timed(lambda: frame_from_image(message, "camera") if way == OURS else _pixels(way, message)),
        _timed(lambda: _pixels(way, message)),
        _timed(lambda: sent(_coded(way, masks))),
        _timed(lambda: sent(from_model() if way == OURS else _coded(way, from_model()))),
        _timed(lambda: serialize_message(_label_image(way, labels))),
    )


def _timed(call: Callable[[], object]) -> float:
    begun = time.thread_time_ns()
    call()
    return (time.thread_time_ns() - begun) / 1e6


def _pixels(way: str, message: Any) -> NDArray[np.uint8]:
    if way == OURS:
        return frame_from_image(message, "camera").rgb()
    pixels = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)


def _coded(way: str, masks: Sequence[Mask]) -> list[Any]:
    """Run lengths of each mask, or all contours."""
    if way == OURS:
        return [encode(mask) for mask in masks]
    return [contour for mask in masks for contour in _contours(way, mask)]


def _messages(way: str, coded: Sequence[Any]) -> list[Any]:
    if way == OURS:
        instances = tuple(
            TrackedInstance(f"n-{number}", "r", number + 1, TrackState.TRACKED, "mug", 0.9, 0.9, mask)
            for number, mask in enumerate(coded)
        )
        return [to_message(TracksEvent(_HEADER, "camera", 1, instances, 0), rclpy_types())]
    return [Polygon(points=[Point32(x=float(x), y=float(y)) for x, y in contour[:, 0].tolist()]) for contour in coded]


def _label_image(way: str, labels: NDArray[np.uint16]) -> Any:
    if way == OURS:
        return image_message(labels, _HEADER, "mono16")
    data = array("B")
    data.frombytes(labels.tobytes())
    return Image(height=labels.shape[0], width=labels.shape[1], encoding="mono16", step=2 * labels.shape[1], data=data)


def _contours(way: str, mask: Mask) -> Contours:
    contours, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if way == POLYGONS:
        return list(contours)  # type: ignore[arg-type]
    return [cv2.approxPolyDP(contour, _SIMPLE_PX, closed=True) for contour in contours]  # type: ignore[misc]


def _fidelity(sent: Sequence[Any], masks: Sequence[Mask]) -> float:
    """Mean IoU of masks that are read from messages with those that were written."""
    if isinstance(sent[0], Polygon):
        read = [np.zeros(masks[0].shape, np.uint8) for _ in masks]
        owner = [number for number, mask in enumerate(masks) for _ in _contours(POLYGONS, mask)]
        for message, number in zip(sent, owner, strict=True):
            corners = np.array([(round(point.x), round(point.y)) for point in message.points], np.int32)
            cv2.fillPoly(read[number], [corners], 1)
        arrived = [one.view(np.bool_) for one in read]
    else:
        arrived = [decode(mask_from_message(instance.mask)) for instance in sent[0].instances]
    shares = [np.count_nonzero(a & b) / np.count_nonzero(a | b) for a, b in zip(arrived, masks, strict=True)]
    return float(np.mean(shares))


def bgr_message(size: tuple[int, int]) -> Any:
    """A camera's image, blue first."""
    pixels = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    return image_message(pixels, _HEADER, "bgr8")


def blobs(count: int) -> list[NDArray[np.float32]]:
    """Logits [64, 80] of things: round, with a wavy outline, and every other one with a hole like a mug's handle."""
    height, width = _GRID
    rng = np.random.default_rng(1)
    radius = (_SHARE * height * width / np.pi) ** 0.5
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    logits = []
    for number in range(count):
        x, y = rng.uniform(1.5 * radius, width - 1.5 * radius), rng.uniform(1.5 * radius, height - 1.5 * radius)
        turn = np.arctan2(rows - y, columns - x)
        waves = sum(rng.uniform(0, 0.06) * np.sin(k * turn + rng.uniform(0, 6)) for k in range(2, 14))
        away = np.hypot(columns - x, rows - y)
        inside = radius * (1 + waves) - away
        if number % 2:
            inside = np.minimum(inside, away - radius * 0.3)
        logits.append(np.asarray(inside, np.float32))
    return logits
