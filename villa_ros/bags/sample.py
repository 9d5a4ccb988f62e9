"""Writes the sample scene to an MCAP bag: what a camera and an operator would send, and the ground truth.

| topic | type | rate |
|---|---|---|
| /camera/image_raw/compressed | sensor_msgs/CompressedImage, JPEG | 10 Hz |
| /camera/camera_info | sensor_msgs/CameraInfo | 10 Hz |
| /camera/depth/compressed | sensor_msgs/CompressedImage, PNG of 16UC1, mm, registered to the colour image | 1 Hz |
| /command | villa_msgs/Command | twelve |
| /ground_truth/tracklets | villa_msgs/TrackletArray | one a command over its window, one of all objects |
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from villa.masks import RleMask, encode
from villa_ros.bags.typestore import villa_typestore
from villa_ros.conversions.events import command_message, header_message, rosbags_types, to_message
from villa_ros.pipeline.events import Tracklet, TrackletsEvent
from villa_ros.pipeline.frame import FrameHeader
from villa_ros.pipeline.request import Request

if TYPE_CHECKING:
    from villa.data.scenes.sample import SampleFrame

IMAGE_TOPIC = "/camera/image_raw/compressed"
CAMERA_INFO_TOPIC = "/camera/camera_info"
DEPTH_TOPIC = "/camera/depth/compressed"
COMMAND_TOPIC = "/command"
TRUTH_TOPIC = "/ground_truth/tracklets"
BAG_NAME = "tabletop"
SUMS = "SHA256SUMS"
CAMERA = "camera"
FRAME_ID = "camera_color_optical_frame"
START_NS = 1_767_225_600_000_000_000  # 2026-01-01 00:00:00 UTC
JPEG_QUALITY = 86
_DEPTH_EVERY = 10  # frames
_NS_PER_S = 1_000_000_000


class SampleBagError(RuntimeError):
    """A sample bag cannot be written."""


class SeenFrame(Protocol):
    """What a camera saw at one time, and what is known of it."""

    @property
    def time_s(self) -> float:
        """Since the first frame."""

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """[H, W, 3]."""

    @property
    def instances(self) -> NDArray[np.uint8] | None:
        """[H, W]: 0 background, i + 1 for object i of the names; None where nobody outlined the objects."""

    @property
    def depth_m(self) -> NDArray[np.float32] | None:
        """[H, W] along the optical axis; None where it is not recorded."""


class AskedRequest(Protocol):
    """A request, when its last word was spoken, and the names of what it means."""

    @property
    def request_id(self) -> str:
        """Readable and stable."""

    @property
    def time_s(self) -> float:
        """Since the first frame."""

    @property
    def text(self) -> str:
        """In plain words."""

    @property
    def targets(self) -> tuple[str, ...]:
        """None where it means nothing in view."""


def stamp_ns(time_s: float) -> int:
    """A time of the scene as a stamp."""
    return START_NS + round(time_s * _NS_PER_S)


def build_sample(out: Path, progress: Callable[[int, int], None] | None = None) -> Path:
    """Render the sample scene and write `out`/tabletop (a rosbag2 folder) and `out`/SHA256SUMS.

    The same versions of mujoco, OpenCV, rosbags and the OpenGL library give the same bytes. `progress` is called
    with the frames done and their count.

    Returns:
        The folder of the bag.

    Raises:
        SampleBagError: `out`/tabletop exists already.
        OpenAssetError: robosuite or metaworld is not installed.
        RenderError: the machine cannot draw off-screen.
    """
    from villa.data.scenes.sample import FRAMES, REQUESTS, focal_px, names, render_sample

    folder = new_folder(out, BAG_NAME)

    def counted() -> Iterator[SampleFrame]:
        for frame in render_sample():
            yield frame
            if progress:
                progress(frame.index + 1, FRAMES)

    write_bag(folder, counted(), REQUESTS, names(), focal_px())
    write_sums(out)
    return folder


def new_folder(out: Path, name: str) -> Path:
    """Where a bag is to be written.

    Raises:
        SampleBagError: something is there already.
    """
    folder = out / name
    if folder.exists():
        raise SampleBagError(f"{folder} exists already; wanted a new place: choose another --out or remove it")
    out.mkdir(parents=True, exist_ok=True)
    return folder


def write_sums(out: Path) -> None:
    """Write the SHA-256 sums of all bags in a folder, as `sha256sum --check` reads them."""
    sums = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(out).as_posix()}\n"
        for path in sorted(out.glob("*/*"))
    ]
    (out / SUMS).write_text("".join(sums), encoding="utf-8")


def write_bag(
    folder: Path,
    frames: Iterable[SeenFrame],
    requests: Sequence[AskedRequest],
    names: Sequence[str],
    focal_px: float | None = None,
) -> None:
    """Write frames and timed requests as a bag; the last window ends with the last frame.

    Without a focal length there is neither CameraInfo nor depth. The ground truth is of the frames whose instances are
    known.
    """
    store = villa_typestore()
    types = rosbags_types(store)
    masks: list[tuple[RleMask, ...]] = []
    stamps: list[int] = []  # of the frames with masks
    newest = START_NS
    pending = sorted(requests, key=lambda request: request.time_s)
    begins = [stamp_ns(request.time_s) for request in pending]
    writer = Writer(folder, version=Writer.VERSION_LATEST, storage_plugin=StoragePlugin.MCAP)
    writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    with writer:
        connection = {
            topic: writer.add_connection(topic, kind, typestore=store)
            for topic, kind in (
                (IMAGE_TOPIC, "sensor_msgs/msg/CompressedImage"),
                *([] if focal_px is None else [(CAMERA_INFO_TOPIC, "sensor_msgs/msg/CameraInfo")]),
                *([] if focal_px is None else [(DEPTH_TOPIC, "sensor_msgs/msg/CompressedImage")]),
                (COMMAND_TOPIC, "villa_msgs/msg/Command"),
                (TRUTH_TOPIC, "villa_msgs/msg/TrackletArray"),
            )
        }

        def write(topic: str, at_ns: int, message: Any) -> None:
            writer.write(connection[topic], at_ns, store.serialize_cdr(message, connection[topic].msgtype))

        def truth(request: AskedRequest | None, begin: int, end: int) -> None:
            chosen = [index for index, stamp in enumerate(stamps) if begin <= stamp < end]
            targets = names if request is None else request.targets
            event = _truth_event("" if request is None else request.request_id, targets, chosen, stamps, masks, names)
            write(TRUTH_TOPIC, newest, to_message(event, types))

        spoken = told = 0
        for number, frame in enumerate(frames):
            now = stamp_ns(frame.time_s)
            while spoken < len(pending) and begins[spoken] <= now:
                write(COMMAND_TOPIC, begins[spoken], command_message(_command(pending[spoken]), types))
                spoken += 1
            while told < spoken - 1:
                truth(pending[told], begins[told], begins[told + 1])
                told += 1
            header = header_message(FrameHeader(now, FRAME_ID), types)
            compressed = types.cls("sensor_msgs/msg/CompressedImage")
            if focal_px is not None:
                height, width, _ = frame.rgb.shape
                write(CAMERA_INFO_TOPIC, now, pinhole_info(header, types, height, width, focal_px))
            colour = _encoded(
                ".jpg", cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR), cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY
            )
            write(
                IMAGE_TOPIC,
                now,
                compressed(header=header, format="rgb8; jpeg compressed bgr8", data=types.uint8(colour)),
            )
            if frame.depth_m is not None and number % _DEPTH_EVERY == 0:
                depth = _encoded(".png", depth_mm(frame.depth_m), cv2.IMWRITE_PNG_COMPRESSION, 9)
                write(
                    DEPTH_TOPIC,
                    now,
                    compressed(header=header, format="16UC1; png compressed ", data=types.uint8(depth)),
                )
            newest = now
            if frame.instances is not None:
                stamps.append(now)
                masks.append(tuple(encode(frame.instances == index + 1) for index in range(len(names))))
        for index in range(told, spoken):
            end = begins[index + 1] if index + 1 < spoken else newest + 1
            truth(pending[index], begins[index], end)
        truth(None, stamps[0], newest + 1)


def depth_mm(depth_m: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Metres -> REP-118's 16UC1: millimetres, 0 where nothing was measured (beyond 4 m)."""
    millimetres = np.round(depth_m * 1000.0)
    return np.where(millimetres < 4000.0, millimetres, 0.0).astype(np.uint16)


