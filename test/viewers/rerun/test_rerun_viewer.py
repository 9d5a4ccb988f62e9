"""The viewer as a program: without usage statistics, gone and back; and `villa rerun` called wrongly."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import typer
from typer.testing import CliRunner

from villa_ros.cli import rerun
from villa_ros.viewers.rerun.viewer import (
    RerunError,
    address_of,
    answers,
    show,
    start_viewer,
    viewer_program,
    without_statistics,
)

pytest.importorskip("rerun.chunk", reason="needs Rerun's reader (pip: villa-ros[rerun], on Python 3.11 and later)")


from rrd_file import RrdFile
from told import instance, picture, tracks

from villa_ros.pipeline.request import Request
from villa_ros.viewers.node_health import Line
from villa_ros.viewers.node_state import NodeState
from villa_ros.viewers.rerun.live_bridge import Bridge
from villa_ros.viewers.rerun.target import FileTarget, ViewerTarget

pytestmark = pytest.mark.filterwarnings("ignore:RRD file has no footer")  # what is live has none
PATIENCE_S = 60.0  # only ever waited out when a test fails
app = typer.Typer()
app.command()(rerun.rerun)


def until(happened: Callable[[], object], what: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline_s, f"waited in vain for {what}"
        time.sleep(0.05)


def until_shown(bridge: Bridge, index: int) -> None:
    until(lambda: bridge.shown_ns == picture(index).stamp_ns, f"picture {index} to be written")


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.fixture
def quiet_viewer(port: int) -> Iterator[Callable[[Path], int]]:
    """Starts Rerun's own program without a window: it writes what it is sent to a file."""
    started: list[int] = []

    def start(file: Path) -> int:
        started.append(start_viewer(port, save_to=file))
        return started[-1]

    yield start
    for process in started:
        end(process)


