"""The frames of one camera of a recording with what a run said of them, as a video for browsers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from villa_ros.bags.reader import Bag
from villa_ros.bags.run import Run
from villa_ros.replay.drawn_frames import DrawnFrames
from villa_ros.replay.run_watch import show_run
from villa_ros.video.overlay_video import PictureError
from villa_ros.video.webm import WebVideo, WebVideoWriter, read_web_video


def write_web_video(
    bag: Bag, topic: str, camera: str, run: Run, file: Path, drawn: Callable[[], None] = lambda: None
) -> WebVideo:
    """Draw what a run says of one camera on the frames of the open bag it was made from.

    `drawn` is called after each frame. `file` has to end with .webm.

    Raises:
        BagError: the bag is damaged or lacks the topic.
        PictureError: nothing can be written here, or no frame can be decoded.
    """
    first_ns, last_ns = bag.stamp_range(topic)
    fps = (bag.count(topic) - 1) * 1e9 / (last_ns - first_ns) if last_ns > first_ns else 1.0
    with WebVideoWriter(file, fps) as writer:
        frames = DrawnFrames(writer)
        for _ in show_run(bag.frames(topic, camera), run, [frames], camera):
            drawn()
        if not writer.stamps_ns:
            raise PictureError(f"{topic} of {bag.path} holds no frame that can be drawn; see the run's bad images")
    return read_web_video(file)
