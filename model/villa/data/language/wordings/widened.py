"""Many more ways to say the same, for training alone: the splits keep the sentences that they were built with.

Apart from the other wordings, as these are the most and only training asks for them.
"""

from __future__ import annotations

from villa.data.language.wordings.reading import joined, read
from villa.data.language.wordings.wording import Wording

WIDENED = Wording.of(
    joined(
        read("training.yaml"),
        read("training_more.yaml", whole=False),
        read("training_composed.yaml", whole=False),
    )
)
