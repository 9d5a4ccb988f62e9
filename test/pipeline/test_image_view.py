from __future__ import annotations

import io
from array import array

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from villa_ros.pipeline.image_view import ImageError, compressed_view, raw_view
from villa_ros.pipeline.raw_encodings import names, raw_encoding


def picture(height: int = 6, width: int = 5) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def as_encoding(rgb: NDArray[np.uint8], encoding: str) -> NDArray[np.uint8]:
    alpha = np.full((*rgb.shape[:2], 1), 7, np.uint8)
    return {
        "rgb8": rgb,
        "bgr8": rgb[..., ::-1],
        "8UC3": rgb[..., ::-1],
        "rgba8": np.concatenate((rgb, alpha), axis=2),
        "bgra8": np.concatenate((rgb[..., ::-1], alpha), axis=2),
    }[encoding]


def jpeg(height: int = 48, width: int = 64) -> bytes:
    smooth = cv2.resize(picture(4, 4), (width, height), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(".jpg", smooth)[1].tobytes()


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "8UC3", "rgba8", "bgra8"])
def test_colours_come_out_red_first_whatever_the_encoding(encoding: str) -> None:
    rgb = picture()
    coded = as_encoding(rgb, encoding)
    view = raw_view(6, 5, encoding, coded.shape[2] * 5, coded.tobytes())
    assert np.array_equal(view.rgb(), rgb)


@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_grey_becomes_three_equal_channels(encoding: str) -> None:
    grey = picture()[..., 0]
    view = raw_view(6, 5, encoding, 5, grey.tobytes())
    assert np.array_equal(view.rgb(), np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize("encoding", names())
def test_padding_at_the_end_of_rows_is_left_out(encoding: str) -> None:
    known = raw_encoding(encoding)
    assert known is not None
    if encoding == "nv24":  # its chroma has rows of twice the step: test_raw_encodings
        return
    row = known.row_bytes(6)
    rows = np.random.default_rng(2).integers(0, 256, (known.rows(6), row), np.uint8)
    padded = np.concatenate((rows, np.full((len(rows), 11), 255, np.uint8)), axis=1)
    narrow = raw_view(6, 6, encoding, row, rows.tobytes()).rgb()
    assert np.array_equal(raw_view(6, 6, encoding, row + 11, padded.tobytes()).rgb(), narrow)


@pytest.mark.parametrize("container", [bytes, bytearray, memoryview, lambda data: array("B", data)])
def test_any_byte_buffer_serves(container: object) -> None:
    rgb = picture()
    data = container(rgb.tobytes())  # type: ignore[operator]
    assert np.array_equal(raw_view(6, 5, "rgb8", 15, data).rgb(), rgb)


def test_rgb_images_are_views_of_the_message_not_copies() -> None:
    data = bytearray(picture().tobytes())
    image = raw_view(6, 5, "rgb8", 15, data).rgb()
    data[0] ^= 0xFF
    assert image[0, 0, 0] == data[0]


@pytest.mark.parametrize(
    ("fields", "reason", "words"),
    [
        ((6, 5, "yuv411", 15, bytes(90)), "encoding", "'yuv411'.*rgb8"),
        ((6, 5, "rgb8", 14, bytes(84)), "step", "14 bytes.*needs 15"),
        ((6, 5, "rgb8", 15, bytes(89)), "size", "89 bytes.*wants 90"),
        ((6, 5, "rgb8", 15, bytes(91)), "size", "91 bytes.*wants 90"),
        ((0, 5, "rgb8", 15, b""), "zero_size", "5x0 px"),
        ((6, 0, "rgb8", 0, b""), "zero_size", "0x6 px"),
        ((100_000, 100_000, "mono8", 100_000, b""), "too_large", "100000x100000"),
        ((6, 5, "rgb8", 15, list(range(90))), "data", "list"),
    ],
)
def test_a_raw_image_that_contradicts_itself_is_named(
    fields: tuple[int, int, str, int, object], reason: str, words: str
) -> None:
    with pytest.raises(ImageError, match=words) as raised:
        raw_view(*fields)
    assert raised.value.reason == reason


@pytest.mark.parametrize("extension", [".jpg", ".png"])
@pytest.mark.parametrize("grey", [False, True])
def test_compressed_images_tell_their_size_before_they_are_decoded(extension: str, grey: bool) -> None:
    source = cv2.resize(picture(4, 4), (64, 48))
    data = cv2.imencode(extension, source[..., 0] if grey else source)[1].tobytes()
    view = compressed_view(data)
    assert (view.height, view.width, view.nbytes) == (48, 64, len(data))
    decoded = view.rgb()
    assert decoded.shape == (48, 64, 3)
    wanted = source[..., ::-1] if not grey else np.repeat(source[..., :1], 3, axis=2)
    assert np.abs(decoded.astype(int) - wanted).mean() < (1 if extension == ".png" else 30)


def test_red_stays_red_through_jpeg() -> None:
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 2] = 255  # OpenCV writes blue first
    assert compressed_view(cv2.imencode(".jpg", red)[1].tobytes()).rgb()[8, 8].tolist() == pytest.approx(
        [254, 0, 0], abs=4
    )


