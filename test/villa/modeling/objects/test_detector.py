"""Things: found where the heat is, read where they lie, compared, and pointed at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import tiny_config, tiny_model

from villa.modeling.objects.detector import ObjectDetector, Proposals, box_of, overlap_of
from villa.modeling.objects.relation_encoder import (
    EncodedScene,
    RelationEncoder,
    looks_together,
    or_none,
    speeds_of,
    way_of_all,
)
from villa.modeling.objects.seg_selector import Words
from villa.modeling.segmenters.light.encoder import LightPyramid
from villa.modeling.temporal_synchronizer import Prompts
from villa.training.auxiliary_heads import LESSONS, AuxiliaryHeads
from villa.training.batch import Batch
from villa.training.detection_loss import (
    DetectionLoss,
    Places,
    beside,
    heat_loss,
    matched,
    point_loss,
    reach_loss,
    sides_loss,
)

ROWS, COLUMNS = 8, 12  # of the tiny encoder's stride-8 grid
CELLS = [[(1, 2), (5, 9)], [(6, 3), (2, 7)]]


def _pyramid(frames: int = 2) -> LightPyramid:
    generator = torch.Generator().manual_seed(3)

    def some(channels: int, rows: int) -> torch.Tensor:
        return torch.randn(frames, channels, rows, rows * 3 // 2, generator=generator)

    return LightPyramid(some(8, 16), some(32, 8), some(32, 4), some(320, 2), some(3, 16))


class _Told(ObjectDetector):
    """A finder whose maps are given: peaks at `CELLS`, boxes of a quarter of the image's width and height."""

    def maps(self, pyramid):
        heat = torch.full((2, ROWS, COLUMNS), -6.0)
        for frame, cells in enumerate(CELLS):
            for number, (row, column) in enumerate(cells):
                heat[frame, row, column - 1 : column + 2] = 2.0 - number
                heat[frame, row, column] = 4.0 - number
        return replace(super().maps(pyramid), heat=heat, sides=torch.full((2, ROWS, COLUMNS, 4), 0.125))


@pytest.fixture
def finder():
    torch.manual_seed(0)
    config = tiny_config()
    return _Told(config.segmenter.encoder, config.language.things).requires_grad_(False)


def test_a_peak_is_a_thing_and_its_neighbours_are_not(finder):
    proposals = finder(_pyramid())
    assert proposals.features.shape == (2, 6, 24)
    assert proposals.scores[:, :2].tolist() == [[4.0, 3.0]] * 2
    assert float(proposals.scores[:, 2:].max()) < 0
    for frame, cells in enumerate(CELLS):
        wanted = torch.tensor([[(column + 0.5) / COLUMNS, (row + 0.5) / ROWS, 0.25, 0.25] for row, column in cells])
        torch.testing.assert_close(proposals.boxes[frame, :2], wanted)


def test_there_are_as_many_things_as_the_configuration_says_even_on_a_tiny_picture(finder):
    finder.count = 120
    proposals = finder(_pyramid())
    assert proposals.boxes.shape == (2, 120, 4)
    assert float(proposals.scores[:, ROWS * COLUMNS :].max()) < -20


def test_a_box_ends_at_the_edge_of_the_image():
    box = box_of(torch.tensor([0.1, 0.9]), torch.tensor([0.3, 0.3, 0.3, 0.3]))
    torch.testing.assert_close(box, torch.tensor([0.2, 0.8, 0.4, 0.4]))
    assert float(box_of(torch.tensor([0.0, 0.0]), torch.zeros(4))[2]) > 0


