"""Pictures, masks, tracks, metres, words and numbers as Rerun has them, each at its own stamp."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import rerun as rr
from numpy.typing import NDArray

from villa_ros.pipeline.events import TrackState
from villa_ros.pipeline.label_images import in_view, label_image
from villa_ros.pipeline.overlay import FILL, colour_of
from villa_ros.viewers.picture import mime_of
from villa_ros.viewers.rerun.layout import (
    AREA,
    BOXES,
    FRAME,
    IMAGE,
    LATENCY,
    MASKS,
    OBJECTS,
    POINTS,
    SCORE,
    STAMP,
    STATE,
    WORDS,
    layout,
)

if TYPE_CHECKING:
    from villa_ros.pipeline.camera_model import CameraModel
    from villa_ros.pipeline.events import TrackedInstance
    from villa_ros.viewers.picture import Picture

_POINT_UI = 2.0  # size of a point on the screen
_IMAGE_PLANE_M = 0.15  # how far from the camera its picture hangs in space
_KNOWN_LABELS = 256  # of a camera, the newest ones
_KNOWN_LINES = 1000  # plots whose name and colour were told; one that is forgotten is told again


@dataclass(frozen=True)
class Placed:
    """An object's box in the optical frame, m; `orientation` is a quaternion x, y, z, w."""

    track_id: str
    name: str
    centre: tuple[float, float, float]
    size: tuple[float, float, float]
    orientation: tuple[float, float, float, float]


