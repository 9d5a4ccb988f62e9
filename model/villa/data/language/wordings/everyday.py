"""What several people wrote, each without sight of the others' sentences or of those that were there before.

For training alone: also words for groups of things, for everything but some, and for orders that are finished
afterwards.
"""

from __future__ import annotations

from villa.data.language.wordings.reading import joined, read
from villa.data.language.wordings.wording import Wording

EVERYDAY = Wording.of(joined(read("training_everyday.yaml"), read("training_workshop.yaml")))
