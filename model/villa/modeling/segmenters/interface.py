"""What ViLLa asks of the part that draws: image encoder, mask decoder and propagator of one family.

Two families stand behind this interface: `villa.modeling.segmenters.light` (the small default) and
`villa.modeling.segmenters.sam2` (SAM 2 video and the SAM 3 tracker of transformers). A memory belongs to one object,
is bounded, and is only ever replaced or added to by the family that made it; the rest of the model never looks inside.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from villa.interface import Rgb


@dataclass(frozen=True)
class Pyramid:
    """Features of T frames, encoded once for all objects."""

    s4: Tensor  # [T, c4, H/4, W/4]
    s8: Tensor  # [T, c8, H/8, W/8]
    s16: Tensor  # [T, C, H/16, W/16]

    @property
    def tokens(self) -> Tensor:
        """Image tokens [T, S, C] of the stride-16 grid."""
        return self.s16.flatten(2).transpose(1, 2)

    def __len__(self) -> int:
        return len(self.s16)


P = TypeVar("P", bound=Pyramid)


def frame_of(pyramid: P, index: int) -> P:
    """One frame of a pyramid, as a pyramid of one."""
    return type(pyramid)(*(getattr(pyramid, f.name)[index : index + 1] for f in fields(pyramid)))


def joined(pyramids: Sequence[P]) -> P:
    """Pyramids of one frame or more -> one pyramid."""
    first = pyramids[0]
    return type(first)(*(torch.cat([getattr(p, f.name) for p in pyramids]) for f in fields(first)))


@dataclass(frozen=True)
class Moment:
    """When a frame was: its place in the stream, which SAM 2 counts in, and its stamp."""

    index: int
    stamp_s: float


@dataclass(frozen=True)
class Masks:
    """What a mask decoder says of N (object, frame) pairs."""

    logits: Tensor  # [N, H/4, W/4]
    iou: Tensor  # [N] predicted IoU, 0..1
    present: Tensor  # [N] logit of "the object is visible on this frame"
    token: Tensor  # [N, C] what the propagator keeps of the object's looks

    def __getitem__(self, rows: slice | Tensor) -> Masks:
        return Masks(self.logits[rows], self.iou[rows], self.present[rows], self.token[rows])

    @classmethod
    def joined(cls, parts: Sequence[Masks]) -> Masks:
        """Masks of several batches -> of all, in order."""
        return cls(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(cls)))


class Memory(ABC):
    """What is remembered of one object: bounded, whatever the length of the stream."""

    @abstractmethod
    def copy(self, *, reverse: bool = False) -> Memory:
        """An independent memory with the same content; `reverse`: to go backwards in time from its seed."""

    @property
    @abstractmethod
    def frames(self) -> int:
        """Remembered frames."""


class Segmenter(nn.Module, ABC):
    """Frames -> features, prompts -> masks, masks -> masks on later (or earlier) frames.

    C is the width of a prompt, S the number of image tokens of a frame.
    """

    channels: int  # C
    mask_grid: tuple[int, int]  # (rows, columns) of mask logits
    every_frame: tuple[str, ...] = ()  # names of the modules that see every frame

    @abstractmethod
    def preprocess(self, images: Sequence[Rgb]) -> Tensor:
        """Images [H, W, 3] uint8 of any size -> [N, 3, height, width] on the device, ready for `encode`."""

    @abstractmethod
    def encode(self, images: Tensor) -> Pyramid:
        """Images as `preprocess` gives them -> features."""

    @abstractmethod
    def decode(self, prompt: Tensor, pyramid: Any, frame: Tensor) -> Masks:
        """Prompts [N, C] on frames that carry no memory; `frame` [N] indexes the pyramid."""

    @abstractmethod
    def seed(
        self, masks: Masks, prompt: Tensor, pyramid: Any, frame: Tensor, moments: Sequence[Moment]
    ) -> list[Memory]:
        """Begin N memories: masks of N objects, prompts [N, C], and where each was seen (`frame` [N], `moments`)."""

    @abstractmethod
    def seed_given(
        self, masks: Tensor, prompt: Tensor | None, pyramid: Any, frame: Tensor, moments: Sequence[Moment]
    ) -> list[Memory]:
        """Begin N memories with masks that are given and not drawn: [N, H, W] of the images' own size, each px 0..1.

        `prompt` [N, C], `frame` [N] and `moments` are as of `seed`; None: nothing says what the objects look like.

        Raises:
            ValueError: the family carries by prompts, and there is none.
        """

    @abstractmethod
    def join(self, memories: Sequence[Any]) -> Memory:
        """Memories of one object that were begun on several frames, oldest first -> one memory."""

    @abstractmethod
    def carry(self, memories: Sequence[Any], pyramid: Any, moment: Moment, *, learn: bool = False) -> Masks:
        """Carry N objects to the pyramid's one frame, and remember what was seen there.

        `learn` is for training: every look is remembered, whether it is sure or not.
        """
