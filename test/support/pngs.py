"""PNG files put together by hand, chunk by chunk."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from itertools import pairwise

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEIGHT, WIDTH = 6, 8  # px


def chunk(name: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(*before: bytes, pieces: int = 1) -> bytes:
    """An RGB picture of one colour, (10, 200, 30); its pixels in so many IDAT chunks, `before` in front of them."""
    rows = (b"\0" + bytes((10, 200, 30)) * WIDTH) * HEIGHT
    packed = zlib.compress(rows)
    cuts = [len(packed) * piece // pieces for piece in range(pieces + 1)]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0))
    parts = [chunk(b"IDAT", packed[start:end]) for start, end in pairwise(cuts)]
    return SIGNATURE + header + b"".join(before) + b"".join(parts) + chunk(b"IEND")


def starts(data: bytes) -> Iterator[int]:
    """Where the chunks of a sound PNG begin."""
    position = len(SIGNATURE)
    while position < len(data):
        yield position
        position += 12 + int.from_bytes(data[position : position + 4], "big")


def flipped(data: bytes, position: int, bit: int) -> bytes:
    """With one bit of the length of the chunk at `position` turned over; bit 31 is the highest."""
    length = int.from_bytes(data[position : position + 4], "big") ^ (1 << bit)
    return data[:position] + length.to_bytes(4, "big") + data[position + 4 :]


def all_flips(data: bytes) -> list[bytes]:
    """Every PNG that differs in one bit of one chunk's length."""
    return [flipped(data, position, bit) for position in starts(data) for bit in range(32)]
