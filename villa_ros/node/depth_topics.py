"""The tracks of a frame in metres, where a camera has registered depth: objects, points and markers."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sensor_msgs.msg import PointCloud2

from villa_msgs.msg import Object3DArray
from villa_ros.conversions.events import duration_message, header_message, rclpy_types
from villa_ros.conversions.images import BadImage, depth_from_message
from villa_ros.conversions.objects_3d import MARKERS_PACKAGE, markers_message, object_message
from villa_ros.conversions.rclpy_arrays import cloud_message
from villa_ros.node.derived_topics import DerivedTopic, listened_to, publish
from villa_ros.node.latest_job import LatestJobThread
from villa_ros.pipeline.camera_model import CameraModel, CameraModelError
from villa_ros.pipeline.depth import MILLIMETRE_M, DepthBuffer, DepthImage
from villa_ros.pipeline.label_images import in_view
from villa_ros.pipeline.lifting import Lifted, labelled_points, lift_all

if TYPE_CHECKING:
    from villa_ros.pipeline.events import TrackedInstance, TracksEvent

_DEPTH_KEPT = 16  # images: half a second, while a frame is with the model
_WAITING = 8  # frames that wait for their depth image


@dataclass(frozen=True)
class DepthStats:
    """What became of one camera's depth."""

    received: int
    used: int
    dropped: Mapping[str, int]  # depth images and frames, by reason
    calibrated: bool
    offset_ms: float  # of the depth image used last
    last_error: str


@dataclass(frozen=True)
class LiftedFrame:
    """Tracks of a camera on one frame, with depth; lifted when somebody asks, and once."""

    camera: DepthCamera
    event: TracksEvent
    depth: DepthImage
    model: CameraModel

    @property
    def offset_ns(self) -> int:
        """By how much the depth image is later."""
        return self.depth.stamp_ns - self.event.header.stamp_ns

    @cached_property
    def header(self) -> Any:
        """std_msgs/Header of the frame."""
        return header_message(self.event.header, rclpy_types())

    @cached_property
    def seen(self) -> list[TrackedInstance]:
        """The instances in view."""
        return in_view(self.event.instances)

    @cached_property
    def objects(self) -> list[tuple[TrackedInstance, Lifted]]:
        """Those with depth, and where they are. Raises ValueError where the depth is of another size than the masks."""
        found = []
        places = lift_all([entry.mask for entry in self.seen], self.depth, self.model)
        for entry, place in zip(self.seen, places, strict=True):
            if place is None:
                self.camera.without_depth()
            else:
                found.append((entry, place))
        return found


def _objects(lifted: LiftedFrame) -> Any:
    offset = duration_message(lifted.offset_ns, rclpy_types())
    objects = [object_message(entry, place) for entry, place in lifted.objects]
    return Object3DArray(header=lifted.header, objects=objects, depth_offset=offset)


def _points(lifted: LiftedFrame) -> Any:
    if not lifted.seen:
        return None
    masks, labels = [one.mask for one in lifted.seen], [one.label for one in lifted.seen]
    return cloud_message(*labelled_points(masks, labels, lifted.depth, lifted.model), lifted.event.header)


def _markers(lifted: LiftedFrame) -> Any:
    ended = lifted.camera.newly_ended(frozenset(entry.label for entry, _ in lifted.objects))
    return markers_message(lifted.objects, ended, lifted.header, lifted.camera.name)


OBJECTS, POINTS = "objects_3d", "object_points"
DEPTH_TOPICS: tuple[DerivedTopic[LiftedFrame], ...] = (
    DerivedTopic(OBJECTS, Object3DArray, _objects),
    DerivedTopic(POINTS, PointCloud2, _points),
    DerivedTopic("markers", f"{MARKERS_PACKAGE}/MarkerArray", _markers),
)


