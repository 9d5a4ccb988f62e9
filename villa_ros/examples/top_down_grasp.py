"""An example of the manipulation side: target mask and depth in, a grasp from above out.

    python -m villa_ros.examples.top_down_grasp --ros-args -r target_mask:=/villa_node/camera/target_mask \\
        -r depth:=/camera/depth_registered/image_raw -r camera_info:=/camera/color/camera_info

It publishes `~/grasp` (geometry_msgs/PoseStamped, in the camera's optical frame) and `~/width` (std_msgs/Float64, m):
where the middle between the fingertips goes, z along the approach and y along the closing fingers, and how far apart
they must at least be.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import rclpy
from geometry_msgs.msg import Point, PoseStamped, Quaternion
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Float64

from villa.masks import Mask, encode
from villa_ros.conversions.events import nanoseconds
from villa_ros.conversions.images import BadImage, depth_from_message
from villa_ros.pipeline.camera_model import CameraModel, CameraModelError
from villa_ros.pipeline.depth import DepthBuffer, DepthImage
from villa_ros.pipeline.lifting import lift
from villa_ros.runtime import qos

FINGER_M = 0.03  # how deep the fingertips go below the top, never below the middle of the object
_WAITING = 8  # masks whose depth is on its way


@dataclass(frozen=True)
class Grasp:
    """In the optical frame, m."""

    position: tuple[float, float, float]
    orientation: tuple[float, float, float, float]  # quaternion x, y, z, w
    width: float  # of the object between the fingers


def top_down_grasp(mask: Mask, depth: DepthImage, camera: CameraModel) -> Grasp | None:
    """Where to grasp what a mask [H, W] shows; None where it stands on nothing that can be seen.

    Raises:
        ValueError: mask, depth image and camera differ in size.
    """
    found = lift(encode(mask), depth, camera)
    if found is None or not found.on_plane:
        return None
    box = Rotation.from_quat(found.orientation).as_matrix()
    up = box[:, 2]
    _, short, height = found.size
    position = np.array(found.centre) + up * (height / 2 - min(FINGER_M, height / 2))
    # The box's x is its long side, so the fingers close along y; the hand comes down along -z of the box.
    hand = np.stack((np.cross(box[:, 1], -up), box[:, 1], -up), axis=1)
    x, y, z = map(float, position)
    quaternion = Rotation.from_matrix(hand).as_quat()
    return Grasp((x, y, z), tuple(map(float, quaternion)), float(short))  # type: ignore[arg-type]  # four of them


class TopDownGrasp(Node):
    """Computes a grasp for every target mask whose depth image is there."""

    def __init__(self, **options: Any) -> None:
        super().__init__("top_down_grasp", **options)
        slop = self.declare_parameter("depth_slop_s", 0.0).value
        rectified = self.declare_parameter("rectified", False).value
        self._rectified = bool(rectified)
        self._depth = DepthBuffer(16, round(float(slop) * 1e9))
        self._camera: CameraModel | None = None
        self._masks: OrderedDict[int, Any] = OrderedDict()
        self._grasps = self.create_publisher(PoseStamped, "~/grasp", 10)
        self._widths = self.create_publisher(Float64, "~/width", 10)
        self.create_subscription(Image, "target_mask", self._on_mask, qos.tracks(reliable=False))
        self.create_subscription(Image, "depth", self._on_depth, qos.images())
        self.create_subscription(CameraInfo, "camera_info", self._on_info, qos.images())

    def _on_info(self, message: Any) -> None:
        try:
            self._camera = CameraModel.of_info(message, rectified=self._rectified)
        except CameraModelError as error:
            self.get_logger().error(str(error), throttle_duration_sec=5.0)

    def _on_depth(self, message: Any) -> None:
        try:
            self._depth.add(depth_from_message(message))
        except BadImage as error:
            self.get_logger().error(str(error), throttle_duration_sec=5.0)
        self._plan()

    def _on_mask(self, message: Any) -> None:
        self._masks[nanoseconds(message.header.stamp)] = message
        if len(self._masks) > _WAITING:
            self._masks.popitem(last=False)
        self._plan()

    def _plan(self) -> None:
        """Plan for the newest mask whose depth is there."""
        for stamp_ns in reversed(self._masks):
            depth = self._depth.at(stamp_ns)
            if depth is None or self._camera is None:
                continue
            message = self._masks[stamp_ns]
            for older in [other for other in self._masks if other <= stamp_ns]:
                del self._masks[older]
            mask = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)[:, : message.width] > 0
            try:
                grasp = top_down_grasp(mask, depth, self._camera)
            except ValueError as error:
                self.get_logger().error(str(error), throttle_duration_sec=5.0)
                return
            if grasp is None:
                self.get_logger().warning("no grasp: no plane below the target", throttle_duration_sec=5.0)
                return
            pose = PoseStamped(header=message.header)
            pose.pose.position = Point(**dict(zip("xyz", grasp.position, strict=True)))
            pose.pose.orientation = Quaternion(**dict(zip("xyzw", grasp.orientation, strict=True)))
            self._grasps.publish(pose)
            self._widths.publish(Float64(data=grasp.width))
            return


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is told to end."""
    rclpy.init(args=args)
    node = TopDownGrasp()
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
