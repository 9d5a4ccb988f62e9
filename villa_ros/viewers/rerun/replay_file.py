"""What a replay found, as a Rerun recording in a file: every frame, in the bag's own stamps."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rerun as rr

from villa_ros.bags.reader import Bag
from villa_ros.conversions.images import BadImage, depth_from_message
from villa_ros.pipeline.image_view import ImageError
from villa_ros.pipeline.label_images import in_view
from villa_ros.pipeline.lifting import labelled_points, lift_all
from villa_ros.pipeline.request import RequestState
from villa_ros.replay.drawn_frames import shown
from villa_ros.viewers.picture import Picture, PictureError
from villa_ros.viewers.rerun.bag_depth import calibration, depth_topics
from villa_ros.viewers.rerun.scene import Placed, RerunScene
from villa_ros.viewers.rerun.viewer import RerunError

if TYPE_CHECKING:
    from villa_ros.bags.run import Run
    from villa_ros.pipeline.depth import DepthImage
    from villa_ros.pipeline.events import TrackedInstance
    from villa_ros.replay.run_watch import SettledFrame

APPLICATION = "villa_ros"
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


class RunRecording:
    """A run as a Rerun recording: a `FrameObserver` that writes every frame with its masks, and its depth.

    Args:
        path: The file; an older one is replaced.
        bag: The open bag that is replayed; its calibration is read at once.
        topic: Its images.

    Raises:
        BagError: the bag cannot be read.
        RerunError: the file cannot be written, or the depth is of another size than the images.
    """

    def __init__(self, path: Path, bag: Bag, topic: str) -> None:
        self.path = path
        self._recording = file_recording(path)
        self._scene = RerunScene(self._recording)
        self._topic, self._camera = topic, ""
        self._tracks: dict[int, tuple[TrackedInstance, ...]] = {}
        self._shown_ns = -1  # the newest frame that is written
        self._waiting: list[DepthImage] = []  # that came before its frame was settled
        topics = depth_topics(bag, topic)
        self._model = None if topics is None else calibration(bag, topics.camera_info)
        self._depth = "" if topics is None or self._model is None else topics.depth

    @property
    def beside(self) -> Mapping[str, Callable[[Any], None]]:
        """Depth, where the bag has it."""
        return {self._depth: self._take_depth} if self._depth else {}

    def observe(self, settled: SettledFrame, run: Run) -> None:
        """Write one frame; what does not decode is left out, as the run left it out."""
        frame, instances = settled.frame, shown(settled.told)
        stamp_ns = frame.header.time_ns
        if not self._camera:
            self._camera = frame.camera
            if self._model is not None:
                self._scene.calibration(self._camera, self._model)
        if instances:
            self._tracks[stamp_ns] = instances
        self._shown_ns = max(self._shown_ns, stamp_ns)
        try:
            picture = Picture(frame)
            self._scene.picture(picture)
        except (ImageError, PictureError):
            pass
        else:
            self._scene.tracks(picture, instances)
            if settled.seconds is not None:
                self._scene.latency(stamp_ns, self._camera, 1e3 * settled.seconds, f"{self._camera}, computing")
        self._place_settled()

    def finish(self, run: Run) -> Path:
        """Write what was said, and complete the file."""
        for depth in self._waiting:
            self._place(depth)
        _words(run, self._scene)
        self._recording.flush()
        self._recording.disconnect()
        return self.path

    def _take_depth(self, message: Any) -> None:
        try:
            self._waiting.append(depth_from_message(message))
        except BadImage:  # nothing is lifted there
            return
        self._place_settled()

    def _place_settled(self) -> None:
        settled = [depth for depth in self._waiting if depth.stamp_ns <= self._shown_ns]
        self._waiting = [depth for depth in self._waiting if depth.stamp_ns > self._shown_ns]
        for depth in settled:
            self._place(depth)

    def _place(self, depth: DepthImage) -> None:
        seen, model = in_view(self._tracks.get(depth.stamp_ns, ())), self._model
        assert model is not None
        if not seen:
            return
        masks = [entry.mask for entry in seen]
        try:
            points, labels = labelled_points(masks, [entry.label for entry in seen], depth, model)
        except ValueError as error:
            raise RerunError(f"depth topic {self._depth} is not registered to {self._topic}: {error}") from error
        if not len(points):
            return
        self._scene.points(self._camera, depth.stamp_ns, points, labels)
        placed = []
        for entry, found in zip(seen, lift_all(masks, depth, model), strict=True):
            if found is not None:
                name = entry.name or entry.track_id
                placed.append(Placed(entry.track_id, name, found.centre, found.size, found.orientation))
        self._scene.objects(self._camera, depth.stamp_ns, placed)


def _words(run: Run, scene: RerunScene) -> None:
    for request_id, timed in run.commands.items():
        scene.say(timed.value.stamp_ns, "request", f"{request_id}: {timed.value.text}")
    for request_id, timed in run.answers.items():
        scene.say(timed.log_ns, "answer", f"{request_id}: {timed.value.text}")
    for request_id, statuses in run.statuses.items():
        for timed in statuses:
            state = timed.value.state
            told = f"{request_id}: {state.name.lower()}" + (f", {timed.value.message}" if timed.value.message else "")
            scene.say(timed.log_ns, "state", told, "ERROR" if state in _FAILED else "INFO")
