"""Depth behind the header of compressed_depth_image_transport, against encoders written here from its definition."""

from __future__ import annotations

import contextlib
import struct

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from villa_ros.pipeline.compressed_depth import compressed_depth, compressed_depth_size
from villa_ros.pipeline.image_view import ImageError


def scene(height: int = 24, width: int = 33) -> NDArray[np.uint16]:
    """Millimetres, with holes, also at both ends."""
    y, x = np.mgrid[:height, :width]
    depth = (600 + 40 * y + 3 * x + 900 * (x > width // 2)).astype(np.uint16)
    depth[np.random.default_rng(0).random(depth.shape) < 0.2] = 0
    depth[:2] = depth[-1] = 0
    return depth


def rvl(depth: NDArray[np.uint16]) -> bytes:
    nibbles: list[int] = []

    def put(number: int) -> None:
        while True:
            low, number = number & 7, number >> 3
            nibbles.append(low | (8 if number else 0))
            if not number:
                return

    values, at, before = depth.ravel().astype(int).tolist(), 0, 0
    while at < len(values):
        end = at
        while end < len(values) and not values[end]:
            end += 1
        put(end - at)
        at = end
        while end < len(values) and values[end]:
            end += 1
        put(end - at)
        for value in values[at:end]:
            step, before = value - before, value
            put((step << 1) ^ (step >> 31))
        at = end
    nibbles += [0] * (-len(nibbles) % 8)
    words = [int("".join(f"{one:x}" for one in nibbles[i : i + 8]), 16) for i in range(0, len(nibbles), 8)]
    return struct.pack("<II", *depth.shape[::-1]) + b"".join(struct.pack("<I", word) for word in words)


def png(depth: NDArray[np.generic]) -> bytes:
    return cv2.imencode(".png", depth)[1].tobytes()


def message(body: bytes, a: float = 0.0, b: float = 0.0) -> bytes:
    return struct.pack("<iff", 0, a, b) + body


def quantised(metres: NDArray[np.float32], limit: float = 10.0, quantisation: float = 100.0):
    """As the transport does it: inverse depth."""
    a = quantisation * (quantisation + 1.0)
    b = 1.0 - a / limit
    raw = np.zeros(metres.shape, np.uint16)
    known = np.isfinite(metres) & (metres < limit)
    raw[known] = (a / metres[known] + b).astype(np.uint16)
    return raw, a, b


@pytest.mark.parametrize(("form", "encode"), [("png", png), ("rvl", rvl), ("", png), ("", rvl)])
@pytest.mark.parametrize("shape", [(24, 33), (1, 1), (5, 7)])
def test_millimetres_come_back_exactly(form: str, encode, shape: tuple[int, int]) -> None:
    depth = scene(*shape)
    name = f"16UC1; compressedDepth {form}".strip()
    got = compressed_depth(name, message(encode(depth)))
    assert got.dtype == np.uint16
    assert np.array_equal(got, depth)
    assert compressed_depth_size(name, message(encode(depth))) == shape


@pytest.mark.parametrize("encode", [png, rvl])
def test_metres_come_back_as_exactly_as_they_were_quantised(encode) -> None:
    metres = (scene() / 1000).astype(np.float32)
    metres[metres == 0] = np.nan
    raw, a, b = quantised(metres)
    name = f"32FC1; compressedDepth {encode.__name__}"
    got = compressed_depth(name, message(encode(raw), a, b))
    assert got.dtype == np.float32
    assert np.array_equal(np.isnan(got), np.isnan(metres))
    assert np.nanmax(np.abs(got - metres) / metres**2) < 1.1e-4  # one step of inverse depth


def test_a_picture_without_any_depth_and_one_without_holes() -> None:
    for depth in (np.zeros((6, 8), np.uint16), np.full((6, 8), 65535, np.uint16)):
        assert np.array_equal(compressed_depth("16UC1; compressedDepth rvl", message(rvl(depth))), depth)


@pytest.mark.parametrize(
    ("form", "data", "reason", "words"),
    [
        ("jpeg", message(png(scene())), "encoding", "format is 'jpeg', wanted '16UC1; compressedDepth'"),
        ("16UC1; compressedDepth zstd", message(png(scene())), "encoding", "with png or rvl"),
        ("16UC1; compressedDepth png", b"", "truncated", "0 bytes"),
        ("16UC1; compressedDepth png", message(b""), "truncated", "no more than its header"),
        ("16UC1; compressedDepth png", message(rvl(scene())), "undecodable", "begins with"),
        ("16UC1; compressedDepth png", message(png(scene())[:-30]), "truncated", "cut off"),
        ("16UC1; compressedDepth png", message(png(np.zeros((4, 4), np.uint8))), "undecodable", "wanted one channel"),
        ("16UC1; compressedDepth rvl", message(rvl(scene())[:60]), "truncated", "RVL data end at pixel"),
        ("16UC1; compressedDepth rvl", message(b"\0\0"), "truncated", "hold no size"),
        ("16UC1; compressedDepth rvl", message(struct.pack("<II", 60_000, 60_000)), "too_large", "60000x60000"),
        ("16UC1; compressedDepth rvl", message(struct.pack("<II", 0, 9) + bytes(8)), "too_large", "0x9"),
        ("16UC1; compressedDepth rvl", message(struct.pack("<II", 4, 4) + b"\xff" * 64), "undecodable", "63 bits"),
        (
            "16UC1; compressedDepth rvl",
            message(struct.pack("<II", 4, 4) + bytes(64)),
            "undecodable",
            "run of 0 px at pixel 0",
        ),
        (
            "16UC1; compressedDepth rvl",
            message(struct.pack("<III", 4, 4, 0xF7000000)),
            "undecodable",
            "RVL run of [0-9]+ px at pixel 0 of 16",
        ),
    ],
)
def test_what_is_wrong_is_named(form: str, data: bytes, reason: str, words: str) -> None:
    with pytest.raises(ImageError, match=words) as raised:
        compressed_depth(form, data)
    assert raised.value.reason == reason


def test_damage_never_ends_in_anything_but_a_reason() -> None:
    rng = np.random.default_rng(1)
    for encode in (png, rvl):
        good = bytearray(message(encode(scene(9, 11))))
        for _ in range(300):
            bad = good.copy()
            for at in rng.integers(12, len(bad), 3):
                bad[at] ^= 1 << int(rng.integers(8))
            with contextlib.suppress(ImageError):
                compressed_depth(f"16UC1; compressedDepth {encode.__name__}", bytes(bad))
