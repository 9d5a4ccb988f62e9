"""What a model does with the requests of a split, as a picture: for each kind one that went well and the worst one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from villa.evaluation.split_evaluation import Score, Shown
from villa.masks import decode, encode
from villa_ros.pipeline.events import TrackedInstance, TrackState
from villa_ros.pipeline.overlay import contact_sheet, draw
from villa_ros.video.overlay_video import PictureError

_TILE_PX = 400
_WELL = 0.75  # quantile of a kind's J&F that counts as "went well"
_TRUTH = (255, 255, 255)


def write_score_sheet(shown: Sequence[Shown], path: Path) -> Path:
    """Draw two requests of each kind: the model's masks filled, what is meant outlined in white.

    Raises:
        PictureError: there is nothing to draw, or the picture cannot be written.
    """
    kinds = sorted({one.score.kind for one in shown})
    chosen = [one for kind in kinds for one in _chosen([one for one in shown if one.score.kind == kind])]
    tiles = [(_drawn(one), _caption(one.score)) for one in chosen]
    if not tiles:
        raise PictureError("no request was scored: there is nothing to draw")
    sheet = contact_sheet(tiles, columns=4, tile_width=_TILE_PX)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)):
        raise PictureError(f"OpenCV cannot write {path}; is the folder writable, and does the name end with .png?")
    return path


def _chosen(shown: Sequence[Shown]) -> list[Shown]:
    """A usual success and the worst failure; of one request, that one."""
    if len(shown) == 1:
        return list(shown)

    def worth(one: Shown) -> float:
        return float(one.score.right) if one.score.absent else one.score.jf

    ordered = sorted(shown, key=worth)
    return [ordered[round(_WELL * (len(ordered) - 1))], ordered[0]]


def _caption(score: Score) -> str:
    verdict = ("right" if score.right else "wrong") if score.absent else f"J&F {score.jf:.2f}"
    return f"{score.kind}, {verdict}: {score.request} - {score.answer.replace(' [SEG]', '')}"


def _drawn(one: Shown) -> NDArray[np.uint8]:
    tracks = [
        TrackedInstance(f"sheet-{number}", "", number, TrackState.TRACKED, name, 1.0, 1.0, encode(mask))
        for number, (name, mask) in enumerate(one.masks)
    ]
    picture = draw(one.rgb, tracks)
    outlines, _ = cv2.findContours(decode(one.truth).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, outlines, -1, _TRUTH, 1)
    return picture
