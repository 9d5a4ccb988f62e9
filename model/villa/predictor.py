"""The way in for users: a loaded model that answers requests about streams and whole videos."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from villa.checkpoints import checkpoint
from villa.config import ViLLaConfig
from villa.inference import mask_propagation, multiple_choice, video
from villa.inference.stream_session import StreamSession
from villa.inference.video import Segmentation
from villa.interface import Rgb
from villa.masks import Mask, RleMask
from villa.modeling.segmenters.interface import Pyramid
from villa.modeling.villa import ViLLaModel


class ViLLa:
    """A model ready to segment; implements `villa.interface.SegmentationModel`. `network` is the PyTorch module."""

    def __init__(self, network: ViLLaModel) -> None:
        self.network = network

    @classmethod
    def from_pretrained(cls, path: str | Path, device: str = "cpu", dtype: torch.dtype | None = None) -> ViLLa:
        """Load a checkpoint, file or folder, strictly.

        Raises:
            CheckpointError: see `villa.checkpoints.checkpoint.load`.
        """
        return cls(checkpoint.load(Path(path), device, dtype))

    def save_pretrained(self, path: str | Path) -> None:
        """Write a checkpoint; see `villa.checkpoints.checkpoint.save`."""
        checkpoint.save(self.network, Path(path))

    @property
    def config(self) -> ViLLaConfig:
        """Sizes, and the thresholds of inference."""
        return self.network.config

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.network.device

    def encode(self, rgb: Rgb) -> Pyramid:
        """Image [H, W, 3] uint8 -> features of one frame.

        Raises:
            ValueError: no image of that shape and type.
        """
        return self.network.encode(rgb)

    def describe(self, features: Pyramid) -> NDArray[np.float32]:
        """Features of one frame -> descriptor [C]: the mean image token."""
        return self.network.describe(features)

    def objection(self, text: str) -> str:
        """Why a request cannot be read; empty where it can be: see `villa.interface.ChoosyModel`."""
        length, most = len(self.network.codec.request_ids(text)), self.config.max_request_tokens
        if length > most:
            return f"the text has {length} tokens, at most {most} are read: say it in fewer words"
        return self.network.language.objection(text)

    def open_session(self) -> StreamSession:
        """A new, empty streaming session."""
        return StreamSession(self.network)

    def segment(self, frames: Sequence[Rgb], text: str, **options: Any) -> Segmentation:
        """A whole video and a request -> tracklets; options and errors as of `villa.inference.video.segment`.

        A request in a language that the model does not read finds nothing: its `finish_reason` is "refused", and the
        text says why.
        """
        if why := self.network.language.objection(text):
            return Segmentation(why, "", "refused", (), ())
        return video.segment(self.network, frames, text, **options)

    def rank(self, frames: Sequence[Rgb], text: str, names: Sequence[str], **options: Any) -> tuple[float, ...]:
        """A whole video, a request and names -> how likely each is what it means, as log-probabilities.

        Options and errors as of `villa.inference.multiple_choice.rank`.
        """
        return multiple_choice.rank(self.network, frames, text, names, **options)

    def propagate(self, frames: Iterable[Rgb], mask: Mask, **options: Any) -> Iterator[RleMask | None]:
        """A video and the mask [H, W] bool of its first frame -> the mask of each frame, without words.

        Options and errors as of `villa.inference.mask_propagation.propagate`.
        """
        return mask_propagation.propagate(self.network, frames, mask, **options)

    def compile_fast_pass(self) -> None:
        """torch.compile what sees every frame. The first frames then take as long as the compiler does."""
        segmenter = self.network.segmenter
        for name, module in segmenter.named_modules():
            if name in segmenter.every_frame:
                module.compile()
