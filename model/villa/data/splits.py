"""The splits of the table-top benchmark: which seeds, objects, words and stories each has.

Fixed before any training on them, and not to be changed afterwards: a number on a test split means something only as
long as nothing was chosen on it. Seeds are ranges that do not meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from villa.data.language.wordings import HELD_OUT, OTHER_HAND, OTHER_HAND_VALIDATED, TRAINED, VALIDATED, Wording

if TYPE_CHECKING:
    from villa.data.clips import ObjectFacts
    from villa.data.scenes.objects import ObjectModel

# Whole objects that no training or validation clip shows, and that no model of this project has ever been trained on;
# `test-unseen-object` asks for these alone.
UNSEEN_OBJECTS = frozenset(
    f"libero/{name}"
    for name in (
        "alphabet_soup",
        "red_alphabet_soup",
        "tomato_sauce",
        "yellow_tomato_sauce",
        "milk",
        "orange_juice",
        "red_orange_juice",
        "butter",
        "green_bbq_sauce",
        "salad_dressing",
        "red_salad_dressing",
        "moka_pot",
        "white_storage_box",
        "yellow_desk_caddy",
        "yellow_book",
    )
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
    wide: bool = False  # requests of all kinds, also those that the first splits do not have
    story: str = "any"  # of villa.data.scenes.scene.SceneConfig
    # Live, the request comes at this frame and masks are carried on to the end; None: about the whole video.
    asked_at: int | None = None

    @property
    def is_test(self) -> bool:
        """Nothing may be trained, tuned or chosen on it."""
        return self.name.startswith("test")


_SPLITS = (
    Split("train", 0, 3000, 10),
    Split("val", 1_000_000, 60, 10),
    Split("val-unseen-phrase", 1_500_000, 60, 10, wording=VALIDATED),
    Split("val-other-hand", 1_600_000, 60, 12, wording=OTHER_HAND_VALIDATED, wide=True),
    Split("test-seen", 2_000_000, 60, 10),
    Split("test-unseen-object", 3_000_000, 60, 8, unseen_objects=True),
    Split("test-unseen-phrase", 4_000_000, 60, 10, wording=HELD_OUT),
    Split("test-other-hand", 7_000_000, 60, 12, wording=OTHER_HAND, wide=True),
    Split("test-occlusion", 5_000_000, 40, 8, frames=48, story="hidden", asked_at=5),
    Split("test-long", 6_000_000, 40, 8, frames=210, asked_at=15),
)
SPLITS = {split.name: split for split in _SPLITS}


def is_unseen(model: ObjectModel | ObjectFacts) -> bool:
    """Is this one of the objects that training never shows?"""
    return model.key in UNSEEN_OBJECTS


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
