"""What a recording holds of what a scenario asks for: cameras, requests with stamps, ground truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from villa_ros.bags.reader import COMMAND, Bag
from villa_ros.evaluation.ground_truth import RequestTruth, request_truths
from villa_ros.evaluation.scenario import BagSpec
from villa_ros.pipeline.config import DEFAULT_CAMERA
from villa_ros.pipeline.request import Action, Request

ASKING = (Action.SEGMENT, Action.FOLLOW_UP)


class RequestError(ValueError):
    """A request that cannot be made of this recording; the message names file, topic and time."""


@dataclass(frozen=True)
class Opened:
    """What a recording holds of what the scenario asks for."""

    cameras: Mapping[str, str]  # name -> image topic
    stamps: Mapping[str, tuple[int, ...]]  # of the messages of each camera, ascending, ns
    logged: Mapping[str, tuple[tuple[int, int], ...]]  # header stamp and log time of each message, ns
    requests: tuple[Request, ...]
    truths: Mapping[str, RequestTruth]
    expected: Mapping[str, bool]  # requests of which the scenario itself says whether what they mean is there


def open_bag(spec: BagSpec) -> Opened:
    """Cameras, requests and ground truth of a recording.

    Raises:
        BagError: it cannot be read, or lacks a topic.
        RequestError: a request comes before the first frame or after the last, or there is none.
        TruthError: the ground truth does not fit.
    """
    with Bag(spec.path) as bag:
        cameras = {name: bag.choose_image_topic(topic) for name, topic in spec.cameras.items()} or {
            DEFAULT_CAMERA: bag.choose_image_topic()
        }
        logged = {name: tuple(sorted(bag.stamps(topic))) for name, topic in cameras.items()}
        stamps = {name: tuple(stamp for stamp, _ in times) for name, times in logged.items()}
        for name, own in stamps.items():
            if len(own) > 1 and own[0] == own[-1]:
                raise RequestError(
                    f"{spec.path}: every image of {cameras[name]} is stamped {own[0] / 1e9:g} s, and what is true of "
                    "which image is found by stamps: have the driver stamp its images and record it again"
                )
        requests = [*_recorded(bag, spec, tuple(cameras)), *_timed(spec, cameras, stamps)]
        if spec.words:
            requests = [replace(one, text=spec.words) if one.action in ASKING else one for one in requests]
        if not any(request.action in ASKING for request in requests):
            raise RequestError(
                f"{spec.path}: neither the scenario nor the bag holds a request: give `requests:` or `command_topic:`"
            )
        wanted = {one.request_id: one for one in spec.requests}
        asking = [request for request in requests if request.action in ASKING]
        expected = {one.request_id: not one.absent for one in spec.requests if one.absent is not None}
        told = [request for request in asking if spec.truth.given or request.request_id not in expected]
        truths = request_truths(bag, spec.truth, told, wanted, stamps)
    return Opened(cameras, stamps, logged, tuple(sorted(requests, key=lambda one: one.stamp_ns)), truths, expected)


def _recorded(bag: Bag, spec: BagSpec, cameras: Sequence[str]) -> list[Request]:
    if spec.command_topic is None and (spec.requests or not bag.topics_of(COMMAND)):
        return []
    topic = bag.choose_command_topic(spec.command_topic, "command_topic")
    recorded = bag.commands(topic, cameras[0])
    return [one if one.camera in cameras else replace(one, camera=cameras[0]) for one in recorded]


def _timed(spec: BagSpec, cameras: Mapping[str, str], stamps: Mapping[str, tuple[int, ...]]) -> Iterator[Request]:
    for one in spec.requests:
        camera = one.camera or next(iter(cameras))
        if camera not in cameras:
            raise RequestError(
                f"{spec.path}: request {one.request_id!r} is for camera {camera!r}, the bag's are {', '.join(cameras)}"
            )
        times = stamps[camera]
        last_s = (times[-1] - times[0]) / 1e9
        if one.at_s > last_s:
            raise RequestError(
                f"{spec.path}, {cameras[camera]}: request {one.request_id!r} ({one.text!r}) is at {one.at_s:g} s, "
                f"after the last frame at {last_s:.2f} s"
            )
        yield Request(
            one.request_id,
            one.text,
            Action.FOLLOW_UP if one.follow_up else Action.SEGMENT,
            camera,
            stamp_ns=times[0] + round(one.at_s * 1e9),
            timeout_s=one.timeout_s,
        )


def window_of(request: Request, opened: Opened, truth: RequestTruth | None, policy: str) -> tuple[int, ...]:
    """Frames that a request is about: from it on, to what ends it; with ground truth to the last that this knows.

    Between known frames there may be others: a person outlines every tenth.
    """
    stamps = opened.stamps[request.camera]
    ends = [
        other.stamp_ns
        for other in opened.requests
        if other.stamp_ns > request.stamp_ns
        and (
            other.action in (Action.STOP_ALL, Action.RESET)
            or (other.action == Action.STOP and other.request_id in ("", request.request_id))
            or (other.action in ASKING and policy == "preempt" and other.camera == request.camera)
        )
    ]
    end_ns = min(ends, default=stamps[-1] + 1)
    inside = tuple(stamp for stamp in stamps if request.stamp_ns <= stamp < end_ns)
    if truth is None:
        return inside
    last_ns = max(truth.stamps, default=request.stamp_ns - 1)
    return tuple(stamp for stamp in inside if stamp <= last_ns)
