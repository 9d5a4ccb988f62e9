"""A mask that is given is carried on: by either family, a frame at a time, and bad ones are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from answering_models import light, over_sam2

from villa import ViLLa, masks
from villa.evaluation.davis_jf import region_similarity
from villa.inference.given_mask import carry
from villa_ros.runtime.package_share import share_path

FAMILIES = {"light": light, "sam2": over_sam2}
HEIGHT, WIDTH = 48, 64


def _video(count: int) -> list[np.ndarray]:
    return [np.random.default_rng(t).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8) for t in range(count)]


def _box() -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[10:30, 20:44] = True
    return mask


class _Once(list):
    """Frames that are told which of them are held at a time."""

    def __init__(self, frames):
        super().__init__(frames)
        self.asked: list[int] = []

    def __getitem__(self, index):
        self.asked.append(index)
        return super().__getitem__(index)


@pytest.mark.parametrize("family", FAMILIES)
def test_either_family_carries_it_a_frame_at_a_time(family):
    model = FAMILIES[family]("The mug [SEG].")
    video, told = _Once(_video(5)), []
    tracklet = carry(model, video, _box(), fps=5.0, progress=lambda done, count: told.append((done, count)))
    assert video.asked == [0, 1, 2, 3, 4]
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert len(tracklet.masks) == len(tracklet.present) == 5
    assert np.array_equal(masks.decode(tracklet.masks[0]), _box())
    assert tracklet.present[0] == 1.0
    assert all(mask is None or (mask.height, mask.width) == (HEIGHT, WIDTH) for mask in tracklet.masks)
    again = carry(model, _video(5), _box(), fps=5.0)
    assert again == tracklet


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_given_decides_what_is_carried(family):
    model = FAMILIES[family]("The mug [SEG].")
    moved = np.roll(_box(), 16, axis=1)
    one, other = (carry(model, _video(2), mask) for mask in (_box(), moved))
    assert one.present[1] != other.present[1] or one.masks[1] != other.masks[1]


@pytest.mark.parametrize(
    ("frames", "mask", "fps", "said"),
    [
        (0, _box(), 5.0, "the video holds no frame: wanted at least one"),
        (2, np.zeros((HEIGHT, WIDTH), np.bool_), 5.0, r"the given mask is empty: wanted one \[H, W\] = \[48, 64\]"),
        (2, np.ones((10, 10), np.bool_), 5.0, r"the given mask has shape \[10, 10\]: wanted one"),
        (2, _box(), 0.0, "fps is 0.0: wanted a positive number"),
    ],
)
def test_what_cannot_be_carried_is_refused(frames, mask, fps, said):
    with pytest.raises(ValueError, match=said):
        carry(light("The mug [SEG]."), _video(frames), mask, fps=fps)


def test_the_shipped_model_follows_what_moves():
    model = ViLLa.from_pretrained(share_path("weights"))
    truth, video = [], []
    texture = np.random.default_rng(0).integers(90, 150, (240, 320, 3), np.uint8)
    for t in range(8):
        image, mask = texture.copy(), np.zeros((240, 320), np.bool_)
        mask[90:150, 60 + 12 * t : 130 + 12 * t] = True
        image[mask] = (200, 30, 40)
        video.append(image)
        truth.append(mask)
    with torch.inference_mode():
        tracklet = model.carry(video, truth[0], fps=10.0)
    found = [region_similarity(masks.decode(mask), true) for mask, true in zip(tracklet.masks, truth, strict=True)]
    assert min(found) > 0.7
    assert np.mean(found) > 0.8
