"""The referring head: what a request is about is found before a word of the answer is written.

A small reader takes in the whole request, both ways, without the picture; the things of a scene then look at its words
and at each other, and each decides by itself whether it is meant. The language model is shown what is meant once more,
in order, and answering is a matter of saying what that is: one token for one thing, none where there is none.

Reading and comparing here cost a small part of what the language model costs, so that training can ask many more
requests about a clip: comparing ("the largest", "left of", "what fell") needs them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from villa.config import ProposalConfig
from villa.modeling.layers import sinusoid
from villa.modeling.objects.relation_encoder import ComparingLayer, EncodedScene, or_none
from villa.modeling.objects.seg_selector import Words

Sighting = tuple[int, int]  # frame and thing

MOST_TARGETS = 24  # things that are shown again: as many as are looked at on a frame
_SAME = 0.0  # logit of a link from which two sightings are one thing
_NEVER = -12.0  # logit of what was not asked
_CERTAIN = 6.0  # logit of what is meant, where it was seen
RARE = 3.0  # few things are meant: in training each weighs so much more
_LEAST = math.log(RARE)  # logit from which a thing is meant more likely than not
# What a thing may be to a request: meant, the other end of a relation ("left of the mug"), one of those among which
# was chosen ("the largest box"). Only the first is used; the others are taught to make it easier.
TARGET, ANCHOR, CANDIDATE = range(3)
ROLES = 3
_LONGEST, _SHORTEST = 200.0, 6.0  # tokens, of the code of places
_KEYS = 12  # ways in which a word may fit a thing
_PIECES = (1, 2, 3)  # tokens that a noun may have
_BEST = 2  # places in a request that count for each: a colour and a noun
_LOUDNESS = 4.0  # of cosines beside products


class RequestReader(nn.Module):
    """Token embeddings [R, L, D] of requests, with what was said before -> what their words mean together [R, L, W].

    With a `request_depth` it also reads what the first layers of the language model make of each token behind those
    before it: they have met far more words, and words in company, than requests about tables will ever show.
    """

    def __init__(self, embedding: int, config: ProposalConfig) -> None:
        super().__init__()
        width = config.width
        self.norm = nn.LayerNorm(embedding)
        self.enter = nn.Linear(embedding, width)
        if config.request_depth:
            self.norm_in_context = nn.LayerNorm(embedding)
            self.enter_in_context = nn.Linear(embedding, width, bias=False)
            nn.init.zeros_(self.enter_in_context.weight)  # a reader that could do without goes on as it was
        layer = nn.TransformerEncoderLayer(
            width, config.heads, 4 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, config.request_layers, enable_nested_tensor=False)

    def forward(self, words: Words, in_context: Tensor | None) -> Words:
        """The same words, read; `in_context` [R, L, D] are states of the language model, None without a depth."""
        x = self.enter(self.norm(words.states))
        if in_context is not None:
            x = x + self.enter_in_context(self.norm_in_context(in_context))
        place = torch.arange(x.shape[1], device=x.device, dtype=torch.float32)
        x = x + sinusoid(place, x.shape[-1], _LONGEST, _SHORTEST).to(x.dtype)
        return Words(self.layers(x, src_key_padding_mask=~words.spoken), words.spoken)


class Matching(nn.Module):
    """How well the words of R requests name M things, before anything is compared -> [R, M, W].

    Of each way to fit, the best place in the request counts (late interaction, arXiv 2004.12832). Attention would have
    to find out what goes with what before it learnt anything else. Most of the ways are products of what is known of a
    thing and of a word as it was read; the others are how near its visual token lies to the words themselves, as tokens
    are taught to (`villa.training.token_alignment_loss`).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.of_thing = nn.Linear(width, width)
        self.of_word = nn.Linear(width, width)
        self.out = nn.Linear(_KEYS + _BEST * len(_PIECES), width)

    def forward(self, states: Tensor, tokens: Tensor, words: Words, read: Words) -> Tensor:
        """States [M, W] and visual tokens [M, D] of things; words [R, L, D], and the same when read [R, L, W]."""
        proposals = self.of_thing(states).unflatten(-1, (_KEYS, -1))
        said = self.of_word(read.states).unflatten(-1, (_KEYS, -1))
        fits = torch.einsum("mkd,rlkd->rmkl", proposals, said) * proposals.shape[-1] ** -0.5
        ways = [fits.masked_fill(~read.spoken[:, None, None], torch.finfo(fits.dtype).min).amax(dim=-1)]
        look = F.normalize(tokens.float(), dim=-1)
        for pieces in _PIECES:
            # Room for a noun of so many pieces, and for the best places, however short the request is.
            room = F.pad(words.states.float(), (0, 0, 0, pieces - 1 + _BEST))
            whole = F.avg_pool1d(room.transpose(1, 2), pieces, stride=1).transpose(1, 2)
            near = torch.einsum("md,rld->rml", look, F.normalize(whole, dim=-1))
            inside = F.pad(words.spoken, (0, pieces - 1 + _BEST))[:, pieces - 1 :]
            near = near.masked_fill(~inside[:, None], -1.0)
            ways.append(_LOUDNESS * near.topk(_BEST, dim=-1).values.to(fits.dtype))
        matched: Tensor = self.out(torch.cat(ways, dim=-1))
        return matched


