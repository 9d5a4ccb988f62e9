"""Masks as the evaluation servers and the published evaluators read them: PNG files in folders, and their zip file.

- MeViS: `<video>/<expression>/<frame>.png`, 0 and 255, zipped as it is (github.com/henghuiding/MeViS, README, and
  `lmpm/evaluation/evaluator.py`);
- Ref-YouTube-VOS: the same below `Annotations/` (github.com/wjn922/ReferFormer, `docs/Ref-Youtube-VOS.md` and
  `inference_ytvos.py`; github.com/cilinyan/VISA, `tools/zip_mp_refytvos.py`);
- Ref-DAVIS17: label images with a palette in `anno_<0..3>/<video>/<frame>.png`, not zipped: `eval_davis.py` is run on
  each of the four folders (github.com/wjn922/ReferFormer, `inference_davis.py`).

Read, not copied. No server has been sent anything yet.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from villa.files.whole import appearing
from villa.masks import Mask

SUBMISSION = "submission.zip"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # of every file in a zip file, so that the same masks give the same bytes


class SubmissionError(ValueError):
    """A submission cannot be written; the message says what stands in the way."""


@dataclass(frozen=True)
class MaskFolders:
    """One folder of binary masks for each expression."""

    prefix: str = ""  # folder that holds the videos in the zip file
    inside: int = 255  # value of a px of the mask
    zipped: bool = True  # a server takes it; otherwise the folders are what a published evaluator reads

    def write(self, folder: Path, place: str, names: Sequence[str], masks: Sequence[Mask]) -> list[Path]:
        """Masks [H, W] bool of an expression's frames -> `folder`/`prefix`/`place`/`name`.png, all of them.

        Raises:
            SubmissionError: as many names as masks were wanted, or a name leads out of the folder.
            OSError: a file cannot be written.
        """
        if len(names) != len(masks):
            raise SubmissionError(f"{place}: {len(masks)} masks for {len(names)} frames, wanted one for each")
        target = inside(folder, f"{self.prefix}/{place}" if self.prefix else place)
        target.mkdir(parents=True, exist_ok=True)
        written = []
        for name, mask in zip(names, masks, strict=True):
            path = inside(target, f"{name}.png")
            if not cv2.imwrite(str(path), mask.astype(np.uint8) * np.uint8(self.inside)):
                raise OSError(f"{path} cannot be written")
            written.append(path)
        return written


def write_labels(folder: Path, place: str, names: Sequence[str], labels: Sequence[NDArray[np.uint8]]) -> list[Path]:
    """Label images [H, W] uint8 of a video's frames -> PNG files with the palette of DAVIS.

    Raises:
        SubmissionError: as many names as images were wanted, or a name leads out of the folder.
        OSError: a file cannot be written.
    """
    from PIL import Image  # OpenCV writes no palette

    if len(names) != len(labels):
        raise SubmissionError(f"{place}: {len(labels)} label images for {len(names)} frames, wanted one for each")
    target = inside(folder, place)
    target.mkdir(parents=True, exist_ok=True)
    colours = palette().reshape(-1).tolist()
    written = []
    for name, label in zip(names, labels, strict=True):
        image = Image.fromarray(label)
        image.putpalette(colours)  # turns it into an image of palette indices
        path = inside(target, f"{name}.png")
        image.save(path)
        written.append(path)
    return written


def palette() -> NDArray[np.uint8]:
    """Colours [256, 3] of labels: bit 0, 3, 6 of a label are red's highest bits, 1, 4, 7 green's, 2, 5 blue's.

    The palette of PASCAL VOC, which the annotations of DAVIS have.
    """
    labels = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        colours[:, bit % 3] |= (((labels >> bit) & 1) << (7 - bit // 3)).astype(np.uint8)
    return colours


def pack(folder: Path, path: Path) -> Path:
    """All PNG files below a folder -> a zip file with their paths in it; the same files give the same bytes.

    Raises:
        SubmissionError: there are none.
        OSError: a file cannot be read or written.
    """
    files = sorted(folder.rglob("*.png"))
    if not files:
        raise SubmissionError(f"{folder} holds no PNG file to send: no video was run")
    with appearing(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:  # PNGs are compressed
        for file in files:
            about = zipfile.ZipInfo(file.relative_to(folder).as_posix(), _EPOCH)
            about.external_attr = 0o644 << 16
            archive.writestr(about, file.read_bytes())
    return path


def inside(folder: Path, place: str) -> Path:
    """A path below a folder from names that a data set gave.

    Raises:
        SubmissionError: it would not be below it.
    """
    parts = PurePosixPath(place)
    if parts.is_absolute() or ".." in parts.parts or not parts.parts or "\\" in place:
        raise SubmissionError(f"{place!r} leads out of {folder}: the set's names are not to be trusted")
    return folder / parts
