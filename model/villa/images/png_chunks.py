"""Do the chunks of a PNG fit its bytes? To be asked before a decoder reads what may be damaged.

OpenCV makes room for as many bytes as a chunk says it holds, before it looks whether they are there: one flipped bit in
88 bytes takes 4 GB. Its checksums come after that. https://www.w3.org/TR/png-3/#5Chunk-layout
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_FRAME = struct.Struct(">I4s")  # length of the data, name; the data and 4 bytes of checksum follow
_CHECKSUM = 4  # bytes
_FIXED = {b"IHDR": 13, b"IEND": 0}  # bytes of data


class PngError(ValueError):
    """The chunks of a PNG contradict its bytes."""


def check_chunks(data: Any) -> None:
    """Walk from chunk to chunk up to IEND, without reading what is in them; what follows IEND is not looked at.

    `data` is any object with a contiguous buffer of bytes [N] that begin with `SIGNATURE`.

    Raises:
        PngError: a chunk is longer than what is left, has no name, or has a length that its kind cannot have; IHDR is
            not the first, or there is no IEND.
    """
    view = memoryview(data).cast("B")
    position, name = len(SIGNATURE), b""
    while name != b"IEND":
        left = len(view) - position - _FRAME.size - _CHECKSUM
        if left < 0:
            raise PngError(f"png of {len(view)} bytes ends at byte {position} without its last chunk: it is damaged")
        length, name = _FRAME.unpack_from(view, position)
        if not name.isalpha() or (position == len(SIGNATURE) and name != b"IHDR"):
            wanted = "IHDR" if position == len(SIGNATURE) else "four letters"
            raise PngError(f"png has a chunk {name!r} at byte {position}, wanted {wanted}: it is damaged")
        if length > left or length != _FIXED.get(name, length):
            wanted_bytes = f"{_FIXED[name]}" if name in _FIXED else f"{left} or fewer"
            raise PngError(
                f"png chunk {name.decode()} at byte {position} says that it holds {length} bytes, "
                f"wanted {wanted_bytes}: it is damaged"
            )
        position += _FRAME.size + length + _CHECKSUM


def read_picture(path: Path, flags: int = cv2.IMREAD_COLOR) -> NDArray[Any] | None:
    """As cv2.imread with `flags`: [H, W] or [H, W, 3], blue first. None where the file is missing or does not decode.

    A PNG is checked before it is decoded.
    """
    if not path.is_file():
        return None
    data = path.read_bytes()
    if data.startswith(SIGNATURE):
        try:
            check_chunks(data)
        except PngError:
            return None  # as any other file that does not decode: the caller names the file and what to do
    return cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
