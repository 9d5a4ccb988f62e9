"""How well photos are drawn, found and named that a run does not learn from: whole pictures, true boxes."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from villa.data.coco_folder import CocoFolder, Picture
from villa.data.photo_views import painted
from villa.modeling.language.causal import CausalLLM
from villa.modeling.objects.recogniser import stretch_of
from villa.modeling.segmenters.light.encoder import LightPyramid
from villa.modeling.villa import ViLLaModel
from villa.training.auxiliary_heads import AuxiliaryHeads
from villa.training.batch import Outlined, outlined
from villa.training.detection_loss import Places, matched
from villa.training.glances import glanced
from villa.training.losses import soft_iou
from villa.training.photos import kind_index
from villa.training.precision import mixed

_SMALLEST = 0.003  # of the picture: what is smaller is hardly drawn in a mask's cells
_MOST = 24  # things of a picture


@dataclass(frozen=True)
class _Truth:
    outlined: Outlined
    kinds: Tensor  # [O] index into KINDS, UNCLEAR where it is none of them


class PhotoValidation:
    """The first `count` pictures of each source of a split."""

    def __init__(self, data: CocoFolder, count: int) -> None:
        self.data = data
        of_source: dict[str, list[Picture]] = defaultdict(list)
        for picture in data.pictures:
            of_source[picture.source].append(picture)
        self.pictures = [picture for pictures in of_source.values() for picture in pictures[:count]]

    @torch.inference_mode()
    def __call__(self, model: ViLLaModel, head: AuxiliaryHeads) -> dict[str, float]:
        """Shares of 1 by source.

        "drawn" is the IoU of what is drawn in true boxes, "found" that of all things, "named" that of the things in
        true boxes whose kind is read off right, of those that have one. Without a source: means over the sources.
        """
        language = model.language
        assert isinstance(language, CausalLLM)
        drawn: dict[str, list[float]] = defaultdict(list)
        found: dict[str, list[float]] = defaultdict(list)
        named: dict[str, list[float]] = defaultdict(list)
        for picture in self.pictures:
            image = self.data.rgb(picture)
            with mixed("cpu"):
                pyramid = model.encode(image)
                assert isinstance(pyramid, LightPyramid)
                truth = self._truth(picture, model.segmenter.mask_grid)
                if truth is None:
                    continue
                masks, places = torch.from_numpy(truth.outlined.masks)[:, 0], _places(truth.outlined)
                stretch = stretch_of((picture.width, picture.height), language.eyes)
                recognised = glanced(language, model.segmenter.preprocess([image]), stretch=stretch)
                hit = matched(language.finder(pyramid, recognised), places)[0]
                found[picture.source] += [float(bool((hit == row).any())) for row in range(len(masks))]
                boxes, frame = places.boxes[:, 0], torch.zeros(len(masks), dtype=torch.long)
                looks = language.finder.read(pyramid, boxes, frame, recognised)
                logits = model.segmenter.decode(language.finder.prompts(looks, boxes), pyramid, frame).logits
                drawn[picture.source] += soft_iou(logits, masks).tolist()
                known = truth.kinds >= 0
                right = head.kinds(looks[known].float()).argmax(dim=-1) == truth.kinds[known]
                named[picture.source] += right.float().tolist()
        out: dict[str, float] = {}
        for name, values in (("drawn", drawn), ("found", found), ("named", named)):
            shares = {source: float(np.mean(own)) for source, own in values.items() if own}
            out |= {f"{name}, {source}": share for source, share in shares.items()}
            if shares:
                out[name] = float(np.mean(list(shares.values())))
        return out

    def _truth(self, picture: Picture, grid: tuple[int, int]) -> _Truth | None:
        all_of_it = [(self.data.mask(picture, thing), thing.name) for thing in picture.instances if not thing.crowd]
        large = [(mask, name) for mask, name in all_of_it if mask.mean() >= _SMALLEST]
        things = sorted(large, key=lambda one: -int(one[0].sum()))[:_MOST]
        labels = painted([mask for mask, _ in things], (picture.height, picture.width))
        identities = [number for number in range(1, len(things) + 1) if (labels == number).mean() >= _SMALLEST]
        if not identities:
            return None
        kinds = [kind_index(things[number - 1][1]) for number in identities]
        return _Truth(outlined([labels], identities, (grid[1], grid[0])), torch.tensor(kinds))


def _places(truth: Outlined) -> Places:
    return Places(torch.from_numpy(truth.boxes), torch.from_numpy(truth.middles))
