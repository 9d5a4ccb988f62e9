"""SAM 2 video (arXiv 2408.00714) and the SAM 3 tracker, on the modules of transformers, several objects in a batch.

The classes of transformers keep a session that grows with the video and visits objects one by one. Here the same
modules are called directly: a memory is a plain bounded list of one object, frames have an explicit index, objects
come and go at any time, and all of them are read, drawn and remembered together.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from villa.config import Sam2Config
from villa.interface import Rgb
from villa.modeling.segmenters.interface import Masks, Memory, Moment, Pyramid, Segmenter
from villa.modeling.segmenters.pixel_norm import PixelNorm
from villa.modeling.segmenters.sam2.memory import Sam2Memory, Sam2MemoryFrame, grouped

NO_OBJECT = -1024.0  # mask logits where the object is not visible, as SAM 2 has them
_LEVELS = 3  # strides 4, 8, 16; the SAM 3 tracker's encoder gives one more
# Logits of a mask that is given, not drawn: SAM 2's scale and bias.
_GIVEN_SCALE, _GIVEN_BIAS = 20.0, -10.0
# Mean and deviation of pixels, where a folder does not say.
_SAM2_PIXELS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_SAM3_PIXELS = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@dataclass(frozen=True)
class Sam2Pyramid(Pyramid):
    """Features of T frames; strides 4 and 8 as the answers' decoder and as the propagator's decoder read them."""

    own4: Tensor  # [T, C/8, H/4, W/4]
    own8: Tensor  # [T, C/4, H/8, W/8]


class Sam2Segmenter(Segmenter):
    """`Sam2VideoModel` or `Sam3TrackerVideoModel` with a decoder of its own for the prompts of a language model."""

    every_frame = ("sam2.vision_encoder", "sam2.memory_attention", "sam2.mask_decoder", "sam2.memory_encoder")

    def __init__(self, config: Sam2Config, sam2: Any) -> None:
        super().__init__()
        self.config = config
        self.sam2 = sam2
        settings = self.sam2.config
        self.channels = int(self.sam2.hidden_dim)
        self.grid: tuple[int, int] = tuple(int(n) for n in self.sam2.backbone_feature_sizes[-1])  # type: ignore[assignment]
        self.mask_grid = (4 * self.grid[0], 4 * self.grid[1])
        size = settings.image_size
        self.image_size: tuple[int, int] = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
        # Tuned to the prompts of words; the propagator keeps the original, which its memory was trained with.
        self.own_decoder: Any = None if config.share_decoder else copy.deepcopy(self.sam2.mask_decoder)
        is_sam3 = "sam3" in str(settings.model_type)
        self.mean, self.std = _SAM3_PIXELS if is_sam3 else _SAM2_PIXELS
        self.pixel_norm = PixelNorm(self.mean, self.std)
        self._constant: dict[str, Tensor] = {}

    @property
    def decoder(self) -> Any:
        """The mask decoder of answers."""
        return self.sam2.mask_decoder if self.own_decoder is None else self.own_decoder

    @property
    def dtype(self) -> torch.dtype:
        """The type that features are computed in."""
        kind: torch.dtype = self.sam2.no_memory_embedding.dtype
        return kind

    # -- frames --------------------------------------------------------------------------------------------------

    def preprocess(self, images: Sequence[Rgb]) -> Tensor:
        """Images [H, W, 3] uint8 -> [N, 3, height, width]; only bytes travel to the device."""
        device = self.sam2.no_memory_embedding.device
        frames = []
        for image in images:
            raw = torch.from_numpy(np.ascontiguousarray(image)).to(device).permute(2, 0, 1)[None].float()
            if tuple(raw.shape[2:]) != self.image_size:
                raw = F.interpolate(
                    raw, self.image_size, mode=self.config.fill_resize, antialias=True, align_corners=False
                )
            frames.append(raw.round().clamp(0, 255))
        normal: Tensor = self.pixel_norm(torch.cat(frames))
        return normal.to(self.dtype)

    def encode(self, images: Tensor) -> Sam2Pyramid:
        """Normalised images [N, 3, height, width] -> features."""
        levels = self.sam2.vision_encoder(images, return_dict=True).fpn_hidden_states[:_LEVELS]
        own = self.sam2.mask_decoder
        own4, own8 = own.conv_s0(levels[0]), own.conv_s1(levels[1])
        if self.own_decoder is None:
            return Sam2Pyramid(own4, own8, levels[2], own4, own8)
        tuned = self.own_decoder
        return Sam2Pyramid(tuned.conv_s0(levels[0]), tuned.conv_s1(levels[1]), levels[2], own4, own8)

    # -- masks ---------------------------------------------------------------------------------------------------

    def decode(self, prompt: Tensor, pyramid: Sam2Pyramid, frame: Tensor) -> Masks:
        """Prompts [N, C] on frames that carry no memory; `frame` [N] indexes the pyramid."""
        image = pyramid.s16[frame] + self.sam2.no_memory_embedding.reshape(1, -1, 1, 1)
        sparse = torch.cat((self._no_points(len(prompt)), prompt[:, None, None].to(image.dtype)), dim=2)
        return self._drawn(self.decoder, image, sparse, None, (pyramid.s4[frame], pyramid.s8[frame]))

    def _drawn(
        self, decoder: Any, image: Tensor, sparse: Tensor, mask: Tensor | None, fine: tuple[Tensor, Tensor]
    ) -> Masks:
        """The best of the decoder's masks for N prompts [N, 1, P, C] on image features [N, C, h, w]."""
        prompts = self.sam2.prompt_encoder
        if mask is None:
            dense = prompts.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(len(image), -1, *self.grid)
        else:
            dense = prompts.mask_embed(mask)
        logits, iou, tokens, present = decoder(
            image_embeddings=image,
            image_positional_embeddings=self._positions("decoder", image).expand(len(image), -1, -1, -1),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense.to(image.dtype),
            multimask_output=True,
            high_resolution_features=list(fine),
        )
        best = iou[:, 0].argmax(dim=-1)
        rows = torch.arange(len(image), device=image.device)
        return Masks(logits[rows, 0, best], iou[rows, 0, best], present[:, 0, 0], tokens[rows, 0, best])

    def _no_points(self, count: int) -> Tensor:
        """What the prompt encoder says where nothing was clicked: [count, 1, 2, C], an empty point and its padding."""
        point = self.sam2.prompt_encoder.not_a_point_embed.weight
        return point.expand(count, 1, 2, -1)  # type: ignore[no-any-return]

    def _positions(self, name: str, like: Tensor) -> Tensor:
        """Position codes that are the same for all frames: of the decoder, of the image, of a memory."""
        key = f"{name} {like.dtype} {like.device}"
        if key not in self._constant:
            # Not an inference tensor: training may read it as well.
            with torch.inference_mode(False), torch.no_grad():
                if name == "decoder":
                    made = self.sam2.get_image_wide_positional_embeddings()
                else:
                    neck = self.sam2.vision_encoder.neck
                    code = neck.position_encoding if name == "image" else self.sam2.memory_encoder.position_encoding
                    made = code((1, 1, *self.grid), like.device, like.dtype)
                    made = made.flatten(2).permute(2, 0, 1)
                self._constant[key] = made.to(like.dtype).clone()
        return self._constant[key]

    # -- memory --------------------------------------------------------------------------------------------------

    def seed(
        self, masks: Masks, prompt: Tensor, pyramid: Sam2Pyramid, frame: Tensor, moments: Sequence[Moment]
    ) -> list[Memory]:
        """Begin memories with masks of N objects."""
        large = self._enlarged(masks.logits)
        if self.config.seed_by == "mask":
            return self._begun(large > 0, pyramid, frame, moments)
        space = self._remembered(pyramid.s16[frame], large, masks.present)
        return _memories(space, self._pointer(masks.token, masks.present), moments)

    def seed_given(
        self, masks: Tensor, prompt: Tensor | None, pyramid: Sam2Pyramid, frame: Tensor, moments: Sequence[Moment]
    ) -> list[Memory]:
        """Begin memories with given masks [N, H, W], whatever `seed_by` says of drawn ones; the prompt is not read."""
        inside = _resized(masks, self.image_size) >= 0.5  # as SAM 2 brings a mask to its image's size
        return self._begun(inside, pyramid, frame, moments)

    def _begun(self, inside: Tensor, pyramid: Sam2Pyramid, frame: Tensor, moments: Sequence[Moment]) -> list[Memory]:
        """Begin memories with masks [N, H, W] bool of the encoder's image size, as mask prompts."""
        image = pyramid.s16[frame]
        given = inside.to(image.dtype)
        there = given.flatten(1).any(dim=1).to(image.dtype)
        space = self._remembered(image, given * _GIVEN_SCALE + _GIVEN_BIAS, there - 0.5, binary=True)
        fine = (pyramid.own4[frame], pyramid.own8[frame])
        own = self.sam2.mask_decoder
        seen = self._drawn(own, image, self._no_points(len(image)), self._as_prompt(given), fine)
        # That something was given says that it is there, whatever the decoder thinks of it.
        pointer = self._pointer(self._pointer(seen.token, seen.present), there - 0.5, project=False)
        return _memories(space, pointer, moments)

    def join(self, memories: Sequence[Sam2Memory]) -> Memory:
        """One object's seeds on several frames -> one memory; the newest `max_seeds` stay."""
        seeds = sorted((seed for memory in memories for seed in memory.seeds), key=lambda seed: seed.index)
        return Sam2Memory(seeds[-self.config.max_seeds :])

    def carry(
        self, memories: Sequence[Sam2Memory], pyramid: Sam2Pyramid, moment: Moment, *, learn: bool = False
    ) -> Masks:
        """Carry N objects to the pyramid's one frame; SAM 2 remembers every look."""
        settings = self.sam2.config
        now, most, pointers = moment.index, settings.num_maskmem, settings.max_object_pointers_in_encoder
        rows: list[int] = []
        parts: list[Masks] = []
        news: list[tuple[Sam2Memory, Sam2MemoryFrame]] = []  # written only when all is computed
        for indices in grouped(memories, now, most, pointers):
            group = [memories[i] for i in indices]
            count = len(group)
            image = self._read(group, pyramid, now)
            fine = (pyramid.own4.expand(count, -1, -1, -1), pyramid.own8.expand(count, -1, -1, -1))
            masks = self._drawn(self.sam2.mask_decoder, image, self._no_points(count), None, fine)
            if self.config.gate:
                hidden = (masks.present <= 0)[:, None, None]
                masks = Masks(masks.logits.masked_fill(hidden, NO_OBJECT), masks.iou, masks.present, masks.token)
            plain = pyramid.s16.expand(count, -1, -1, -1)
            space = self._remembered(plain, self._enlarged(masks.logits), masks.present)
            pointer = self._pointer(masks.token, masks.present)
            for row, memory in enumerate(group):
                new_frame = Sam2MemoryFrame(now, space[:, row : row + 1].clone(), pointer[row : row + 1].clone())
                news.append((memory, new_frame))
            rows += indices
            parts.append(masks)
        for memory, new_frame in news:
            memory.add(new_frame, most, pointers)
        order = torch.tensor(rows, device=pyramid.s16.device).argsort()
        return Masks.joined(parts)[order]

    def _read(self, group: Sequence[Sam2Memory], pyramid: Sam2Pyramid, now: int) -> Tensor:
        """Image features [N, C, h, w] after they looked at each object's memory."""
        settings = self.sam2.config
        image = pyramid.s16.flatten(2).permute(2, 0, 1).expand(-1, len(group), -1)  # [S, N, C]
        values, codes = [], []
        place = self._positions("memory", image)
        temporal = self.sam2.memory_temporal_positional_encoding[:, 0, 0]  # [memories, M]
        for column in zip(*(memory.spatial(now, settings.num_maskmem) for memory in group), strict=True):
            values.append(torch.cat([new_frame.space for _, new_frame in column], dim=1).to(image.dtype))
            # Offset 0 is a seed: its code is the last row, as for SAM 2.
            codes.append(place + temporal[[offset - 1 for offset, _ in column]][None])
        read = [memory.pointers(now, settings.max_object_pointers_in_encoder) for memory in group]
        tokens = 0
        if read[0]:
            pointer, code = self._pointer_tokens(read)
            values.append(pointer.to(image.dtype))
            codes.append(code.to(image.dtype))
            tokens = len(pointer)
        place = self._positions("image", image).expand(-1, len(group), -1)
        seen = self.sam2.memory_attention(image, torch.cat(values), place, torch.cat(codes), tokens)
        seen = seen.reshape(-1, len(group), image.shape[0], self.channels) if seen.ndim == 4 else seen[None]
        return seen[0].transpose(1, 2).reshape(len(group), self.channels, *self.grid)  # type: ignore[no-any-return]

    def _pointer_tokens(self, read: list[list[tuple[int, Sam2MemoryFrame]]]) -> tuple[Tensor, Tensor]:
        """N lists of (age, look) -> pointers and their codes, [tokens, N, M] each; long pointers are split."""
        settings, width = self.sam2.config, int(self.sam2.mem_dim)
        pointers = torch.stack(
            [torch.cat([new_frame.pointer for _, new_frame in column]) for column in zip(*read, strict=True)]
        )
        length, count = pointers.shape[:2]
        if settings.enable_temporal_pos_encoding_for_object_pointers:
            ages = torch.tensor([[float(age) for age, _ in own] for own in read], device=pointers.device).T
            code = _sine(ages / (settings.max_object_pointers_in_encoder - 1), self.channels).to(pointers.dtype)
            code = self.sam2.temporal_positional_encoding_projection_layer(code)
        else:
            code = pointers.new_zeros(length, count, width)
        pieces = self.channels // width
        pointers = pointers.reshape(length, count, pieces, width).permute(0, 2, 1, 3).flatten(0, 1)
        return pointers, code.repeat_interleave(pieces, dim=0)

    def _remembered(self, image: Tensor, large: Tensor, present: Tensor, *, binary: bool = False) -> Tensor:
        """Mask logits of the image's size [N, H, W] on image features [N, C, h, w] -> spatial memories [S, N, M]."""
        settings = self.sam2.config
        large = _resized(large, (4 * self.mask_grid[0], 4 * self.mask_grid[1]))
        inside = (large > 0).to(large.dtype) if binary else large.sigmoid()
        scaled = inside * settings.sigmoid_scale_for_mem_enc + settings.sigmoid_bias_for_mem_enc
        space, _ = self.sam2.memory_encoder(image, scaled[:, None].to(image.dtype))
        hidden = self.sam2.occlusion_spatial_embedding_parameter
        if hidden is not None:
            gone = (present <= 0).to(space.dtype)[:, None, None, None]
            space = space + gone * hidden[..., None, None]
        # bfloat16 halves what a track holds and is what SAM 2 itself keeps.
        return space.to(torch.bfloat16).flatten(2).permute(2, 0, 1)  # type: ignore[no-any-return]

    def _pointer(self, token: Tensor, present: Tensor, *, project: bool = True) -> Tensor:
        """What stands for the object [N, C]: the decoder's token, or "not there"."""
        there = (present > 0).to(token.dtype)[:, None]
        pointer = self.sam2.object_pointer_proj(token) if project else token
        return there * pointer + (1 - there) * self.sam2.no_object_pointer  # type: ignore[no-any-return]

    def _enlarged(self, logits: Tensor) -> Tensor:
        """Mask logits [N, H/4, W/4] -> of the image's size [N, H, W]."""
        return F.interpolate(logits[:, None].float(), self.image_size, mode="bilinear", align_corners=False)[:, 0]

    def _as_prompt(self, given: Tensor) -> Tensor:
        """Masks [N, H, W] in 0..1 -> what the prompt encoder embeds, [N, 1, H/4, W/4]."""
        small = self.sam2.mask_downsample(given[:, None].to(self.dtype))
        return _resized(small[:, 0], self.mask_grid)[:, None].to(self.dtype)


def _memories(space: Tensor, pointer: Tensor, moments: Sequence[Moment]) -> list[Memory]:
    """Spatial memories [S, N, M] and pointers [N, C] of N objects, each seeded at its moment -> their memories."""
    return [
        Sam2Memory([Sam2MemoryFrame(moment.index, space[:, row : row + 1].clone(), pointer[row : row + 1].clone())])
        for row, moment in enumerate(moments)
    ]


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps [N, h, w] -> [N, *size]; the SAM 3 tracker's sizes do not divide evenly."""
    if tuple(maps.shape[1:]) == size:
        return maps
    return F.interpolate(maps[:, None].float(), size, mode="bilinear", antialias=True, align_corners=False)[:, 0]


def _sine(values: Tensor, width: int, temperature: float = 10_000.0) -> Tensor:
    """Values [...] -> sine code [..., width], as Attention Is All You Need has it."""
    half = width // 2
    steps = torch.arange(half, device=values.device, dtype=torch.float32)
    angles = values[..., None] / temperature ** (2 * (steps // 2) / half)
    return torch.cat((angles.sin(), angles.cos()), dim=-1)