def test_a_thing_is_read_in_its_own_box_on_its_own_frame(finder):
    pyramid = _pyramid()
    boxes = torch.tensor([[0.25, 0.3, 0.2, 0.2], [0.7, 0.6, 0.3, 0.2]])
    before = finder.read(pyramid, boxes, torch.tensor([0, 1]))
    elsewhere = pyramid.s8.clone()
    elsewhere[0, :, :, COLUMNS // 2 :] += 5.0  # outside the first box
    elsewhere[1, :, :, : COLUMNS // 4] += 5.0  # outside the second one
    torch.testing.assert_close(finder.read(replace(pyramid, s8=elsewhere), boxes, torch.tensor([0, 1])), before)
    inside = pyramid.s8.clone()
    inside[1, :, 4:6] += 5.0
    after = finder.read(replace(pyramid, s8=inside), boxes, torch.tensor([0, 1]))
    torch.testing.assert_close(after[0], before[0])
    assert not torch.allclose(after[1], before[1])


def _batch(boxes: list[list[list[float]]]) -> Batch:
    places = torch.tensor(boxes)
    count, frames = places.shape[:2]
    return Batch(
        folder=Path(),
        chosen=tuple(range(frames)),
        images=torch.zeros(frames, 3, 64, 96),
        times_s=torch.arange(frames).flip(0).float(),
        questions=[],
        masks=torch.zeros(count, frames, 16, 24),
        boxes=places,
        middles=places[..., :2],
        kinds=torch.zeros(count, dtype=torch.long),
        colours=torch.zeros(count, dtype=torch.long),
        targets=torch.zeros(0, dtype=torch.long),
        happened=torch.zeros(count, len(LESSONS), dtype=torch.long),
    )


def test_a_found_thing_is_the_object_whose_box_it_shares(finder):
    proposals = finder(_pyramid())
    first, second = proposals.boxes[0, 0].tolist(), proposals.boxes[0, 1].tolist()
    hidden = [0.0] * 4
    shifted = [second[0] + 0.05, second[1], 0.25, 0.25]
    batch = _batch([[shifted, hidden], [first, proposals.boxes[1, 1].tolist()], [[0.5, 0.5, 0.9, 0.9], hidden]])
    which = matched(proposals, batch)
    assert which[0].tolist() == [1, 0, -1, -1, -1, -1]
    assert which[1].tolist() == [-1, 1, -1, -1, -1, -1]


def test_an_object_is_found_once():
    box = torch.tensor([0.5, 0.5, 0.2, 0.2])
    boxes = torch.stack((box, box + torch.tensor([0.01, 0.0, 0.0, 0.0])))[None]
    proposals = Proposals(torch.zeros(1, 2, 24), boxes, torch.zeros(1, 2))
    batch = _batch([[box.tolist()]])
    which = matched(proposals, batch)
    assert which[0].tolist() == [0, -1]
    assert beside(proposals, batch, which)[0].tolist() == [-1, 0]
    # A cell that says of itself that it is nothing is nothing, however well its box fits.
    unseen = replace(proposals, scores=torch.tensor([[-18.0, 0.0]]))
    which = matched(unseen, batch)
    assert which[0].tolist() == [-1, 0]
    assert beside(unseen, batch, which)[0].tolist() == [-1, -1]
    # How sure it has to be is the model's to say.
    assert matched(replace(unseen, least=-20.0), batch)[0].tolist() == [0, -1]


def test_a_finder_says_what_it_takes_to_be_a_thing(finder):
    assert finder(_pyramid()).least == -2.0
    config = tiny_config()
    strict = _Told(config.segmenter.encoder, replace(config.language.things, least_score=3.5))
    seen = strict(_pyramid()).seen
    assert seen.sum() == len(CELLS)  # on each frame the surer one of two


def test_places_of_masks_are_those_of_their_pixels():
    masks = torch.zeros(2, 1, 8, 10)
    masks[0, 0, 2:4, 5:10] = 0.9
    masks[0, 0, 2, 0] = 0.4  # less than half
    places = Places.of_masks(masks)
    torch.testing.assert_close(places.boxes[0, 0], torch.tensor([0.75, 3 / 8, 0.5, 0.25]))
    torch.testing.assert_close(places.middles[0, 0], torch.tensor([0.75, 3 / 8]))
    assert places.visible.tolist() == [[True], [False]]


def test_pointing_is_right_at_the_thing_or_at_none(finder):
    proposals = finder(_pyramid())
    places = _batch([[proposals.boxes[0, 1].tolist(), [0.0] * 4], [[0.5, 0.5, 0.9, 0.9]] * 2])
    scores = torch.zeros(2, 2, 7)
    scores[0, 0, 1] = scores[0, 1, 6] = 30.0  # found on the first frame, hidden on the second one
    there = torch.tensor([True, True])
    assert float(point_loss(scores, proposals, places, there)) < 1e-4  # the second object is seen, but was not found
    assert float(point_loss(scores.flip(-1), proposals, places, there)) > 10
    gone = torch.tensor([False, False])
    assert float(point_loss(scores, proposals, places, gone)) > 5
    scores[..., 6] = 60.0
    assert float(point_loss(scores, proposals, places, gone)) < 1e-4


def test_heat_elsewhere_costs_nothing_where_other_objects_may_be(finder):
    maps = finder.maps(_pyramid())
    true = [[[(c + 0.5) / COLUMNS, (r + 0.5) / ROWS, 0.25, 0.25] for r, c in frame[:1]] for frame in CELLS]
    batch = _batch([[true[0][0], true[1][0]]])
    heat = maps.heat.clone()
    heat[:, 7, 11] = 5.0
    more = replace(maps, heat=heat)
    assert float(heat_loss(more, batch)) > 1.5 * float(heat_loss(maps, batch))
    assert float(heat_loss(more, batch, outside=0.0)) == float(heat_loss(maps, batch, outside=0.0))
    each = [float(heat_loss(more, batch, outside=outside)) for outside in (0.0, 0.5, 1.0)]
    assert each[1] == pytest.approx((each[0] + each[2]) / 2)


def test_overlap_of_boxes():
    a = torch.tensor([0.5, 0.5, 0.2, 0.2])
    for b, wanted in (
        ([0.5, 0.5, 0.2, 0.2], 1.0),
        ([0.6, 0.5, 0.2, 0.2], 1 / 3),
        ([0.9, 0.5, 0.2, 0.2], 0.0),
        ([0.5, 0.5, 0.0, 0.0], 0.0),
    ):
        assert float(overlap_of(a, torch.tensor(b))) == pytest.approx(wanted, abs=1e-5)


def test_maps_that_are_right_cost_least(finder):
    pyramid = _pyramid()
    maps = finder.maps(pyramid)
    true = [[[(c + 0.5) / COLUMNS, (r + 0.5) / ROWS, 0.25, 0.25] for r, c in frame] for frame in CELLS]
    batch = _batch([[true[0][0], true[1][0]], [true[0][1], true[1][1]]])
    moved = batch.boxes + torch.tensor([0.2, 0.0, 0.0, 0.0])
    wrong = replace(batch, boxes=moved, middles=moved[..., :2])
    assert float(heat_loss(maps, batch)) < 0.5 * float(heat_loss(maps, wrong))


def test_cells_that_tell_the_box_cost_least(finder):
    batch = _batch([[[0.4, 0.5, 0.5, 0.6], [0.0] * 4]])
    x, y = (torch.arange(COLUMNS) + 0.5) / COLUMNS, (torch.arange(ROWS) + 0.5) / ROWS
    left, right = (x - 0.15).expand(ROWS, -1), (0.65 - x).expand(ROWS, -1)
    top, bottom = (y - 0.2)[:, None].expand(-1, COLUMNS), (0.8 - y)[:, None].expand(-1, COLUMNS)
    true = torch.stack((left, top, right, bottom), dim=-1).clamp(min=0.01).expand(2, -1, -1, -1)
    maps = replace(finder.maps(_pyramid()), sides=true)
    assert float(sides_loss(maps, batch)) < 1e-4
    assert float(sides_loss(replace(maps, sides=true * 1.5), batch)) > 0.3
    nothing = sides_loss(maps, _batch([[[0.0] * 4, [0.0] * 4]]))
    assert float(nothing) == 0.0


@pytest.fixture
def pointed():
    """A model whose finder knows of points, and a picture of a red and a green box that overlap."""
    config = tiny_config()
    things = replace(config.language.things, points=True)
    model = tiny_model(config=replace(config, language=replace(config.language, things=things)))
    masks = torch.zeros(2, 1, 16, 24)
    masks[0, 0, 4:12, 2:14], masks[1, 0, 8:15, 10:22] = 1.0, 1.0
    masks[0][masks[1] > 0] = 0.0
    images = torch.zeros(1, 3, 64, 96)
    for row in range(2):
        images[0, row] += torch.nn.functional.interpolate(masks[row][None], scale_factor=4)[0, 0] * 2
    boxes = torch.tensor([[[8 / 24, 8 / 16, 12 / 24, 8 / 16]], [[16 / 24, 11.5 / 16, 12 / 24, 7 / 16]]])
    batch = replace(_batch(boxes.tolist()), images=images, masks=masks, boxes=boxes, middles=boxes[..., :2])
    return model, batch


def test_cells_that_tell_the_box_of_what_lies_in_them_cost_least(pointed):
    model, batch = pointed
    maps = model.language.finder.maps(model.segmenter.encode(batch.images))
    x, y = (torch.arange(12) + 0.5) / 12, (torch.arange(8) + 0.5) / 8
    middle = torch.stack((x.expand(8, -1), y[:, None].expand(-1, 12)), dim=-1)
    owner = torch.nn.functional.avg_pool2d(batch.masks[1], 2)[0] > 0.5
    box = torch.where(owner[..., None], batch.boxes[1, 0], batch.boxes[0, 0])
    low, high = box[..., :2] - box[..., 2:] / 2, box[..., :2] + box[..., 2:] / 2
    true = torch.cat((middle - low, high - middle), dim=-1).clamp(min=0.007)[None]
    assert float(reach_loss(replace(maps, reach=true), batch)) < 0.02
    assert float(reach_loss(replace(maps, reach=true * 2), batch)) > 0.5
    points, frame = torch.tensor([[6 / 24, 6 / 16], [20 / 24, 12 / 16]]), torch.tensor([0, 0])
    found = model.language.finder.at(replace(maps, reach=true), points, frame)
    torch.testing.assert_close(found, batch.boxes[:, 0], atol=0.01, rtol=0)
    unseen = replace(batch, boxes=batch.boxes * 0, masks=batch.masks * 0)
    assert float(reach_loss(maps, unseen)) == 0.0


def test_what_a_point_means_can_be_learnt(pointed):
    model, batch = pointed
    torch.manual_seed(0)
    model.train().requires_grad_(True)
    losses = DetectionLoss(model.segmenter, model.language.finder, AuxiliaryHeads(24))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, fused=True)
    told = []
    for _ in range(120):
        parts = losses(batch, model.segmenter.encode(batch.images))
        optimizer.zero_grad()
        # Alone: with the others, whose boxes are jittered, so few steps lead elsewhere on every machine.
        parts["reach"].backward()
        optimizer.step()
        told.append(float(parts["reach"].detach()))
    assert told[-1] < 0.3 * told[0]
    with torch.no_grad():
        maps = model.language.finder.maps(model.segmenter.encode(batch.images))
        boxes = model.language.finder.at(
            maps, torch.tensor([[6 / 24, 6 / 16], [20 / 24, 12 / 16]]), torch.tensor([0, 0])
        )
    own, other = overlap_of(boxes, batch.boxes[:, 0]), overlap_of(boxes, batch.boxes[:, 0].flip(0))
    assert float(own.mean()) > 0.7
    assert float((own - other).min()) > 0.2  # each point means what it lies on


def test_a_finder_that_knows_nothing_of_points_says_so(finder):
    maps = finder.maps(_pyramid())
    assert maps.reach is None
    with pytest.raises(ValueError, match=r"wanted one whose language\.things\.points is true"):
        finder.at(maps, torch.tensor([[0.5, 0.5]]), torch.tensor([0]))


@pytest.fixture
def scene(finder):
    model = tiny_model()
    proposals = finder(_pyramid())
    prompts = model.language.finder.prompts(proposals.features, proposals.boxes)
    return model, model.language.scene(proposals, prompts, torch.tensor([1.0, 0.0]))


def test_what_is_hardly_a_thing_changes_no_other(scene):
    model, before = scene
    proposals = before.proposals
    doubtful = proposals.scores < 0
    assert bool(doubtful.any())
    shifted = torch.where(doubtful[..., None], proposals.boxes * 0.9, proposals.boxes)
    changed = Proposals(proposals.features, shifted, torch.where(doubtful, proposals.scores - 40, proposals.scores))
    certain = Proposals(proposals.features, proposals.boxes, changed.scores)
    reader = model.language.scene
    times = torch.tensor([1.0, 0.0])
    # Links are left out: what moved where is told by all things that look alike.
    a = reader(certain, before.prompts, times).states[~doubtful]
    b = reader(changed, before.prompts, times).states[~doubtful]
    assert float((a - b).abs().max()) < 0.05 * float(a.abs().max())


def test_the_same_look_near_by_is_linked(scene):
    model, _ = scene
    features = torch.randn(1, 3, 24).expand(2, -1, -1)
    boxes = torch.rand(1, 3, 4).expand(2, -1, -1) * 0.5 + 0.2
    proposals = Proposals(features, boxes, torch.full((2, 3), 5.0))
    linked = model.language.scene(proposals, torch.zeros(2, 3, 32), torch.tensor([0.2, 0.0])).links
    assert linked[:3, 3:].argmax(dim=1).tolist() == [0, 1, 2]


def test_what_was_out_of_view_has_not_moved_and_is_known_to_be_gone(scene):
    """Seen on the one frame only, it is where it is; seen on both, the way is as long as it was."""
    model, _ = scene
    reader = model.language.scene
    boxes = torch.tensor([[[0.3, 0.5, 0.1, 0.1]], [[0.6, 0.5, 0.1, 0.1]]])
    seen: list[torch.Tensor] = []
    hook = reader.moves.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    proposals = Proposals(torch.zeros(2, 1, 24), boxes, torch.full((2, 1), 5.0))
    for how in (0.0, 1.0):
        sure = torch.full((2, 1, 2, 1), how)
        there = how * boxes[:, 0].expand(2, 1, 2, 4)
        reader._moved(proposals, there, sure, torch.zeros(2, 1, 2, 32), torch.zeros(2, 32))
    hook.remove()
    gone, there = seen
    assert float(gone[1, 0, 0, :7].abs().max()) < 1e-4  # no way, and not sure at all
    assert there[1, 0, 0, 0] == pytest.approx(-3.0, abs=1e-3)  # three tenths of the image to the left
    assert there[1, 0, 0, 6] == pytest.approx(1.0, abs=1e-3)


def test_the_way_that_most_things_go_is_the_camera_s():
    standing = torch.tensor([0.5, -0.2])
    ways = standing.expand(2, 5, 2, 2).clone()
    ways[:, 0] = torch.tensor([3.0, 3.0])  # one moves by itself
    ways[1, 1:4] = torch.tensor([-9.0, 9.0])  # and here most are not there
    counts = torch.ones(2, 5, 2, 1, dtype=torch.bool)
    counts[1, :4] = False
    torch.testing.assert_close(way_of_all(ways, counts), standing.expand(2, 1, 2, 2))
    assert float(way_of_all(ways, torch.zeros_like(counts)).abs().max()) == 0.0


def moving(begins: int, ends: int, pan: float = 0.0) -> torch.Tensor:
    """Boxes [6, 4] of a thing that goes a tenth of the image a frame from `begins` to `ends`; the camera may pan."""
    x = torch.tensor([0.2 + 0.1 * min(max(t - begins, 0), ends - begins) + pan * t for t in range(6)])
    return torch.stack((x, *torch.full((3, 6), 0.3)), dim=1)


def speeds(*boxes: torch.Tensor, sure: torch.Tensor | None = None) -> torch.Tensor:
    """What is known of the speed of each thing, seen from the newest frame [N, 5, 7]; a frame takes half a second."""
    there = torch.stack(boxes)[None].expand(6, -1, -1, -1)
    known = torch.ones(*there.shape[:3], 1) if sure is None else sure
    times = torch.arange(5, -1, -1) * 0.5
    return speeds_of(there * known, known, torch.ones(there.shape[:2], dtype=torch.bool), times)[-1]


def test_speed_tells_when_a_thing_began_to_move_and_when_it_stopped():
    (early, late, *_) = speeds(moving(0, 2), moving(3, 5), moving(0, 0), moving(0, 0), moving(0, 0))
    torch.testing.assert_close(early[:, 0], torch.tensor([2.0, 2.0, 0.0, 0.0, 0.0]))  # two tenths a second
    torch.testing.assert_close(late[:, 0], torch.tensor([0.0, 0.0, 0.0, 2.0, 2.0]))


def test_what_all_things_do_is_no_speed_of_their_own():
    still, moved, *_ = speeds(*(moving(*ends, pan=0.05) for ends in ((0, 0), (0, 2), (0, 0), (0, 0), (0, 0))))
    torch.testing.assert_close(still[:, 0], torch.ones(5))
    torch.testing.assert_close(still[:, 4], torch.zeros(5))
    torch.testing.assert_close(moved[:, 4], torch.tensor([2.0, 2.0, 0.0, 0.0, 0.0]))


def test_nothing_is_known_of_a_speed_into_hiding_and_out_of_it():
    sure = torch.ones(6, 1, 6, 1)
    sure[:, :, 2] = 0.2
    (thing,) = speeds(moving(0, 5), sure=sure)
    assert thing[:, 6].tolist() == [1, 0, 0, 1, 1]
    assert float(thing[1:3].abs().max()) == 0.0


def test_frames_of_one_moment_make_no_endless_speed():
    there = torch.rand(2, 1, 2, 4)
    found = speeds_of(there, torch.ones(2, 1, 2, 1), torch.ones(2, 1, dtype=torch.bool), torch.zeros(2))
    assert bool(found.isfinite().all())


def test_a_reader_of_speeds_begins_as_one_without():
    config = tiny_config().language.things
    torch.manual_seed(0)
    told = RelationEncoder(config)
    plain = RelationEncoder(replace(config, speeds=False))
    plain.load_state_dict({name: tensor for name, tensor in told.state_dict().items() if "speeds" not in name})
    proposals = Proposals(torch.randn(3, 2, 24), torch.rand(3, 2, 4) * 0.5 + 0.2, torch.full((3, 2), 5.0))
    given = (proposals, torch.zeros(3, 2, 32), torch.tensor([1.0, 0.5, 0.0]))
    torch.testing.assert_close(told(*given).states, plain(*given).states)
    torch.nn.init.normal_(told.speeds.layers[-1].weight)
    assert not torch.allclose(told(*given).states, plain(*given).states)
    alone = (
        Proposals(*(x[:1] for x in (proposals.features, proposals.boxes, proposals.scores))),
        torch.zeros(1, 2, 32),
    )
    assert bool(told(*alone, torch.zeros(1)).states.isfinite().all())


def test_what_a_thing_looks_like_is_the_mean_of_the_frames_that_show_it():
    features = torch.randn(3, 2, 4)
    nowhere = torch.zeros(3, 2, 3, 2)
    torch.testing.assert_close(looks_together(features, nowhere), features)
    where = nowhere.clone()
    where[0, 0, 2, 1] = 1.0  # the first thing of frame 0 is the second one of frame 2
    where[0, 0, 1, 0] = 0.5  # and as likely as not the first one of frame 1
    where[0, 0, 0, 1] = 0.9  # on its own frame it is itself, whatever looks alike
    together = looks_together(features, where)
    mean = (features[0, 0] + features[2, 1] + 0.5 * features[1, 0]) / 2.5
    torch.testing.assert_close(together[0, 0], mean)
    torch.testing.assert_close(together[0, 1], features[0, 1])
    torch.testing.assert_close(together[1:], features[1:])


def test_what_happened_is_taught_where_it_is_known():
    teacher = AuxiliaryHeads(8)
    states = torch.randn(3, 8, requires_grad=True)
    happened = torch.full((3, len(LESSONS)), -1)
    assert float(teacher.told(states, happened).detach()) == 0.0
    happened[1, LESSONS.index("fell")] = 1
    teacher.told(states, happened).backward()
    assert states.grad is not None
    assert states.grad.abs().sum(dim=1).nonzero().flatten().tolist() == [1]


def test_a_link_is_weighed_against_none_of_these():
    links = torch.tensor([[2.0, -1.0], [-3.0, -4.0]])
    chances = or_none(links).softmax(dim=-1)
    assert chances.argmax(dim=-1).tolist() == [0, 2]
    torch.testing.assert_close(chances.sum(dim=-1), torch.ones(2))


def _prompts(count: int) -> Prompts:
    torch.manual_seed(5)
    return Prompts(torch.randn(count, 32), torch.randn(count, 2, 32), torch.zeros(count, 2))


def _scores(model, prompts: Prompts, parts: list[torch.Tensor], scene: EncodedScene) -> torch.Tensor:
    return model.pointer(prompts, Words.of(parts), scene, torch.zeros(len(parts), 2, 7))


def test_pointing_does_not_depend_on_what_else_is_asked(scene):
    model, about = scene
    prompts, parts = _prompts(2), [torch.randn(5, 48), torch.randn(9, 48)]
    together = _scores(model, prompts, parts, about)
    assert together.shape == (2, 2, 7)
    alone = Prompts(prompts.video[:1], prompts.frames[:1], prompts.key_scores[:1])
    torch.testing.assert_close(together[:1], _scores(model, alone, parts[:1], about), atol=1e-5, rtol=1e-4)


def test_pointing_depends_on_the_words(scene):
    model, about = scene
    prompts = _prompts(1)
    a, b = (_scores(model, prompts, [torch.randn(5, 48)], about) for _ in range(2))
    assert not torch.allclose(a, b)


def test_pointing_begins_with_what_is_marked(scene):
    model, about = scene
    prompts, parts = _prompts(1), [torch.randn(5, 48)]
    marked = torch.zeros(1, 2, 7)
    marked[0, 0, 3], marked[0, 1, 6] = 30.0, 30.0
    scores = model.pointer(prompts, Words.of(parts), about, marked)
    torch.testing.assert_close(scores - marked, _scores(model, prompts, parts, about))
    assert scores.argmax(dim=-1)[0].tolist() == [3, 6]


def test_the_prompt_is_that_of_the_thing_pointed_at(scene):
    model, about = scene
    scores = torch.full((1, 2, 7), -40.0)
    scores[0, 0, 1] = scores[0, 1, 4] = 40.0
    got = model.pointer.pointed(_prompts(1), scores, about)
    torch.testing.assert_close(got.frames[0, 0], about.prompts[0, 1])
    torch.testing.assert_close(got.frames[0, 1], about.prompts[1, 4])
    assert got.present is not None
    assert float(got.present.min()) > 20
    scores[..., -1] = 90.0  # none of these
    nothing = model.pointer.pointed(_prompts(1), scores, about).present
    assert nothing is not None
    assert float(nothing.max()) < -20
