"""Each encoding against an encoder written here from its definition."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from villa_ros.pipeline.image_view import ImageError, raw_view
from villa_ros.pipeline.raw_encodings import names, raw_encoding, toned

Picture = NDArray[np.uint8]
PATTERNS = {"rggb": "rggb", "bggr": "bggr", "gbrg": "gbrg", "grbg": "grbg"}
SIZES = [(6, 8), (7, 8), (6, 9), (7, 9), (1, 1), (2, 3), (1, 6)]


def smooth(height: int, width: int) -> Picture:
    """Red to the right, green downwards, blue throughout: neighbours are alike, so that chroma may be shared."""
    y, x = np.mgrid[:height, :width]
    return np.dstack((60 + 4 * x, 200 - 6 * y, np.full((height, width), 120))).astype(np.uint8)


def yuv(rgb: Picture) -> NDArray[np.float64]:
    """ITU-R BT.601 with luma in 16..235."""
    r, g, b = rgb.astype(float).transpose(2, 0, 1)
    return np.dstack((
        16 + 0.257 * r + 0.504 * g + 0.098 * b,
        128 - 0.148 * r - 0.291 * g + 0.439 * b,
        128 + 0.439 * r - 0.368 * g - 0.071 * b,
    ))  # fmt: skip


def mosaic(rgb: Picture, pattern: str) -> Picture:
    height, width = rgb.shape[:2]
    y, x = np.mgrid[:height, :width]
    channel = np.array(["rgb".index(one) for one in pattern]).reshape(2, 2)[y % 2, x % 2]
    return np.take_along_axis(rgb, channel[..., None], axis=2)[..., 0]


def packed_422(rgb: Picture, order: str) -> Picture:
    """Rows of 2 bytes a pixel in the order of "uyvy" or "yuyv", chroma of the pair's first pixel."""
    height, width = rgb.shape[:2]
    values = yuv(np.concatenate((rgb, rgb[:, -1:]), axis=1) if width % 2 else rgb).round().astype(np.uint8)
    pairs = values.reshape(height, -1, 2, 3)
    place = {"u": pairs[:, :, 0, 1], "v": pairs[:, :, 0, 2]}
    lumas = iter((pairs[:, :, 0, 0], pairs[:, :, 1, 0]))
    parts = [next(lumas) if letter == "y" else place[letter] for letter in order]
    return np.stack(parts, axis=2).reshape(height, -1)[:, : 2 * width]


def planes(rgb: Picture, order: str, share: int) -> Picture:
    """Luma, then pairs of chroma of every `share`-th pixel; all rows of one length."""
    height, width = rgb.shape[:2]
    values = yuv(rgb).round().astype(np.uint8)
    pairs = values[::share, ::share][..., [1, 2] if order == "uv" else [2, 1]].reshape(-(-height // share), -1)
    if share == 1:
        pairs = pairs.reshape(2 * height, width)
    step = max(width, pairs.shape[1])
    luma = np.pad(values[..., 0], ((0, 0), (0, step - width)))
    return np.concatenate((luma, pairs))


def decode(rows: NDArray, encoding: str, height: int, width: int, *, padding: int = 0, **more: object) -> Picture:
    data = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), -1)
    data = np.pad(data, ((0, 0), (0, padding)), constant_values=255)
    return raw_view(height, width, encoding, data.shape[1], data.tobytes(), **more).rgb()


def off(image: Picture, wanted: Picture) -> int:
    return int(np.abs(image.astype(int) - wanted).max(initial=0))


# -- each layout -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("name", ["uyvy", "yuv422", "yuyv", "yuv422_yuy2", "yuy2"])
def test_packed_yuv(name: str, size: tuple[int, int], padding: int) -> None:
    rgb = smooth(*size)
    order = "uyvy" if name in ("uyvy", "yuv422") else "yuyv"
    # At an odd end, half of the last chroma is missing, and that of the pair before stands in.
    allowed = 8 if size[1] > 1 else 90
    assert off(decode(packed_422(rgb, order), name, *size, padding=padding), rgb) <= allowed


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("name", "order", "share"), [("nv12", "uv", 2), ("nv21", "vu", 2), ("nv24", "uv", 1)])
def test_yuv_in_planes_by_the_height_of_the_picture_or_of_all_rows(
    name: str, order: str, share: int, size: tuple[int, int]
) -> None:
    rgb = smooth(*size)
    rows = planes(rgb, order, share)
    image = decode(rows, name, *size)
    assert off(image, rgb) <= (3 if share == 1 else 10)
    again = raw_view(len(rows), size[1], name, rows.shape[1], rows.tobytes())
    assert (again.height, again.width) == size
    assert np.array_equal(again.rgb(), image)


