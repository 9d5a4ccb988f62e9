"""A frame with what was segmented on it filled, and what was meant as an outline."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from villa_ros.evaluation.request_scores import union
from villa_ros.video.overlay_video import PictureError, Rgb
from villa_ros.video.webm import MAX_WIDTH_PX, narrowed

if TYPE_CHECKING:
    from villa.masks import Mask, RleMask

FILL = (225, 40, 190)  # of what was segmented; the page's legend has both colours too
OUTLINE = (240, 255, 70)  # of what was meant
_OPACITY = 0.55
_EDGE = (20, 22, 26)
_JPEG_QUALITY = 82


def moment_picture(rgb: Rgb, predicted: Sequence[RleMask], true: Sequence[RleMask]) -> str:
    """Image [H, W, 3] with both -> JPEG as a data URI, at most `MAX_WIDTH_PX` wide.

    Raises:
        PictureError: OpenCV cannot encode it.
    """
    picture = np.array(narrowed(rgb, MAX_WIDTH_PX))
    filled, meant = _fitted(union(predicted), picture), _fitted(union(true), picture)
    if filled is not None:
        blended = picture[filled] * (1 - _OPACITY) + np.array(FILL, np.float32) * _OPACITY
        picture[filled] = blended.astype(np.uint8)
    if meant is not None:
        outlines, _ = cv2.findContours(meant.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, outlines, -1, _EDGE, 4, cv2.LINE_AA)
        cv2.drawContours(picture, outlines, -1, OUTLINE, 2, cv2.LINE_AA)
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    done, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not done:
        raise PictureError(f"OpenCV cannot encode a picture of {picture.shape} as JPEG; does this build have it?")
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode("ascii")


def _fitted(mask: Mask | None, picture: Rgb) -> Mask | None:
    if mask is None or mask.shape == picture.shape[:2]:
        return mask
    height, width = picture.shape[:2]
    stretched = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(stretched, np.bool_)
