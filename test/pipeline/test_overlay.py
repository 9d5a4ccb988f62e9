from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from villa.masks import RleMask, encode
from villa_ros.pipeline.events import TrackedInstance, TrackState
from villa_ros.pipeline.overlay import colour_of, contact_sheet, draw

GREY = np.full((240, 320, 3), 90, np.uint8)


def instance(
    track_id: str = "a-1",
    box: tuple[int, int, int, int] | None = (100, 100, 60, 50),
    state: TrackState = TrackState.TRACKED,
    name: str = "red mug",
    shape: tuple[int, int] = (240, 320),
) -> TrackedInstance:
    mask = np.zeros(shape, np.bool_)
    if box:
        x, y, width, height = box
        mask[y : y + height, x : x + width] = True
    rle = encode(mask) if box else RleMask.empty(*shape)
    return TrackedInstance(track_id, "r", 1, state, name, 0.9, 0.9, rle)


def changed(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return (picture != GREY).any(axis=2)


def test_the_source_image_stays_as_it_is_even_when_it_is_read_only() -> None:
    source = GREY.copy()
    source.flags.writeable = False
    picture = draw(source, [instance()], "find the mug", "the mug")
    assert np.array_equal(source, GREY)
    assert picture.shape == GREY.shape
    assert picture.dtype == np.uint8


def test_nothing_to_show_changes_nothing() -> None:
    assert np.array_equal(draw(GREY, []), GREY)
    assert np.array_equal(draw(GREY, [instance(state=TrackState.REMOVED)]), GREY)


def test_a_mask_is_tinted_in_its_tracks_colour_and_the_rest_is_left_alone() -> None:
    picture = draw(GREY, [instance()])
    inside = picture[130, 130].astype(int) - 90
    colour = np.array(colour_of("a-1"), int) - 90
    assert np.dot(inside, colour) > 0
    assert np.array_equal(np.sign(inside), np.sign(colour))
    assert not changed(picture)[200:].any()
    assert not changed(picture)[:, 220:].any()


def test_colours_belong_to_the_id_and_neighbours_differ() -> None:
    colours = [colour_of(f"a-{number}") for number in range(1, 21)]
    assert len(set(colours)) == 20
    assert colours == [colour_of(f"a-{number}") for number in range(1, 21)]
    assert min(np.abs(np.subtract(a, b)).sum() for a, b in itertools.pairwise(colours)) > 150
    assert colour_of("no number at all") == colour_of("no number at all")


def test_an_unconfirmed_object_is_drawn_fainter() -> None:
    def strength(state: TrackState) -> int:
        return int(np.abs(draw(GREY, [instance(state=state)])[130, 130].astype(int) - 90).sum())

    assert 0 < strength(TrackState.TENTATIVE) < strength(TrackState.TRACKED)


@pytest.mark.parametrize("state", [TrackState.OCCLUDED, TrackState.LOST])
def test_an_object_out_of_sight_is_listed_in_the_corner_and_drawn_nowhere_else(state: TrackState) -> None:
    where = changed(draw(GREY, [instance(box=None, state=state)]))
    assert where[:25, :200].any()
    assert not where[25:].any()


def test_request_and_answer_stand_in_a_band_at_the_foot() -> None:
    where = changed(draw(GREY, [], "find the mug", "There is no mug."))
    assert where[-10:].all()
    assert not where[:150].any()


def test_names_of_neighbours_do_not_cover_each_other() -> None:
    one = draw(GREY, [instance("a-1", (100, 100, 60, 20))])
    two = draw(GREY, [instance("a-1", (100, 100, 60, 20)), instance("a-2", (100, 102, 50, 10))])
    dark_one, dark_two = (np.count_nonzero((p < 60).all(axis=2)) for p in (one, two))
    assert dark_two > 1.6 * dark_one


@pytest.mark.parametrize("box", [(0, 0, 320, 240), (0, 0, 1, 1), (319, 239, 1, 1), (300, 0, 20, 240)])
def test_masks_at_the_border_are_drawn(box: tuple[int, int, int, int]) -> None:
    assert changed(draw(GREY, [instance(box=box)]))[box[1], box[0]]


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (60, 80), (1080, 1920)])
def test_any_image_size_can_be_drawn_on(shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), 90, np.uint8)
    entries = [instance(shape=(240, 320)), instance("a-2", None, TrackState.LOST)]
    assert draw(image, entries, "a very long request " * 20, "an answer " * 30).shape == image.shape


def test_letters_the_font_does_not_know_do_not_stop_the_picture() -> None:
    draw(GREY, [instance(name="赤いマグ 🍵")], "où est la tasse ?", "Ünter dem Tisch")


def test_a_contact_sheet_holds_every_picture_under_its_caption() -> None:
    reds = [(np.full((40 + 10 * n, 80, 3), (250, n, 0), np.uint8), f"picture {n}") for n in range(5)]
    sheet = contact_sheet(reds, columns=2, tile_width=160)
    found = {int(value) for value in np.unique(sheet[sheet[..., 0] == 250][:, 1])}
    assert found >= {0, 1, 2, 3, 4}
    assert 2 * 160 < sheet.shape[1] < 2 * 160 + 60
    assert contact_sheet(reds[:1], columns=4).shape[1] < 400


def test_a_contact_sheet_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="0 tiles"):
        contact_sheet([])
