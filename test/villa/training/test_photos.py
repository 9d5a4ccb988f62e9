"""Photos as training sees them: outlines stay on their things, and what is not known is not taught."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from drawn_clips import draw_clip
from tiny import tiny_model

from villa.checkpoints.checkpoint import load, save
from villa.data.coco_folder import CocoFolder
from villa.data.language.vocabulary import KINDS
from villa.training.auxiliary_heads import AuxiliaryHeads
from villa.training.batch import UNCLEAR, soft_mask
from villa.training.batches import Feed, FeedConfig
from villa.training.detection_loss import DetectionLoss
from villa.training.photo_validation import PhotoValidation
from villa.training.photos import PhotoConfig, PhotoFeed, camera_path, ids_seen, seen
from villa.training.train import TrainConfig, TrainError, train

WIDTH, HEIGHT = 240, 180
SOURCES = ("whole", "partly")
THINGS = (("cup", (220, 30, 30), (30, 40, 60, 70)), ("gizmo", (30, 200, 40), (140, 60, 70, 80)))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two pictures of each split: a cup and something that no vocabulary has, and a crowd."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "images").mkdir()
    pictures, annotations = [], []
    for number, (split, source) in enumerate((s, f) for s in ("train", "val") for f in SOURCES):
        image = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
        for category, (_, rgb, (x, y, w, h)) in enumerate(THINGS, start=1):
            image[y : y + h, x : x + w] = rgb[::-1]
            polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
            annotations.append(
                {"image_id": number, "category_id": category, "segmentation": [polygon], "bbox": [x, y, w, h]}
            )
        crowd = [0, 0, WIDTH, 0, WIDTH, 20, 0, 20]
        annotations.append(
            {"image_id": number, "category_id": 1, "segmentation": [crowd], "bbox": [0, 0, WIDTH, 20], "iscrowd": 1}
        )
        cv2.imwrite(str(folder / "images" / f"{number}.png"), image)
        size = {"width": WIDTH, "height": HEIGHT}
        pictures.append({"id": number, "file_name": f"{number}.png", "split": split, "source": source, **size})
    names = [{"id": number, "name": name} for number, (name, _, _) in enumerate(THINGS, start=1)]
    data = {"images": pictures, "annotations": annotations, "categories": names}
    (folder / "instances.json").write_text(json.dumps(data))
    return folder


@pytest.fixture
def feed(root):
    return PhotoFeed(PhotoConfig(root, 96, 64, 3, exhaustive=("whole",)))


def test_a_view_takes_outlines_where_it_takes_the_picture():
    rng = np.random.default_rng(0)
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.ellipse(labels, (120, 90), (50, 30), 20, 0, 360, 1, -1)
    image[labels == 1] = 255
    for _ in range(20):
        for view in camera_path((WIDTH, HEIGHT), (20.0, 10.0, 200.0, 150.0), 4, rng):
            shown, outline = seen(image, view, (160, 128))[..., 0] > 127, ids_seen(labels, view, (160, 128)) == 1
            assert (shown & outline).sum() > 0.93 * (shown | outline).sum() > 0


def test_a_camera_path_begins_and_ends_near_its_aim():
    rng = np.random.default_rng(1)
    for _ in range(50):
        for view in camera_path((WIDTH, HEIGHT), (40.0, 30.0, 120.0, 90.0), 5, rng):
            middle = view @ np.array([100.0, 75.0, 1.0])
            assert np.all(np.abs(middle[:2] / middle[2] - 0.5) < 0.6)
            assert np.all(np.isfinite(view))


def test_batches_know_what_is_labelled_and_no_more(feed):
    rng = np.random.default_rng(2)
    sources, kinds = set(), set()
    for _ in range(12):
        batch = feed.make(rng)
        assert batch.images.shape == (3, 3, 64, 96)
        assert batch.masks.shape == (len(batch.kinds), 3, 16, 24)
        assert bool(batch.visible.any())
        assert bool((batch.happened == -1).all())
        assert bool((batch.colours == UNCLEAR).all())
        assert batch.questions == []
        sources.add((CocoFolder(feed.config.root).pictures[int(batch.folder.stem)].source, batch.all_known))
        kinds.update(batch.kinds.tolist())
    assert sources == {("whole", True), ("partly", False)}
    assert kinds == {KINDS.index("cup"), UNCLEAR}
    one, other = (feed.make(np.random.default_rng(7)) for _ in range(2))
    assert torch.equal(one.images, other.images)


def test_things_are_where_their_colour_is(feed):
    rng = np.random.default_rng(3)
    shares = []
    for _ in range(20):
        batch = feed.make(rng)
        rgb = torch.nn.functional.avg_pool2d(batch.images, 4)
        for row, kind in enumerate(batch.kinds.tolist()):
            own = 0 if kind == KINDS.index("cup") else 1
            like = rgb[:, own] - rgb[:, 1 - own] > 0.3
            inside = batch.masks[row] > 0.9
            if inside.sum() > 20:
                shares.append(float((like & inside).sum() / inside.sum()))
    assert len(shares) > 20
    assert np.mean(shares) > 0.95


def test_a_feed_mixes_clips_and_photos(root, tmp_path):
    draw_clip(tmp_path / "0000000", 0)
    config = FeedConfig(root=tmp_path, frames=2, requests=0, seed=0, height=64, width=96)
    photos = PhotoConfig(root, 96, 64, 2)
    batches = Feed(replace(config, photos=photos, photo_share=0.5), tiny_model().codec).endless()
    kinds = [next(batches).folder.suffix for _ in range(30)]
    assert 5 < kinds.count(".png") < 25


def test_of_a_crowded_picture_all_is_found_and_some_is_drawn(feed):
    model = tiny_model()
    batch = feed.make(np.random.default_rng(5))
    many = batch.only(torch.zeros(40, dtype=torch.long))
    losses = DetectionLoss(model.segmenter, model.language.finder, AuxiliaryHeads(model.config.language.things.width))
    drawn = []
    decode = model.segmenter.decode
    model.segmenter.decode = lambda prompt, pyramid, frame: drawn.append(len(prompt)) or decode(prompt, pyramid, frame)
    parts = losses(many, model.segmenter.encode(many.images))
    assert drawn == [10 * 3]
    assert all(bool(torch.isfinite(value)) for value in parts.values())


def _config(root, clips, start, out, **changes) -> TrainConfig:
    base = TrainConfig(
        data=clips, out=out, phase="things", init=start, steps=3, decay_steps=1, warmup_steps=1, clips_per_step=2,
        frames=2, fewest_frames=2, log_every=1, threads=1, photos=root, photo_share=1.0, validate=clips,
    )  # fmt: skip
    return replace(base, **changes)


@pytest.mark.parametrize("phase", ["things", "masks"])
def test_a_run_learns_from_photos_and_validates_on_others(root, tmp_path, phase):
    draw_clip(tmp_path / "clips" / "0000000", 0)
    start = tmp_path / "start" / "villa.safetensors"
    start.parent.mkdir()
    save(tiny_model(), start, torch.float32)
    train(_config(root, tmp_path / "clips", start, tmp_path / "run", phase=phase))
    records = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records if "validation" not in record] == [1, 2, 3]
    shares = records[-1]["validation"]
    assert {"photos drawn", "photos found", "photos drawn, whole", "photos found, partly"} <= set(shares)
    before, after = (load(path).state_dict() for path in (start, tmp_path / "run" / "villa.safetensors"))
    changed = {name for name in before if not torch.allclose(before[name], after[name], atol=1e-6, rtol=1e-2)}
    assert any(name.startswith("segmenter.decoder.") for name in changed)


def test_words_are_not_learnt_from_photos(root, tmp_path):
    draw_clip(tmp_path / "clips" / "0000000", 0)
    start = tmp_path / "villa.safetensors"
    save(tiny_model(), start, torch.float32)
    with pytest.raises(TrainError, match="photos teach outlines and kinds, not sentences: wanted phase things or"):
        train(_config(root, tmp_path / "clips", start, tmp_path / "run", phase="focus"))


def test_validation_gives_one_to_a_decoder_that_draws_the_truth(root):
    model = tiny_model()
    rows, columns = model.segmenter.mask_grid
    truth = []
    for _, _, (x, y, w, h) in reversed(THINGS):  # the larger one first
        mask = np.zeros((HEIGHT, WIDTH), np.bool_)
        mask[y : y + h, x : x + w] = True
        truth.append(soft_mask(mask, (columns, rows)))
    own = torch.from_numpy(np.stack(truth)) * 20 - 10
    decode, validate = model.segmenter.decode, PhotoValidation(CocoFolder(root, "val"), 1)
    head = AuxiliaryHeads(model.config.language.things.width)
    shares = validate(model, head)
    told = ("drawn", "found", "named")
    assert set(shares) == {*told, *(f"{what}, {of}" for what in told for of in SOURCES)}
    assert shares["drawn"] < 0.9
    model.segmenter.decode = lambda *given: replace(decode(*given), logits=own)
    assert validate(model, head)["drawn"] == 1.0
