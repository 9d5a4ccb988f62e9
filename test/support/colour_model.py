"""A model for workers to load that sees colours in videos."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from villa import masks
from villa.inference.video import Segmentation, Tracklet


class ColourModel:
    """villa.evaluation.split_evaluation.EvaluatedModel over colours: "red" in the text means the red pixels."""

    def segment(
        self, video: Sequence[np.ndarray], text: str, *, fps: float = 10.0, history: Sequence[tuple[str, str]] = ()
    ) -> Segmentation:
        tracklets = []
        for name, channel in (("red", 0), ("blue", 2)):
            if name in text or text == "the object" or "both" in text:
                frames = [frame.astype(int) for frame in video]
                found = [f[..., channel] - f.sum(axis=2) // 3 > 60 for f in frames]
                tracklets.append(Tracklet(name, 1.0, 0, tuple(masks.encode(np.asarray(f)) for f in found), ()))
        return Segmentation(text, f"saw {len(tracklets)}", "stop", (0,), tuple(tracklets))


def load_colours(checkpoint: str, device: str) -> ColourModel:
    return ColourModel()


class Fragile(ColourModel):
    """Breaks on one video, told by its number of frames."""

    def segment(self, video, text, **options):
        if len(video) == 5:
            raise RuntimeError("this clip breaks it")
        return super().segment(video, text, **options)


def load_fragile(checkpoint: str, device: str) -> Fragile:
    return Fragile()
