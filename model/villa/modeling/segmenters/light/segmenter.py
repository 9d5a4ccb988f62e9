"""The light family: what a CPU carries along. Encoder, decoder and propagator of the shipped default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from villa.config import LightConfig
from villa.interface import Rgb
from villa.modeling.segmenters.interface import Masks, Memory, Moment, Segmenter
from villa.modeling.segmenters.light.decoder import MaskDecoder
from villa.modeling.segmenters.light.encoder import ImageEncoder, LightPyramid
from villa.modeling.segmenters.light.memory import TrackMemory, batch, split, stack
from villa.modeling.segmenters.light.propagator import MemoryFrame, Propagator
from villa.modeling.segmenters.mask_overlap import apart

_GIVEN_LOGIT = 6.0  # of a px that a given mask is sure of
_SURE = 0.5  # predicted IoU times presence that a frame needs to be remembered


class LightSegmenter(Segmenter):
    """EfficientNet-Lite0 pyramid, a two-layer mask decoder and a memory of at most `memories` frames."""

    every_frame = ("encoder", "decoder", "propagator.encoder", "propagator.attention")

    def __init__(self, config: LightConfig) -> None:
        super().__init__()
        self.config = config
        self.channels = config.encoder.channels
        self.mask_grid = config.encoder.mask_grid
        self.encoder = ImageEncoder(config.encoder)
        self.decoder = MaskDecoder(config.encoder, config.decoder)
        self.no_memory = nn.Parameter(torch.zeros(self.channels))
        self.propagator = Propagator(config.encoder, config.propagator)

    def preprocess(self, images: Sequence[Rgb]) -> Tensor:
        """Images [H, W, 3] uint8 -> [N, 3, height, width], channels last."""
        return self.encoder.preprocess(list(images)).contiguous(memory_format=torch.channels_last)

    def encode(self, images: Tensor) -> LightPyramid:
        """Normalised images [N, 3, H, W] -> features."""
        return self.encoder(images)  # type: ignore[no-any-return]

    def decode(self, prompt: Tensor, pyramid: LightPyramid, frame: Tensor) -> Masks:
        """Prompts [N, C] on frames without memory."""
        return self.decoder(prompt, pyramid.tokens[frame] + self.no_memory, pyramid, frame)  # type: ignore[no-any-return]

    # -- one frame, several objects at once ----------------------------------------------------------------------

    def remember(
        self, tokens: Tensor, logits: Tensor, pointer: Tensor, prompt: Tensor, time_s: float | Tensor
    ) -> MemoryFrame:
        """Write masks [N, H/4, W/4] on image tokens [N, S, C] into memory."""
        return MemoryFrame(self.propagator.encoder(tokens, logits), pointer, prompt, time_s)

    def propagate(
        self, remembered: list[MemoryFrame], pyramid: LightPyramid, frame: Tensor, now_s: float | Tensor
    ) -> Masks:
        """N objects with equally many memory frames, on one frame: `frame` [N] indexes the pyramid."""
        image = self.propagator.attention(pyramid.tokens[frame], remembered, now_s)
        return self.decoder(self.propagator.prompt(remembered), image, pyramid, frame)  # type: ignore[no-any-return]

    # -- memories ------------------------------------------------------------------------------------------------

    def seed(
        self, masks: Masks, prompt: Tensor, pyramid: LightPyramid, frame: Tensor, moments: Sequence[Moment]
    ) -> list[Memory]:
        """Begin memories with masks of N objects."""
        times = torch.tensor([moment.stamp_s for moment in moments], dtype=torch.float64)
        remembered = self.remember(pyramid.tokens[frame], masks.logits, masks.token, prompt, times)
        return [TrackMemory(split(remembered, row)) for row in range(len(moments))]

    def seed_given(
        self, masks: Tensor, prompt: Tensor | None, pyramid: LightPyramid, frame: Tensor, moments: Sequence[Moment]
    ) -> list[Memory]:
        """Begin memories with given masks [N, H, W]; the decoder's token of the prompt says what they look like.

        Raises:
            ValueError: there is no prompt.
        """
        if prompt is None:
            raise ValueError(
                "a mask was given without a prompt, and the light segmenter carries an object by its prompt: "
                "wanted a model with an object detector, which reads one where the mask is (language.things)"
            )
        share = F.adaptive_avg_pool2d(masks[:, None], self.mask_grid)[:, 0]
        drawn = self.decode(prompt, pyramid, frame)
        return self.seed(replace(drawn, logits=of_share(share)), prompt, pyramid, frame, moments)

    def join(self, memories: Sequence[TrackMemory]) -> Memory:
        """One object's seeds on several frames -> one memory; the newest ones stay."""
        whole = memories[0].copy()
        for other in memories[1:]:
            for remembered in other.remembered:
                whole.add(remembered, self.config.propagator.memories - 1)
        return whole

    def carry(
        self, memories: Sequence[TrackMemory], pyramid: LightPyramid, moment: Moment, *, learn: bool = False
    ) -> Masks:
        """Carry N objects on to one frame; where it is sure, the frame is remembered."""
        device = pyramid.s16.device
        rows: list[int] = []
        parts: list[Masks] = []
        prompts: list[Tensor] = []
        for indices in batch(memories):
            group = [memories[i] for i in indices]
            frame = torch.zeros(len(group), dtype=torch.long, device=device)
            remembered = [_aged(remembered, moment.stamp_s, device) for remembered in stack(group)]
            parts.append(self.propagate(remembered, pyramid, frame, 0.0))
            prompts.append(remembered[0].prompt)
            rows += indices
        masks = Masks.joined(parts)
        if not learn:
            # What is hidden is drawn over what hides it: only what is seen has a say.
            masks = replace(masks, logits=apart(masks.logits, masks.logits[masks.present > 0]))
        sure = [True] * len(rows) if learn else _sure(masks)
        if any(sure):
            image = pyramid.tokens.expand(len(rows), -1, -1)
            seen = self.remember(image, masks.logits, masks.token, torch.cat(prompts), moment.stamp_s)
            # Written only when all is computed: a failure leaves memories as they were.
            for row, index in enumerate(rows):
                if sure[row]:
                    memories[index].add(split(seen, row), self.config.propagator.memories - 1)
        return masks[torch.tensor(rows, device=device).argsort()]


def of_share(share: Tensor) -> Tensor:
    """How much of each cell a known mask covers, 0..1 -> its logits, as the propagator is taught them."""
    return (share * 2 - 1) * _GIVEN_LOGIT


def _sure(masks: Masks) -> list[bool]:
    sure: list[bool] = (masks.present.float().sigmoid() * masks.iou.float() > _SURE).tolist()
    return sure


def _aged(remembered: MemoryFrame, now_s: float, device: torch.device) -> MemoryFrame:
    """The same memory frame with its time counted from now: stamps since 1970 do not fit a float32."""
    ages = [stamp - now_s for stamp in remembered.time_s.tolist()] if isinstance(remembered.time_s, Tensor) else [0.0]
    return replace(remembered, time_s=torch.tensor(ages, dtype=torch.float32, device=device))
