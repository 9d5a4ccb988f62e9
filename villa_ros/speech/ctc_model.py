"""A small network that hears letters: log-mel -> convolutions -> CTC over a..z, apostrophe and space.

It is no recogniser of its own. It tells which of some given texts fits the sound best (`score`), at a thousandth of the
cost of Whisper, in noise, and on speech that is still going on. It is trained on synthetic speech only
(`ctc_training`), so Whisper keeps the last word (docs/speech.md).

Connectionist temporal classification: Graves et al., 2006.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from villa_ros.speech.audio import RATE_HZ, Sound
from villa_ros.speech.vocabulary import words

LETTERS = " 'abcdefghijklmnopqrstuvwxyz"  # the place of a letter, plus one; 0 is the blank
BANDS = 40
HOP, WINDOW, FFT = 160, 400, 512  # samples at 16 kHz
STRIDE = 3
FRAME_S = STRIDE * HOP / RATE_HZ
_LOWEST_HZ, _HIGHEST_HZ = 60.0, 7600.0
_CHANNELS, _KERNEL, _DILATIONS = 192, 9, (1, 1, 2, 1, 2, 1, 2)
_QUIET = 1e-6
WEIGHTS = Path(__file__).with_name("ctc_model.safetensors")


class CtcModelError(RuntimeError):
    """The weights are missing or of another shape."""


class _Block(nn.Module):
    """Depthwise over time, then across channels, around a shortcut."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        pad = dilation * (_KERNEL // 2)
        self.norm = nn.BatchNorm1d(channels)
        self.over_time = nn.Conv1d(channels, channels, _KERNEL, padding=pad, dilation=dilation, groups=channels)
        self.across = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T] -> the same."""
        return x + F.relu(self.across(F.relu(self.over_time(self.norm(x)))))


class CtcNetwork(nn.Module):
    """Features [B, 40, T] -> log-probabilities [B, ceil(T / 3), 1 + letters]."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(BANDS, _CHANNELS, 7, stride=STRIDE, padding=3)
        self.blocks = nn.Sequential(*(_Block(_CHANNELS, dilation) for dilation in _DILATIONS))
        self.norm = nn.BatchNorm1d(_CHANNELS)
        self.last = nn.Conv1d(_CHANNELS, 1 + len(LETTERS), 1)

    def forward(self, features: Tensor) -> Tensor:
        """See the class."""
        x = self.norm(self.blocks(F.relu(self.first(features))))
        return F.log_softmax(self.last(x), dim=1).transpose(1, 2)


@cache
def _filters() -> Tensor:
    """Triangles on the mel scale (HTK), [bins, 40]."""

    def mel(hertz: float) -> float:
        return 2595.0 * float(np.log10(1 + hertz / 700.0))

    edges = 700.0 * (10 ** (np.linspace(mel(_LOWEST_HZ), mel(_HIGHEST_HZ), BANDS + 2) / 2595.0) - 1)
    bins = np.linspace(0, RATE_HZ / 2, FFT // 2 + 1)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return torch.from_numpy(np.maximum(0, np.minimum(rising, falling)).astype(np.float32))


def features(sound: Sound | Tensor) -> Tensor:
    """[N] -> [40, T] log-mel at 100 Hz, each band around its own mean: neither gain nor microphone counts."""
    samples = torch.as_tensor(sound)
    samples = F.pad(samples, (0, max(0, FFT - len(samples))))
    spectrum = torch.stft(samples, FFT, HOP, WINDOW, torch.hann_window(WINDOW), return_complex=True)
    power = spectrum.abs().square().T @ _filters()
    logarithm = torch.log(power + _QUIET).T
    return logarithm - logarithm.mean(dim=1, keepdim=True)


def spelled(text: str) -> list[int]:
    """Text -> places of its letters; what is no English letter is left out."""
    return [1 + LETTERS.index(letter) for letter in " ".join(words(text)) if letter in LETTERS]


class CtcModel:
    """The trained network.

    Raises:
        CtcModelError: see there.
    """

    def __init__(self, weights: Path = WEIGHTS) -> None:
        self._network = CtcNetwork().eval()
        try:
            self._network.load_state_dict({name: value.float() for name, value in load_file(weights).items()})
        except (OSError, SafetensorError, RuntimeError) as error:
            raise CtcModelError(
                f"{weights} does not hold the weights of the CTC model ({error}): install the package again, "
                "or make them with python -m villa_ros.speech.ctc_training"
            ) from error

    @torch.inference_mode()
    def hear(self, sound: Sound) -> Tensor:
        """[N] -> log-probabilities of letters [T, 1 + letters], 33 a second."""
        return self._network(features(sound)[None])[0]

    def text(self, heard: Tensor) -> str:
        """The likeliest letters, for people and for a search by sound."""
        best = torch.unique_consecutive(heard.argmax(dim=1)).tolist()
        return "".join(LETTERS[place - 1] for place in best if place).strip()

    def likeliest(self, heard: Tensor) -> float:
        """Log-probability of the likeliest path, in nats: about the best that any text can have."""
        return float(heard.amax(dim=1).sum())

    def score(self, heard: Tensor, texts: Sequence[str]) -> list[float]:
        """Of each text the log-probability that it, and nothing else, was said, in nats."""
        places = [spelled(text) for text in texts]
        longest = max(map(len, places))
        padded = torch.tensor([row + [0] * (longest - len(row)) for row in places])
        repeated = heard[:, None].expand(-1, len(texts), -1)
        lost = F.ctc_loss(
            repeated,
            padded,
            torch.full((len(texts),), len(heard)),
            torch.tensor([len(row) for row in places]),
            reduction="none",
        )
        return [-float(value) for value in lost]


def save(network: CtcNetwork, path: Path) -> None:
    """Write the weights in half precision."""
    half = {name: value.half() if value.is_floating_point() else value for name, value in network.state_dict().items()}
    save_file(half, path)
