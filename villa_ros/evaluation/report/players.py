"""For each camera of each recording: its video, inside the page or beside it, and what is plotted under it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from villa_ros.evaluation.report.worst_moments import moment_jf
from villa_ros.evaluation.results import Asked, BagResult, ScenarioResult
from villa_ros.video.overlay_video import PictureError
from villa_ros.video.webm import WebVideo, read_web_video


@dataclass(frozen=True)
class Player:
    """One camera of one recording on the page; `index` is its place in the page's data."""

    index: int
    bag: BagResult
    camera: str
    requests: tuple[Asked, ...]
    video: WebVideo | None = None
    source: str = ""  # a data URI, or an address relative to the page
    embedded: bool = False
    note: str = ""  # why there is no video

    @property
    def scored(self) -> list[Asked]:
        """The requests with a J&F to plot."""
        return [asked for asked in self.requests if any(moment_jf(moment) is not None for moment in asked.moments)]

    def values(self) -> dict[str, Any]:
        """What the page's script needs; times in ns are relative to the recording's start, which is a string.

        A number of JavaScript does not hold a stamp of today in ns.
        """
        start_ns = self.bag.start_ns
        return {
            "start_ns": str(start_ns),
            "fps": self.video.fps if self.video else None,
            "at_ns": [stamp - start_ns for stamp in self.video.stamps_ns] if self.video else [],
            "requests": [
                {
                    "text": asked.text,
                    "asked_s": _seconds(asked.stamp_ns - start_ns),
                    "at_s": [_seconds(moment.stamp_ns - start_ns) for moment in asked.moments],
                    "jf": [_rounded(moment_jf(moment)) for moment in asked.moments],
                }
                for asked in self.scored
            ],
        }


def players(result: ScenarioResult, folder: Path, embed_bytes: int) -> list[Player]:
    """A player for each camera that has a video or was asked about.

    Videos go into the page in their order while all of them together stay within `embed_bytes`; the others stay files,
    which the page finds by their address relative to `folder`.
    """
    made: list[Player] = []
    room = embed_bytes
    for bag in result.bags:
        for camera in _cameras(bag):
            requests = tuple(asked for asked in bag.requests if camera_of(bag, asked) == camera)
            player = Player(len(made), bag, camera, requests)
            if camera in bag.videos:
                player, room = _with_video(player, folder, bag.videos[camera], room)
            made.append(player)
    return made


def player_of(made: Sequence[Player], bag: BagResult, asked: Asked) -> Player | None:
    """Where a request can be watched; None where its camera has no video."""
    camera = camera_of(bag, asked)
    return next((one for one in made if one.bag is bag and one.camera == camera and one.video), None)


def camera_of(bag: BagResult, asked: Asked) -> str:
    """A request that names no camera is about the only one there is."""
    return next(iter(bag.videos)) if not asked.camera and len(bag.videos) == 1 else asked.camera


def _with_video(player: Player, folder: Path, name: str, room: int) -> tuple[Player, int]:
    try:
        video = read_web_video(folder / name)
    except PictureError as error:
        return replace(player, note=str(error)), room
    size = video.file.stat().st_size
    if size > room:
        return replace(player, video=video, source=quote(Path(name).as_posix())), room
    uri = "data:video/webm;base64," + base64.b64encode(video.file.read_bytes()).decode("ascii")
    return replace(player, video=video, source=uri, embedded=True), room - size


def _cameras(bag: BagResult) -> list[str]:
    return list(dict.fromkeys([*bag.videos, *(camera_of(bag, asked) for asked in bag.requests)]))


def _seconds(ns: int) -> float:
    return round(ns / 1e9, 4)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
