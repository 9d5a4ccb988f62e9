"""Sound of any rate and shape becomes mono at 16 kHz, and nothing of it is lost on the way."""

from __future__ import annotations

import wave

import numpy as np
import pytest

from villa_ros.speech import noise
from villa_ros.speech.audio import (
    BLOCK,
    RATE_HZ,
    Blocks,
    SoundError,
    from_pcm16,
    read_wav,
    to_pcm16,
    write_wav,
)


def tone(hertz, seconds, rate_hz=RATE_HZ):
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def loudest_hz(sound):
    return np.argmax(np.abs(np.fft.rfft(sound))) * RATE_HZ / len(sound)


def test_samples_come_back_from_bytes_as_they_were():
    sound = tone(440, 0.1)
    assert np.abs(from_pcm16(to_pcm16(sound)) - sound).max() < 1e-4


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 44_100, 48_000])
def test_a_tone_keeps_its_pitch_and_length_at_any_rate(rate_hz):
    heard = from_pcm16(to_pcm16(tone(440, 1.0, rate_hz)), rate_hz)
    assert abs(len(heard) - RATE_HZ) <= 1
    assert abs(loudest_hz(heard) - 440) < 2


def test_channels_are_mixed():
    left = tone(440, 0.1)
    both = np.stack((left, np.zeros_like(left)), axis=1)
    assert np.abs(from_pcm16(to_pcm16(both), channels=2) - left / 2).max() < 1e-4


def test_bytes_that_do_not_add_up_are_named():
    with pytest.raises(SoundError, match="7 bytes are no whole number of 16-bit samples of 2 channels"):
        from_pcm16(b"1234567", channels=2)


def test_what_is_louder_than_full_scale_is_clipped_and_not_wrapped():
    assert from_pcm16(to_pcm16(np.array([2.0, -2.0], np.float32))) == pytest.approx([1.0, -1.0], abs=1e-3)


def test_a_wav_file_is_read_as_it_was_written(tmp_path):
    write_wav(tmp_path / "tone.wav", tone(440, 0.2))
    assert np.abs(read_wav(tmp_path / "tone.wav") - tone(440, 0.2)).max() < 1e-4


def test_files_that_are_no_wav_of_16_bits_are_named(tmp_path):
    with pytest.raises(SoundError, match="does not exist"):
        read_wav(tmp_path / "absent.wav")
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(SoundError, match="no WAV file"):
        read_wav(tmp_path / "text.wav")
    with wave.open(str(tmp_path / "narrow.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(RATE_HZ)
        file.writeframes(b"\x80" * 100)
    with pytest.raises(SoundError, match="8 bits, wanted 16"):
        read_wav(tmp_path / "narrow.wav")


def test_blocks_lose_no_sample_whatever_the_pieces():
    sound, blocks, rng = tone(440, 1.0), Blocks(), np.random.default_rng(0)
    whole, start = [], 0
    while start < len(sound):
        length = int(rng.integers(1, 2000))
        whole += list(blocks.cut(sound[start : start + length]))
        start += length
    assert {len(block) for block in whole} == {BLOCK}
    assert np.array_equal(np.concatenate((*whole, blocks.rest)), sound)


@pytest.mark.parametrize("ratio_db", [20, 10, 5])
def test_noise_is_mixed_at_the_ratio_that_was_asked_for(ratio_db):
    speech, rng = 0.1 * tone(440, 1.0), np.random.default_rng(0)
    for made in (noise.white(len(speech), rng), noise.hum(len(speech), rng), noise.babble(len(speech), [speech], rng)):
        added = noise.mixed(speech, made, ratio_db) - speech
        measured = 20 * np.log10(noise.speech_rms(speech) / np.sqrt(np.mean(added**2)))
        assert measured == pytest.approx(ratio_db, abs=0.2)
