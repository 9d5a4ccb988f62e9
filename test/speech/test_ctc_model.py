"""The CTC model tells which of some texts was said, and trains."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from villa_ros.speech import bench_phrases, ctc_training, noise
from villa_ros.speech.ctc_model import CtcModel, CtcModelError, CtcNetwork, features, save, spelled
from villa_ros.speech.vocabulary import shipped, words


def test_of_texts_that_sound_alike_the_one_that_was_said_fits_best(say):
    model, texts = CtcModel(), ["Track the red mug.", "Track the red book.", "Track the wet rug.", "Stop!"]
    sound = say("Track the red mug.")
    sound = noise.mixed(sound, noise.white(len(sound), np.random.default_rng(0)), 15)
    scores = model.score(model.hear(sound), texts)
    assert scores[0] == max(scores)


def test_loudness_and_a_constant_filter_do_not_matter():
    sound = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    assert torch.allclose(features(sound), features(0.1 * sound), atol=0.05)
    assert features(sound[:10]).shape[0] == 40


def test_texts_are_spelled_as_they_are_said():
    assert spelled("Don't!") == spelled("don't")
    assert len(spelled("the mug")) == 7
    assert spelled("die Tür") == spelled("die tr")


def test_weights_that_are_missing_or_others_are_named(tmp_path):
    with pytest.raises(CtcModelError, match="ctc_training"):
        CtcModel(tmp_path / "absent.safetensors")
    save_file({"other": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(CtcModelError, match="ctc_training"):
        CtcModel(tmp_path / "other.safetensors")


def test_saved_weights_are_small_and_give_the_same(tmp_path):
    torch.manual_seed(0)
    network = CtcNetwork().eval()
    save(network, tmp_path / "ctc_model.safetensors")
    assert (tmp_path / "ctc_model.safetensors").stat().st_size < 1_000_000
    sound = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    with torch.inference_mode():
        expected = network(features(sound)[None])[0]
    assert torch.allclose(CtcModel(tmp_path / "ctc_model.safetensors").hear(sound), expected, atol=0.05)


def test_nothing_of_the_benchmark_is_trained_on():
    texts = ctc_training.sentences(2000, random.Random(0), shipped(), ["hello", "there"])
    kept = {tuple(words(text)) for text in (*bench_phrases.COMMANDS, *bench_phrases.NON_COMMANDS)}
    assert not kept & {tuple(words(text)) for text in texts}
    assert not {voice.name for voice in bench_phrases.VOICES} & set(ctc_training.VOICES)


def test_training_learns_and_repeats(say):
    said = [ctc_training.Said(text, say(text, pause_s=0.1)) for text in ("stop", "track the mug", "find it")] * 8
    first, again = (ctc_training.train(said, 2, seed=0) for _ in range(2))
    for one, other in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    sound = said[0].sound
    with torch.inference_mode():
        trained = first(features(sound)[None]).amax(dim=2).mean()
        fresh = CtcNetwork().eval()(features(sound)[None]).amax(dim=2).mean()
    assert trained > fresh
