"""Several requests about one clip in one forward of the language model.

The video comes first in the prompt and does not depend on the request, so its tokens are read once; each request sees
the video and itself, never another request. That makes a training step on eight requests cost little more than one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from villa.model import ViLLa
from villa.tokenizer import PromptIds

IGNORE = -100
# The first word of an answer says whether the thing is there at all.
_FIRST_WORD = 3.0


@dataclass(frozen=True)
class Question:
    """One request with the answer to teach; `text_loss` False trains only what the [SEG] points at."""

    prompt: PromptIds
    answer: tuple[int, ...]
    text_loss: bool = True


@dataclass(frozen=True)
class Packed:
    """States of a packed forward."""

    states: Tensor  # [1, L, D]
    labels: Tensor  # [L]: the token that follows each position, or IGNORE
    weights: Tensor  # [L]: how much each label counts
    video: Tensor  # h_v [K, D], the states of the [SEG] tokens in order
    frames: Tensor  # h_f [K, T, D]
    groups: Tensor  # [K]: the question each [SEG] belongs to


def forward(
    model: ViLLa, visual: Tensor, times_s: Tensor, questions: Sequence[Question], *, every_frame: bool = True
) -> Packed:
    """Visual tokens [T, N_v, D], seconds before the newest [T], questions with one shared head -> states.

    Without `every_frame` the `[FRM]` tokens are left out and `frames` is empty.
    """
    device = visual.device
    language, codec = model.language, model.codec
    head = list(questions[0].prompt.head)
    spans = [[*q.prompt.tail, *q.answer] for q in questions]
    # One look-up for all: each one's gradient is as large as the whole embedding.
    flat = torch.tensor([*head, *(i for span in spans for i in span), codec.frm_id], device=device)
    looked_up = language.embed(flat)
    frm = looked_up[-1]
    head_embedded, *embedded_spans = torch.split(looked_up[:-1], [len(head), *map(len, spans)])
    prefix = torch.cat((head_embedded, visual.flatten(0, 1)))
    parts, positions, owner, labels = [prefix], [torch.arange(len(prefix), device=device)], [], []
    owner.append(torch.full((len(prefix),), -1, device=device))
    labels.append(torch.full((len(prefix),), IGNORE, device=device))
    seg_at: list[int] = []
    seg_group: list[int] = []
    first: list[int] = []
    offset = len(prefix)
    for index, question in enumerate(questions):
        tail, answer = question.prompt.tail, question.answer
        ids = torch.tensor(spans[index], device=device)
        embedded = embedded_spans[index]
        start, stop = question.prompt.request
        words = model.synthesizer(embedded[start:stop], visual, times_s)
        parts.append(torch.cat((embedded[:start], words.to(embedded.dtype), embedded[stop:])))
        positions.append(len(prefix) + torch.arange(len(ids), device=device))
        owner.append(torch.full((len(ids),), index, device=device))
        label = torch.full((len(ids),), IGNORE, device=device)
        if question.text_loss:
            label[len(tail) - 1 : -1] = ids[len(tail) :]
            first.append(offset + len(tail) - 1)
        labels.append(label)
        for place, token in enumerate(answer):
            if token == codec.seg_id:
                seg_at.append(offset + len(tail) + place)
                seg_group.append(index)
        offset += len(ids)
    inputs = torch.cat(parts)[None]
    position = torch.cat(positions)
    who = torch.cat(owner)
    length = len(position)
    order = torch.arange(length, device=device)
    visible = (order[:, None] >= order[None, :]) & ((who[None, :] == -1) | (who[:, None] == who[None, :]))
    cache = language.new_cache()
    states = language(inputs, positions=position[None], visible=visible[None, None], cache=cache)
    at = torch.tensor(seg_at, device=device, dtype=torch.long)
    groups = torch.tensor(seg_group, device=device, dtype=torch.long)
    video = states[0, at]
    label = torch.cat(labels)
    weights = torch.ones(length, device=device)
    weights[torch.tensor(first, dtype=torch.long, device=device)] = _FIRST_WORD
    count, frames = len(seg_at), len(times_s)
    if count == 0 or not every_frame:
        empty = states.new_zeros(0, frames, states.shape[-1])
        return Packed(states, label, weights, video, empty, groups)
    queries = model.frame_inputs(video, times_s, frm).flatten(0, 1)[None]
    after = position[at][:, None] + 1 + torch.arange(frames, device=device)
    past = visible[at].repeat_interleave(frames, dim=0)  # the prompt and the answer up to the [SEG]
    own = torch.arange(count, device=device).repeat_interleave(frames)
    seen = torch.cat((past, own[:, None] == own[None, :]), dim=1)
    states_f = language(queries, positions=after.reshape(1, -1), visible=seen[None, None], cache=cache)
    return Packed(states, label, weights, video, states_f[0].unflatten(0, (count, frames)), groups)
