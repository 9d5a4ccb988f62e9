"""What there is to see of the worst moments: the frame, what was published on it, and what was meant."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from villa_ros.bags.run import Run, read_run
from villa_ros.evaluation.report.players import camera_of
from villa_ros.evaluation.request_scores import masks_by_frame, published_tracks

if TYPE_CHECKING:
    from villa.masks import RleMask
    from villa_ros.evaluation.report.worst_moments import WorstMoment
    from villa_ros.video.overlay_video import Rgb


@dataclass(frozen=True)
class Pictures:
    """Where the pictures of the worst moments come from.

    `truth_of(bag name, request id, stamp in ns)` gives the masks of what is meant, none where nothing is;
    `frame_of(bag name, camera, stamp in ns)` the frame [H, W, 3].
    """

    truth_of: Callable[[str, str, int], Sequence[RleMask]]
    frame_of: Callable[[str, str, int], Rgb]


@dataclass(frozen=True)
class MomentView:
    """A moment, its frame [H, W, 3], and the masks on it."""

    moment: WorstMoment
    rgb: Rgb
    published: Sequence[RleMask]
    true: Sequence[RleMask]


def moment_views(moments: Sequence[WorstMoment], folder: Path, pictures: Pictures) -> Iterator[MomentView]:
    """One after another; each recording's run is read once, from its own folder in `folder`.

    Raises:
        BagError: a recording or its run is missing or damaged.
    """
    runs: dict[str, Run] = {}
    for moment in moments:
        bag, asked, stamp_ns = moment.bag, moment.asked, moment.moment.stamp_ns
        if bag.name not in runs:
            runs[bag.name] = read_run(folder / bag.folder / "run" / "run.mcap")
        yield MomentView(
            moment,
            pictures.frame_of(bag.name, camera_of(bag, asked), stamp_ns),
            masks_by_frame(published_tracks(runs[bag.name], asked.request_id)).get(stamp_ns, []),
            pictures.truth_of(bag.name, asked.request_id, stamp_ns),
        )
