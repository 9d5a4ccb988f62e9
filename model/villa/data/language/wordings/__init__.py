"""How people ask a robot: in words for training, and in others kept for validation and for tests.

The sentences stand in the YAML files of this folder, one a line; docs/tabletop_benchmark.md says how to add some. None
of `HELD_OUT` or `VALIDATED` is among those for training: what a model makes of them, it did not learn by heart.
"""

from __future__ import annotations

from villa.data.language.wordings.reading import read
from villa.data.language.wordings.wording import Wording

__all__ = ["HELD_OUT", "OTHER_HAND", "OTHER_HAND_VALIDATED", "TRAINED", "VALIDATED", "Wording"]

TRAINED = Wording.of(read("training.yaml"))
# Bare names are the same in any words.
HELD_OUT = Wording.of(read("test_unseen_phrase.yaml"), bare=False)
VALIDATED = Wording.of(read("val_unseen_phrase.yaml"), bare=False)
# Whole vocabularies of two people whose sentences nobody else has seen.
OTHER_HAND = Wording.of(read("test_other_hand.yaml"))
OTHER_HAND_VALIDATED = Wording.of(read("val_other_hand.yaml"))