def end(process: int, how: signal.Signals = signal.SIGKILL) -> None:
    try:
        os.kill(process, how)
        os.waitpid(process, 0)
    except (ProcessLookupError, ChildProcessError):
        return


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder that no Rerun was ever run in, outside CI."""
    folder = tmp_path / "home"
    folder.mkdir()
    for name in ("CI", "FORCE_RERUN_ANALYTICS", "RERUN_ANALYTICS", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(folder))
    return folder


def written_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_viewer_of_ours_prepares_no_statistics_where_one_of_its_own_would(home: Path) -> None:
    ask = [str(viewer_program()), "analytics", "config"]
    quiet = without_statistics({**os.environ, "FORCE_RERUN_ANALYTICS": "1"})
    subprocess.run(ask, env=quiet, check=True, capture_output=True)
    assert written_in(home) == set()
    subprocess.run(ask, env=dict(os.environ), check=True, capture_output=True)
    assert any(name.endswith("analytics.json") for name in written_in(home))


def test_the_users_own_choice_stays_as_it_is(home: Path, tmp_path: Path, quiet_viewer: Callable[[Path], int]) -> None:
    subprocess.run([str(viewer_program()), "analytics", "enable"], check=True, capture_output=True)
    before = {name: (home / name).read_bytes() for name in written_in(home)}
    (config,) = (name for name in before if name.endswith("analytics.json"))
    assert json.loads(before[config])["analytics_enabled"] is True
    quiet_viewer(tmp_path / "received.rrd")
    assert {name: (home / name).read_bytes() for name in written_in(home)} == before


def test_a_viewer_without_a_display_says_what_to_do(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(RerunError, match=r"no display .*--to FILE\.rrd"):
        start_viewer(port)


def test_a_viewer_that_ends_at_once_is_told_with_what_it_said(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":977")  # nobody's: what is wrong is found before it is looked for
    with pytest.raises(RerunError, match=r"did not open \(.*--memory-limit.*much.*\); write a file"):
        start_viewer(port, memory_limit="much")


def test_a_viewer_listens_on_this_machine_alone(tmp_path: Path, port: int, quiet_viewer: Callable[[Path], int]) -> None:
    viewer = psutil.Process(quiet_viewer(tmp_path / "received.rrd"))
    listening = [one.laddr for one in viewer.net_connections() if one.status == psutil.CONN_LISTEN]
    assert [tuple(address) for address in listening] == [("127.0.0.1", port)]


@pytest.mark.parametrize(
    "url", ["http://robot:9876/proxy", "rerun+http://robot:9876", "rerun+http:///proxy", "rerun+http://robot:x/proxy"]
)
def test_what_is_no_address_of_a_viewer_is_refused(url: str) -> None:
    with pytest.raises(RerunError, match=r"wanted rerun\+http://HOST:9876/proxy"):
        address_of(url)


def test_an_address_without_a_port_means_reruns_own() -> None:
    assert address_of("rerun+https://robot/proxy") == ("robot", 9876)


def test_a_recording_that_is_not_there_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(RerunError, match=r"no recording at .*nothing\.rrd"):
        show(tmp_path / "nothing.rrd")


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(RerunError, match=r"cannot write a Rerun recording at .*choose another place"):
        FileTarget(tmp_path / "taken" / "run.rrd")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--camera", "wrist"], 2, "--camera wrist: wanted NAME=TOPIC"),
        (["run.rrd", "--to", "other.rrd"], 2, "run.rrd is opened as it is"),
        (["no-such.rrd"], 1, "no recording at no-such.rrd"),
        (["--to", "run.txt"], 2, "wanted a file that ends in .rrd"),
        (["--to", "http://robot:9876/proxy"], 1, "is no address of a Rerun viewer"),
    ],
)
def test_a_wrong_call_is_answered_in_words(arguments: list[str], code: int, words: str) -> None:
    if arguments[0] == "--to":
        pytest.importorskip("rclpy", reason="needs ROS 2 (pip: ros-rclpy)")
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == code, done.output
    assert words in " ".join(done.output.split())


def test_without_rerun_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rerun_bindings", None)
    done = CliRunner().invoke(app, ["--to", "run.rrd"])
    assert done.exit_code == 1
    assert 'pip install "villa_ros[rerun]"' in " ".join(done.output.split())


def test_what_is_heard_goes_to_a_file_with_masks_on_their_own_pictures(tmp_path: Path) -> None:
    heard = NodeState()
    bridge = Bridge(heard, FileTarget(tmp_path / "live.rrd"))
    bridge.start()
    stamps = [picture(index).stamp_ns for index in range(6)]
    heard.command(Request("one", "the red box", camera="camera"))
    for index in (0, 1, 2):
        if index:  # first, so that the bridge never sees this picture without them
            heard.tracks(tracks(index, instance()), 0.04)
        heard.picture(picture(index))
        until_shown(bridge, index)
    heard.diagnosed([Line("worker", "warn", "slow", {"fast/p50_ms": "12.5"})])
    assert bridge.close()
    file = RrdFile(tmp_path / "live.rrd")
    assert list(file.images("/camera/image")) == stamps[:3]
    assert list(file.masks("/camera/image/masks")) == stamps[1:3]
    assert [round(value) for (value,) in file.only("/latency/camera", "Scalars:scalars").values()] == [40, 40]
    assert list(file.only("/latency/fast", "Scalars:scalars").values()) == [[12.5]]
    assert file.words("request") == [(stamps[0], "one: the red box")]
    assert file.words("node") == [(stamps[2], "worker: slow")]


def test_masks_that_come_after_their_picture_was_written_lie_on_it_and_on_no_later_one(tmp_path: Path) -> None:
    heard = NodeState()
    bridge = Bridge(heard, FileTarget(tmp_path / "live.rrd"))
    bridge.start()
    for index in (0, 1):
        heard.picture(picture(index))
        until_shown(bridge, index)
    heard.tracks(tracks(0, instance()), 0.2)
    until_shown(bridge, 0)
    assert bridge.close()
    file = RrdFile(tmp_path / "live.rrd")
    assert list(file.images("/camera/image")) == [picture(0).stamp_ns, picture(1).stamp_ns]
    assert list(file.masks("/camera/image/masks")) == [picture(0).stamp_ns]
    assert picture(1).stamp_ns in file.only("/camera/image/masks", "Clear:is_recursive")


def test_one_odd_message_does_not_end_the_bridge(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    heard = NodeState()
    bridge = Bridge(heard, FileTarget(tmp_path / "live.rrd"))
    bridge.start()
    heard.diagnosed([Line("worker", "ok", "", {"fast/p50_ms": "twelve"})])
    for index in (0, 1):
        heard.picture(picture(index))
        until_shown(bridge, index)
    assert bridge.close()
    assert "'twelve'" in caplog.text
    assert len(RrdFile(tmp_path / "live.rrd").images("/camera/image")) == 2


def test_a_viewer_may_come_late_go_and_come_again(
    tmp_path: Path, port: int, quiet_viewer: Callable[[Path], int]
) -> None:
    said: list[str] = []
    heard = NodeState()
    bridge = Bridge(heard, ViewerTarget(f"rerun+http://127.0.0.1:{port}/proxy", said.append))
    bridge.start()
    heard.command(Request("one", "the red box", camera="camera"))
    heard.picture(picture(0))
    until(lambda: said, "the bridge to look")
    assert said[-1].startswith("no viewer at")

    for number, index in enumerate((3, 7)):
        file = tmp_path / f"received{number}.rrd"
        process = quiet_viewer(file)
        until(lambda: said[-1].startswith("sending to"), "the bridge to find the viewer")
        heard.picture(picture(index))
        heard.tracks(tracks(index, instance()))
        until_received(file, index)
        end(process, signal.SIGTERM)
        received = RrdFile(file)
        assert picture(index).stamp_ns in received.images("/camera/image")
        assert [text for _, text in received.words("request")] == ["one: the red box"]
        assert received.rows("/camera", "AnnotationContext:context")
        until(lambda: said[-1].startswith("no viewer at"), "the bridge to miss the viewer")
        heard.picture(picture(index + 1))
    assert bridge.close()


def until_received(file: Path, index: int) -> None:
    """Until a file that a viewer still writes has the masks of this picture, as far as it can be read."""

    def masks() -> set[int]:
        try:
            return set(RrdFile(file).masks("/camera/image/masks"))
        except (OSError, RuntimeError, ValueError):
            return set()

    until(lambda: picture(index).stamp_ns in masks(), "the masks to reach the viewer")


def test_a_port_that_nobody_listens_on_does_not_answer(port: int) -> None:
    assert not answers("127.0.0.1", port)
