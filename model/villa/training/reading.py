"""How training teaches the language side to read pictures: visual tokens in the space of words, and words that look.

From answers alone a small language model first learns to do without the picture: the likeliest colour, the likeliest
object. Two plain tasks end that. A visual token is to be nearest to the words for what its cell shows; and a noun that
the synthesizer let look at the video is to hold the colour of what it names, or "no" where there is none. Words that
name nothing hold "no" always: what they find would be noise among the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from villa.data.phrases import PLAIN_WORDS
from villa.data.vocabulary import COLOURS, KIND, KINDS
from villa.mllm.causal import CausalLLM
from villa.model import ViLLa
from villa.tokenizer import TextCodec

_SHARPNESS = 3.0  # of products with unit word vectors
_SMALLEST_SHARE = 0.06  # of a cell that must show something
_FEWEST_CELLS = 2  # of stride 8, for a kind to count as seen
_MIXED_SHARE = 0.25  # of a kind's cells in a second colour: no one answer
_NONE_WEIGHT = 0.3  # most kinds are absent from any one scene


@dataclass(frozen=True)
class _Vocabulary:
    kinds: tuple[tuple[int, ...], ...]  # token ids of each kind's first noun
    colours: tuple[tuple[int, ...], ...]  # of each colour, and of "no"
    nouns: tuple[tuple[int, ...], ...]  # of all nouns, kind by kind, and of words that name nothing
    of_kind: tuple[int, ...]  # each noun's kind, -1 for words that name nothing


def _vocabulary(codec: TextCodec) -> _Vocabulary:
    def ids(word: str) -> tuple[int, ...]:
        return tuple(codec.request_ids(word))

    nouns = [(noun, index) for index, kind in enumerate(KINDS) for noun in KIND[kind].nouns]
    nouns += [(word, -1) for word in PLAIN_WORDS]
    return _Vocabulary(
        tuple(map(ids, KINDS)),
        tuple(map(ids, (*COLOURS, "no"))),
        tuple(ids(noun) for noun, _ in nouns),
        tuple(index for _, index in nouns),
    )


class Reading:
    """The two tasks on one clip."""

    def __init__(self, model: ViLLa) -> None:
        self.model = model
        if not isinstance(model.language, CausalLLM):
            raise TypeError("reading is taught to a language model that reads the segmenter's own features")
        self.projector = model.language.projector
        self.words = _vocabulary(model.codec)

    def __call__(self, visual: Tensor, times_s: Tensor, kinds: Tensor, colours: Tensor) -> dict[str, Tensor]:
        """Visual tokens [T, N_v, D], times [T], dense labels [T, H/8, W/8] -> losses "tokens" and "lookup"."""
        with torch.no_grad():
            named = self._directions(self.words.kinds)
            coloured = self._directions(self.words.colours)
        shape = self.projector.shape
        tokens = _cells(visual, named, _shares(kinds, len(KINDS), shape))
        tokens = tokens + _cells(visual, coloured[:-1], _shares(colours, len(COLOURS), shape))
        return {"tokens": tokens, "lookup": self._lookup(visual, times_s, coloured, kinds, colours)}

    def _directions(self, words: tuple[tuple[int, ...], ...]) -> Tensor:
        """Unit vectors [n, D] in which the embeddings of words differ from each other."""
        device = self.model.device
        each = [self.model.language.embed(torch.tensor(ids, device=device)).mean(dim=0) for ids in words]
        vectors = torch.stack(each).float()
        return F.normalize(vectors - vectors.mean(dim=0), dim=-1)

    def _lookup(self, visual: Tensor, times_s: Tensor, coloured: Tensor, kinds: Tensor, colours: Tensor) -> Tensor:
        nouns = self.words.nouns
        flat = torch.tensor([i for ids in nouns for i in ids], device=visual.device)
        lengths = torch.tensor([len(ids) for ids in nouns], device=visual.device)
        with torch.no_grad():
            embedded = self.model.language.embed(flat)
        seen = self.model.synthesizer.look(embedded, visual, times_s)
        logits = _SHARPNESS * seen.float() @ coloured.T
        weight = torch.ones(len(coloured), device=visual.device)
        weight[-1] = _NONE_WEIGHT
        # Words that name nothing find nothing: index -1 is the "no" appended here.
        wanted = F.pad(_colour_of_kinds(kinds, colours), (0, 1), value=len(COLOURS))
        of_noun = wanted[torch.tensor(self.words.of_kind, device=visual.device)]
        # Every piece of a noun: an answer may be read off any of them.
        of_piece = of_noun.repeat_interleave(lengths)
        return F.cross_entropy(logits, of_piece, weight=weight, ignore_index=-100)


def _shares(labels: Tensor, count: int, shape: tuple[int, int]) -> Tensor:
    """Labels [T, h, w], index + 1 -> share of each class in each cell of a coarser grid [T, rows * columns, count]."""
    one_hot = F.one_hot(labels.clamp(min=0), count + 1)[..., 1:].permute(0, 3, 1, 2)
    return F.adaptive_avg_pool2d(one_hot.float(), shape).flatten(2).transpose(1, 2)


def _cells(visual: Tensor, directions: Tensor, shares: Tensor) -> Tensor:
    """Cross-entropy of what cells show against what their tokens are nearest to; empty cells say nothing."""
    filled = shares.sum(dim=-1)
    chosen = filled > _SMALLEST_SHARE
    if not bool(chosen.any()):
        return visual.sum() * 0.0
    wanted = shares[chosen] / filled[chosen][:, None]
    return F.cross_entropy(_SHARPNESS * visual[chosen].float() @ directions.T, wanted)


def _colour_of_kinds(kinds: Tensor, colours: Tensor) -> Tensor:
    """Dense labels -> for each kind its colour's index, `len(COLOURS)` when it is not seen, -100 when unclear."""
    seen = (kinds > 0) & (colours > 0)
    width = len(COLOURS)
    pairs = (kinds[seen] - 1) * width + colours[seen] - 1
    counts = torch.bincount(pairs, minlength=len(KINDS) * width).reshape(len(KINDS), width)
    total = counts.sum(dim=1)
    most, which = counts.max(dim=1)
    answer = torch.where(most >= (1 - _MIXED_SHARE) * total, which, -100)
    answer = torch.where(total < _FEWEST_CELLS, -100, answer)
    return torch.where(total == 0, width, answer)
