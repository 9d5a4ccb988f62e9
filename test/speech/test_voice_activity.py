"""Sound is cut into utterances, looked at early, and never twice. Voice activity is made up here."""

from __future__ import annotations

import numpy as np

from villa_ros.speech.audio import BLOCK, BLOCK_S
from villa_ros.speech.voice_activity import Span, VoiceActivity


def feed(*parts, **settings):
    """Parts (voiced, seconds) -> the ear and all that it hands over."""
    ear, handed = VoiceActivity(lambda block: float(block[0]), **settings), []
    for voiced, seconds in parts:
        for _ in range(round(seconds / BLOCK_S)):
            handed += ear.feed(np.full(BLOCK, 1.0 if voiced else 0.0, np.float32))
    return ear, handed


def spans(handed, kind):
    return [speech for speech in handed if speech.span is kind]


def test_an_utterance_is_handed_over_once_with_a_little_of_what_was_before():
    _, handed = feed((False, 1.0), (True, 1.0), (False, 1.0))
    (speech,) = spans(handed, Span.END)
    assert 0.6 < speech.start_s < 1.0
    assert abs(speech.end_s - 2.0) < 2 * BLOCK_S
    assert abs(speech.handed_s - 2.6) < 2 * BLOCK_S
    assert len(speech.sound) == round((speech.handed_s - speech.start_s) / BLOCK_S) * BLOCK


def test_a_short_pause_is_a_look_and_ends_nothing():
    _, handed = feed((False, 0.5), (True, 0.5), (False, 0.3), (True, 0.5), (False, 1.0))
    assert len(spans(handed, Span.END)) == 1
    assert [round(speech.end_s, 1) for speech in spans(handed, Span.PAUSE)] == [1.0, 1.8]
    assert {speech.number for speech in handed} == {1}


def test_running_speech_is_looked_at_while_a_stop_may_come_and_no_longer():
    _, handed = feed((True, 8.0), (False, 1.0))
    looks = spans(handed, Span.RUNNING)
    assert 4 <= len(looks) <= 8
    assert max(speech.handed_s for speech in looks) < 3.0


def test_a_click_is_no_speech():
    _, handed = feed((False, 0.5), (True, BLOCK_S), (False, 1.0))
    assert handed == []


def test_endless_speech_is_cut():
    _, handed = feed((True, 10.0), (False, 1.0), longest_s=4.0)
    assert [speech.number for speech in spans(handed, Span.END)] == [1, 2, 3]
    assert all(len(speech.sound) <= 4.1 / BLOCK_S * BLOCK for speech in handed)


def test_letting_the_button_go_ends_the_utterance_at_once():
    ear, _ = feed((False, 0.5), (True, 0.7))
    (speech,) = ear.finish()
    assert speech.span is Span.END
    assert not ear.hears_speech
    assert list(ear.finish()) == []


def test_a_voice_in_the_background_does_not_keep_an_utterance_open():
    ear, handed = VoiceActivity(lambda block: 1.0), []
    for loudness, seconds in ((1.0, 1.0), (0.05, 1.0)):
        for _ in range(round(seconds / BLOCK_S)):
            handed += ear.feed(np.full(BLOCK, loudness, np.float32))
    (speech,) = spans(handed, Span.END)
    assert abs(speech.end_s - 1.0) < 2 * BLOCK_S
