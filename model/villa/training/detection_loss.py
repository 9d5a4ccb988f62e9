"""The losses of finding and drawing things, before any word: heat, boxes, kinds, colours, masks, propagation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from villa.modeling.objects.detector import Maps, ObjectDetector, Proposals, Sight, box_of, cells_within, overlap_of
from villa.modeling.objects.recogniser import Recognised
from villa.modeling.segmenters.interface import Masks
from villa.modeling.segmenters.light.encoder import LightPyramid
from villa.modeling.segmenters.light.propagator import MemoryFrame
from villa.modeling.segmenters.light.segmenter import LightSegmenter, of_share
from villa.training.auxiliary_heads import AuxiliaryHeads
from villa.training.batch import Batch
from villa.training.losses import dice_loss, edge_entropy, mask_losses, owner_entropy, soft_iou
from villa.training.sight_memory import SightMemory

# Weights of the sum.
HEAT, SIDES, TEACHER, MASK_ENTROPY, MASK_DICE, PRESENT, IOU = 1.0, 1.0, 0.5, 4.0, 1.0, 0.5, 0.1
REACH = 0.5
OUTSIDE = 0.2  # of heat where there may be something that is not known
EDGE_ENTROPY, OWN = 1.0, 0.5  # where outlines alone are taught
_MOST_DRAWN = 10  # objects of a clip; finding learns from all
_ROLLOUT_OBJECTS, _OUTLINED_OBJECTS = 3, 6
_POINTS = 256  # of a clip, of each of which it is learnt what lies there
_JITTER = 0.08  # of boxes that things are read from
_LEAST_OVERLAP = 0.4  # IoU of boxes, for a found thing to be an object
_IGNORE = -100
_NOWHERE = -20.0  # logit of a mask that is not drawn


class Located(Protocol):
    """Where O objects are on T frames: what a `Batch` knows, and `Places`."""

    @property
    def boxes(self) -> Tensor:
        """[O, T, 4]."""

    @property
    def middles(self) -> Tensor:
        """[O, T, 2]."""

    @property
    def visible(self) -> Tensor:
        """[O, T] bool."""


@dataclass(frozen=True)
class Places:
    """Where objects are, as shares of the image."""

    boxes: Tensor  # [O, T, 4] middle x, y, width, height; 0 when unseen
    middles: Tensor  # [O, T, 2]

    @property
    def visible(self) -> Tensor:
        """[O, T] bool."""
        return self.boxes[..., 2] > 0

    @classmethod
    def of_masks(cls, masks: Tensor) -> Places:
        """Soft masks [O, T, h, w] -> where their inside is, to a cell."""
        rows, columns = masks.shape[-2:]
        inside = (masks > 0.5).float()
        weight = inside.sum(dim=(2, 3)).clamp(min=1)
        ends, mean = [], []
        for size, axis in ((columns, 2), (rows, 3)):
            at = torch.arange(size, device=masks.device, dtype=torch.float32)
            filled = inside.amax(dim=axis)
            low = torch.where(filled > 0, at, float(size)).amin(dim=-1) / size
            high = torch.where(filled > 0, at + 1, 0.0).amax(dim=-1) / size
            ends.append(((low + high) / 2, high - low))
            mean.append((inside.sum(dim=axis) * (at + 0.5)).sum(dim=-1) / weight / size)
        (x, width), (y, height) = ends
        seen = inside.sum(dim=(2, 3)) > 0
        boxes = torch.stack((x, y, width, height), dim=-1)
        return cls(torch.where(seen[..., None], boxes, 0.0), torch.stack(mean, dim=-1))


def overlaps(proposals: Proposals, places: Located) -> Tensor:
    """IoU of each object with each thing [O, N, T]; 0 where the object is not seen."""
    overlap = overlap_of(proposals.boxes.transpose(0, 1)[None], places.boxes[:, None])
    return overlap.masked_fill(~places.visible[:, None], 0.0)


def matched(proposals: Proposals, places: Located) -> Tensor:
    """Which object each found thing is [T, N]; -1: none. No object is found twice on a frame.

    What is no thing at all is none, however well it would fit: nobody looks at it.
    """
    overlap = overlaps(proposals, places).masked_fill(~proposals.seen.T, 0.0)
    value, which = overlap.max(dim=0)
    best = overlap == overlap.amax(dim=1, keepdim=True)
    own = best.gather(0, which[None])[0]
    return torch.where(own & (value >= _LEAST_OVERLAP), which, -1).T


def beside(proposals: Proposals, places: Located, which: Tensor) -> Tensor:
    """Which object each thing lies on that another one stands for [T, N]; -1: none. `which` is what is `matched`."""
    value, lies_on = overlaps(proposals, places).max(dim=0)
    return torch.where((value >= _LEAST_OVERLAP).T & proposals.seen & (which < 0), lies_on.T, -1)


def found_at(proposals: Proposals, places: Located) -> Tensor:
    """The thing that each of K objects is on each frame [K, T]; -1: not seen, or not found."""
    value, best = overlaps(proposals, places).max(dim=1)
    return torch.where(places.visible & (value >= _LEAST_OVERLAP), best, -1)


def point_loss(scores: Tensor, proposals: Proposals, places: Located, there: Tensor) -> Tensor:
    """Scores [K, T, N + 1] against the thing that each of K objects is, or none where it is not seen.

    `there` [K]: the object exists at all. Frames on which it is seen but was not found do not count.
    """
    at = found_at(proposals, places)  # [K, T]
    seen = there[:, None] & places.visible
    wanted = torch.where(seen & (at >= 0), at, torch.where(seen, _IGNORE, scores.shape[-1] - 1))
    if not bool((wanted != _IGNORE).any()):
        return scores.sum() * 0.0
    return F.cross_entropy(scores.float().flatten(0, 1), wanted.flatten(), ignore_index=_IGNORE)


def heat_loss(maps: Maps, batch: Located, *, outside: float = 1.0) -> Tensor:
    """Focal loss of the heat map against round peaks at the objects' middles (arXiv 1904.07850).

    `outside`: how much counts what is in none of their boxes; less than 1 where there may be other objects.
    """
    rows, columns = maps.heat.shape[1:]
    device = maps.heat.device
    x = (torch.arange(columns, device=device) + 0.5) / columns
    y = (torch.arange(rows, device=device) + 0.5) / rows
    reach = (batch.boxes[..., 2:] / 6).clamp(min=0.6 / columns)
    apart = ((x - batch.middles[..., 0, None]) / reach[..., 0, None])[..., None, :] ** 2
    apart = apart + ((y - batch.middles[..., 1, None]) / reach[..., 1, None])[..., None] ** 2
    peaks = torch.where(batch.visible[..., None, None], (-apart / 2).exp(), 0.0)
    wanted = peaks.amax(dim=0)
    # The cell that holds a middle is its peak, wherever in the cell it lies.
    at = _cells(batch, rows, columns)
    frame = torch.arange(wanted.shape[0], device=device).expand(len(batch.boxes), -1)
    hit = torch.zeros_like(wanted, dtype=torch.bool)
    hit[frame[batch.visible], at[batch.visible] // columns, at[batch.visible] % columns] = True
    heat = maps.heat.float()
    chance = heat.sigmoid()
    positive = ((1 - chance) ** 2 * F.softplus(-heat))[hit].sum()
    each = chance**2 * (1 - wanted) ** 4 * F.softplus(heat)
    if outside != 1.0:
        each = torch.where(cells_within(batch.boxes, rows, columns).any(dim=0), each, outside * each)
    negative = each[~hit].sum()
    return (positive + negative) / max(1, int(hit.sum()))


def sides_loss(maps: Maps, batch: Located) -> Tensor:
    """How far the boxes are off that the cells tell in and around an object's middle: ratio of sides, and 1 - IoU."""
    rows, columns = maps.heat.shape[1:]
    which, frame = batch.visible.nonzero(as_tuple=True)
    cells = _cells(batch, rows, columns)[which, frame]
    step = torch.tensor([-1, 0, 1], device=cells.device)
    row = (cells // columns)[:, None] + step.repeat_interleave(3)
    column = (cells % columns)[:, None] + step.repeat(3)
    box = batch.boxes[which, frame][:, None].expand(-1, 9, -1)
    middle = torch.stack(((column + 0.5) / columns, (row + 0.5) / rows), dim=-1)
    wanted = torch.cat((middle - box[..., :2] + box[..., 2:] / 2, box[..., :2] + box[..., 2:] / 2 - middle), dim=-1)
    within = wanted.amin(dim=-1) > 0
    within[:, 4] = True  # the cell of the middle itself
    inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns) & within
    if not bool(inside.any()):
        return maps.sides.sum() * 0.0
    told = maps.sides[frame[:, None].expand(-1, 9)[inside], row[inside], column[inside]].float()
    ratio = (told.log() - wanted[inside].clamp(min=0.007).log()).abs().mean()
    overlap = overlap_of(box_of(middle[inside], told), box[inside])
    return ratio + (1 - overlap).mean()


