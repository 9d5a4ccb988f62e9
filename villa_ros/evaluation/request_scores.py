"""What a run published for each request of a recording, against what is true."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from villa.evaluation.davis_jf import JF, frame_jf, mean_over_frames
from villa.evaluation.identity import identity_scores
from villa.masks import Mask, RleMask, decode
from villa_ros.evaluation.ground_truth import RequestTruth, TruthError
from villa_ros.evaluation.results import Asked, Moment
from villa_ros.pipeline.events import TrackState

if TYPE_CHECKING:
    from villa_ros.bags.run import MasksAt, Run
    from villa_ros.pipeline.request import Request

Tracks = Mapping[str, Mapping[int, RleMask]]  # track id -> stamp in ns -> mask


def published_tracks(run: Run, request_id: str) -> dict[str, dict[int, RleMask]]:
    """Masks of every track of a request, by track and stamp; frames on which a track only ended are left out."""
    tracks: dict[str, dict[int, RleMask]] = {}
    for timed in run.tracks_of(request_id):
        for instance in timed.value.instances:
            if instance.request_id == request_id and instance.state != TrackState.REMOVED:
                # Of a frame that is told again, since its camera fell silent, the first mask counts.
                of_track = tracks.setdefault(instance.track_id, {})
                of_track.setdefault(timed.value.header.stamp_ns, instance.mask)
    return tracks


def masks_by_frame(tracks: Tracks) -> dict[int, list[RleMask]]:
    """The masks of all tracks by stamp in ns; a frame on which no track was published is not in it."""
    found: dict[int, list[RleMask]] = {}
    for masks in tracks.values():
        for stamp_ns, mask in masks.items():
            found.setdefault(stamp_ns, []).append(mask)
    return found


def score_masks(drawn: MasksAt, truth: RequestTruth, stamps: Iterable[int]) -> dict[int, JF]:
    """J and F on each of these frames, between the union of what was drawn and the union of what is true.

    A frame without masks is one with an empty mask.
    """
    return {stamp: frame_jf(union(drawn.get(stamp, ())), union(truth.masks(stamp))) for stamp in stamps}


def counted_frames(moments: Sequence[Moment], *, every_frame: bool) -> list[int]:
    """Stamps of the frames that a request's J and F are means over: see `score_request`."""
    all_count = every_frame or not any(moment.published for moment in moments)
    return [moment.stamp_ns for moment in moments if moment.j is not None and (all_count or moment.published)]


def score_request(
    request: Request,
    run: Run,
    window: Sequence[int],
    truth: RequestTruth | None,
    sizes: Mapping[int, tuple[int, int]],
    topic: str,
    *,
    every_frame: bool,
    first_mask_s: float | None,
    expected: bool | None = None,
) -> Asked:
    """One request of a run.

    J and F are means over the frames of the window whose truth is known: over all of them in every-frame mode, where a
    frame without masks counts as one with an empty mask; else over those that were published, as a live node drops
    frames (`coverage` says how many), or over all if none was.

    Args:
        request: What was asked.
        run: What came of it.
        window: Stamps of the frames that it is about, ascending, ns.
        truth: What it means; None: nobody knows.
        sizes: (height, width) of the frames by stamp.
        topic: Where the frames are from, for messages.
        every_frame: How frames without masks count; if so, no time passed while the run was made.
        first_mask_s: From the request to its first mask, where it was measured.
        expected: Whether the scenario says that what it means is there.

    Raises:
        TruthError: masks of another size than the images, or none where the scenario says that something is there.
    """
    tracks = published_tracks(run, request.request_id)
    drawn = masks_by_frame(tracks)
    published = [stamp for stamp in window if stamp in drawn]
    answered = any(mask.area for masks in tracks.values() for mask in masks.values())
    known = set(truth.stamps) if truth is not None else set()
    present = truth.present if truth is not None else expected
    if truth is not None and expected is not None and truth.present != expected:
        said, seen = ("absent", "has") if not expected else ("present", "lacks")
        raise TruthError(f"request {request.text!r} is {said} says the scenario, and {truth.source} {seen} masks of it")
    by_frame: dict[int, JF] = {}
    if truth is not None:
        judged = [stamp for stamp in window if stamp in known]
        for stamp in judged:
            truth.check_size(stamp, *sizes[stamp], topic)
        by_frame = score_masks(drawn, truth, judged if present else [])
    moments = [_moment(stamp, drawn, by_frame.get(stamp)) for stamp in window]
    counted = counted_frames(moments, every_frame=every_frame)
    means = mean_over_frames([by_frame[stamp] for stamp in counted]) if counted else None
    after = [stamp for stamp in window if published and stamp >= published[0]]
    identity = None
    if truth is not None and by_frame:
        identity = identity_scores(_tracks(truth.objects, counted), _tracks(tracks, counted))
    answer = run.answers.get(request.request_id)
    states = run.statuses.get(request.request_id, [])
    return Asked(
        request_id=request.request_id,
        text=request.text,
        camera=request.camera,
        stamp_ns=request.stamp_ns,
        answer=answer.value.text if answer else "",
        state=states[-1].value.state.name if states else "",
        message=states[-1].value.message if states else "",
        present=present,
        answered=answered,
        j=None if means is None else means.j,
        f=None if means is None else means.f,
        jf=None if means is None else means.jf,
        coverage=len(published) / len(after) if after else None,
        hota=None if identity is None else identity.hota,
        switches=None if identity is None else identity.switches,
        frames=len(window),
        first_mask_s=first_mask_s,
        moments=tuple(moments),
        named=len(answer.value.seg_track_ids) if answer else 0,
        frames_per_s=None if every_frame else _frames_per_s(run, request.request_id, set(published)),
    )


def _moment(stamp_ns: int, drawn: MasksAt, scores: JF | None) -> Moment:
    masks = drawn.get(stamp_ns, ())
    j, f = (None, None) if scores is None else (scores.j, scores.f)
    return Moment(stamp_ns, bool(masks), sum(mask.area > 0 for mask in masks), j, f)


def _tracks(tracks: Tracks, stamps: Sequence[int]) -> list[list[Mask | None]]:
    return [[decode(masks[stamp]) if stamp in masks else None for stamp in stamps] for masks in tracks.values()]


def union(masks: Iterable[RleMask]) -> Mask | None:
    """Union of masks [H, W]; None of none."""
    result: Mask | None = None
    for mask in masks:
        one = decode(mask)
        result = one if result is None else result | one
    return result


def first_mask_s(run: Run, request_id: str) -> float | None:
    """From the command to the first message with a mask, tracklets or tracks, as the recorder got them."""
    command, tracklets = run.commands.get(request_id), run.tracklets.get(request_id)
    if command is None:
        return None
    came = [
        entry.log_ns
        for entry in run.tracks_of(request_id)
        if any(i.request_id == request_id and i.mask.area for i in entry.value.instances)
    ]
    if tracklets and any(mask.area for masks in tracklets.value.values() for mask in masks):
        came.append(tracklets.log_ns)
    return (min(came) - command.log_ns) / 1e9 if came else None


def _frames_per_s(run: Run, request_id: str, stamps: set[int]) -> float | None:
    """Frames that were published for a request, over the time between the first and the last as they came."""
    came = [timed.log_ns for timed in run.tracks_of(request_id) if timed.value.header.stamp_ns in stamps]
    span_s = (came[-1] - came[0]) / 1e9 if came else 0.0
    return (len(came) - 1) / span_s if span_s > 0 else None
