"""The expressions of Ref-DAVIS17 as published: four text files, one line `<video> <object> "<words>"` an expression.

Two annotators described each object, once from its first frame and once from the whole video. Read from
github.com/wjn922/ReferFormer, `tools/data/convert_davis_to_ytvos.py`. Not run on the files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from villa.evaluation.benchmarks.interface import BenchmarkError
from villa.evaluation.benchmarks.layout import needed_file, needed_folder

TEXTS = "davis_text_annotations"
_FILES = (
    ("Davis17_annot1.txt", "utf-8"),
    ("Davis17_annot1_full_video.txt", "utf-8"),
    ("Davis17_annot2.txt", "latin-1"),
    ("Davis17_annot2_full_video.txt", "latin-1"),
)
_RENAMED = {"clasic-car": "classic-car", "dog-scale": "dogs-scale", "motor-bike": "motorbike"}  # slips in the files
_SETS = {"valid": "val", "train": "train"}


def davis_entries(root: Path, split: str) -> dict[str, dict[str, Any]]:
    """Videos of a split with frames and expressions, four an object, in the format of Ref-YouTube-VOS.

    Raises:
        BenchmarkError: a file is missing or holds something else.
    """
    listed = needed_file(root / "DAVIS/ImageSets/2017" / f"{_SETS[split]}.txt", "the videos of the split")
    texts = [_read(needed_file(root / TEXTS / name, "expressions"), encoding) for name, encoding in _FILES]
    entries: dict[str, dict[str, Any]] = {}
    for video in listed.read_text("utf-8").split():
        images = needed_folder(root / "DAVIS/JPEGImages/480p" / video, "the frames of the video")
        told = [by_video.get(video, []) for by_video in texts]
        if len({len(own) for own in told}) != 1 or not told[0]:
            raise BenchmarkError(
                f"{root / TEXTS}: video {video!r}: wanted equally many expressions in the four files, "
                f"saw {', '.join(str(len(own)) for own in told)}"
            )
        ordered = [expression for of_object in zip(*told, strict=True) for expression in of_object]
        entries[video] = {
            "frames": sorted(path.stem for path in images.glob("*.jpg")),
            "expressions": {str(key): expression for key, expression in enumerate(ordered)},
        }
    if not entries:
        raise BenchmarkError(f"{listed}: wanted the names of videos, saw none")
    return entries


def _read(path: Path, encoding: str) -> dict[str, list[dict[str, str]]]:
    videos: dict[str, list[dict[str, str]]] = {}
    for number, line in enumerate(path.read_text(encoding).splitlines(), start=1):
        if not line.strip():
            continue
        parts = line.split()
        if len(parts) < 3 or not parts[1].isdigit():
            raise BenchmarkError(f"{path}, line {number}: wanted a video, an object and words, saw {line.strip()!r}")
        video = _RENAMED.get(parts[0], parts[0])
        videos.setdefault(video, []).append({"exp": " ".join(parts[2:])[1:-1], "obj_id": parts[1]})
    return {video: sorted(own, key=lambda expression: int(expression["obj_id"])) for video, own in videos.items()}
