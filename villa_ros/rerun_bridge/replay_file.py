"""What a replay found, as a Rerun recording in a file: every frame, in the bag's own stamps."""

from __future__ import annotations

import bisect
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import rerun as rr

from villa_ros.bag import Bag
from villa_ros.images import BadImage
from villa_ros.overlay_video import instances_at
from villa_ros.pipeline.lifting import lift, points_of
from villa_ros.pipeline.request import RequestState
from villa_ros.pipeline.views import in_view
from villa_ros.replay import Progress, quietly
from villa_ros.rerun_bridge.bag_depth import calibration, depth_images, depth_topics
from villa_ros.rerun_bridge.scene import Placed, Scene
from villa_ros.rerun_bridge.viewer import RerunError
from villa_ros.web_console.picture import PictureError, picture_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from villa_ros.pipeline.camera_model import CameraModel
    from villa_ros.pipeline.depth import DepthImage
    from villa_ros.pipeline.events import TrackedInstance
    from villa_ros.pipeline.frame import Frame
    from villa_ros.recording import Run

APPLICATION = "villa_ros"
CAMERA = "camera"  # what replay calls its only one
_FAILED = (RequestState.FAILED, RequestState.REJECTED)


def file_recording(path: Path) -> rr.RecordingStream:
    """A recording that goes to a file, replacing an older one.

    Raises:
        RerunError: the file cannot be written.
    """
    recording = rr.RecordingStream(APPLICATION, recording_id=uuid.uuid4())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        recording.save(path)
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
    scene = Scene(recording)
    tracks = instances_at(run)
    camera = run.tracks[0].value.camera if run.tracks else CAMERA
    with Bag(bag_path) as bag:
        topic = bag.choose_image_topic(camera_topic)
        tracks = instances_at(run)
        drawn = _pictures(bag, topic, camera, tracks, seconds or {}, scene)
        stamps = [frame.header.stamp_ns for frame in progress(drawn, bag.count(topic), "writing")]
        bare = sorted(stamp for stamp in stamps if not in_view(tracks.get(stamp, ())))
        _metres(bag, topic, camera, tracks, bare, scene)
    _words(run, scene)
    recording.flush()
    recording.disconnect()
    return path


def _pictures(
    bag: Bag,
    topic: str,
    camera: str,
    tracks: Mapping[int, Sequence[TrackedInstance]],
    seconds: Mapping[int, float],
    scene: Scene,
) -> Iterator[Frame]:
    for recorded in bag.messages([topic]):
        try:
            picture = picture_of(recorded.message, camera)
            scene.picture(picture)
        except (BadImage, PictureError):  # the run dropped it too, and said so
            continue
        scene.tracks(picture, tracks.get(picture.stamp_ns, ()))
        if picture.stamp_ns in seconds:
            scene.latency(picture.stamp_ns, camera, 1e3 * seconds[picture.stamp_ns], f"{camera}, computing")
        yield picture.frame


def _metres(
    bag: Bag,
    topic: str,
    camera: str,
    tracks: Mapping[int, Sequence[TrackedInstance]],
    bare: Sequence[int],
    scene: Scene,
) -> None:
    """Objects in metres at every depth image; they go at the next of the `bare` stamps, where nothing is tracked."""
    topics = depth_topics(bag, topic)
    model = None if topics is None else calibration(bag, topics.camera_info)
    if topics is None or model is None:
        return
    scene.calibration(camera, model)
    for depth in depth_images(bag, topics.depth) if topics.depth else ():
        try:
            _place(in_view(tracks.get(depth.stamp_ns, ())), depth, model, camera, scene)
        except ValueError as error:
            raise RerunError(f"depth topic {topics.depth} is not registered to {topic}: {error}") from error
        end = bisect.bisect_right(bare, depth.stamp_ns)
        if end < len(bare):
            scene.no_metres(camera, bare[end])


def _place(seen: Sequence[TrackedInstance], depth: DepthImage, model: CameraModel, camera: str, scene: Scene) -> None:
    clouds = [points_of(entry.mask, depth, model) for entry in seen]
    if not any(len(cloud) for cloud in clouds):
        return
    labels = np.repeat([entry.label for entry in seen], [len(cloud) for cloud in clouds]).astype(np.uint32)
    scene.points(camera, depth.stamp_ns, np.concatenate(clouds), labels)
    placed = []
    for entry in seen:
        found = lift(entry.mask, depth, model, [other.mask for other in seen if other is not entry])
        if found is not None:
            name = entry.name or entry.track_id
            placed.append(Placed(entry.track_id, name, found.centre, found.size, found.orientation))
    scene.objects(camera, depth.stamp_ns, placed)


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
