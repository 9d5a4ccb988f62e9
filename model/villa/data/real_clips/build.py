"""Real clips as splits in the format of MeViS, so that one reader serves them and the public sets."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from villa.data.benchmark import FRAMES, MASKS, META, run_lengths, write_json
from villa.data.real_clips.excerpts import cut
from villa.data.real_clips.fetching import find_video
from villa.data.real_clips.listing import Clip, RealClipError


@dataclass(frozen=True)
class Built:
    """What came of a clip."""

    clip: Clip
    reason: str | None  # why it is left out; None: it is there


def build(
    cache: Path,
    clips: Sequence[Clip],
    folders: Sequence[Path] = (),
    *,
    fetch: bool = True,
) -> tuple[Built, ...]:
    """Get the videos and write a folder for each half, `cache`/held and `cache`/seen, over what is there.

    A clip whose video cannot be had is left out; the half's requests say so under `missing`, by name and with the
    reason, and so does the result.

    Args:
        cache: Folder for the halves, and for what was fetched: a second call fetches nothing that is there.
        clips: What `list_clips` gives.
        folders: With files that somebody has already downloaded.
        fetch: May packages and addresses be asked? Needs a network.

    Raises:
        RealClipError: no video of a half can be had; the message says why for each.
        OSError: the cache cannot be written.
    """
    built: list[Built] = []
    for half in dict.fromkeys(clip.half for clip in clips):
        of_half = [_built(clip, cache, folders, fetch) for clip in clips if clip.half == half]
        if all(one.reason is not None for one in of_half):
            reasons = "\n".join(f"  {one.clip.name}: {one.reason}" for one in of_half)
            raise RealClipError(f"no clip of the half {half} can be had:\n{reasons}")
        _write_half(cache / half, of_half)
        built += of_half
    return tuple(built)


def _built(clip: Clip, cache: Path, folders: Sequence[Path], fetch: bool) -> Built:
    folder = cache / clip.half / FRAMES / clip.name
    unfinished = folder.with_name(f".{clip.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)  # of an earlier call: it must not stand for a clip that is left out
    unfinished.mkdir(parents=True)
    try:
        for number, frame in enumerate(cut(clip, find_video(clip, cache, folders, fetch=fetch))):
            path = unfinished / f"{number:04d}.png"
            if not cv2.imwrite(str(path), frame):
                raise OSError(f"{path} cannot be written")
    except RealClipError as error:
        shutil.rmtree(unfinished)
        return Built(clip, str(error))
    unfinished.rename(folder)
    return Built(clip, None)


def _write_half(folder: Path, built: Sequence[Built]) -> None:
    videos: dict[str, Any] = {}
    masks: dict[str, Any] = {}
    for number, clip in enumerate(one.clip for one in built if one.reason is None):
        videos[clip.name] = {"vid_id": number, **_requests(clip)}
        for thing in clip.things:
            masks[f"{clip.name}/{thing}"] = [_coded(clip, thing, frame) for frame in range(clip.excerpt.count)]
    missing = {one.clip.name: one.reason for one in built if one.reason is not None}
    write_json(folder / MASKS, masks)
    write_json(folder / META, {"split": folder.name, "missing": missing, "videos": videos})


def _requests(clip: Clip) -> dict[str, Any]:
    numbers = {thing: number for number, thing in enumerate(clip.things)}
    return {
        "fps": clip.fps,
        "height": clip.height,
        "width": clip.width,
        "frames": [f"{number:04d}" for number in range(clip.excerpt.count)],
        "scored": sorted(clip.outlines),
        "objects": [f"{clip.name}/{thing}" for thing in clip.things],
        "names": {f"{clip.name}/{thing}": list(words) for thing, words in clip.things.items()},
        "expressions": {
            str(index): {
                "exp": request.text,
                "kind": request.kind,
                "anno_id": [f"{clip.name}/{thing}" for thing in request.things],
                "obj_id": [numbers[thing] for thing in request.things],
            }
            for index, request in enumerate(clip.requests)
        },
    }


def _coded(clip: Clip, thing: str, frame: int) -> dict[str, Any] | None:
    """COCO run lengths; None where the thing is not visible, and on frames without outlines."""
    mask = clip.mask(thing, frame) if frame in clip.outlines else None
    return None if mask is None else run_lengths(mask.astype(np.uint8))
