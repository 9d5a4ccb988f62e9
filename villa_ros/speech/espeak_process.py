"""One utterance by the library of espeak-ng, in a process of its own, where the program espeak-ng is not installed.

python espeak_process.py LIBRARY DATA_FOLDER VOICE WORDS_PER_MINUTE PITCH WAV TEXT

The library keeps one voice and one random state for the whole process, and must not be called from two threads. With a
process for each utterance nobody else uses it, two utterances can be made at once, and a text sounds the same whatever
was said before it. `villa_ros.speech.synthesis` runs this file by its path, isolated and without site-packages, so it
imports the standard library only.
"""

from __future__ import annotations

import ctypes
import os
import sys
import wave
from pathlib import Path

# From speak_lib.h of espeak-ng.
_AUDIO_OUTPUT_SYNCHRONOUS = 2  # samples go to the callback, and espeak_Synth returns after the last one
_INITIALIZE_DONT_EXIT = 0x8000
_RATE, _PITCH = 1, 3  # parameters
_POS_CHARACTER = 1
_CHARS_UTF8, _ENDPAUSE = 1, 0x1000
_OK = 0
_SEED = 1

_OnSamples = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class _Voice(ctypes.Structure):
    """espeak_VOICE."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_char_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("xx1", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    )


def speak(library: Path, data: Path, voice: str, words_per_minute: int, pitch: int, file: Path, text: str) -> str:
    """Write what `voice` says to a WAV file of mono 16-bit samples; what went wrong, empty where nothing did.

    `data` is the folder espeak-ng-data, or the one it is in.
    """
    file = file.absolute()
    espeak = ctypes.CDLL(str(library.absolute()))
    espeak.espeak_ng_SetRandSeed.argtypes = (ctypes.c_long,)
    espeak.espeak_Synth.argtypes = (
        ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint,
        ctypes.c_void_p, ctypes.c_void_p,
    )  # fmt: skip
    os.chdir(data)  # the library cuts the path of its data at 160 characters
    rate_hz = espeak.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, b".", _INITIALIZE_DONT_EXIT)
    if rate_hz <= 0:
        return f"{library} does not take the data in {data} (espeak_Initialize: {rate_hz})"
    espeak.espeak_ng_SetRandSeed(_SEED)  # else the time in seconds: the breath of some voices is noise
    # Some names are languages that several voices speak, such as en-gb; the program finds them in the same way.
    wanted = _Voice(languages=voice.encode())
    if (
        espeak.espeak_SetVoiceByName(voice.encode()) != _OK
        and (status := espeak.espeak_SetVoiceByProperties(ctypes.byref(wanted))) != _OK
    ):
        return f"there is no such voice or language (espeak_SetVoiceByProperties: {status})"
    for parameter, value in ((_RATE, words_per_minute), (_PITCH, pitch)):
        if (status := espeak.espeak_SetParameter(parameter, value, 0)) != _OK:
            return f"{value} is no value of parameter {parameter} (espeak_SetParameter: {status})"

    samples = bytearray()

    def on_samples(at: ctypes._Pointer[ctypes.c_short], count: int, _events: int | None) -> int:
        if at:  # null at the end of the text
            samples.extend(ctypes.string_at(at, count * ctypes.sizeof(ctypes.c_short)))
        return 0  # go on

    callback = _OnSamples(on_samples)  # kept until the last sample: the library holds no reference
    espeak.espeak_SetSynthCallback(callback)
    spoken = text.encode()
    status = espeak.espeak_Synth(
        spoken, len(spoken) + 1, 0, _POS_CHARACTER, 0, _CHARS_UTF8 | _ENDPAUSE, None, None
    )  # the size counts the zero at the end
    if status != _OK:
        return f"espeak_Synth: {status}"
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate_hz)
        out.writeframes(bytes(samples))
    return ""


if __name__ == "__main__":
    _library, _data, _voice, _words_per_minute, _pitch, _file, _text = sys.argv[1:]
    sys.exit(speak(Path(_library), Path(_data), _voice, int(_words_per_minute), int(_pitch), Path(_file), _text) or 0)
