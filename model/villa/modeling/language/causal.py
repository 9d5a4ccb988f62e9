"""A causal language model with a projector: a Llama (transformers) that reads the light segmenter's own features."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import torch
from torch import Tensor, nn
from transformers import DynamicCache, LlamaConfig, LlamaModel

from villa.config import CausalConfig, EncoderConfig
from villa.interface import Rgb, finish
from villa.modeling.key_segment_sampler import even
from villa.modeling.language import english
from villa.modeling.language.interface import Inputs, MultimodalLLM, Visual, bias_of
from villa.modeling.language.tokenizer import TextCodec
from villa.modeling.layers import TIME_LONGEST_S, TIME_SHORTEST_S, Mlp, grid_positions, sinusoid
from villa.modeling.objects.detector import ObjectDetector, Proposals
from villa.modeling.objects.recogniser import Recognised, Recogniser, pixels, stretch_of
from villa.modeling.objects.relation_encoder import EncodedScene, RelationEncoder
from villa.modeling.segmenters.interface import Pyramid
from villa.modeling.segmenters.light.encoder import BACKBONE_CHANNELS, LightPyramid


class Projector(nn.Module):
    """Pyramid of T frames and their stamps -> visual tokens [T, N_v, D]."""

    def __init__(self, encoder: EncoderConfig, language: CausalConfig) -> None:
        super().__init__()
        self.shape = (language.visual_rows, language.visual_columns)
        channels = encoder.channels
        self.inner = nn.Linear(BACKBONE_CHANNELS + 2 * channels, language.width)
        self.outer = nn.Linear(language.width, language.width)
        self.place = nn.Linear(channels, language.width, bias=False)
        self.time = nn.Linear(channels, language.width, bias=False)
        self.norm = nn.LayerNorm(language.width)
        # A language model's embeddings are small numbers; starting there keeps its first layers in their range.
        self.scale = nn.Parameter(torch.full((language.width,), 0.1))
        self.channels = channels

    def forward(self, pyramid: LightPyramid, times_s: Tensor) -> Tensor:
        """`times_s` [T]: seconds before the newest frame."""
        parts = [nn.functional.adaptive_avg_pool2d(x, self.shape) for x in (pyramid.s32, pyramid.s16)]
        # The strongest response in a cell keeps small objects that the mean would wash out.
        parts.append(nn.functional.adaptive_max_pool2d(pyramid.s8, self.shape))
        tokens = torch.cat(parts, dim=1).flatten(2).transpose(1, 2)
        x = self.outer(nn.functional.gelu(self.inner(tokens)))
        place = self.place(grid_positions(*self.shape, self.channels, x.device).to(x.dtype))
        time = self.time(sinusoid(times_s, self.channels, TIME_LONGEST_S, TIME_SHORTEST_S).to(x.dtype))
        return self.norm(x + place + time[:, None]) * self.scale  # type: ignore[no-any-return]


class ProposalProjector(nn.Module):
    """States of things [..., W] -> visual tokens [..., D]."""

    def __init__(self, width: int, language: int) -> None:
        super().__init__()
        self.layers = Mlp(width, language, language)
        self.norm = nn.LayerNorm(language)
        self.scale = nn.Parameter(torch.full((language,), 0.1))  # as the Projector's

    def forward(self, states: Tensor) -> Tensor:
        """[..., W] -> [..., D]."""
        return self.norm(self.layers(states)) * self.scale  # type: ignore[no-any-return]


class CausalLLM(MultimodalLLM):
    """Projector, embedding, Llama layers and a tied head.

    Words [SEG] and [FRM] have the last two rows of the embedding.
    """

    needs_pixels = False

    def __init__(self, config: CausalConfig, encoder: EncoderConfig, codec: TextCodec) -> None:
        super().__init__()
        self.config = config
        self.codec = codec
        self.width = config.width
        self.eyes = (encoder.width, encoder.height)  # px of the recogniser's images
        self.projector = Projector(encoder, config)
        if config.things is not None:
            self.finder = ObjectDetector(encoder, config.things)
            self.scene = RelationEncoder(config.things)
            self.to_token = ProposalProjector(config.things.width, config.width)
            if config.things.recognised_frames:
                self.recogniser = Recogniser().requires_grad_(False)
        self.llama = LlamaModel(
            LlamaConfig(
                vocab_size=config.vocabulary + 2,
                hidden_size=config.width,
                intermediate_size=config.intermediate,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                num_key_value_heads=config.kv_heads,
                rms_norm_eps=config.norm_eps,
                rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
                max_position_embeddings=8192,
                attn_implementation="eager",  # type: ignore[call-arg]  # passed on to the base class
                use_cache=True,
            )
        )

    def glances(self, frames: int) -> list[int]:
        """Which of so many frames the recogniser looks at, ascending, the newest among them."""
        wanted = self.config.things.recognised_frames if self.config.things else 0
        return even(frames, min(wanted, frames)) if wanted else []

    def glance(self, images: Sequence[Rgb], frames: Sequence[int]) -> Recognised:
        """Images [H, W, 3] uint8 of any size, of these frames of a clip -> what stands on them."""
        stretch = torch.tensor([stretch_of((image.shape[1], image.shape[0]), self.eyes) for image in images])
        return self.recognise(pixels(images, *self.eyes).to(self.device), frames, stretch.to(self.device))

    def recognise(self, images: Tensor, frames: Sequence[int], stretch: Tensor | None = None) -> Recognised:
        """The same of images [N, 3, H, W], 0..255; `stretch` as in `Recognised`."""
        return self.recogniser(images, frames, stretch)  # type: ignore[no-any-return]

    def see(self, images: Sequence[Rgb], pyramid: Pyramid | None, times_s: Tensor) -> Visual:
        """The segmenter's features of T frames, and the images of those of `glances(T)` -> visual tokens."""
        frames = self.glances(len(times_s))
        return self.seen(pyramid, times_s, self.glance(images, frames) if frames else None)

    def seen(self, pyramid: Pyramid | None, times_s: Tensor, recognised: Recognised | None) -> Visual:
        """The same with what was recognised already."""
        return finish(self.seen_in_parts(pyramid, times_s, recognised))

    def seen_in_parts(
        self, pyramid: Pyramid | None, times_s: Tensor, recognised: Recognised | None
    ) -> Generator[None, None, Visual]:
        """The same with room for other work behind each part."""
        if not isinstance(pyramid, LightPyramid):
            raise TypeError(f"wanted the light segmenter's features, saw {type(pyramid).__name__}")
        picture = self.projector(pyramid, times_s)
        if self.config.things is None:
            return Visual(picture, self.projector.shape)
        proposals = yield from self.finder.in_parts(pyramid, recognised)
        yield
        return self.told(proposals, picture, times_s)

    def told(self, proposals: Proposals, picture: Tensor, times_s: Tensor) -> Visual:
        """Things of T frames and visual tokens of the whole pictures -> what the model sees."""
        scene: EncodedScene = self.scene(proposals, self.finder.prompts(proposals.features, proposals.boxes), times_s)
        tokens = torch.cat((self.to_token(scene.states), picture), dim=1)
        return Visual(tokens, (1, tokens.shape[1]), scene=scene)

    def objection(self, text: str) -> str:
        """Why a request cannot be read: the models that are trained here read English alone."""
        return english.objection(text, lambda word: len(self.codec.plain(f" {word}")) == 1)

    def embed(self, ids: Tensor) -> Tensor:
        """Ids [...] -> [..., D]."""
        return self.llama.embed_tokens(ids)  # type: ignore[no-any-return]

    def logits(self, states: Tensor) -> Tensor:
        """States [..., D] -> [..., vocabulary + 2]."""
        return nn.functional.linear(states, self.llama.embed_tokens.weight)

    @torch.no_grad()
    def early(self, embeds: Tensor, depth: int) -> Tensor:
        """Embedded tokens [R, L, D] of R texts -> states [R, L, D] behind the first `depth` layers.

        Each token sees those before it, so that padding behind a text changes nothing. No gradient comes back: these
        layers learn to answer, and whoever reads here takes them as they are.
        """
        places = torch.arange(embeds.shape[1], device=embeds.device)[None]
        bias = bias_of(places <= places.T, embeds)
        turned = self.llama.rotary_emb(embeds, position_ids=places)
        states = embeds
        for layer in self.llama.layers[:depth]:
            states = layer(states, attention_mask=bias, position_ids=places, position_embeddings=turned)
        return states

    def new_cache(self) -> DynamicCache:
        """An empty key-value cache."""
        return DynamicCache(config=self.llama.config)

    def video_positions(self, ids: Sequence[int], visual: Visual) -> Tensor:
        """Tokens are counted, whatever they show: [1, L]."""
        return self.text_positions(0, len(ids))

    def read(self, inputs: Inputs, *, cache: DynamicCache | None = None, visible: Tensor | None = None) -> Tensor:
        """Inputs of L tokens -> final states [L, D]."""
        out = self.llama(
            inputs_embeds=inputs.embeds[None],
            attention_mask=bias_of(visible, inputs.embeds),
            position_ids=inputs.positions,
            past_key_values=cache,
            use_cache=cache is not None,
        )
        return out.last_hidden_state[0]  # type: ignore[no-any-return]
