"""Benchmarks whose true masks are label images: Ref-YouTube-VOS and Ref-DAVIS17."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from villa.evaluation.benchmarks.interface import BenchmarkError


def read_labels(path: Path, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """A label image with a palette -> its labels [H, W], which are the indices and not the colours.

    Raises:
        BenchmarkError: the file is missing, damaged, has colours instead of labels, or is of another size.
    """
    from PIL import Image, UnidentifiedImageError  # OpenCV turns indices into colours

    try:
        with Image.open(path) as image:
            mode = image.mode
            labels = np.asarray(image)
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise BenchmarkError(f"{path}: wanted a label image, it is missing or does not decode: {error}") from error
    if mode not in ("P", "L"):
        raise BenchmarkError(f"{path}: wanted a label image with a palette (mode P or L), saw mode {mode}")
    if labels.shape != shape:
        raise BenchmarkError(
            f"{path}: {labels.shape[1]}x{labels.shape[0]} px, its image is {shape[1]}x{shape[0]}: wanted one size"
        )
    return np.asarray(labels, np.uint8)
