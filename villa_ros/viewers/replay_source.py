"""A recording as a live node would meet it: played at its own rate to the pipeline's worker, without ROS."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from villa_ros.bags.reader import Bag, BagError
from villa_ros.conversions.images import BadImage
from villa_ros.pipeline.config import PipelineConfig
from villa_ros.pipeline.events import AnswerEvent, Event, StatusEvent, TracksEvent
from villa_ros.pipeline.image_reading import ImageReading
from villa_ros.pipeline.request import Action, Request
from villa_ros.pipeline.worker import Worker
from villa_ros.replay.bag_replay import TimedTexts
from villa_ros.runtime.model_loading import memory_mb
from villa_ros.viewers.node_health import Line
from villa_ros.viewers.picture import Picture
from villa_ros.viewers.source import NotSentError

if TYPE_CHECKING:
    from villa.interface import SegmentationModel
    from villa_ros.viewers.node_state import NodeState

_REPORT_S = 1.0
_CLOSE_S = 5.0
_ENDED = "The recording has ended."


class ReplaySource:
    """Plays a bag's images to the pipeline and tells `heard` what comes of it.

    `requests` are made when the recording reaches their stamps or times, each time it is played.

    Raises:
        BagError: the bag cannot be read, or lacks the topic.
    """

    repeats = True

    def __init__(
        self,
        heard: NodeState,
        bag_path: Path,
        model: SegmentationModel,
        requests: Sequence[Request] | TimedTexts = (),
        *,
        camera_topic: str | None = None,
        camera: str = "camera",
        config: PipelineConfig | None = None,
        reading: ImageReading | None = None,
    ) -> None:
        self.name = f"replay of {bag_path.name}"
        self._heard = heard
        self._path = bag_path
        self._reading = reading or ImageReading()
        self._camera = camera
        self._requests = requests
        with Bag(bag_path) as bag:
            self._topic = bag.choose_image_topic(camera_topic)
        # Who pauses a recording wants to ask about what it shows.
        config = replace(config or PipelineConfig(cameras=(camera,)), silent_after_s=0.0)
        self._worker = Worker(model, config, self._told)
        self._closing = threading.Event()
        self._wake = threading.Event()  # set to end a pause: closing, or to be played again
        self._again = threading.Event()
        self._threads = [
            threading.Thread(target=target, name=name, daemon=True)
            for name, target in (("console-replay", self._run), ("console-health", self._report))
        ]
        self._used = 0

    def start(self) -> None:
        """Begin to play."""
        self._heard.camera(self._camera, self._topic)
        self._worker.start()
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End the recording and every request."""
        self._closing.set()
        self._wake.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(_CLOSE_S)
        self._worker.close()

    def ask(self, request: Request) -> None:
        """Submit a request, about what was played last."""
        request = self._worker.completed(request)
        self._heard.command(request)
        self._worker.submit(request)

    def stop(self, request_id: str) -> str:
        """End a request, or all with an empty id; returns the id under which it is heard."""
        request = self._worker.completed(Request(request_id, "", Action.STOP))
        self.ask(request)
        return request.request_id

    def confirm(self, *, yes: bool) -> None:
        """Refused: nobody asks in a recording.

        Raises:
            NotSentError: always.
        """
        raise NotSentError("nothing was asked: a recording is played")

    def again(self) -> None:
        """Play from the beginning; requests of before end."""
        self._again.set()
        self._wake.set()

    def _told(self, event: Event) -> None:
        """The pipeline's sink."""
        if isinstance(event, TracksEvent):
            self._heard.tracks(event, max(0, time.monotonic_ns() - event.arrival_ns) / 1e9)
        elif isinstance(event, AnswerEvent):
            self._heard.answer(event)
        elif isinstance(event, StatusEvent):
            self._heard.status(event)

    def _run(self) -> None:
        played = 0
        while not self._closing.is_set():
            played += 1
            self._again.clear()
            self._wake.clear()
            self._heard.note("")
            try:
                ended = self._play(played)
            except BagError as error:
                self._heard.note(str(error))
                ended = True
            if ended and not self._closing.is_set():
                self._wake.wait()
            self._worker.reset()

    def _play(self, played: int) -> bool:
        """Play once; False when it was broken off."""
        waiting: list[Request] = []
        began: tuple[float, int] | None = None
        with Bag(self._path, self._reading) as bag:
            for frame in bag.frames(self._topic, self._camera, self._refused):
                stamp_ns = frame.header.time_ns
                if began is None:
                    began = (time.monotonic(), stamp_ns)
                    waiting = self._due_from(stamp_ns)
                if self._broken_off(began[0] + (stamp_ns - began[1]) / 1e9):
                    return False
                self._show(Picture(replace(frame, arrival_ns=time.monotonic_ns())))
                while waiting and waiting[0].stamp_ns <= stamp_ns:
                    self._give(waiting.pop(0), played)
        for request in waiting:
            self._give(request, played)
        self._heard.note(_ENDED)
        return True

    def _due_from(self, first_ns: int) -> list[Request]:
        """The requests of a recording that begins now, in the order in which they are due."""
        asked = self._requests
        made = asked.requests(first_ns, self._camera) if isinstance(asked, TimedTexts) else asked
        return sorted(made, key=lambda request: request.stamp_ns)

    def _refused(self, log_ns: int, error: BadImage) -> None:
        self._heard.bad_picture(self._camera, str(error))

    def _show(self, picture: Picture) -> None:
        self._heard.picture(picture)
        self._worker.offer(picture.frame)

    def _give(self, request: Request, played: int) -> None:
        """Carry out a command of the recording; ids are used once, so later rounds have their own."""
        if played > 1:
            request = replace(request, request_id=f"{request.request_id}-{played}")
        self.ask(request)

    def _broken_off(self, until_s: float) -> bool:
        """Wait; True when it is to end or to begin anew."""
        wait_s = until_s - time.monotonic()
        if wait_s > 0:
            self._wake.wait(wait_s)
        return self._closing.is_set() or self._again.is_set()

    def _report(self) -> None:
        """What a node says in /diagnostics, once a second."""
        while True:
            self._heard.diagnosed(self._lines())
            if self._closing.wait(_REPORT_S):
                return

    def _lines(self) -> list[Line]:
        stats = self._worker.stats()
        camera = stats.cameras[self._camera]
        rate_hz, self._used = (camera.used - self._used) / _REPORT_S, camera.used
        seen = {
            "topic": self._topic,
            "received": str(camera.received),
            "used": str(camera.used),
            "rate_used_hz": f"{rate_hz:.3f}",
            **{f"dropped/{reason}": str(count) for reason, count in sorted(camera.dropped.items())},
        }
        worker = {"state": stats.state}
        for stage, latency in sorted(stats.latency.items()):
            worker[f"{stage}/p50_ms"] = f"{latency.p50_ms:.3f}"
            worker[f"{stage}/p95_ms"] = f"{latency.p95_ms:.3f}"
        memory = {f"memory/{name}_mb": f"{amount:.3f}" for name, amount in memory_mb("").items()}
        level = "error" if stats.last_error else "ok"
        return [
            Line("lifecycle", "ok", "active", {"state": "active", "enabled": "True"}),
            Line(f"camera {self._camera}", "ok", "", seen),
            Line("worker", level, stats.last_error or stats.state, worker),
            Line("model", "ok", "loaded", memory),
        ]
