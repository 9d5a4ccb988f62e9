"""Which tracks an answer's objects become: new ones, or those that are live already under another request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from villa_ros.pipeline.tracks import Names, Track

if TYPE_CHECKING:
    from villa.interface import ObjectResult, RequestResult
    from villa_ros.pipeline.camera_state import ActiveRequest, Stream


def begin_track(stream: Stream, record: ActiveRequest, found: ObjectResult, names: Names) -> Track:
    """A new track of an object that nobody tracks yet."""
    label = names.label(stream.taken_labels())
    track = Track(names.track_id(), record.request_id, found.key, label, found.name, found.score)
    stream.tracks[found.key] = track
    return track


def name_tracks(
    stream: Stream, record: ActiveRequest, result: RequestResult, names: Names, most: int
) -> tuple[dict[int, Track], tuple[str, ...]]:
    """Tracks by the number of their object in the answer, as many as `most` leaves room for.

    A thing that is tracked already goes on under its id, from now on for this request (unless that one only looks); the
    second part names the requests it was tracked for before.
    """
    kept: dict[int, Track] = {}
    former: dict[str, None] = {}
    for index, found in enumerate(result.objects):
        track = stream.tracks.get(found.key)
        if track is not None and record.request.track:
            former[track.request_id] = None
            track.request_id, track.name, track.relevance = record.request_id, found.name, found.score
        elif track is None and len(stream.tracks) < most:
            track = begin_track(stream, record, found, names)
        elif track is None:
            stream.to_drop.add(found.key)
            continue
        kept[index] = track
    return kept, tuple(former)
