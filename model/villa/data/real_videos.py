"""Real video with outlines drawn by hand, as a small test set: nothing is trained or chosen on it.

The outlines and requests are ours and ship; the videos belong to the documentation of OpenCV (Apache-2.0; the Debian
package `opencv-doc`) and are read from where they lie. Twelve frames of each video are outlined and scored; the others
are there so that masks are carried from one to the next as in life.
"""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from villa.data.benchmark import FRAMES, MASKS, META, run_lengths, write_json
from villa.images.video_frames import video_frames

OUTLINES = Path(__file__).with_name("real_videos.json")
_STEP = 3  # every third frame: about 10 a second


class RealVideoError(ValueError):
    """A video is missing or is not the one that was outlined."""


@dataclass(frozen=True)
class OutlinedVideo:
    """A video, and the outlines of the things in some of its frames."""

    videos: Path  # folder
    entry: Mapping[str, Any]  # what the file of outlines says of it

    @property
    def fps(self) -> float:
        """Frames a second."""
        return float(self.entry["fps"])

    @property
    def things(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self.entry["outlines"])

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """Every frame, RGB [H, W, 3].

        Raises:
            RealVideoError: the video is missing, does not decode, or has another length or size.
        """
        for frame in _checked(self.videos, self.entry):
            yield np.ascontiguousarray(frame[..., ::-1])

    def instances(self, frame: int) -> NDArray[np.uint8] | None:
        """What is outlined in a frame [H, W]: i + 1 for thing i, 0 for none; None where nothing was outlined."""
        outlines = [of_one.get(str(frame)) for of_one in self.entry["outlines"].values()]
        if all(polygons is None for polygons in outlines):
            return None
        drawn = np.zeros((self.entry["height"], self.entry["width"]), np.uint8)
        for number, polygons in enumerate(outlines, 1):
            _fill(drawn, polygons or [], number)
        return drawn


def outlined_video(videos: Path, name: str) -> OutlinedVideo:
    """One of the outlined videos, "cup" or "box", in the folder that holds their files, also gzipped."""
    return OutlinedVideo(videos, json.loads(OUTLINES.read_text("utf-8"))[name])


def build(videos: Path, out: Path) -> Path:
    """Folder that holds the videos, also gzipped -> a split's folder; returns the path of its requests.

    Raises:
        RealVideoError: a video is missing, does not decode, or has another length or size.
    """
    about: dict[str, Any] = json.loads(OUTLINES.read_text("utf-8"))
    meta: dict[str, Any] = {}
    masks: dict[str, Any] = {}
    for number, (name, entry) in enumerate(about.items()):
        outlined = sorted({int(frame) for of_one in entry["outlines"].values() for frame in of_one})
        kept = sorted({*range(0, entry["frames"], _STEP), *outlined})
        folder = out / FRAMES / name
        folder.mkdir(parents=True, exist_ok=True)
        _extract(videos, entry, kept, folder)
        for thing, of_one in entry["outlines"].items():
            shape = (entry["height"], entry["width"])
            masks[f"{name}_{thing}"] = [_coded(of_one.get(str(frame), []), shape) for frame in kept]
        meta[name] = {
            "vid_id": number,
            "fps": entry["fps"] / _STEP,
            "height": entry["height"],
            "width": entry["width"],
            "frames": [f"{frame:04d}" for frame in kept],
            "scored": [kept.index(frame) for frame in outlined],
            "objects": [f"{name}_{thing}" for thing in entry["outlines"]],
            "names": {f"{name}_{thing}": words for thing, words in entry["names"].items()},
            "expressions": {
                str(index): {
                    "exp": asked["exp"],
                    "kind": asked["kind"],
                    "anno_id": [f"{name}_{thing}" for thing in asked["objects"]],
                    "obj_id": [list(entry["outlines"]).index(thing) for thing in asked["objects"]],
                }
                for index, asked in enumerate(entry["requests"])
            },
        }
    write_json(out / MASKS, masks)
    write_json(out / META, {"split": "real", "videos": meta})
    return out / META


def _extract(videos: Path, entry: dict[str, Any], kept: list[int], folder: Path) -> None:
    wanted = set(kept)
    for index, frame in enumerate(_checked(videos, entry)):
        if index in wanted:
            path = folder / f"{index:04d}.jpg"
            if not cv2.imwrite(str(path), frame, [cv2.IMWRITE_JPEG_QUALITY, 95]):
                raise RealVideoError(f"{path} cannot be written")


def _checked(videos: Path, entry: Mapping[str, Any]) -> Iterator[NDArray[Any]]:
    """Frames [H, W, 3], blue first, of the video that was outlined, and of no other."""
    count = 0
    for frame in _frames(videos, entry["file"]):
        if frame.shape[:2] != (entry["height"], entry["width"]):
            height, width = frame.shape[:2]
            raise RealVideoError(
                f"{entry['file']} is {width}x{height} px, the outlines are of {entry['width']}x{entry['height']} px"
            )
        yield frame
        count += 1
    if count != entry["frames"]:
        raise RealVideoError(f"{entry['file']} has {count} frames, the outlines are of a video of {entry['frames']}")


def _frames(videos: Path, file: str) -> Iterator[NDArray[Any]]:
    """Frames [H, W, 3], blue first."""
    plain, packed = videos / file, videos / f"{file}.gz"
    if plain.is_file():
        yield from video_frames(plain)
    elif packed.is_file():
        with tempfile.TemporaryDirectory() as scratch:
            whole = Path(scratch) / file
            whole.write_bytes(gzip.decompress(packed.read_bytes()))
            yield from video_frames(whole)
    else:
        raise RealVideoError(
            f"neither {plain} nor {packed.name} is there: give the folder of OpenCV's documentation, which Debian's "
            "package opencv-doc has in /usr/share/doc/opencv-doc/opencv4/html"
        )


def _coded(outlines: list[list[list[int]]], shape: tuple[int, int]) -> dict[str, Any] | None:
    """Polygons in px -> COCO run lengths; None where there is none."""
    drawn = np.zeros(shape, np.uint8)
    _fill(drawn, outlines, 1)
    return run_lengths(drawn)


def _fill(drawn: NDArray[np.uint8], outlines: list[list[list[int]]], value: int) -> None:
    for outline in outlines:
        cv2.fillPoly(drawn, [np.asarray(outline, np.int32)], [value])