def _encoded(suffix: str, image: NDArray[Any], option: int, value: int) -> NDArray[np.uint8]:
    done, data = cv2.imencode(suffix, image, [option, value])
    if not done:
        raise SampleBagError(f"OpenCV could not encode an image of shape {image.shape} as {suffix}")
    return np.asarray(data, np.uint8)


def _command(request: AskedRequest) -> Request:
    return Request(
        request_id=request.request_id,
        text=request.text,
        camera=CAMERA,
        stamp_ns=stamp_ns(request.time_s),
        locale="en",
    )


def _truth_event(
    request_id: str,
    targets: Sequence[str],
    chosen: Sequence[int],
    stamps: Sequence[int],
    masks: Sequence[tuple[RleMask, ...]],
    names: Sequence[str],
) -> TrackletsEvent:
    height, width = masks[0][0].height, masks[0][0].width
    tracklets = tuple(
        Tracklet(
            track_id=f"truth-{names.index(name) + 1}",
            name=name.replace("_", " "),
            score=1.0,
            frame_index=tuple(range(len(chosen))),
            masks=tuple(masks[frame][names.index(name)] for frame in chosen),
        )
        for name in targets
    )
    headers = tuple(FrameHeader(stamps[frame], FRAME_ID) for frame in chosen)
    return TrackletsEvent(request_id, CAMERA, headers, height, width, 0, tracklets)


def pinhole_info(header: Any, types: Any, height: int, width: int, focal_px: float) -> Any:
    """sensor_msgs/CameraInfo of a camera without distortion that looks through the middle of its image."""
    middle_x, middle_y = (width - 1) / 2.0, (height - 1) / 2.0
    region = types.cls("sensor_msgs/msg/RegionOfInterest")
    return types.cls("sensor_msgs/msg/CameraInfo")(
        header=header,
        height=height,
        width=width,
        distortion_model="plumb_bob",
        d=np.zeros(5),
        k=np.array([focal_px, 0, middle_x, 0, focal_px, middle_y, 0, 0, 1.0]),
        r=np.eye(3).reshape(-1),
        p=np.array([focal_px, 0, middle_x, 0, 0, focal_px, middle_y, 0, 0, 0, 1.0, 0]),
        binning_x=0,
        binning_y=0,
        roi=region(x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
    )
