"""A working hour of a robot's stack, in short; `make soak` runs it for an hour, with the shipped model and a chart.

Three cameras at 30 Hz, a request now and then by text, message and action, activations, a kill and a restart, with a
console, somebody who watches it, and a recorder. Every frame is accounted for by the node's own counts.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from itertools import cycle
from pathlib import Path

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from lifecycle_msgs.msg import Transition
from rclpy.action import ActionClient
from rclpy.context import Context
from ros_graph import BEST_EFFORT, FAKE_NODE, Camera, Lifecycle, NodeProcess, Operator, Peer
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from test_console import ConsoleProcess
from websockets.sync.client import connect

from villa_msgs.action import SegmentVideo
from villa_msgs.msg import Command, RequestStatus, TrackedInstanceArray
from villa_ros.bags.reader import Bag
from villa_ros.bags.recorder import Recorder
from villa_ros.conversions.events import nanoseconds

pytest.importorskip("starlette", reason="needs Starlette (pip: villa-ros[console])")

SECONDS = float(os.environ.get("VILLA_SOAK_S", "5"))
LONG = SECONDS >= 600
OUT = Path(os.environ["VILLA_SOAK_OUT"]) if "VILLA_SOAK_OUT" in os.environ else None
CAMERAS = ("front", "left", "right")
HZ = 30
HEIGHT, WIDTH = 480, 640
ASK_EVERY_S = 20.0 if LONG else 2.0
WARM_UP_S = 120.0  # of an activation: what grows once has grown by then
MOST_MB_PER_HOUR = 1.0
LEAST_S = 600.0  # of an activation: in less, noise looks like hundreds of MB an hour
MOST_MB = 60.0  # in the short form, in which everything is new
WORDS = ("the red square", "the blue square", "the red block", "the banana")
LATEST = RequestStatus.SUCCEEDED


class Rig:
    """Three cameras that send at their rate from a thread, and count what they send."""

    def __init__(self, peer: Peer) -> None:
        self._publishers = {name: peer.node.create_publisher(Image, f"/{name}/image", BEST_EFFORT) for name in CAMERAS}
        self.sent: Counter[str] = Counter()
        self.headers: dict[str, dict[int, str]] = {name: {} for name in CAMERAS}  # stamp -> frame_id
        self.running = threading.Event()
        self._ended = threading.Event()
        self._sending = threading.Lock()
        self._left = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        due_s = time.monotonic()
        while not self._ended.wait(max(0.0, due_s - time.monotonic())):
            due_s = max(due_s + 1 / HZ, time.monotonic())
            if self.running.is_set():
                for name in CAMERAS:
                    self.shoot(name)

    def shoot(self, name: str) -> None:
        with self._sending:
            self._left = (self._left + 1) % 400
            picture = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
            picture[80:200, self._left : self._left + 120] = (220, 30, 30)
            picture[280:400, 60 + self._left : 180 + self._left] = (30, 40, 220)
            data = array("B")
            data.frombytes(picture.tobytes())
            stamp_ns = time.time_ns()
            header = Header(stamp=Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9), frame_id=f"{name}_optical")
            self.headers[name][stamp_ns] = header.frame_id
            image = Image(header=header, height=HEIGHT, width=WIDTH, encoding="rgb8", step=3 * WIDTH, data=data)
            self._publishers[name].publish(image)
            self.sent[name] += 1

    def heard(self, name: str) -> bool:
        return bool(self._publishers[name].get_subscription_count())

    def close(self) -> None:
        self._ended.set()
        self._thread.join()


class Watcher:
    """Somebody with the console open, who draws every picture that comes."""

    def __init__(self, link: str, stack: ExitStack) -> None:
        self.pictures = 0
        where = link.replace("http", "ws", 1).partition("#")[0] + "link"
        self._socket = stack.enter_context(connect(where, max_size=None))
        self._socket.send(json.dumps({"kind": "hello", "token": ""}))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        shown: tuple[str, ...] = ()
        with suppress(Exception):  # the console ends before we do
            for message in self._socket:
                if isinstance(message, bytes):
                    length = int.from_bytes(message[:4], "little")
                    self.pictures += 1
                    told = {"kind": "shown", "camera": json.loads(message[4 : 4 + length])["camera"]}
                    self._socket.send(json.dumps(told))
                    continue
                fields = json.loads(message)
                if fields["kind"] == "health":
                    cameras = tuple(camera["name"] for camera in fields["cameras"])
                    if cameras != shown:
                        shown = cameras
                        self._socket.send(json.dumps({"kind": "watch", "cameras": cameras, "masks": True}))

    def close(self) -> None:
        self._socket.close()
        self._thread.join(10.0)


class Hour:
    """Everything together, and what was seen of it."""

    def __init__(self, folder: Path, peer: Peer, stack: ExitStack) -> None:
        self.peer, self._folder, self._stack = peer, folder, stack
        self.rig = Rig(peer)
        stack.callback(self.rig.close)
        self.operator = Operator(peer, Camera(peer, "/front/image"), name="front")
        self.lifecycle = Lifecycle(peer)
        self.tracks = {
            name: peer.listen(TrackedInstanceArray, f"/villa_node/{name}/tracks", BEST_EFFORT) for name in CAMERAS
        }
        self.nodes: list[NodeProcess] = []
        self.memory: list[tuple[float, int, float]] = []  # s, which activation, MB
        self.told: Counter[str] = Counter()
        self.faults: list[str] = []
        self.owners: dict[str, str] = {}  # track id -> request
        self.asked: dict[str, int] = {}  # request -> node
        self.looked = dict.fromkeys(CAMERAS, 0)
        self.began_s = time.monotonic()
        self._goals = ActionClient(peer.node, SegmentVideo, "/villa_node/segment_video")
        stack.callback(self._goals.destroy)
        self._next_memory_s = 0.0

    def start_node(self) -> None:
        script = None if LONG else FAKE_NODE
        number = len(self.nodes) + 1
        log = self._folder / f"node{number}.log"
        small = {} if LONG else {"clip_frames": 8}  # else its rings grow for as long as the short form lasts
        self.nodes.append(NodeProcess(log, script, cameras=list(CAMERAS), look_again_when_lost=False, **small))
        node = self.nodes[-1]
        self._stack.callback(lambda: node.end() if node.process.poll() is None else None)
        self.peer.until(lambda: self.lifecycle.state() == "active", "the node to be active")
        self.operator._heard_back = False
        self.operator._find_node()

    # What is counted

    def counts(self) -> dict[str, int]:
        """Of each camera: what came, and what the middleware lost, as the node tells it next."""
        seen = len(self.operator.diagnostics)
        self.peer.until(lambda: len(self.operator.diagnostics) > seen, "diagnostics")
        lines = {name: self.operator.diagnosed(f"camera {name}") for name in CAMERAS}
        return {name: int(line.get("received", 0)) + int(line.get("lost", 0)) for name, line in lines.items()}

    def begun(self) -> dict[str, int]:
        """For each camera what was sent and not counted, as nobody listened; the cameras are still, and are heard."""
        before = self.counts()

        def heard() -> bool:
            for name in CAMERAS:
                self.rig.shoot(name)
            return all(count > before[name] for name, count in self.counts().items())

        self.peer.until(heard, "pictures of every camera")
        self.peer.until(lambda: self.counts() == self.counts(), "the counts to rest")
        return {name: self.rig.sent[name] - count for name, count in self.counts().items()}

    def phase(self, seconds: float, ask: Iterator[Callable[[], str]]) -> None:
        """Let the cameras run, ask now and then, and account for every frame."""
        self.peer.until(lambda: all(map(self.rig.heard, CAMERAS)), "somebody behind every camera")
        unheard = self.begun()
        sent_before = dict(self.rig.sent)
        self.rig.running.set()
        end_s = time.monotonic() + seconds
        ask_s = time.monotonic()
        while time.monotonic() < end_s:
            self.peer.spin(1)
            self.look()
            if time.monotonic() >= ask_s:
                ask_s += ASK_EVERY_S
                self.answered(next(ask)())
        self.rig.running.clear()
        seen: dict[str, int] = {}

        def accounted() -> bool:
            for name in CAMERAS:  # one behind the last: only then is it known that the last one was lost
                self.rig.shoot(name)
            self.counts()
            seen.update({name: count + unheard[name] for name, count in self.counts().items()})
            return seen == dict(self.rig.sent)

        self.peer.until(accounted, "every frame to be accounted for")
        for name in CAMERAS:
            self.told[f"{name} published"] += self.rig.sent[name] - sent_before[name]
            self.told[f"{name} accounted for"] += seen[name] - sent_before[name]

    def look(self) -> None:
        """Every message that came since the last look: its stamp was sent, its ids are nobody else's."""
        for name, messages in self.tracks.items():
            for message in messages[self.looked[name] :]:
                stamp_ns = nanoseconds(message.header.stamp)
                if self.rig.headers[name].get(stamp_ns) != message.header.frame_id:
                    self.faults.append(f"tracks of {name} bear a header that no image had: {message.header}")
                for one in message.instances:
                    owner = self.owners.setdefault(one.track_id, one.request_id)
                    if owner != one.request_id:
                        self.faults.append(f"track {one.track_id} is of {owner!r} and of {one.request_id!r}")
                self.told["tracks"] += 1
            messages.clear()
        at_s = time.monotonic() - self.began_s
        if at_s >= self._next_memory_s and self.nodes[-1].process.poll() is None:
            self._next_memory_s = at_s + 1.0
            activation = 1 + self.told["activations"] + self.told["restarts"]
            self.memory.append((at_s, activation, resident_mb(self.nodes[-1])))

    def answered(self, request_id: str) -> None:
        """Until a request tracks, or is over."""
        number = len(self.nodes)

        def ended() -> bool:
            states = self.operator.states(request_id) if request_id else [s.state for s in self.operator.statuses]
            return any(state >= RequestStatus.TRACKING for state in states)

        self.peer.until(ended, f"an answer to {request_id or 'the words'}", self.look)
        for status in self.operator.statuses:
            if self.asked.setdefault(status.request_id, number) != number:
                self.faults.append(f"request {status.request_id!r} of an earlier node is told of again")
            if status.request_id.startswith("unheard"):
                self.faults.append("a command that was sent while no node ran was carried out")
            if status.state == RequestStatus.FAILED:
                self.faults.append(f"request {status.request_id!r} failed: {status.message}")
        self.operator.statuses.clear()
        self.operator.answers.clear()
        self.operator.tracklets.clear()
        del self.operator.diagnostics[:-3]
        self.told["requests"] += 1

    def watched(self) -> bool:
        """Does the console alone look at the cameras?"""
        topics = [f"/{name}/image" for name in CAMERAS]
        looking = [one.node_name for topic in topics for one in self.peer.node.get_subscriptions_info_by_topic(topic)]
        return set(looking) <= {"villa_console"}

    # What is asked

    def ways(self) -> Iterator[Callable[[], str]]:
        words, cameras = cycle(WORDS), cycle(CAMERAS)
        numbers = iter(range(10**9))

        def text() -> str:
            self.operator.say(next(words))
            return ""

        def message() -> str:
            request_id = f"message-{next(numbers)}"
            self.operator.command(next(words), request_id, camera=next(cameras))
            return request_id

        def action() -> str:
            request_id = f"action-{next(numbers)}"
            command = Command(
                action=Command.SEGMENT, text=next(words), request_id=request_id, camera=next(cameras), track=True
            )
            self._goals.send_goal_async(SegmentVideo.Goal(command=command))
            return request_id

        return cycle((text, message, action))

    def activate_again(self) -> None:
        assert self.lifecycle.change(Transition.TRANSITION_DEACTIVATE)
        assert self.lifecycle.change(Transition.TRANSITION_ACTIVATE)
        self.operator.statuses.clear()
        self.told["activations"] += 1

    def kill_and_restart(self) -> None:
        self.nodes[-1].process.send_signal(signal.SIGKILL)
        self.nodes[-1].wait()
        self.peer.until(lambda: "villa_node" not in self.peer.node.get_node_names(), "the node to leave the graph")
        self.peer.until(lambda: not any(map(self.rig.heard, CAMERAS)) or self.watched(), "its subscriptions as well")
        self.operator.command_unheard("the red square", f"unheard-{len(self.nodes)}")
        self.operator.statuses.clear()
        self.start_node()
        self.told["restarts"] += 1


