"""A live graph of our own: the node in its process, a bag played to it by another, everything recorded."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from villa_ros.bags.reader import COMMAND, Bag
from villa_ros.bags.writer import COMMAND_TOPIC, NODE
from villa_ros.runtime.process import tied_to_this_process, use_shared_memory_profile

if TYPE_CHECKING:
    from rclpy.context import Context

    from villa_ros.bags.recorder import Recorder

Watch = Callable[[float, float], None]  # seconds played, seconds in all

_START_S = 120.0  # the most that loading the model may take
_MARGIN_S = 30.0  # the most that playing may take longer than the bag
_MATCH_S = 1.0  # from knowing a topic to being served by it, on both sides
_SETTLE_S = 3.0  # after the last frame: for tracks that are still in the making
_ANSWER_S = 60.0  # after the last frame: the most that the last answer may take
_NODE_STOP_S = 15.0
_PLAYER_STOP_S = 5.0
_POLL_S = 0.1
_GAVE_UP = "cannot configure"  # what the node logs before it waits for somebody to try again
_LOG_LINES = 20
_DIAGNOSTICS = "/diagnostics"  # what the node says once a second, whatever happens
_STATUS_TOPIC = f"{NODE}/status"


class LiveError(RuntimeError):
    """Nothing came back: the node or the player died, or nothing was published."""


def have_ros() -> bool:
    """Can this Python talk to a ROS graph, with our messages?"""
    return all(find_spec(name) is not None for name in ("rclpy", "villa_msgs"))


def recorded_topics(cameras: Iterable[str]) -> dict[str, str]:
    """Everything that the node publishes of these cameras but pictures, and the commands it was given.

    Diagnostics come after the node's other topics: discovery tells of subscriptions in the order they were made,
    so who is heard there serves the others too.
    """
    of_cameras: dict[str, str] = {}
    for camera in cameras:
        of_cameras[f"{NODE}/{camera}/tracks"] = "villa_msgs/msg/TrackedInstanceArray"
        of_cameras[f"{NODE}/{camera}/tracklets"] = "villa_msgs/msg/TrackletArray"
    return {
        **of_cameras,
        f"{NODE}/answer": "villa_msgs/msg/Answer",
        _STATUS_TOPIC: "villa_msgs/msg/RequestStatus",
        f"{NODE}/journal": "std_msgs/msg/String",
        _DIAGNOSTICS: "diagnostic_msgs/msg/DiagnosticArray",
        COMMAND_TOPIC: COMMAND,
    }


def node_program() -> list[str]:
    """The node as a program of its own, without its parameters."""
    return [sys.executable, "-m", "villa_ros.node.villa_node"]


def run_live(
    bag_path: Path,
    folder: Path,
    *,
    cameras: Mapping[str, str],
    command_topic: str | None = None,
    commands: Path | None = None,
    checkpoint: str = "",
    device: str = "cpu",
    threads: int = 0,
    settings: Mapping[str, str] | None = None,
    sim_time: bool = False,
    program: Sequence[str] = (),
    watch: Watch,
) -> tuple[Path, Path]:
    """Start the node, play images and commands to it at their real rate, record what it publishes.

    Args:
        bag_path: The bag with the images.
        folder: Where `run/run.mcap` and `node.log` go.
        cameras: Name of each camera and its image topic.
        command_topic: Commands of the bag that are played; None: none of them.
        commands: Another bag, whose commands on the node's own topic are played too.
        checkpoint: Of the model.
        device: Torch device.
        threads: Of one torch operation.
        settings: Further parameters of the node, as on a command line.
        sim_time: The node lives in the bag's time, which is played on /clock.
        program: Replaces the node's program.
        watch: Told how far the bag has been played.

    Returns:
        The recording and the node's log.

    Raises:
        LiveError: there is no ROS here, or the node or the player failed; the message ends with the node's
        log. BagError: the bag cannot be read, or the recording not be written.
    """
    if not have_ros():
        raise LiveError(
            "rclpy or villa_msgs is not installed here: run `make setup`, source your workspace, or use --offline"
        )
    log = folder / "node.log"
    folder.mkdir(parents=True, exist_ok=True)
    parameters = {
        "cameras": f"[{', '.join(cameras)}]",
        **{f"{camera}.image_topic": topic for camera, topic in cameras.items()},
        "tracks_reliable": "true",
        **({"use_sim_time": "true"} if sim_time else {}),
        **(settings or {}),
        "checkpoint": f"'{checkpoint}'",
        "device": device,
        "threads": str(threads),
    }
    arguments = [part for name, value in parameters.items() for part in ("-p", f"{name}:={value}")]
    command = [*(program or node_program()), "--ros-args", *arguments]
    played = {topic: topic for topic in cameras.values()} | ({command_topic: COMMAND_TOPIC} if command_topic else {})
    with Bag(bag_path) as bag:
        duration_s = bag.duration_s
    further = ["--clock"] if sim_time else []
    if commands is not None:
        further += ["--also", str(commands), "--topic", COMMAND_TOPIC]
    with _graph() as graph, _recorder(folder / "run", cameras, graph.context) as recorder:
        with log.open("wb") as sink:
            node = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, env=graph.environment)
        try:
            _wait_until_heard(recorder, node, log)
            _play(bag_path, played, further, node, log, duration_s, recorder, watch, graph.environment)
            _watch_over(node, log, _SETTLE_S)
            _wait_for_the_last_answer(recorder, node, log)
        finally:
            _end(node)
    tracks = sum(recorder.counts[f"{NODE}/{camera}/tracks"] for camera in cameras)
    if not tracks and not recorder.counts[f"{NODE}/answer"]:
        raise LiveError(f"the node published neither an answer nor a track; its log {_tail(log)}")
    return recorder.file, log


@dataclass(frozen=True)
class _Graph:
    context: Context
    environment: dict[str, str]  # for the processes that take part


@contextmanager
def _graph() -> Iterator[_Graph]:
    """A DDS domain of our own, so that neither a robot, nor another demo, nor the caller's rclpy hears this one."""
    import rclpy
    from rclpy.context import Context
    from rclpy.signals import SignalHandlerOptions

    with _domain() as domain:
        use_shared_memory_profile()
        place = {"ROS_DOMAIN_ID": str(domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
        before = {name: os.environ.get(name) for name in place}
        context = Context()
        os.environ.update(place)  # rcl takes the discovery range from nowhere else
        try:
            # Ctrl-C must reach us, so that the node is ended in order
            rclpy.init(args=[], context=context, signal_handler_options=SignalHandlerOptions.NO)
            environment = {**os.environ, **tied_to_this_process()}
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
        try:
            yield _Graph(context, environment)
        finally:
            context.try_shutdown()


@contextmanager
def _domain() -> Iterator[int]:
    try:
        coordinator = import_module("domain_coordinator")
    except ImportError:  # optional; without it two graphs on one machine collide only by chance
        yield 1 + secrets.randbelow(100)
        return
    with coordinator.domain_id() as domain:
        yield domain


def _recorder(path: Path, cameras: Iterable[str], context: Context) -> Recorder:
    from villa_ros.bags.recorder import Recorder

    return Recorder(path, recorded_topics(cameras), context=context)


def _play(
    bag_path: Path,
    played: Mapping[str, str],
    further: Sequence[str],
    node: subprocess.Popen[bytes],
    log: Path,
    duration_s: float,
    recorder: Recorder,
    watch: Watch,
    environment: dict[str, str],
) -> None:
    """Run the player to its end, while the node lives.

    It begins when node and recorder both hear its commands: its side counts two listeners, and we let it go when
    the recorder's side knows of it.
    """
    topics = [part for old, new in played.items() for part in ("--topic", f"{old}={new}")]
    command = [sys.executable, "-m", "villa_ros.bags.player", str(bag_path), *topics, "--wait", str(_START_S)]
    command += ["--listeners", f"{COMMAND_TOPIC}=2", "--hold", "--settle", str(_MATCH_S), *further]
    pipe = subprocess.PIPE
    player = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment)
    deadline = time.monotonic() + _START_S + duration_s + _MARGIN_S
    held = True
    began: float | None = None
    try:
        while player.poll() is None:
            _check_alive(node, log)
            if time.monotonic() > deadline:
                raise LiveError(f"the player is {_MARGIN_S:.0f} s behind the bag; is the machine too busy?")
            if held and not recorder.missing():
                held = False
                _release(player)
            if began is None and recorder.counts[f"{NODE}/journal"]:
                began = time.monotonic()
            watch(0.0 if began is None else time.monotonic() - began, duration_s)
            time.sleep(_POLL_S)
    finally:
        if player.poll() is None:
            player.kill()
        _, errors = player.communicate(timeout=_PLAYER_STOP_S)
    if player.returncode:
        raise LiveError(f"{errors.strip() or 'the player died'}; the node's log {_tail(log)}")


def _release(player: subprocess.Popen[str]) -> None:
    assert player.stdin is not None
    with suppress(BrokenPipeError):  # it died; its exit code and its last words tell
        player.stdin.write("\n")
        player.stdin.flush()


def _wait_until_heard(recorder: Recorder, node: subprocess.Popen[bytes], log: Path) -> None:
    """Until the recorder receives every topic of the node: what is published before is lost to it.

    A message that came proves that the node knows of the recorder, too.

    Raises:
        LiveError: the node died, or did not offer its topics in time.
    """
    deadline = time.monotonic() + _START_S
    while missing := _unheard(recorder):
        _check_alive(node, log)
        if time.monotonic() > deadline or _GAVE_UP in log.read_text("utf-8", "replace"):
            raise LiveError(f"the node did not start: no {', '.join(sorted(missing))}; its log {_tail(log)}")
        time.sleep(_POLL_S)
    _watch_over(node, log, _MATCH_S)


def _unheard(recorder: Recorder) -> set[str]:
    silent = set() if recorder.counts[_DIAGNOSTICS] else {_DIAGNOSTICS}
    return (recorder.missing() | silent) - {COMMAND_TOPIC}  # that one the player will publish


def _wait_for_the_last_answer(recorder: Recorder, node: subprocess.Popen[bytes], log: Path) -> None:
    """Until the newest state says that the answer is out, or there will be none; not longer than a minute."""
    from rclpy.serialization import deserialize_message

    from villa_msgs.msg import RequestStatus

    unanswered = {
        RequestStatus.QUEUED,
        RequestStatus.BUFFERING,
        RequestStatus.DECODING,
        RequestStatus.SEGMENTING,
    }
    deadline = time.monotonic() + _ANSWER_S
    while (newest := recorder.latest.get(_STATUS_TOPIC)) and time.monotonic() < deadline:
        if deserialize_message(newest, RequestStatus).state not in unanswered:
            return
        _watch_over(node, log, _POLL_S)


def _watch_over(node: subprocess.Popen[bytes], log: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        _check_alive(node, log)
        time.sleep(_POLL_S)


def _check_alive(node: subprocess.Popen[bytes], log: Path) -> None:
    if node.poll() is not None:
        raise LiveError(f"the node ended by itself with exit code {node.returncode}; its log {_tail(log)}")


def _end(node: subprocess.Popen[bytes]) -> None:
    if node.poll() is None:
        node.send_signal(signal.SIGINT)
        try:
            node.wait(_NODE_STOP_S)
        except subprocess.TimeoutExpired:
            node.kill()
            node.wait()


def _tail(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").splitlines()[-_LOG_LINES:]
    return "\n".join([f"{log} ends with:", *lines]) if lines else f"{log} is empty"
