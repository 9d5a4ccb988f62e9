"""Reading of folders as published: every step says which path was wanted and what is there instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from villa.data.referring_videos import Expression, Video
from villa.evaluation.benchmarks.interface import BenchmarkError
from villa.files.plain_data import PlainDataError, read_json

_SHOWN = 6  # entries of a folder that a message names


def needed_file(path: Path, what: str) -> Path:
    """The path of a file that has to be there.

    Raises:
        BenchmarkError: it is not.
    """
    if not path.is_file():
        raise BenchmarkError(f"{path}: wanted {what}; {_seen(path)}")
    return path


def needed_folder(path: Path, what: str) -> Path:
    """The path of a folder that has to be there.

    Raises:
        BenchmarkError: it is not.
    """
    if not path.is_dir():
        raise BenchmarkError(f"{path}: wanted a folder, {what}; {_seen(path)}")
    return path


def json_object(path: Path, what: str) -> dict[str, Any]:
    """The object in a JSON file that has to be there.

    Raises:
        BenchmarkError: there is none.
    """
    needed_file(path, what)
    try:
        data = read_json(path)
    except PlainDataError as error:
        raise BenchmarkError(f"{path}: wanted {what}, but it is not readable as JSON: {error}") from error
    if not isinstance(data, dict):
        raise BenchmarkError(f"{path}: wanted {what}, saw {type(data).__name__}")
    return data


def video_entries(meta: Path) -> dict[str, dict[str, Any]]:
    """The `videos` of a `meta_expressions.json`, each with a list `frames` and with `expressions`.

    Raises:
        BenchmarkError: the file is missing or says something else.
    """
    videos = json_object(meta, "an object with 'videos'").get("videos")
    if not isinstance(videos, dict) or not videos:
        raise BenchmarkError(f"{meta}: wanted 'videos' with at least one video, saw {type(videos).__name__}")
    for name, entry in videos.items():
        where = f"{meta}: video {name!r}"
        if not isinstance(entry, dict) or not isinstance(entry.get("frames"), list) or not entry["frames"]:
            raise BenchmarkError(f"{where}: wanted 'frames' with at least one name")
        if not isinstance(entry.get("expressions"), (dict, list)) or not entry["expressions"]:
            saw = type(entry.get("expressions")).__name__
            raise BenchmarkError(f"{where}: wanted 'expressions' with at least one, saw {saw}")
    return videos


def referred_videos(meta: Path, entries: dict[str, dict[str, Any]], images: Path, fps: float) -> tuple[Video, ...]:
    """Videos in the format of Ref-YouTube-VOS, whose expressions mean one object by `obj_id`, or hide which.

    Raises:
        BenchmarkError: an expression has no words, or a frame is not there.
    """
    needed_folder(images, "the frames of each video")
    return tuple(_referred(f"{meta}: video {name!r}", name, entry, images, fps) for name, entry in entries.items())


def frame_paths(folder: Path, names: list[str]) -> tuple[Path, ...]:
    """Paths of a video's JPEG files.

    Raises:
        BenchmarkError: one is not there.
    """
    needed_folder(folder, "the frames of the video")
    there = {path.name for path in folder.iterdir()}
    for name in names:
        if f"{name}.jpg" not in there:
            raise BenchmarkError(f"{folder / name}.jpg: wanted this frame; the folder holds {_listed(there)}")
    return tuple(folder / f"{name}.jpg" for name in names)


def words(where: str, value: Any, field: str = "exp") -> str:
    """The words of an expression's entry.

    Raises:
        BenchmarkError: it has none.
    """
    text = value.get(field) if isinstance(value, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise BenchmarkError(f"{where}: wanted {field!r}, the words")
    return text.strip()


def _referred(where: str, name: str, entry: dict[str, Any], images: Path, fps: float) -> Video:
    asked = entry["expressions"]
    if not isinstance(asked, dict):
        raise BenchmarkError(f"{where}: wanted 'expressions' by key, saw {type(asked).__name__}")
    expressions = []
    for key, value in asked.items():
        text = words(f"{where}, expression {key!r}", value)
        meant = value.get("obj_id")
        means = () if meant is None or isinstance(meant, list) else (str(meant),)
        expressions.append(Expression(text, means, key=str(key)))
    frames = frame_paths(images / name, [str(frame) for frame in entry["frames"]])
    objects = tuple(sorted({identity for e in expressions for identity in e.masks}))
    return Video(name, frames, tuple(expressions), fps, objects, {}, tuple(range(len(frames))))


def _seen(path: Path) -> str:
    """What is where a path was wanted: the first part of it that is not there, and what is beside that."""
    for parent in path.parents:
        if parent.is_dir():
            return f"{parent} holds {_listed({entry.name for entry in parent.iterdir()})}"
    return "nothing on the way to it is there"


def _listed(names: set[str]) -> str:
    shown = sorted(names)[:_SHOWN]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(shown) + more if shown else "nothing"