@pytest.mark.parametrize("keep", [0.5, 0.9, 0.999])
@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_a_cut_off_image_is_refused_without_decoding(extension: str, keep: float) -> None:
    data = cv2.imencode(extension, picture(64, 64))[1].tobytes()
    with pytest.raises(ImageError, match="cut off") as raised:
        compressed_view(data[: int(len(data) * keep)])
    assert raised.value.reason == "truncated"


@pytest.mark.parametrize("padding", [bytes(16), bytes(100_000), bytes([0xAB]) * 5000, jpeg(8, 8)[:200]])
@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_what_follows_the_end_does_no_harm(extension: str, padding: bytes) -> None:
    """A driver may send its whole buffer, with zeros or with what was in it before."""
    source = cv2.resize(picture(4, 4), (64, 48))
    data = cv2.imencode(extension, source)[1].tobytes()
    assert np.array_equal(compressed_view(data + padding).rgb(), compressed_view(data).rgb())


def _without_huffman_tables(data: bytes) -> bytes:
    """As cameras send Motion JPEG."""
    out, position = bytearray(data[:2]), 2
    while data[position + 1] != 0xDA:
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        out += b"" if data[position + 1] == 0xC4 else data[position:end]
        position = end
    return bytes(out) + data[position:]


def _saved(mode: str = "RGB", **how: object) -> tuple[bytes, NDArray[np.uint8]]:
    smooth = cv2.resize(picture(4, 4), (64, 48), interpolation=cv2.INTER_CUBIC)
    file = io.BytesIO()
    Image.fromarray(smooth).convert(mode).save(file, "JPEG", quality=95, **how)
    return file.getvalue(), smooth


def test_jpegs_as_cameras_and_converters_write_them() -> None:
    turned = Image.Exif()
    turned[0x0112] = 6  # "show me turned by a quarter"
    plain, source = _saved()
    for data in (
        _without_huffman_tables(plain), _saved(progressive=True)[0], _saved("CMYK")[0], _saved(exif=turned)[0],
        _saved(restart_marker_blocks=2)[0],
    ):  # fmt: skip
        view = compressed_view(data)
        assert (view.height, view.width) == source.shape[:2]
        assert np.abs(view.rgb().astype(int) - source).mean() < 6


def test_a_thumbnail_inside_does_not_pass_for_the_end() -> None:
    thumbnail = jpeg(8, 8)
    data = jpeg()
    part = b"Exif\0\0" + thumbnail
    whole = data[:2] + b"\xff\xe1" + (len(part) + 2).to_bytes(2, "big") + part + data[2:]
    assert compressed_view(whole).rgb().shape == (48, 64, 3)
    with pytest.raises(ImageError, match="cut off"):
        compressed_view(whole[:-100])


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_png_of_sixteen_bits_is_seen_whatever_bits_its_camera_has(channels: int) -> None:
    values = np.linspace(500, 3000, 48 * 64).reshape(48, 64, 1).repeat(channels, axis=2).astype(np.uint16)
    values[0, 0, :3] = 4095
    if channels == 4:
        values[..., 3] = 65535
    view = compressed_view(cv2.imencode(".png", values)[1].tobytes())
    image = view.rgb()
    assert image.shape == (48, 64, 3)
    assert image[-1, -1].min() > 180
    black = compressed_view(cv2.imencode(".png", values)[1].tobytes(), tones=(3000.0, 9000.0)).rgb()
    assert black[-1, -1].max() == 0


@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_a_picture_that_would_fill_the_memory_is_refused_by_its_header(extension: str) -> None:
    data = bytearray(cv2.imencode(extension, picture(16, 16))[1].tobytes())
    if extension == ".png":
        data[16:24] = (50_000).to_bytes(4, "big") * 2
    else:
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = (50_000).to_bytes(2, "big") * 2
    with pytest.raises(ImageError, match="50000x50000 px, wanted 64000000 px or fewer") as raised:
        compressed_view(bytes(data))
    assert raised.value.reason == "too_large"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "format"),
        (b"GIF89a" + bytes(20), "format"),
        (b"\xff\xd8\xff\xd9", "truncated"),
        (b"\xff\xd8" + bytes(40) + b"\xff\xd9", "truncated"),
        (b"\x89PNG\r\n\x1a\n" + bytes(8) + b"IEND", "truncated"),
    ],
)
def test_what_is_no_image_is_named(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError) as raised:
        compressed_view(data)
    assert raised.value.reason == reason


def test_damage_inside_is_found_when_it_is_decoded() -> None:
    data = cv2.imencode(".png", picture(64, 64))[1].tobytes()
    broken = compressed_view(data[:60] + bytes(300) + data[360:])
    with pytest.raises(ImageError, match="damaged") as raised:
        broken.rgb()
    assert raised.value.reason == "undecodable"


def test_a_png_with_one_bit_of_a_length_turned_over_is_refused_before_it_is_decoded() -> None:
    """OpenCV would make room for 2 GB first."""
    data = cv2.imencode(".png", picture(8, 8))[1].tobytes()
    at = data.index(b"IDAT") - 4
    with pytest.raises(ImageError, match=r"chunk IDAT at byte .* check the link") as raised:
        compressed_view(data[:at] + bytes([data[at] ^ 0x80]) + data[at + 1 :])
    assert raised.value.reason == "damaged"
    assert compressed_view(data + bytes(50)).rgb().shape == (8, 8, 3)
