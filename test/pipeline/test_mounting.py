"""Cameras that hang upside down, lie on a side or look into a mirror: seen upright, told of the picture as it is."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from fakes import BlobModel, Told, painted
from fakes import frame as upright_frame

from villa.masks import decode
from villa_ros.pipeline.config import PipelineConfig
from villa_ros.pipeline.engine import Engine
from villa_ros.pipeline.frame import Frame
from villa_ros.pipeline.mounting import ROTATIONS, UPRIGHT, Mounting
from villa_ros.pipeline.request import Request

EVERY = [Mounting(rotation, mirrored) for rotation, mirrored in itertools.product(ROTATIONS, (False, True))]


@pytest.mark.parametrize("mounting", EVERY)
def test_what_is_turned_upright_is_turned_back_to_the_pixel(mounting: Mounting) -> None:
    picture = np.arange(5 * 8 * 3, dtype=np.uint8).reshape(5, 8, 3)
    seen = mounting.upright(picture)
    assert seen.shape == ((8, 5, 3) if mounting.rotation % 180 else (5, 8, 3))
    assert seen.flags.c_contiguous
    assert np.array_equal(mounting.as_given(seen), picture)
    assert (seen is picture or np.shares_memory(seen, picture)) == (mounting == UPRIGHT)


def test_a_quarter_turn_is_clockwise() -> None:
    """A camera on its left side has the top of what it sees on the left: turned clockwise that is on top."""
    picture = np.zeros((2, 3), np.uint8)
    picture[1, 0] = 1  # bottom left
    assert Mounting(90).upright(picture)[0, 0] == 1
    assert Mounting(270).upright(picture)[2, 1] == 1
    assert Mounting(180).upright(picture)[0, 2] == 1
    assert Mounting(0, mirrored=True).upright(picture)[1, 2] == 1


def test_another_angle_is_refused() -> None:
    with pytest.raises(ValueError, match="rotation is 45, wanted one of 0, 90, 180, 270"):
        Mounting(45)


class Looking(BlobModel):
    """Remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[np.ndarray] = []

    def encode(self, rgb: np.ndarray) -> np.ndarray:
        self.shown.append(rgb)
        return super().encode(rgb)


@pytest.mark.parametrize("mounting", EVERY)
def test_the_model_sees_it_upright_and_masks_are_of_the_picture_as_it_is(mounting: Mounting) -> None:
    world = painted(24, 40, red=(3, 2, 9, 5))
    given = mounting.as_given(world)
    model, told = Looking(), Told()
    engine = Engine(model, PipelineConfig(), told, "n")

    def offered(index: int) -> Frame:
        return replace(upright_frame(index, given), mounting=mounting)

    engine.ingest(offered(0))
    engine.submit(Request("r", "red"))
    while engine.slow():
        pass
    engine.ingest(offered(1))
    assert engine.fast("camera", offered(1).header.stamp_ns)
    assert model.shown
    for shown in model.shown:
        assert np.array_equal(shown, world)
    truth = given[..., 0] > 127
    tracklets = next(event for event in told if type(event).__name__ == "TrackletsEvent")
    told_masks = [event.instances[0].mask for event in told.tracks()] + [tracklets.tracklets[0].masks[0]]
    for mask in told_masks:
        assert (mask.height, mask.width) == given.shape[:2]
        found = decode(mask)  # this model draws blocks of two pixels
        assert (found & truth).sum() > 0.6 * (found | truth).sum()
