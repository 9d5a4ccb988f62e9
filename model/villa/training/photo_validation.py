"""How well photos are drawn and found that a run does not learn from: whole pictures, true boxes."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import torch
from torch import Tensor

from villa.data.coco_folder import CocoFolder, Picture
from villa.data.photo_views import painted
from villa.modeling.language.causal import CausalLLM
from villa.modeling.objects.detector import ObjectDetector
from villa.modeling.segmenters.light.encoder import LightPyramid
from villa.modeling.villa import ViLLaModel
from villa.training.batch import Outlined, outlined
from villa.training.detection_loss import Places, matched
from villa.training.glances import glanced
from villa.training.losses import soft_iou
from villa.training.precision import mixed

_SMALLEST = 0.003  # of the picture: what is smaller is hardly drawn in a mask's cells
_MOST = 24  # things of a picture


class PhotoValidation:
    """The first `count` pictures of each source of a split."""

    def __init__(self, data: CocoFolder, count: int) -> None:
        self.data = data
        of_source: dict[str, list[Picture]] = defaultdict(list)
        for picture in data.pictures:
            of_source[picture.source].append(picture)
        self.pictures = [picture for pictures in of_source.values() for picture in pictures[:count]]

    @torch.inference_mode()
    def __call__(self, model: ViLLaModel) -> dict[str, float]:
        """Shares of 1 by source: "drawn", the IoU of what is drawn in true boxes, and "found", of all things.

        "drawn" and "found" without a source are means over the sources.
        """
        language = model.language
        assert isinstance(language, CausalLLM)
        drawn: dict[str, list[float]] = defaultdict(list)
        found: dict[str, list[float]] = defaultdict(list)
        for picture in self.pictures:
            image = self.data.rgb(picture)
            with mixed("cpu"):
                pyramid = model.encode(image)
                assert isinstance(pyramid, LightPyramid)
                truth = self._truth(picture, model.segmenter.mask_grid)
                if truth is None:
                    continue
                masks, places = torch.from_numpy(truth.masks)[:, 0], _places(truth)
                drawn[picture.source] += self._drawn(model, language.finder, pyramid, masks, places)
                recognised = glanced(language, model.segmenter.preprocess([image]))
                hit = matched(language.finder(pyramid, recognised), places)[0]
                found[picture.source] += [float(bool((hit == row).any())) for row in range(len(masks))]
        out = {f"drawn, {name}": float(np.mean(values)) for name, values in drawn.items()}
        out |= {f"found, {name}": float(np.mean(values)) for name, values in found.items()}
        for name, values in (("drawn", drawn), ("found", found)):
            out[name] = float(np.mean([np.mean(own) for own in values.values()]))
        return out

    def _drawn(
        self, model: ViLLaModel, finder: ObjectDetector, pyramid: LightPyramid, masks: Tensor, places: Places
    ) -> list[float]:
        boxes = places.boxes[:, 0]
        frame = torch.zeros(len(boxes), dtype=torch.long)
        prompts = finder.prompts(finder.read(pyramid, boxes, frame), boxes)
        ious: list[float] = soft_iou(model.segmenter.decode(prompts, pyramid, frame).logits, masks).tolist()
        return ious

    def _truth(self, picture: Picture, grid: tuple[int, int]) -> Outlined | None:
        things = [self.data.mask(picture, thing) for thing in picture.instances if not thing.crowd]
        things = sorted((one for one in things if one.mean() >= _SMALLEST), key=lambda one: -int(one.sum()))[:_MOST]
        labels = painted(things, (picture.height, picture.width))
        identities = [number for number in range(1, len(things) + 1) if (labels == number).mean() >= _SMALLEST]
        return outlined([labels], identities, (grid[1], grid[0])) if identities else None


def _places(truth: Outlined) -> Places:
    return Places(torch.from_numpy(truth.boxes), torch.from_numpy(truth.middles))
