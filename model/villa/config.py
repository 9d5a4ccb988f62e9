"""The shape of a ViLLa, as data: what a checkpoint stores and a configuration file names.

A configuration names one family of segmenter and one kind of language model; the classes are the same for all.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, ClassVar, Optional, Union, get_type_hints

from villa.files.plain_data import PlainDataError, from_json, shaped


class ConfigError(ValueError):
    """A configuration names a field that does not exist, or a value that cannot be."""


# -- segmenters -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EncoderConfig:
    """Image encoder: EfficientNet-Lite0 with folded norms and a top-down pyramid."""

    height: int = 320  # px the image is resized to
    width: int = 416  # px
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
class DecoderConfig:
    """The light mask decoder."""

    layers: int = 2
    heads: int = 4
    mlp: int = 256


@dataclass(frozen=True)
class PropagatorConfig:
    """The light streaming memory: one attention layer over at most `memories` frames."""

    memories: int = 3
    memory_channels: int = 64
    heads: int = 4


@dataclass(frozen=True)
class LightConfig:
    """The light family: one decoder serves answers and propagation."""

    kind: ClassVar[str] = "light"
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    propagator: PropagatorConfig = field(default_factory=PropagatorConfig)


@dataclass(frozen=True)
class Sam2Config:
    """SAM 2 video, or the SAM 3 tracker, from a Hugging Face folder (`sam2/` of a checkpoint).

    Raises:
        ConfigError: `seed_by` is neither "mask" nor "prompt".
    """

    kind: ClassVar[str] = "sam2"
    # The answers' decoder is the propagator's own instead of a copy that may be trained.
    share_decoder: bool = False
    # What begins a memory: the mask that was drawn, as a mask prompt ("mask"), or the drawing itself ("prompt").
    seed_by: str = "mask"
    # A propagated mask counts only where the object score says that the object is visible, as SAM 2 has it.
    gate: bool = True
    max_seeds: int = 4  # frames an object may be seeded on; the oldest go first
    fill_resize: str = "bilinear"  # or "bicubic": how an image is brought to the encoder's size

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.seed_by not in ("mask", "prompt"):
            raise ConfigError(f"segmenter.seed_by is {self.seed_by!r}: wanted 'mask' or 'prompt'")
        if self.fill_resize not in ("bilinear", "bicubic"):
            raise ConfigError(f"segmenter.fill_resize is {self.fill_resize!r}: wanted 'bilinear' or 'bicubic'")
        if self.max_seeds < 1:
            raise ConfigError(f"segmenter.max_seeds is {self.max_seeds}: wanted at least 1")


# -- language models --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ProposalConfig:
    """The things on each frame, found and described before any word is read."""

    count: int = 12  # N, the most that are told of one frame
    width: int = 192  # of what is known of each
    heads: int = 6
    layers: int = 3  # of the reader that compares them with each other, over all frames
    speeds: bool = True  # that reader is also told how fast each was from one frame to the next
    request_layers: int = 2  # of the focus's own reader of a request
    request_depth: int = 2  # first layers of the language model that a request passes on its way to that reader
    focus_layers: int = 4  # of the focus, which compares them with a request's words
    pointer_layers: int = 2  # of the pointer, which compares them with an answer's [SEG]
    # A recogniser of common things (`villa.modeling.objects.recogniser`) looks at so many frames of a clip, and finds
    # and describes things beside the finder; 0: there is none.
    recognised_frames: int = 0
    # Of those frames the newest so many are looked at thing by thing (`villa.modeling.objects.closer_look`); 0: none.
    closer_frames: int = 0
    points: bool = False  # the finder also knows, of any point, how far what lies there reaches
    # Logit from which something is a thing at all; lower for pictures that surprise a finder, where it doubts more.
    least_score: float = -2.0

    def __post_init__(self) -> None:
        """Refuse what would never be looked at."""
        if not 0 <= self.closer_frames <= self.recognised_frames:
            raise ConfigError(
                f"language.things.closer_frames is {self.closer_frames}, wanted 0 to {self.recognised_frames}: "
                "of the frames that the recogniser looks at (recognised_frames), so many are looked at closely"
            )


@dataclass(frozen=True)
class CausalConfig:
    """A causal language model with a projector from the segmenter's own features.

    Without a folder, a Llama of these sizes over a byte-pair vocabulary cut to `vocabulary` tokens; the checkpoint
    holds its weights. The light family only.
    """

    kind: ClassVar[str] = "causal"
    vocabulary: int = 8000  # tokens kept of the source's, before [SEG] and [FRM]
    width: int = 576  # D
    layers: int = 6
    heads: int = 9
    kv_heads: int = 3
    intermediate: int = 1536
    rope_theta: float = 100_000.0
    norm_eps: float = 1e-5
    visual_rows: int = 2
    visual_columns: int = 3
    # What stands on a frame is told thing by thing, besides the rows * columns of the whole picture; None: only these.
    things: Optional[ProposalConfig] = field(default_factory=ProposalConfig)  # noqa: UP045 - evaluated at run time

    @property
    def visual_tokens(self) -> int:
        """N_v visual tokens a frame."""
        return self.visual_rows * self.visual_columns + (self.things.count if self.things else 0)


# Every matrix of a layer, as Qwen2, Qwen3 and Llama name them.
_LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class VisionLanguageConfig:
    """A vision-language model from a Hugging Face folder (`mllm/` of a checkpoint).

    Raises:
        ConfigError: the family is not known.
    """

    kind: ClassVar[str] = "vision-language"
    family: str = "qwen3_vl"  # "qwen3_vl", "qwen2_5_vl", "internvl" or "smolvlm": the folder's model_type
    # How many pixels of a frame the vision encoder is given; Qwen only, the others have one fixed size.
    max_pixels: int = 448 * 448
    min_pixels: int = 56 * 56
    timestamps: bool = True  # each frame is preceded by its time, or its number, in words
    system: str = ""  # text of a system turn before the request; empty: none
    # States are taken before the last norm: what output_hidden_states of transformers 4.57 gave for Qwen3-VL.
    state_before_norm: bool = False
    lora_rank: int = 0  # of adapters on the language model; 0: none
    lora_alpha: int = 0  # 0: twice the rank
    lora_dropout: float = 0.0
    lora_targets: tuple[str, ...] = _LORA_TARGETS

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        object.__setattr__(self, "lora_targets", tuple(self.lora_targets))  # JSON has lists
        if self.family not in FAMILIES:
            raise ConfigError(f"language.family is {self.family!r}: known are {', '.join(FAMILIES)}")


FAMILIES = ("qwen3_vl", "qwen2_5_vl", "internvl", "smolvlm")


# -- the whole --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BlocksConfig:
    """ViLLa's own blocks between language model and mask decoder."""

    enabled: bool = True  # off: the core alone; untrained blocks give exactly the same
    synthesizer_width: int = 128  # c of the ContextSynthesizer
    heads: int = 4
    # A follow-up request sees one token for each live track that its history names.
    track_tokens: bool = False


