"""What a focus is to learn: the things that a request means, and none beside them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from villa.light.focus import MOST
from villa.light.scene import Scene
from villa.training.packing import Question

_RARE = 3.0  # few things are meant: each weighs so much more
_SLIP = 0.1  # of the questions whose answer is taught behind a thing too many, or too few


def groups_of(questions: Sequence[Question], seg_id: int, device: torch.device) -> Tensor:
    """The question that each [SEG] belongs to [K]."""
    owners = [index for index, question in enumerate(questions) for token in question.answer if token == seg_id]
    return torch.tensor(owners, dtype=torch.long, device=device)


def meant_by(hits: Tensor, groups: Tensor, questions: int) -> Tensor:
    """Which thing is which of K objects [K, T, N] -> which is meant by each of R questions [R, T, N]."""
    out = torch.zeros(questions, *hits.shape[1:], dtype=torch.bool, device=hits.device)
    for row, group in enumerate(groups.tolist()):
        out[group] |= hits[row]
    return out


def focus_loss(logits: Tensor, meant: Tensor) -> Tensor:
    """Logits [R, T, N] against what is meant [R, T, N]."""
    weight = torch.tensor(_RARE, device=logits.device)
    return F.binary_cross_entropy_with_logits(logits.float(), meant.float(), pos_weight=weight)


def shown(hits: Tensor, groups: Tensor, questions: int, tokens: Tensor, scene: Scene, *, slips: bool) -> list[Tensor]:
    """Tokens [F, D] of the things that each question means, each on the newest frame that shows it, left to right."""
    frames = len(scene.things)
    own: list[list[tuple[int, int]]] = [[] for _ in range(questions)]
    for row, group in enumerate(groups.tolist()):
        seen = hits[row].any(dim=1).nonzero().flatten()
        if len(seen):
            frame = int(seen[-1])
            own[group].append((frame, int(hits[row, frame].nonzero()[0])))
    if slips:
        for of_one in own:
            if torch.rand(()) < _SLIP:
                _slip(of_one, frames, scene)
    return [_tokens(of_one[:MOST], tokens, scene) for of_one in own]


def _slip(of_one: list[tuple[int, int]], frames: int, scene: Scene) -> None:
    likely = (scene.things.scores[frames - 1] > 0).nonzero().flatten().tolist()
    if of_one and torch.rand(()) < 0.5:
        of_one.pop()
    elif likely:
        of_one.append((frames - 1, likely[int(torch.randint(len(likely), ()))]))


def _tokens(picked: Sequence[tuple[int, int]], tokens: Tensor, scene: Scene) -> Tensor:
    ordered = sorted(set(picked), key=lambda one: float(scene.things.boxes[one][0]))
    return torch.stack([tokens[at] for at in ordered]) if ordered else tokens.new_zeros(0, tokens.shape[-1])
