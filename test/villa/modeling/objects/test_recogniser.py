"""What the recogniser says of a picture, how its weights are read, and how the finder uses it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from drawn_clips import draw_clip
from tfjs import save_graph
from tiny import tiny_config, tiny_model

from villa.checkpoints.checkpoint import load, save
from villa.checkpoints.convert.nanodet import NanoDetError, load_nanodet
from villa.inference.answering import encode_clip
from villa.interface import ClipFrame
from villa.modeling.objects.detector import names_in, overlap_of
from villa.modeling.objects.recogniser import CHANNELS, NAMES, STRIDES, Recognised, Recogniser, pixels
from villa.training.glances import glanced
from villa.training.train import TrainConfig, train

HEIGHT, WIDTH = 64, 96
CUP, BOWL = NAMES.index("cup"), NAMES.index("bowl")


def recognising(frames: int = 2):
    config = tiny_config()
    things = replace(config.language.things, recognised_frames=frames)
    return tiny_model(config=replace(config, language=replace(config.language, things=things)))


def _recogniser() -> Recogniser:
    torch.manual_seed(5)
    return Recogniser().eval().requires_grad_(False)


def _said(cells: dict[tuple[int, int], tuple[float, list[float]]], frames: tuple[int, ...] = (0,)) -> Recognised:
    """(cell, name) -> probability and box, the same on all these frames."""
    count = sum(HEIGHT // s * (WIDTH // s) for s in STRIDES)
    scores, boxes = torch.zeros(len(frames), count, len(NAMES)), torch.full((len(frames), count, 4), 0.01)
    for (cell, name), (chance, box) in cells.items():
        scores[:, cell, name] = chance
        boxes[:, cell] = torch.tensor(box)
    levels = tuple(torch.randn(len(frames), CHANNELS, HEIGHT // s, WIDTH // s) for s in STRIDES)
    images = torch.zeros(len(frames), 3, HEIGHT, WIDTH)
    return Recognised(torch.tensor(frames), scores, boxes, levels, images, torch.ones(len(frames)))


# -- the network -------------------------------------------------------------------------------------------------------


def test_each_cell_tells_names_and_how_far_the_sides_are():
    model = _recogniser()
    for tell in model.tell:
        tell.conv.weight.zero_()
        tell.conv.bias.fill_(-8.0)
        tell.conv.bias[CUP] = 3.0
        # Left 1 stride, top 2, right half of 1 and half of 2, bottom 0.
        sides = tell.conv.bias[len(NAMES) :].view(4, 11)
        sides.fill_(-60.0)
        for side, steps in enumerate(((1,), (2,), (1, 2), (0,))):
            sides[side, list(steps)] = 0.0
    said = model(torch.zeros(1, 3, HEIGHT, WIDTH), (4,))
    assert said.frames.tolist() == [4]
    assert said.scores.shape == (1, 8 * 12 + 4 * 6 + 2 * 3, 80)
    torch.testing.assert_close(said.scores[0, :, CUP], torch.full((126,), 3.0).sigmoid())
    assert float(said.scores[0, :, BOWL].max()) < 1e-3
    # Of stride 8 the cell in row 4, column 5: its middle is at 44, 36.
    left, top, right, bottom = 44 - 8, 36 - 16, 44 + 12, 36
    box = said.boxes[0, 4 * 12 + 5]
    wanted = [(left + right) / 2 / WIDTH, (top + bottom) / 2 / HEIGHT, (right - left) / WIDTH, (bottom - top) / HEIGHT]
    torch.testing.assert_close(box, torch.tensor(wanted))
    # At the edge a box ends with the picture.
    assert float((said.boxes[..., 0] - said.boxes[..., 2] / 2).min()) >= 0
    assert float((said.boxes[..., 1] - said.boxes[..., 3] / 2).min()) >= 0


def test_several_frames_are_seen_as_each_alone():
    model = _recogniser()
    images = torch.rand(2, 3, HEIGHT, WIDTH) * 255
    both = model(images, (1, 3))
    alone = Recognised.joined([model(images[:1], (1,)), model(images[1:], (3,))])
    for mine, theirs in zip(
        (both.scores, both.boxes, *both.levels), (alone.scores, alone.boxes, *alone.levels), strict=True
    ):
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)
    assert both.frames.tolist() == alone.frames.tolist() == [1, 3]


def test_pictures_of_any_size_become_its_input():
    rgb = np.zeros((31, 77, 3), np.uint8)
    rgb[..., 0] = 200
    seen = pixels([rgb, rgb], WIDTH, HEIGHT)
    assert seen.shape == (2, 3, HEIGHT, WIDTH)
    assert seen[:, 0].unique().tolist() == [200.0]


# -- its weights -------------------------------------------------------------------------------------------------------


def test_published_weights_become_the_same_network(tmp_path):
    model = _recogniser()
    state = {name: tensor.half().float() for name, tensor in model.state_dict().items()}
    read = load_nanodet(save_graph(model, tmp_path))
    assert read.keys() == state.keys()
    for name, tensor in state.items():
        assert torch.equal(read[name], tensor), name


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "nanodet.json").unlink(), "wanted nanodet.json and nanodet.bin"),
        (lambda folder: (folder / "nanodet.json").write_text("{}"), "of a TensorFlow.js graph model"),
        (
            lambda folder: (folder / "nanodet.bin").write_bytes(b"\0" * 100),
            "has 100 bytes, weight 'stem/kernel' ends at",
        ),
        (lambda folder: save_graph(_recogniser(), folder, without="tell.2"), "33 convolutions, 33 of them with a bias"),
        (lambda folder: _renamed(folder), "weight 'stem/kernel' is uint8"),
    ],
)
def test_what_is_not_this_network_is_refused(tmp_path, spoil, said):
    save_graph(_recogniser(), tmp_path)
    spoil(tmp_path)
    with pytest.raises(NanoDetError, match=said):
        load_nanodet(tmp_path)


def _renamed(folder) -> None:
    data = json.loads((folder / "nanodet.json").read_text())
    data["weightsManifest"][0]["weights"][0]["quantization"]["dtype"] = "uint8"
    (folder / "nanodet.json").write_text(json.dumps(data))


def test_another_kernel_is_refused_by_name(tmp_path):
    save_graph(_recogniser(), tmp_path)
    data = json.loads((tmp_path / "nanodet.json").read_text())
    data["weightsManifest"][0]["weights"][0]["shape"] = [3, 3, 32, 3]
    (tmp_path / "nanodet.json").write_text(json.dumps(data))
    with pytest.raises(NanoDetError, match=r"'stem/conv' has a kernel \(3, 32, 3, 3\), wanted \(32, 3, 3, 3\)"):
        load_nanodet(tmp_path)


# -- in the finder -----------------------------------------------------------------------------------------------------


def test_a_new_recogniser_changes_no_description_and_no_weights_are_lost(tmp_path):
    model = recognising()
    images = torch.rand(2, 3, HEIGHT, WIDTH)
    pyramid = model.segmenter.encode(images)
    boxes, frame = torch.tensor([[0.3, 0.4, 0.3, 0.3], [0.6, 0.5, 0.2, 0.4]]), torch.tensor([0, 1])
    finder = model.language.finder
    plain = finder.read(pyramid, boxes, frame)
    said = glanced(model.language, images)
    assert torch.equal(finder.read(pyramid, boxes, frame, said), plain)
    finder.recognition.layers[-1].weight.normal_()
    alone = replace(said, frames=torch.tensor([1, 7]))
    told = finder.read(pyramid, boxes, frame, alone)
    assert torch.equal(told[0], plain[0])  # nobody looked at frame 0
    assert not torch.allclose(told[1], plain[1], atol=1e-3)
    save(model, tmp_path / "villa.safetensors", torch.float32)
    again = load(tmp_path / "villa.safetensors")
    assert again.config.language.things.recognised_frames == 2
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_names_are_those_of_cells_that_mean_the_same_box():
    box, elsewhere = [0.5, 0.5, 0.4, 0.4], [0.2, 0.2, 0.1, 0.1]
    said = _said({(3, CUP): (0.81, box), (4, CUP): (0.25, box), (5, BOWL): (0.64, elsewhere)})
    about = names_in(torch.tensor([box, [0.8, 0.8, 0.1, 0.1]]), torch.tensor([0, 0]), said)
    assert float(about[0, CUP]) == pytest.approx(0.9)
    assert float(about[0, BOWL]) == 0.0
    assert float(about[1].max()) == 0.0


def test_what_is_recognised_is_found_once_and_only_where_it_was_looked_for():
    model = recognising()
    finder = model.language.finder
    pyramid = model.segmenter.encode(torch.zeros(2, 3, HEIGHT, WIDTH))
    plain = finder(pyramid)
    box, near = [0.31, 0.42, 0.5, 0.5], [0.32, 0.42, 0.5, 0.5]
    said = _said({(3, CUP): (0.9, box), (4, CUP): (0.8, near), (5, BOWL): (0.1, [0.7, 0.7, 0.2, 0.2])}, frames=(1,))
    found = finder(pyramid, said)
    assert torch.equal(found.boxes[0], plain.boxes[0])
    assert found.boxes.shape == plain.boxes.shape
    torch.testing.assert_close(found.boxes[1, 0], torch.tensor(box))
    assert float(found.scores[1, 0].sigmoid()) == pytest.approx(0.9, abs=1e-3)
    same = overlap_of(found.boxes[1], torch.tensor(box)) > 0.55
    assert (found.scores[1][same] > -20).sum() == 1
    assert bool(torch.isfinite(found.features).all())
    # Likeliest first, so that those left out are the least likely.
    assert found.scores[1].tolist() == sorted(found.scores[1].tolist(), reverse=True)


def test_a_request_has_a_few_frames_looked_at_the_newest_among_them():
    model = recognising(2)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8) for _ in range(3)]
    asked: list[int] = []

    def image(index: int):
        asked.append(index)
        return images[index]

    clip = [
        ClipFrame(t / 5, lambda t=t: image(t), features=model.encode(images[t])) for t in range(3)
    ]  # the fast pass saw all of them
    looked: list[tuple[int, ...]] = []
    recognise = model.language.recognise
    model.language.recognise = lambda x, frames, stretch: looked.append(tuple(frames)) or recognise(x, frames, stretch)
    with torch.inference_mode():
        steps, encoded = _steps(encode_clip(model, "the mug", clip, 3, newest=True))
    assert asked == [0, 2]
    assert looked == [(0,), (2,)]  # a step each
    assert steps >= 3 + 2
    whole = model.language.see([images[0], images[2]], encoded.pyramid, encoded.times_s)
    torch.testing.assert_close(encoded.visual.tokens, whole.tokens)


def _steps(work):
    """How many steps there were, and the result."""
    count = 0
    while True:
        try:
            next(work)
        except StopIteration as stop:
            return count, stop.value
        count += 1


# -- in training -------------------------------------------------------------------------------------------------------


def test_a_run_gives_a_model_a_recogniser_that_itself_learns_nothing(tmp_path):
    draw_clip(tmp_path / "clips" / "0000000", 0)
    start = tmp_path / "start" / "villa.safetensors"
    start.parent.mkdir()
    save(tiny_model(), start, torch.float32)
    graph = save_graph(_recogniser(), tmp_path / "graph")
    config = TrainConfig(
        data=tmp_path / "clips", out=tmp_path / "run", phase="things", init=start, steps=3, decay_steps=1,
        warmup_steps=1, clips_per_step=1, frames=2, fewest_frames=2, threads=1, recogniser=graph,
        validate=tmp_path / "clips",
    )  # fmt: skip
    model = load(train(config))
    assert model.config.language.things.recognised_frames == 3
    for name, tensor in load_nanodet(graph).items():
        torch.testing.assert_close(model.language.recogniser.state_dict()[name], tensor, rtol=0.005, atol=1e-3)
    assert float(model.language.finder.recognition.layers[-1].weight.abs().max()) > 0  # what it says is listened to
    # The phase of words, on what was seen with it and without it.
    words = replace(config, out=tmp_path / "words", phase="focus", init=tmp_path / "run" / "villa.safetensors", aims=8)
    assert load(train(replace(words, recogniser=None))).config == model.config
    assert load(train(replace(config, steps=4))).config == model.config  # goes on


def test_a_run_whose_recogniser_is_not_there_says_so(tmp_path):
    draw_clip(tmp_path / "clips" / "0000000", 0)
    start = tmp_path / "villa.safetensors"
    save(tiny_model(), start, torch.float32)
    config = TrainConfig(data=tmp_path / "clips", out=tmp_path / "run", init=start, recogniser=tmp_path)
    with pytest.raises(NanoDetError, match=r"wanted nanodet\.json and nanodet\.bin"):
        train(config)
