"""What users bring to rendered training scenes: scans of things, pictures of surfaces, pictures of hands.

The splits of the benchmark know nothing of it: without it every clip is what it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from villa.data.composites.cutouts import Rgba
from villa.data.composites.hands import read_hands
from villa.data.composites.surfaces import Surfaces
from villa.data.scans.objects import scanned_models
from villa.data.scenes.objects import ObjectModel

TRAINED = "train"  # the one split that it is for


class BroughtError(ValueError):
    """A folder that a user brings is not what it should be, or is for another split."""


@dataclass(frozen=True)
class Folders:
    """Where it is; None: nothing of that."""

    scans: Path | None = None
    surfaces: Path | None = None
    hands: Path | None = None

    def check(self, split: str, hands: float) -> None:
        """`hands`: the share of motions that a hand makes.

        Raises:
            BroughtError: something is brought to a split that is fixed, or pictures of hands without any hand.
        """
        if split != TRAINED and self != NO_FOLDERS:
            raise BroughtError(
                f"split {split!r} is part of the benchmark and shows the same to everybody: scans, surfaces and "
                f"pictures of hands are for split {TRAINED!r}"
            )
        if self.hands is not None and not hands:
            raise BroughtError(f"no motion is a hand's, so {self.hands} has no use: give a share, --hands 0.5")


NO_FOLDERS = Folders()


@dataclass(frozen=True)
class Brought:
    """The same, loaded."""

    scans: tuple[ObjectModel, ...] = ()
    surfaces: Surfaces | None = None
    hands: tuple[Rgba, ...] = ()


NOTHING = Brought()


@cache
def load(folders: Folders) -> Brought:
    """Read what is in the folders, once a process.

    Raises:
        BroughtError: no pictures of surfaces or hands in a folder.
        ScanError: no scans in the folder, or a damaged one.
    """
    surfaces = None if folders.surfaces is None else Surfaces(folders.surfaces)
    if surfaces is not None and not surfaces.files:
        raise BroughtError(f"{folders.surfaces} holds no surfaces: wanted pictures or sheets of tiles, .webp or .png")
    hands = () if folders.hands is None else tuple(read_hands(folders.hands))
    if folders.hands is not None and not hands:
        raise BroughtError(f"{folders.hands} holds no hands: wanted pictures with alpha, fingers up")
    return Brought(() if folders.scans is None else scanned_models(folders.scans), surfaces, hands)
