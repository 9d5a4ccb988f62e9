"""What a damaged PNG promises is not believed: no decoder makes room for bytes that are not there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pngs import HEIGHT, WIDTH, all_flips, chunk, flipped, png, starts

from villa.images.png_chunks import PngError, check_chunks, read_picture

TEXT = chunk(b"tEXt", b"Comment\0a camera in the test")
_MOST_GROWTH_MB = 60  # OpenCV took 2,047 for one flipped bit

# Everything that a PNG goes through, in a process whose peak memory is nobody else's.
_CHILD = """
import json, resource, sys
from pathlib import Path
import cv2, numpy as np
from villa.images.png_chunks import read_picture
from villa_ros.pipeline.image_view import ImageError, compressed_view

def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

whole, *flips = [bytes.fromhex(line) for line in sys.stdin.read().split()]
compressed_view(whole).rgb()
before, seen, path = peak_mb(), [], Path(sys.argv[1])
for data in flips:
    try:
        seen.append(list(compressed_view(data).rgb().shape))
    except ImageError as error:
        seen.append(error.reason)
    path.write_bytes(data)
    read_picture(path)
print(json.dumps({"seen": seen, "growth_mb": peak_mb() - before}))
"""


@pytest.mark.parametrize("whole", [png(), png(TEXT, pieces=3)], ids=["plain", "many chunks"])
def test_no_flipped_bit_of_a_length_takes_memory_and_each_is_refused_or_harmless(whole: bytes, tmp_path: Path) -> None:
    flips = all_flips(whole)
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(tmp_path / "flipped.png")],
        input="\n".join(data.hex() for data in [whole, *flips]), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["growth_mb"] < _MOST_GROWTH_MB
    assert len(told["seen"]) == len(flips)
    assert set(map(str, told["seen"])) <= {"damaged", "undecodable", str([HEIGHT, WIDTH, 3])}
    assert told["seen"].count("damaged") > 0.9 * len(flips)


def test_a_chunk_that_promises_more_than_is_there_is_named_with_both_numbers() -> None:
    data = png()
    idat = list(starts(data))[1]
    with pytest.raises(
        PngError, match=rf"chunk IDAT at byte {idat} says that it holds 21474836\d\d bytes, wanted \d+ or"
    ):
        check_chunks(flipped(data, idat, 31))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (png()[:-12], "without its last chunk"),
        (png()[:8] + TEXT + png()[8:], "wanted IHDR"),
        (png().replace(b"IDAT", b"ID\0T"), "wanted four letters"),
        (flipped(png(), 8, 0), "holds 12 bytes, wanted 13"),
        (png()[:8], "ends at byte 8"),
    ],
)
def test_chunks_that_contradict_each_other_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(PngError, match=words):
        check_chunks(data)


@pytest.mark.parametrize(
    "data",
    [png(), png(TEXT, chunk(b"pHYs", bytes(9)), pieces=20), png() + b"driver padding" * 3, png(TEXT) + bytes(50)],
)
def test_many_chunks_ancillary_ones_and_padding_after_the_end_do_no_harm(data: bytes, tmp_path: Path) -> None:
    check_chunks(data)
    check_chunks(memoryview(np.frombuffer(data, np.uint8)))
    path = tmp_path / "sound.png"
    path.write_bytes(data)
    picture = read_picture(path)
    assert picture is not None
    assert picture.shape == (HEIGHT, WIDTH, 3)
    assert picture[2, 3].tolist() == [30, 200, 10]


def test_a_file_that_is_not_there_is_empty_or_damaged_is_none(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    assert read_picture(path) is None
    for data in (b"", b"no picture", flipped(png(), list(starts(png()))[1], 31)):
        path.write_bytes(data)
        assert read_picture(path) is None
