"""The frames of a run, drawn: masks, the request in force and its answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from villa_ros.pipeline.events import TrackedInstance, TracksEvent, TrackState
from villa_ros.pipeline.image_view import ImageError
from villa_ros.video.overlay_video import Canvas, Caption

if TYPE_CHECKING:
    from villa_ros.bags.run import Run
    from villa_ros.replay.run_watch import SettledFrame


class DrawnFrames:
    """A `FrameObserver` that puts every frame on a canvas; those that do not decode are left out."""

    def __init__(self, canvas: Canvas) -> None:
        self._canvas = canvas

    @property
    def beside(self) -> Mapping[str, Callable[[Any], None]]:
        """Nothing."""
        return {}

    def observe(self, settled: SettledFrame, run: Run) -> None:
        """Draw a frame."""
        frame = settled.frame
        try:
            rgb = frame.rgb()
        except ImageError:  # the run dropped it too, and said so
            return
        stamp_ns = frame.header.time_ns
        self._canvas.add(rgb, shown(settled.told), caption_at(run, stamp_ns, frame.camera), stamp_ns)


def shown(told: Sequence[TracksEvent]) -> tuple[TrackedInstance, ...]:
    """What is tracked on a frame after all that was told of it, without what was removed."""
    for event in reversed(told):
        if instances := tuple(one for one in event.instances if one.state != TrackState.REMOVED):
            return instances
    return ()


def caption_at(run: Run, stamp_ns: int, camera: str) -> Caption:
    """The request of a camera in force at a stamp, and its answer from the newest frame on that it is about.

    A command that names no camera is for every one.
    """
    newest = (-1, Caption())
    for request_id, timed in run.commands.items():
        request = timed.value
        if request.camera not in ("", camera):
            continue
        answer = run.answers.get(request_id)
        since = [(request.stamp_ns, Caption(request.text))]
        if answer is not None:
            answered_ns = answer.value.header.time_ns
            with_answer = (answered_ns, Caption(request.text, answer.value.text))
            # made after the newest frame that it looked at: words and masks of that frame belong together
            since = [with_answer] if answered_ns <= request.stamp_ns else [*since, with_answer]
        for from_ns, caption in since:
            if newest[0] <= from_ns <= stamp_ns:
                newest = (from_ns, caption)
    return newest[1]
