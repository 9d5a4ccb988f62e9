"""Training: it learns, it resumes where it stopped, and it says what is missing."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import shutil
import threading
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from drawn_clips import draw_clip
from rich.console import Console
from tiny import tiny_config, tiny_model

from villa.checkpoints.checkpoint import load, save
from villa.data.clips import ClipReader
from villa.data.language.naming import FrameWords
from villa.data.language.requests import RequestSample
from villa.data.language.vocabulary import KINDS
from villa.modeling import packed_forward
from villa.training import batches as feeding
from villa.training.augmentation import Augmentation
from villa.training.auxiliary_heads import AuxiliaryHeads
from villa.training.batch import place, soft_mask
from villa.training.batches import (
    Feed,
    FeedConfig,
    choose_frames,
    misled,
    mistaken,
    recoloured,
    zoomed,
)
from villa.training.losses import mask_losses, soft_iou
from villa.training.phase_losses import ClipLoss
from villa.training.schedule import learning_rate
from villa.training.train import TrainConfig, TrainError, parameter_groups, start_from, train


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    path = tmp_path_factory.mktemp("start") / "villa.safetensors"
    save(tiny_model(), path, torch.float32)
    return path


def _config(data, start, out, **changes) -> TrainConfig:
    base = TrainConfig(
        data=data, out=out, init=start, steps=3, decay_steps=1, warmup_steps=1, clips_per_step=1, frames=2,
        fewest_frames=2, requests=3, log_every=1, threads=1, backbone_lr=0.0,
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


def test_training_goes_on_where_loader_processes_make_its_batches(data, start, tmp_path, no_forks):
    train(_config(data, start, tmp_path, loaders=1))
    assert [record["step"] for record in _losses(tmp_path)] == [1, 2, 3]
    train(_config(data, start, tmp_path, loaders=1, steps=4))
    assert [record["step"] for record in _losses(tmp_path)] == [1, 2, 3, 4]


def test_a_cpu_goes_on_from_what_a_gpu_trained(data, start, tmp_path):
    before = tmp_path / "before"
    before.mkdir()
    shutil.copy(start, before / "villa.safetensors")
    torch.save(AuxiliaryHeads(24).state_dict(), tmp_path / "head.pt")
    with zipfile.ZipFile(tmp_path / "head.pt") as mine, zipfile.ZipFile(before / "head.pt", "w") as theirs:
        for name in mine.namelist():  # as a GPU writes it: its tensors are at home there
            theirs.writestr(name, mine.read(name).replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0"))
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="CUDA"):
            torch.load(before / "head.pt", weights_only=True)
    train(_config(data, before / "villa.safetensors", tmp_path / "run", steps=1))
    assert [record["step"] for record in _losses(tmp_path / "run")] == [1]


def test_a_rate_scales_every_learning_rate(data, start, tmp_path):
    model = tiny_model()
    usual, slower = (
        parameter_groups(
            model, AuxiliaryHeads(24), _config(data, start, tmp_path, phase="things", backbone_lr=1e-4, rate=rate)
        )
        for rate in (1.0, 0.5)
    )
    assert len(usual) == len(slower) > 2
    for a, b in zip(usual, slower, strict=True):
        assert b["lr"] == b["base_lr"] == pytest.approx(0.5 * a["base_lr"])
        assert b["weight_decay"] == a["weight_decay"]
    with pytest.raises(TrainError, match="rate 0 teaches nothing: wanted more than 0"):
        _config(data, start, tmp_path, rate=0)


def test_a_sharpened_picture_has_steeper_edges_and_the_same_flats():
    step = np.full((32, 32, 3), 90, np.uint8)
    step[:, 16:] = 160
    plain = Augmentation(1.0, 0.0, 1.0, 1.0, (1.0, 1.0, 1.0), 0.0, 0.0, 0.0)
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(plain.apply(step, rng), step)
    sharp = replace(plain, sharpening=1.2).apply(step, rng).astype(int)
    assert (sharp[:, 15] < 80).all()
    assert (sharp[:, 16] > 170).all()
    assert np.abs(sharp[:, (0, 31)] - step[:, (0, 31)]).max() <= 1  # a rounding


def test_a_stopped_run_goes_on_at_its_step(data, start, tmp_path):
    train(_config(data, start, tmp_path, steps=2))
    train(_config(data, start, tmp_path, steps=4))
    assert [record["step"] for record in _losses(tmp_path)] == [1, 2, 3, 4]


def test_the_things_phase_learns_to_find_and_to_draw_and_leaves_the_language_model_alone(data, start, tmp_path):
    before = load(start).state_dict()
    config = _config(data, start, tmp_path, phase="things", steps=30, lr=3e-3, mask_lr=3e-3, decay_steps=10)
    after = load(train(config)).state_dict()
    losses = [sum(record[name] for name in ("heat", "sides", "kind", "colour")) for record in _losses(tmp_path)]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    changed = {n for n in before if not torch.allclose(before[n], after[n], atol=1e-2, rtol=1e-2)}
    assert any(name.startswith("language.finder.") for name in changed)
    assert any(name.startswith("segmenter.decoder.") for name in changed)
    assert not {n for n in changed if n.startswith(("language.llama.", "language.scene.", "synchronizer.", "pointer."))}


def test_the_masks_phase_learns_to_draw_and_leaves_all_else_as_it_is(data, start, tmp_path):
    before = load(start).state_dict()
    config = _config(data, start, tmp_path, phase="masks", steps=40, mask_lr=1.5e-3, decay_steps=10, backbone_lr=0.0)
    after = load(train(config)).state_dict()
    dice = [record["dice"] for record in _losses(tmp_path) if "dice" in record]  # a part of a picture may show nothing
    assert np.median(dice[-9:]) < 0.95 * np.median(dice[:9])
    changed = {n for n in before if not torch.allclose(before[n], after[n], atol=1e-2, rtol=1e-2)}
    for part in ("decoder.", "propagator.", "encoder.smooth4."):
        assert any(name.startswith(f"segmenter.{part}") for name in changed), part
    of_masks = ("decoder.", "propagator.", "no_memory", "encoder.lateral4.", "encoder.reduce8.", "encoder.smooth4.")
    assert all(name.startswith(tuple(f"segmenter.{part}" for part in of_masks)) for name in changed)


def test_the_answers_phase_leaves_what_finds_and_draws_alone(data, start, tmp_path):
    before = load(start).state_dict()
    after = load(
        train(_config(data, start, tmp_path, phase="answers", steps=2, lr=1e-2, language_lr=1e-2))
    ).state_dict()
    changed = {n for n in before if not torch.allclose(before[n], after[n], atol=1e-2, rtol=1e-2)}
    for part in ("language.llama.", "language.scene.", "language.to_token.", "pointer.", "synchronizer."):
        assert any(name.startswith(part) for name in changed), part
    assert not any(name.startswith(("segmenter.", "language.finder.")) for name in changed)


def test_a_run_is_checked_on_other_clips(data, start, tmp_path):
    train(_config(data, start, tmp_path, steps=2, validate=data, validate_clips=2))
    *_, last = _losses(tmp_path)
    assert last["step"] == 2
    shares = last["validation"]
    assert {"found", "first word"} <= set(shares)
    assert all(0 <= value <= 1 for value in shares.values())


def test_a_checkpoint_of_another_shape_gives_what_fits(tmp_path):
    other = tmp_path / "other.safetensors"
    config = tiny_config()
    language = replace(config.language, things=None)
    save(tiny_model(config=replace(config, language=language)), other, torch.float32)
    given = load(other)
    model = start_from(given, config, Console(quiet=True))
    assert model.config == config
    mine, theirs = model.state_dict(), given.state_dict()
    assert set(theirs) < set(mine)
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_a_model_without_things_is_refused(data, tmp_path):
    config = tiny_config()
    plain = replace(config, language=replace(config.language, things=None))
    save(tiny_model(config=plain), tmp_path / "villa.safetensors", torch.float32)
    with pytest.raises(TrainError, match=r"language\.things"):
        train(_config(data, tmp_path / "villa.safetensors", tmp_path / "out"))


def test_a_run_of_another_phase_is_not_continued(data, start, tmp_path):
    train(_config(data, start, tmp_path, phase="things", steps=1))
    with pytest.raises(TrainError, match="choose another --out"):
        train(_config(data, start, tmp_path, phase="joint", steps=2))


def test_a_folder_without_clips_is_named(start, tmp_path):
    with pytest.raises(FileNotFoundError, match="villa data build"):
        train(_config(tmp_path, start, tmp_path / "out"))


def test_an_unknown_phase_is_refused(data, start, tmp_path):
    with pytest.raises(TrainError, match="'things', 'names', 'masks', 'focus', 'answers', 'joint'"):
        train(_config(data, start, tmp_path, phase="both"))


def test_the_learning_rate_rises_stays_and_falls():
    rates = [learning_rate(step, 100, 10, 20) for step in (0, 9, 50, 90, 100)]
    assert rates == pytest.approx([0.1, 1.0, 1.0, 0.5, 0.0])


def test_every_seg_of_a_batch_has_its_object(data):
    codec = tiny_model().codec
    feed = Feed(FeedConfig(root=data, frames=3, requests=12, seed=0, height=64, width=96, visual_tokens=12), codec)
    rng = np.random.default_rng(0)
    for _ in range(5):
        batch = feed.make(ClipReader(data / "0000000"), rng)
        segs = sum(question.answer.count(codec.seg_id) for question in batch.questions)
        assert batch.targets.shape == (segs,)
        assert set(batch.targets.tolist()) <= {-1, 0, 1, 2}
        assert batch.masks.shape == (3, 3, 16, 24)
        assert batch.images.shape == (3, 3, 64, 96)
        assert 0.0 <= float(batch.masks.min()) <= float(batch.masks.max()) <= 1.0


def test_an_object_is_where_its_pixels_are(data):
    clip = ClipReader(data / "0000000")
    config = FeedConfig(root=data, frames=6, requests=0, seed=0, height=64, width=96, augment=False)
    batch = Feed(config, tiny_model().codec).make(clip, np.random.default_rng(1))
    chosen = clip.facts.fps * (batch.times_s.max() - batch.times_s)
    for row, thing in enumerate(clip.facts.objects):
        for t, index in enumerate(chosen.round().long().tolist()):
            view = next(v for v in clip.facts.frames[index] if v.id == thing.id)
            x, y, width, height = view.bbox
            wanted = [(x + width / 2) / 160, (y + height / 2) / 120, width / 160, height / 120]
            assert batch.boxes[row, t].tolist() == pytest.approx(wanted, abs=0.01)
            assert batch.middles[row, t].tolist() == pytest.approx(wanted[:2], abs=0.01)


def test_what_is_hardly_seen_is_not_there():
    mask = np.zeros((120, 160), np.bool_)
    mask[5, 5:20] = True
    assert place(mask) == (0.0,) * 6
    mask[6, 5:20] = True
    assert place(mask) == pytest.approx((12.5 / 160, 6 / 120, 15 / 160, 2 / 120, 12.5 / 160, 6 / 120))


def test_chosen_frames_ascend_and_are_inside():
    rng = np.random.default_rng(0)
    even = 0
    for _ in range(200):
        chosen = choose_frames(16, 4, rng)
        steps = set(np.diff(chosen))
        even += len(steps) == 1
        assert min(steps) > 0
        assert 0 <= chosen[0] < chosen[-1] <= 15
    assert 80 < even < 130


def test_zooming_takes_the_same_part_of_images_and_masks():
    mask = np.arange(60 * 80, dtype=np.uint8).reshape(60, 80)
    image = np.repeat(mask[..., None], 3, axis=2)
    rng = np.random.default_rng(0)
    shapes = set()
    for _ in range(40):
        images, masks = zoomed([image, image], [mask, mask], rng)
        assert np.array_equal(images[0][..., 0], masks[0])
        assert np.array_equal(images[0], images[1])
        assert masks[0].shape[0] >= 60 / 3 - 1
        shapes.add(masks[0].shape)
    assert len(shapes) > 5
    assert min(shapes)[0] < 30  # closer than half


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


def test_a_feed_that_is_closed_leaves_no_thread_behind(data):
    codec = tiny_model().codec
    feed = Feed(FeedConfig(root=data, frames=2, requests=4, seed=0, height=64, width=96, visual_tokens=12), codec)
    before = threading.active_count()
    next(iter(feed))
    assert threading.active_count() == before + 1
    feed.close()
    assert threading.active_count() == before
    feed.close()


def test_loader_processes_make_what_a_thread_makes_each_from_a_seed_of_its_own(data, no_forks):
    codec = tiny_model().codec
    config = FeedConfig(root=data, frames=2, requests=4, aims=3, seed=0, height=64, width=96, visual_tokens=12)
    feed = Feed(replace(config, loaders=2), codec)
    made = list(itertools.islice(feed, 4))
    singly = [list(itertools.islice(Feed(replace(config, seed=seed), codec).endless(), 2)) for seed in (0, 7919)]
    for batch, own in zip(made, (singly[0][0], singly[1][0], singly[0][1], singly[1][1]), strict=True):
        assert batch.chosen == own.chosen
        assert torch.equal(batch.images, own.images)
        assert batch.questions == own.questions
        assert batch.aims.tails == own.aims.tails
        assert torch.equal(batch.aims.about, own.aims.about)
    assert not torch.equal(made[0].images, made[1].images)
    assert not multiprocessing.active_children()  # they end with the iterator
    feed.close()


def test_what_would_not_be_read_to_its_end_is_not_asked(data):
    codec = tiny_model().codec
    config = FeedConfig(
        root=data, frames=2, requests=8, absent=4, aims=12, looks=3, seed=0, height=64, width=96, visual_tokens=12,
        known=KINDS, max_request_tokens=200,
    )  # fmt: skip

    def lengths(most: int) -> list[int]:
        feed, rng = Feed(replace(config, max_request_tokens=most), codec), np.random.default_rng(0)
        batches = [feed.make(ClipReader(data / "0000000"), rng) for _ in range(6)]
        spans = [question.prompt.request for batch in batches for question in batch.questions]
        return [end - start for start, end in spans]

    usual = lengths(200)
    middle = int(np.median(usual))
    assert max(lengths(middle)) <= middle < max(usual)


def test_clips_that_are_added_while_a_feed_runs_are_fed_too(data, tmp_path, monkeypatch):
    monkeypatch.setattr(feeding, "_NEW_CLIPS_S", 0.0)
    draw_clip(tmp_path / "0000000", 0)
    config = FeedConfig(root=tmp_path, frames=2, requests=0, seed=0, height=64, width=96)
    batches = Feed(config, tiny_model().codec).endless()
    assert next(batches).folder.name == "0000000"
    draw_clip(tmp_path / "0000001", 1)
    assert {batch.folder.name for batch in itertools.islice(batches, 20)} == {"0000000", "0000001"}


def test_a_clip_whose_questions_teach_no_words_still_trains(data):
    codec, model = tiny_model().codec, tiny_model().requires_grad_(True)
    feed = Feed(FeedConfig(root=data, frames=2, requests=4, seed=0, height=64, width=96, visual_tokens=12), codec)
    batch = feed.make(ClipReader(data / "0000000"), np.random.default_rng(0))
    assert batch.questions[-1].text_loss
    silent = replace(batch, questions=[replace(question, text_loss=False) for question in batch.questions])
    total = ClipLoss(model, AuxiliaryHeads(24), freeze_backbone=True).from_answers(silent)["total"]
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


def test_a_misled_answer_names_another_thing_and_still_means_the_right_one(data):
    clip, codec = ClipReader(data / "0000000"), tiny_model().codec
    frame, rng = FrameWords(clip.facts, 0), np.random.default_rng(0)
    here = frame.names(frame.things)
    for thing, name in zip(frame.things, here, strict=True):
        given = {misled(thing.id, frame, rng) for _ in range(40)}
        assert given == {f"The {other} [SEG]." for other in here if other != name}
    config = FeedConfig(
        root=data, frames=2, requests=6, looks=0, seed=0, height=64, width=96, visual_tokens=12, misled=1.0
    )
    batch = Feed(config, codec).make(clip, np.random.default_rng(0))
    single = [question for question in batch.questions if question.answer.count(codec.seg_id) == 1]
    assert single
    assert not any(question.text_loss for question in single if question.kind != "several")
    assert set(batch.targets.tolist()) <= {-1, 0, 1, 2}


def test_the_first_word_of_an_answer_counts_more(data):
    model = tiny_model()
    feed = Feed(FeedConfig(root=data, frames=2, requests=3, seed=0, height=64, width=96, visual_tokens=12), model.codec)
    batch = feed.make(ClipReader(data / "0000000"), np.random.default_rng(0))
    visual = model.language.see((), model.segmenter.encode(batch.images), batch.times_s)
    packed = packed_forward.forward(model, visual, batch.times_s, batch.questions)
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
        root=data, frames=2, requests=2, absent=8, looks=0, seed=0, height=64, width=96, visual_tokens=12
    )
    batch = Feed(config, codec).make(ClipReader(data / "0000000"), np.random.default_rng(0))
    doubted = [q for q in batch.questions if not q.text_loss and codec.seg_id in q.answer]
    assert len(batch.questions) == 10
    assert 0 < int((batch.targets < 0).sum()) <= len(doubted)