SegmenterConfig = Union[LightConfig, Sam2Config]  # noqa: UP007 - evaluated at run time
LanguageConfig = Union[CausalConfig, VisionLanguageConfig]  # noqa: UP007 - evaluated at run time


@dataclass(frozen=True)
class ViLLaConfig:
    """Everything that fixes the tensors of a checkpoint, and the few limits of a request.

    Raises:
        ConfigError: parts that do not go together, or an unknown `clip_choice`.
    """

    segmenter: SegmenterConfig = field(default_factory=LightConfig)
    language: LanguageConfig = field(default_factory=CausalConfig)
    blocks: BlocksConfig = field(default_factory=BlocksConfig)
    clip_frames: int = 8  # T_l frames the language model sees
    clip_choice: str = "segments"  # "segments": KeySegmentSampler; "first": the clip's first frames
    # Seed memory on every frame the language model saw that shows the object, instead of on its key frame.
    seed_every_frame: bool = False
    max_new_tokens: int = 64
    max_request_tokens: int = 512
    # An answer's object that no frame shows with this probability is taken for a mistake.
    least_presence: float = 0.91

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if isinstance(self.language, CausalConfig) and not isinstance(self.segmenter, LightConfig):
            raise ConfigError(
                "language kind 'causal' reads the light segmenter's features: with segmenter kind "
                f"{self.segmenter.kind!r} use a vision-language model"
            )
        if self.clip_choice not in ("segments", "first"):
            raise ConfigError(f"clip_choice is {self.clip_choice!r}: wanted 'segments' or 'first'")
        if self.clip_frames < 1:
            raise ConfigError(f"clip_frames is {self.clip_frames}: wanted at least 1")

    def to_json(self) -> str:
        """The configuration as JSON text."""
        data = asdict(self)
        for name in ("segmenter", "language"):
            data[name] = {"kind": getattr(self, name).kind, **data[name]}
        return json.dumps(data, indent=2)

    @classmethod
    def from_json(cls, text: str) -> ViLLaConfig:
        """JSON text -> configuration.

        Raises:
            ConfigError: not JSON, a field that this version does not know, or a value that cannot be.
        """
        try:
            data = from_json(text)
        except PlainDataError as error:
            raise ConfigError(f"the configuration: {error}") from error
        return cls.from_dict(data)

    @classmethod
    def from_dict(cls, data: object) -> ViLLaConfig:
        """Plain data -> configuration; see `from_json`."""
        values = dict(_known(cls, data, "the configuration"))
        for name, kinds in _KINDS.items():
            if name in values:
                values[name] = _of_kind(kinds, values[name], name)
        if "blocks" in values:
            values["blocks"] = _strict(BlocksConfig, values["blocks"], "blocks")
        _check_scalars(cls, values, "the configuration")
        return cls(**values)


