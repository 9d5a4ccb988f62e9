"""Tiny bags, made with the writer that the product uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from fakes import painted
from rosbags.rosbag2 import StoragePlugin, Writer

from villa_ros.bags.reader import Bag
from villa_ros.bags.typestore import villa_typestore
from villa_ros.bags.writer import BagWriter
from villa_ros.conversions.events import command_message, header_message, mask_message, rosbags_types, time_message
from villa_ros.evaluation.ground_truth import TRUTH_TOPIC
from villa_ros.pipeline.frame import FrameHeader
from villa_ros.pipeline.request import Request

IMAGE_TOPIC = "/camera/image_raw"
COMPRESSED_TOPIC = "/camera/image_raw/compressed"
START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 100_000_000
TYPES = rosbags_types(villa_typestore())
Boxes = dict[str, tuple[int, int, int, int]]


def stamp(index: float) -> int:
    """Stamp of frame `index` of a 10 Hz stream, ns."""
    return START_NS + round(index * PERIOD_NS)


def moving_red(index: int) -> Boxes:
    """A red box that moves right and a blue one that stays."""
    return {"red": (2 + index, 10, 12, 12), "blue": (40, 30, 10, 8)}


def raw_image(index: float, pixels: np.ndarray, encoding: str = "rgb8") -> Any:
    """sensor_msgs/Image of rosbags."""
    height, width = pixels.shape[:2]
    return TYPES.cls("sensor_msgs/msg/Image")(
        header=header_message(FrameHeader(stamp(index), "optical"), TYPES),
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=pixels[0].nbytes,
        data=np.ascontiguousarray(pixels).view(np.uint8).reshape(-1),
    )


def jpeg(index: float, rgb: np.ndarray, cut: int = 0) -> Any:
    """sensor_msgs/CompressedImage of rosbags; `cut` bytes are missing at its end."""
    _, data = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    data = data.reshape(-1)
    return TYPES.cls("sensor_msgs/msg/CompressedImage")(
        header=header_message(FrameHeader(stamp(index), "optical"), TYPES),
        format="rgb8; jpeg compressed bgr8",
        data=data[: data.size - cut] if cut else data,
    )


def tracklets(request_id: str, stamps: Sequence[int], masks: Sequence[Sequence[Any]]) -> Any:
    """villa_msgs/TrackletArray: `masks[object][frame]` are RLE masks."""
    headers = [FrameHeader(at, "optical") for at in stamps]
    return TYPES.cls("villa_msgs/msg/TrackletArray")(
        header=header_message(headers[-1], TYPES),
        request_id=request_id,
        clip=TYPES.cls("villa_msgs/msg/Clip")(
            header=header_message(headers[0], TYPES),
            camera="camera",
            stamps=[time_message(at, TYPES) for at in stamps],
            height=48,
            width=64,
            frames_dropped=0,
        ),
        tracklets=[
            TYPES.cls("villa_msgs/msg/Tracklet")(
                track_id=f"truth-{place}",
                name="",
                score=1.0,
                frame_index=TYPES.uint32(range(len(stamps))),
                masks=[mask_message(mask, TYPES) for mask in of_object],
            )
            for place, of_object in enumerate(masks)
        ],
    )


def write_bag(
    path: Path,
    frames: int = 20,
    commands: Sequence[Request] = (),
    boxes: Callable[[int], Boxes] = moving_red,
    topics: Sequence[str] = (IMAGE_TOPIC,),
    extra: Sequence[tuple[str, int, Any]] = (),
) -> Path:
    """A bag of painted frames at 10 Hz, with commands and other messages (topic, log time, message)."""
    with BagWriter(path) as writer:
        messages = [
            (topic, stamp(index), raw_image(index, painted(**boxes(index))))
            for index in range(frames)
            for topic in topics
        ]
        messages += [("/command", request.stamp_ns, command_message(request, TYPES)) for request in commands]
        for topic, log_ns, message in sorted([*messages, *extra], key=lambda entry: entry[1]):
            writer.write(topic, log_ns, message)
    return path


def first_seconds(bag_path: Path, seconds: float, folder: Path) -> Path:
    """A bag with the beginning of another one, and all of its ground truth."""
    store = villa_typestore()
    writer = Writer(folder, version=Writer.VERSION_LATEST, storage_plugin=StoragePlugin.MCAP)
    with Bag(bag_path) as bag, writer:
        end_ns = bag.start_ns + round(seconds * 1e9)
        topics = {name: writer.add_connection(name, kind, typestore=store) for name, kind in bag.topics.items()}
        for topic, _, log_ns, data in bag.raw():
            if log_ns <= end_ns or topic == TRUTH_TOPIC:
                writer.write(topics[topic], min(log_ns, end_ns), data)
    return folder
