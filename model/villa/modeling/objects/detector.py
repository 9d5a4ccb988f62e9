"""The things on a frame, whatever they are: where they stand, and what is known of each.

A heat map has a peak in the middle of everything that stands out (arXiv 1904.07850), and each peak knows the sides of
its box. What lies in the box is read off the pyramid and off the colours of the picture itself. No word has a part in
it: what is found is told to the language model, and words point at it.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from villa.config import EncoderConfig, ProposalConfig
from villa.interface import finish
from villa.modeling.layers import Mlp, point_positions, sinusoid
from villa.modeling.objects.box_sampling import sampled
from villa.modeling.objects.closer_look import AT_ONCE, SEEN, CloserLook
from villa.modeling.objects.recogniser import CHANNELS, NAMES, Recognised
from villa.modeling.segmenters.light.encoder import BACKBONE_CHANNELS, LightPyramid

_LIKELY = 0.0  # logit from which something that was found keeps what is its own
_FINE_POINTS, _COLOUR_POINTS = 3, 4  # in each direction of a box
_SIZE_CODE = 32
_NOTHING = -24.0  # logit of a place that holds no thing
_SMALLEST = 1 / 128  # of the image: no side of a box is shorter
_RARE = -4.0  # log-odds at the start: few cells are the middle of something
_LEVEL_POINTS = (2, 2, 1)  # in each direction of a box, of the recogniser's levels
_LEAST_RECOGNISED = 0.25  # probability from which what is recognised is a thing
_MOST_RECOGNISED = 64  # cells of a frame that are looked at, best first
_SAME_BOX = 0.55  # IoU from which two boxes are of one thing
# Of what is recognised beside the model's own look, which is of this size: without it, steps of training that suit the
# one hardly move the other.
_LOUDNESS = 16.0
_WORTH_A_LOOK = -2.0  # logit of something that was found, from which it is looked at more closely
_FEW = 8  # things that are looked at closely between two frames of a stream: 50 ms of a core
_OWN_BOX = 0.5  # IoU from which what a cell says is about a box


@dataclass(frozen=True)
class Proposals:
    """Up to N things on each of T frames, likeliest first; less likely ones are noise."""

    features: Tensor  # [T, N, F] what each looks like
    boxes: Tensor  # [T, N, 4] middle x, y, width, height as shares of the image
    scores: Tensor  # [T, N] logit of "here is something"
    least: float = -2.0  # score from which something is a thing at all

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def seen(self) -> Tensor:
        """Which are things at all [T, N]."""
        return self.scores > self.least

    @property
    def doubt(self) -> Tensor:
        """How little each counts beside the others [T * N]: log-probability that it is something."""
        return F.logsigmoid(self.scores.float()).clamp(min=-12.0).flatten()


@dataclass(frozen=True)
class Maps:
    """What each stride-8 cell of T frames says."""

    heat: Tensor  # [T, H/8, W/8] logit of "the middle of something is here"
    sides: Tensor  # [T, H/8, W/8, 4] from the middle of the cell to left, top, right, bottom, as shares of the image
    # [T, H/8, W/8, 4] the same of whatever lies in the cell, not only of what has its middle there; where it is known
    reach: Tensor | None = None


@dataclass(frozen=True)
class Heard:
    """What a network that learns nothing says of K of N things."""

    said: Tensor  # [K, ...]
    of: Tensor  # [N] bool, K of them true


@dataclass(frozen=True)
class Sight:
    """What there is to see of N things, before it becomes what is known of them."""

    look: Tensor  # [N, F] the model's own
    told: Heard  # by the recogniser
    close: Heard  # by the closer look


class ObjectDetector(nn.Module):
    """Features of T frames -> things."""

    def __init__(self, encoder: EncoderConfig, config: ProposalConfig) -> None:
        super().__init__()
        channels = encoder.channels
        self.config = config
        self.count = config.count
        self.spread = nn.Conv2d(channels, channels, 3, padding=1)
        self.heat = nn.Conv2d(channels, 1, 1)
        self.sides = nn.Conv2d(channels, 4, 1)
        nn.init.constant_(self.heat.bias, _RARE)  # type: ignore[arg-type]
        nn.init.constant_(self.sides.bias, -2.5)  # type: ignore[arg-type]  # a side is a twelfth of the image
        if config.points:
            self.reach = nn.Conv2d(channels, 4, 1)
            nn.init.constant_(self.reach.bias, -2.5)  # type: ignore[arg-type]
        seen = channels * (_FINE_POINTS**2 + 1) + BACKBONE_CHANNELS + 3 * _COLOUR_POINTS**2
        self.describe = Mlp(seen, 2 * config.width, config.width)
        self.norm = nn.LayerNorm(config.width)
        if config.recognised_frames:
            told = CHANNELS * sum(points**2 for points in _LEVEL_POINTS) + len(NAMES)
            self.recognition = _silent(Mlp(told, 2 * config.width, config.width))
        if config.closer_frames:
            self.closer = CloserLook()
            self.closer_norm = nn.LayerNorm(SEEN)
            self.close_up = _silent(Mlp(SEEN, 2 * config.width, config.width))
        self.prompt_look = nn.Linear(config.width, channels)
        self.prompt_place = nn.Linear(channels, channels)
        self.prompt_size = nn.Linear(2 * _SIZE_CODE, channels)
        self.prompt_mix = Mlp(channels, 2 * channels, channels)
        self.prompt_norm = nn.LayerNorm(channels)

    def forward(
        self, pyramid: LightPyramid, recognised: Recognised | None = None, closely: Sequence[int] | None = None
    ) -> Proposals:
        """Features of T frames, and what was recognised on some -> the `count` likeliest things on each.

        `closely` are the recognised frames whose things are looked at one by one; None: the newest `closer_frames`.
        """
        return finish(self.in_parts(pyramid, recognised, closely, AT_ONCE))

    def in_parts(
        self,
        pyramid: LightPyramid,
        recognised: Recognised | None = None,
        closely: Sequence[int] | None = None,
        at_once: int = _FEW,
    ) -> Generator[None, None, Proposals]:
        """The same with room for other work behind each part; `at_once` things are looked at closely in one."""
        maps = self.maps(pyramid)
        rows, columns = maps.heat.shape[1:]
        heat = maps.heat.float()
        # Of neighbours that say the same, the loudest speaks.
        peak = F.max_pool2d(heat[:, None], 3, 1, 1)[:, 0] == heat
        heat = torch.where(peak, heat, heat - 20.0).flatten(1)
        count = min(self.count, heat.shape[1])
        scores, cells = heat.topk(count, dim=1)
        sides = maps.sides.flatten(1, 2).gather(1, cells[..., None].expand(-1, -1, 4))
        middle = torch.stack(((cells % columns + 0.5) / columns, (cells // columns + 0.5) / rows), dim=-1)
        boxes = box_of(middle, sides.float())
        if recognised is not None:
            scores, boxes = _with_recognised(scores, boxes, recognised)
        frame = torch.arange(len(cells), device=cells.device).repeat_interleave(count)
        worth = scores.flatten() >= _WORTH_A_LOOK
        yield
        sight = yield from self._sight(pyramid, boxes.flatten(0, 1), frame, recognised, closely, worth, at_once)
        features = self.described(sight)
        features = features.reshape(len(cells), count, -1)
        return self._padded(Proposals(features, boxes, scores, self.config.least_score))

    def maps(self, pyramid: LightPyramid) -> Maps:
        """Features of T frames -> what each cell says."""
        x = F.relu(self.spread(pyramid.s8))
        reach = _lengths(self.reach(x)) if self.config.points else None
        return Maps(self.heat(x)[:, 0], _lengths(self.sides(x)), reach)

    def at(self, maps: Maps, points: Tensor, frame: Tensor) -> Tensor:
        """Points [N, 2], as shares of the image, on frames [N] -> the box [N, 4] of what lies at each.

        Raises:
            ValueError: the model was not trained for points.
        """
        if maps.reach is None:
            raise ValueError("the model knows nothing of points: wanted one whose language.things.points is true")
        rows, columns = maps.reach.shape[1:3]
        column = (points[..., 0] * columns).long().clamp(0, columns - 1)
        row = (points[..., 1] * rows).long().clamp(0, rows - 1)
        middle = torch.stack(((column + 0.5) / columns, (row + 0.5) / rows), dim=-1)
        return box_of(middle, maps.reach[frame, row, column].float())

    def read(
        self,
        pyramid: LightPyramid,
        boxes: Tensor,
        frame: Tensor,
        recognised: Recognised | None = None,
        closely: Sequence[int] | None = None,
        worth: Tensor | None = None,
    ) -> Tensor:
        """What lies in boxes [N, 4] of frames [N] -> [N, F].

        `closely` as in `forward`; `worth` [N]: which are looked at closely there, None: all.
        """
        return self.described(self.sight(pyramid, boxes, frame, recognised, closely, worth))

    def sight(
        self,
        pyramid: LightPyramid,
        boxes: Tensor,
        frame: Tensor,
        recognised: Recognised | None = None,
        closely: Sequence[int] | None = None,
        worth: Tensor | None = None,
    ) -> Sight:
        """The same before anything is made of what others say of it."""
        return finish(self._sight(pyramid, boxes, frame, recognised, closely, worth, AT_ONCE))

    def _sight(
        self,
        pyramid: LightPyramid,
        boxes: Tensor,
        frame: Tensor,
        recognised: Recognised | None,
        closely: Sequence[int] | None,
        worth: Tensor | None,
        at_once: int,
    ) -> Generator[None, None, Sight]:
        parts = [
            sampled(pyramid.s8, boxes, frame, _FINE_POINTS),
            sampled(pyramid.s16, boxes, frame, 1),
            sampled(pyramid.s32, boxes, frame, 1),
            sampled(pyramid.rgb, boxes, frame, _COLOUR_POINTS),
        ]
        look = self.describe(torch.cat(parts, dim=1))
        if recognised is None:
            nothing = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
            return Sight(look, Heard(look[:0], nothing), Heard(look[:0], nothing))
        row = _row_of(recognised, frame)
        told = Heard(self._told(boxes[row >= 0], row[row >= 0], recognised), row >= 0)
        if not self.config.closer_frames:
            return Sight(look, told, Heard(look[:0], torch.zeros_like(told.of)))
        if closely is None:
            closely = recognised.frames[-self.config.closer_frames :].tolist()
        near = (row >= 0) & torch.isin(frame, torch.tensor(closely, device=frame.device, dtype=frame.dtype))
        if worth is not None:
            near = near & worth
        yield
        looking = self.closer.in_parts(recognised.images, recognised.stretch, boxes[near], row[near], at_once)
        seen = yield from looking
        return Sight(look, told, Heard(seen, near))

    def described(self, sight: Sight) -> Tensor:
        """What is seen of N things -> what is known of each [N, F]."""
        look = sight.look
        if len(sight.told.said):
            look = look + _LOUDNESS * _at_rows(sight.told.of, self.recognition(sight.told.said)).to(look.dtype)
        if len(sight.close.said):
            close = self.close_up(self.closer_norm(sight.close.said))
            look = look + _LOUDNESS * _at_rows(sight.close.of, close).to(look.dtype)
        seen: Tensor = self.norm(look)
        return seen

    def _told(self, boxes: Tensor, row: Tensor, recognised: Recognised) -> Tensor:
        """What the recogniser says of boxes [N, 4] on rows [N] of what it looked at -> [N, ...]."""
        levels = [sampled(x, boxes, row, points) for x, points in zip(recognised.levels, _LEVEL_POINTS, strict=True)]
        return torch.cat((*levels, names_in(boxes, row, recognised).to(levels[0].dtype)), dim=1)

    def prompts(self, features: Tensor, boxes: Tensor) -> Tensor:
        """What things look like [..., F] and where they are [..., 4] -> prompts of the mask decoder [..., C]."""
        # The middle in the code that the decoder's image carries, so that the two can meet.
        place = self.prompt_place(point_positions(boxes[..., :2], self.prompt_place.in_features).to(features.dtype))
        size = self.prompt_size(size_code(boxes).to(features.dtype))
        x = self.prompt_look(features) + place + size
        prompt: Tensor = self.prompt_norm(x + self.prompt_mix(x))
        return prompt

    def _padded(self, proposals: Proposals) -> Proposals:
        """The same with `count` things on each frame, where the picture has fewer cells than that."""
        lacking = self.count - proposals.boxes.shape[1]
        if lacking <= 0:
            return proposals
        return Proposals(
            F.pad(proposals.features, (0, 0, 0, lacking)),
            F.pad(proposals.boxes, (0, 0, 0, lacking)),
            F.pad(proposals.scores, (0, lacking), value=_NOTHING),
            proposals.least,
        )


def _lengths(said: Tensor) -> Tensor:
    """What cells say [T, 4, h, w], in logarithms -> lengths of sides [T, h, w, 4]."""
    return said.permute(0, 2, 3, 1).clamp(-5.0, 0.5).exp()


def box_of(middle: Tensor, sides: Tensor) -> Tensor:
    """Middles of cells [..., 2] and sides [..., 4] -> boxes [..., 4] inside the image."""
    low = (middle - sides[..., :2]).clamp(0, 1)
    high = (middle + sides[..., 2:]).clamp(0, 1)
    return torch.cat(((low + high) / 2, (high - low).clamp(min=_SMALLEST)), dim=-1)


def overlap_of(a: Tensor, b: Tensor) -> Tensor:
    """IoU of boxes [..., 4] that broadcast."""
    low = torch.maximum(a[..., :2] - a[..., 2:] / 2, b[..., :2] - b[..., 2:] / 2)
    high = torch.minimum(a[..., :2] + a[..., 2:] / 2, b[..., :2] + b[..., 2:] / 2)
    both = (high - low).clamp(min=0).prod(dim=-1)
    whole = a[..., 2:].prod(dim=-1) + b[..., 2:].prod(dim=-1) - both
    return both / whole.clamp(min=1e-6)


def names_in(boxes: Tensor, row: Tensor, recognised: Recognised) -> Tensor:
    """How likely each name is of what lies in boxes [N, 4] of recognised frames [N] -> [N, 80], roots of probabilities.

    The best of the cells whose boxes are about the same; the root lets what is doubtful be told from what is not seen.
    """
    out = recognised.scores.new_zeros(len(boxes), recognised.scores.shape[-1])
    for index in range(len(recognised.frames)):
        mine = (row == index).nonzero().flatten()
        about = overlap_of(boxes[mine][:, None].float(), recognised.boxes[index][None]) >= _OWN_BOX
        for one, cells in zip(mine.tolist(), about, strict=True):
            if bool(cells.any()):
                out[one] = recognised.scores[index][cells].amax(dim=0)
    return out.sqrt()


def _silent(layers: Mlp) -> Mlp:
    """The same, adding nothing yet: a finder that could do without goes on as it was."""
    for parameter in layers.layers[-1].parameters():
        nn.init.zeros_(parameter)
    return layers


def _at_rows(known: Tensor, told: Tensor) -> Tensor:
    """What is told [K, F] of the K rows that are `known` [N] -> [N, F], 0 of the others."""
    return told.new_zeros(len(known), told.shape[-1]).masked_scatter(known[:, None], told)


def _row_of(recognised: Recognised, frame: Tensor) -> Tensor:
    """Frames [N] -> the row of each in what is recognised, -1 for none."""
    same = frame[:, None] == recognised.frames[None]
    return torch.where(same.any(dim=1), same.int().argmax(dim=1), -1)


def _with_recognised(scores: Tensor, boxes: Tensor, recognised: Recognised) -> tuple[Tensor, Tensor]:
    """Logits [T, N] and boxes [T, N, 4] of what was found, and what was recognised -> the N likeliest of both."""
    scores, boxes = scores.clone(), boxes.clone()
    for index, frame in enumerate(recognised.frames.tolist()):
        chance, cells = recognised.scores[index].amax(dim=-1).topk(min(_MOST_RECOGNISED, recognised.scores.shape[1]))
        sure = chance >= _LEAST_RECOGNISED
        both = torch.cat((scores[frame].float(), chance[sure].logit(eps=1e-4)))
        places = torch.cat((boxes[frame], recognised.boxes[index][cells[sure]]))
        order = both.argsort(descending=True, stable=True)
        same = overlap_of(places[order][:, None], places[order][None]) > _SAME_BOX
        kept: list[int] = []
        twice: list[int] = []
        for at in range(len(order)):
            (twice if bool(same[at, kept].any()) else kept).append(at)
        both[order[twice]] = _NOTHING
        chosen = order[[*kept, *twice]][: scores.shape[1]]
        scores[frame], boxes[frame] = both[chosen], places[chosen]
    return scores, boxes


def cells_within(boxes: Tensor, rows: int, columns: int) -> Tensor:
    """Boxes [..., 4] -> the cells of a grid whose middles lie in each [..., rows, columns] bool."""
    x = (torch.arange(columns, device=boxes.device) + 0.5) / columns
    y = (torch.arange(rows, device=boxes.device) + 0.5) / rows
    across = (x - boxes[..., 0, None]).abs() <= boxes[..., 2, None] / 2
    down = (y - boxes[..., 1, None]).abs() <= boxes[..., 3, None] / 2
    return down[..., None] & across[..., None, :]


def size_code(boxes: Tensor) -> Tensor:
    """Boxes [..., 4] -> code of their width and height [..., 64]."""
    return sinusoid(boxes[..., 2:], _SIZE_CODE, 2.0, 0.05).flatten(-2)


def reached(proposals: Proposals, frame: int, logits: Tensor) -> Tensor:
    """Indices of the things on a frame whose boxes masks drawn there, logits [K, h, w], reach into."""
    inside = (logits > 0).any(dim=0)
    meets = (cells_within(proposals.boxes[frame].float(), *inside.shape) & inside).flatten(1).any(dim=1)
    return (meets & (proposals.scores[frame] > _LIKELY)).nonzero().flatten()
