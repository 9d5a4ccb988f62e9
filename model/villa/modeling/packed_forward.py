"""Several requests about one clip in one forward of the language model.

The video comes first in the prompt and does not depend on the request, so its tokens are read once; each request sees
the video and itself, never another request. That makes a training step on eight requests cost little more than one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from villa.modeling.language.interface import Inputs, Visual, next_position
from villa.modeling.language.tokenizer import Prompt
from villa.modeling.objects.seg_selector import Words
from villa.modeling.villa import ViLLaModel

IGNORE = -100
# The first word of an answer says whether the thing is there at all.
_FIRST_WORD = 3.0


@dataclass(frozen=True)
class Question:
    """One request with the answer to teach; `text_loss` False trains only what the [SEG] points at."""

    prompt: Prompt
    answer: tuple[int, ...]
    text_loss: bool = True
    kind: str = ""  # of request


@dataclass(frozen=True)
class Packed:
    """States of a packed forward."""

    states: Tensor  # [L, D]
    labels: Tensor  # [L]: the token that follows each position, or IGNORE
    weights: Tensor  # [L]: how much each label counts
    video: Tensor  # h_v [K, D], the states of the [SEG] tokens in order
    frames: Tensor  # h_f [K, T, D]
    groups: Tensor  # [K]: the question each [SEG] belongs to
    words: tuple[Tensor, ...]  # [L_r, D] of each question: what was read of it before its answer

    def words_of_objects(self) -> Words:
        """The words that each [SEG] answers, for the pointer."""
        return Words.of([self.words[group] for group in self.groups.tolist()])


def forward(
    model: ViLLaModel,
    visual: Visual,
    times_s: Tensor,
    questions: Sequence[Question],
    *,
    focus: Sequence[Tensor] | None = None,
    every_frame: bool = True,
    recompute: bool = False,
) -> Packed:
    """What is seen of T frames, seconds before the newest [T], questions about the one video -> states.

    `focus` are the tokens [F, D] that each question's answer follows: what the request is about, shown once more.
    Without `every_frame` the `[FRM]` tokens are left out and `frames` is empty. `recompute`: no cache is kept; the
    `[FRM]` tokens are read behind the whole sequence once more, which gradient checkpointing needs.
    """
    language, codec = model.language, model.codec
    device = visual.tokens.device
    video = language.video_inputs(questions[0].prompt, visual)
    after = next_position(video.positions)
    spans = [[*q.prompt.tail, *q.answer] for q in questions]
    # One look-up for all: each one's gradient is as large as the whole embedding.
    flat = language.ids([*(i for span in spans for i in span), codec.frm_id])
    looked_up = language.embed(flat)
    frm = looked_up[-1]
    parts, positions = [video.embeds], [video.positions]
    owner = [torch.full((len(video),), -1, device=device)]
    labels = [torch.full((len(video),), IGNORE, device=device)]
    seg_at: list[int] = []
    seg_group: list[int] = []
    first: list[int] = []
    asked: list[slice] = []
    offset = len(video)
    embedded_spans = torch.split(looked_up[:-1], [len(span) for span in spans])
    for index, (question, span, embedded) in enumerate(zip(questions, spans, embedded_spans, strict=True)):
        tail, answer = question.prompt.tail, question.answer
        start, stop = question.prompt.request
        words = model.enriched(embedded[start:stop], visual, times_s).to(embedded.dtype)
        shown = embedded[:0] if focus is None else focus[index].to(embedded.dtype)
        begin, size = len(tail) + len(shown), len(span) + len(shown)
        parts.append(torch.cat((embedded[:start], words, embedded[stop : len(tail)], shown, embedded[len(tail) :])))
        positions.append(language.text_positions(after, size))
        owner.append(torch.full((size,), index, device=device))
        label = torch.full((size,), IGNORE, device=device)
        if question.text_loss:
            label[begin - 1 : -1] = language.ids(answer)
            first.append(offset + begin - 1)
        labels.append(label)
        for place, token in enumerate(answer):
            if token == codec.seg_id:
                seg_at.append(offset + begin + place)
                seg_group.append(index)
        asked.append(slice(offset, offset + len(tail)))
        offset += size
    position = torch.cat(positions, dim=1)
    who = torch.cat(owner)
    length = position.shape[1]
    order = torch.arange(length, device=device)
    visible = (order[:, None] >= order[None, :]) & ((who[None, :] == -1) | (who[:, None] == who[None, :]))
    cache = None if recompute else language.new_cache()
    seen = None if video.visual is None else F.pad(video.visual, (0, length - len(video)))
    sequence = Inputs(torch.cat(parts), position, seen, video.deep)
    states = language.read(sequence, cache=cache, visible=visible)
    at, groups = language.ids(seg_at), language.ids(seg_group)
    label = torch.cat(labels)
    weights = torch.ones(length, device=device)
    weights[language.ids(first)] = _FIRST_WORD
    objects, frames = len(seg_at), len(times_s)
    if objects == 0 or not every_frame:
        empty = states.new_zeros(0, frames, states.shape[-1])
        return Packed(states, label, weights, states[at], empty, groups, tuple(states[part] for part in asked))
    queries = model.frame_inputs(states[at], times_s, frm).flatten(0, 1)
    steps = 1 + torch.arange(frames, device=device)
    behind = (position[:, at][:, :, None] + steps).flatten(1)
    past = visible[at].repeat_interleave(frames, dim=0)  # the prompt and the answer up to the [SEG]
    own = torch.arange(objects, device=device).repeat_interleave(frames)
    sees = torch.cat((past, own[:, None] == own[None, :]), dim=1)
    if cache is None:
        again = Inputs(
            torch.cat((sequence.embeds, queries.to(sequence.embeds.dtype))),
            torch.cat((position, behind), dim=1),
            None if seen is None else F.pad(seen, (0, len(queries))),
            video.deep,
        )
        before = F.pad(visible, (0, len(queries)))
        states_f = language.read(again, visible=torch.cat((before, sees)))[length:]
    else:
        states_f = language.read(Inputs(queries, behind), cache=cache, visible=sees)
    said = tuple(states[part] for part in asked)
    return Packed(states, label, weights, states[at], states_f.reshape(objects, frames, -1), groups, said)