class RerunScene:
    """Writes to one recording. For one thread: times are the thread's own in Rerun."""

    def __init__(self, recording: rr.RecordingStream) -> None:
        self.recording = recording
        self._frames = 0
        self._cameras: dict[str, None] = {}
        self._with_depth: dict[str, None] = {}
        self._models: dict[str, CameraModel] = {}
        self._names: dict[str, dict[int, tuple[str, str]]] = {}  # camera -> label -> name, track
        self._of: dict[tuple[str, ...], frozenset[int | str]] = {}  # labels or tracks of what is shown in metres
        self._lines: OrderedDict[tuple[str, ...], None] = OrderedDict()

    def picture(self, picture: Picture) -> None:
        """The picture of a camera, compressed, in its own size."""
        self._know(picture.camera)
        self._frames += 1
        data = picture.whole()
        image = rr.EncodedImage(contents=data, media_type=mime_of(data))
        self._log(picture.stamp_ns, (picture.camera, IMAGE), image)

    def tracks(self, picture: Picture, instances: Sequence[TrackedInstance]) -> None:
        """Masks, boxes and plots of what is tracked on this very picture.

        Where nothing is, that is said too: the viewer shows the newest there is, and would lay earlier masks on it.
        """
        camera, stamp_ns = picture.camera, picture.stamp_ns
        seen = in_view(instances)
        masks, boxes = (camera, IMAGE, MASKS), (camera, IMAGE, BOXES)
        if seen:
            self._tell_names(camera, seen)
            labels = label_image(seen, seen[0].mask.height, seen[0].mask.width)
            if labels.max() <= np.iinfo(np.uint8).max:
                labels = labels.astype(np.uint8)  # half of what a viewer keeps
            self._log(stamp_ns, masks, rr.SegmentationImage(labels, opacity=FILL))
            self._log(stamp_ns, boxes, _boxes(seen), _particulars(seen))
        else:
            self._log(stamp_ns, masks, rr.Clear(recursive=False))
            self._log(stamp_ns, boxes, rr.Clear(recursive=False))
        here = {entry.label for entry in seen} | {entry.track_id for entry in seen}
        for entity in ((camera, POINTS), (camera, OBJECTS)):
            if not self._of.get(entity, frozenset()) <= here:  # depth may come seldom: metres stay while all are seen
                self._clear(stamp_ns, entity)
        for entry in instances:
            for kind, value in ((SCORE, entry.score), (AREA, entry.mask.area), (STATE, int(entry.state))):
                self._plot(
                    stamp_ns, (kind, camera, entry.track_id), value, entry.name or entry.track_id, entry.track_id
                )

    def calibration(self, camera: str, model: CameraModel) -> None:
        """Where the camera's picture hangs in space; distortion is left out, as Rerun has none."""
        self._know(camera)
        if self._models.get(camera) == model:
            return
        self._models[camera] = model
        pinhole = rr.Pinhole(
            focal_length=(model.fx, model.fy),
            principal_point=(model.cx, model.cy),
            resolution=(model.width, model.height),
            image_plane_distance=_IMAGE_PLANE_M,
        )
        self.recording.log([camera], rr.ViewCoordinates.RDF, static=True, strict=True)
        self.recording.log([camera, IMAGE], pinhole, static=True, strict=True)

    def points(self, camera: str, stamp_ns: int, points: NDArray[np.float32], labels: NDArray[np.uint32]) -> None:
        """Points of objects [N, 3] m in the optical frame, each with its object's label [N]."""
        self._know(camera, depth=True)
        cloud = rr.Points3D(points, class_ids=labels.astype(np.uint16), radii=rr.Radius.ui_points(_POINT_UI))
        self._of[(camera, POINTS)] = frozenset(np.unique(labels).tolist())
        self._log(stamp_ns, (camera, POINTS), cloud)

    def objects(self, camera: str, stamp_ns: int, objects: Sequence[Placed]) -> None:
        """Boxes round objects, in the optical frame."""
        self._know(camera, depth=True)
        entity = (camera, OBJECTS)
        if not objects:
            self._clear(stamp_ns, entity)
            return
        boxes = rr.Boxes3D(
            centers=[one.centre for one in objects],
            half_sizes=[[side / 2 for side in one.size] for one in objects],
            quaternions=[rr.Quaternion(xyzw=one.orientation) for one in objects],
            labels=[one.name for one in objects],
            colors=[colour_of(one.track_id) for one in objects],
        )
        self._of[entity] = frozenset(one.track_id for one in objects)
        self._log(stamp_ns, entity, boxes)

    def say(self, stamp_ns: int, who: str, text: str, level: str = "INFO") -> None:
        """A line of text: of a request, its answer or its state, or of the node."""
        self._log(stamp_ns, (WORDS, who), rr.TextLog(text, level=level))

    def latency(self, stamp_ns: int, camera_or_stage: str, milliseconds: float, name: str) -> None:
        """How long a frame or a stage took."""
        self._plot(stamp_ns, (LATENCY, camera_or_stage), milliseconds, name, name)

    def _plot(self, stamp_ns: int, entity: tuple[str, ...], value: float, name: str, colour_key: str) -> None:
        if entity not in self._lines:
            self._lines[entity] = None
            if len(self._lines) > _KNOWN_LINES:
                self._lines.popitem(last=False)
            line = rr.SeriesLines(colors=colour_of(colour_key), names=name)
            self.recording.log(list(entity), line, static=True, strict=True)
        self._log(stamp_ns, entity, rr.Scalars(float(value)))

    def _tell_names(self, camera: str, seen: Sequence[TrackedInstance]) -> None:
        """Name and colour of each label, as in the overlays; all that are known, as the viewer looks at static ones."""
        names = self._names.setdefault(camera, {})
        if all(names.get(entry.label) == (entry.name, entry.track_id) for entry in seen):
            return
        for entry in seen:
            names.pop(entry.label, None)
            names[entry.label] = (entry.name, entry.track_id)
        for label in list(names)[:-_KNOWN_LABELS]:
            del names[label]
        infos = [rr.AnnotationInfo(0, "", (0, 0, 0, 0))]
        infos += [rr.AnnotationInfo(label, name, colour_of(track)) for label, (name, track) in names.items()]
        self.recording.log([camera], rr.AnnotationContext(infos), static=True, strict=True)

    def _know(self, camera: str, *, depth: bool = False) -> None:
        if camera in self._cameras and (not depth or camera in self._with_depth):
            return
        self._cameras[camera] = None
        if depth:
            self._with_depth[camera] = None
        self.recording.send_blueprint(layout(list(self._cameras), list(self._with_depth)))

    def _clear(self, stamp_ns: int, entity: tuple[str, ...]) -> None:
        if self._of.pop(entity, None) is not None:
            self._log(stamp_ns, entity, rr.Clear(recursive=False))

    def _log(self, stamp_ns: int, entity: tuple[str, ...], *shown: rr.AsComponents) -> None:
        self.recording.set_time(STAMP, timestamp=np.datetime64(stamp_ns, "ns"))
        self.recording.set_time(FRAME, sequence=self._frames)
        self.recording.log(list(entity), *shown, strict=True)


def _boxes(seen: Sequence[TrackedInstance]) -> rr.Boxes2D:
    return rr.Boxes2D(
        mins=[(entry.mask.x, entry.mask.y) for entry in seen],
        sizes=[(entry.mask.box_width, entry.mask.box_height) for entry in seen],
        labels=[_label(entry) for entry in seen],
        class_ids=[entry.label for entry in seen],
    )


def _label(entry: TrackedInstance) -> str:
    told = f"{entry.name or entry.track_id} {entry.score:.2f}"
    return told if entry.state == TrackState.TRACKED else f"{told} ({entry.state.name.lower()})"


def _particulars(seen: Sequence[TrackedInstance]) -> rr.AnyValues:
    """What a box is asked for by machines: the fields of villa_msgs/TrackedInstance."""
    return rr.AnyValues(
        track_id=[entry.track_id for entry in seen],
        request_id=[entry.request_id for entry in seen],
        state=[entry.state.name for entry in seen],
        score=[float(entry.score) for entry in seen],
    )
