"""The speech benchmark: commands, other speech and stops by several voices in noise, through all of `villa_ros.speech`.

Everything is made here by espeak-ng and a seed. A command is right when a command came out of it whose words for
things, qualities and places are those that were said, in their order. Times are those of a live run with one worker
on the machine that measured (`villa_ros.speech.listener.listen`).
"""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from villa_ros.pipeline.stats import quantile
from villa_ros.speech import bench_phrases, noise
from villa_ros.speech.audio import RATE_HZ, Sound, silence
from villa_ros.speech.command_grammar import RELATIONS
from villa_ros.speech.dialogue import Dialogue, DialogueConfig, Utterance, Verdict
from villa_ros.speech.listener import Listener, SpokenStop, Timed, listen
from villa_ros.speech.recogniser import Recogniser
from villa_ros.speech.synthesis import Voice, speak
from villa_ros.speech.vocabulary import Vocabulary, words
from villa_ros.speech.voice_activity import VoiceActivity, silero

RATIOS_DB = (20, 10, 5)
NOISES = ("white", "babble", "hum")
LATENCY_AIM_S, STOP_AIM_S, ERROR_AIM, FALSE_STOPS_AIM = 1.2, 0.7, 0.10, 1
_BEFORE_S, _AFTER_S = 1.5, 2.5  # noise around what is said
_LOUDNESS = 0.3
_BABBLE = (
    "When the sunlight strikes raindrops in the air, they act as a prism and form a rainbow.",
    "People look for it but no one ever finds it, and some say that there is nothing to find.",
)
_BABBLE_VOICES = ("en-us+m1", "en-gb+f1", "en-029", "en-us+f5", "en-gb-x-gbclan+m5", "en-gb+m4")
_FURTHER = frozenset(("not", "all", "both", "it", "one", "front", "middle", "back", "something", "drink"))

Progress = Callable[[Iterable["Clip"], int, str], Iterable["Clip"]]


@dataclass(frozen=True)
class Clip:
    """One thing said once."""

    kind: str  # command, other, stop
    text: str
    voice: str
    noise: str
    ratio_db: int
    sound: Sound
    end_s: float  # when the speech ends, by its samples


@dataclass(frozen=True)
class Line:
    """What was measured at one ratio of signal to noise."""

    ratio_db: int
    commands: int
    word_errors: float  # of what was taken for the words, by the words that were said
    own_word_errors: float  # of Whisper's own words, before rescoring
    command_errors: float
    others: int
    executed: int  # of the others
    stops: int
    stops_heard: int
    false_stops: int  # sent for a command or another utterance
    latency_s: tuple[float, ...]  # end of speech to command
    stop_latency_s: tuple[float, ...]


