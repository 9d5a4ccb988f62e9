"""Objects in metres -> villa_msgs/Object3D, and markers for RViz where visualization_msgs is installed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from std_msgs.msg import ColorRGBA

from villa_msgs.msg import Object3D
from villa_ros.pipeline.overlay import colour_of
from villa_ros.runtime.optional_packages import installed

if TYPE_CHECKING:
    from villa_ros.pipeline.events import TrackedInstance
    from villa_ros.pipeline.lifting import Lifted

MARKERS_PACKAGE = "visualization_msgs.msg"
_MARKER_S = 1  # a marker that nobody renews is taken away
_TEXT_M = 0.03
_KINDS = ("boxes", "names")  # of markers


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


def markers_message(
    lifted: Sequence[tuple[TrackedInstance, Lifted]], ended: Iterable[int], header: Any, camera: str
) -> Any:
    """A box and a name for each object -> visualization_msgs/MarkerArray; labels in `ended` are taken away."""
    messages = installed(MARKERS_PACKAGE)
    boxes, names = (f"{camera}/{kind}" for kind in _KINDS)
    markers = []
    for entry, found in lifted:
        red, green, blue = (channel / 255 for channel in colour_of(entry.track_id))
        box = messages.Marker(header=header, ns=boxes, id=entry.label, type=messages.Marker.CUBE)
        box.pose = _pose(found)
        box.scale = Vector3(**dict(zip("xyz", (max(side, 1e-3) for side in found.size), strict=True)))
        box.color = ColorRGBA(r=red, g=green, b=blue, a=0.45)
        name = messages.Marker(header=header, ns=names, id=entry.label, type=messages.Marker.TEXT_VIEW_FACING)
        name.pose.position = Point(x=found.centre[0], y=found.centre[1] - max(found.size) / 2 - _TEXT_M)
        name.pose.position.z = found.centre[2]
        name.scale.z = _TEXT_M
        name.color = ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)
        name.text = entry.name or entry.track_id
        markers += [box, name]
    for marker in markers:
        marker.lifetime = Duration(sec=_MARKER_S)
    for label in ended:
        markers += [
            messages.Marker(header=header, ns=space, id=label, action=messages.Marker.DELETE)
            for space in (boxes, names)
        ]
    return messages.MarkerArray(markers=markers)
