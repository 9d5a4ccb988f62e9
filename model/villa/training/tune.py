"""`villa tune`: learn from videos with referring expressions, for any ViLLa, resumable, on one device or several.

Large models keep their published parts frozen and learn adapters on the language model, the rows of new tokens, the
blocks and the decoder's copy. A run is its folder: the same command goes on where it stopped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from villa.checkpoints.checkpoint import load, save
from villa.config import CausalConfig, ViLLaConfig, VisionLanguageConfig
from villa.data.referring_videos import Expression, Expressions, Video
from villa.files.whole import write_text
from villa.modeling.language import lora
from villa.modeling.language.lora import MARK
from villa.modeling.language.vision_language import VisionLanguageLLM
from villa.modeling.segmenters.interface import Segmenter
from villa.modeling.villa import ViLLaModel
from villa.training.answer_loss import AnswerLoss, Asked, TuneBatch, TuneLosses
from villa.training.distributed import Workers
from villa.training.precision import mixed
from villa.training.run_state import load_state, save_state
from villa.training.schedule import set_rates

# What a large model learns: beginnings of parameter names, and the mark of adapters anywhere in them.
LARGE = (
    MARK,
    "language.new_",
    "sampler.",
    "synthesizer.",
    "frame_time.",
    "frame_state.",
    "to_video_prompt.",
    "to_frame_prompt.",
    "synchronizer.",
    "track_",
    "segmenter.own_decoder.",
)
SMALL = ("",)  # the light family: everything but
FROZEN = ("language.recogniser.", "language.finder.closer.")


class TuneError(RuntimeError):
    """Tuning cannot start or go on."""


@dataclass(frozen=True)
class TuneConfig:
    """One run. Steps are optimiser steps."""

    data: Path
    out: Path
    init: Path  # a checkpoint, file or folder
    meta: Path | None = None  # which meta_expressions file, where the folder holds several
    steps: int = 2000
    warmup_steps: int = 100
    decay_steps: int = 1000
    videos_per_step: int = 1  # of each process
    frames: int = 0  # of a clip; 0: as many as the model sees
    expressions: int = 4  # of a video
    lr: float = 1e-4
    adapter_lr: float = 2e-4
    decoder_lr: float = 2e-5
    weight_decay: float = 0.02
    clip_norm: float = 1.0
    lora_rank: int = 0  # adapters to begin with, where the checkpoint has none
    trained: tuple[str, ...] = ()  # parts of parameter names; none: LARGE or SMALL
    mixed: bool = True  # bfloat16 for what is computed and for frozen weights; trained ones stay float32
    checkpointing: bool = False  # recompute the language model's layers in the backward pass: less memory
    seed: int = 0
    device: str = "cpu"
    loaders: int = 0  # processes that decode videos; 0: none besides this one
    save_every_s: float = 300.0
    log_every: int = 10


def tune(config: TuneConfig) -> Path:
    """Run or resume; returns the checkpoint's path.

    Raises:
        TuneError: nothing to train, other settings than the folder's run, or the loss is not finite.
        ExpressionsError: the data is not in the format.
        CheckpointError: the model does not load.
    """
    workers = Workers(config.device)
    torch.manual_seed(config.seed + workers.rank)
    try:
        return _Run(replace(config, device=workers.device), workers).go()
    finally:
        workers.close()


class Clips(IterableDataset[TuneBatch]):
    """Endless batches: a stretch of a random video and some of its expressions."""

    def __init__(self, config: TuneConfig, data: Expressions, grid: tuple[int, int], frames: int, seed: int) -> None:
        super().__init__()
        self.config, self.data, self.grid, self.frames, self.seed = config, data, grid, frames, seed

    def __iter__(self) -> Iterator[TuneBatch]:
        info = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self.seed, 0 if info is None else info.id])
        videos = [video for video in self.data if video.expressions]
        while True:
            yield self.batch(videos[int(rng.integers(len(videos)))], rng)

    def batch(self, video: Video, rng: np.random.Generator) -> TuneBatch:
        """One batch of one video."""
        chosen = stretch(len(video.frames), self.frames, rng)
        images = [self.data.rgb(video, index) for index in chosen]
        count = min(self.config.expressions, len(video.expressions))
        picked = rng.choice(len(video.expressions), count, replace=False)
        asked, targets = [], []
        for expression in (video.expressions[int(i)] for i in picked):
            asked.append(replace(question(expression), history=video.before(expression)))
            for identity in expression.masks:
                drawn = [self.data.mask(identity, i, images[n].shape[:2]) for n, i in enumerate(chosen)]
                targets.append(np.stack([_shrunk(mask, self.grid) for mask in drawn]))
        shape = (0, len(chosen), *self.grid)
        times = [(chosen[-1] - index) / video.fps for index in chosen]
        whole = np.stack(targets) if targets else np.zeros(shape, np.float32)
        return TuneBatch(images, torch.tensor(times, dtype=torch.float32), asked, torch.from_numpy(whole))


def question(expression: Expression) -> Asked:
    """An expression -> a request and its answer; without words of its own, the answer only points."""
    if expression.answer is not None:
        return Asked(expression.text, expression.answer, ordered=True)
    count = len(expression.masks)
    if not count:
        return Asked(expression.text, "It is not there.", ordered=True)
    marks = ["[SEG]"] * count
    said = f"It is {marks[0]}." if count == 1 else f"They are {', '.join(marks[:-1])} and {marks[-1]}."
    return Asked(expression.text, said, ordered=count == 1)


def stretch(length: int, count: int, rng: np.random.Generator) -> list[int]:
    """`count` ascending indices of a video of `length` frames, spread over a random part of it."""
    if length <= count:
        return list(range(length))
    span = int(rng.integers(count, length + 1))
    start = int(rng.integers(length - span + 1))
    edges = np.linspace(start, start + span, count + 1)
    return [int(rng.integers(int(a), max(int(a) + 1, int(b)))) for a, b in pairwise(edges)]


def _shrunk(mask: np.ndarray[Any, Any], grid: tuple[int, int]) -> np.ndarray[Any, Any]:
    return np.asarray(cv2.resize(mask.astype(np.float32), grid[::-1], interpolation=cv2.INTER_AREA), np.float32)


def prepared(config: TuneConfig) -> ViLLaModel:
    """The model to train: what learns is float32 and has gradients, what is frozen is as small as it may be."""
    frozen = torch.bfloat16 if config.mixed and config.device != "cpu" else torch.float32
    last = config.out / "checkpoint"
    source = last if (last / "villa" / "config.json").is_file() else config.init
    single = config.out / "villa.safetensors"
    model = load(single if single.is_file() else source, config.device, frozen)
    if config.lora_rank:
        _adapted(model, config.lora_rank)
    for name, parameter in model.named_parameters():
        if any(part in name for part in config.trained) if config.trained else learns(name, model.config):
            parameter.data = parameter.data.float()
            parameter.requires_grad_(True)
    return model


def learns(name: str, config: ViLLaConfig) -> bool:
    """Is the parameter of this name trained where nothing else is asked for?"""
    parts = SMALL if isinstance(config.language, CausalConfig) else LARGE
    if name.startswith(FROZEN):
        return False
    return any(name.startswith(part) or (part == MARK and MARK in name) for part in parts)


def _adapted(model: ViLLaModel, rank: int) -> None:
    """Give the language model adapters, unless it has some.

    Raises:
        TuneError: it has others, or is trained whole.
    """
    language = model.config.language
    if not isinstance(language, VisionLanguageConfig) or not isinstance(model.language, VisionLanguageLLM):
        raise TuneError(f"language kind {language.kind!r} is trained whole: adapters are for vision-language models")
    if language.lora_rank:
        if language.lora_rank != rank:
            raise TuneError(f"the checkpoint has adapters of rank {language.lora_rank}, wanted {rank}")
        return
    language = replace(language, lora_rank=rank)
    lora.add(model.language, language)
    model.config = replace(model.config, language=language)
    model.language.config = language
    model.requires_grad_(False)
    model.language.to(model.device)


def groups_of(model: ViLLaModel, config: TuneConfig) -> list[dict[str, Any]]:
    """Trainable parameters by how fast they move; vectors carry no weight decay.

    Raises:
        TuneError: there are none.
    """
    rates = {"adapter": config.adapter_lr, "decoder": config.decoder_lr, "new": config.lr}
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            kind = "adapter" if MARK in name else "decoder" if name.startswith("segmenter.own_decoder") else "new"
            groups.setdefault((kind, parameter.ndim > 1), []).append(parameter)
    if not groups:
        raise TuneError(f"no parameter's name holds one of {', '.join(config.trained)}: nothing would be trained")
    return [
        {"params": p, "lr": rates[kind], "base_lr": rates[kind], "weight_decay": config.weight_decay if decay else 0.0}
        for (kind, decay), p in sorted(groups.items(), key=lambda item: item[0])
    ]


class _Run:
    """State of one run."""

    def __init__(self, config: TuneConfig, workers: Workers) -> None:
        self.config, self.workers = config, workers
        self.console = Console(quiet=not workers.first)
        config.out.mkdir(parents=True, exist_ok=True)
        self.model = prepared(config)
        self.state_path = config.out / "state.pt"
        self.optimizer = torch.optim.AdamW(groups_of(self.model, config), betas=(0.9, 0.98), fused=True)
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.step = 0
        self._resume()
        self.model.train()
        if config.checkpointing and isinstance(self.model.language, VisionLanguageLLM):
            self.model.language.recompute_activations()
        learns = {name for name, p in self.model.named_parameters() if p.requires_grad}
        self.losses = AnswerLoss(
            self.model,
            TuneLosses(
                rollout=any(name.startswith("segmenter.") and "own_decoder" not in name for name in learns),
                recompute=config.checkpointing,
                frozen_eyes=not any(name.startswith(("segmenter.encoder", "segmenter.sam2.vision")) for name in learns),
            ),
        )

    @property
    def trained(self) -> dict[str, Tensor]:
        """What learns, by name."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def _resume(self) -> None:
        if not self.state_path.exists():
            return
        state = load_state(self.state_path, self.config.device)
        mine, theirs = set(self.trained), set(state["trained"])
        if mine != theirs:
            other = sorted(mine ^ theirs)[0]
            raise TuneError(
                f"{self.config.out} holds a run that trains other parameters, first {other!r}: choose another --out"
            )
        with torch.no_grad():
            for name, parameter in self.trained.items():
                parameter.copy_(state["trained"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        for group, fresh in zip(self.optimizer.param_groups, groups_of(self.model, self.config), strict=True):
            group["base_lr"] = fresh["base_lr"]
        self.step = int(state["step"])
        self.console.print(f"resumed {self.config.out} at step {self.step}")

    def save(self) -> Path:
        """Write state and checkpoint, each whole or not at all."""
        single = isinstance(self.model.config.language, CausalConfig)
        path = self.config.out / ("villa.safetensors" if single else "checkpoint")
        if not self.workers.first:
            return path
        state = {"trained": self.trained, "optimizer": self.optimizer.state_dict(), "step": self.step}
        save_state(self.state_path, state)
        # Published parts are linked to: they do not change, and a copy of them each time would fill the disk.
        save(self.model, path, link=True)
        described = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self.config).items()}
        write_text(self.config.out / "config.json", json.dumps(described, indent=2))
        return path

    def go(self) -> Path:
        """Train to the last step."""
        config = self.config
        batches = iter(self._loader(self.model.segmenter))
        writer = _writer(config.out, self.step) if self.workers.first else None
        saved = shown = time.monotonic()
        sums: dict[str, float] = {}
        count = 0
        while self.step < config.steps:
            factor = set_rates(self.optimizer, self.step, config.steps, config.warmup_steps, config.decay_steps)
            self.workers.zero(self.parameters)
            for _ in range(config.videos_per_step):
                for name, value in self._backward(next(batches)).items():
                    sums[name] = sums.get(name, 0.0) + value
                count += 1
            self.workers.average()
            norm = nn.utils.clip_grad_norm_(self.parameters, config.clip_norm)
            self.optimizer.step()
            self.step += 1
            now = time.monotonic()
            if writer is not None and self.step % config.log_every == 0:
                means = {name: value / count for name, value in sums.items()}
                for name, value in {**means, "norm": float(norm), "lr": config.lr * factor}.items():
                    writer.add_scalar(name, value, self.step)
                text = " ".join(f"{name} {value:.3f}" for name, value in means.items())
                pace = (now - shown) / config.log_every
                self.console.print(f"step {self.step}/{config.steps} {pace:.2f} s/step {text}", highlight=False)
                sums, count, shown = {}, 0, now
            if now - saved > config.save_every_s:
                self.save()
                saved = now
        if writer is not None:
            writer.close()
        path = self.save()
        self.console.print(f"checkpoint: {path}", highlight=False, soft_wrap=True)
        return path

    def _backward(self, batch: TuneBatch) -> dict[str, float]:
        device = self.config.device.split(":")[0]
        with mixed(device, enabled=self.config.mixed):
            parts = self.losses(batch)
        if not bool(torch.isfinite(parts["total"])):
            shown = {name: float(value.detach()) for name, value in parts.items()}
            raise TuneError(f"the loss is not finite at step {self.step}: {shown}")
        (parts["total"] / self.config.videos_per_step).backward()  # type: ignore[no-untyped-call]
        return {name: float(value.detach()) for name, value in parts.items()}

    def _loader(self, segmenter: Segmenter) -> DataLoader[TuneBatch]:
        config = self.config
        frames = config.frames or self.model.config.clip_frames
        seed = config.seed + 1_000_003 * self.step + 500_009 * self.workers.rank
        data = Expressions(config.data, config.meta)
        clips = Clips(config, data, segmenter.mask_grid, frames, seed)
        # Not forks of this process, which has used OpenCV: see villa.training.batches.
        start = "forkserver" if config.loaders else None
        return DataLoader(clips, batch_size=None, num_workers=config.loaders, multiprocessing_context=start)


def _writer(folder: Path, step: int) -> Any:
    """TensorBoard's writer; what a stopped run wrote after its last state is taken back."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise TuneError("tensorboard is not installed: pip install 'villa-ros[train]'") from error
    return SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
