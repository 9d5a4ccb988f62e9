"""A console from the command line: opened, told of, and closed by Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from villa_ros.viewers.node_state import NodeState
from villa_ros.viewers.replay_source import ReplaySource
from villa_ros.viewers.web.server import Opened, opened

if TYPE_CHECKING:
    from villa.interface import SegmentationModel
    from villa_ros.pipeline.config import PipelineConfig
    from villa_ros.pipeline.image_reading import ImageReading
    from villa_ros.pipeline.request import Request
    from villa_ros.replay.bag_replay import TimedTexts
    from villa_ros.viewers.source import Source
    from villa_ros.viewers.web.settings import ConsoleSettings

Tell = Callable[[Opened], None]


def serve(heard: NodeState, source: Source, settings: ConsoleSettings, tell: Tell) -> None:
    """Serve until SIGINT or SIGTERM; `tell` is told once where.

    Raises:
        ConsoleError: it cannot be served.
    """
    with asked_to_end() as ended, opened(heard, source, settings) as where:
        tell(where)
        ended.wait()


def serve_replay(
    bag_path: Path,
    requests: Sequence[Request] | TimedTexts,
    model: SegmentationModel,
    settings: ConsoleSettings,
    tell: Tell,
    *,
    camera_topic: str | None = None,
    camera: str = "camera",
    config: PipelineConfig | None = None,
    reading: ImageReading | None = None,
) -> None:
    """Play a bag at its own rate to the pipeline, with a console on it, until SIGINT or SIGTERM; needs no ROS.

    Raises:
        BagError: the bag cannot be read, or lacks the topic.
        ConsoleError: it cannot be served.
    """
    heard = NodeState()
    source = ReplaySource(
        heard, bag_path, model, requests, camera_topic=camera_topic, camera=camera, config=config, reading=reading
    )
    serve(heard, source, settings, tell)


@contextmanager
def asked_to_end() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set; a second one ends the process."""
    asked = threading.Event()

    def ask(number: int, _: object) -> None:
        asked.set()
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
