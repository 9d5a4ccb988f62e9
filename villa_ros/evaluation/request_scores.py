"""What a run published for each request of a recording, against what is true."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from villa.evaluation.davis_jf import boundary_accuracy, region_similarity
from villa.evaluation.identity import identity_scores
from villa.masks import Mask, RleMask, decode
from villa_ros.evaluation.ground_truth import RequestTruth, TruthError
from villa_ros.evaluation.results import Asked, Moment
from villa_ros.pipeline.events import TrackState

if TYPE_CHECKING:
    from villa_ros.bags.run import Run
    from villa_ros.pipeline.request import Request

Tracks = Mapping[str, Mapping[int, RleMask]]  # track id -> stamp in ns -> mask


def published_tracks(run: Run, request_id: str) -> dict[str, dict[int, RleMask]]:
    """Masks of every track of a request, by track and stamp; frames on which a track only ended are left out."""
    tracks: dict[str, dict[int, RleMask]] = {}
    for timed in run.tracks_of(request_id):
        for instance in timed.value.instances:
            if instance.request_id == request_id and instance.state != TrackState.REMOVED:
                tracks.setdefault(instance.track_id, {})[timed.value.header.stamp_ns] = instance.mask
    return tracks


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
        every_frame: How frames without masks count.
        first_mask_s: From the request to its first mask, where it was measured.
        expected: Whether the scenario says that what it means is there.

    Raises:
        TruthError: masks of another size than the images, or none where the scenario says that something is there.
    """
    tracks = published_tracks(run, request.request_id)
    published = sorted({stamp for masks in tracks.values() for stamp in masks} & set(window))
    answered = any(mask.area for masks in tracks.values() for mask in masks.values())
    known = set(truth.stamps) if truth is not None else set()
    present = truth.present if truth is not None else expected
    if truth is not None and expected is not None and truth.present != expected:
        said, seen = ("absent", "has") if not expected else ("present", "lacks")
        raise TruthError(f"request {request.text!r} is {said} says the scenario, and {truth.source} {seen} masks of it")
    scored = [stamp for stamp in window if stamp in known] if present else []
    counted = scored if every_frame or not published else [stamp for stamp in scored if stamp in set(published)]
    moments, j, f = [], [], []
    for stamp in window:
        mine = [masks[stamp] for masks in tracks.values() if stamp in masks]
        scores: tuple[float, float] | None = None
        if truth is not None and stamp in known:
            truth.check_size(stamp, *sizes[stamp], topic)
            if present:
                scores = _j_and_f(mine, truth.masks(stamp), sizes[stamp])
        moments.append(Moment(stamp, bool(mine), sum(mask.area > 0 for mask in mine), *(scores or (None, None))))
    of = {moment.stamp_ns: moment for moment in moments}
    for stamp in counted:
        moment = of[stamp]
        if moment.j is not None and moment.f is not None:
            j.append(moment.j)
            f.append(moment.f)
    after = [stamp for stamp in window if published and stamp >= published[0]]
    identity = None
    if present and truth is not None and scored:
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
        j=fmean(j) if j else None,
        f=fmean(f) if f else None,
        jf=(fmean(j) + fmean(f)) / 2 if j else None,
        coverage=len(published) / len(after) if after else None,
        hota=None if identity is None else identity.hota,
        switches=None if identity is None else identity.switches,
        frames=len(window),
        first_mask_s=first_mask_s,
        moments=tuple(moments),
    )


def _j_and_f(mine: Sequence[RleMask], true: Sequence[RleMask], size: tuple[int, int]) -> tuple[float, float]:
    drawn, meant = (union(masks) for masks in (mine, true))
    empty = np.zeros(size, np.bool_)
    drawn, meant = (empty if mask is None else mask for mask in (drawn, meant))
    return region_similarity(drawn, meant), boundary_accuracy(drawn, meant)


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
