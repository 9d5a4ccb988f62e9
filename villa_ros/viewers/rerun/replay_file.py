"""What a replay found, as a Rerun recording in a file: every frame, in the bag's own stamps."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import rerun as rr

from villa_ros.bags.reader import Bag
from villa_ros.conversions.images import BadImage
from villa_ros.pipeline.label_images import in_view
from villa_ros.pipeline.lifting import lift, points_of
from villa_ros.pipeline.request import RequestState
from villa_ros.replay.bag_replay import Progress, quietly
from villa_ros.video.overlay_video import instances_at
from villa_ros.viewers.picture import PictureError, picture_of
from villa_ros.viewers.rerun.bag_depth import calibration, depth_of, depth_topics
from villa_ros.viewers.rerun.scene import Placed, Scene
from villa_ros.viewers.rerun.viewer import RerunError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from villa_ros.bags.run import Run
    from villa_ros.pipeline.depth import DepthImage
    from villa_ros.pipeline.frame import Frame

APPLICATION = "villa_ros"
CAMERA = "camera"  # what replay calls its only one
_FAILED = (RequestState.FAILED, RequestState.REJECTED)


def file_recording(path: Path, *, endless: bool = False) -> rr.RecordingStream:
    """A recording that goes to a file, replacing an older one.

    One that may be `endless` gets no table of contents, which the SDK would gather in memory until the end.

    Raises:
        RerunError: the file cannot be written.
    """
    recording = rr.RecordingStream(APPLICATION, recording_id=uuid.uuid4())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        recording.save(path, write_footer=not endless)
    except (OSError, RuntimeError) as error:
        raise RerunError(f"cannot write a Rerun recording at {path} ({error}); choose another place") from error
    return recording


def write_recording(
    bag_path: Path,
    camera_topic: str | None,
    run: Run,
    path: Path,
    seconds: Mapping[int, float] | None = None,
    progress: Progress = quietly,
) -> Path:
    """Write a run on the frames of the bag it was made from; returns `path`.

    `seconds`: how long each frame took, by stamp.

    Raises:
        BagError: the bag cannot be read, or lacks the topic.
        RerunError: the file cannot be written.
    """
    recording = file_recording(path)
    with Bag(bag_path) as bag:
        topic = bag.choose_image_topic(camera_topic)
        writer = _Writer(bag, topic, run, seconds or {}, Scene(recording))
        for _ in progress(writer.frames(), bag.count(topic), "writing"):
            pass
    _words(run, writer.scene)
    recording.flush()
    recording.disconnect()
    return path


class _Writer:
    """Goes through a bag's pictures and depth once."""

    def __init__(self, bag: Bag, topic: str, run: Run, seconds: Mapping[int, float], scene: Scene) -> None:
        self.scene = scene
        self._bag = bag
        self._topic = topic
        self._camera = run.tracks[0].value.camera if run.tracks else CAMERA
        self._tracks = instances_at(run)
        self._seconds = seconds
        topics = depth_topics(bag, topic)
        self._model = None if topics is None else calibration(bag, topics.camera_info)
        self._depth = "" if topics is None or self._model is None else topics.depth

    def frames(self) -> Iterator[Frame]:
        """Every frame, once it is written."""
        if self._model is not None:
            self.scene.calibration(self._camera, self._model)
        for recorded in self._bag.messages([topic for topic in (self._topic, self._depth) if topic]):
            try:
                if recorded.topic == self._depth:
                    self._place(depth_of(recorded.message))
                    continue
                picture = picture_of(recorded.message, self._camera)
                self.scene.picture(picture)
            except (BadImage, PictureError):  # the run dropped it too, and said so
                continue
            stamp_ns = picture.stamp_ns
            self.scene.tracks(picture, self._tracks.get(stamp_ns, ()))
            if stamp_ns in self._seconds:
                self.scene.latency(stamp_ns, self._camera, 1e3 * self._seconds[stamp_ns], f"{self._camera}, computing")
            yield picture.frame

    def _place(self, depth: DepthImage) -> None:
        seen, model = in_view(self._tracks.get(depth.stamp_ns, ())), self._model
        assert model is not None
        try:
            clouds = [points_of(entry.mask, depth, model) for entry in seen]
        except ValueError as error:
            raise RerunError(f"depth topic {self._depth} is not registered to {self._topic}: {error}") from error
        if not any(len(cloud) for cloud in clouds):
            return
        labels = np.repeat([entry.label for entry in seen], [len(cloud) for cloud in clouds]).astype(np.uint32)
        self.scene.points(self._camera, depth.stamp_ns, np.concatenate(clouds), labels)
        placed = []
        for entry in seen:
            found = lift(entry.mask, depth, model, [other.mask for other in seen if other is not entry])
            if found is not None:
                name = entry.name or entry.track_id
                placed.append(Placed(entry.track_id, name, found.centre, found.size, found.orientation))
        self.scene.objects(self._camera, depth.stamp_ns, placed)


def _words(run: Run, scene: Scene) -> None:
    for request_id, timed in run.commands.items():
        scene.say(timed.value.stamp_ns, "request", f"{request_id}: {timed.value.text}")
    for request_id, timed in run.answers.items():
        scene.say(timed.log_ns, "answer", f"{request_id}: {timed.value.text}")
    for request_id, statuses in run.statuses.items():
        for timed in statuses:
            state = timed.value.state
            told = f"{request_id}: {state.name.lower()}" + (f", {timed.value.message}" if timed.value.message else "")
            scene.say(timed.log_ns, "state", told, "ERROR" if state in _FAILED else "INFO")
