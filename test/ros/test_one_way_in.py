"""What a bag shows is what a robot gets: one script of commands has the same states whichever way it goes in."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from command_script import EXPECTED, SCRIPT, Told, told_of
from fakes import BlobModel
from replays import replayed
from ros_graph import PATIENCE_S
from small_bags import stamp, write_bag
from std_msgs.msg import String

from villa_msgs.msg import Command
from villa_ros.bags.reader import Bag
from villa_ros.conversions.events import command_message, parse_journal_line, rclpy_types
from villa_ros.pipeline.config import PipelineConfig
from villa_ros.pipeline.events import StatusEvent
from villa_ros.pipeline.request import ErrorCode, Request, RequestState
from villa_ros.pipeline.worker import Worker
from villa_ros.replay.virtual_clock import Pace, PacedModel, VirtualClock, drive_live
from villa_ros.viewers.node_state import NodeState
from villa_ros.viewers.picture import Picture
from villa_ros.viewers.replay_source import ReplaySource

FRAMES_APART = 4
IDS = {told[0] for told in EXPECTED}


def requests() -> list[Request]:
    """The script in a bag's time."""
    return [replace(step.request, stamp_ns=stamp(2 + FRAMES_APART * place)) for place, step in enumerate(SCRIPT)]


@pytest.fixture
def script_bag(tmp_path: Path) -> Path:
    return write_bag(tmp_path / "bag", frames=4 + FRAMES_APART * len(SCRIPT), commands=requests())


def test_a_live_node_says_what_the_script_expects(start_node, operator, camera, peer) -> None:
    start_node()
    journal = peer.listen(String, "/villa_node/journal")
    operator.command("", "first", action=Command.STOP)  # the operator knows now that the node hears it
    peer.until(lambda: operator.states("first"), "the refusal")
    operator.statuses.clear()

    def told() -> list[Told]:
        return [
            told_of(StatusEvent(s.request_id, RequestState(s.state), ErrorCode(s.error_code), s.message))
            for s in operator.statuses
            if s.request_id in IDS  # the refusal of a probe may still be on its way
        ]

    for place, step in enumerate(SCRIPT):
        expected = [one for earlier in SCRIPT[: place + 1] for one in earlier.told]
        _until_journalled(peer, journal, "ingest", camera.shoot)  # there is a frame to look at
        message = command_message(step.request, rclpy_types())
        message.camera = "" if step.request.camera == "camera" else step.request.camera
        peer.publisher(Command, "/villa_node/command").publish(message)
        _until_journalled(peer, journal, "submit")
        peer.until(partial(_at_least, told, len(expected)), f"{step.request} to lead to {step.told}")
        assert told() == expected
    assert told() == EXPECTED


def _until_journalled(peer: Any, journal: list[Any], op: str, meanwhile: Any = None) -> None:
    journal.clear()
    peer.until(lambda: any(parse_journal_line(line.data)[0].op == op for line in journal), f"an {op}", meanwhile)


def _at_least(told: Callable[[], list[Told]], count: int) -> bool:
    return len(told()) >= count


def test_a_replay_of_every_frame_says_the_same(script_bag: Path, tmp_path: Path) -> None:
    done = replayed(script_bag, requests(), BlobModel(), tmp_path / "out", pictures=False)
    timed = [entry for statuses in done.run.statuses.values() for entry in statuses]
    found = {told_of(entry.value) for entry in timed}
    assert found == set(EXPECTED)
    for request_id, statuses in done.run.statuses.items():
        assert [told_of(s.value) for s in statuses] == [told for told in EXPECTED if told[0] == request_id]


def test_a_replay_in_real_time_says_the_same(script_bag: Path) -> None:
    told: list[Told] = []
    clock = VirtualClock(measured=False)
    model = PacedModel(BlobModel(), Pace(fast_s=0.01, slow_step_s=0.001), clock)

    def sink(event: object) -> None:
        if isinstance(event, StatusEvent):
            told.append(told_of(event))

    worker = Worker(model, PipelineConfig(), sink, clock, "nonce")
    with Bag(script_bag) as bag:
        for _ in drive_live(worker, clock, bag.frames("/camera/image_raw", "camera"), requests()):
            pass
    assert told == EXPECTED


class Waiting(NodeState):
    """Lets the recording go on only when every command so far has led to what the script expects."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Told] = []
        self.ended = threading.Event()
        self._commands = 0
        self._came = threading.Condition()

    def command(self, request: Request) -> None:
        self._commands += 1
        super().command(request)

    def status(self, event: StatusEvent) -> None:
        super().status(event)
        with self._came:
            self.told.append(told_of(event))
            self._came.notify_all()

    def picture(self, picture: Picture) -> None:
        self.wait()
        super().picture(picture)

    def note(self, text: str) -> None:
        super().note(text)
        if text:
            self.ended.set()

    def wait(self) -> None:
        owed = sum(len(step.told) for step in SCRIPT[: self._commands])
        with self._came:
            assert self._came.wait_for(lambda: len(self.told) >= owed, PATIENCE_S), self.told


def test_the_replay_of_the_console_says_the_same(script_bag: Path) -> None:
    heard = Waiting()
    source = ReplaySource(heard, script_bag, BlobModel(), requests())
    source.start()
    try:
        assert heard.ended.wait(PATIENCE_S)
        heard.wait()
    finally:
        source.close()
    assert heard.told[: len(EXPECTED)] == EXPECTED
