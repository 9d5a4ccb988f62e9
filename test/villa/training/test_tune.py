"""Tuning any ViLLa on videos with expressions: it learns, it resumes, only what may move does."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from mevis import draw
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import tiny_model
from tiny_parts import parts_config, save_parts

from villa import masks
from villa.checkpoints.build import from_folders
from villa.checkpoints.checkpoint import is_own, load, save
from villa.data.referring_videos import Expression, Expressions, ExpressionsError
from villa.evaluation.davis_jf import region_similarity
from villa.inference.video import segment
from villa.modeling.segmenters.interface import Masks
from villa.training.answer_loss import (
    POINTS,
    AnswerLoss,
    Asked,
    TuneLosses,
    mask_terms,
    matched,
    sampled,
)
from villa.training.tune import Clips, TuneConfig, TuneError, groups_of, prepared, question, stretch, tune


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return draw(tmp_path_factory.mktemp("mevis"))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("small") / "villa.safetensors"
    save(tiny_model(), path, torch.float32)
    return path


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """SAM 2 and Qwen3-VL with adapters."""
    hub = save_parts(tmp_path_factory.mktemp("hub"), "qwen3_vl")
    config = parts_config("qwen3_vl")
    config = replace(config, language=replace(config.language, lora_rank=4))
    torch.manual_seed(0)
    model = from_folders(config, *hub, torch.float32)
    model.language.start_rows()
    folder = tmp_path_factory.mktemp("large") / "checkpoint"
    save(model, folder, None)
    return folder


def _config(data, init, out, **changes) -> TuneConfig:
    base = TuneConfig(data=data, out=out, init=init, steps=2, warmup_steps=1, decay_steps=1, log_every=1, mixed=False)
    return replace(base, **changes)


def _curve(out, tag: str = "total") -> list[float]:
    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    return [event.value for event in events.Scalars(tag)]


@pytest.mark.slow
def test_a_run_on_one_clip_overfits_to_j_above_nine_tenths(data, small, tmp_path):
    config = _config(
        data, small, tmp_path, steps=400, decay_steps=200, warmup_steps=20, lr=2e-3, log_every=50, frames=3
    )
    model = load(tune(config))
    read = Expressions(data)
    (video,) = read
    frames = [read.rgb(video, t) for t in range(len(video.frames))]
    scores = []
    for expression in video.expressions[:2]:
        seen = segment(model, frames, expression.text, fps=video.fps)
        (tracklet,) = seen.tracklets
        assert seen.raw_text == expression.answer
        for t, mask in enumerate(tracklet.masks):
            truth = read.mask(expression.masks[0], t, frames[t].shape[:2])
            mine = np.zeros_like(truth) if mask is None else masks.decode(mask)
            scores.append(region_similarity(mine, truth))
    assert np.mean(scores) > 0.9
    assert segment(model, frames, "the banana", fps=video.fps).tracklets == ()
    assert np.mean(_curve(tmp_path)[-1:]) < 0.5 * _curve(tmp_path)[0]


def test_a_large_model_learns_adapters_and_blocks_and_nothing_else(data, large, tmp_path):
    before = load(large).state_dict()
    path = tune(_config(data, large, tmp_path, steps=6, lr=1e-2, adapter_lr=1e-2, decoder_lr=1e-2))
    after = load(path).state_dict()
    moved = {n for n in before if not torch.allclose(before[n].float(), after[n].float(), atol=1e-2, rtol=1e-2)}
    assert all(is_own(name) for name in moved)
    for part in (
        "lora_B",
        "language.new_rows",
        "to_video_prompt",
        "synthesizer",
        "synchronizer",
        "segmenter.own_decoder",
    ):
        assert any(part in name for name in moved), part
    for part in ("mllm", "sam2"):
        assert (path / part).is_symlink()
        assert (path / part / "model.safetensors").read_bytes() == (large / part / "model.safetensors").read_bytes()


def test_loader_processes_make_what_this_process_makes(data, small, tmp_path, no_forks):
    def losses(out, **changes) -> list[float]:
        tune(_config(data, small, out, steps=3, **changes))
        return _curve(out)

    assert losses(tmp_path / "loaded", loaders=1) == pytest.approx(losses(tmp_path / "made"), rel=1e-3)


def test_nothing_of_a_published_part_learns(data, large, tmp_path):
    model = prepared(_config(data, large, tmp_path))
    learns = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert learns
    assert all(is_own(name) for name in learns)
    assert any(name.startswith("sampler.") for name in learns)


def test_a_large_model_s_losses_fall(data, large, tmp_path):
    # Single steps say little: each asks other questions about other frames. The same ones are asked before and after.
    config = _config(
        data, large, tmp_path, steps=40, decay_steps=10, warmup_steps=5, lr=3e-3, adapter_lr=3e-3, decoder_lr=3e-3
    )
    before = _mean_losses(load(large), config)
    after = _mean_losses(load(tune(config)), config)
    assert len(_curve(tmp_path)) == 40
    for name in ("text", "bce", "dice", "v_bce", "v_dice"):
        assert after[name] < 0.8 * before[name], name
    assert after["total"] < 0.6 * before["total"]


@torch.no_grad()
def _mean_losses(model, config, batches: int = 12) -> dict[str, float]:
    clips = iter(Clips(config, Expressions(config.data), model.segmenter.mask_grid, model.config.clip_frames, 99))
    losses = AnswerLoss(model, TuneLosses(rollout=False))
    torch.manual_seed(0)
    parts = [losses(next(clips)) for _ in range(batches)]
    return {name: float(np.mean([float(part[name]) for part in parts if name in part])) for name in parts[0]}


def test_untrained_adapters_change_nothing(large, tmp_path):
    config = load(large).config
    plain = replace(config, language=replace(config.language, lora_rank=0))
    without = from_folders(plain, large / "mllm", large / "sam2", torch.float32).eval()
    with_them = load(large)
    inputs = with_them.language.text_inputs(torch.randn(9, with_them.language.width), 0)
    assert torch.equal(with_them.language.read(inputs), without.language.read(inputs))


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(data, large, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    tune(_config(data, large, whole, steps=2))
    tune(_config(data, large, parts, steps=1, decay_steps=0))
    tune(_config(data, large, parts, steps=2))
    steps = [json.loads(p.read_text())["steps"] for p in (whole / "config.json", parts / "config.json")]
    assert steps == [2, 2]
    assert len(_curve(parts)) == 2


def test_a_run_that_trains_other_parameters_is_not_continued(data, large, tmp_path):
    tune(_config(data, large, tmp_path, steps=1, trained=("synchronizer.",)))
    with pytest.raises(TuneError, match="choose another --out"):
        tune(_config(data, large, tmp_path, steps=2, trained=("synthesizer.",)))


def test_a_checkpoint_without_adapters_gets_some(data, tmp_path):
    hub = save_parts(tmp_path / "hub", "internvl")
    plain = from_folders(parts_config("internvl"), *hub, torch.float32)
    save(plain, tmp_path / "plain", None)
    path = tune(_config(data, tmp_path / "plain", tmp_path / "out", lora_rank=2, trained=("lora_",)))
    tuned = load(path)
    assert tuned.config.language.lora_rank == 2
    assert any("lora_B" in n and float(p.abs().max()) > 0 for n, p in tuned.named_parameters())
    with pytest.raises(TuneError, match="adapters of rank 2, wanted 3"):
        tune(_config(data, path, tmp_path / "other", lora_rank=3))


def test_a_model_that_is_trained_whole_has_no_adapters(data, small, tmp_path):
    with pytest.raises(TuneError, match="trained whole"):
        tune(_config(data, small, tmp_path, lora_rank=4))


def test_two_processes_learn_one_model(data, large, tmp_path):
    script = tmp_path / "work.py"
    script.write_text(
        "import sys, torch\n"
        "from pathlib import Path\n"
        "from villa.training.tune import TuneConfig, tune\n"
        "torch.set_num_threads(1)\n"
        "tune(TuneConfig(data=Path(sys.argv[1]), init=Path(sys.argv[2]), out=Path(sys.argv[3]), steps=3,\n"
        "    warmup_steps=1, decay_steps=1, log_every=1, mixed=False))\n"
    )
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    done = subprocess.run(
        [sys.executable, *command, str(data), str(large), str(tmp_path / "out")],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(_curve(tmp_path / "out")) == 3
    assert load(tmp_path / "out" / "checkpoint").config.language.lora_rank == 4


def test_training_nothing_is_refused(data, large, tmp_path):
    with pytest.raises(TuneError, match="nothing would be trained"):
        tune(_config(data, large, tmp_path, trained=("no such part",)))


@pytest.mark.parametrize("kind", ["small", "large"])
def test_mixed_precision_gives_nearly_the_same_loss(data, small, large, tmp_path, kind):
    model = prepared(_config(data, {"small": small, "large": large}[kind], tmp_path))
    clips = Clips(_config(data, small, tmp_path), Expressions(data), model.segmenter.mask_grid, 3, 0)
    batch = next(iter(clips))
    losses = AnswerLoss(model, TuneLosses(rollout=False))
    torch.manual_seed(0)
    exact = losses(batch)
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = losses(batch)
    assert float(mixed["total"].detach()) == pytest.approx(float(exact["total"].detach()), rel=0.05)


def test_checkpointing_gives_the_same_gradients(data, large, tmp_path):
    gradients = []
    for checkpointing in (False, True):
        model = prepared(_config(data, large, tmp_path)).train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        if checkpointing:
            model.language.recompute_activations()
        clips = Clips(_config(data, large, tmp_path), Expressions(data), model.segmenter.mask_grid, 3, 0)
        batch = next(iter(clips))
        torch.manual_seed(0)
        with torch.no_grad():  # gates that are open let gradients through every block
            model.synchronizer.amount.fill_(0.3)
            model.synthesizer.gate.fill_(0.3)
        AnswerLoss(model, TuneLosses(rollout=False, recompute=checkpointing))(batch)["total"].backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    plain, again = gradients
    assert plain.keys() == again.keys()
    assert any("lora" in name and float(g.abs().max()) > 0 for name, g in plain.items())
    for name, gradient in plain.items():
        torch.testing.assert_close(again[name], gradient, atol=1e-4, rtol=1e-2, msg=name)


def test_rollouts_teach_the_propagator(data, small, tmp_path):
    model = prepared(_config(data, small, tmp_path)).train()
    clips = Clips(_config(data, small, tmp_path), Expressions(data), model.segmenter.mask_grid, 5, 0)
    batch = next(iter(clips))
    torch.manual_seed(1)
    parts = AnswerLoss(model, TuneLosses(rollout=True, frozen_eyes=False))(batch)
    assert {"r_bce", "r_dice", "r_present"} <= set(parts)
    sum(value for name, value in parts.items() if name.startswith("r_")).backward()
    assert model.segmenter.propagator.attention.still.weight.grad is not None


def test_adapters_decoder_and_blocks_have_rates_of_their_own(data, large, tmp_path):
    config = _config(data, large, tmp_path, lr=1.0, adapter_lr=2.0, decoder_lr=3.0)
    groups = groups_of(prepared(config), config)
    assert {group["lr"] for group in groups} == {1.0, 2.0, 3.0}
    assert {group["weight_decay"] for group in groups} == {0.0, config.weight_decay}


# -- losses --------------------------------------------------------------------------------------------------------


def test_objects_whose_order_means_nothing_are_paired_with_what_they_cover():
    target = torch.zeros(3, 1, 8, 8)
    target[0, 0, :4], target[1, 0, 4:], target[2, 0, :, :4] = 1, 1, 1
    swapped = (target[[1, 0, 2]] * 2 - 1) * 9.0
    drawn = Masks(swapped.flatten(0, 1), torch.ones(3), torch.ones(3), torch.zeros(3, 4))
    groups = torch.tensor([0, 0, 1])
    free = [Asked("both", "", ordered=False), Asked("one", "", ordered=True)]
    assert matched(drawn, target, free, groups).tolist() == [1, 0, 2]
    assert matched(drawn, target, [replace(a, ordered=True) for a in free], groups).tolist() == [0, 1, 2]


def test_a_perfect_mask_costs_next_to_nothing_and_an_inverted_one_much():
    target = torch.zeros(2, 16, 16)
    target[:, 4:10, 3:9] = 1
    right = (target * 2 - 1) * 12

    def cost(logits):
        sure = Masks(logits, torch.ones(2), torch.full((2,), 9.0), torch.zeros(2, 4))
        return float(sum(mask_terms(sure, target).values()))

    assert cost(right) < 0.01
    assert cost(-right) > 10


def test_what_is_not_visible_teaches_presence_alone():
    nothing = torch.zeros(1, 8, 8)
    parts = mask_terms(Masks(torch.randn(1, 8, 8), torch.ones(1), torch.ones(1), torch.zeros(1, 4)), nothing)
    assert set(parts) == {"present", "iou"}


def test_large_masks_are_compared_at_points_most_of_them_where_it_is_unsure():
    torch.manual_seed(0)
    logits = torch.full((1, 256, 256), 20.0)
    logits[:, :, 100:120] = 0.0  # unsure
    target = torch.zeros(1, 256, 256)
    values, truth = sampled(logits, target)
    assert values.shape == truth.shape == (1, POINTS)
    assert float((values.abs() < 10).float().mean()) > 0.2
    small, _ = sampled(logits[:, :64, :64], target[:, :64, :64])
    assert small.shape == (1, 64 * 64)


# -- data ----------------------------------------------------------------------------------------------------------


def test_frames_of_a_clip_ascend_and_differ():
    rng = np.random.default_rng(0)
    for length in (1, 3, 8, 9, 50):
        for _ in range(50):
            chosen = stretch(length, 8, rng)
            assert len(chosen) == min(8, length)
            assert chosen == sorted(set(chosen))
            assert 0 <= chosen[0] <= chosen[-1] < length


def test_an_expression_becomes_an_answer_with_a_seg_for_each_object():
    assert question(Expression("x", ())).answer == "It is not there."
    assert question(Expression("x", ("a",))).answer == "It is [SEG]."
    several = question(Expression("x", ("a", "b", "c")))
    assert several.answer == "They are [SEG], [SEG] and [SEG]."
    assert not several.ordered
    assert question(Expression("x", ("a", "b"), "the [SEG] and the [SEG]")).ordered


def test_masks_and_frames_are_read_as_they_were_written(data):
    read = Expressions(data)
    (video,) = read
    assert len(video.frames) == 6
    image = read.rgb(video, 0)
    mask = read.mask("00", 0, image.shape[:2])
    assert abs(image[mask].mean(axis=0) - (200, 40, 40)).max() < 12
    assert not read.mask("01", 2, image.shape[:2]).any()


def test_uncompressed_run_lengths_are_read_as_well(data, tmp_path):
    import shutil

    root = shutil.copytree(data, tmp_path / "raw")
    stored = json.loads((root / "mask_dict.json").read_text())
    mask = Expressions(root).mask("00", 0, (64, 96))
    flat = np.concatenate(([0], mask.T.reshape(-1).astype(int)))
    edges = np.flatnonzero(np.diff(np.concatenate((flat, [1 - flat[-1]]))))
    stored["00"][0] = {"size": [64, 96], "counts": np.diff(np.concatenate(([0], edges))).tolist()}
    (root / "mask_dict.json").write_text(json.dumps(stored))
    assert np.array_equal(Expressions(root).mask("00", 0, (64, 96)), mask)


def _damaged(data, tmp_path, change):
    import shutil

    root = shutil.copytree(data, tmp_path / "damaged")
    meta, stored = (json.loads((root / n).read_text()) for n in ("meta_expressions.json", "mask_dict.json"))
    change(meta["videos"]["video0"], stored)
    (root / "meta_expressions.json").write_text(json.dumps(meta))
    (root / "mask_dict.json").write_text(json.dumps(stored))
    return root


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda v, m: v.pop("frames"), r"video 'video0': wanted 'frames'"),
        (lambda v, m: v["frames"].__setitem__(0, "nothing"), r"first frame is not there: looked for JPEGImages"),
        (lambda v, m: m.pop("01"), r"expression '1': mask '01' is not in mask_dict"),
        (lambda v, m: m["00"].pop(), r"mask '00' has 5 frames, the video 6"),
        (lambda v, m: v["expressions"]["0"].pop("exp"), r"expression '0': wanted 'exp'"),
        (lambda v, m: v["expressions"]["0"].update(answer="no mark"), r"answer has 0 \[SEG\] for 1 masks"),
        (lambda v, m: v.update(expressions=[]), r"wanted 'expressions', saw list"),
    ],
)
def test_what_does_not_fit_the_format_is_named(data, tmp_path, change, match):
    with pytest.raises(ExpressionsError, match=match):
        Expressions(_damaged(data, tmp_path, change))


def test_a_folder_in_another_format_is_refused_by_the_first_file_that_is_missing(tmp_path):
    with pytest.raises(ExpressionsError, match=r"wanted one file meta_expressions\*\.json, saw none"):
        Expressions(tmp_path)


def test_a_mask_of_another_size_than_its_image_is_refused(data):
    with pytest.raises(ExpressionsError, match=r"96x64 px, the picture 50x40"):
        Expressions(data).mask("00", 0, (40, 50))