@pytest.mark.parametrize("name", ["nv12", "nv24"])
def test_planes_with_longer_rows(name: str) -> None:
    rgb = smooth(6, 8)
    rows = planes(rgb, "uv", 2 if name == "nv12" else 1)
    if name == "nv12":
        assert np.array_equal(decode(rows, name, 6, 8, padding=8), decode(rows, name, 6, 8))
        return
    # The chroma plane of NV24 has rows of twice the step.
    chroma = np.pad(rows[6:].reshape(6, 16), ((0, 0), (0, 8))).reshape(12, 12)
    wide = np.concatenate((np.pad(rows[:6], ((0, 0), (0, 4))), chroma))
    assert np.array_equal(decode(wide, name, 6, 8), decode(rows, name, 6, 8))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_bayer(pattern: str, size: tuple[int, int]) -> None:
    flat = np.broadcast_to(np.array([200, 90, 30], np.uint8), (*size, 3))
    image = decode(mosaic(flat, PATTERNS[pattern]), f"bayer_{pattern}8", *size)
    assert image.shape == (*size, 3)
    if min(size) > 1:  # of one row or one column, two of the colours are not known
        assert off(image, flat) <= 1


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_bayer_of_sixteen_bits(pattern: str, big: bool) -> None:
    flat = np.broadcast_to(np.array([200, 90, 30], np.uint8), (6, 8, 3))
    values = mosaic(flat, PATTERNS[pattern]).astype(np.uint16) * 257
    rows = values.astype(">u2" if big else "<u2")
    assert off(decode(rows, f"bayer_{pattern}16", 6, 8, is_bigendian=big), flat) <= 1


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(("name", "order"), [("rgb16", (0, 1, 2)), ("bgr16", (2, 1, 0)), ("16UC3", (2, 1, 0))])
def test_colours_of_sixteen_bits_in_either_byte_order(name: str, order: tuple[int, ...], big: bool) -> None:
    rgb = smooth(6, 8)
    rgb[0, 0] = 255  # all 16 bits are used
    values = (rgb[..., order].astype(np.uint16) * 257).astype(">u2" if big else "<u2")
    assert off(decode(values.reshape(6, -1), name, 6, 8, is_bigendian=big), rgb) <= 1


@pytest.mark.parametrize("name", ["rgba16", "bgra16", "16UC4", "8UC4", "32FC4"])
def test_alpha_is_neither_a_colour_nor_a_tone(name: str) -> None:
    rgb = smooth(6, 8)
    rgb[0, 0] = 255
    colours = rgb if name.startswith("rgb") else rgb[..., ::-1]
    factor, kind = {"8UC4": (1, "u1"), "32FC4": (1 / 255, "<f4")}.get(name, (257, "<u2"))
    top = np.full((6, 8, 1), 1000 if kind == "<f4" else np.iinfo(kind).max)
    values = np.concatenate((colours.astype(float) * factor, top), axis=2).astype(kind)
    assert off(decode(values.reshape(6, -1), name, 6, 8), rgb) <= 1


@pytest.mark.parametrize("big", [False, True])
def test_the_byte_order_says_nothing_of_single_bytes(big: bool) -> None:
    rgb = smooth(6, 8)
    for name in ("rgb8", "bayer_rggb8", "nv12", "yuyv", "mono8"):
        rows = {"nv12": planes(rgb, "uv", 2), "yuyv": packed_422(rgb, "yuyv"), "rgb8": rgb.reshape(6, -1)}.get(name)
        rows = rgb[..., 0] if rows is None else rows
        assert np.array_equal(decode(rows, name, 6, 8, is_bigendian=big), decode(rows, name, 6, 8))


# -- tones of what has more than 8 bits --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "low", "high"),
    [
        ("mono16", "<u2", 900, 3000),  # 12 bits
        ("16UC1", "<u2", 7000, 9000),  # a thermal camera
        ("32FC1", "<f4", 0.4, 3.5),  # metres
        ("16SC1", "<i2", -300, 700),
        ("32SC1", "<i4", 100_000, 400_000),
        ("64FC1", "<f8", -1.0, 1.0),
    ],
)
def test_grey_of_many_bits_is_spread_over_what_there_is(name: str, kind: str, low: float, high: float) -> None:
    values = np.linspace(low, high, 48).reshape(6, 8).astype(kind)
    image = decode(values, name, 6, 8)[..., 0]
    assert image.ravel()[0] < 10
    assert image.ravel()[-1] > 245
    assert bool((np.diff(image.ravel().astype(int)) >= 0).all())