def resident_mb(node: NodeProcess) -> float:
    fields = Path(f"/proc/{node.process.pid}/statm").read_text("ascii").split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def slope_mb_per_hour(samples: list[tuple[float, float]]) -> float:
    """Least squares through (s, MB)."""
    seconds, memory = np.array(samples).T
    return float(np.polyfit(seconds / 3600, memory, 1)[0])


def test_a_working_hour(tmp_path: Path, peer: Peer) -> None:
    folder = OUT or tmp_path
    folder.mkdir(parents=True, exist_ok=True)
    recorded = {
        "/villa_node/journal": "std_msgs/msg/String",
        "/villa_node/status": "villa_msgs/msg/RequestStatus",
        "/villa_node/answer": "villa_msgs/msg/Answer",
    }
    with ExitStack() as stack:
        hour = Hour(folder, peer, stack)
        console = ConsoleProcess(folder / "console.log")
        stack.callback(console.end)
        watcher = Watcher(console.link, stack)
        stack.callback(watcher.close)
        context = Context()
        context.init()
        stack.callback(context.try_shutdown)
        recorder = stack.enter_context(Recorder(folder / "recording", recorded, context=context))
        hour.start_node()
        ask = hour.ways()
        between = [hour.activate_again, hour.activate_again, hour.kill_and_restart] if LONG else [hour.activate_again]
        part_s = SECONDS / (len(between) + 1)
        hour.phase(part_s, ask)
        for interrupt in between:
            interrupt()
            hour.phase(part_s, ask)
        pictures = watcher.pictures
        assert hour.nodes[-1].end() == 0
        log = hour.nodes[-1].log()
    told = {**hour.told, "pictures on the console": pictures, "journal entries": recorder.counts["/villa_node/journal"]}
    growth = growth_of(hour.memory)
    report = {"seconds": SECONDS, **told, "memory": growth, "faults": hour.faults}
    (folder / "hour.json").write_text(json.dumps(report, indent=1))
    draw(hour.memory, growth, told, folder / "hour.png")
    print(json.dumps(report, indent=1))
    assert not hour.faults
    assert "Traceback" not in log
    assert hour.told["tracks"] > 0
    assert pictures > 0
    with Bag(folder / "recording") as bag:
        assert sum(1 for _ in bag.messages(["/villa_node/journal"])) == recorder.counts["/villa_node/journal"]
    for one in growth:
        if LONG and one["measured_s"] >= LEAST_S:
            assert one["mb_per_hour"] < MOST_MB_PER_HOUR, growth
        assert LONG or one["last_mb"] - one["first_mb"] < MOST_MB, growth