def reach_loss(maps: Maps, batch: Batch) -> Tensor:
    """How far the boxes are off that cells anywhere inside of objects tell: ratio of sides, and 1 - IoU."""
    assert maps.reach is not None
    shares = F.avg_pool2d(batch.masks.flatten(0, 1)[:, None], 2)
    inside = shares.reshape(*batch.visible.shape, *shares.shape[2:]) > 0.5
    at = (inside & batch.visible[..., None, None]).nonzero()
    if not len(at):
        return maps.reach.sum() * 0.0
    which, frame, row, column = at[torch.randperm(len(at), device=at.device)[:_POINTS]].T
    rows, columns = maps.reach.shape[1:3]
    middle = torch.stack(((column + 0.5) / columns, (row + 0.5) / rows), dim=-1)
    box = batch.boxes[which, frame]
    low, high = box[:, :2] - box[:, 2:] / 2, box[:, :2] + box[:, 2:] / 2
    wanted = torch.cat((middle - low, high - middle), dim=-1)
    told = maps.reach[frame, row, column].float()
    ratio = (told.log() - wanted.clamp(min=0.007).log()).abs().mean()
    return ratio + (1 - overlap_of(box_of(middle, told), box)).mean()


def _cells(batch: Located, rows: int, columns: int) -> Tensor:
    """The cell that holds each object's middle [O, T]."""
    column = (batch.middles[..., 0] * columns).long().clamp(0, columns - 1)
    row = (batch.middles[..., 1] * rows).long().clamp(0, rows - 1)
    return row * columns + column