class ReferringHead(nn.Module):
    """Embedded tokens of R requests, a scene and its visual tokens -> what each thing is to each request."""

    def __init__(self, embedding: int, config: ProposalConfig) -> None:
        super().__init__()
        width = config.width
        self.reader = RequestReader(embedding, config)
        self.matching = Matching(width)
        self.layers = nn.ModuleList(ComparingLayer(width, config.heads, width) for _ in range(config.focus_layers))
        self.norm = nn.LayerNorm(width)
        self.score = nn.Linear(width, ROLES)

    def forward(self, words: Words, scene: EncodedScene, tokens: Tensor, in_context: Tensor | None) -> Tensor:
        """Logits [R, T, N, 3] of MEANT, BESIDE, AMONG; only sightings that `once_each` keeps are compared.

        `tokens` [T, N, D] are what the language model is told of each thing, `in_context` [R, L, D] what its first
        layers make of the words; None where the reader has no depth.
        """
        frames, count = scene.proposals.scores.shape
        kept = once_each(scene).flatten().nonzero().flatten()
        said = self.reader(words, in_context)
        states = scene.states.flatten(0, 1)[kept]
        x = states + self.matching(states, tokens.flatten(0, 1)[kept], words, said)
        doubt = scene.proposals.doubt[kept].to(x.dtype)
        pairs = scene.pairs[kept][:, kept]
        for layer in self.layers:
            x = layer(x, pairs, doubt, said.states, said.spoken)
        scores: Tensor = self.score(self.norm(x)) + doubt[:, None]
        every = scores.new_full((len(scores), frames * count, ROLES), _NEVER)
        return every.index_copy(1, kept, scores).reshape(len(scores), frames, count, ROLES)


def once_each(scene: EncodedScene) -> Tensor:
    """One sighting of each thing [T, N] bool: on the newest frame that shows it.

    What is on a newer frame already, by its looks and place, is not compared again: what it did before is in its state.
    """
    frames, count = scene.proposals.scores.shape
    seen = scene.proposals.seen
    same = (scene.links > _SAME).reshape(frames, count, frames, count) & seen
    newer = seen.new_ones(frames, frames).triu(1)[:, None, :, None]
    return seen & ~(same & newer).flatten(2).any(dim=2)


def from_left(sightings: list[Sighting], scene: EncodedScene) -> list[Sighting]:
    """In the order of their places, left to right."""
    middles = scene.proposals.boxes[..., 0].detach()
    return sorted(sightings, key=lambda one: float(middles[one]))


def tokens_of(picked: list[Sighting], tokens: Tensor) -> Tensor:
    """Visual tokens [T, N_v, D], things first -> those of the things picked [F, D]."""
    return torch.stack([tokens[at] for at in picked]) if picked else tokens.new_zeros(0, tokens.shape[-1])


def chosen(logits: Tensor, scene: EncodedScene, most: int = MOST_TARGETS) -> list[Sighting]:
    """Logits [T, N] of one request -> (frame, thing) of each that is meant, from left to right.

    The `most` likeliest of those that are meant more likely than not; where none is, but that something is meant is
    likelier than that nothing is, the likeliest one.
    """
    picked: list[Sighting] = [(frame, thing) for frame, thing in (logits > _LEAST).nonzero().tolist()]
    if not picked and logits.numel() and float(F.logsigmoid(_LEAST - logits.float()).sum()) < math.log(0.5):
        frame, thing = divmod(int(logits.argmax()), logits.shape[1])
        picked = [(frame, thing)]
    likeliest = sorted(picked, key=lambda one: -float(logits[one]))[:most]
    return from_left(likeliest, scene)


def in_order(picked: Sequence[Sighting], count: int) -> list[Sighting | None]:
    """What each of `count` `[SEG]` stands for: they name what is meant from left to right, and none beyond that."""
    return [picked[index] if index < len(picked) else None for index in range(count)]


def marks(stands_for: Sequence[Sighting | None], scene: EncodedScene) -> Tensor:
    """What each of K `[SEG]` stands for -> logits [K, T, N + 1] of where that is on each frame; 0 is "not there".

    The thing itself on its own frame; on the others what it is linked to.
    """
    frames, count = scene.proposals.scores.shape
    links = scene.links.detach()
    out = links.new_full((len(stands_for), frames, count), -_CERTAIN)
    for index, sighting in enumerate(stands_for):
        if sighting is not None:
            frame, thing = sighting
            out[index] = links[frame * count + thing].reshape(frames, count)
            out[index, frame] = -_CERTAIN
            out[index, frame, thing] = _CERTAIN
    return or_none(out)
