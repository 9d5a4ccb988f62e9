"""The HTML report of a scenario, with its videos and the pictures of its worst moments."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from villa_ros.bags.reader import Bag, BagError
from villa_ros.bags.run import read_run
from villa_ros.evaluation.recording_inputs import Opened, open_bag
from villa_ros.evaluation.report.html import write_report
from villa_ros.evaluation.report.moment_views import Pictures
from villa_ros.evaluation.report.web_videos import write_web_video
from villa_ros.evaluation.results import BagResult, ScenarioResult
from villa_ros.video.overlay_video import Rgb

if TYPE_CHECKING:
    from villa.masks import RleMask
    from villa_ros.evaluation.scenario import BagSpec, Scenario


def report_on(scenario: Scenario, result: ScenarioResult, folder: Path, progress: Callable[[int, int], None]) -> Path:
    """Draw each camera's video, then write `folder/report.html`; `progress` is told (frames drawn, frames).

    Raises:
        BagError: a recording or its run cannot be read.
        PictureError: a video cannot be written.
        ReportError: the report cannot be written.
    """
    specs = {spec.name: spec for spec in scenario.bags}
    readable = [bag for bag in result.bags if not bag.failed]
    opened = _opened(specs, result)
    count = sum(sum(bag.frames.values()) for bag in readable)
    done = itertools.count(1)

    def drawn() -> None:
        progress(next(done), count)

    bags = [
        bag if bag.failed else replace(bag, videos=_videos(bag, opened[bag.name], specs[bag.name], folder, drawn))
        for bag in result.bags
    ]
    return write_report(replace(result, bags=tuple(bags)), folder, _pictures(specs, opened))


def pictures_of(scenario: Scenario, result: ScenarioResult) -> Pictures:
    """The frames and true masks of a scenario's recordings.

    Raises:
        BagError: a recording cannot be read.
    """
    specs = {spec.name: spec for spec in scenario.bags}
    return _pictures(specs, _opened(specs, result))


def _opened(specs: dict[str, BagSpec], result: ScenarioResult) -> dict[str, Opened]:
    return {bag.name: open_bag(specs[bag.name]) for bag in result.bags if not bag.failed}


def _pictures(specs: dict[str, BagSpec], opened: dict[str, Opened]) -> Pictures:
    pictures = _Pictures(specs, opened)
    return Pictures(pictures.truth, pictures.frame)


def _videos(bag: BagResult, opened: Opened, spec: BagSpec, folder: Path, drawn: Callable[[], None]) -> dict[str, str]:
    recorded = folder / bag.folder / "run"
    run = read_run(recorded)
    made = {}
    for camera, topic in opened.cameras.items():
        path = folder / bag.folder / f"{camera}.webm"
        if not path.is_file() or path.stat().st_mtime < recorded.stat().st_mtime:
            with Bag(spec.path) as source:
                write_web_video(source, topic, camera, run, path, drawn)
        made[camera] = str(path.relative_to(folder))
    return made


class _Pictures:
    """Looks frames and true masks up when a picture of a moment is drawn."""

    def __init__(self, specs: dict[str, BagSpec], opened: dict[str, Opened]) -> None:
        self._specs, self._opened = specs, opened

    def truth(self, bag: str, request_id: str, stamp_ns: int) -> Sequence[RleMask]:
        truth = self._opened[bag].truths.get(request_id)
        return [] if truth is None else truth.masks(stamp_ns)

    def frame(self, bag: str, camera: str, stamp_ns: int) -> Rgb:
        opened = self._opened[bag]
        at_ns = dict(opened.logged[camera]).get(stamp_ns, 0)
        with Bag(self._specs[bag].path) as source:
            for frame in source.frames(opened.cameras[camera], camera, span_ns=(at_ns, at_ns + 1)):
                if frame.header.stamp_ns == stamp_ns:
                    return frame.rgb()
        raise BagError(f"{self._specs[bag].path} holds no frame of {camera} at {stamp_ns / 1e9:.3f} s any more")
