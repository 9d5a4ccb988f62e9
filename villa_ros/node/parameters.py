"""The node's parameters: two tables that declare, document, limit, read and change them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any

from rclpy.node import Node

from villa_ros.conversions.images import IMAGE_TYPES
from villa_ros.pipeline.config import CAMERA_NAME, MIB, POLICIES, PipelineConfig
from villa_ros.pipeline.depth import MILLIMETRE_M
from villa_ros.pipeline.image_reading import ImageReading, tones_of
from villa_ros.pipeline.mounting import ROTATIONS, Mounting
from villa_ros.runtime.parameter_table import (
    LIVE,
    START,
    ParameterError,
    check_choice,
    descriptor,
    plain_value,
    setting,
    settings_of,
)

TRANSPORTS = ("auto", *(one.transport for one in IMAGE_TYPES))
STAMPS = ("header", "arrival")
LOAD_WHEN = ("configure", "activate")
_BASE = PipelineConfig()  # its defaults are the node's


@dataclass(frozen=True)
class CameraParameters:
    """Values of one camera. A field's name, after the camera's and a dot, is the parameter's."""

    image_topic: str = setting("", "image topic; empty: `image`, or `<camera>/image` where there are several cameras")
    transport: str = setting(
        "auto", "auto: as the topic's name ends, in /compressed, /ffmpeg or /foxglove, else raw", choices=TRANSPORTS
    )
    stamps: str = setting(
        "header",
        "arrival: for a driver that stamps none of its images; they go by when they came, and out as they came",
        choices=STAMPS,
    )
    rotation: int = setting(
        0,
        "degrees clockwise by which the images have to be turned to be upright; masks are of the image as it comes",
        choices=ROTATIONS,
    )
    mirrored: bool = setting(False, "turned upright, the images have left and right the wrong way round")
    camera_info_topic: str = setting("", "calibration of the images; needed with depth")
    black: float = setting(0.0, "value of images of more than 8 bits that is black", (-1e9, 1e9))
    white: float = setting(
        0.0,
        "value of them that is white, as 4095 of a camera with 12 bits; 0: both are told from each image",
        (-1e9, 1e9),
    )
    depth_topic: str = setting(
        "",
        "depth registered to the images, raw, or packed where it ends in /compressedDepth; empty: no objects in metres",
    )
    depth_unit_m: float = setting(
        MILLIMETRE_M, "metres of one unit of a depth in whole numbers (RealSense D405: 0.0001)", (1e-6, 1.0)
    )
    depth_slop_s: float = setting(
        0.0, "largest difference between the stamps of image and depth; 0: they must be equal", (0.0, 1.0)
    )
    rectified: bool = setting(False, "the images are rectified: use P of the camera info, not D")

    @property
    def reading(self) -> ImageReading:
        """How the images are read."""
        return ImageReading(self.tones, Mounting(self.rotation, self.mirrored))

    @property
    def tones(self) -> tuple[float, float] | None:
        """Black and white; None where they are told from each image."""
        return tones_of(self.black, self.white)