class DepthCamera:
    """Depth, calibration and waiting frames of one camera; callable from any thread."""

    def __init__(
        self, name: str, publishers: Mapping[str, Any], slop_s: float, *, rectified: bool, unit_m: float = MILLIMETRE_M
    ) -> None:
        self.name = name
        self.publishers = publishers
        self._rectified = rectified
        self._unit_m = unit_m
        self._lock = threading.Lock()
        self._depth = DepthBuffer(_DEPTH_KEPT, round(slop_s * 1e9))
        self._model: CameraModel | None = None
        self._info: tuple[object, ...] = ()
        self._waiting: OrderedDict[int, TracksEvent] = OrderedDict()
        self._shown: frozenset[int] = frozenset()  # labels of the markers that were sent last; the thread's own
        self._received = self._used = 0
        self._dropped: Counter[str] = Counter()
        self._offset_ms = 0.0
        self._last_error = ""

    def calibration(self, message: Any) -> str:
        """Take in a sensor_msgs/CameraInfo; returns what is wrong with it, if it is new."""
        told = (message.width, message.height, message.distortion_model, *message.k, *message.p, *message.d)
        if told == self._info:
            return ""
        self._info = told
        try:
            model = CameraModel.of_info(message, rectified=self._rectified)
        except CameraModelError as error:
            with self._lock:
                self._model = None
            self._drop(f"camera_info/{error.reason}", str(error))
            return str(error)
        with self._lock:
            self._model = model
        return ""

    def depth(self, message: Any) -> str:
        """Take in a sensor_msgs/Image or CompressedImage of depth; returns what is wrong with it."""
        try:
            image = depth_from_message(message, self._unit_m)
        except BadImage as error:
            self._drop(f"bad_images/{error.reason}", str(error))
            return str(error)
        with self._lock:
            self._received += 1
            self._depth.add(image)
        return ""

    def tracks(self, event: TracksEvent) -> None:
        """Keep a frame until its depth image is there."""
        if not listened_to(self.publishers):
            return
        with self._lock:
            self._waiting[event.header.stamp_ns] = event
            if len(self._waiting) > _WAITING:
                self._waiting.popitem(last=False)
                self._dropped["no_depth"] += 1

    def due(self) -> LiftedFrame | None:
        """The newest frame whose depth image is there; those before it are let go."""
        with self._lock:
            for stamp_ns in reversed(self._waiting):
                depth = self._depth.at(stamp_ns)
                exact = depth is not None and depth.stamp_ns == stamp_ns
                if not exact and self._depth.may_come(stamp_ns):
                    continue
                event = self._waiting[stamp_ns]
                older = [other for other in self._waiting if other <= stamp_ns]
                for other in older:
                    del self._waiting[other]
                self._dropped["replaced"] += len(older) - 1
                if depth is None:
                    self._dropped["no_depth"] += 1
                elif self._model is None:
                    self._dropped["no_camera_info"] += 1
                else:
                    return LiftedFrame(self, event, depth, self._model)
                return None
        return None

    def clear(self) -> None:
        """Forget depth and waiting frames."""
        with self._lock:
            self._depth.clear()
            self._waiting.clear()

    def stats(self) -> DepthStats:
        """The account so far."""
        with self._lock:
            dropped = {reason: count for reason, count in self._dropped.items() if count}
            return DepthStats(
                self._received, self._used, dropped, self._model is not None, self._offset_ms, self._last_error
            )

    def publish(self, lifting: LiftedFrame) -> None:
        """Lift the objects of a frame and tell whoever listens."""
        try:
            publish(DEPTH_TOPICS, self.publishers, lifting)
        except ValueError as error:  # the depth is of another size than the masks
            self._drop("misaligned", str(error))
            return
        with self._lock:
            self._used += 1
            self._offset_ms = lifting.offset_ns / 1e6

    def without_depth(self) -> None:
        """An object of a frame has no depth that can be used."""
        with self._lock:
            self._dropped["objects_without_depth"] += 1

    def newly_ended(self, labels: frozenset[int]) -> list[int]:
        """Labels of the markers that were sent last and are not among these."""
        ended, self._shown = sorted(self._shown - labels), labels
        return ended

    def _drop(self, reason: str, message: str) -> None:
        with self._lock:
            self._dropped[reason] += 1
            self._last_error = message


class DepthTopics:
    """One thread that lifts the newest frame of each camera whose depth is there."""

    def __init__(self, cameras: Mapping[str, DepthCamera], logger: Any) -> None:
        self.cameras = cameras
        self._thread: LatestJobThread[LiftedFrame] = LatestJobThread(
            "depth topics", lambda one: one.camera.publish(one), logger
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """End the thread and let go of what waits."""
        self._thread.close()
        for camera in self.cameras.values():
            camera.clear()

    @property
    def failures(self) -> int:
        """How often making one has failed."""
        return self._thread.failures

    def tracks(self, event: TracksEvent) -> None:
        """Have these tracks lifted as soon as their depth is there, if somebody looks."""
        camera = self.cameras.get(event.camera)
        if camera is not None and event.instances:
            camera.tracks(event)
            self._proceed(camera)

    def depth(self, name: str, message: Any) -> str:
        """Take in a depth image; returns what is wrong with it."""
        error = self.cameras[name].depth(message)
        self._proceed(self.cameras[name])
        return error

    def _proceed(self, camera: DepthCamera) -> None:
        job = camera.due()
        if job is not None:
            self._thread.put(camera.name, job)
