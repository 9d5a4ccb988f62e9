"""Whole videos: tracklets in both directions, over every family of parts, and none of the faults of Sa2VA's own way."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from answering_models import image, light, over_sam2

from villa.inference.grounding import ground
from villa.inference.video import segment
from villa.modeling.language.tokenizer import RequestError
from villa.modeling.segmenters.interface import Moment

ONE, TWO = "The mug [SEG].", "The mug [SEG] and the bowl [SEG]."


class Video:
    """Frames on demand; remembers which were asked for."""

    def __init__(self, length: int, sizes: tuple[tuple[int, int], ...] = ((48, 64),)) -> None:
        self.length, self.sizes = length, sizes
        self.asked: list[int] = []

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int):
        self.asked.append(index)
        return image(index, *self.sizes[index % len(self.sizes)])


@pytest.mark.parametrize("model", [light, over_sam2], ids=["light", "sam2"])
@pytest.mark.parametrize("length", [1, 2, 15])
def test_every_frame_of_a_video_gets_its_mask_at_its_own_size(model, length):
    video = Video(length, ((48, 64), (30, 50)))
    seen = segment(model(TWO), video, "mug and bowl")
    assert [t.name for t in seen.tracklets] == ["mug", "bowl"]
    assert seen.text == "The mug and the bowl."
    for tracklet in seen.tracklets:
        assert len(tracklet.masks) == len(tracklet.present) == length
        assert tracklet.key_frame in seen.frames
        assert all(p > 0 for p in tracklet.present)
        for t, mask in enumerate(tracklet.masks):
            if mask is not None:
                assert (mask.height, mask.width) == video.sizes[t % 2]


def test_frames_are_decoded_when_they_are_needed_and_a_few_times_at_most():
    video = Video(40)
    model = over_sam2(ONE)
    segment(model, video, "the mug")
    assert max(video.asked.count(t) for t in range(40)) <= 3
    assert set(video.asked) == set(range(40))


def test_a_frame_that_was_looked_at_is_not_encoded_again(monkeypatch):
    model = light(ONE)
    encoded = []
    encode = model.encode
    monkeypatch.setattr(model, "encode", lambda rgb: encoded.append(1) or encode(rgb))
    seen = segment(model, Video(15), "the mug")
    assert len(seen.frames) > 1
    assert len(encoded) <= 15


def test_progress_is_told_to_the_end():
    told = []
    segment(light(TWO), Video(9), "both", progress=lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1]
    assert [done for done, _ in told] == list(range(1, len(told) + 1))


def test_nothing_named_is_an_answer_without_tracklets():
    seen = segment(light("There is no mug."), Video(5), "the mug")
    assert (seen.text, seen.tracklets) == ("There is no mug.", ())


@pytest.mark.parametrize(("video", "fps", "match"), [([], 10.0, "wanted at least one"), ([image(0)], 0.0, "fps is 0")])
def test_a_video_that_cannot_be_is_refused(video, fps, match):
    with pytest.raises(ValueError, match=match):
        segment(light(ONE), video, "the mug", fps=fps)


def test_an_image_of_another_type_is_refused_by_shape_and_type():
    with pytest.raises(ValueError, match=r"\[48, 64\] and type float32: wanted \[H, W, 3\] uint8"):
        segment(light(ONE), [np.zeros((48, 64), np.float32)], "the mug")


def test_a_request_that_is_too_long_is_refused():
    with pytest.raises(RequestError):
        segment(light(ONE), Video(3), "mug " * 5000)


# -- what Sa2VA's own inference gets wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize("model", [light, over_sam2], ids=["light", "sam2"])
def test_the_language_model_sees_frames_from_all_of_the_video(model):
    """Sa2VA: the first five frames only."""
    made = model(ONE)
    made.config = replace(made.config, clip_frames=8)
    seen = segment(made, Video(60), "the mug").frames
    assert len(seen) > 5
    assert max(seen) == 59
    assert max(b - a for a, b in itertools.pairwise(seen)) < 40


def test_all_objects_share_one_pass_over_the_video():
    """Sa2VA: a new tracking session, and all frames encoded again, for each object."""
    model = over_sam2(TWO)
    encoded = []
    plain = model.segmenter.encode
    model.segmenter.encode = lambda images: (encoded.append(len(images)), plain(images))[1]
    segment(model, Video(12), "both")
    two = sum(encoded)
    encoded.clear()
    over_sam2(ONE)
    model.segmenter.encode = lambda images: (encoded.append(len(images)), plain(images))[1]
    assert two <= 2 * 12 + model.config.clip_frames


def test_frames_are_never_stacked_up_front():
    """Sa2VA: the whole video as one tensor at 1024 x 1024."""
    model = over_sam2(ONE)
    sizes = []
    plain = model.segmenter.preprocess
    model.segmenter.preprocess = lambda images: (sizes.append(len(images)), plain(images))[1]
    segment(model, Video(30), "the mug")
    assert max(sizes) == 1


def test_no_code_of_the_model_names_a_device():
    """Sa2VA: `.cuda()` in the middle of inference."""
    from pathlib import Path

    import villa

    root = Path(villa.__file__).parent
    for path in root.rglob("*.py"):
        assert ".cuda()" not in path.read_text("utf-8"), path


def test_confidence_and_absence_are_reported():
    """Sa2VA: neither; an object that is named is drawn, wherever."""
    model = over_sam2(ONE)
    (there,) = segment(model, Video(6), "the mug").tracklets
    assert 0 < there.score <= 1
    for decoder in (model.segmenter.own_decoder, model.segmenter.sam2.mask_decoder):
        decoder.pred_obj_score_head.proj_out.bias.fill_(-50.0)
    seen = segment(model, Video(6), "the mug")
    assert seen.tracklets == ()
    assert seen.text == "I do not see that here."


def test_presence_never_gates_where_compatibility_is_wanted():
    model = over_sam2(ONE, least_presence=0.0, seed_every_frame=True, clip_choice="first")
    for decoder in (model.segmenter.own_decoder, model.segmenter.sam2.mask_decoder):
        decoder.pred_obj_score_head.proj_out.bias.fill_(-50.0)
    seen = segment(model, Video(9), "the mug")
    assert seen.frames == (0, 1, 2)
    (there,) = seen.tracklets
    assert max(there.present) < 0.5


def test_a_follow_up_is_answered_about_a_whole_video_too():
    model = over_sam2(ONE)
    seen = segment(model, Video(6), "the one behind it", history=[("the mug", "The mug.")])
    assert len(seen.tracklets) == 1


def test_seeds_on_several_frames_make_one_memory():
    from villa.inference.answering import ask
    from villa.inference.grounding import memory_of
    from villa.interface import ClipFrame, finish

    model = over_sam2(ONE, seed_every_frame=True)
    with torch.inference_mode():
        clip = [ClipFrame(0.1 * t, lambda t=t: image(t)) for t in range(3)]
        response = finish(ask(model, "the mug", clip, 3))
        moments = [Moment(t, 0.1 * t) for t in response.encoded.chosen]
        (found,) = finish(ground(model, response, moments))
    assert sorted(found.seeds) == [0, 1, 2]
    assert memory_of(model, found).frames == 3
