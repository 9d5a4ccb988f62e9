"""Spoken sound through voice activity, Whisper and dialogue: the whole way without ROS."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from villa_ros.bench.speech import babble_voices, disturbance
from villa_ros.speech import noise
from villa_ros.speech.audio import BLOCK, RATE_HZ, silence
from villa_ros.speech.dialogue import Dialogue, Verdict
from villa_ros.speech.listener import Listener, SpokenStop, Utterance, listen
from villa_ros.speech.stop_phrases import is_spoken_stop
from villa_ros.speech.synthesis import Voice
from villa_ros.speech.voice_activity import VoiceActivity, silero
from villa_ros.speech.worker import SpeechWorker


def verdicts(events):
    return [event.verdict for event in events if isinstance(event, Utterance)]


def test_a_spoken_request_becomes_a_command_with_its_end(say, events):
    sound = say("Track the red mug.")
    (event,) = events(sound)
    assert (event.verdict, event.command) == (Verdict.COMMAND, "Track the red mug.")
    assert event.heard.language == "en"
    assert event.end_s == pytest.approx(len(sound) / RATE_HZ - 1.0, abs=0.25)


def test_two_requests_are_two_commands(say, events):
    commands = [event.command for event in events(say("Find the hammer.", "Watch the yellow banana."))]
    assert commands == ["Find the hammer.", "Watch the yellow banana."]


@pytest.mark.parametrize("text", ["Stop!", "Please stop.", "Stop tracking."])
def test_a_stop_is_told_once_and_before_its_utterance_ends(say, events, text):
    stop, said = events(say(text))
    assert isinstance(stop, SpokenStop)
    assert said.verdict is Verdict.STOP


def test_a_stop_is_told_while_its_speaker_goes_on(recogniser, say):
    """Somebody who says stop and keeps talking must not be waited for."""
    listener = Listener(recogniser, Dialogue(recogniser.vocabulary))
    first, then = say("Stop!"), say("I said that was enough for today.", pause_s=0.0)
    sound = np.concatenate((first[: -round(0.75 * RATE_HZ)], then))
    timed = list(listen(sound, VoiceActivity(silero()), listener))
    assert isinstance(timed[0].event, SpokenStop)
    assert timed[0].event.end_s < 2.0


def test_stops_that_talk_in_the_background_blurs_are_heard(recogniser, say):
    """Of these 12, 8 are heard by what Whisper and the CTC model make of them at once."""
    talkers, said, heard = babble_voices(), say("Stop!", voice=Voice("en-gb+f1", 150), pause_s=0.3), []
    for ratio_db in (12, 8):
        for seed in range(6):
            babble = disturbance("babble", len(said), talkers, np.random.default_rng(seed))
            heard.append(recogniser.hear(noise.mixed(said, babble, ratio_db)).text)
    assert sum(map(is_spoken_stop, heard)) >= 9, heard


@pytest.mark.parametrize("listening", ["push_to_talk", "wake_word"])
def test_a_stop_is_heard_whoever_is_spoken_to(say, events, listening):
    assert isinstance(events(say("Stop!"), listen=listening)[0], SpokenStop)


def test_talk_becomes_nothing(say, events):
    found = events(say("I had a really good weekend.", "Thanks for watching."))
    assert not any(isinstance(event, SpokenStop) for event in found)
    assert not {Verdict.COMMAND, Verdict.STOP} & set(verdicts(found))


def test_silence_and_noise_become_nothing(events):
    assert events(silence(3.0)) == []
    rng = np.random.default_rng(0)
    for made in (noise.white(4 * RATE_HZ, rng), noise.hum(4 * RATE_HZ, rng)):
        assert Verdict.COMMAND not in verdicts(events((0.1 * made).astype(np.float32)))


def test_the_same_sound_is_understood_the_same_way(say, events):
    sound = say("Track the blue ball.")
    sound = noise.mixed(sound, noise.white(len(sound), np.random.default_rng(1)), 15)
    assert events(sound) == events(sound)


def test_another_voice_in_noise_is_understood(say, events):
    sound = say("Keep an eye on the red mug.", voice=Voice("en-gb", 150, 40))
    sound = noise.mixed(sound, noise.hum(len(sound), np.random.default_rng(2)), 20)
    assert events(sound)[0].command == "Keep an eye on the red mug."


def test_times_are_those_of_the_machine_that_computes(recogniser, say):
    """With a clock that runs one second for each look at it, every step takes some."""
    ticks = iter(range(10_000))
    listener = Listener(recogniser, Dialogue(recogniser.vocabulary))
    (timed,) = listen(say("Track the red mug."), VoiceActivity(silero()), listener, clock=lambda: float(next(ticks)))
    assert timed.latency_s > 1.0


class Gathered:
    """What a worker tells, and the wait for it."""

    def __init__(self):
        self.told, self.failures, self._changed = [], [], threading.Condition()

    def emit(self, told):
        with self._changed:
            self.told.append(told)
            self._changed.notify()

    def until(self, count):
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.told) >= count, 60), self.failures
        return self.told


def offer(worker, sound, start_ns=0):
    for start in range(0, len(sound), BLOCK):
        end = min(len(sound), start + BLOCK)
        worker.offer(sound[start:end], start_ns + round(end / RATE_HZ * 1e9))


@pytest.fixture
def worker(recogniser):
    """A running worker and what it told."""
    gathered = Gathered()
    made = SpeechWorker(
        VoiceActivity(silero()),
        Listener(recogniser, Dialogue(recogniser.vocabulary)),
        gathered.emit,
        gathered.failures.append,
    )
    yield made, gathered
    assert made.close()


def test_a_worker_stamps_the_end_of_the_speech_by_the_clock_of_the_sound(worker, say):
    made, gathered = worker
    sound = say("Track the red mug.")
    offer(made, sound, start_ns=5_000_000_000_000)
    (told,) = gathered.until(1)
    end_s = (told.end_ns - 5_000_000_000_000) / 1e9
    assert end_s == pytest.approx(told.event.end_s, abs=0.05)


def test_letting_the_talk_button_go_ends_the_utterance(worker, say):
    made, gathered = worker
    made.hold(True)
    offer(made, say("It is what I pour milk from.")[:-RATE_HZ])
    made.hold(False)
    (told,) = gathered.until(1)
    assert told.event.verdict is Verdict.COMMAND, "what is said with the button held is for the robot"


def test_a_recogniser_that_fails_once_hears_the_next_utterance(recogniser, say):
    gathered = Gathered()

    class Failing(Listener):
        failed = False

        def consider(self, speech, *, held=False):
            if not self.failed:
                self.failed = True
                raise RuntimeError("out of memory")
            return super().consider(speech, held=held)

    listener = Failing(recogniser, Dialogue(recogniser.vocabulary))
    made = SpeechWorker(VoiceActivity(silero()), listener, gathered.emit, gathered.failures.append)
    offer(made, say("Find the hammer.", "Track the red mug."))
    gathered.until(1)
    assert [str(error) for error in gathered.failures] == ["out of memory"]
    assert made.close()
