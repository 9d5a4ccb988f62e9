"""`villa bench` and `villa soak`: what this machine makes of the model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from villa_ros.console import expected, fail, open_model, out, tracked

Checkpoint = Annotated[
    str, typer.Option(metavar="PATH", help="Model file or folder; empty: the one that ships with villa_ros.")
]


def bench(
    bag: Annotated[Path | None, typer.Option(help="Bag with a 640x480 stream; default: the sample.")] = None,
    objects: Annotated[int, typer.Option(min=1, max=20, help="Objects to track.")] = 3,
    frames: Annotated[int, typer.Option(min=10, help="Frames to measure.")] = 150,
    folder: Annotated[Path, typer.Option("--out", help="Folder for the report.")] = Path("out/bench"),
    checkpoint: Checkpoint = "",
    device: str = "cpu",
    threads: Annotated[int, typer.Option(min=0, max=256)] = 0,
) -> None:
    """Frames per second of the fast pass, and the time from a command to its first mask."""
    from villa_ros.bag import BagError
    from villa_ros.bench import BenchError, measure
    from villa_ros.share import share_path

    with expected(BagError, BenchError, FileNotFoundError):
        source = bag or share_path("sample", "tabletop")
        model = open_model(checkpoint, device, threads)
        result = measure(source, model, folder, objects=objects, frames=frames, progress=tracked)
    out.print(result.text(), highlight=False)


def soak(
    bag: Annotated[Path | None, typer.Option(help="Bag to loop over; default: the sample.")] = None,
    frames: Annotated[int, typer.Option(min=200, help="Frames to measure, after the warm-up.")] = 2000,
    warm_up: Annotated[int, typer.Option(min=0, help="Frames before.")] = 500,
    folder: Annotated[Path, typer.Option("--out", help="Folder for curve and table.")] = Path("out/soak"),
    checkpoint: Checkpoint = "",
    device: str = "cpu",
    threads: Annotated[int, typer.Option(min=0, max=256)] = 0,
) -> None:
    """Resident memory while objects and requests come and go."""
    from villa_ros.bag import BagError
    from villa_ros.bench import BenchError
    from villa_ros.share import share_path
    from villa_ros.soak import run

    with expected(BagError, BenchError, FileNotFoundError):
        source = bag or share_path("sample", "tabletop")
        model = open_model(checkpoint, device, threads)
        result = run(source, model, folder, frames=frames, warm_up=warm_up, progress=tracked)
    out.print(result.text(), highlight=False)
    if not result.flat:
        fail(f"resident memory grows by {result.slope_mb_per_1000:.2f} MB per 1,000 frames")
