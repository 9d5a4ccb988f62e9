"""The node's parameters: one table that declares, documents, limits and reads them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from villa_ros.pipeline.config import MIB, POLICIES, PipelineConfig

TRANSPORTS = ("auto", "raw", "compressed")
_CAMERA_NAME = re.compile(r"[a-z][a-z0-9_]*")
_BASE = PipelineConfig()  # its defaults are the node's
_OF_PIPELINE = (
    "cameras", "clip_frames", "clip_duration_s", "candidates", "max_command_chars", "max_objects",
    "mask_threshold", "present_threshold", "lost_after_frames", "remove_after_frames", "policy",
    "queue_limit", "history_turns", "frame_timeout_s",
)  # fmt: skip


class ParameterError(ValueError):
    """Parameters that are each in range but do not fit together."""


def _row(default: Any, text: str, limits: tuple[float, float] | None = None, choices: tuple[str, ...] = ()) -> Any:
    return field(default=default, metadata={"text": text, "limits": limits, "choices": choices})


@dataclass(frozen=True)
class Parameters:
    """Values of one configuration. A field's name is the parameter's; its default decides the type."""

    autostart: bool = _row(True, "configure and activate without waiting for a lifecycle transition")
    checkpoint: str = _row("", "file or folder of the model; empty: the one shipped with the package")
    device: str = _row("cpu", "torch device that runs the model: cpu, cuda, cuda:1")
    threads: int = _row(0, "threads of one torch operation; 0: torch decides", (0, 256))
    cameras: tuple[str, ...] = _row(_BASE.cameras, "camera names; a command without one means the first")
    image_topics: tuple[str, ...] = _row(("image",), "image topic of each camera, in the order of cameras")
    image_transport: str = _row(
        "auto", "auto: CompressedImage where the topic ends in /compressed, else Image", choices=TRANSPORTS
    )
    clip_frames: int = _row(_BASE.clip_frames, "frames kept of each camera", (1, 10_000))
    clip_megabytes: int = _row(_BASE.clip_bytes // MIB, "MiB of images kept of each camera", (1, 65_536))
    clip_duration_s: float = _row(_BASE.clip_duration_s, "how far back a request looks", (0.01, 3600.0))
    candidates: int = _row(_BASE.candidates, "most frames of a clip that the model chooses from", (1, 1000))
    max_command_chars: int = _row(_BASE.max_command_chars, "longest command, code points", (1, 100_000))
    max_objects: int = _row(_BASE.max_objects, "most objects tracked at a time on a camera", (1, 1000))
    mask_threshold: float = _row(
        _BASE.mask_threshold, "probability above which a pixel belongs to an object", (0.01, 0.99)
    )
    present_threshold: float = _row(
        _BASE.present_threshold, "probability below which an object counts as not visible", (0.0, 1.0)
    )
    lost_after_frames: int = _row(
        _BASE.lost_after_frames, "frames without the object that turn OCCLUDED into LOST", (1, 100_000)
    )
    remove_after_frames: int = _row(
        _BASE.remove_after_frames, "frames without the object that end its track; 0: never", (0, 1_000_000)
    )
    policy: str = _row(_BASE.policy, "what a request does when another one is active", choices=POLICIES)
    queue_limit: int = _row(_BASE.queue_limit, "most waiting requests", (1, 1000))
    history_turns: int = _row(_BASE.history_turns, "turns of a conversation that a follow-up sees", (0, 100))
    frame_timeout_s: float = _row(_BASE.frame_timeout_s, "how long a request waits for a first frame", (0.01, 3600.0))
    default_timeout_s: float = _row(0.0, "timeout of a request that sets none; 0: no timeout", (0.0, 86_400.0))
    overlay: bool = _row(True, "offer ~/<camera>/overlay; it is drawn only while somebody subscribes")
    tracks_reliable: bool = _row(False, "publish tracks and overlay reliably, 10 deep, for a recorder")
    min_image_rate_hz: float = _row(
        2.0, "warn in /diagnostics when a publishing camera delivers less; 0: never", (0.0, 1000.0)
    )

    def check(self) -> None:
        """Check what a range alone cannot show.

        Raises:
            ParameterError: naming the value seen and the value wanted.
        """
        if len(self.cameras) != len(self.image_topics):
            raise ParameterError(
                f"cameras {list(self.cameras)} and image_topics {list(self.image_topics)} differ in length; "
                "give one topic for each camera"
            )
        for name in self.cameras:
            if not _CAMERA_NAME.fullmatch(name):
                raise ParameterError(f"camera name {name!r} names topics; wanted small letters, digits and _")
        for name in ("image_transport", "policy"):
            seen, wanted = getattr(self, name), _TABLE[name].metadata["choices"]
            if seen not in wanted:
                raise ParameterError(f"{name} is {seen!r}; wanted one of {', '.join(wanted)}")

    def pipeline_config(self) -> PipelineConfig:
        """The part that the pipeline works with.

        Raises:
            villa_ros.pipeline.config.ConfigError: values that do not fit together.
        """
        shared = {name: getattr(self, name) for name in _OF_PIPELINE}
        return PipelineConfig(clip_bytes=self.clip_megabytes * MIB, **shared)


_TABLE: dict[str, Any] = {row.name: row for row in fields(Parameters)}


def declare(node: Node) -> None:
    """Declare every parameter of the table with its description and range."""
    node.declare_parameters("", [(name, row.default, _descriptor(row)) for name, row in _TABLE.items()])


def _descriptor(row: Any) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(description=row.metadata["text"])
    limits, choices = row.metadata["limits"], row.metadata["choices"]
    descriptor.additional_constraints = "read when configuring"
    if choices:
        descriptor.additional_constraints += f"; one of {', '.join(choices)}"
    if limits and isinstance(row.default, float):
        low, high = map(float, limits)
        descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high, step=0.0)]
    elif limits:
        low, high = map(int, limits)
        descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
    return descriptor


def read(node: Node) -> Parameters:
    """The values now in force.

    Raises:
        ParameterError: they do not fit together.
    """
    values = {parameter.name: _value(parameter) for parameter in node.get_parameters(list(_TABLE))}
    parameters = Parameters(**values)
    parameters.check()
    return parameters


def _value(parameter: Parameter[Any]) -> Any:
    return tuple(parameter.value) if isinstance(parameter.value, (list, tuple)) else parameter.value