@dataclass(frozen=True)
class SpeechBench:
    """The whole."""

    lines: tuple[Line, ...]
    other_minutes: float  # of long speech that was no command
    other_false_stops: int
    other_executed: int
    misses: tuple[str, ...]  # what went wrong at the highest ratio
    load: float  # of the machine when it began

    def save(self, folder: Path) -> Path:
        """Write everything as JSON; returns the file."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "speech_bench.json"
        path.write_text(json.dumps(asdict(self), indent=1), "utf-8")
        return path

    def table(self) -> Table:
        """One row for each ratio."""
        table = Table(title="Speech", box=SIMPLE_HEAD, pad_edge=False)
        for heading in (
            "SNR\ndB", "WER", "WER of\nWhisper alone", "command\nerrors", "others\nexecuted", "stops\nheard",
            "false\nstops", "command after, s\np50 / p95", "stop after, s\np50 / max",
        ):  # fmt: skip
            table.add_column(heading, justify="right", no_wrap=True)
        for line in self.lines:
            table.add_row(
                str(line.ratio_db),
                f"{line.word_errors:.3f}",
                f"{line.own_word_errors:.3f}",
                f"{line.command_errors:.1%} of {line.commands}",
                f"{line.executed} of {line.others}",
                f"{line.stops_heard} of {line.stops}",
                str(line.false_stops),
                _range(line.latency_s, 0.95),
                _range(line.stop_latency_s, 1.0),
            )
        return table

    def text(self) -> str:
        """What the table leaves out, and the aims."""
        first = self.lines[0]
        slow, slow_stop = quantile(first.latency_s or (9.0,), 0.95), max(first.stop_latency_s, default=9.0)
        aims = (
            (f"command errors under {ERROR_AIM:.0%}", first.command_errors < ERROR_AIM),
            ("no stop missed", first.stops_heard == first.stops),
            ("no other utterance executed", first.executed == 0),
            (f"command within {LATENCY_AIM_S:g} s (p95)", slow <= LATENCY_AIM_S),
            (f"stop within {STOP_AIM_S:g} s (worst)", slow_stop <= STOP_AIM_S),
        )
        judged = "; ".join(f"{what}: {'reached' if reached else 'not reached'}" for what, reached in aims)
        text = f"at {first.ratio_db} dB: {judged}"
        if self.other_minutes:
            text += (
                f"\n{self.other_minutes:.0f} min of other speech: {self.other_false_stops} false stops "
                f"(aim at most {FALSE_STOPS_AIM} in 30 min), {self.other_executed} commands"
            )
        return f"{text}\nload of the machine: {self.load:.1f} on {os.cpu_count()} cores"


def clips(voices: Sequence[Voice], seed: int = 0, every: int = 1) -> list[Clip]:
    """Every phrase of the benchmark by every voice at every ratio, or one in `every`; the kind of noise goes round."""
    rng = np.random.default_rng(seed)
    talkers = babble_voices()
    made, number = [], 0
    phrases = [("command", text) for text in bench_phrases.COMMANDS]
    phrases += [("other", text) for text in bench_phrases.NON_COMMANDS]
    phrases += [("stop", text) for text in bench_phrases.STOPS]
    for index, (kind, text) in enumerate(phrases):
        for turn, voice in enumerate(voices):
            number += 1
            if number % every:
                continue
            said = loud(speak(text, voice))
            whole = np.concatenate((silence(_BEFORE_S), said, silence(_AFTER_S)))
            name = NOISES[(index + turn) % len(NOISES)]
            disturbing = disturbance(name, len(whole), talkers, rng)
            for ratio_db in RATIOS_DB:
                mixed = noise.mixed(whole, disturbing, ratio_db)
                made.append(Clip(kind, text, voice.name, name, ratio_db, mixed, _BEFORE_S + len(said) / RATE_HZ))
    return made


def babble_voices() -> list[Sound]:
    """Those who talk in the background."""
    return [speak(_BABBLE[turn % 2], Voice(name, 150 + 9 * turn)) for turn, name in enumerate(_BABBLE_VOICES)]


def disturbance(name: str, samples: int, talkers: Sequence[Sound], rng: np.random.Generator) -> Sound:
    """One of `NOISES`, [N]."""
    if name == "babble":
        return noise.babble(samples, talkers, rng)
    return noise.white(samples, rng) if name == "white" else noise.hum(samples, rng)


def loud(sound: Sound) -> Sound:
    """The same, with its loudest sample at a third of full scale."""
    return (_LOUDNESS * sound / np.abs(sound).max()).astype(np.float32)


def other_speech(minutes: float, voices: Sequence[Voice], seed: int = 1) -> Iterator[Sound]:
    """Talk that is no command and no stop, in pieces, with noise at 20 dB; many of its words sound like a stop."""
    rng = np.random.default_rng(seed)
    talkers, turn, made_s = babble_voices(), 0, 0.0
    while made_s < 60 * minutes:
        text = bench_phrases.talk(rng)
        said = loud(speak(text, voices[turn % len(voices)]))
        whole = np.concatenate((silence(float(rng.uniform(0.3, 1.2))), said, silence(0.8)))
        name = NOISES[turn % len(NOISES)]
        yield noise.mixed(whole, disturbance(name, len(whole), talkers, rng), RATIOS_DB[0])
        made_s, turn = made_s + len(whole) / RATE_HZ, turn + 1


def measure(
    recogniser: Recogniser,
    made: Sequence[Clip],
    other_minutes: float = 0.0,
    voices: Sequence[Voice] = bench_phrases.VOICES,
    config: DialogueConfig | None = None,
    progress: Progress = lambda items, *_: items,
) -> SpeechBench:
    """Run everything through ear, recogniser and dialogue."""
    load = os.getloadavg()[0]
    heard = [(clip, _run(recogniser, clip.sound, config)) for clip in progress(made, len(made), "listening")]
    ratios = sorted({clip.ratio_db for clip in made}, reverse=True)
    lines = [
        _line(ratio_db, [pair for pair in heard if pair[0].ratio_db == ratio_db], recogniser.vocabulary)
        for ratio_db in ratios
    ]
    misses = [
        f"{clip.kind} {clip.text!r} by {clip.voice} in {clip.noise}: {_told(events)}"
        for clip, events in heard
        if clip.ratio_db == ratios[0] and not _right(clip, events, recogniser.vocabulary)
    ]
    minutes, false_stops, executed = 0.0, 0, 0
    for sound in other_speech(other_minutes, voices) if other_minutes else ():
        minutes += len(sound) / RATE_HZ / 60
        for timed in _run(recogniser, sound, config):
            false_stops += isinstance(timed.event, SpokenStop)
            executed += isinstance(timed.event, Utterance) and timed.event.verdict is Verdict.COMMAND
    return SpeechBench(tuple(lines), minutes, false_stops, executed, tuple(misses), load)


def asked_for(text: str, vocabulary: Vocabulary) -> list[str]:
    """The words of a text that say which object is meant, in their order."""
    known = {word for name in (*vocabulary.nouns, *vocabulary.qualities, *RELATIONS) for word in name.split()}
    known = (known | _FURTHER) - {"of", "to", "that", "is", "the"}
    return [word for word in words(text) if word in known]


def word_errors(said: str, heard: str) -> tuple[int, int]:
    """Words to change, add or drop, and the number of words said."""
    truth, row = words(said), np.arange(len(words(heard)) + 1)
    for count, word in enumerate(truth, 1):
        before, row = row, np.full_like(row, count)
        for place, other in enumerate(words(heard), 1):
            row[place] = min(before[place] + 1, row[place - 1] + 1, before[place - 1] + (word != other))
    return int(row[-1]), len(truth)


def _run(recogniser: Recogniser, sound: Sound, config: DialogueConfig | None) -> list[Timed]:
    listener = Listener(recogniser, Dialogue(recogniser.vocabulary, config))
    return list(listen(sound, VoiceActivity(silero()), listener))


def _commands(events: Sequence[Timed]) -> list[Timed]:
    return [one for one in events if isinstance(one.event, Utterance) and one.event.verdict is Verdict.COMMAND]


def _right(clip: Clip, events: Sequence[Timed], vocabulary: Vocabulary) -> bool:
    commands, stops = _commands(events), [one for one in events if isinstance(one.event, SpokenStop)]
    if clip.kind == "stop":
        return bool(stops)
    if clip.kind == "other":
        return not commands and not stops
    return not stops and [word for one in commands for word in asked_for(_words_of(one), vocabulary)] == asked_for(
        clip.text, vocabulary
    )


def _words_of(timed: Timed) -> str:
    return timed.event.command if isinstance(timed.event, Utterance) else ""


def _line(ratio_db: int, heard: Sequence[tuple[Clip, list[Timed]]], vocabulary: Vocabulary) -> Line:
    of = {kind: [pair for pair in heard if pair[0].kind == kind] for kind in ("command", "other", "stop")}
    taken, own = [], []
    for clip, events in of["command"]:
        spoken = [one.event.heard for one in events if isinstance(one.event, Utterance)]
        taken.append(word_errors(clip.text, " ".join(one.text for one in spoken)))
        own.append(word_errors(clip.text, " ".join(one.own_words for one in spoken)))
    stops = [
        (clip, next((one for one in events if isinstance(one.event, SpokenStop)), None)) for clip, events in of["stop"]
    ]
    return Line(
        ratio_db,
        len(of["command"]),
        _rate(taken),
        _rate(own),
        statistics.fmean([not _right(*pair, vocabulary) for pair in of["command"]] or [0.0]),
        len(of["other"]),
        sum(bool(_commands(events)) for _, events in of["other"]),
        len(stops),
        sum(stop is not None for _, stop in stops),
        sum(isinstance(one.event, SpokenStop) for kind in ("command", "other") for _, ev in of[kind] for one in ev),
        tuple(one.ready_s - clip.end_s for clip, events in of["command"] for one in _commands(events)),
        tuple(stop.ready_s - clip.end_s for clip, stop in stops if stop is not None),
    )


def _told(events: Sequence[Timed]) -> str:
    told = [
        f"{one.event.verdict.value} {one.event.heard.text!r} ({one.event.heard.own_words!r})"
        for one in events
        if isinstance(one.event, Utterance)
    ]
    return "; ".join(told) or "nothing heard"


def _rate(errors: Sequence[tuple[int, int]]) -> float:
    return sum(wrong for wrong, _ in errors) / max(1, sum(count for _, count in errors))


def _range(values: tuple[float, ...], high: float) -> str:
    return f"{quantile(values, 0.5):.2f} / {quantile(values, high):.2f}" if values else "-"
