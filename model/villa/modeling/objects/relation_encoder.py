"""From the things of each frame to a scene: which is which over time, how each moved, and how they stand to each other.

Words such as "behind", "the largest" or "what fell" compare things. Comparing is done here, once for all requests, with
plain geometry as a bias of attention; the language model reads the result.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from villa.config import ProposalConfig
from villa.modeling.layers import TIME_LONGEST_S, TIME_SHORTEST_S, Attention, Mlp, point_positions, sinusoid
from villa.modeling.objects.detector import Proposals, size_code

_LINK_CHANNELS = 32
_TIME_CODE = 32
_PLACE_CODE = 64
_PAIR = 10  # numbers that say how one thing stands to another
_MOVES = 10.0  # a tenth of the image is one
_SPEEDS = 10.0  # a tenth of the image in a second is one
_SHORTEST_STEP_S = 0.02  # between two frames: stamps that stand still shall not make a speed without end
_SURE = 0.5  # a thing that was in view at least so surely tells of the camera


@dataclass(frozen=True)
class EncodedScene:
    """N things on each of T frames, compared with each other."""

    proposals: Proposals
    states: Tensor  # [T, N, W]
    prompts: Tensor  # [T, N, C]: what makes the mask decoder draw each
    pairs: Tensor  # [T * N, T * N, _PAIR]
    links: Tensor  # [T * N, T * N] logit of "the same thing"


class ComparingLayer(nn.Module):
    """Things look at each other, and at words where there are any; how two stand to each other biases the attention."""

    def __init__(self, width: int, heads: int, words: int | None = None) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.among = Attention(width, heads)
        self.geometry = Mlp(_PAIR, 32, heads)
        if words is not None:
            self.norm2 = nn.LayerNorm(width)
            self.to_words = Attention(width, heads, words)
        self.norm3 = nn.LayerNorm(width)
        self.mix = Mlp(width, 2 * width, width)

    def forward(
        self,
        x: Tensor,
        pairs: Tensor,
        doubt: Tensor,
        words: Tensor | None = None,
        spoken: Tensor | None = None,
    ) -> Tensor:
        """Things [K, S, W], pairs [S, S, _PAIR], how little each counts [S] (a logit, 0 or less), words [K, L, D]."""
        bias = self.geometry(pairs).permute(2, 0, 1) + doubt[None, None]
        y = self.norm1(x)
        x = x + self.among(y, y, y, bias=bias)
        if words is not None:
            x = x + self.to_words(self.norm2(x), words, words, None if spoken is None else spoken[:, None, None])
        return x + self.mix(self.norm3(x))  # type: ignore[no-any-return]


class RelationEncoder(nn.Module):
    """Things of T frames and their stamps -> a scene."""

    def __init__(self, config: ProposalConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.look = nn.Linear(width, width)
        self.place = nn.Linear(_PLACE_CODE, width)
        self.size = nn.Linear(2 * _TIME_CODE, width)
        self.time = nn.Linear(_TIME_CODE, width)
        self.chance = nn.Linear(1, width)
        self.link = nn.Linear(width, _LINK_CHANNELS)
        self.link_sharpness = nn.Parameter(torch.tensor([8.0, 6.0]))  # of looks, of places
        self.link_least = nn.Parameter(torch.tensor(4.0))  # what is less alike is nothing known
        self.moves = Mlp(7 + 2 * _TIME_CODE, width, width)
        if config.speeds:
            self.speeds = Mlp(7 + 3 * _TIME_CODE, width, width)
            for parameter in self.speeds.layers[-1].parameters():
                nn.init.zeros_(parameter)  # a reader that could do without goes on as it was
        self.layers = nn.ModuleList(ComparingLayer(width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, proposals: Proposals, prompts: Tensor, times_s: Tensor) -> EncodedScene:
        """`times_s` [T]: seconds before the newest frame."""
        frames, count = proposals.scores.shape
        features, boxes = proposals.features, proposals.boxes
        links = self._links(proposals, times_s)
        where = or_none(links.reshape(frames, count, frames, count)).softmax(dim=-1)[..., :-1]
        x = self.look(looks_together(features, where))
        x = x + self.place(point_positions(boxes[..., :2], _PLACE_CODE).to(features.dtype))
        x = x + self.size(size_code(boxes).to(features.dtype))
        code = sinusoid(times_s, _TIME_CODE, TIME_LONGEST_S, TIME_SHORTEST_S).to(features.dtype)
        x = x + self.time(code)[:, None] + self.chance(proposals.scores.sigmoid()[..., None].to(features.dtype))
        there = torch.einsum("tnsm,smb->tnsb", where, boxes.float())
        sure = where.sum(dim=-1, keepdim=True)
        since = _since(times_s, count)
        x = x + self._moved(proposals, there, sure, since, code)
        if self.config.speeds and frames > 1:
            x = x + self._sped(proposals, there, sure, times_s, since, code)
        pairs = _pairs(boxes, links, times_s).to(features.dtype)
        doubt = proposals.doubt.to(features.dtype)
        x = x.flatten(0, 1)[None]
        for layer in self.layers:
            x = layer(x, pairs, doubt)
        states = self.norm(x)[0].unflatten(0, (frames, count))
        return EncodedScene(proposals, states, prompts, pairs, links)

    def _links(self, proposals: Proposals, times_s: Tensor) -> Tensor:
        """How likely two are one thing [T * N, T * N]: they look alike, and the one is near where the other was.

        0 is as likely as that none of a frame is this thing.
        """
        seen = F.normalize(self.link(proposals.features).float(), dim=-1).flatten(0, 1)
        middle = proposals.boxes[..., :2].float().flatten(0, 1)
        apart = torch.cdist(middle, middle)
        time = times_s.float().repeat_interleave(proposals.scores.shape[1])
        since = (time[:, None] - time[None]).abs()
        sharp = F.softplus(self.link_sharpness.float())
        return sharp[0] * (seen @ seen.T) - sharp[1] * apart / (0.3 + since) - self.link_least.float()

    def _moved(self, proposals: Proposals, there: Tensor, sure: Tensor, since: Tensor, code: Tensor) -> Tensor:
        """Where each was on every frame, if in view, seen from where it is [T, N, W]; also against all others.

        `there` [T, N, T, 4] is the box of each on another frame as often as it is there, `sure` [T, N, T, 1] how likely
        it is there.
        """
        frames, count = proposals.scores.shape
        change = (there - sure * proposals.boxes.float()[:, :, None]) * _MOVES
        ways, counts = change[..., :2], (sure > _SURE) & (proposals.scores > 0)[:, :, None, None]
        change = torch.cat((change, ways - sure * way_of_all(ways, counts)), dim=-1)
        when = code[None, None].expand(frames, count, -1, -1)
        parts = torch.cat((change.clamp(-8, 8), sure, when.float(), since), dim=-1)
        return self.moves(parts.to(code.dtype)).mean(dim=2)  # type: ignore[no-any-return]

    def _sped(
        self, proposals: Proposals, there: Tensor, sure: Tensor, times_s: Tensor, since: Tensor, code: Tensor
    ) -> Tensor:
        """How fast each was from one frame to the next, in the picture and against all others, and when [T, N, W].

        When something began to move, fell or was put down again cannot be read off single places: where it went later
        is in all of them.
        """
        frames, count = proposals.scores.shape
        speed = speeds_of(there, sure, proposals.scores > 0, times_s)
        when = torch.cat((code[:-1], code[1:]), dim=-1)[None, None].expand(frames, count, -1, -1)
        parts = torch.cat((speed.clamp(-8, 8), when.float(), since[:, :, 1:]), dim=-1)
        return self.speeds(parts.to(code.dtype)).mean(dim=2)  # type: ignore[no-any-return]


def _since(times_s: Tensor, count: int) -> Tensor:
    """Code of how long before or after the frame of each thing another frame is [T, N, T, C]."""
    since = sinusoid(times_s[:, None] - times_s[None], _TIME_CODE, TIME_LONGEST_S, TIME_SHORTEST_S)
    return since[:, None].expand(-1, count, -1, -1)


def looks_together(features: Tensor, where: Tensor) -> Tensor:
    """What things look like [T, N, F] -> the mean of it over the frames that show them, each as sure as its link.

    `where` [T, N, T, N]: how likely each thing of a frame is one of another frame. What a thing is is told better from
    several looks than from one.
    """
    frames, count = features.shape[:2]
    own = torch.eye(frames, device=where.device, dtype=torch.bool)[:, None, :, None]
    itself = torch.eye(count, device=where.device, dtype=where.dtype)[None, :, None]
    weights = torch.where(own, itself, where).flatten(2)
    seen = weights.flatten(0, 1) @ features.flatten(0, 1).to(weights.dtype)
    mean = seen / weights.sum(dim=2).reshape(-1, 1)
    return mean.reshape(frames, count, -1).to(features.dtype)


def speeds_of(there: Tensor, sure: Tensor, seen: Tensor, times_s: Tensor) -> Tensor:
    """How fast each was from one frame to the next [T, N, T - 1, 7]: its box, its place against all others, 1 if known.

    `there` [T, N, T, 4] is the box of each on another frame as often as it is there, `sure` [T, N, T, 1] how likely it
    is there, `seen` [T, N] which of them are things at all. Tenths of the image in a second.
    """
    place = there / sure.clamp(min=_SURE)
    known = (sure[:, :, 1:] > _SURE) & (sure[:, :, :-1] > _SURE)
    took_s = (times_s[:-1] - times_s[1:]).float().clamp(min=_SHORTEST_STEP_S)
    speed = (place[:, :, 1:] - place[:, :, :-1]) / took_s[:, None] * _SPEEDS * known
    ways = speed[..., :2]
    against = (ways - way_of_all(ways, known & seen[:, :, None, None])) * known
    return torch.cat((speed, against, known.float()), dim=-1)


def way_of_all(ways: Tensor, counts: Tensor) -> Tensor:
    """Ways [T, N, T, 2] of things and which of them count [T, N, T, 1] -> what most have in common [T, 1, T, 2].

    The median: most things stand still, and move in the image as the camera does. 0 where nothing counts.
    """
    known = ways.detach().masked_fill(~counts, torch.nan)
    return known.nanmedian(dim=1, keepdim=True).values.nan_to_num(0.0)


def or_none(links: Tensor) -> Tensor:
    """Logits [..., N] of links with the things of one frame -> [..., N + 1], the last one of "none of these"."""
    return F.pad(links, (0, 1))


def _pairs(boxes: Tensor, links: Tensor, times_s: Tensor) -> Tensor:
    """Boxes [T, N, 4] -> how each stands to each other one [T * N, T * N, _PAIR]."""
    flat = boxes.float().flatten(0, 1)
    count = boxes.shape[1]
    time = times_s.float().repeat_interleave(count)
    apart = flat[:, None, :2] - flat[None, :, :2]
    size = flat[:, 2:].log()
    larger = size[:, None] - size[None]
    foot = flat[:, 1] + flat[:, 3] / 2
    since = time[:, None] - time[None]
    return torch.stack(
        (
            *(4 * apart).unbind(-1),
            4 * apart.norm(dim=-1),
            *larger.unbind(-1),
            4 * (foot[:, None] - foot[None]),
            since,
            (since.abs() < 1e-3).float(),
            links.sigmoid(),
            torch.eye(len(flat), device=flat.device),
        ),
        dim=-1,
    )
