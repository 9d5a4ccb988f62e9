"""ViLLa assembled: a segmenter, a multimodal language model, and ViLLa's own blocks between the two.

The methods here are the stages of one answer, each small enough to be one step of the slow pass. `villa.inference`
strings them together for streams and whole videos, `villa.training` for learning; users take `villa.ViLLa`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from villa.config import CausalConfig, ViLLaConfig
from villa.interface import Rgb
from villa.modeling.context_synthesizer import ContextSynthesizer
from villa.modeling.key_segment_sampler import KeySegmentSampler
from villa.modeling.language.causal import CausalLLM
from villa.modeling.language.interface import MultimodalLLM, Visual
from villa.modeling.language.tokenizer import TextCodec
from villa.modeling.layers import Mlp, sinusoid
from villa.modeling.objects.referring_head import TARGET, ReferringHead
from villa.modeling.objects.relation_encoder import EncodedScene
from villa.modeling.objects.seg_selector import SegSelector, Words
from villa.modeling.segmenters.interface import Pyramid, Segmenter
from villa.modeling.temporal_synchronizer import HierarchicalTemporalSynchronizer, Prompts

_TIME_CHANNELS = 128


class ViLLaModel(nn.Module):
    """The model. Objects are K, clip frames T, an image has S tokens, a prompt C channels, the LM is D wide."""

    def __init__(self, config: ViLLaConfig, segmenter: Segmenter, language: MultimodalLLM) -> None:
        super().__init__()
        self.config = config
        self.segmenter = segmenter
        self.language = language
        channels, width, blocks = segmenter.channels, language.width, config.blocks
        self.sampler = KeySegmentSampler(width, channels)
        self.synthesizer = ContextSynthesizer(width, blocks.synthesizer_width, blocks.heads)
        self.frame_time = nn.Linear(_TIME_CHANNELS, width, bias=False)
        self.frame_state = nn.Linear(width, width, bias=False)
        self.to_video_prompt = Mlp(width, width, channels)
        self.to_frame_prompt = Mlp(width, width, channels)
        self.synchronizer = HierarchicalTemporalSynchronizer(channels, blocks.heads)
        if isinstance(config.language, CausalConfig) and config.language.things is not None:
            self.focus = ReferringHead(width, config.language.things)
            self.pointer = SegSelector(channels, width, config.language.things)
        if blocks.track_tokens:
            self.track_state = nn.Linear(channels, width, bias=False)
            self.track_gate = nn.Parameter(torch.zeros(1))

    def roles(self, tails: Sequence[Sequence[int]], scene: EncodedScene) -> Tensor:
        """Token ids of R requests, each with what was said before it -> logits [R, T, N, 3]: what things are to each.

        The focus gets embeddings without what all words have in common, which is most of each: what is left tells them
        apart.
        """
        language = self.language
        assert isinstance(language, CausalLLM)
        assert language.config.things is not None
        words = Words.of([language.embed(language.ids(tail)) for tail in tails])
        depth = language.config.things.request_depth
        in_context = language.early(words.states, depth) if depth else None
        common = language.llama.embed_tokens.weight.detach().mean(dim=0)
        told_apart = Words(words.states - common, words.spoken)
        tokens = language.to_token(scene.states)
        return self.focus(told_apart, scene, tokens, in_context)  # type: ignore[no-any-return]

    def refer(self, tails: Sequence[Sequence[int]], scene: EncodedScene) -> Tensor:
        """Token ids of R requests, likewise -> logits [R, T, N] of what each means in a scene."""
        return self.roles(tails, scene)[..., TARGET]

    @property
    def codec(self) -> TextCodec:
        """The language model's words."""
        return self.language.codec

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.frame_time.weight.device

    # -- image ---------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def encode(self, rgb: Rgb) -> Pyramid:
        """Image [H, W, 3] uint8 -> features of one frame.

        Raises:
            ValueError: no image of that shape and type.
        """
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or 0 in rgb.shape:
            raise ValueError(f"an image has shape {list(rgb.shape)} and type {rgb.dtype}: wanted [H, W, 3] uint8")
        return self.segmenter.encode(self.segmenter.preprocess([rgb]))

    @torch.inference_mode()
    def describe(self, features: Pyramid) -> NDArray[np.float32]:
        """Features -> descriptor [C]: the mean image token."""
        return np.asarray(features.s16.mean(dim=(2, 3))[0].float().cpu().numpy(), np.float32)

    # -- words ---------------------------------------------------------------------------------------------------

    def enriched(self, words: Tensor, visual: Visual, times_s: Tensor) -> Tensor:
        """A request's words [L, D] after they looked at the video [L, D]."""
        if not self.config.blocks.enabled:
            return words
        enriched = self.synthesizer(words, visual.tokens, times_s)
        return enriched.to(words.dtype)  # type: ignore[no-any-return]

    def frame_inputs(self, states: Tensor, times_s: Tensor, frm: Tensor | None = None) -> Tensor:
        """[SEG] states h_v [K, D], times [T] -> inputs of the `[FRM]` tokens [K, T, D]; `frm` is their embedding."""
        if frm is None:
            frm = self.language.embed(torch.tensor(self.codec.frm_id, device=states.device))
        time = self.frame_time(sinusoid(times_s, _TIME_CHANNELS, 64.0, 0.2).to(states.dtype))
        return frm + time[None] + self.frame_state(states)[:, None]  # type: ignore[no-any-return]

    def prompts(
        self,
        states: Tensor,
        frame_states: Tensor,
        image: Tensor,
        groups: Tensor | None = None,
        scene: EncodedScene | None = None,
        words: Words | None = None,
        marked: Tensor | None = None,
    ) -> Prompts:
        """h_v [K, D], h_f [K, T, D], image tokens [T, S, C] -> the decoder's prompts.

        Where the model is told of things one by one, their `scene` stands in for the image, and the `words` of the
        requests and what the focus has `marked` for each `[SEG]` [K, T, N + 1] help to point at them.
        """
        video = self.to_video_prompt(states)
        if not self.config.blocks.enabled:
            prompts = Prompts.plain(video, frame_states.shape[1])
        else:
            about = image if scene is None else scene.prompts
            prompts = self.synchronizer(video, self.to_frame_prompt(frame_states), about, groups)
        if scene is None or words is None or marked is None:
            return prompts
        return self.pointer.pointed(prompts, self.pointer(prompts, words, scene, marked), scene)

    def track_token(self, look: Tensor) -> Tensor:
        """What a track looks like now [C] -> the token [D] that stands for it in a follow-up request."""
        frm = self.language.embed(torch.tensor(self.codec.frm_id, device=look.device))
        seen: Tensor = torch.tanh(self.track_gate) * self.track_state(look.to(self.track_state.weight.dtype))
        return frm + seen.to(frm.dtype)

    # -- whole clips ---------------------------------------------------------------------------------------------

    def parameters_by_part(self) -> dict[str, int]:
        """Number of parameters of each part."""
        parts: dict[str, int] = {}
        for name, part in self.named_children():
            inner = dict(part.named_children()) if name in ("segmenter", "language") else {name: part}
            parts |= {key: sum(p.numel() for p in module.parameters()) for key, module in inner.items()}
        return parts


def key_frame(present: Tensor, agreement: Tensor) -> Tensor:
    """Presence logits [K, T] and key scores [K, T] -> index of each object's key frame [K]."""
    return (present.softmax(dim=-1) + agreement.softmax(dim=-1)).argmax(dim=-1)


def clip_times(stamps_s: Sequence[float]) -> list[float]:
    """Stamps of a clip -> seconds before its newest frame, so that only distances matter."""
    newest = max(stamps_s)
    return [newest - stamp for stamp in stamps_s]
