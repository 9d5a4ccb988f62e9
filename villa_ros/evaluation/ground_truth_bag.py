"""Corrected labels and the bag they are of -> a bag with ground truth, for `villa demo` and `villa replay`."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from villa_ros.bags.reader import COMMAND, IMAGES, Bag
from villa_ros.bags.typestore import villa_typestore
from villa_ros.bags.writer import BagWriter
from villa_ros.conversions.events import command_message, rosbags_types, to_message
from villa_ros.evaluation.ground_truth import TRUTH_TOPIC
from villa_ros.pipeline.events import Tracklet, TrackletsEvent
from villa_ros.pipeline.frame import FrameHeader
from villa_ros.pipeline.request import Action, Request

if TYPE_CHECKING:
    from villa_ros.evaluation.labels.read import Labels, RequestLabels

COMMAND_TOPIC = "/command"
_CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
_ASKS = (Action.SEGMENT, Action.FOLLOW_UP)


class TruthBagError(RuntimeError):
    """Labels and bag do not belong together."""


def write_truth_bag(labels: Labels, source_bag: Path, out: Path) -> Path:
    """Write the labelled camera of a bag, the requests, and `/ground_truth/tracklets`, as `read_truth` reads them.

    Images and camera infos are copied as they are. The commands are the requests of the labels; where those are the
    bag's own, its stops come along. A request that is about no labelled frame is left out.

    Args:
        labels: Corrected or not.
        source_bag: What they were drafted from.
        out: Folder of the new bag; one that is there is replaced.

    Returns:
        The MCAP file.

    Raises:
        TruthBagError: the bag lacks labelled frames, or no request is about any.
        BagError: the bag cannot be read, or nothing can be written.
    """
    store = villa_typestore()
    types = rosbags_types(store)
    truth = {name: one for name, one in labels.truth().items() if one.stamps}
    if not truth:
        raise TruthBagError(
            f"{labels.folder} holds no request about a labelled frame: add one, or correct begin_ns and end_ns"
        )
    with Bag(source_bag) as bag, BagWriter(out) as writer:
        if bag.topics.get(labels.topic) not in IMAGES:
            raise TruthBagError(
                f"{source_bag} has no images on {labels.topic}, which {labels.folder} is about: give the bag that the "
                "labels were drafted from"
            )
        wanted = set(labels.stamps)
        headers: dict[int, FrameHeader] = {}
        received: list[tuple[int, int]] = []  # stamp and log time in ns
        for frame in bag.frames(labels.topic, labels.camera):
            received.append((frame.header.stamp_ns, frame.arrival_ns))
            if frame.header.stamp_ns in wanted:
                headers[frame.header.stamp_ns] = frame.header
        if missing := [stamp for stamp in labels.stamps if stamp not in headers]:
            raise TruthBagError(
                f"{source_bag} lacks {len(missing)} of {len(labels.stamps)} labelled frames, the first of them at "
                f"{missing[0] / 1e9:.3f} s: give the bag that the labels were drafted from"
            )
        command_topic, commands = _commands(bag, labels, [one.request for one in truth.values()])
        spoken = [
            (
                command_topic,
                COMMAND,
                _log_ns(request, received),
                bytes(store.serialize_cdr(command_message(request, types), COMMAND)),
            )
            for request in commands
        ]
        spoken.sort(key=lambda entry: entry[2])
        copied = bag.raw([labels.topic, *bag.topics_of(_CAMERA_INFO)])
        last_ns = 0
        # Commands first: of one time, a request comes before the frame that it is due at.
        for topic, msgtype, log_ns, data in heapq.merge(spoken, copied, key=lambda entry: entry[2]):
            writer.write_raw(topic, msgtype, log_ns, data)
            last_ns = max(last_ns, log_ns)
        for event in _events(labels, truth.values(), headers):
            writer.write(TRUTH_TOPIC, last_ns, to_message(event, types))
    return writer.file


def _commands(bag: Bag, labels: Labels, asked: Sequence[Request]) -> tuple[str, list[Request]]:
    """Where commands go, and which: those of the labels, and the stops among which they were made."""
    topics = bag.topics_of(COMMAND)
    if len(topics) == 1:
        own = bag.commands(topics[0], labels.camera)
        known = {one.request.request_id for one in labels.requests}
        if {request.request_id for request in own if request.action in _ASKS} == known:
            return topics[0], [*asked, *(request for request in own if request.action not in _ASKS)]
    return COMMAND_TOPIC, list(asked)


def _log_ns(request: Request, received: Sequence[tuple[int, int]]) -> int:
    """When a command would have been received: as long after its stamp as the next frame was after its own."""
    stamp_ns, log_ns = next((frame for frame in received if frame[0] >= request.stamp_ns), received[-1])
    return request.stamp_ns + log_ns - stamp_ns


def _events(
    labels: Labels, truth: Iterable[RequestLabels], headers: dict[int, FrameHeader]
) -> Iterator[TrackletsEvent]:
    names = {one.track_id: one.name for one in labels.objects}
    everything = {one.track_id: one.masks for one in labels.objects}
    for request_id, stamps, objects in (
        *((one.request.request_id, one.stamps, one.objects) for one in truth),
        ("", labels.stamps, everything),
    ):
        tracklets = tuple(
            Tracklet(track_id, names[track_id], 1.0, tuple(range(len(stamps))), tuple(masks[t] for t in stamps))
            for track_id, masks in objects.items()
            if any(masks[t].area for t in stamps)  # what is not there has no tracklet
        )
        clip = tuple(headers[t] for t in stamps)
        yield TrackletsEvent(request_id, labels.camera, clip, labels.height, labels.width, 0, tracklets)
