"""The splits of the table-top benchmark: which seeds, objects, words and stories each has.

Fixed before any training on them, and not to be changed afterwards: a number on a test split means something only as
long as nothing was chosen on it. Seeds are ranges that do not meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from villa.data.wordings import HELD_OUT, TRAINED, Wording

if TYPE_CHECKING:
    from villa.data.objects import ObjectModel

# Whole objects that no training or validation clip ever shows; `test-unseen-object` asks for these alone.
UNSEEN_OBJECTS = frozenset(
    {
        "libero/bbq_sauce",
        "libero/blue_ketchup",
        "libero/yellow_milk",
        "libero/green_chocolate_pudding",
        "libero/yellow_cookies",
        "libero/popcorn",
        "libero/red_basket",
        "libero/red_ramekin",
        "libero/yellow_bowl",
        "libero/yellow_plate",
        "libero/black_book",
        "libero/white_yellow_mug",
        "libero/wine_bottle",
        "libero/wooden_tray",
        # These two in every colour, as their keys begin.
        "robosuite/bottle",
        "metaworld/mug",
    }
)


@dataclass(frozen=True)
class Split:
    """One split."""

    name: str
    first_seed: int
    clips: int  # that a score on it is about
    requests: int  # for each clip
    frames: int = 16
    unseen_objects: bool = False  # half of the things are unseen objects, and only these are asked for
    wording: Wording = TRAINED
    story: str = "any"  # of villa.data.scene.SceneConfig
    # Live, the request comes at this frame and masks are carried on to the end; None: about the whole video.
    asked_at: int | None = None

    @property
    def is_test(self) -> bool:
        """Nothing may be trained, tuned or chosen on it."""
        return self.name.startswith("test")


_SPLITS = (
    Split("train", 0, 3000, 10),
    Split("val", 1_000_000, 60, 10),
    Split("test-seen", 2_000_000, 60, 10),
    Split("test-unseen-object", 3_000_000, 60, 8, unseen_objects=True),
    Split("test-unseen-phrase", 4_000_000, 60, 10, wording=HELD_OUT),
    Split("test-occlusion", 5_000_000, 40, 8, frames=48, story="hidden", asked_at=5),
    Split("test-long", 6_000_000, 40, 8, frames=210, asked_at=15),
)
SPLITS = {split.name: split for split in _SPLITS}


def is_unseen(model: ObjectModel) -> bool:
    """Is this one of the objects that training never shows?"""
    return is_unseen_key(model.key)


def is_unseen_key(key: str) -> bool:
    """The same by its key, "source/name" or "source/name/colour"."""
    return "/".join(key.split("/")[:2]) in UNSEEN_OBJECTS


def allowed(split: Split, models: Sequence[ObjectModel]) -> tuple[ObjectModel, ...]:
    """The finished models that a split's scenes are made of."""
    return tuple(model for model in models if is_unseen(model) == split.unseen_objects)


def split_of(name: str) -> Split:
    """A split by its name.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in SPLITS:
        raise ValueError(f"split {name!r}: wanted one of {', '.join(SPLITS)}")
    return SPLITS[name]
