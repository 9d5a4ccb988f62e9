"""The tracks of a frame in metres, where a camera has registered depth: objects, points and markers."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from std_msgs.msg import ColorRGBA

from villa_msgs.msg import Object3D, Object3DArray
from villa_ros.conversions.events import duration_message, header_message, rclpy_types
from villa_ros.conversions.images import BadImage, depth_from_image
from villa_ros.conversions.rclpy_arrays import cloud_message
from villa_ros.node.latest_job import NewestOnly
from villa_ros.pipeline.camera_model import CameraModel, CameraModelError
from villa_ros.pipeline.depth import DepthBuffer, DepthImage
from villa_ros.pipeline.label_images import in_view
from villa_ros.pipeline.lifting import Lifted, lift, points_of
from villa_ros.pipeline.overlay import colour_of
from villa_ros.runtime.optional_packages import installed

if TYPE_CHECKING:
    from villa_ros.pipeline.events import TrackedInstance, TracksEvent

# Topics of a camera that need depth.
OBJECTS, POINTS, MARKERS = "objects_3d", "object_points", "markers"
MARKERS_PACKAGE = "visualization_msgs.msg"

_DEPTH_KEPT = 16  # images: half a second, while a frame is with the model
_WAITING = 8  # frames that wait for their depth image
_MARKER_S = 1  # a marker that nobody renews is taken away
_TEXT_M = 0.03


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
class _Job:
    camera: LiftedCamera
    event: TracksEvent
    depth: DepthImage
    model: CameraModel


class LiftedCamera:
    """Depth, calibration and waiting frames of one camera; callable from any thread."""

    def __init__(self, name: str, publishers: Mapping[str, Any], slop_s: float, *, rectified: bool) -> None:
        self.name = name
        self.publishers = publishers
        self._rectified = rectified
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

    def wanted(self, *topics: str) -> bool:
        """Does anybody listen to one of these topics?"""
        return any(self.publishers[topic].get_subscription_count() for topic in topics if topic in self.publishers)

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
        """Take in a sensor_msgs/Image of depth; returns what is wrong with it."""
        try:
            image = depth_from_image(message)
        except BadImage as error:
            self._drop(f"bad_images/{error.reason}", str(error))
            return str(error)
        with self._lock:
            self._received += 1
            self._depth.add(image)
        return ""

    def tracks(self, event: TracksEvent) -> None:
        """Keep a frame until its depth image is there."""
        if not self.wanted(OBJECTS, POINTS, MARKERS):
            return
        with self._lock:
            self._waiting[event.header.stamp_ns] = event
            if len(self._waiting) > _WAITING:
                self._waiting.popitem(last=False)
                self._dropped["no_depth"] += 1

    def due(self) -> _Job | None:
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
                    return _Job(self, event, depth, self._model)
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

    def publish(self, job: _Job) -> None:
        """Lift the objects of a frame and tell whoever listens."""
        event, seen = job.event, in_view(job.event.instances)
        header = header_message(event.header, rclpy_types())
        try:
            lifted = self._lifted(job, seen) if self.wanted(OBJECTS, MARKERS) else []
            clouds = [points_of(one.mask, job.depth, job.model) for one in seen] if self.wanted(POINTS) else []
        except ValueError as error:
            self._drop("misaligned", str(error))
            return
        offset_ns = job.depth.stamp_ns - event.header.stamp_ns
        with self._lock:
            self._used += 1
            self._offset_ms = offset_ns / 1e6
        if self.wanted(OBJECTS):
            offset = duration_message(offset_ns, rclpy_types())
            objects = [object_message(entry, found) for entry, found in lifted]
            self.publishers[OBJECTS].publish(Object3DArray(header=header, objects=objects, depth_offset=offset))
        if clouds:
            labels = np.repeat([one.label for one in seen], [len(cloud) for cloud in clouds]).astype(np.uint32)
            self.publishers[POINTS].publish(cloud_message(np.concatenate(clouds), labels, event.header))
        if self.wanted(MARKERS):
            self.publishers[MARKERS].publish(self._markers(lifted, header))

    def _lifted(self, job: _Job, seen: list[TrackedInstance]) -> list[tuple[TrackedInstance, Lifted]]:
        out = []
        for entry in seen:
            others = [other.mask for other in seen if other is not entry]
            found = lift(entry.mask, job.depth, job.model, others)
            if found is None:
                with self._lock:
                    self._dropped["objects_without_depth"] += 1
            else:
                out.append((entry, found))
        return out

    def _markers(self, lifted: list[tuple[TrackedInstance, Lifted]], header: Any) -> Any:
        messages = installed(MARKERS_PACKAGE)
        markers = []
        for entry, found in lifted:
            red, green, blue = (channel / 255 for channel in colour_of(entry.track_id))
            box = messages.Marker(header=header, ns=f"{self.name}/boxes", id=entry.label, type=messages.Marker.CUBE)
            box.pose = _pose(found)
            box.scale = Vector3(**dict(zip("xyz", (max(side, 1e-3) for side in found.size), strict=True)))
            box.color = ColorRGBA(r=red, g=green, b=blue, a=0.45)
            name = messages.Marker(
                header=header, ns=f"{self.name}/names", id=entry.label, type=messages.Marker.TEXT_VIEW_FACING
            )
            name.pose.position = Point(x=found.centre[0], y=found.centre[1] - max(found.size) / 2 - _TEXT_M)
            name.pose.position.z = found.centre[2]
            name.scale.z = _TEXT_M
            name.color = ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)
            name.text = entry.name or entry.track_id
            markers += [box, name]
        for marker in markers:
            marker.lifetime = Duration(sec=_MARKER_S)
        now = frozenset(entry.label for entry, _ in lifted)
        for label in sorted(self._shown - now):
            markers += [
                messages.Marker(header=header, ns=f"{self.name}/{kind}", id=label, action=messages.Marker.DELETE)
                for kind in ("boxes", "names")
            ]
        self._shown = now
        return messages.MarkerArray(markers=markers)

    def _drop(self, reason: str, message: str) -> None:
        with self._lock:
            self._dropped[reason] += 1
            self._last_error = message


class LiftedMirrors:
    """One thread that lifts the newest frame of each camera whose depth is there."""

    def __init__(self, cameras: Mapping[str, LiftedCamera], logger: Any) -> None:
        self.cameras = cameras
        self._thread: NewestOnly[_Job] = NewestOnly("depth mirrors", lambda job: job.camera.publish(job), logger)

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

    def _proceed(self, camera: LiftedCamera) -> None:
        job = camera.due()
        if job is not None:
            self._thread.put(camera.name, job)


def object_message(entry: TrackedInstance, found: Lifted) -> Any:
    """A track and where it is -> villa_msgs/Object3D."""
    return Object3D(
        track_id=entry.track_id,
        request_id=entry.request_id,
        name=entry.name,
        centroid=Point(**dict(zip("xyz", found.centroid, strict=True))),
        box_center=_pose(found),
        box_size=Vector3(**dict(zip("xyz", found.size, strict=True))),
        valid_points=found.valid_points,
        valid_fraction=found.valid_fraction,
    )


def _pose(found: Lifted) -> Any:
    return Pose(
        position=Point(**dict(zip("xyz", found.centre, strict=True))),
        orientation=Quaternion(**dict(zip("xyzw", found.orientation, strict=True))),
    )
