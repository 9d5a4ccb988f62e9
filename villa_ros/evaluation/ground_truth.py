"""The ground truth of a recording's requests, wherever it is kept: on a topic, in corrected labels, or in a folder in
the format of MeViS, ReVOS or DAVIS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from villa.masks import RleMask, encode
from villa_ros.bags.reader import Bag
from villa_ros.conversions.events import mask_from_message, nanoseconds

if TYPE_CHECKING:
    from villa_ros.evaluation.scenario import TruthSource, Wanted
    from villa_ros.pipeline.request import Request

TRUTH_TOPIC = "/ground_truth/tracklets"
TRACKLETS = "villa_msgs/msg/TrackletArray"

Objects = Mapping[str, Mapping[int, RleMask]]  # object -> stamp in ns -> mask


class TruthError(ValueError):
    """Ground truth that does not fit its recording; the message names file, topic and time."""


@dataclass(frozen=True)
class RequestTruth:
    """What one request means, on the frames for which that is known."""

    source: str  # file or topic it comes from, for messages
    stamps: tuple[int, ...]  # ns, ascending; frames with known masks
    objects: Objects

    @property
    def present(self) -> bool:
        """Is anything of it visible on any of these frames?"""
        return any(mask.area for masks in self.objects.values() for mask in masks.values())

    def masks(self, stamp_ns: int) -> list[RleMask]:
        """The masks of all its objects on one frame."""
        return [masks[stamp_ns] for masks in self.objects.values() if stamp_ns in masks]

    def clipped(self, begin_ns: int, end_ns: int) -> RequestTruth:
        """The same between two times, the second left out."""
        return RequestTruth(self.source, tuple(t for t in self.stamps if begin_ns <= t < end_ns), self.objects)

    def check_size(self, stamp_ns: int, height: int, width: int, topic: str) -> None:
        """Refuse masks of another size than the image.

        Raises:
            TruthError: so it is.
        """
        for mask in self.masks(stamp_ns):
            if (mask.height, mask.width) != (height, width):
                raise TruthError(
                    f"{self.source}: the ground truth at {stamp_ns / 1e9:.3f} s is {mask.width}x{mask.height} px, the "
                    f"image on {topic} {width}x{height}: give masks of the recorded size"
                )


def request_truths(
    bag: Bag,
    source: TruthSource,
    requests: Sequence[Request],
    wanted: Mapping[str, Wanted],
    stamps: Mapping[str, Sequence[int]],
) -> dict[str, RequestTruth]:
    """The truth of each request that has one, by request id.

    Args:
        bag: The recording.
        source: Where the scenario says that it is.
        requests: What is asked, with stamps.
        wanted: What the scenario's file says of a request, by id; commands of the bag are not in it.
        stamps: Of the frames of each camera, ascending.

    Raises:
        TruthError: it is not there, does not fit the recording, or lacks a request it should have.
        BagError: the bag is damaged.
    """
    if source.none:
        return {}
    asked = _Asked(requests, wanted, stamps)
    if source.folder is not None:
        return _of_folder(source, asked)
    topic = source.topic or TRUTH_TOPIC
    if bag.topics.get(topic) != TRACKLETS:
        if not source.topic:
            return {}
        seen = f"is {bag.topics[topic]}" if topic in bag.topics else "is not in the bag"
        raise TruthError(f"{bag.path}: topic {topic} {seen}; wanted {TRACKLETS} there, or truth: none")
    return _of_topic(bag, topic, asked)


def all_objects(bag: Bag) -> RequestTruth | None:
    """Every object of a recording, whoever asks: its topic's message without request_id; None where there is none.

    Raises:
        TruthError: the message does not fit its own clip.
        BagError: the bag is damaged.
    """
    if bag.topics.get(TRUTH_TOPIC) != TRACKLETS:
        return None
    for recorded in bag.messages([TRUTH_TOPIC]):
        if not recorded.message.request_id:
            return _of_message(f"{bag.path}, {TRUTH_TOPIC}", recorded.message, recorded.log_ns)
    return None


@dataclass(frozen=True)
class _Asked:
    """What is asked of a recording."""

    requests: Sequence[Request]
    wanted: Mapping[str, Wanted]  # what the scenario's file says of them, by id
    stamps: Mapping[str, Sequence[int]]  # of the frames of each camera

    def match(self, source: object, known: Mapping[str, RequestTruth]) -> dict[str, RequestTruth]:
        """Each request with what ground truth says under one of its names."""
        found: dict[str, RequestTruth] = {}
        for request in self.requests:
            said = self.wanted.get(request.request_id)
            names = [said.truth] if said is not None and said.truth else [request.request_id, request.text]
            name = next((name for name in names if name in known), None)
            if name is None:
                tried = " or ".join(map(repr, names))
                has = ", ".join(map(repr, sorted(known))) or "nothing"
                hint = "name it with `truth: ...`" if said is not None else "give the recorded command's own"
                raise TruthError(f"{source} holds no ground truth called {tried}; it has {has}: {hint}")
            found[request.request_id] = known[name]
        return found

    def frames(self, folder: Path, count: int) -> Sequence[int]:
        """The stamps of the one camera whose frames these annotations are about.

        Raises:
            TruthError: several cameras, or another number of frames.
        """
        fitting = [of_camera for of_camera in self.stamps.values() if len(of_camera) == count]
        if len(fitting) != 1:
            seen = ", ".join(f"{name} has {len(of_camera)}" for name, of_camera in self.stamps.items())
            raise TruthError(f"{folder} has {count} frames; camera {seen}: wanted the same number, one for each")
        return fitting[0]


def _of_topic(bag: Bag, topic: str, asked: _Asked) -> dict[str, RequestTruth]:
    known: dict[str, RequestTruth] = {}
    name = f"{bag.path}, {topic}"
    for recorded in bag.messages([topic]):
        message = recorded.message
        if message.request_id:
            known[message.request_id] = _of_message(name, message, recorded.log_ns)
    return asked.match(name, known)


def _of_message(name: str, message: Any, log_ns: int) -> RequestTruth:
    stamps = [nanoseconds(stamp) for stamp in message.clip.stamps]
    objects: dict[str, dict[int, RleMask]] = {}
    for place, tracklet in enumerate(message.tracklets):
        if len(tracklet.frame_index) != len(tracklet.masks) or any(int(i) >= len(stamps) for i in tracklet.frame_index):
            raise TruthError(
                f"{name}, message at {log_ns / 1e9:.3f} s: tracklet {place} has {len(tracklet.masks)} masks for "
                f"{len(tracklet.frame_index)} frames of a clip of {len(stamps)}"
            )
        masks = {
            stamps[int(index)]: mask_from_message(mask)
            for index, mask in zip(tracklet.frame_index, tracklet.masks, strict=True)
        }
        objects[f"{tracklet.track_id or place}"] = masks
    return RequestTruth(name, tuple(sorted(stamps)), objects)


# -- folders ---------------------------------------------------------------------------------------------------------


def _of_folder(source: TruthSource, asked: _Asked) -> dict[str, RequestTruth]:
    folder = source.folder
    assert folder is not None
    if (folder / "labels.json").is_file():
        return _of_labels(folder, asked)
    if list(folder.glob("meta_expressions*.json")):
        return _of_expressions(folder, source.video, asked)
    if (folder / "Annotations").is_dir() or list(folder.glob("*.png")):
        return _of_palettes(folder, source.video, asked)
    raise TruthError(
        f"{folder}: wanted labels.json (corrected labels), meta_expressions.json (MeViS, ReVOS) or Annotations/ "
        f"(DAVIS); saw {', '.join(sorted(p.name for p in folder.iterdir())[:5]) if folder.is_dir() else 'no folder'}"
    )


def _of_labels(folder: Path, asked: _Asked) -> dict[str, RequestTruth]:
    from villa_ros.evaluation.labels.read import LabelsError, read_labels

    try:
        truths = read_labels(folder).truth()
    except LabelsError as error:
        raise TruthError(str(error)) from error
    known = {name: RequestTruth(str(folder), tuple(sorted(one.stamps)), one.objects) for name, one in truths.items()}
    return asked.match(folder, known)


def _of_expressions(folder: Path, video_name: str, asked: _Asked) -> dict[str, RequestTruth]:
    try:
        import pycocotools  # noqa: F401 - what its masks are read with

        from villa.data.referring_videos import Expressions, ExpressionsError
    except ImportError as error:
        raise TruthError(f"{folder}: {error}; masks of this format need it: pip install pycocotools") from error
    try:
        data = Expressions(folder)
    except ExpressionsError as error:
        raise TruthError(str(error)) from error
    videos = {video.name: video for video in data.videos}
    if not video_name and len(videos) == 1:
        (video_name,) = videos
    if video_name not in videos:
        seen = ", ".join(sorted(videos)[:5])
        raise TruthError(f"{folder}: wanted video {video_name!r} (truth: video), saw {len(videos)} videos: {seen}")
    video = videos[video_name]
    known: dict[str, RequestTruth] = {}
    times = asked.frames(folder, len(video.frames))
    shape = data.rgb(video, 0).shape
    for expression in video.expressions:
        objects = {
            identity: {times[t]: encode(data.mask(identity, t, (shape[0], shape[1]))) for t in video.scored}
            for identity in expression.masks
        }
        truth = RequestTruth(f"{folder}, video {video_name}", tuple(times[t] for t in video.scored), objects)
        known[expression.key] = known[expression.text] = truth
    return asked.match(folder, known)


def _of_palettes(folder: Path, video_name: str, asked: _Asked) -> dict[str, RequestTruth]:
    images = _palette_folder(folder, video_name)
    files = sorted(images.glob("*.png"))
    by_stamp = all(file.stem.isdigit() and len(file.stem) > 15 for file in files)
    times = [int(file.stem) for file in files] if by_stamp else asked.frames(images, len(files))
    indices = {stamp: _indices(file) for stamp, file in zip(times, files, strict=True)}
    found: dict[str, RequestTruth] = {}
    for request in asked.requests:
        said = asked.wanted.get(request.request_id)
        if said is None or said.objects is None:
            raise TruthError(
                f"{images} says nothing about words: give request {request.request_id!r} `objects: [...]`, the palette "
                "indices that it means ([] for none)"
            )
        objects = {str(k): {stamp: encode(image == k) for stamp, image in indices.items()} for k in said.objects}
        if missing := [k for k in said.objects if not any((image == k).any() for image in indices.values())]:
            raise TruthError(f"{images}: object {missing[0]} of request {request.request_id!r} is on no image")
        found[request.request_id] = RequestTruth(str(images), tuple(sorted(times)), objects)
    return found


def _palette_folder(folder: Path, video: str) -> Path:
    root = folder / "Annotations" if (folder / "Annotations").is_dir() else folder
    if video:
        root = root / video
    elif not list(root.glob("*.png")):
        inside = sorted(path for path in root.iterdir() if path.is_dir())
        if len(inside) != 1:
            seen = ", ".join(path.name for path in inside[:5]) or "none"
            raise TruthError(f"{root}: wanted one video, saw {len(inside)} ({seen}): name it with `video: ...`")
        (root,) = inside
    if not list(root.glob("*.png")):
        raise TruthError(f"{root}: wanted palette images *.png, saw none")
    return root


def _indices(file: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            if image.mode not in ("P", "L"):
                raise TruthError(f"{file} is {image.mode}: wanted a palette or gray image whose values are indices")
            return np.asarray(image, np.uint8)
    except (OSError, UnidentifiedImageError) as error:
        raise TruthError(f"{file} cannot be read as an image: {error}") from error
