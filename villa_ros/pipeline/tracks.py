"""One object's identity over time: when it counts as tracked, occluded, lost and gone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from villa_ros.pipeline.events import TrackedInstance, TrackState

if TYPE_CHECKING:
    from villa.masks import RleMask
    from villa_ros.pipeline.config import PipelineConfig

LAST_LABEL = 65534  # 0 is background and 65535 is kept free in a 16-bit label image


@dataclass(eq=False)
class Track:
    """A live track of one camera."""

    track_id: str
    request_id: str
    key: int  # the model session's handle
    label: int
    name: str
    relevance: float  # 0..1, confidence that this is the object the request meant
    state: TrackState = TrackState.TENTATIVE
    visible_frames: int = 0
    missed_frames: int = 0  # in a row
    shown: TrackedInstance | None = None  # as last told to the outside

    def observe(
        self, mask: RleMask, mask_score: float, present_score: float, config: PipelineConfig
    ) -> TrackedInstance:
        """Take in one frame; an empty `mask` says that the object was not seen on it."""
        if mask.area:
            self.visible_frames += 1
            self.missed_frames = 0
            confirmed = self.visible_frames >= config.confirm_frames
            self.state = TrackState.TRACKED if confirmed else TrackState.TENTATIVE
        else:
            self.missed_frames += 1
            mask_score = 0.0
            if 0 < config.remove_after_frames <= self.missed_frames:
                self.state = TrackState.REMOVED
            elif self.missed_frames >= config.lost_after_frames:
                self.state = TrackState.LOST
            else:
                self.state = TrackState.OCCLUDED
        return self._show(mask, mask_score, self.relevance * present_score)

    def lose(self, empty: RleMask, config: PipelineConfig) -> TrackedInstance:
        """The camera is silent: where the object is now nobody knows."""
        self.state = TrackState.LOST
        self.missed_frames = max(self.missed_frames, config.lost_after_frames)
        return self._show(empty, 0.0, 0.0)

    def remove(self, empty: RleMask) -> TrackedInstance:
        """The track's last instance: REMOVED, with an empty mask."""
        self.state = TrackState.REMOVED
        return self._show(empty, 0.0, 0.0)

    def _show(self, mask: RleMask, mask_score: float, score: float) -> TrackedInstance:
        self.shown = TrackedInstance(
            self.track_id, self.request_id, self.label, self.state, self.name, _unit(score), _unit(mask_score), mask
        )
        return self.shown


def _unit(value: float) -> float:
    return min(1.0, max(0.0, float(value)))


class Names:
    """Track ids and labels: an id is never given twice, a label only after all others had their turn."""

    def __init__(self, nonce: str) -> None:
        self._nonce = nonce
        self._tracks = 0
        self._requests = 0
        self._repeats = 0
        self._label = 0

    def track_id(self) -> str:
        """A new track id."""
        self._tracks += 1
        return f"{self._nonce}-{self._tracks}"

    def request_id(self) -> str:
        """An id for a request that came without one."""
        self._requests += 1
        return f"{self._nonce}-r{self._requests}"

    def repeated(self, request_id: str) -> str:
        """The name under which a command that repeats a used `request_id` is refused.

        Refusing it under the id itself would look as if the request known by that id had ended.
        """
        self._repeats += 1
        return f"{request_id}~{self._repeats}"

    def label(self, taken: set[int]) -> int:
        """The next label that no live track has."""
        for _ in range(LAST_LABEL):
            self._label = self._label % LAST_LABEL + 1
            if self._label not in taken:
                return self._label
        raise OverflowError(f"all {LAST_LABEL} labels are taken by live tracks; lower max_objects")