def test_given_tones_hold_whatever_the_picture_shows() -> None:
    values = np.array([[0, 500, 1000, 1500, 2000, 65535]], "<u2")
    image = decode(values, "mono16", 1, 6, tones=(500.0, 1500.0))[..., 0]
    assert image.tolist() == [[0, 0, 127, 255, 255, 255]]


def test_a_picture_of_one_value_is_grey_and_none_is_black() -> None:
    assert decode(np.full((4, 4), 3000, "<u2"), "mono16", 4, 4).min() > 100
    assert decode(np.zeros((4, 4), "<u2"), "16UC1", 4, 4).shape == (4, 4, 3)


def test_what_is_not_a_number_is_black_and_tells_no_tones() -> None:
    values = np.linspace(1.0, 2.0, 16).reshape(4, 4).astype("<f4")
    values[0, 0], values[0, 1] = np.nan, -np.inf
    values[0, 2] = np.inf
    image = decode(values, "32FC1", 4, 4)[..., 0]
    assert image[0].tolist()[:3] == [0, 0, 255]
    assert image[3, 3] > 245


@pytest.mark.parametrize(("bits", "wanted"), [(10, 10), (12, 12), (14, 14), (16, 16)])
def test_colours_keep_their_hue_and_take_the_bits_that_the_camera_has(bits: int, wanted: int) -> None:
    values = np.array([[[0.5, 0.25, 0.0], [0.9, 0.9, 0.9]]]) * (2**bits - 1)
    image = decode(values.astype("<u2").reshape(1, -1), "rgb16", 1, 2)
    assert image[0, 0].tolist() == pytest.approx([127, 63, 0], abs=1)
    assert wanted == bits


@pytest.mark.parametrize("top", [1.0, 255.0])
def test_colours_as_floats_reach_to_one_or_to_255(top: float) -> None:
    values = np.array([[[0.25, 0.5, 0.9]]], "<f4") * np.float32(top)
    assert decode(values.reshape(1, -1), "32FC3", 1, 1)[0, 0].tolist() == pytest.approx([229, 127, 63], abs=1)


def test_a_large_picture_is_told_by_some_of_its_values() -> None:
    values = np.random.default_rng(0).normal(8000, 300, (480, 640)).astype("<u2")
    image = toned(values, None)
    assert 20 < int(np.percentile(image, 10)) < 110
    assert 145 < int(np.percentile(image, 90)) < 235


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["RGB8", "Mono8", "BAYER_rggb8", "YUYV", "8uc3", "16UC1", "32fc1", " bgr8"])
def test_the_case_of_a_name_does_not_matter(name: str) -> None:
    rows = np.full((4, 64), 80, np.uint8)
    known = raw_encoding(name)
    assert known is not None
    data = rows[:, : known.row_bytes(4)]
    assert np.array_equal(decode(data, name, 4, 4), decode(data, name.strip().lower(), 4, 4))


def test_every_name_that_is_told_decodes() -> None:
    assert len(names()) == len(set(names())) >= 47
    for name in names():
        known = raw_encoding(name)
        assert known is not None
        assert decode(np.full((known.rows(4), known.row_bytes(6)), 60, np.uint8), name, 4, 6).shape == (4, 6, 3)


@pytest.mark.parametrize("name", ["8UC2", "16SC2", "8UC5", "h264", "", "rgb8x", "99UC1"])
def test_what_has_no_agreed_colours_is_refused_by_name(name: str) -> None:
    with pytest.raises(ImageError, match="wanted one of rgb8") as raised:
        raw_view(4, 4, name, 16, bytes(64))
    assert raised.value.reason == "encoding"


@pytest.mark.parametrize(
    ("name", "step", "size", "words"),
    [
        ("nv12", 8, 8 * 6, "wants? 72"),  # the chroma is missing; 6 rows are no picture in planes
        ("nv24", 8, 8 * 17, "18 rows of nv24 wants 144"),
        ("yuyv", 15, 15 * 6, "needs 16"),
        ("bayer_rggb16", 15, 15 * 6, "needs 16"),
    ],
)
def test_data_that_do_not_fit_are_refused(name: str, step: int, size: int, words: str) -> None:
    if name == "nv12":
        assert raw_view(6, 8, name, step, bytes(size)).height == 4  # 4 rows of luma and 2 of chroma
        return
    with pytest.raises(ImageError, match=words):
        raw_view(6, 8, name, step, bytes(size))
