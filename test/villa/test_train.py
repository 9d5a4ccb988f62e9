"""Training: it learns, it resumes where it stopped, and it says what is missing."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from drawn_clips import draw_clip
from tiny import tiny_model

from villa.checkpoint import load, save
from villa.data.clips import ClipReader
from villa.data.naming import FrameWords
from villa.data.requests import RequestSample
from villa.training import packing
from villa.training.clip_loss import ClipLoss
from villa.training.feed import Feed, FeedConfig, choose_frames, mistaken, recoloured, soft_mask, zoomed
from villa.training.losses import mask_losses, soft_iou
from villa.training.schedule import learning_rate
from villa.training.teacher import Teacher
from villa.training.train import TrainConfig, TrainError, train


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("clips")
    for seed in range(2):
        draw_clip(root / f"{seed:07d}", seed)
    return root


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    path = tmp_path_factory.mktemp("start") / "villa.safetensors"
    save(tiny_model(), path, torch.float32)
    return path


def _config(data, start, out, **changes) -> TrainConfig:
    base = TrainConfig(
        data=data, out=out, init=start, steps=3, decay_steps=1, warmup_steps=1, clips_per_step=1, frames=2,
        requests=3, log_every=1, threads=1, backbone_lr=0.0,
    )  # fmt: skip
    return replace(base, **changes)


def _losses(out) -> list[dict]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_joint_training_moves_every_part_that_it_may_and_no_other(data, start, tmp_path):
    before = load(start).state_dict()
    after = load(train(_config(data, start, tmp_path, lr=1e-2, mask_lr=1e-2, language_lr=1e-2))).state_dict()
    moved = {name for name in before if not torch.allclose(before[name], after[name], atol=2e-2, rtol=2e-2)}
    assert any(name.startswith("language.") for name in moved)
    assert any(name.startswith("segmenter.decoder.") for name in moved)
    # bfloat16 on disk rounds the frozen backbone and moves it no further.
    frozen = [name for name in before if name.startswith("segmenter.encoder.backbone.")]
    for name in frozen:
        assert torch.allclose(before[name], after[name], atol=1e-6, rtol=1e-2), name
    assert {record["step"] for record in _losses(tmp_path)} == {1, 2, 3}


def test_a_stopped_run_goes_on_at_its_step(data, start, tmp_path):
    train(_config(data, start, tmp_path, steps=2))
    train(_config(data, start, tmp_path, steps=4))
    assert [record["step"] for record in _losses(tmp_path)] == [1, 2, 3, 4]


def test_the_vision_phase_learns_the_scene(data, start, tmp_path):
    train(_config(data, start, tmp_path, phase="vision", steps=12, lr=3e-3, mask_lr=3e-3, clips_per_step=2))
    losses = [record["kind"] + record["colour"] for record in _losses(tmp_path)]
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])


def test_the_mask_phase_leaves_the_language_model_alone(data, start, tmp_path):
    before = load(start).state_dict()
    after = load(train(_config(data, start, tmp_path, phase="masks", steps=2, mask_lr=1e-2))).state_dict()
    changed = {n for n in before if not torch.allclose(before[n], after[n], atol=1e-2, rtol=1e-2)}
    assert changed
    assert not {name for name in changed if name.startswith(("language.", "synchronizer."))}


@pytest.mark.parametrize(
    ("phase", "moving"),
    [
        ("words", ("language.projector.", "synthesizer.")),
        ("answers", ("language.", "synthesizer.", "to_video_prompt.")),
    ],
)
def test_the_phases_about_reading_leave_the_masks_alone(data, start, tmp_path, phase, moving):
    before = load(start).state_dict()
    config = _config(data, start, tmp_path, phase=phase, steps=2, lr=1e-2, language_lr=1e-2, gate_lr=0.0)
    after = load(train(config)).state_dict()
    changed = {n for n in before if not torch.allclose(before[n], after[n], atol=1e-2, rtol=1e-2)}
    for part in moving:
        assert any(name.startswith(part) for name in changed), part
    assert all(name.startswith(moving) for name in changed)


def test_the_words_phase_learns_to_read(data, start, tmp_path):
    train(_config(data, start, tmp_path, phase="words", steps=40, lr=1e-2, decay_steps=10))
    losses = [record["total"] for record in _losses(tmp_path)]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])


def test_a_run_of_another_phase_is_not_continued(data, start, tmp_path):
    train(_config(data, start, tmp_path, phase="vision", steps=1))
    with pytest.raises(TrainError, match="choose another --out"):
        train(_config(data, start, tmp_path, phase="joint", steps=2))


def test_a_folder_without_clips_is_named(start, tmp_path):
    with pytest.raises(FileNotFoundError, match="villa data build"):
        train(_config(tmp_path, start, tmp_path / "out"))


def test_an_unknown_phase_is_refused(data, start, tmp_path):
    with pytest.raises(TrainError, match="'vision', 'masks', 'words', 'answers', 'joint'"):
        train(_config(data, start, tmp_path, phase="both"))


def test_the_learning_rate_rises_stays_and_falls():
    rates = [learning_rate(step, 100, 10, 20) for step in (0, 9, 50, 90, 100)]
    assert rates == pytest.approx([0.1, 1.0, 1.0, 0.5, 0.0])


def test_every_seg_of_a_batch_has_its_mask(data):
    codec = tiny_model().codec
    feed = Feed(FeedConfig(root=data, frames=3, requests=12, seed=0, height=64, width=96, visual_tokens=6), codec)
    rng = np.random.default_rng(0)
    for _ in range(5):
        batch = feed.make(ClipReader(data / "0000000"), rng)
        segs = sum(question.answer.count(codec.seg_id) for question in batch.questions)
        assert batch.targets.shape == (segs, 3, 16, 24)
        assert batch.images.shape == (3, 3, 64, 96)
        assert float(batch.targets.max()) <= 1.0


def test_chosen_frames_are_even_and_inside():
    rng = np.random.default_rng(0)
    for _ in range(200):
        chosen = choose_frames(16, 4, rng)
        assert len(set(np.diff(chosen))) == 1
        assert 0 <= chosen[0] < chosen[-1] <= 15


def test_zooming_takes_the_same_part_of_images_and_masks():
    mask = np.arange(60 * 80, dtype=np.uint8).reshape(60, 80)
    image = np.repeat(mask[..., None], 3, axis=2)
    rng = np.random.default_rng(0)
    shapes = set()
    for _ in range(20):
        images, masks = zoomed([image, image], [mask, mask], rng)
        assert np.array_equal(images[0][..., 0], masks[0])
        assert np.array_equal(images[0], images[1])
        assert masks[0].shape[0] >= 30
        shapes.add(masks[0].shape)
    assert len(shapes) > 5


def test_a_soft_mask_keeps_the_area():
    mask = np.zeros((64, 96), np.bool_)
    mask[10:31, 7:50] = True
    assert soft_mask(mask, (24, 16)).mean() == pytest.approx(mask.mean(), rel=1e-4)


def test_a_perfect_mask_costs_little_and_scores_one():
    target = torch.zeros(1, 16, 24)
    target[:, 4:9, 5:12] = 1.0
    good = mask_losses((target * 2 - 1) * 12, target)
    bad = mask_losses((1 - target * 2) * 12, target)
    assert float(sum(good)) < 0.02 * float(sum(bad))
    assert float(soft_iou((target * 2 - 1) * 12, target)) == 1.0
    assert float(soft_iou(torch.full((1, 16, 24), -1.0), torch.zeros(1, 16, 24))) == 1.0


def test_a_clip_whose_questions_teach_no_words_still_trains(data):
    codec, model = tiny_model().codec, tiny_model().requires_grad_(True)
    feed = Feed(FeedConfig(root=data, frames=2, requests=4, seed=0, height=64, width=96, visual_tokens=6), codec)
    batch = feed.make(ClipReader(data / "0000000"), np.random.default_rng(0))
    assert batch.questions[-1].text_loss
    silent = replace(batch, questions=[replace(question, text_loss=False) for question in batch.questions])
    total = ClipLoss(model, Teacher(32), freeze_backbone=True)(silent)["total"]
    assert bool(torch.isfinite(total))


def test_a_wrong_colour_only_replaces_one_that_was_not_asked_for():
    rng = np.random.default_rng(0)
    asked = RequestSample("colour", "the red mug", (1,), "The red mug [SEG].", "the red mug")
    assert recoloured(asked, rng) is None
    named = replace(asked, kind="name", text="The Mug!", plain="the mug")
    for _ in range(20):
        wrong = recoloured(named, rng)
        assert wrong not in (None, named.answer)
        assert wrong.startswith("The ")
        assert wrong.endswith(" mug [SEG].")
    assert recoloured(replace(named, answer="The orange [SEG]."), rng) is None


def test_the_first_word_of_an_answer_counts_more(data):
    model = tiny_model()
    feed = Feed(FeedConfig(root=data, frames=2, requests=3, seed=0, height=64, width=96, visual_tokens=6), model.codec)
    batch = feed.make(ClipReader(data / "0000000"), np.random.default_rng(0))
    visual = model.language.see((), model.segmenter.encode(batch.images), batch.times_s)
    packed = packing.forward(model, visual, batch.times_s, batch.questions)
    firsts = [question.answer[0] for question in batch.questions if question.text_loss]
    assert packed.labels[packed.weights > 1].tolist() == firsts


def test_absent_requests_are_also_answered_as_a_model_that_errs_would(data):
    clip = ClipReader(data / "0000000")
    frame, rng = FrameWords(clip.facts, 0), np.random.default_rng(0)
    here = set(frame.names(frame.things))
    asked = RequestSample("absent", "the pink duck", (), "There is no pink duck.", "the pink duck")
    named = {mistaken(asked, frame, rng).removeprefix("The ").removesuffix(" [SEG].") for _ in range(60)}
    assert named <= here | {"pink duck"}
    assert "pink duck" in named
    assert len(named) > 1
    without_a_name = replace(asked, answer="There is nothing to read.")
    assert mistaken(without_a_name, frame, rng).removeprefix("The ").removesuffix(" [SEG].") in here


def test_absent_requests_come_besides_the_others_and_point_at_nothing(data):
    codec = tiny_model().codec
    config = FeedConfig(
        root=data, frames=2, requests=2, absent=8, looks=0, seed=0, height=64, width=96, visual_tokens=6
    )
    batch = Feed(config, codec).make(ClipReader(data / "0000000"), np.random.default_rng(0))
    doubted = [q for q in batch.questions if not q.text_loss and codec.seg_id in q.answer]
    nothing = batch.things[:, 0] == 0
    assert len(batch.questions) == 10
    assert 0 < int(nothing.sum()) <= len(doubted)
    assert not bool(batch.targets[nothing].any())
