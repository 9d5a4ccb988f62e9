"""Speech and ROS messages: the names of the node's topics, sound out of messages, transcripts as text."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from villa_ros.speech.audio import Sound, SoundError, from_pcm16, resampled
from villa_ros.speech.dialogue import Utterance
from villa_ros.speech.recogniser import Recognition
from villa_ros.speech.stop_phrases import is_spoken_stop

TRANSCRIPT, STATUS, LATENCY = "~/transcript", "~/status", "~/latency"
TALK, CONFIRM = "~/talk", "~/confirm"

_INT16 = 32_768.0


def sound_from_message(message: Any, rate_hz: int, channels: int) -> Sound:
    """One message of an audio topic -> [N] at 16 kHz.

    Takes std_msgs/UInt8MultiArray and audio_common_msgs' AudioData and AudioDataStamped as bytes of 16-bit
    little-endian PCM at `rate_hz`, and the AudioStamped of the other audio_common_msgs with the rate it names.

    Raises:
        villa_ros.speech.audio.SoundError: the bytes do not add up, or there is no sound in the message.
    """
    audio = getattr(message, "audio", message)
    info = getattr(audio, "info", None)
    if info is not None:
        return _described(audio.audio_data, info)
    data = getattr(audio, "data", None)
    if data is None:
        raise SoundError(
            f"a {type(message).__name__} holds no sound; wanted std_msgs/UInt8MultiArray or audio_common_msgs"
        )
    return from_pcm16(bytes(data), rate_hz, channels)


def _described(data: Any, info: Any) -> Sound:
    if len(data.int16_data):
        samples = np.asarray(data.int16_data, np.float32) / np.float32(_INT16)
    elif len(data.float32_data):
        samples = np.asarray(data.float32_data, np.float32)
    else:
        raise SoundError("the message holds neither 16-bit nor float samples; set the capture's format to one of them")
    channels = max(1, info.channels)
    whole = samples[: len(samples) // channels * channels]
    return resampled(whole.reshape(-1, channels).mean(axis=1, dtype=np.float32), info.rate)


def heard_from_live_speech(message: Any, language: str) -> Recognition:
    """hri_msgs/LiveSpeech -> its words, those of an unfinished utterance included; `language` where it names none.

    Versions without a confidence, or with one of 0, which means that it was not set, are believed.
    """
    text = message.final or message.incremental
    spoken = (getattr(message, "locale", "") or language or "en").replace("_", "-").split("-")[0]
    confidence = float(getattr(message, "confidence", 0.0)) or 1.0
    return Recognition(text, confidence, spoken, 0.0, text, is_spoken_stop(text))


def transcript(utterance: Utterance, locale: str, latency_s: float) -> str:
    """What `~/transcript` says of an utterance: one JSON object."""
    heard = utterance.heard
    return json.dumps(
        {
            "text": heard.text,
            "own_words": heard.own_words,
            "confidence": round(heard.confidence, 3),
            "locale": locale,
            "seconds": round(utterance.end_s - utterance.start_s, 2),
            "verdict": utterance.verdict.value,
            "reason": utterance.reason,
            "command": utterance.command,
            "latency_s": round(latency_s, 3),
        },
        ensure_ascii=False,
    )
