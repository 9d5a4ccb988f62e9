"""Small videos in the format of MeViS: boxes that move over noise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

RED, BLUE = (200, 40, 40), (40, 60, 210)


def rle(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """COCO run lengths as the published files have them."""
    coded = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(coded["size"]), "counts": coded["counts"].decode()}


def draw(root: Path, frames: int = 6, size: tuple[int, int] = (64, 96), answers: bool = True, videos: int = 1) -> Path:
    """Write videos with a red box that goes right and a blue one that goes up; the blue one hides on one frame."""
    meta: dict[str, Any] = {"videos": {}}
    masks: dict[str, Any] = {}
    for number in range(videos):
        name = f"video{number}"
        folder = root / "JPEGImages" / name
        folder.mkdir(parents=True)
        rng = np.random.default_rng(number)
        ground = rng.integers(90, 160, (*size, 3), np.uint8)
        tracks: list[list[Any]] = [[], []]
        for t in range(frames):
            image = ground.copy()
            for which, (colour, (y, x)) in enumerate(((RED, (8, 6 + 6 * t)), (BLUE, (34 - 3 * t, 60)))):
                mask = np.zeros(size, np.bool_)
                mask[y : y + 26, x : x + 28] = True
                hidden = which == 1 and t == 2
                if not hidden:
                    image[mask] = colour
                    if which == 1 and tracks[0][-1] is not None:
                        tracks[0][-1] = tracks[0][-1] & ~mask
                tracks[which].append(None if hidden else mask)
            cv2.imwrite(str(folder / f"{t:05d}.jpg"), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])
        ids = [f"{number}0", f"{number}1"]
        for identity, track in zip(ids, tracks, strict=True):
            masks[identity] = [None if m is None else rle(m) for m in track]
        expressions: dict[str, Any] = {
            "0": {"exp": "the red box", "obj_id": [0], "anno_id": [ids[0]]},
            "1": {"exp": "the blue box", "obj_id": [1], "anno_id": [ids[1]]},
            "2": {"exp": "both boxes", "obj_id": [0, 1], "anno_id": ids},
            "3": {"exp": "the banana", "obj_id": [], "anno_id": []},
        }
        if answers:
            expressions["0"]["answer"] = "The red box [SEG]."
            expressions["1"]["answer"] = "The blue box [SEG]."
        frames_of = [f"{t:05d}" for t in range(frames)]
        meta["videos"][name] = {"vid_id": number, "fps": 10, "frames": frames_of, "expressions": expressions}
    (root / "meta_expressions.json").write_text(json.dumps(meta))
    (root / "mask_dict.json").write_text(json.dumps(masks))
    return root
