"""Whisper of its package: short windows, scores, and what it says when it cannot be had."""

from __future__ import annotations

import pytest

from villa_ros.speech.whisper import Whisper, WhisperError


@pytest.fixture(scope="module")
def whisper():
    return Whisper()


def test_a_whole_sentence_fits_better_than_another_or_a_part(whisper, say):
    encoded = whisper.encode(say("Track the red mug."))
    texts = ["Track the red mug.", "Track the red mud.", "Track the red.", "Where is the pan?"]
    scores = [score for score, _ in whisper.score(encoded, "en", texts)]
    assert scores[0] == max(scores)
    assert scores[0] - scores[3] > 10


def test_speech_is_heard_and_silence_is_told_by_its_probability(whisper, say):
    spoken = whisper.transcribe(whisper.encode(say("Track the red mug.")), "en")
    assert "track" in spoken.text.lower()
    assert spoken.no_speech < 0.5


def test_a_model_for_english_alone_says_so(whisper):
    assert not whisper.multilingual
    with pytest.raises(WhisperError, match="language is 'de'"):
        Whisper(language="de")


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(WhisperError, match=r"holds no model.bin, wanted a Whisper model converted for CTranslate2"):
        Whisper(tmp_path)
    (tmp_path / "model.bin").write_bytes(b"no model")
    with pytest.raises(WhisperError, match="cannot be loaded"):
        Whisper(tmp_path)
