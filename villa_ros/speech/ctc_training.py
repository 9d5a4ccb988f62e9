"""Train the CTC model on speech that espeak-ng makes: python -m villa_ros.speech.ctc_training.

Voices, noise and sentences are others than the benchmark's. Half of what is said are commands of the grammar, a third
words that Whisper's tokenizer knows in random order (so that it learns to spell and not a list), the rest stops and
words that sound like one. The same seed and versions give the same weights.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from villa_ros.runtime.allocator import keep_large_blocks
from villa_ros.speech import bench_phrases, noise
from villa_ros.speech.audio import RATE_HZ, Sound, silence
from villa_ros.speech.command_grammar import ARTICLES, CARRIERS, DETERMINERS, PLACES, RELATIONS
from villa_ros.speech.ctc_model import WEIGHTS, CtcNetwork, features, save, spelled
from villa_ros.speech.synthesis import Voice, speak
from villa_ros.speech.vocabulary import Vocabulary, shipped, words
from villa_ros.speech.whisper import shipped_folder

# None of them is a voice of the benchmark.
VOICES = tuple(
    f"{language}+{variant}"
    for language in ("en-us", "en-gb", "en-gb-x-rp", "en-gb-scotland", "en-us-nyc", "en-gb-x-gbclan")
    for variant in ("m1", "m2", "m4", "m5", "m6", "m7", "f1", "f3", "f5", "Annie", "steph", "Michael", "Mike", "adam",
                    "linda")
)  # fmt: skip
STOPS = ("stop", "stop it", "stop now", "stop that", "please stop", "stop stop", "halt", "cancel", "cancel that",
         "abort", "freeze", "stop tracking", "never mind", "stop everything", "forget it", "quit",
         "stop please")  # fmt: skip
NEAR_STOPS = ("top", "shop", "start", "stock", "step", "stuff", "store", "staff", "drop", "spot", "chop", "pop", "hop",
              "stump", "stack", "story", "stand", "strap", "hall", "halls", "board", "breeze", "freeze it well",
              "the top", "the shop", "start it", "on top", "workshop", "stopped by", "nonstop", "laptop")  # fmt: skip
_SPELLED_WORD = 3, 9  # letters
_BATCH = 24
_BABBLE_VOICES = 6


@dataclass(frozen=True)
class Said:
    """One utterance for training."""

    text: str
    sound: Sound


def sentences(count: int, rng: random.Random, vocabulary: Vocabulary, spoken_words: Sequence[str]) -> list[str]:
    """What is said, never a sentence of the benchmark."""
    kept = {tuple(words(text)) for text in (*bench_phrases.COMMANDS, *bench_phrases.NON_COMMANDS)}
    made: list[str] = []
    while len(made) < count:
        draw = rng.random()
        if draw < 0.55:
            text = _command(rng, vocabulary)
        elif draw < 0.85:
            text = " ".join(rng.choices(spoken_words, k=rng.randint(2, 6)))
        elif draw < 0.92:
            text = rng.choice(STOPS)
        else:
            text = f"{rng.choice(NEAR_STOPS)} {rng.choice(['', '', *spoken_words[:200]])}".strip()
        if tuple(words(text)) not in kept:
            made.append(text)
    return made


def _command(rng: random.Random, vocabulary: Vocabulary) -> str:
    quality = rng.choice(["", *vocabulary.qualities, *vocabulary.qualities])
    thing = (
        f"{rng.choice(CARRIERS)} {rng.choice(['the', 'the', *DETERMINERS])} {quality} {rng.choice(vocabulary.nouns)}"
    )
    draw = rng.random()
    if draw < 0.25:
        other = rng.choice(["", *vocabulary.qualities])
        thing += f" {rng.choice(RELATIONS)} {rng.choice(ARTICLES)} {other} {rng.choice(vocabulary.nouns)}"
    elif draw < 0.5:
        thing += f" {rng.choice(PLACES)}"
    return " ".join(thing.split())


def spoken_words() -> list[str]:
    """Common English words: those that are one token to Whisper."""
    from tokenizers import Tokenizer

    tokens = Tokenizer.from_file(str(shipped_folder() / "tokenizer.json")).get_vocab()
    shortest, longest = _SPELLED_WORD
    found = [name[1:] for name in sorted(tokens, key=tokens.__getitem__) if name.startswith("Ġ")]
    return [word for word in found if word.isascii() and word.islower() and shortest <= len(word) <= longest][:6000]


def say(texts: Sequence[str], seed: int) -> list[Said]:
    """Each text by a voice of its own, as loud as all others."""
    rng = random.Random(seed)
    voices = [Voice(rng.choice(VOICES), rng.randint(130, 185), rng.randint(25, 75)) for _ in texts]
    with ThreadPoolExecutor(2) as pool:  # the work is done by espeak-ng's processes
        sounds = list(pool.map(speak, texts, voices))
    return [Said(text, 0.3 * sound / np.abs(sound).max()) for text, sound in zip(texts, sounds, strict=True)]


def _heard(said: Said, babble: Sequence[Sound], rng: np.random.Generator) -> torch.Tensor:
    """Features of an utterance with pauses around it, through some microphone, in some noise."""
    before, after = (silence(float(seconds)) for seconds in rng.uniform(0.05, 0.5, 2))
    sound = np.concatenate((before, said.sound, after))
    tilt = rng.uniform(-0.6, 0.6)
    sound = sound - np.float32(tilt) * np.concatenate((sound[:1], sound[:-1]))
    kind = rng.integers(4)
    if kind < 3:
        disturbing = (
            noise.white(len(sound), rng)
            if kind == 0
            else noise.hum(len(sound), rng)
            if kind == 1
            else noise.babble(len(sound), [babble[i] for i in rng.integers(len(babble), size=_BABBLE_VOICES)], rng)
        )
        sound = noise.mixed(sound, disturbing, float(rng.uniform(0, 28)))
    return features(sound.astype(np.float32))


def train(said: Sequence[Said], epochs: int, seed: int) -> CtcNetwork:
    """The network after so many passes over `said`, each time in other noise."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = CtcNetwork()
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=1e-2)
    steps = epochs * (len(said) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps, pct_start=0.15)
    babble = [one.sound for one in said[:: max(1, len(said) // 60)] if len(one.sound) > RATE_HZ]
    by_length = sorted(range(len(said)), key=lambda index: len(said[index].sound))
    for epoch in range(epochs):
        batches = [by_length[start : start + _BATCH] for start in range(0, len(said) - _BATCH + 1, _BATCH)]
        rng.shuffle(batches)
        total = 0.0
        for batch in batches:
            inputs = [_heard(said[index], babble, rng) for index in batch]
            longest = max(one.shape[1] for one in inputs)
            padded = torch.stack([F.pad(one, (0, longest - one.shape[1])) for one in inputs])
            targets = [torch.tensor(spelled(said[index].text)) for index in batch]
            output = network(padded)
            lengths = torch.tensor([-(-one.shape[1] // 3) for one in inputs])
            loss = F.ctc_loss(
                output.transpose(0, 1),
                torch.cat(targets),
                lengths,
                torch.tensor([len(one) for one in targets]),
                zero_infinity=True,
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += float(loss.detach())
        print(f"pass {epoch + 1} of {epochs}: CTC loss {total / len(batches):.3f} nats a letter", flush=True)
    return network.eval()


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the speech, train, write the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="where the weights go")
    parser.add_argument("--utterances", type=int, default=6000)
    parser.add_argument("--passes", type=int, default=14)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    keep_large_blocks()
    rng = random.Random(chosen.seed)
    said = say(sentences(chosen.utterances, rng, shipped(), spoken_words()), chosen.seed)
    print(f"{sum(len(one.sound) for one in said) / RATE_HZ / 60:.0f} min of speech by {len(VOICES)} voices", flush=True)
    save(train(said, chosen.passes, chosen.seed), chosen.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
