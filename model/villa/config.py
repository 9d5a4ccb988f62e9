"""The shape of a ViLLa, as data: what a checkpoint stores and a configuration file names."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any


class ConfigError(ValueError):
    """A configuration names a field that does not exist, or a value that cannot be."""


@dataclass(frozen=True)
class EncoderConfig:
    """Image encoder: EfficientNet-Lite0 with folded norms and a top-down pyramid."""

    height: int = 256  # px the image is resized to
    width: int = 320  # px
    channels: int = 128  # C of the strides 8 and 16
    fine_channels: int = 32  # of stride 4

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of the stride-16 grid."""
        return self.height // 16, self.width // 16

    @property
    def mask_grid(self) -> tuple[int, int]:
        """(rows, columns) of the mask logits, stride 4."""
        return self.height // 4, self.width // 4


@dataclass(frozen=True)
class LanguageConfig:
    """Causal language model: a Llama cut to `layers` layers and `vocabulary` byte-pair tokens."""

    vocabulary: int = 8000  # tokens kept of the source's, before [SEG] and [FRM]
    width: int = 576  # D
    layers: int = 6
    heads: int = 9
    kv_heads: int = 3
    intermediate: int = 1536
    rope_theta: float = 100_000.0
    norm_eps: float = 1e-5
    visual_rows: int = 6
    visual_columns: int = 8  # N_v = rows * columns visual tokens a frame

    @property
    def visual_tokens(self) -> int:
        """N_v."""
        return self.visual_rows * self.visual_columns


@dataclass(frozen=True)
class DecoderConfig:
    """Mask decoder and the blocks that prompt it."""

    layers: int = 2
    heads: int = 4
    mlp: int = 256
    synthesizer_width: int = 128  # c of the ContextSynthesizer


@dataclass(frozen=True)
class PropagatorConfig:
    """The light streaming memory: one attention layer over at most `memories` frames."""

    memories: int = 3
    memory_channels: int = 64
    heads: int = 4


@dataclass(frozen=True)
class ViLLaConfig:
    """Everything that fixes the tensors of a checkpoint, and the few limits of a request."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    language: LanguageConfig = field(default_factory=LanguageConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    propagator: PropagatorConfig = field(default_factory=PropagatorConfig)
    clip_frames: int = 4  # T_l frames the language model sees
    max_new_tokens: int = 64
    max_request_tokens: int = 512
    # An answer's object that no frame shows with this probability is taken for a mistake; chosen on validation clips.
    least_presence: float = 0.91

    def to_json(self) -> str:
        """The configuration as JSON text."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> ViLLaConfig:
        """JSON text -> configuration.

        Raises:
            ConfigError: not JSON, or a field that this version does not know.
        """
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise ConfigError(f"the configuration is not JSON: {error}") from error
        parts: dict[str, type[Any]] = {
            "encoder": EncoderConfig,
            "language": LanguageConfig,
            "decoder": DecoderConfig,
            "propagator": PropagatorConfig,
        }
        values = {
            name: _strict(parts[name], value, name) if name in parts else value
            for name, value in _known(cls, data, "the configuration").items()
        }
        return cls(**values)


def _known(kind: type[Any], data: object, where: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: wanted an object, saw {type(data).__name__}")
    names = {f.name for f in fields(kind)}
    unknown = sorted(set(data) - names)
    if unknown:
        raise ConfigError(f"{where}: unknown field {unknown[0]!r}; known are {', '.join(sorted(names))}")
    return data


def _strict(kind: type[Any], data: object, where: str) -> Any:
    return kind(**_known(kind, data, where))