_KINDS: dict[str, tuple[type[Any], ...]] = {
    "segmenter": (LightConfig, Sam2Config),
    "language": (CausalConfig, VisionLanguageConfig),
}
_NESTED: dict[str, type[Any]] = {
    "encoder": EncoderConfig,
    "decoder": DecoderConfig,
    "propagator": PropagatorConfig,
    "things": ProposalConfig,
}


def _of_kind(kinds: tuple[type[Any], ...], data: object, where: str) -> Any:
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: wanted an object, saw {type(data).__name__}")
    by_name = {kind.kind: kind for kind in kinds}
    wanted = data.get("kind")
    if not isinstance(wanted, str) or wanted not in by_name:
        raise ConfigError(f"{where}: kind is {wanted!r}; known are {', '.join(sorted(by_name))}")
    return _strict(by_name[wanted], {k: v for k, v in data.items() if k != "kind"}, where)


def _known(kind: type[Any], data: object, where: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: wanted an object, saw {type(data).__name__}")
    names = {f.name for f in fields(kind)}
    unknown = sorted(set(data) - names)
    if unknown:
        raise ConfigError(f"{where}: unknown field {unknown[0]!r}; known are {', '.join(sorted(names))}")
    return data


def _strict(kind: type[Any], data: object, where: str) -> Any:
    values = dict(_known(kind, data, where))
    for name, nested in _NESTED.items():
        if values.get(name) is not None and name in {f.name for f in fields(kind)}:
            values[name] = _strict(nested, values[name], f"{where}.{name}")
    _check_scalars(kind, values, where)
    return kind(**values)


# What a table or a loop is made as large as; the rest is compared with the weights, before any of it is made.
_MOST = {"height": 8192, "width": 8192, "memories": 1000, "count": 4096, "visual_rows": 256, "visual_columns": 256}
_MOST_LAYERS = 512
_MOST_OTHERS = 10**9


def _check_scalars(kind: type[Any], values: dict[str, Any], where: str) -> None:
    """Are plain values of the types of their fields, and none of a size that could only be a mistake?"""
    hints = get_type_hints(kind)
    for name, value in values.items():
        if is_dataclass(value):
            continue
        try:
            shaped(value, hints[name])
        except PlainDataError as error:
            raise ConfigError(f"{where}.{name}: {error}") from error
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            most = _MOST_LAYERS if name.endswith(("layers", "depth")) else _MOST.get(name, _MOST_OTHERS)
            if not -most <= value <= most:  # NaN is refused, too
                raise ConfigError(f"{where}.{name} is {value}, wanted a number up to {most}")
