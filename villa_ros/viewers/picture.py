"""A camera's picture as a browser takes it: JPEG or PNG, made when somebody looks and once for all who do."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import cv2

from villa_ros.pipeline.image_view import byte_view

if TYPE_CHECKING:
    from villa_ros.pipeline.frame import Frame

JPEG_QUALITY = 80
LARGEST_SIDE_PX = 1280  # raw pictures beyond it are made smaller; masks keep the size of the source
_PNG_START = b"\x89PNG"


class PictureError(RuntimeError):
    """A picture cannot be encoded for the browser."""


class Picture:
    """One frame of a camera, with its own stamp. Any thread may encode it; a compressed image goes out as it came."""

    def __init__(self, frame: Frame) -> None:
        self.camera = frame.camera
        self.stamp_ns = frame.header.time_ns
        self.height = frame.height  # px, of the source
        self.width = frame.width
        self.nbytes = frame.nbytes
        self.frame = frame
        self._lock = threading.Lock()
        self._encoded: bytes | None = None

    @property
    def mime(self) -> str:
        """What the bytes of `encoded` are."""
        return mime_of(self.encoded())

    def encoded(self) -> bytes:
        """JPEG or PNG bytes.

        Raises:
            PictureError: the pixels cannot be encoded.
            BadImage: the pixels cannot be read.
        """
        with self._lock:
            if self._encoded is None:
                self._encoded = self._bytes(LARGEST_SIDE_PX)
            return self._encoded

    def whole(self) -> bytes:
        """JPEG or PNG bytes in the source's own size, for who lays masks of that size on them; may raise the same."""
        if max(self.height, self.width) <= LARGEST_SIDE_PX:
            return self.encoded()
        return self._bytes(max(self.height, self.width))

    def _bytes(self, largest_side_px: int) -> bytes:
        encoded = self.frame.encoded
        return _jpeg(self.frame, largest_side_px) if encoded is None else byte_view(encoded).tobytes()


def mime_of(data: bytes) -> str:
    """What JPEG or PNG bytes are."""
    return "image/png" if data[:4] == _PNG_START else "image/jpeg"


def _jpeg(frame: Frame, largest_side_px: int) -> bytes:
    rgb = frame.rgb()
    scale = largest_side_px / max(rgb.shape[:2])
    if scale < 1:
        size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    done, jpeg = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise PictureError(f"OpenCV made no JPEG of a picture of {rgb.shape[1]}x{rgb.shape[0]} px")
    return jpeg.tobytes()
