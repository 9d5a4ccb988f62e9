"""ViLLa assembled: encoder, projector, synthesizer, language model, synchronizer, mask decoder, propagator.

The methods here are the stages of one answer, each small enough to be one step of the slow pass; `session` strings
them together for streams, `train` for learning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from villa.config import ViLLaConfig
from villa.decoder import MaskDecoder, Masks
from villa.encoder import ImageEncoder, Pyramid
from villa.interface import Rgb
from villa.language import LanguageModel, Projector
from villa.layers import Mlp, sinusoid
from villa.propagator import Memory, Propagator
from villa.synchronizer import HierarchicalTemporalSynchronizer
from villa.synthesizer import ContextSynthesizer
from villa.tokenizer import TextCodec

if TYPE_CHECKING:
    from villa.session import StreamSession

_TIME_CHANNELS = 128


@dataclass(frozen=True)
class Features:
    """One encoded frame (N = 1) with its image tokens [1, S, C]."""

    pyramid: Pyramid
    tokens: Tensor


class ViLLa(nn.Module):
    """The model. Objects are K, clip frames T, the stride-16 grid has S cells of C channels, the LM is D wide."""

    def __init__(self, config: ViLLaConfig, codec: TextCodec) -> None:
        super().__init__()
        self.config = config
        self.codec = codec
        channels, width = config.encoder.channels, config.language.width
        self.encoder = ImageEncoder(config.encoder)
        self.projector = Projector(config.encoder, config.language)
        self.synthesizer = ContextSynthesizer(config.language, config.decoder)
        self.language = LanguageModel(config.language)
        self.frame_time = nn.Linear(_TIME_CHANNELS, width, bias=False)
        self.frame_state = nn.Linear(width, width, bias=False)
        self.to_video_prompt = Mlp(width, width, channels)
        self.to_frame_prompt = Mlp(width, width, channels)
        self.synchronizer = HierarchicalTemporalSynchronizer(channels, config.decoder.heads)
        self.decoder = MaskDecoder(config.encoder, config.decoder)
        self.no_memory = nn.Parameter(torch.zeros(channels))
        self.propagator = Propagator(config.encoder, config.propagator)

    # -- doors ---------------------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(cls, path: str | Path, device: str = "cpu") -> ViLLa:
        """Load a checkpoint file, strictly; see `villa.checkpoint.load`."""
        from villa.checkpoint import load

        return load(Path(path), device)

    def save_pretrained(self, path: str | Path) -> None:
        """Write a checkpoint file; see `villa.checkpoint.save`."""
        from villa.checkpoint import save

        save(self, Path(path))

    def open_session(self) -> StreamSession:
        """A new, empty streaming session."""
        from villa.session import StreamSession

        return StreamSession(self)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.no_memory.device

    # -- image ---------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def encode(self, rgb: Rgb) -> Features:
        """Image [H, W, 3] uint8 -> features of one frame."""
        pyramid = self.encoder(self.encoder.preprocess([rgb]).contiguous(memory_format=torch.channels_last))
        return Features(pyramid, self.image_tokens(pyramid))

    @torch.inference_mode()
    def describe(self, features: Features) -> NDArray[np.float32]:
        """Features -> descriptor [C]: the mean image token."""
        return np.asarray(features.tokens.mean(dim=1)[0].float().cpu().numpy(), np.float32)

    def image_tokens(self, pyramid: Pyramid) -> Tensor:
        """Pyramid of T frames -> image tokens [T, S, C]."""
        return pyramid.s16.flatten(2).transpose(1, 2)

    def visual_tokens(self, pyramid: Pyramid, times_s: Tensor) -> Tensor:
        """Pyramid of T frames, seconds before the newest [T] -> visual tokens [T, N_v, D]."""
        return self.projector(pyramid, times_s)  # type: ignore[no-any-return]

    # -- words ---------------------------------------------------------------------------------------------------

    def frame_inputs(self, states: Tensor, times_s: Tensor, frm: Tensor | None = None) -> Tensor:
        """[SEG] states h_v [K, D], times [T] -> inputs of the `[FRM]` tokens [K, T, D]; `frm` is their embedding."""
        if frm is None:
            frm = self.language.embed(torch.tensor(self.codec.frm_id, device=states.device))
        time = self.frame_time(sinusoid(times_s, _TIME_CHANNELS, 64.0, 0.2).to(states.dtype))
        return frm + time[None] + self.frame_state(states)[:, None]  # type: ignore[no-any-return]

    # -- masks ---------------------------------------------------------------------------------------------------

    def decode(self, prompt: Tensor, tokens: Tensor, pyramid: Pyramid, frame: Tensor) -> Masks:
        """Prompts [N, C] on frames that carry no memory; `frame` [N] indexes tokens [T, S, C] and pyramid."""
        return self.decoder(prompt, tokens[frame] + self.no_memory, pyramid, frame)  # type: ignore[no-any-return]

    def remember(
        self, tokens: Tensor, logits: Tensor, pointer: Tensor, prompt: Tensor, time_s: float | Tensor
    ) -> Memory:
        """Write masks [N, H/4, W/4] on image tokens [N, S, C] into memory."""
        return Memory(self.propagator.encoder(tokens, logits), pointer, prompt, time_s)

    def propagate(
        self,
        memories: list[Memory],
        tokens: Tensor,
        pyramid: Pyramid,
        frame: Tensor,
        now_s: float | Tensor,
    ) -> Masks:
        """Carry N objects to a frame: `frame` [N] indexes tokens [T, S, C] and pyramid."""
        image = self.propagator.attention(tokens[frame], memories, now_s)
        return self.decoder(self.propagator.prompt(memories), image, pyramid, frame)  # type: ignore[no-any-return]

    # -- whole clips ---------------------------------------------------------------------------------------------

    def parameters_by_part(self) -> dict[str, int]:
        """Number of parameters of each part."""
        return {name: sum(p.numel() for p in part.parameters()) for name, part in self.named_children()}


def key_frame(present: Tensor, agreement: Tensor) -> Tensor:
    """Presence logits [K, T] and key scores [K, T] -> index of each object's key frame [K]."""
    return (present.softmax(dim=-1) + agreement.softmax(dim=-1)).argmax(dim=-1)


def clip_times(stamps_s: Sequence[float]) -> list[float]:
    """Stamps of a clip -> seconds before its newest frame, so that only distances matter."""
    newest = max(stamps_s)
    return [newest - stamp for stamp in stamps_s]
