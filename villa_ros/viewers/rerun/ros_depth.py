"""A live node's topics as the console hears them, and besides what a camera with depth has in metres."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sensor_msgs.msg import CameraInfo, PointCloud2

from villa_msgs.msg import Object3DArray
from villa_ros.conversions.events import nanoseconds
from villa_ros.conversions.rclpy_arrays import points_from_cloud
from villa_ros.node.depth_topics import OBJECTS, POINTS
from villa_ros.pipeline.camera_model import CameraModel
from villa_ros.runtime import qos
from villa_ros.viewers.rerun.scene import Placed
from villa_ros.viewers.ros_source import RosSource

if TYPE_CHECKING:
    from villa_ros.viewers.node_state import NodeState
    from villa_ros.viewers.rerun.live_bridge import Bridge


class RosMetresSource(RosSource):
    """Tells a `NodeState` as `RosSource` does, and a `Bridge` of points, boxes and calibrations."""

    graph_name = "villa_rerun"

    def __init__(
        self, heard: NodeState, bridge: Bridge, villa_node: str, cameras: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(heard, villa_node, cameras)
        self._bridge = bridge
        self._measured: set[str] = set()  # cameras whose calibration and metres are listened to

    def _look_for_cameras(self) -> None:
        super()._look_for_cameras()
        for camera, (topic, _, _) in self._images.items():
            if camera not in self._measured:
                # Asking for points costs the node work, and it makes them only while somebody listens.
                self._measured.add(camera)
                self._listen(CameraInfo, info_topic(topic), self._on_info_of(camera), qos.images())
                self._listen(
                    PointCloud2, f"{self.name}/{camera}/{POINTS}", self._on_points_of(camera), qos.tracks(False)
                )
                self._listen(
                    Object3DArray, f"{self.name}/{camera}/{OBJECTS}", self._on_objects_of(camera), qos.tracks(False)
                )

    def _on_info_of(self, camera: str) -> Callable[[Any], None]:
        return lambda message: self._bridge.calibration(camera, CameraModel.of_info(message, rectified=False))

    def _on_points_of(self, camera: str) -> Callable[[Any], None]:
        return lambda message: self._bridge.points(
            camera, nanoseconds(message.header.stamp), *points_from_cloud(message)
        )

    def _on_objects_of(self, camera: str) -> Callable[[Any], None]:
        def on_objects(message: Any) -> None:
            placed = [_placed(item) for item in message.objects]
            self._bridge.objects(camera, nanoseconds(message.header.stamp), placed)

        return on_objects


def info_topic(image_topic: str) -> str:
    """Where drivers publish the calibration of an image topic: beside it, whatever its transport."""
    return f"{image_topic.removesuffix('/compressed').rpartition('/')[0]}/camera_info"


def _placed(item: Any) -> Placed:
    centre, turn, size = item.box_center.position, item.box_center.orientation, item.box_size
    return Placed(
        item.track_id,
        item.name or item.track_id,
        (centre.x, centre.y, centre.z),
        (size.x, size.y, size.z),
        (turn.x, turn.y, turn.z, turn.w),
    )
