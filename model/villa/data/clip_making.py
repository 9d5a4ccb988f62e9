"""What every maker of clips does, rendered or put together: tell what is seen, and write clips whole in processes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from villa.data.clips import ClipFacts, View, write_clip

SMALLEST_SEEN_PX = 40
Job = TypeVar("Job")


def view_of(
    identity: int, inside: NDArray[np.bool_], amodal_px: int, position_m: NDArray[np.float64], depth_m: float
) -> View:
    """One object on one frame: its mask [H, W], its pixels with nothing in front, and where its middle is."""
    rows, columns = np.nonzero(inside)
    bbox, centroid = (0, 0, 0, 0), (0.0, 0.0)
    if rows.size:
        left, top = int(columns.min()), int(rows.min())
        bbox = (left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1)
        centroid = (round(float(columns.mean()), 2), round(float(rows.mean()), 2))
    x, y, z = (round(float(value), 4) for value in position_m)
    return View(
        id=identity,
        visible_px=int(rows.size),
        amodal_px=max(amodal_px, int(rows.size)),
        bbox=bbox,
        centroid=centroid,
        depth_m=round(depth_m, 4),
        position_m=(x, y, z),
    )


def covered(shown: Sequence[bool], in_view: Sequence[bool]) -> list[tuple[int, int]]:
    """First and last frames of the runs on which an object is not shown, though it is before and after them.

    `in_view`: is it inside the picture at all? A run begins only where it is.
    """
    runs, start = [], None
    for index, visible in enumerate(shown):
        if visible and start is not None:
            runs.append((start, index - 1))
            start = None
        elif not visible and start is None and index and shown[index - 1] and in_view[index]:
            start = index
    return runs


def write_whole(
    folder: Path,
    facts: ClipFacts,
    frames: Sequence[NDArray[np.uint8]],
    masks: Sequence[NDArray[np.uint8]],
    depths: Sequence[NDArray[np.float32]] = (),
) -> None:
    """`write_clip`, the whole folder or none of it."""
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    if partial.exists():
        shutil.rmtree(partial)
    write_clip(partial, facts, frames, masks, depths)
    partial.rename(folder)


def each(run: Callable[[Job], int], jobs: Sequence[Job], workers: int) -> Iterator[int]:
    """What `run` gives for every job, as it is done; with one worker in this process."""
    if workers <= 1:
        yield from map(run, jobs)
        return
    # Spawned, not forked: neither an OpenGL context nor OpenCV's threads survive a fork.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(run, job) for job in jobs]):
            yield future.result()