class MaskTerms:
    """Losses of masks, drawn on prompts and carried on.

    To find a thing and to draw it at all is taught with what is inside weighing more; with `outlines`, for a decoder
    that can do that, an edge that is too far out costs what one too far in does, and a cell belongs to one thing only.
    """

    def __init__(self, segmenter: LightSegmenter, *, outlines: bool = False) -> None:
        self.segmenter = segmenter
        self.outlines = outlines

    def drawn(self, masks: Masks, target: Tensor, prefix: str = "") -> dict[str, Tensor]:
        """Masks of N (object, frame) pairs, targets [N, h, w]."""
        visible = target.sum(dim=(1, 2)) > 0.5
        out = {
            f"{prefix}present": PRESENT * F.binary_cross_entropy_with_logits(masks.present.float(), visible.float()),
            f"{prefix}iou": IOU * (masks.iou.float() - soft_iou(masks.logits, target)).abs().mean(),
        }
        if bool(visible.any()):
            logits, wanted = masks.logits[visible], target[visible]
            if self.outlines:
                weight, entropy, dice = EDGE_ENTROPY, edge_entropy(logits, wanted), dice_loss(logits, wanted)
            else:
                weight, (entropy, dice) = MASK_ENTROPY, mask_losses(logits, wanted)
            out[f"{prefix}bce"] = weight * entropy.mean()
            out[f"{prefix}dice"] = MASK_DICE * dice.mean()
        return out

    def owned(self, logits: Tensor, target: Tensor, prefix: str = "") -> dict[str, Tensor]:
        """Does each cell know whose it is? Logits and targets [K, T, h, w] of the same K objects."""
        if not self.outlines:
            return {}
        return {f"{prefix}own": OWN * owner_entropy(logits, target)}

    def carried(
        self, target: Tensor, times_s: Tensor, pyramid: LightPyramid, prompts: Tensor, masks: Masks
    ) -> dict[str, Tensor]:
        """Seed on one end of the clip and carry on to the other, in either direction of time.

        Targets [K, T, h, w], prompts [K, T, C], masks of all K * T pairs.
        """
        count, frames = target.shape[:2]
        if frames < 2:
            return {}
        order = list(range(frames))
        if torch.rand(()) < 0.4:
            order.reverse()
        seed = order[0]
        candidates = torch.nonzero(target[:, seed].sum(dim=(1, 2)) > 1.0).flatten()
        if len(candidates) == 0:
            return {}
        most = _OUTLINED_OBJECTS if self.outlines else _ROLLOUT_OBJECTS
        chosen = candidates[torch.randperm(len(candidates), device=candidates.device)[:most]]
        logits = masks.logits.reshape(count, frames, *masks.logits.shape[1:])
        pointers = masks.token.reshape(count, frames, -1)
        truth = of_share(target[chosen, seed])
        own = torch.rand((), device=target.device) < 0.5
        first = logits[chosen, seed].detach() if own else truth
        asked = prompts[chosen, seed]
        memories = [self._losses_of_frame(pyramid, seed, first, pointers[chosen, seed], asked, times_s)]
        got: list[Masks] = []
        for at in order[1:]:
            index = torch.full((len(chosen),), at, device=target.device)
            got.append(self.segmenter.propagate(memories, pyramid, index, times_s[at]))
            limit = self.segmenter.config.propagator.memories
            memories = [memories[0], *memories[1:][-(limit - 2) :]] if limit > 1 else memories[:1]
            memories.append(self._losses_of_frame(pyramid, at, got[-1].logits.detach(), got[-1].token, asked, times_s))
        wanted = torch.stack([target[chosen, at] for at in order[1:]])
        each = torch.stack([masks.logits for masks in got])
        drawn = self.drawn(Masks.joined(got), wanted.flatten(0, 1), "r_")
        return drawn | self.owned(each.transpose(0, 1), wanted.transpose(0, 1), "r_")

    def _losses_of_frame(
        self, pyramid: LightPyramid, at: int, logits: Tensor, pointer: Tensor, asked: Tensor, times_s: Tensor
    ) -> MemoryFrame:
        image = pyramid.tokens[at : at + 1].expand(len(logits), -1, -1)
        return self.segmenter.remember(image, logits, pointer, asked, times_s[at])


