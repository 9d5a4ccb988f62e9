"""Where a pixel looks: sensor_msgs/CameraInfo -> rays of the optical frame (REP-103: x right, y down, z forward)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

_MODELS = {"plumb_bob": 5, "rational_polynomial": 8, "equidistant": 4}  # name -> most coefficients
_UNDISTORTED = ("", "none")  # names some drivers give where there is nothing to undo


class CameraModelError(ValueError):
    """A calibration that cannot be used. `reason` is a short name to count it under."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class CameraModel:
    """A calibrated camera at the size of its images. Hashable, so that its rays are computed once."""

    height: int  # px
    width: int  # px
    fx: float  # px
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = ()  # OpenCV's order; empty: straight lines stay straight
    fisheye: bool = False

    @classmethod
    def of_info(cls, info: object, *, rectified: bool) -> CameraModel:
        """From the fields of sensor_msgs/CameraInfo, binning and region of interest included.

        `rectified`: the images were undistorted already, so that P describes them and D does not.

        Raises:
            CameraModelError: not calibrated, a distortion model that is not known, or numbers that are none.
        """
        k, p, d = ([float(x) for x in getattr(info, name)] for name in ("k", "p", "d"))
        fx, fy, cx, cy = (p[0], p[5], p[2], p[6]) if rectified and p[0] else (k[0], k[4], k[2], k[5])
        if not (np.isfinite([fx, fy, cx, cy, *d]).all() and fx > 0 and fy > 0):
            raise CameraModelError(
                "uncalibrated",
                f"camera info has fx {fx:g}, fy {fy:g}, cx {cx:g}, cy {cy:g}: wanted finite numbers, fx and fy above "
                "0: calibrate the camera, or give its driver the calibration file",
            )
        distortion, fisheye = ((), False) if rectified else _distortion(str(getattr(info, "distortion_model", "")), d)
        across = max(1, int(getattr(info, "binning_x", 1)))
        down = max(1, int(getattr(info, "binning_y", 1)))
        roi = getattr(info, "roi", None)
        left, top = (0, 0) if roi is None else (int(roi.x_offset), int(roi.y_offset))
        width = int(getattr(roi, "width", 0)) or int(getattr(info, "width", 0))
        height = int(getattr(roi, "height", 0)) or int(getattr(info, "height", 0))
        return cls(
            height // down,
            width // across,
            fx / across,
            fy / down,
            # The middle of the first of `across` pixels is (across - 1) / 2 before the middle of them all.
            (cx - left + 0.5) / across - 0.5,
            (cy - top + 0.5) / down - 0.5,
            distortion,
            fisheye,
        )

    def rays(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Where the pixels of a part of the image look [h, w, 2]: x / z and y / z."""
        if self.distortion:
            return _undistorted(self)[rows, columns]
        x = (np.arange(columns.start, columns.stop, dtype=np.float32) - np.float32(self.cx)) / np.float32(self.fx)
        y = (np.arange(rows.start, rows.stop, dtype=np.float32) - np.float32(self.cy)) / np.float32(self.fy)
        return np.stack(np.broadcast_arrays(x[None], y[:, None]), axis=-1)


def _distortion(model: str, d: Sequence[float]) -> tuple[tuple[float, ...], bool]:
    if not any(d):
        return (), False
    if model in _UNDISTORTED:
        model = "plumb_bob"  # coefficients without a name are what OpenCV's calibration gave
    if model not in _MODELS:
        raise CameraModelError(
            "distortion_model",
            f"distortion model is {model!r}, wanted one of {', '.join(_MODELS)}: rectify the images "
            "(image_proc) and declare the camera as rectified",
        )
    if len(d) not in (4, 5, 8, 12, 14) or (model == "equidistant" and len(d) != 4):
        raise CameraModelError(
            "distortion_size", f"{model} has {len(d)} coefficients in D, wanted {_MODELS[model]}: calibrate it again"
        )
    return tuple(d), model == "equidistant"


@lru_cache(maxsize=8)
def _undistorted(camera: CameraModel) -> NDArray[np.float32]:
    """Rays of a whole image [H, W, 2]; undoing distortion is a search for each pixel, so it is done once."""
    matrix = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    columns, rows = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    pixels = np.stack((columns, rows), axis=-1).reshape(-1, 1, 2).astype(np.float64)
    coefficients = np.array(camera.distortion)
    if camera.fisheye:
        rays = cv2.fisheye.undistortPoints(pixels, matrix, coefficients)
    else:
        rays = cv2.undistortPoints(pixels, matrix, coefficients)
    return np.asarray(rays, np.float32).reshape(camera.height, camera.width, 2)
