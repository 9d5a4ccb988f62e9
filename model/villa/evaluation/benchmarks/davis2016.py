"""DAVIS 2016: one object in each of 20 validation videos, whose mask is given on the first frame.

`JPEGImages/480p/<video>/*.jpg`, `Annotations/480p/<video>/*.png` and `ImageSets/480p/<split>.txt`, a line a frame with
its two paths; the label images of DAVIS 2017, in which several numbers are parts of the one object, are read as well,
and then `ImageSets/2016/<split>.txt` lists the videos. No words are involved. As the official evaluation does
(github.com/davisvideochallenge/davis2017-evaluation, `davis2017/evaluation.py`), the first frame, which is given, and
the last one do not count. Read from public code, not run on the set.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from villa.data.referring_videos import Expression, Video
from villa.evaluation.benchmarks.interface import Benchmark, BenchmarkError
from villa.evaluation.benchmarks.layout import frame_paths, needed_folder
from villa.evaluation.benchmarks.palette_masks import read_labels
from villa.evaluation.protocols import Row, Score, mean_row
from villa.masks import Mask

_FPS = 24.0
_IMAGES, _MASKS, _RESOLUTION = "JPEGImages", "Annotations", "480p"
_LISTS = ("ImageSets/480p/{split}.txt", "ImageSets/2016/{split}.txt")
_FEWEST = 3  # frames: the first and the last do not count


class Davis2016(Benchmark):
    """Carrying a given mask, without words."""

    name = "davis2016"
    splits: ClassVar[tuple[str, ...]] = ("val", "train")
    source = "github.com/davisvideochallenge/davis2017-evaluation, davis2017/davis.py and evaluation.py"
    first_mask = True

    def __init__(self, root: Path, split: str) -> None:
        super().__init__(root, split)
        self._videos = tuple(self._video(name) for name in self._names())

    @property
    def videos(self) -> tuple[Video, ...]:
        """All videos of the split, in the order of its list."""
        return self._videos

    @property
    def masks_public(self) -> bool:
        """Yes."""
        return True

    def mask(self, video: Video, expression: Expression, frame: int, shape: tuple[int, int]) -> Mask:
        """True mask [H, W]: all that is not background."""
        path = self.root / _MASKS / _RESOLUTION / video.name / f"{video.frames[frame].stem}.png"
        inside: Mask = read_labels(path, shape) > 0
        return inside

    def given(self, video: Video, shape: tuple[int, int]) -> Mask:
        """The mask [H, W] of the first frame."""
        first = self.mask(video, video.expressions[0], 0, shape)
        if not first.any():
            raise BenchmarkError(
                f"{self.root / _MASKS / _RESOLUTION / video.name}: the first mask is empty, wanted the object to carry"
            )
        return first

    def _row(self, scores: list[Score]) -> Row:
        return mean_row(scores)

    def _names(self) -> list[str]:
        lists = [self.root / one.format(split=self.split) for one in _LISTS]
        for path in lists:
            if path.is_file():
                lines = path.read_text("utf-8").split("\n")
                names = [_video_of(line.split()[0]) for line in lines if line.strip()]
                if not names:
                    raise BenchmarkError(f"{path}: wanted a video or a frame on each line, it is empty")
                return list(dict.fromkeys(names))
        wanted = " or ".join(str(path) for path in lists)
        raise BenchmarkError(f"{self.root}: wanted {wanted}, the list of its videos")

    def _video(self, name: str) -> Video:
        folder = needed_folder(self.root / _IMAGES / _RESOLUTION / name, "the frames of the video")
        frames = frame_paths(folder, sorted(path.stem for path in folder.glob("*.jpg")))
        if len(frames) < _FEWEST:
            raise BenchmarkError(f"{folder}: wanted {_FEWEST} frames or more, saw {len(frames)}")
        needed_folder(self.root / _MASKS / _RESOLUTION / name, "its masks")
        asked = Expression(f"what the first mask of {name} shows", ("1",), key="1", kind="")
        return Video(name, frames, (asked,), _FPS, ("1",), {}, tuple(range(1, len(frames) - 1)))


def _video_of(entry: str) -> str:
    """A line's first word: the path of a frame, or the name of a video."""
    return Path(entry).parent.name if entry.endswith(".jpg") else Path(entry).name