class DetectionLoss:
    """Batch without questions -> named losses of finder, mask decoder and propagator."""

    def __init__(self, segmenter: LightSegmenter, finder: ObjectDetector, heads: AuxiliaryHeads) -> None:
        self.finder = finder
        self.heads = heads
        self.masks = MaskTerms(segmenter)
        self.outlines = MaskTerms(segmenter, outlines=True)
        self.segmenter = segmenter

    def look(
        self,
        batch: Batch,
        pyramid: LightPyramid,
        recognised: Recognised | None,
        closely: Sequence[int],
        memory: SightMemory,
    ) -> None:
        """Keep what there is to see of each object on each frame."""
        seen = batch.visible.flatten()
        boxes = self._read_from(self.finder.maps(pyramid), batch).flatten(0, 1)[seen]
        frame = torch.arange(batch.visible.shape[1], device=boxes.device).repeat(len(batch.visible))[seen]
        memory.add(self.finder.sight(pyramid, boxes, frame, recognised, closely), *self._known(batch))

    def naming(self, recalled: tuple[Sight, Tensor, Tensor]) -> dict[str, Tensor]:
        """The losses of kinds and colours alone, of what was kept."""
        sight, kinds, colours = recalled
        told = self.heads(self.finder.described(sight), kinds, colours)
        return {name: TEACHER * value for name, value in told.items()}

    def _known(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Kind and colour of each object on each frame on which it is visible."""
        seen = batch.visible.flatten()
        kinds, colours = (x[:, None].expand_as(batch.visible).flatten()[seen] for x in (batch.kinds, batch.colours))
        return kinds, colours

    def drawing(self, batch: Batch, pyramid: LightPyramid) -> dict[str, Tensor]:
        """The losses of masks alone, on things as a finder that does not learn reads them."""
        if not bool(batch.visible.any()):
            return {"bce": pyramid.s4.sum() * 0.0}
        batch = _some(batch)
        with torch.no_grad():
            boxes, features = self._read(self.finder.maps(pyramid), batch, pyramid)
            prompts = self.finder.prompts(features, boxes)
        return self._drawn(batch, pyramid, prompts, self.outlines)

    def __call__(
        self,
        batch: Batch,
        pyramid: LightPyramid,
        recognised: Recognised | None = None,
        closely: Sequence[int] | None = None,
    ) -> dict[str, Tensor]:
        """Each already weighted; what is recognised, and on which frames things are looked at closely."""
        maps = self.finder.maps(pyramid)
        outside = 1.0 if batch.all_known else OUTSIDE
        parts = {"heat": HEAT * heat_loss(maps, batch, outside=outside), "sides": SIDES * sides_loss(maps, batch)}
        if maps.reach is not None:
            parts["reach"] = REACH * reach_loss(maps, batch)
        if not bool(batch.visible.any()):
            return parts
        batch = _some(batch)
        boxes, features = self._read(maps, batch, pyramid, recognised, closely)
        told = self.heads(features[batch.visible.flatten()], *self._known(batch))
        parts.update({name: TEACHER * value for name, value in told.items()})
        prompts = self.finder.prompts(features, boxes)
        return parts | self._drawn(batch, pyramid, prompts, self.masks)

    def _drawn(self, batch: Batch, pyramid: LightPyramid, prompts: Tensor, terms: MaskTerms) -> dict[str, Tensor]:
        """Masks on each frame of its own, and carried from one to the others; prompts [O * T, C]."""
        count, frames = batch.visible.shape
        frame = torch.arange(frames, device=prompts.device).repeat(count)
        masks = self.segmenter.decode(prompts, pyramid, frame)
        target, seen = batch.masks.flatten(0, 1), batch.visible.flatten()
        parts = terms.drawn(masks[seen], target[seen])
        drawn = torch.where(seen[:, None, None], masks.logits, _NOWHERE)
        parts |= terms.owned(drawn.reshape(batch.masks.shape), batch.masks)
        prompts = prompts.reshape(count, frames, -1)
        return parts | terms.carried(batch.masks, batch.times_s, pyramid, prompts, masks)

    def _read(
        self,
        maps: Maps,
        batch: Batch,
        pyramid: LightPyramid,
        recognised: Recognised | None = None,
        closely: Sequence[int] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Boxes [O * T, 4] of the objects, and what is read in them [O * T, F]."""
        boxes = self._read_from(maps, batch)
        frame = torch.arange(boxes.shape[1], device=boxes.device).repeat(len(boxes))
        boxes = boxes.flatten(0, 1)
        return boxes, self.finder.read(pyramid, boxes, frame, recognised, closely, batch.visible.flatten())

    def _read_from(self, maps: Maps, batch: Batch) -> Tensor:
        """Boxes to read objects from [O, T, 4]: half of them true with some noise, half as the cells tell.

        Of those half as a point inside tells, where the finder knows of points.
        """
        rows, columns = maps.heat.shape[1:]
        cells = _cells(batch, rows, columns)
        frame = torch.arange(len(maps.heat), device=cells.device)
        sides = maps.sides[frame, cells // columns, cells % columns].detach().float()
        middle = torch.stack(((cells % columns + 0.5) / columns, (cells // columns + 0.5) / rows), dim=-1)
        noise = 1 + _JITTER * torch.randn(batch.boxes.shape, device=cells.device)
        shift = _JITTER * torch.randn(batch.middles.shape, device=cells.device) * batch.boxes[..., 2:]
        true = torch.cat((batch.boxes[..., :2] + shift, batch.boxes[..., 2:] * noise[..., 2:]), dim=-1)
        chance = torch.rand(batch.visible.shape, device=cells.device)
        boxes = torch.where((chance < 0.5)[..., None], box_of(middle, sides), true)
        if maps.reach is not None:
            boxes = torch.where((chance < 0.25)[..., None], self.finder.at(maps, _inside(batch), frame).detach(), boxes)
        return torch.where(batch.visible[..., None], boxes, 0.5)


def _inside(batch: Batch) -> Tensor:
    """A random point inside of each object on each frame [O, T, 2]; anything where it is not seen."""
    rows, columns = batch.masks.shape[2:]
    weights = (batch.masks > 0.5).flatten(2).float()
    weights = torch.where(weights.sum(dim=-1, keepdim=True) > 0, weights, 1.0)
    cells = torch.multinomial(weights.flatten(0, 1), 1).reshape(batch.visible.shape)
    return torch.stack(((cells % columns + 0.5) / columns, (cells // columns + 0.5) / rows), dim=-1)


def _some(batch: Batch) -> Batch:
    """The same with at most `_MOST_DRAWN` of its objects, each seen on some frame: drawing costs by the object."""
    if len(batch.kinds) <= _MOST_DRAWN:
        return batch
    seen = batch.visible.any(dim=1).nonzero().flatten()
    return batch.only(seen[torch.randperm(len(seen), device=seen.device)[:_MOST_DRAWN]])
