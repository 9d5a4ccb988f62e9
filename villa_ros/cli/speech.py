"""`villa speech` and `villa bench-speech`: what is heard in a recording, and how well it is heard in noise."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from villa_ros.cli.terminal import err, expected, fail, out, tracked, usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from villa_ros.speech.recogniser import Recogniser

Model = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Whisper for CTranslate2; default: tiny.en of its package.")
]
Language = Annotated[str, typer.Option(help="Language code; empty: detected, if the model knows several.")]
Objects = Annotated[
    list[str] | None,
    typer.Option(
        "--object", metavar="NAME", help="Name of an object at hand; repeat. Default: those that the model knows."
    ),
]
Threads = Annotated[int, typer.Option(min=1, max=64, help="Threads of the recogniser.")]


def speech(
    recording: Annotated[Path, typer.Argument(metavar="WAV", help="Recording of 16-bit samples, any rate.")],
    listen: Annotated[str, typer.Option(help="always, push_to_talk (held throughout) or wake_word.")] = "always",
    accept: Annotated[
        str, typer.Option(help="commands: only speech in the form of a request; or anything.")
    ] = "commands",
    confidence_floor: Annotated[float, typer.Option(min=0.0, max=1.0, help="Lowest confidence of a command.")] = 0.2,
    model: Model = None,
    language: Language = "",
    objects: Objects = None,
    threads: Threads = 1,
) -> None:
    """Show the words in a recording and the command they would give, without ROS."""
    from villa_ros.speech.audio import SoundError, read_wav
    from villa_ros.speech.dialogue import Dialogue, DialogueConfig, DialogueError
    from villa_ros.speech.listener import Listener, SpokenStop
    from villa_ros.speech.listener import listen as run

    with expected(SoundError, DialogueError), _speech_errors():
        from villa_ros.speech.voice_activity import VoiceActivity, silero

        config = DialogueConfig(listen=listen, accept=accept, confidence_floor=confidence_floor)
        sound = read_wav(recording)
        recogniser = _recogniser(model, language, objects, threads)
        listener = Listener(recogniser, Dialogue(recogniser.vocabulary, config))
        for timed in run(sound, VoiceActivity(silero()), listener, held=listen == "push_to_talk"):
            event = timed.event
            when = f"{event.start_s:6.2f} to {event.end_s:6.2f} s"
            if isinstance(event, SpokenStop):
                line = f"{when}  STOP  {event.heard.text!r}, known {timed.latency_s:.2f} s later"
            else:
                reason = f" ({event.reason})" if event.reason else ""
                sure = f"confidence {event.heard.confidence:.2f}"
                known = f"{event.heard.text!r}, {sure}, {timed.latency_s:.2f} s later"
                line = f"{when}  {event.verdict.value}{reason}: {known}"
            out.print(line, highlight=False, markup=False, soft_wrap=True)


def bench_speech(
    folder: Annotated[Path, typer.Option("--out", help="Folder for the report.")] = Path("out/bench"),
    voices: Annotated[int, typer.Option(min=1, max=5, help="How many of the five voices speak.")] = 5,
    every: Annotated[int, typer.Option(min=1, help="Use every Nth phrase.")] = 1,
    minutes: Annotated[float, typer.Option(min=0.0, help="Minutes of other speech, for false stops.")] = 30.0,
    model: Model = None,
    language: Language = "",
    threads: Threads = 1,
    misses: Annotated[bool, typer.Option(help="Also list what went wrong at the highest ratio.")] = False,
) -> None:
    """Measure word errors, command errors, false commands, stops and latencies, on espeak-ng speech in noise."""
    from villa_ros.speech import synthesis

    if not synthesis.installed():
        fail(f"espeak-ng is not installed, and it speaks the benchmark: {synthesis.HOW_TO_INSTALL}")
    with expected(synthesis.SynthesisError, OSError), _speech_errors():
        from villa_ros.bench import speech
        from villa_ros.speech.bench_phrases import VOICES

        recogniser = _recogniser(model, language, None, threads)
        with err.status("speaking"):
            made = speech.clips(VOICES[:voices], every=every)
        result = speech.measure(recogniser, made, minutes, VOICES[:voices], progress=tracked)
        out.print(result.table())
        out.print(result.text(), highlight=False)
        if misses:
            for miss in result.misses:
                out.print(miss, highlight=False, markup=False, soft_wrap=True)
        out.print(f"report: {result.save(folder)}", highlight=False, markup=False, soft_wrap=True)


@contextmanager
def _speech_errors() -> Iterator[None]:
    """What is missing to hear with ends the command with one message."""
    from villa_ros.speech.ctc_model import CtcModelError
    from villa_ros.speech.voice_activity import VoiceActivityError
    from villa_ros.speech.whisper import WhisperError

    with expected(VoiceActivityError, CtcModelError, WhisperError):
        yield


def _recogniser(model: Path | None, language: str, objects: list[str] | None, threads: int) -> Recogniser:
    from villa_ros.runtime.model_loading import limit_threads
    from villa_ros.speech.recogniser import Recogniser
    from villa_ros.speech.vocabulary import VocabularyError, of_objects, shipped
    from villa_ros.speech.whisper import Whisper

    try:
        vocabulary = of_objects(objects) if objects else shipped()
    except VocabularyError as error:
        usage(str(error))
    with err.status("loading the recogniser"):
        limit_threads(threads)  # the CTC model's, too: threads that wait for each other cost more than they compute
        return Recogniser(Whisper(model, language, threads), vocabulary)
