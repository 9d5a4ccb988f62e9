"""`villa tune` and `villa convert`: learning from videos with expressions, and checkpoints of others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from villa_ros.cli.terminal import expected, fail, out


def tune(
    data: Annotated[
        Path,
        typer.Option(exists=True, file_okay=False, help="A split in the format of MeViS or ReVOS."),
    ],
    init: Annotated[Path, typer.Option(exists=True, help="Checkpoint to start from, file or folder.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder of the run; an existing run is resumed.")],
    meta: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="The meta_expressions file, if there are several."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.")] = 2000,
    warmup_steps: Annotated[int, typer.Option(min=0, help="Number of first steps, in which the rate rises.")] = 100,
    decay_steps: Annotated[int, typer.Option(min=0, help="Number of last steps, in which the rate falls to 0.")] = 1000,
    videos_per_step: Annotated[int, typer.Option(min=1, help="Videos per step and process.")] = 1,
    frames: Annotated[int, typer.Option(min=0, help="Frames of a clip; 0: as many as the model sees.")] = 0,
    expressions: Annotated[int, typer.Option(min=1, help="Requests about each video.")] = 4,
    lr: Annotated[float, typer.Option(min=0.0, help="Rate of ViLLa's blocks and new token rows.")] = 1e-4,
    adapter_lr: Annotated[float, typer.Option(min=0.0, help="Rate of the language model's adapters.")] = 2e-4,
    decoder_lr: Annotated[float, typer.Option(min=0.0, help="Rate of the answers' mask decoder.")] = 2e-5,
    lora_rank: Annotated[int, typer.Option(min=0, help="Add adapters of this rank to a checkpoint that has none.")] = 0,
    trained: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PART", help="Train the parameters whose names contain this; repeat. Default: by kind of model."
        ),
    ] = None,
    mixed: Annotated[bool, typer.Option(help="Compute in bfloat16; trained weights stay float32.")] = True,
    checkpointing: Annotated[
        bool, typer.Option(help="Recompute the language model's layers in the backward pass: less memory.")
    ] = False,
    loaders: Annotated[int, typer.Option(min=0, max=64, help="Processes that decode videos.")] = 0,
    save_every: Annotated[
        float, typer.Option(min=1.0, metavar="SECONDS", help="How often the state is saved.")
    ] = 300.0,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    device: Annotated[str, typer.Option(help="Torch device: cpu, cuda, cuda:1.")] = "cpu",
) -> None:
    """Tune ViLLa on videos with referring expressions; the same command resumes a run.

    Several GPUs: torchrun --nproc-per-node N -m villa_ros.cli.main tune ... --device cuda
    """
    try:
        from villa.checkpoints.checkpoint import CheckpointError
        from villa.data.referring_videos import ExpressionsError
        from villa.modeling.language.lora import AdapterError
        from villa.training.tune import TuneConfig, TuneError
        from villa.training.tune import tune as run
    except ImportError as error:
        fail(f"{error}; tuning needs more packages: pip install 'villa-ros[train]'")
    config = TuneConfig(
        data=data,
        out=folder,
        init=init,
        meta=meta,
        steps=steps,
        warmup_steps=warmup_steps,
        decay_steps=decay_steps,
        videos_per_step=videos_per_step,
        frames=frames,
        expressions=expressions,
        lr=lr,
        adapter_lr=adapter_lr,
        decoder_lr=decoder_lr,
        lora_rank=lora_rank,
        trained=tuple(trained or ()),
        mixed=mixed,
        checkpointing=checkpointing,
        seed=seed,
        device=device,
        loaders=loaders,
        save_every_s=save_every,
    )
    with expected(AdapterError, CheckpointError, ExpressionsError, TuneError, OSError):
        run(config)


def convert(
    source: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="A local Sa2VA checkpoint folder.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder of the checkpoint to make.")],
    sam2_config: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Configuration (JSON) of its SAM 2; default: SAM 2.0 Hiera-L, as published.",
        ),
    ] = None,
    compatible: Annotated[
        bool,
        typer.Option(
            "--compat/--own", help="Frames, seeds and gating as in Sa2VA, or as in ViLLa, for the same weights."
        ),
    ] = True,
) -> None:
    """Convert a local Sa2VA checkpoint to ViLLa: every tensor is used or listed. ViLLa's own blocks are untrained.

    Never run on a real published checkpoint yet; tested on tiny ones made by Sa2VA's own code.
    """
    from villa.checkpoints.checkpoint import CheckpointError
    from villa.checkpoints.convert.names import ConvertError
    from villa.checkpoints.convert.sa2va import convert as run
    from villa.checkpoints.pretrained_folder import PartError
    from villa_ros.runtime.package_share import share_path

    with expected(CheckpointError, ConvertError, PartError, OSError):
        path = sam2_config or share_path("configs", "parts", "sam2-hiera-large.json")
        settings = json.loads(path.read_text("utf-8"))
        done = run(source, folder, settings.get("config", settings), compatible=compatible)
    out.print(f"{done.tensors} tensors of type {done.dtype}, language model family {done.family}", highlight=False)
    out.print(f"checkpoint: {done.folder}", highlight=False, soft_wrap=True)
