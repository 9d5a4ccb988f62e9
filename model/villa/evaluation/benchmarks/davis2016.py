"""DAVIS 2016: one foreground in each sequence, given on the first frame and to be carried through all others.

The semi-supervised task of Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object
Segmentation", CVPR 2016. The folder is that of DAVIS 2016 or that of DAVIS 2017, which holds the same sequences with
several objects in each; all of them together are the one foreground. Layout and protocol were read from
github.com/fperazzi/davis and github.com/davisvideochallenge/davis2017-evaluation. Not run on the set.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from villa.data.referring_videos import Expression, Video
from villa.evaluation.benchmarks.interface import Benchmark, BenchmarkError, Prediction
from villa.evaluation.benchmarks.layout import needed_file, needed_folder
from villa.evaluation.benchmarks.palette_masks import read_foreground
from villa.evaluation.davis_jf import frame_jf
from villa.evaluation.protocols import Row, Score, davis_row
from villa.evaluation.sequence_statistics import over_sequence
from villa.evaluation.submission import MaskFolders
from villa.masks import Mask

_FPS = 24.0
_FOREGROUND = "foreground"
_LEAST_FRAMES = 3  # the first is given, and neither that nor the last one is scored
_LISTS = ("ImageSets/480p", "ImageSets/2016")  # of DAVIS 2016, paths of frames; of DAVIS 2017, names of sequences


class Davis2016(Benchmark):
    """Scored over the frames between the first and the last, as the official code does it."""

    name = "davis2016"
    splits = ("val", "train")
    source = (
        "github.com/fperazzi/davis and github.com/davisvideochallenge/davis2017-evaluation, davis2017/evaluation.py"
    )
    submission = MaskFolders(zipped=False)
    first_mask = True

    def __init__(self, root: Path, split: str) -> None:
        super().__init__(root, split)
        listed = _list_of(root, split)
        images = needed_folder(root / "JPEGImages/480p", "the frames of each sequence")
        self._masks = needed_folder(root / "Annotations/480p", "the masks of each sequence")
        self._videos = tuple(self._video(images / name) for name in sequences(listed))

    @property
    def videos(self) -> tuple[Video, ...]:
        """All sequences of the split."""
        return self._videos

    @property
    def masks_public(self) -> bool:
        """Yes."""
        return True

    def mask(self, video: Video, expression: Expression, frame: int, shape: tuple[int, int]) -> Mask:
        """True mask [H, W] of the foreground: every value but 0."""
        return read_foreground(self._masks / video.name / f"{video.frames[frame].stem}.png", shape)

    def given(self, video: Video) -> Mask:
        """Mask [H, W] of the first frame.

        Raises:
            BenchmarkError: it is missing, damaged, empty or of another size than the frame.
        """
        height, width = self.rgb(video, 0).shape[:2]
        first = self.mask(video, video.expressions[0], 0, (height, width))
        if not first.any():
            raise BenchmarkError(
                f"{self._masks / video.name / video.frames[0].stem}.png: the mask of the first frame is empty, and it "
                "is all that says what to carry on: wanted at least one px that is not 0"
            )
        return first

    def failed(self, video: Video, expression: Expression) -> Score:
        """The score of a sequence that could not be run: as of masks that are all empty."""
        zeros = dict.fromkeys(("j_recall", "j_decay", "f_recall", "f_decay"), 0.0)
        return super().failed(video, expression) | zeros

    def place(self, video: Video, expression: Expression) -> str:
        """Folder of a sequence's masks, as the official code reads them."""
        return video.name

    def _scored(self, video: Video, expression: Expression, prediction: Prediction) -> Score:
        shape = prediction.shape
        frames = [frame_jf(prediction.at(t), self.mask(video, expression, t, shape)) for t in video.scored]
        j, f = over_sequence([frame.j for frame in frames]), over_sequence([frame.f for frame in frames])
        # The first mask was given: only what came after it is the model's own.
        carried = any(mask is not None and mask.area for mask in prediction.masks[1:])
        about: Score = {"answer": "", "answered": carried, "choice": None, "frames": len(frames), "target": True}
        measures = {"j": j.mean, "j_recall": j.recall, "j_decay": j.decay}
        measures |= {"f": f.mean, "f_recall": f.recall, "f_decay": f.decay}
        return about | measures | {"jf": (j.mean + f.mean) / 2}

    def _row(self, scores: list[Score]) -> Row:
        return davis_row(scores)

    def _video(self, images: Path) -> Video:
        name = images.name
        needed_folder(images, f"the frames of the sequence {name!r}")
        frames = tuple(sorted(images.glob("*.jpg")))
        if len(frames) < _LEAST_FRAMES:
            raise BenchmarkError(
                f"{images}: {len(frames)} JPEG files, wanted {_LEAST_FRAMES} or more: the first frame is given, and "
                "neither the first nor the last one is scored"
            )
        masks = needed_folder(self._masks / name, f"the masks of the sequence {name!r}")
        needed_file(masks / f"{frames[0].stem}.png", "the mask of the first frame, from which the model carries on")
        scored = tuple(range(1, len(frames) - 1))
        for t in scored:
            needed_file(masks / f"{frames[t].stem}.png", "the mask of a frame that is scored")
        foreground = Expression("", (_FOREGROUND,), key=_FOREGROUND)  # nothing is asked in words
        return Video(name, frames, (foreground,), _FPS, (_FOREGROUND,), {}, scored)


def sequences(listed: Path) -> list[str]:
    """The names in a list of sequences, or of their frames (`/JPEGImages/480p/<sequence>/<frame>.jpg ...`), in order.

    Raises:
        BenchmarkError: a line names none, or there is no line.
    """
    names: dict[str, None] = {}
    for number, line in enumerate(listed.read_text("utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        place = PurePosixPath(line.split()[0])
        name = place.parent.name if len(place.parts) > 1 else place.name
        if name in ("", ".."):
            raise BenchmarkError(
                f"{listed}, line {number}: wanted the name of a sequence, or the paths of a frame and its mask, "
                f"saw {line.strip()!r}"
            )
        names[name] = None
    if not names:
        raise BenchmarkError(f"{listed}: wanted the names of sequences, one a line; it holds none")
    return list(names)


def _list_of(root: Path, split: str) -> Path:
    """The list of a split's sequences, in the folder of DAVIS 2016 or of DAVIS 2017."""
    for folder in _LISTS:
        if (root / folder / f"{split}.txt").is_file():
            return root / folder / f"{split}.txt"
    return needed_file(root / _LISTS[0] / f"{split}.txt", f"the sequences of the split, or {_LISTS[1]}/{split}.txt")
