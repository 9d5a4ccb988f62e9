"""Training, resumable: `villa train` runs this.

Phases on the same clips. "things" teaches encoder, finder, mask decoder and propagator what stands on a table, without
a word; "names" teaches what things are by the looks that frozen networks have of them, and "masks" teaches decoder and
propagator better outlines, each leaving everything else as it is; "focus" teaches to find what requests are about,
without an answer; "answers" teaches scene reader, language model and pointer to answer them, without a mask; "joint"
teaches everything together. What only training needs (`villa.training.auxiliary_heads`)
is dropped afterwards. A run is its folder: the newest state is written every few minutes and picked up again by the
same command.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import torch
from rich.console import Console
from torch import Tensor, nn

from villa.checkpoints.build import small
from villa.checkpoints.checkpoint import channels_last, load, save
from villa.checkpoints.convert.nanodet import load_nanodet
from villa.config import CausalConfig, ProposalConfig, ViLLaConfig
from villa.data.coco_folder import CocoFolder
from villa.data.language.requests import ALL_KINDS, MOST_TARGETS, REQUEST_KINDS
from villa.data.language.vocabulary import KINDS, TABLETOP
from villa.data.language.wordings import TRAINED
from villa.data.language.wordings.everyday import EVERYDAY
from villa.data.language.wordings.widened import WIDENED
from villa.files.whole import write_text
from villa.modeling.language.causal import CausalLLM
from villa.modeling.segmenters.light.segmenter import LightSegmenter
from villa.modeling.villa import ViLLaModel
from villa.training.auxiliary_heads import AuxiliaryHeads
from villa.training.batch import Batch
from villa.training.batches import Feed, FeedConfig, clips_under
from villa.training.distributed import Workers
from villa.training.phase_losses import ClipLoss
from villa.training.photo_validation import PhotoValidation
from villa.training.photos import PhotoConfig
from villa.training.run_state import load_state, save_state
from villa.training.schedule import set_rates
from villa.training.tune import FROZEN
from villa.training.validation import Validation

PHASES = ("things", "names", "masks", "focus", "answers", "joint")
_ANSWERING = ("answers", "joint")
_WORDLESS = ("things", "names", "masks")
_MOST_MEANT = 10  # things of a request
_RECOGNISED_FRAMES = 3  # of a clip, where a model gets a recogniser
# What a phase trains; the rest stays as it is.
_TRAINED = {
    "things": ("segmenter.", "language.finder.", "head."),
    # What the networks that learn nothing say of a thing, and what it is then called.
    "names": (
        "language.finder.recognition.", "language.finder.closer_norm.", "language.finder.close_up.", "head.kinds.",
        "head.colours.",
    ),
    # Of the encoder, what only the mask decoder reads.
    "masks": (
        "segmenter.decoder.", "segmenter.no_memory", "segmenter.propagator.", "segmenter.encoder.lateral4.",
        "segmenter.encoder.reduce8.", "segmenter.encoder.smooth4.",
    ),
    "focus": ("language.scene.", "language.to_token.", "focus.", "head.happened."),
    "answers": (
        "language.projector.", "language.scene.", "language.to_token.", "language.llama.", "synthesizer.", "frame_",
        "to_", "synchronizer.", "focus.", "pointer.", "head.happened.",
    ),
    "joint": ("",),
}  # fmt: skip


class TrainError(RuntimeError):
    """Training cannot start or go on."""


@dataclass(frozen=True)
class TrainConfig:
    """One training run. Steps are optimiser steps.

    Raises:
        TrainError: the phase is none of PHASES, or the rate is not more than 0.
    """

    data: Path
    out: Path
    phase: str = "joint"  # one of PHASES
    init: Path | None = None  # a checkpoint to start from; None: pretrained parts
    steps: int = 4000
    decay_steps: int = 1000  # the learning rate falls to 0 over the last ones
    warmup_steps: int = 50
    clips_per_step: int = 2  # of each process
    frames: int = 4  # of a clip at most
    fewest_frames: int = 4
    requests: int = 8
    absent: int = 3  # more requests, all for what is not there
    aims: int = 16  # more requests, for the focus alone
    # Share of all requests in the sentences that most people use. Drawn evenly, nine in ten are rarer ones, and what is
    # said most is forgotten for them.
    usual: float = 0.4
    lr: float = 4e-4  # of new blocks
    mask_lr: float = 1.5e-4  # of encoder pyramid, mask decoder and propagator
    language_lr: float = 2e-4
    backbone_lr: float = 5e-5  # 0 freezes the pretrained part of the encoder
    gate_lr: float = 4e-3
    rate: float = 1.0  # of all of these: less where weights that know much already shall learn a little more
    weight_decay: float = 0.02
    clip_norm: float = 1.0
    seed: int = 0
    threads: int = 2
    device: str = "cpu"
    photos: Path | None = None  # a folder in the format of COCO: photos for the phases without words
    photo_share: float = 0.6  # of the clips, that are views of photos
    # Sources of those photos whose pictures have a label on everything that stands out; on others there may be more.
    exhaustive: tuple[str, ...] = ()
    # Folder of the network that becomes the model's recogniser (`villa.checkpoints.convert.nanodet`); None: as it was.
    recogniser: Path | None = None
    looks: Path | None = None  # folder for what the eyes see of clips in the phase of focus, for this and later runs
    loaders: int = 0  # of each process: processes that make its batches; 0: a thread
    save_every_s: float = 180.0
    validate: Path | None = None  # a folder of clips to see how far a run has come; nothing is learnt from them
    validate_every_s: float = 900.0
    validate_clips: int = 40
    validate_photos: int = 12  # of each source of `photos`
    log_every: int = 10

    def __post_init__(self) -> None:
        """Refuse a phase that does not exist, whoever asks for it."""
        if self.phase not in PHASES:
            raise TrainError(f"phase {self.phase!r} is not known: use {', '.join(map(repr, PHASES))}")
        if not self.rate > 0:
            raise TrainError(f"rate {self.rate} teaches nothing: wanted more than 0, 1 for the phase's own rates")


# How the shipped model was trained, phase by phase, in two processes; a command may change any of it.
# fmt: off
_RECIPES: dict[str, dict[str, Any]] = {
    "things": {
        "clips_per_step": 3, "frames": 3, "fewest_frames": 3, "steps": 2000, "decay_steps": 600, "lr": 1e-3,
        "mask_lr": 4e-4, "backbone_lr": 1e-4,
    },
    "names": {"clips_per_step": 8, "frames": 1, "fewest_frames": 1, "steps": 600, "decay_steps": 300, "lr": 1e-3},
    "masks": {
        "clips_per_step": 3, "frames": 3, "fewest_frames": 3, "steps": 1200, "decay_steps": 800, "mask_lr": 4e-4,
        "backbone_lr": 0.0,
    },
    # Requests are cheap here: many about each clip.
    "focus": {
        "clips_per_step": 4, "frames": 8, "fewest_frames": 4, "aims": 48,
        "steps": 4000, "decay_steps": 1500, "lr": 1e-3,
    },
    "answers": {
        "clips_per_step": 2, "frames": 8, "fewest_frames": 4, "requests": 8, "absent": 2, "aims": 48, "steps": 4000,
        "decay_steps": 1500, "lr": 6e-4, "language_lr": 3e-4, "backbone_lr": 0.0,
    },
    # What can already find and draw must not be unlearnt: its rate is low.
    "joint": {
        "clips_per_step": 2, "frames": 6, "fewest_frames": 4, "requests": 8, "absent": 2, "steps": 1500,
        "decay_steps": 700, "lr": 3e-4, "mask_lr": 1e-4, "language_lr": 2e-4, "backbone_lr": 0.0,
    },
}
# fmt: on


def recipe(phase: str, data: Path, out: Path, **changes: Any) -> TrainConfig:
    """The settings of a phase as the shipped model was trained, with `changes`.

    Raises:
        TrainError: no such phase.
    """
    return TrainConfig(**{"data": data, "out": out, "phase": phase, **_RECIPES.get(phase, {}), **changes})


def train(config: TrainConfig, model_config: ViLLaConfig | None = None) -> Path:
    """Run or resume a training run, also as one of several processes; returns the path of its checkpoint.

    Without `model_config` the model has the shape of the checkpoint that it starts from, else the default's.

    Raises:
        FileNotFoundError: no clips under `config.data`.
        TrainError: the folder holds a run with other settings, or they fit no model.
    """
    clips_under(config.data)  # asked before the model is made, which takes long
    torch.set_num_threads(config.threads)
    workers = Workers(config.device)
    torch.manual_seed(config.seed + workers.rank)
    try:
        return _Run(config, model_config, workers).go()
    finally:
        workers.close()


def parameter_groups(model: ViLLaModel, head: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """Parameters by how fast they may move; gates and norms carry no weight decay."""
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    rates = {
        "new": config.lr,
        "mask": config.mask_lr,
        "language": config.language_lr,
        "backbone": config.backbone_lr,
        "gate": config.gate_lr,
    }
    named = [*model.named_parameters(), *((f"head.{n}", p) for n, p in head.named_parameters())]
    for name, parameter in named:
        if name in ("synthesizer.gate", "synchronizer.amount", "pointer.amount"):
            kind = "gate"
        elif name.startswith("language.llama."):
            kind = "language"
        elif name.startswith("segmenter.encoder.backbone."):
            kind = "backbone"
        elif name.startswith("segmenter."):
            kind = "mask"
        else:
            kind = "new"
        frozen = not name.startswith(_TRAINED[config.phase]) or name.startswith(FROZEN)
        if frozen or rates[kind] == 0:
            parameter.requires_grad_(False)
            continue
        groups.setdefault((kind, parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "base_lr": config.rate * rates[kind],
            "lr": config.rate * rates[kind],
            "weight_decay": config.weight_decay if decay else 0.0,
        }
        for (kind, decay), parameters in sorted(groups.items())
    ]


def start_from(given: ViLLaModel, config: ViLLaConfig, console: Console) -> ViLLaModel:
    """A model of `config` that begins with the weights of another one, as far as the two have parts in common."""
    if given.config == config:
        return given
    model = small(config, given.codec.serialized)
    fresh = model.state_dict()
    kept = {name: tensor for name, tensor in given.state_dict().items() if _fits(tensor, fresh.get(name))}
    model.load_state_dict(kept, strict=False)
    new = sum(tensor.numel() for name, tensor in fresh.items() if name not in kept)
    console.print(
        f"of another shape than the checkpoint: {len(kept)} tensors are taken over, {len(fresh) - len(kept)} "
        f"({new / 1e6:.1f} M parameters) start anew",
        highlight=False,
    )
    return model


def _fits(tensor: Tensor, wanted: Tensor | None) -> bool:
    return wanted is not None and wanted.shape == tensor.shape


def _language(model: ViLLaModel) -> CausalConfig:
    language = model.config.language
    if not isinstance(language, CausalConfig):
        raise TrainError("these phases train a causal language model with a projector; tune others with `villa tune`")
    return language


def _things(model: ViLLaModel) -> ProposalConfig:
    proposals = _language(model).things
    if proposals is None:
        raise TrainError("these phases train a model that is told of things: set language.things in its configuration")
    return proposals


class _Run:
    """State of one run: model, optimiser, step, log."""

    def __init__(self, config: TrainConfig, model_config: ViLLaConfig | None, workers: Workers) -> None:
        self.config = config
        self.workers = workers
        self.console = Console(quiet=not workers.first)
        config.out.mkdir(parents=True, exist_ok=True)
        self.state_path = config.out / "state.pt"
        self.model = self._model(model_config).to(workers.device)
        segmenter = self.model.segmenter
        if not isinstance(segmenter, LightSegmenter):
            raise TrainError("these phases train the light segmenter; other shapes are tuned with `villa tune`")
        self.segmenter = segmenter
        self.model.train().requires_grad_(True)
        channels_last(self.segmenter.encoder)
        things = _things(self.model)
        if config.phase == "names" and not (things.recognised_frames or things.closer_frames):
            raise TrainError(
                "phase 'names' teaches what a recogniser or a closer look says: the model has none; "
                "set language.things.recognised_frames and closer_frames in its configuration"
            )
        self.head = AuxiliaryHeads(things.width).to(workers.device)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.model, self.head, config), betas=(0.9, 0.98), fused=True
        )
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.step = 0
        self._resume()
        workers.share((self.model, self.head))

    def _model(self, model_config: ViLLaConfig | None) -> ViLLaModel:
        from villa.training.pretrained import build, give_closer_look

        own = self.config.out / "villa.safetensors"
        init = own if self.state_path.exists() and own.exists() else self.config.init
        if init is not None:
            given = load(init)
            wanted = self._recognising(model_config or given.config)
            started = self._with_recogniser(start_from(given, wanted, self.console))
            had = given.config.language.things if isinstance(given.config.language, CausalConfig) else None
            if had is None or not had.closer_frames:
                give_closer_look(started)
            return started
        return self._with_recogniser(build(self._recognising(model_config or ViLLaConfig()), self.config.seed))

    def _recognising(self, wanted: ViLLaConfig) -> ViLLaConfig:
        """The same shape, with a recogniser where the run is given one."""
        language = wanted.language
        if self.config.recogniser is None or not isinstance(language, CausalConfig) or language.things is None:
            return wanted
        if language.things.recognised_frames:
            return wanted
        things = replace(language.things, recognised_frames=_RECOGNISED_FRAMES)
        return replace(wanted, language=replace(language, things=things))

    def _with_recogniser(self, model: ViLLaModel) -> ViLLaModel:
        if self.config.recogniser is not None and _things(model).recognised_frames and not self.state_path.exists():
            language = model.language
            assert isinstance(language, CausalLLM)
            language.recogniser.load_state_dict(load_nanodet(self.config.recogniser))
        return model

    def _resume(self) -> None:
        if not self.state_path.exists():
            head = (self.config.init.parent / "head.pt") if self.config.init else None
            if head is not None and head.exists():
                # An older head may lack parts that were not trained yet, or know fewer kinds.
                saved = load_state(head, self.workers.device)
                fresh = self.head.state_dict()
                known = {name: tensor for name, tensor in saved.items() if _fits(tensor, fresh.get(name))}
                self.head.load_state_dict(known, strict=False)
            return
        state = load_state(self.state_path, self.workers.device)
        if state["phase"] != self.config.phase:
            raise TrainError(
                f"{self.config.out} holds a run of phase {state['phase']!r}, wanted {self.config.phase!r}: "
                "choose another --out"
            )
        self.model.load_state_dict(state["model"])
        self.head.load_state_dict(state["head"])
        rates = [group["base_lr"] for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state["optimizer"])
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["base_lr"] = rate
        self.step = int(state["step"])
        self.console.print(f"resumed {self.config.out} at step {self.step}")

    def save(self) -> None:
        """Write the state, the checkpoint and the dense head, each whole or not at all."""
        if not self.workers.first:
            return
        state = {
            "phase": self.config.phase,
            "model": self.model.state_dict(),
            "head": self.head.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
        }
        save_state(self.state_path, state)
        save_state(self.config.out / "head.pt", self.head.state_dict())
        save(self.model, self.config.out / "villa.safetensors")
        described = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self.config).items()}
        write_text(self.config.out / "config.json", json.dumps(described, indent=2))

    def go(self) -> Path:
        """Train to the last step; returns the checkpoint's path."""
        config = self.config
        wanted = FeedConfig(
            root=config.data,
            frames=config.frames,
            fewest_frames=config.fewest_frames,
            requests=config.requests if config.phase in _ANSWERING else 0,
            absent=config.absent,
            aims=0 if config.phase in _WORDLESS else config.aims,
            usual=config.usual,
            known=KINDS,
            wordings=(WIDENED, EVERYDAY),
            kinds=ALL_KINDS,
            most=_MOST_MEANT,
            looks=2 if config.phase == "answers" else 1,
            seed=config.seed + 1_000_003 * self.step + 500_009 * self.workers.rank,
            height=self.segmenter.config.encoder.height,
            width=self.segmenter.config.encoder.width,
            zoom=config.phase in _WORDLESS,
            pictures=config.phase != "focus",
            part=(self.workers.rank, self.workers.count),
            device=self.workers.device,
            loaders=config.loaders,
            visual_tokens=_language(self.model).visual_tokens,
        )
        if config.photos is not None:
            wanted = replace(wanted, photos=self._photos(config.photos), photo_share=config.photo_share)
        feed = Feed(wanted, self.model.codec)
        losses = ClipLoss(self.model, self.head, freeze_backbone=config.backbone_lr == 0, looks=config.looks)
        batches = iter(feed)
        log = (config.out / "log.jsonl").open("a")  # of the first process's clips
        saved = shown = checked = time.monotonic()
        sums: dict[str, float] = {}
        count = 0
        while self.step < config.steps:
            set_rates(self.optimizer, self.step, config.steps, config.warmup_steps, config.decay_steps)
            self.workers.zero(self.parameters)
            for parts in self._parts(batches, losses):
                count += 1
                for name, value in parts.items():
                    sums[name] = sums.get(name, 0.0) + float(value.detach())
            self.workers.average()
            norm = nn.utils.clip_grad_norm_(self.parameters, config.clip_norm)
            if torch.isfinite(norm):
                self.optimizer.step()
            self.step += 1
            now = time.monotonic()
            if self.step % config.log_every == 0 and self.workers.first:
                means = {name: value / count for name, value in sums.items()}
                record = {"step": self.step, "seconds": now - shown, "norm": float(norm), **means}
                log.write(json.dumps(record) + "\n")
                log.flush()
                text = " ".join(f"{name} {value:.3f}" for name, value in means.items())
                self.console.print(
                    f"step {self.step}/{config.steps} {(now - shown) / config.log_every:.2f} s/step {text}",
                    highlight=False,
                )
                sums, count, shown = {}, 0, now
            if now - saved > config.save_every_s:
                self.save()
                saved = now
            if now - checked > config.validate_every_s and self.step < config.steps:
                self._validate(wanted, log)
                checked = shown = time.monotonic()
        feed.close()
        self.save()
        self._validate(wanted, log)
        log.close()
        checkpoint = config.out / "villa.safetensors"
        self.console.print(f"checkpoint: {checkpoint}", highlight=False, soft_wrap=True)
        return checkpoint

    def _photos(self, root: Path) -> PhotoConfig:
        config, size = self.config, self.segmenter.config.encoder
        if config.phase not in _WORDLESS:
            raise TrainError(f"photos teach outlines and kinds, not sentences: wanted phase {' or '.join(_WORDLESS)}")
        return PhotoConfig(root, size.width, size.height, config.frames, exhaustive=config.exhaustive)

    def _validate(self, feed: FeedConfig, log: TextIO) -> None:
        """Tell how much of the validation clips is right; other processes wait at the next step."""
        config = self.config
        if config.validate is None or not self.workers.first:
            return
        fixed = replace(
            feed,
            root=config.validate,
            seed=config.seed,
            augment=False,
            zoom=False,
            fewest_frames=None,
            misled=1.0,
            pictures=True,
            wordings=(TRAINED,),  # as the splits ask: runs stay comparable
            kinds=REQUEST_KINDS,
            most=MOST_TARGETS,
            usual=0.0,
            known=TABLETOP,
            part=(0, 1),
            loaders=0,
            photos=None,
        )
        shares = Validation(fixed, config.validate_clips)(self.model, self.head)
        if config.photos is not None:
            data = CocoFolder(config.photos, "val")
            seen = PhotoValidation(data, config.validate_photos)(self.model, self.head)
            shares |= {f"photos {k}": v for k, v in seen.items()}
        log.write(json.dumps({"step": self.step, "validation": shares}) + "\n")
        log.flush()
        text = " ".join(f"{name} {value:.3f}" for name, value in shares.items())
        self.console.print(f"validation at step {self.step}: {text}", highlight=False)

    def _parts(self, batches: Iterator[Batch], losses: ClipLoss) -> Iterator[dict[str, Tensor]]:
        """One optimiser step's gradients, clip by clip; yields each clip's losses."""
        config = self.config
        for _ in range(config.clips_per_step):
            batch = next(batches)
            parts = losses.of_phase[config.phase](batch)
            total = parts["total"]
            if not math.isfinite(float(total.detach())):
                raise TrainError(f"the loss is not finite at step {self.step}: {parts}")
            (total / config.clips_per_step).backward()  # type: ignore[no-untyped-call]
            yield parts
