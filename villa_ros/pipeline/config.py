"""What a deployment may choose about the pipeline, with the bounds that keep its memory flat."""

from __future__ import annotations

import re
from dataclasses import dataclass

DEFAULT_CAMERA = "camera"
CAMERA_NAME = re.compile(r"[a-z][a-z0-9_]*")  # it names topics
POLICIES = ("preempt", "queue", "reject")
MIB = 1024 * 1024


class ConfigError(ValueError):
    """A setting is outside what the pipeline can work with."""


@dataclass(frozen=True)
class PipelineConfig:
    """Bounds, thresholds and the policy for a request that meets another one on the same camera.

    - `preempt`: the new request supersedes every active one of its camera as soon as it is accepted.
    - `queue`: slow passes run one after another; earlier requests go on tracking beside the new one.
    - `reject`: refused while any request of its camera is active, tracking included.

    Raises:
        ConfigError: a value is out of range; the message names it and what is wanted.
    """

    cameras: tuple[str, ...] = (DEFAULT_CAMERA,)
    clip_frames: int = 64  # ring bound of each camera, in frames ...
    clip_bytes: int = 256 * MIB  # ... and in bytes
    clip_duration_s: float = 2.5  # how far back a request looks unless it says otherwise
    candidates: int = 16  # most frames offered to the model for one request
    feature_frames: int = 8  # newest encoded frames of a camera whose features are kept
    max_command_chars: int = 2000
    max_objects: int = 20  # live tracks of a camera
    mask_threshold: float = 0.5  # probability above which a pixel belongs to the object
    present_threshold: float = 0.5  # probability below which an object counts as not visible
    confirm_frames: int = 2  # visible frames that turn TENTATIVE into TRACKED
    lost_after_frames: int = 15  # frames without the object that turn OCCLUDED into LOST
    remove_after_frames: int = 300  # frames without the object that end the track; 0: never
    look_again_s: float = 0.0  # how often a request that tracks is answered anew; 0: never
    look_again_when_lost: bool = True  # ... and once when one of its objects becomes LOST
    clock_jump_s: float = 5.0  # stamps that run ahead of the arrivals by more are a jump of the clock; 0: never
    catch_up_frames: int = 3  # frames stepped through between the clip's end and now
    policy: str = "preempt"
    queue_limit: int = 8  # waiting requests, all cameras together
    history_turns: int = 4  # turns a follow-up request is given
    history_conversations: int = 32
    history_requests: int = 1024  # finished request ids remembered, so that none is used twice
    frame_timeout_s: float = 10.0  # how long a request without a timeout of its own waits for a frame of the present
    silent_after_s: float = 2.0  # without a frame for so long, a camera's last one is not the present; 0: never
    default_timeout_s: float = 0.0  # timeout of a request that sets none; 0: no timeout

    def __post_init__(self) -> None:
        """Check every value once, so that nothing below has to."""
        if not self.cameras or any(not name for name in self.cameras):
            raise ConfigError(f"cameras is {self.cameras!r}; name at least one camera, none of them empty")
        if len(set(self.cameras)) != len(self.cameras):
            raise ConfigError(f"cameras is {self.cameras!r}; each name may occur once")
        if self.policy not in POLICIES:
            raise ConfigError(f"policy is {self.policy!r}; choose one of {', '.join(POLICIES)}")
        at_least_one = (
            "clip_frames", "clip_bytes", "candidates", "feature_frames", "max_command_chars", "max_objects",
            "confirm_frames", "lost_after_frames", "queue_limit", "history_conversations", "history_requests",
        )  # fmt: skip
        for name in at_least_one:
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be 1 or more")
        for name in ("remove_after_frames", "catch_up_frames", "history_turns"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be 0 or more")
        for name in ("look_again_s", "clock_jump_s", "default_timeout_s", "silent_after_s"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} is {getattr(self, name)} s; it must be 0 (never) or more")
        for name in ("clip_duration_s", "frame_timeout_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)} s; it must be more than 0")
        if not 0 < self.mask_threshold < 1:
            raise ConfigError(f"mask_threshold is {self.mask_threshold}; it must lie between 0 and 1")
        if not 0 <= self.present_threshold <= 1:
            raise ConfigError(f"present_threshold is {self.present_threshold}; it must lie in 0..1")
        if 0 < self.remove_after_frames < self.lost_after_frames:
            raise ConfigError(
                f"remove_after_frames is {self.remove_after_frames}, lost_after_frames "
                f"{self.lost_after_frames}; raise the first, or set it to 0 (never)"
            )
