"""Batches from photos with outlines: each becomes a short clip, as if a camera moved before it.

What is labelled on a photo is known by its outline and, where the vocabulary has it, by its kind; colours, places in
metres and events are not, so that only phases without words learn from it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from villa.data.coco_folder import CocoFolder, Instance, Picture
from villa.data.language.vocabulary import KINDS, kind_named
from villa.data.photo_views import camera_path, ids_seen, labels_of, seen
from villa.modeling.objects.recogniser import stretch_of
from villa.training.augmentation import Augmentation, scaled
from villa.training.auxiliary_heads import LESSONS
from villa.training.batch import UNCLEAR, Batch, outlined

_FPS = 5.0
_CLOSE_TO_ONE = 0.7  # of the views: they show one thing, at a size drawn for it
_SHARES = (0.02, 0.5)  # of the view, that this thing's box covers
_ASPECTS = (0.65, 1.9)  # width to height of what is squeezed into the input, as cameras of all shapes are
_MOST_OBJECTS = 250  # of one picture


@dataclass(frozen=True)
class PhotoConfig:
    """Where photos are from, and what a batch of one looks like; sizes in px of the model's input."""

    root: Path
    width: int
    height: int
    frames: int
    split: str | None = "train"
    exhaustive: tuple[str, ...] = ()  # sources whose pictures have a label on everything that stands out


class PhotoFeed:
    """Endless batches of the photos of a folder."""

    def __init__(self, config: PhotoConfig) -> None:
        self.config = config
        self._data = CocoFolder(config.root, config.split)
        self._pictures = [one for one in self._data.pictures if any(not thing.crowd for thing in one.instances)]
        if not self._pictures:
            raise FileNotFoundError(f"no labelled pictures in {config.root}: wanted a folder in the format of COCO")
        # What there is most of shall not be all that is learnt: of sources and of names.
        sources = Counter(picture.source for picture in self._pictures)
        weights = np.array([sources[picture.source] ** -0.5 for picture in self._pictures])
        self._chances = weights / weights.sum()
        self._names = Counter(thing.name for picture in self._pictures for thing in picture.instances)

    def make(self, rng: np.random.Generator) -> Batch:
        """A view of a random photo; one that shows nothing that is labelled is drawn again."""
        while True:
            picture = self._pictures[int(rng.choice(len(self._pictures), p=self._chances))]
            batch = self._batch(picture, rng)
            if batch is not None:
                return batch

    def _batch(self, picture: Picture, rng: np.random.Generator) -> Batch | None:
        config = self.config
        things = [one for one in picture.instances if not one.crowd][:_MOST_OBJECTS]
        image, labels = self._data.rgb(picture), labels_of(self._data, picture, things)
        aim = self._aim(picture, things, rng)
        views = camera_path((picture.width, picture.height), aim, config.frames, rng)
        # Seen at half of the input's size again: what a mask's cell holds is then an area, not a point.
        size = (config.width, config.height)
        augmentation = Augmentation.draw(rng)
        images = [augmentation.apply(seen(image, view, size), rng) for view in views]
        masks = [ids_seen(labels, view, size) for view in views]
        identities = [number for number in range(1, len(things) + 1) if any((mask == number).any() for mask in masks)]
        if not identities:
            return None
        drawn = outlined(masks, identities, (config.width // 4, config.height // 4))
        if not bool((drawn.boxes[..., 2] > 0).any()):
            return None
        kinds = [kind_index(things[number - 1].name) for number in identities]
        count = len(identities)
        ages = [(config.frames - 1 - t) / _FPS for t in range(config.frames)]
        return Batch(
            folder=picture.path,
            chosen=tuple(range(config.frames)),
            images=scaled(images, size),
            times_s=torch.tensor(ages, dtype=torch.float32),
            questions=[],
            masks=torch.from_numpy(drawn.masks),
            boxes=torch.from_numpy(drawn.boxes),
            middles=torch.from_numpy(drawn.middles),
            kinds=torch.tensor(kinds),
            colours=torch.full((count,), UNCLEAR),
            targets=torch.zeros(0, dtype=torch.long),
            happened=torch.full((count, len(LESSONS)), -1),
            stretch=stretch_of((aim[2], aim[3]), size),
            all_known=picture.source in config.exhaustive,
        )

    def _aim(self, picture: Picture, things: list[Instance], rng: np.random.Generator) -> tuple[float, ...]:
        """Left, top, width and height in px of what is seen."""
        width, height = float(picture.width), float(picture.height)
        aspect = float(np.exp(rng.uniform(*np.log(_ASPECTS))))
        whole = min(width, height * aspect)
        if rng.random() >= _CLOSE_TO_ONE:
            wide = whole * float(rng.uniform(0.75, 1.0))
            tall = wide / aspect
            return (float(rng.uniform(0, width - wide)), float(rng.uniform(0, height - tall)), wide, tall)
        weights = np.array([self._names[thing.name] ** -0.5 for thing in things])
        x, y, w, h = things[int(rng.choice(len(things), p=weights / weights.sum()))].bbox
        share = float(np.exp(rng.uniform(*np.log(_SHARES))))
        wide = float(np.clip((max(w * h, 16.0) / share * aspect) ** 0.5, 48.0, whole))
        tall = wide / aspect
        left = x + w / 2 - wide * float(rng.uniform(0.2, 0.8))
        top = y + h / 2 - tall * float(rng.uniform(0.2, 0.8))
        return (float(np.clip(left, 0, width - wide)), float(np.clip(top, 0, height - tall)), wide, tall)


def kind_index(name: str) -> int:
    """Index into KINDS of what is labelled so; UNCLEAR where it is none of them."""
    kind = kind_named(name)
    return UNCLEAR if kind is None else KINDS.index(kind)
