"""Masks in image files: labels of several objects (Ref-YouTube-VOS, Ref-DAVIS17), one foreground (DAVIS 2016)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villa.evaluation.benchmarks.interface import BenchmarkError
from villa.masks import Mask


def read_labels(path: Path, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """A label image with a palette -> its labels [H, W], which are the indices and not the colours.

    Raises:
        BenchmarkError: the file is missing, damaged, has colours instead of labels, or is of another size.
    """
    mode, labels = _opened(path, "a label image")
    if mode not in ("P", "L"):
        raise BenchmarkError(f"{path}: wanted a label image with a palette (mode P or L), saw mode {mode}")
    _check_size(path, labels, shape)
    return np.asarray(labels, np.uint8)


def read_foreground(path: Path, shape: tuple[int, int]) -> Mask:
    """A mask as an image of any mode -> where it is not 0 [H, W]: a palette's index, a gray value or any colour.

    How opaque a px is says nothing.

    Raises:
        BenchmarkError: the file is missing, damaged or of another size.
    """
    mode, values = _opened(path, "a mask")
    if values.ndim == 3:
        values = np.asarray(values[..., : -1 if mode.endswith("A") else None].any(axis=2))
    _check_size(path, values, shape)
    return np.asarray(values != 0, np.bool_)


def _opened(path: Path, what: str) -> tuple[str, NDArray[Any]]:
    """Mode and values [H, W] or [H, W, channels] of an image file."""
    from PIL import Image, UnidentifiedImageError  # OpenCV turns indices into colours

    try:
        with Image.open(path) as image:
            return image.mode, np.asarray(image)
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise BenchmarkError(f"{path}: wanted {what}, it is missing or does not decode: {error}") from error


def _check_size(path: Path, values: NDArray[Any], shape: tuple[int, int]) -> None:
    if values.shape != shape:
        raise BenchmarkError(
            f"{path}: {values.shape[1]}x{values.shape[0]} px, its image is {shape[1]}x{shape[0]}: wanted one size"
        )
