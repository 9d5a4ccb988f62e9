"""What goes over the websocket to a page: one binary message a picture, with the masks of that picture; else JSON.

Binary, little endian: the length of the header in bytes (uint32), the header (JSON, padded with spaces to a multiple of
four), the run lengths of all masks one after the other (uint32), the picture (JPEG or PNG). Picture and masks cannot be
told apart on their way, so that a page cannot show one with the other's.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from villa.masks import RleMask
from villa_ros.pipeline.events import TrackState
from villa_ros.pipeline.overlay import colour_of

if TYPE_CHECKING:
    from villa_ros.pipeline.events import TrackedInstance
    from villa_ros.viewers.camera_feed import View
    from villa_ros.viewers.node_state import CameraState, Health
    from villa_ros.viewers.picture import Picture
    from villa_ros.viewers.request_log import AskedRequest

MOST_INSTANCES = 256  # of one picture
_LONGEST_NAME = 200


def picture_message(view: View) -> bytes:
    """A picture and its masks. Encodes the picture where nobody has yet, so call it in a thread.

    Raises:
        PictureError: the picture cannot be encoded.
        BadImage: its pixels cannot be read.
    """
    picture, tracks = view.picture, view.tracks
    shown = [] if tracks is None else [one for one in tracks.instances if one.state != TrackState.REMOVED]
    shown = [_drawable(one, picture) for one in shown[:MOST_INSTANCES]]
    image = picture.encoded()
    header: dict[str, Any] = {
        "camera": picture.camera,
        "stamp": str(picture.stamp_ns),  # JavaScript's numbers cannot hold nanoseconds
        "width": picture.width,
        "height": picture.height,
        "mime": picture.mime,
        "masks": tracks is not None,
        "latency_ms": None if view.latency_s is None else round(1e3 * view.latency_s, 1),
        "objects": [_object(one) for one in shown],
    }
    head = _text(header).encode("ascii")
    head += b" " * (-len(head) % 4)
    runs = [np.asarray(one.mask.runs, "<u4") for one in shown]
    coded = np.concatenate(runs).tobytes() if runs else b""
    return b"".join((len(head).to_bytes(4, "little"), head, coded, image))


def _drawable(one: TrackedInstance, picture: Picture) -> TrackedInstance:
    """The same, without its mask where that contradicts itself or the picture: anybody can publish tracks."""
    mask = one.mask
    fits = (mask.height, mask.width) == (picture.height, picture.width)
    inside = mask.x + mask.box_width <= mask.width and mask.y + mask.box_height <= mask.height
    if fits and inside and int(mask.runs.sum(dtype=np.uint64)) == mask.box_width * mask.box_height:
        return one
    return replace(one, mask=RleMask.empty(picture.height, picture.width))


def _object(one: TrackedInstance) -> dict[str, Any]:
    mask = one.mask
    return {
        "id": one.track_id[:_LONGEST_NAME],
        "request": one.request_id[:_LONGEST_NAME],
        "name": one.name[:_LONGEST_NAME],
        "label": one.label,
        "state": one.state.name,
        "score": _finite(one.score),
        "mask_score": _finite(one.mask_score),
        "colour": list(colour_of(one.track_id)),
        "size": [mask.width, mask.height],
        "box": [mask.x, mask.y, mask.box_width, mask.box_height],
        "area": mask.area,
        "runs": int(mask.runs.size),
    }


def requests_message(entries: list[AskedRequest], now_s: float, *, whole: bool) -> str:
    """Requests that changed, or with `whole` all that there are."""
    return _text({"kind": "requests", "whole": whole, "requests": [_request(entry, now_s) for entry in entries]})


def _request(entry: AskedRequest, now_s: float) -> dict[str, Any]:
    return {
        "id": entry.request_id,
        "text": entry.text,
        "camera": entry.camera,
        "state": entry.state.name,
        "step": int(entry.state),
        "final": entry.state.final,
        "lost": entry.lost,
        "error": entry.error_code.name if entry.error_code else "",
        "message": entry.message,
        "answer": entry.answer,
        "answered": entry.answered,
        "named": [[offset, list(colour_of(track_id))] for offset, track_id in entry.named],
        "asked_ago_s": round(now_s - entry.asked_s, 2),
        "took_s": None if entry.ended_s is None else round(entry.ended_s - entry.asked_s, 2),
    }


def health_message(health: Health, node: str, server: dict[str, float]) -> str:
    """How node, cameras and this server do."""
    return _text(
        {
            "kind": "health",
            "node": {
                "name": node,
                "alive": health.node_alive,
                "silent_s": health.node_silent_s,
                "lines": [
                    {"name": line.name, "level": line.level, "message": line.message, "values": line.values}
                    for line in health.lines
                ],
            },
            "cameras": [_camera(camera) for camera in health.cameras],
            "note": health.note,
            "server": server,
        }
    )


def _camera(camera: CameraState) -> dict[str, Any]:
    return {
        "name": camera.name,
        "topic": camera.topic,
        "alive": camera.alive,
        "silent_s": camera.silent_s,
        "rate_hz": round(camera.rate_hz, 1),
        "latency_ms": None if camera.latency_s is None else round(1e3 * camera.latency_s, 1),
        "received": camera.received,
        "bad": camera.bad,
        "last_error": camera.last_error,
    }


def note_message(kind: str, **fields: Any) -> str:
    """A short message of this kind."""
    return _text({"kind": kind, **fields})


def _text(fields: dict[str, Any]) -> str:
    return json.dumps(fields, allow_nan=False, separators=(",", ":"))  # ASCII: halves of characters cannot break it


def _finite(value: float) -> float | None:
    return round(float(value), 3) if np.isfinite(value) else None