@dataclass(frozen=True)
class Parameters:
    """Values of one configuration. A field's name is the parameter's; its default decides the type."""

    autostart: bool = setting(True, "configure and activate without waiting for a lifecycle transition", when=START)
    checkpoint: str = setting("", "file or folder of the model; empty: the one shipped with the package")
    device: str = setting("cpu", "torch device that runs the model: cpu, cuda, cuda:1")
    load_when: str = setting(
        "configure",
        "configure: the model stays loaded while the node is inactive; activate: loaded and freed with activity",
        choices=LOAD_WHEN,
    )
    model_patience_s: float = setting(
        120.0,
        "a step of the model that takes longer has hung: its requests fail, and the model is loaded anew; 0: never",
        (0.0, 86_400.0),
        when=LIVE,
    )
    threads: int = setting(0, "threads of one torch operation; 0: torch decides", (0, 256))
    cameras: tuple[str, ...] = setting(_BASE.cameras, "camera names; a command without one means the first", when=START)
    clip_frames: int = setting(_BASE.clip_frames, "frames kept of each camera", (1, 10_000))
    clip_megabytes: int = setting(_BASE.clip_bytes // MIB, "MiB of images kept of each camera", (1, 65_536))
    clip_duration_s: float = setting(_BASE.clip_duration_s, "how far back a request looks", (0.01, 3600.0), when=LIVE)
    candidates: int = setting(
        _BASE.candidates, "most frames of a clip that the model chooses from", (1, 1000), when=LIVE
    )
    future_tolerance_s: float = setting(
        0.0, "images stamped further ahead of the node's clock are dropped; 0: never", (0.0, 86_400.0), when=LIVE
    )
    stale_after_s: float = setting(
        0.0, "images older than this by the node's clock are dropped; 0: never", (0.0, 86_400.0), when=LIVE
    )
    clock_jump_s: float = setting(
        _BASE.clock_jump_s,
        "stamps that run ahead of the arrival of images by more are a jump of the camera's clock; 0: never",
        (0.0, 86_400.0),
        when=LIVE,
    )
    max_command_chars: int = setting(_BASE.max_command_chars, "longest command, code points", (1, 100_000), when=LIVE)
    command_rate_hz: float = setting(
        0.0, "commands beyond this rate are rejected, stops excepted; 0: no limit", (0.0, 10_000.0), when=LIVE
    )
    max_objects: int = setting(_BASE.max_objects, "most objects tracked at a time on a camera", (1, 1000), when=LIVE)
    mask_threshold: float = setting(
        _BASE.mask_threshold, "probability above which a pixel belongs to an object", (0.01, 0.99), when=LIVE
    )
    present_threshold: float = setting(
        _BASE.present_threshold, "probability below which an object counts as not visible", (0.0, 1.0), when=LIVE
    )
    confirm_frames: int = setting(
        _BASE.confirm_frames, "visible frames that turn TENTATIVE into TRACKED", (1, 1000), when=LIVE
    )
    lost_after_frames: int = setting(
        _BASE.lost_after_frames, "frames without the object that turn OCCLUDED into LOST", (1, 100_000), when=LIVE
    )
    remove_after_frames: int = setting(
        _BASE.remove_after_frames, "frames without the object that end its track; 0: never", (0, 1_000_000), when=LIVE
    )
    look_again_s: float = setting(
        _BASE.look_again_s,
        "period of answering a tracking request again, silently, to find new and lost objects; 0: never",
        (0.0, 86_400.0),
        when=LIVE,
    )
    look_again_when_lost: bool = setting(
        _BASE.look_again_when_lost, "answer a request again, once, when one of its objects becomes LOST", when=LIVE
    )
    policy: str = setting(
        _BASE.policy,
        "a new request replaces the camera's active ones (preempt), waits beside them (queue), or is refused (reject)",
        choices=POLICIES,
        when=LIVE,
    )
    queue_limit: int = setting(_BASE.queue_limit, "most waiting requests", (1, 1000), when=LIVE)
    history_turns: int = setting(_BASE.history_turns, "turns of a conversation that a follow-up sees", (0, 100))
    frame_timeout_s: float = setting(
        _BASE.frame_timeout_s, "how long a request waits for a frame of the present", (0.01, 3600.0), when=LIVE
    )
    silent_after_s: float = setting(
        _BASE.silent_after_s,
        "without a frame for so long, a camera is silent: requests wait for its next one, tracks are LOST; 0: never",
        (0.0, 3600.0),
        when=LIVE,
    )
    default_timeout_s: float = setting(
        0.0, "timeout of a request that sets none; 0: no timeout", (0.0, 86_400.0), when=LIVE
    )
    result_timeout_s: int = setting(
        60, "how long the result of an action can be fetched after its end", (1, 86_400), when=START
    )
    overlay: bool = setting(True, "draw ~/<camera>/overlay while somebody subscribes", when=LIVE)
    tracks_reliable: bool = setting(
        False, "publish tracks and the topics derived from them reliably, 10 deep, for a recorder"
    )
    min_image_rate_hz: float = setting(
        2.0, "warn in /diagnostics when a publishing camera delivers less; 0: never", (0.0, 1000.0), when=LIVE
    )
    of_cameras: Mapping[str, CameraParameters] = field(
        default_factory=lambda: {_BASE.cameras[0]: CameraParameters()}, metadata={}
    )  # by name, in the order of `cameras`; each has parameters of its own

    def check(self) -> None:
        """Check what a range alone cannot show.

        Raises:
            ParameterError: naming the value seen and the value wanted.
        """
        for name in self.cameras:
            if not CAMERA_NAME.fullmatch(name):
                raise ParameterError(f"camera name {name!r} names topics; wanted small letters, digits and _")
        for name, row in TABLE.items():
            check_choice(name, row, getattr(self, name))
        for camera, own in self.of_cameras.items():
            for name, row in CAMERA_TABLE.items():
                check_choice(f"{camera}.{name}", row, getattr(own, name))
            if own.tones is not None and not own.black < own.white:
                raise ParameterError(
                    f"{camera}.black is {own.black:g} and {camera}.white {own.white:g}: wanted white above black, "
                    "or 0 for both"
                )
            if own.depth_topic and own.stamps != "header":
                raise ParameterError(
                    f"{camera}.stamps is {own.stamps!r} and {camera}.depth_topic {own.depth_topic!r}: depth finds its "
                    "image by stamps; have the driver stamp its images"
                )
            if own.depth_topic and not own.camera_info_topic:
                raise ParameterError(
                    f"{camera}.depth_topic is {own.depth_topic!r} and {camera}.camera_info_topic is empty: "
                    "depth becomes metres only with the camera's calibration; name its CameraInfo topic"
                )

    def image_topic(self, camera: str) -> str:
        """The image topic of a camera as it was asked for, not resolved."""
        alone = "image" if len(self.cameras) == 1 else f"{camera}/image"
        return self.of_cameras[camera].image_topic or alone

    def pipeline_config(self) -> PipelineConfig:
        """The part that the pipeline works with.

        Raises:
            villa_ros.pipeline.config.ConfigError: values that do not fit together.
        """
        shared = {row.name: getattr(self, row.name) for row in fields(PipelineConfig) if row.name in TABLE}
        return PipelineConfig(clip_bytes=self.clip_megabytes * MIB, **shared)

    def changed(self, changes: Mapping[str, Any]) -> Parameters:
        """These parameters with some others, while the node is configured.

        Raises:
            ParameterError: one that cannot be changed now, or values that do not fit together.
            villa_ros.pipeline.config.ConfigError: likewise.
        """
        for name in changes:
            row = _row_of(name, self.cameras)
            if row is not None and row.metadata["when"] != LIVE:
                raise ParameterError(
                    f"{name} is {row.metadata['when']}: clean the node up first, set it, and configure again"
                )
        new = replace(self, **{name: plain_value(value) for name, value in changes.items() if name in TABLE})
        new.check()
        new.pipeline_config()
        return new


TABLE = settings_of(Parameters)
CAMERA_TABLE = settings_of(CameraParameters)


def _row_of(name: str, cameras: Iterable[str]) -> Field[Any] | None:
    """The row of a parameter, also of a camera's; None for one that is not of these tables."""
    camera, dot, own = name.partition(".")
    if dot:
        return CAMERA_TABLE.get(own) if camera in cameras else None
    return TABLE.get(name)


def declare(node: Node) -> None:
    """Declare every parameter with its description and range, those of each camera by its name."""
    node.declare_parameters("", [(name, row.default, descriptor(row)) for name, row in TABLE.items()])
    for camera in node.get_parameter("cameras").value:
        own = [(f"{camera}.{name}", row.default, descriptor(row)) for name, row in CAMERA_TABLE.items()]
        node.declare_parameters("", own)


def read(node: Node) -> Parameters:
    """The values now in force.

    Raises:
        ParameterError: they do not fit together.
    """
    values = {parameter.name: plain_value(parameter.value) for parameter in node.get_parameters(list(TABLE))}
    of_cameras = {
        camera: CameraParameters(
            **{name: plain_value(node.get_parameter(f"{camera}.{name}").value) for name in CAMERA_TABLE}
        )
        for camera in values["cameras"]
    }
    parameters = Parameters(**values, of_cameras=of_cameras)
    parameters.check()
    return parameters
