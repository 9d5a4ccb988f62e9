"""What a focus is to learn: the things that a request means, and none beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from villa.modeling.objects.referring_head import (
    MOST_TARGETS,
    RARE,
    Sighting,
    chosen,
    from_left,
    in_order,
    marks,
    once_each,
    tokens_of,
)
from villa.modeling.objects.relation_encoder import EncodedScene
from villa.modeling.packed_forward import Question

_OWN = 0.5  # of the questions whose answer is taught behind what the focus itself takes


def owners(questions: Sequence[Question], seg_id: int) -> list[int]:
    """The question that each of the K [SEG] of some answers belongs to."""
    return [index for index, question in enumerate(questions) for token in question.answer if token == seg_id]


def wordless(questions: Sequence[Question], hits: Tensor, targets: Tensor, seg_id: int) -> list[Question]:
    """The same questions; what names an object that no thing [K, T, N] stands for teaches no words.

    `targets` [K] are the objects of the [SEG], -1 for none. The language model is shown nothing of such a one, and who
    learnt to name it all the same would learn to name what is not there.
    """
    found = hits.flatten(1).any(dim=1) | (targets < 0)
    lost = {owner for owner, known in zip(owners(questions, seg_id), found.tolist(), strict=True) if not known}
    return [replace(one, text_loss=False) if index in lost else one for index, one in enumerate(questions)]


class SegTargets:
    """Which things of a scene each of R questions means."""

    def __init__(self, hits: Tensor, scene: EncodedScene, questions: Sequence[Question], seg_id: int) -> None:
        """`hits` [K, T, N]: this thing is the object that a [SEG] stands for, in the order of the [SEG]."""
        self.scene = scene
        self._hits = hits
        self._owners = owners(questions, seg_id)
        self._questions = len(questions)

    @classmethod
    def at(cls, found: Tensor, scene: EncodedScene, questions: Sequence[Question], seg_id: int) -> SegTargets:
        """From the thing that each object is on each frame [K, T], -1 for none."""
        count = scene.proposals.scores.shape[1]
        return cls(found[..., None] == torch.arange(count, device=found.device), scene, questions, seg_id)

    @property
    def proposals(self) -> Tensor:
        """[R, T, N] bool."""
        out = torch.zeros(self._questions, *self._hits.shape[1:], dtype=torch.bool, device=self._hits.device)
        for hit, owner in zip(self._hits, self._owners, strict=True):
            out[owner] |= hit
        return out

    def shown(self, tokens: Tensor, told: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
        """Visual tokens [T, N_v, D] -> those [F, D] of what each question means, and marks [K, T, N + 1] of each [SEG].

        Each is shown as on the newest frame that it was found on, from left to right. With `told`, the logits [R, T, N]
        of a focus, half of the questions are shown what it would take, right or wrong: the answers behind it shall not
        trust it more than it deserves.
        """
        parts: list[Tensor] = []
        stands_for: list[Sighting | None] = []
        for question in range(self._questions):
            mine = [self._newest(hit) for hit, at in zip(self._hits, self._owners, strict=True) if at == question]
            if told is not None and torch.rand(()) < _OWN:
                picked = chosen(told[question].detach(), self.scene)
                stands_for += in_order(picked, len(mine))
            else:
                picked = from_left([*dict.fromkeys(one for one in mine if one is not None)][:MOST_TARGETS], self.scene)
                stands_for += mine
            parts.append(tokens_of(picked, tokens))
        return parts, marks(stands_for, self.scene)

    @staticmethod
    def _newest(hit: Tensor) -> Sighting | None:
        """Where an object [T, N] was last found."""
        seen = hit.any(dim=1).nonzero().flatten()
        return (int(seen[-1]), int(hit[seen[-1]].nonzero()[0])) if len(seen) else None


def hits_of(about: Tensor, which: Tensor) -> Tensor:
    """What O objects are to R requests [R, O, A], which object each thing is [T, N] -> what each thing is [R, T, N, A].

    A thing that is no object is nothing to any request.
    """
    none = about.new_zeros(len(about), 1, about.shape[-1])
    return torch.cat((about, none), dim=1)[:, which]  # -1 is the last


def focus_loss(logits: Tensor, wanted: Tensor, scene: EncodedScene, counts: Tensor | None = None) -> Tensor:
    """Logits against what is so, both [R, T, N, ...], where each thing of the scene is looked at.

    `counts` of the same shape: where it is known what is so; None: everywhere.
    """
    once = once_each(scene)
    logits, wanted = logits[:, once], wanted[:, once]
    if not logits.numel():
        return logits.sum()
    weight = torch.tensor(RARE, device=logits.device)
    if counts is None:
        return F.binary_cross_entropy_with_logits(logits.float(), wanted.float(), pos_weight=weight)
    known = counts[:, once].float()
    each = F.binary_cross_entropy_with_logits(logits.float(), wanted.float(), pos_weight=weight, reduction="none")
    return (each * known).sum() / known.sum().clamp(min=1.0)


def lessons_of(about: Tensor, which: Tensor, beside: Tensor, scene: EncodedScene) -> tuple[Tensor, Tensor]:
    """What is so, and where that is known, both [R, T, N, A], of O objects that R requests are `about` [R, O, A].

    `which` [T, N] is the object that each thing is, `beside` the one that it merely lies on. Of the latter it is not
    known whether they are meant, except where they alone are left of it. A request is no lesson where of what it means
    nothing is looked at: it is there, and who learnt to find nothing would learn to refuse.
    """
    once = once_each(scene)[None, :, :, None]
    hits, near = hits_of(about, which), hits_of(about, beside)
    meant = about.any(dim=1)[:, None, None]
    missed = meant & ~(hits & once).flatten(1, 2).any(dim=1)[:, None, None]
    lost = missed & ~(near & once).flatten(1, 2).any(dim=1)[:, None, None]
    return torch.where(missed, near, hits), ~lost & (missed | ~near)
