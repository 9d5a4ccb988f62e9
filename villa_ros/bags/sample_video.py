"""Writes the second sample bag: a real camera, a real hand, a real thing, and outlines that a person drew.

The video is `cup.mp4` of OpenCV's documentation (Apache-2.0); its outlines are those of `villa.data.real_videos`. There
is no depth and no CameraInfo: nobody knows that camera.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from villa_ros.bags.sample import new_folder, write_bag, write_sums

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BAG_NAME = "cup"
_EVERY = 2  # of the video's frames: 13 a second


@dataclass(frozen=True)
class _Frame:
    time_s: float
    rgb: NDArray[np.uint8]
    instances: NDArray[np.uint8] | None
    depth_m: None = None


@dataclass(frozen=True)
class _Request:
    time_s: float
    text: str
    targets: tuple[str, ...] = ()

    @property
    def request_id(self) -> str:
        return f"{BAG_NAME}-{round(self.time_s * 10):03d}-{self.targets[0] if self.targets else 'absent'}"


# Written before any file of weights was run on them.
REQUESTS = (
    _Request(1.0, "Track the black cup, please.", ("cup",)),
    _Request(3.4, "Is there a red mug?"),
    _Request(5.4, "I am thirsty, what could I drink from?", ("cup",)),
)


def build_video_sample(videos: Path, out: Path) -> Path:
    """Write `out`/cup (a rosbag2 folder) from the folder that holds the video, and `out`/SHA256SUMS.

    Returns:
        The folder of the bag.

    Raises:
        SampleBagError: `out`/cup exists already.
        RealVideoError: the video is missing or is not the one that was outlined.
    """
    from villa.data.real_videos import outlined_video

    video = outlined_video(videos, BAG_NAME)
    folder = new_folder(out, BAG_NAME)

    def seen() -> Iterator[_Frame]:
        for number, rgb in enumerate(video.frames()):
            instances = video.instances(number)
            if number % _EVERY == 0 or instances is not None:
                yield _Frame(number / video.fps, rgb, instances)

    write_bag(folder, seen(), REQUESTS, video.things)
    write_sums(out)
    return folder
