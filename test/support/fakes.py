"""A model for tests in which the model is not the point: it finds blobs of the colours a request names."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villa.interface import (
    ClipFrame,
    ObjectResult,
    RequestResult,
    Rgb,
    SlowStep,
    Stage,
    TrackOutput,
    Turn,
)
from villa_ros.pipeline.events import (
    AnswerEvent,
    Event,
    JournalEvent,
    StatusEvent,
    TrackletsEvent,
    TracksEvent,
)
from villa_ros.pipeline.frame import Frame, FrameHeader

MS = 1_000_000
COLOURS = {"red": 0, "green": 1, "blue": 2}
HEIGHT, WIDTH = 48, 64


def painted(height: int = HEIGHT, width: int = WIDTH, **boxes: tuple[int, int, int, int]) -> Rgb:
    """Black image with one box (x, y, width, height) in px for each colour named."""
    image = np.zeros((height, width, 3), np.uint8)
    for colour, (x, y, box_width, box_height) in boxes.items():
        image[y : y + box_height, x : x + box_width, COLOURS[colour]] = 255
    return image


def frame(
    index: int,
    rgb: Rgb | Callable[[], Rgb] | None = None,
    camera: str = "camera",
    nbytes: int | None = None,
    **boxes: tuple[int, int, int, int],
) -> Frame:
    """Frame `index` of a 10 Hz stream; a red box that moves right unless something else is asked for."""
    if rgb is None:
        rgb = painted(**(boxes or {"red": (2 + index % 40, 10, 12, 12)}))
    if callable(rgb):
        height, width, cost, source = HEIGHT, WIDTH, HEIGHT * WIDTH * 3, rgb
    else:
        image = rgb
        height, width, cost = image.shape[0], image.shape[1], image.nbytes

        def source() -> Rgb:
            return image

    header = FrameHeader(1_000_000_000 + index * 100 * MS, f"{camera}_optical")
    return Frame(camera, header, height, width, cost if nbytes is None else nbytes, source, index * 100 * MS)


@dataclass
class Faults:
    """What the model is to do wrong, and where it is to wait."""

    slow: Exception | None = None
    fast: Exception | None = None
    drop: Exception | None = None
    sleep_s: float = 0.0  # in every slow step
    sleep_last_s: float = 0.0  # in the last slow step
    hold: threading.Event | None = None  # the slow pass waits for it, inside its first step
    hold_last: threading.Event | None = None  # ... inside its last
    hold_fast: threading.Event | None = None  # the fast pass waits for it
    entered: threading.Event = field(default_factory=threading.Event)  # set when a wait begins
    on_step: Callable[[], None] | None = None  # called in every fast pass
    on_last: Callable[[], None] | None = None  # called in the last slow step
    present_score: float | None = None  # of every object in the fast pass
    links: bool = False  # what is tracked already is known again
    result: Callable[[RequestResult], Any] | None = None  # what to return instead


def _wait(faults: Faults, gate: threading.Event | None) -> None:
    if gate is not None:
        faults.entered.set()
        assert gate.wait(10.0), "nobody let the model go on"


class BlobSession:
    """villa.interface.Session over colour blobs."""

    def __init__(self, model: BlobModel) -> None:
        self._model = model
        self._next_key = 0
        self.colours: dict[int, int] = {}
        self.stamps: list[float] = []  # of every step taken
        self.requests: list[tuple[str, int, tuple[Turn, ...]]] = []  # text, clip frames, history

    def request(
        self, text: str, clip: Sequence[ClipFrame], history: Sequence[Turn] = ()
    ) -> Generator[SlowStep, None, RequestResult]:
        faults = self._model.faults
        self.requests.append((text, len(clip), tuple(history)))
        _wait(faults, faults.hold)
        stack = []
        for number, entry in enumerate(clip):
            features = self._model.encode(entry.rgb()) if entry.features is None else entry.features
            stack.append(features)
            time.sleep(faults.sleep_s)
            yield SlowStep(Stage.DECODING, (number + 1) / (len(clip) + 2))
        if faults.slow is not None:
            raise faults.slow
        names = [colour for colour in COLOURS if colour in text]
        present = [name for name in names if any((f[..., COLOURS[name]] > 0).any() for f in stack)]
        answer = " and ".join(f"the {name} box" for name in present) or f"There is no {text}"
        for end in range(4, len(answer), 8):
            yield SlowStep(Stage.DECODING, 0.9, answer[:end])
        yield SlowStep(Stage.SEGMENTING, 0.95, answer)
        _wait(faults, faults.hold_last)
        time.sleep(faults.sleep_last_s)
        if faults.on_last is not None:
            faults.on_last()
        objects, offsets, position = [], [], 0
        for name in present:
            known = [key for key, channel in self.colours.items() if channel == COLOURS[name]]
            if faults.links and known:
                key = known[0]
            else:
                key, self._next_key = self._next_key, self._next_key + 1
            self.colours[key] = COLOURS[name]
            position = answer.index(f"the {name} box", position) + len(f"the {name} box")
            offsets.append(position)
            logits = tuple(_logits(features, COLOURS[name]) for features in stack)
            objects.append(ObjectResult(key, f"{name} box", 0.9, len(clip) - 1, logits))
        result = RequestResult(
            answer, answer + " [SEG]" * len(present), tuple(offsets), "stop", tuple(range(len(clip))),
            tuple(objects),
        )  # fmt: skip
        return result if faults.result is None else faults.result(result)

    def step(self, features: NDArray[np.uint8], stamp_s: float) -> list[TrackOutput]:
        faults = self._model.faults
        _wait(faults, faults.hold_fast)
        if faults.fast is not None:
            raise faults.fast
        if faults.on_step is not None:
            faults.on_step()
        self.stamps.append(stamp_s)
        outputs = []
        for key, channel in self.colours.items():
            logits = _logits(features, channel)
            seen = 0.1 if logits is None else 0.95
            outputs.append(
                TrackOutput(key, logits, 0.8, seen if faults.present_score is None else faults.present_score)
            )
        return outputs

    def drop(self, keys: Sequence[int]) -> None:
        if self._model.faults.drop is not None:
            raise self._model.faults.drop
        for key in keys:
            self.colours.pop(key, None)

    @property
    def keys(self) -> tuple[int, ...]:
        return tuple(self.colours)


class BlobModel:
    """villa.interface.SegmentationModel over colour blobs: "red" in the text means the red pixels."""

    def __init__(self, **faults: Any) -> None:
        self.faults = Faults(**faults)
        self.sessions: list[BlobSession] = []
        self.encoded = 0

    def encode(self, rgb: Rgb) -> NDArray[np.uint8]:
        self.encoded += 1
        return rgb[::2, ::2].copy()

    def describe(self, features: NDArray[np.uint8]) -> NDArray[np.float32]:
        return features.mean(axis=(0, 1)).astype(np.float32)

    def open_session(self) -> BlobSession:
        self.sessions.append(BlobSession(self))
        return self.sessions[-1]


def _logits(features: NDArray[np.uint8], channel: int) -> NDArray[np.float32] | None:
    inside = features[..., channel] > 127
    return np.where(inside, 8.0, -8.0).astype(np.float32) if inside.any() else None


class Told(list[Event]):
    """A sink that keeps every event and finds them again."""

    def __call__(self, event: Event) -> None:
        self.append(event)

    def states(self, request_id: str) -> list[str]:
        return [e.state.name for e in self if isinstance(e, StatusEvent) and e.request_id == request_id]

    def last(self, request_id: str) -> StatusEvent:
        return [e for e in self if isinstance(e, StatusEvent) and e.request_id == request_id][-1]

    def tracks(self) -> list[TracksEvent]:
        return [e for e in self if isinstance(e, TracksEvent)]

    def answers(self, request_id: str = "") -> list[AnswerEvent]:
        return [e for e in self if isinstance(e, AnswerEvent) and e.request_id in (request_id or e.request_id,)]

    def tracklets(self) -> list[TrackletsEvent]:
        return [e for e in self if isinstance(e, TrackletsEvent)]

    def journal(self) -> list[JournalEvent]:
        return [e for e in self if isinstance(e, JournalEvent)]

    def without_journal(self) -> list[Event]:
        return [e for e in self if not isinstance(e, JournalEvent)]


def carries(event: Event, request_id: str) -> bool:
    """Does this event speak of the request?"""
    if isinstance(event, TracksEvent):
        return any(instance.request_id == request_id for instance in event.instances)
    return not isinstance(event, JournalEvent) and event.request_id == request_id