def growth_of(memory: list[tuple[float, int, float]]) -> list[dict[str, float]]:
    """Of each activation: the first and last memory, and the slope behind its warm-up."""
    found = []
    for number in sorted({number for _, number, _ in memory}):
        samples = [(at_s, mb) for at_s, of, mb in memory if of == number]
        warm = [one for one in samples if one[0] - samples[0][0] >= (WARM_UP_S if LONG else 0.0)]
        slope = slope_mb_per_hour(warm) if len(warm) > 2 else 0.0
        measured_s = warm[-1][0] - warm[0][0] if warm else 0.0
        size = {"first_mb": samples[0][1], "last_mb": samples[-1][1]}
        found.append({**size, "measured_s": round(measured_s), "mb_per_hour": round(slope, 2)})
    return found


def draw(
    memory: list[tuple[float, int, float]], growth: list[dict[str, float]], told: dict[str, int], path: Path
) -> None:
    """Memory over time, with what was counted in words."""
    height, width, edge = 460, 900, 60
    picture = np.full((height, width, 3), 255, np.uint8)
    times, sizes = [at_s for at_s, _, _ in memory], [mb for _, _, mb in memory]
    low, high, last = min(sizes) - 10, max(sizes) + 10, max(times)
    for number in sorted({number for _, number, _ in memory}):
        colour = (180, 90, 20) if number % 2 else (40, 110, 200)
        line = [
            (edge + at_s / last * (width - 2 * edge), height - edge - (mb - low) / (high - low) * (height - 4 * edge))
            for at_s, of, mb in memory
            if of == number
        ]
        cv2.polylines(picture, [np.array(line).round().astype(np.int32)], False, colour, 2, cv2.LINE_AA)
    slopes = ", ".join(f"{one['mb_per_hour']:+.2f}" for one in growth)
    counted = {name: count for name, count in told.items() if "published" not in name and "accounted" not in name}
    published = sum(count for name, count in told.items() if "published" in name)
    accounted = sum(count for name, count in told.items() if "accounted" in name)
    texts = (
        f"resident memory of the node over {last / 60:.0f} min, a line for each activation, the last behind a kill -9",
        f"MB an hour after the warm-up: {slopes}",
        f"{published:,} frames published, {accounted:,} accounted for",
        ", ".join(f"{name} {count:,}" for name, count in counted.items()),
    )
    for row, text in enumerate(texts):
        cv2.putText(picture, text, (edge, 28 + 26 * row), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (30, 30, 30), 1, cv2.LINE_AA)
    for mb, y in ((high, 3 * edge), (low, height - edge)):
        cv2.putText(picture, f"{mb:.0f} MB", (2, y), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (30, 30, 30), 1, cv2.LINE_AA)
    assert cv2.imwrite(str(path), picture)
