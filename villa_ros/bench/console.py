"""What the console delivers to a browser while the node runs, and what its server costs.

`python -m villa_ros.bench.console`. Processes of their own, in a DDS domain of their own: a camera (pictures of the
sample bag, at any rate, raw or as they were recorded), the node, the console, and a headless Chromium.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from villa_ros.bags.reader import Bag
from villa_ros.runtime.package_share import share_path
from villa_ros.runtime.process import end_with_parent, tied_to_this_process, use_shared_memory_profile

_START_S = 120.0
_PICTURES = 100  # of the bag, played over and over
_TOPIC = "/bench/image"
_SETTLE_S = 3.0
# Counts what a page draws: each picture that is drawn changes the stamp of its figure.
_COUNT = """() => {
  window.drawn = 0;
  new MutationObserver(() => { window.drawn += 1; }).observe(
    document.querySelector("figure"), { attributes: true, attributeFilter: ["data-stamp"] });
}"""


class ConsoleBenchError(RuntimeError):
    """Nothing can be measured."""


@dataclass(frozen=True)
class Row:
    """One stretch of time. CPU is in percent of one core."""

    what: str
    camera_hz: float
    shown_hz: float
    masks_hz: float  # frames that the node carried a track to
    server_cpu: float
    node_cpu: float
    browser_cpu: float

    def text(self) -> str:
        """One line of a table."""
        return (
            f"{self.what:<38}{self.camera_hz:7.1f}{self.shown_hz:7.1f}{self.masks_hz:7.1f}"
            f"{self.server_cpu:8.1f}{self.node_cpu:7.1f}{self.browser_cpu:9.1f}"
        )


HEAD = f"{'':<38}{'camera':>7}{'shown':>7}{'masks':>7}{'server':>8}{'node':>7}{'browser':>9}\n" + (
    f"{'':<38}{'Hz':>7}{'Hz':>7}{'Hz':>7}{'% CPU':>8}{'% CPU':>7}{'% CPU':>9}"
)


def measure(
    seconds: float, rate_hz: float, *, raw: bool, request: str, told: Callable[[Row], None], checkpoint: str = ""
) -> list[Row]:
    """Without a request, then while the node follows what `request` means; `told` hears of each row.

    Raises:
        ConsoleBenchError: a process died, or the request was not answered by masks.
    """
    domain = str(1 + secrets.randbelow(100))
    environment = {
        **os.environ, "ROS_DOMAIN_ID": domain, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "PYTHONUNBUFFERED": "1", **tied_to_this_process(),
    }  # fmt: skip
    topic = _TOPIC if raw else f"{_TOPIC}/compressed"
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))

        def start(name: str, *arguments: str) -> subprocess.Popen[bytes]:
            program = [sys.executable, "-m", *arguments]
            with (folder / f"{name}.log").open("wb") as sink:
                process = subprocess.Popen(program, stdout=sink, stderr=subprocess.STDOUT, env=environment)
            stack.callback(_end, process)
            return process

        given = {"camera.image_topic": topic, "checkpoint": f"'{checkpoint}'"}
        node = start("node", "villa_ros.node.villa_node", "--ros-args", *_assigned(given))
        start("camera", "villa_ros.bench.console", "--camera", str(rate_hz), *(["--raw"] if raw else []))
        server = start("console", "villa_ros.cli.console", "--port", "0")
        url = _address(folder / "console.log", server)
        watch = stack.enter_context(_watched(url))
        watch.until(lambda said: said.get("kind") == "health" and _active(said), "the node to be active", folder)
        watch.until(lambda said: said.get("kind") == "health" and _fresh(said), "pictures", folder)
        browser = stack.enter_context(_browser(url))
        counted = {"server": server.pid, "node": node.pid, "browser": browser.pid}
        rows: list[Row] = []
        for what in ("no request", f"following {request!r}"):
            if rows:
                watch.ask(request, folder)
            time.sleep(_SETTLE_S)
            rows.append(_row(what, seconds, counted, browser, watch))
            told(rows[-1])
        return rows


def _row(what: str, seconds: float, pids: dict[str, int], browser: _Browser, watch: _Watch) -> Row:
    cpu, drawn, health = {name: _cpu_s(pid) for name, pid in pids.items()}, browser.drawn(), watch.health()
    began_s = time.monotonic()
    browser.wait(seconds)
    cpu = {name: _cpu_s(pid) - cpu[name] for name, pid in pids.items()}
    shown = browser.drawn() - drawn
    now, spent_s = watch.health(), time.monotonic() - began_s
    return Row(
        what,
        now["cameras"][0]["rate_hz"],
        shown / spent_s,
        (_used(now) - _used(health)) / spent_s,
        *(100 * cpu[name] / spent_s for name in ("server", "node", "browser")),
    )


class _Watch:
    """A websocket that looks at no picture: health, and the request."""

    def __init__(self, link: Any) -> None:
        self._link = link

    def until(self, fits: Callable[[dict[str, Any]], bool], what: str, folder: Path | None = None) -> dict[str, Any]:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            with suppress(TimeoutError):
                said: dict[str, Any] = json.loads(self._link.recv(timeout=1.0))
                if fits(said):
                    return said
        logs = "" if folder is None else "\n".join(path.read_text("utf-8", "replace") for path in folder.glob("*.log"))
        raise ConsoleBenchError(f"waited {_START_S:.0f} s in vain for {what}; the logs say:\n{logs}")

    def health(self) -> dict[str, Any]:
        """The next word of it, at most a second old."""
        with suppress(TimeoutError):
            while True:  # what came meanwhile
                self._link.recv(timeout=0)
        return self.until(lambda said: said.get("kind") == "health", "word of the console")

    def ask(self, request: str, folder: Path) -> None:
        self._link.send(json.dumps({"kind": "ask", "number": 1, "text": request}))

        def follows(said: dict[str, Any]) -> bool:
            return any(one["state"] == "TRACKING" for one in said.get("requests", ()))

        self.until(follows, f"{request!r} to be followed", folder)


@contextmanager
def _watched(url: str) -> Iterator[_Watch]:
    from websockets.sync.client import connect

    with connect(f"ws{url.removeprefix('http')}link") as link:
        link.send(json.dumps({"kind": "hello", "token": ""}))
        yield _Watch(link)


class _Browser:
    """A headless Chromium on the page."""

    def __init__(self, page: Any, pid: int) -> None:
        self._page = page
        self.pid = pid

    def drawn(self) -> int:
        """Pictures so far."""
        return int(self._page.evaluate("window.drawn"))

    def wait(self, seconds: float) -> None:
        """Let the page go on."""
        self._page.wait_for_timeout(1000 * seconds)


@contextmanager
def _browser(url: str) -> Iterator[_Browser]:
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise ConsoleBenchError("a browser is driven by Playwright: pip install playwright") from error
    if program is None:
        raise ConsoleBenchError("no chromium, chromium-browser or google-chrome here: apt-get install chromium")
    with sync_playwright() as playwright:
        before = set(_children(os.getpid()))
        opened = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = opened.new_page(viewport={"width": 1280, "height": 800})
        page.goto(url)
        page.wait_for_selector("figure canvas.pixels")
        page.evaluate(_COUNT)
        driver = next(child for child in _children(os.getpid()) if child not in before)  # the browser's parent
        yield _Browser(page, driver)
        opened.close()


def _children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, task.read_text("ascii").split()):
                found += [child, *_children(child)]
    return found


def _cpu_s(pid: int) -> float:
    """What a process and its children have used so far."""
    ticks = 0
    for one in (pid, *_children(pid)):
        with suppress(OSError, IndexError, ValueError):
            fields = Path(f"/proc/{one}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _active(said: dict[str, Any]) -> bool:
    return any(line["values"].get("state") == "active" for line in said["node"]["lines"])


def _fresh(said: dict[str, Any]) -> bool:
    return any(camera["alive"] for camera in said["cameras"])


def _used(said: dict[str, Any]) -> int:
    lines = [line for line in said["node"]["lines"] if line["name"].startswith("camera ")]
    return sum(int(line["values"].get("used", 0)) for line in lines)


def _assigned(values: dict[str, str]) -> list[str]:
    return [part for name, value in values.items() for part in ("-p", f"{name}:={value}")]


def _address(log: Path, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + _START_S
    while not (told := re.search(r"^console: (\S+)$", log.read_text("utf-8", "replace"), re.MULTILINE)):
        if process.poll() is not None or time.monotonic() > deadline:
            raise ConsoleBenchError(f"the console did not start: {log.read_text('utf-8', 'replace')}")
        time.sleep(0.1)
    return told[1]


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(10.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def play_pictures(rate_hz: float, *, raw: bool) -> None:
    """The camera: pictures of the sample bag, over and over, stamped now, until the process is ended."""
    use_shared_memory_profile()
    import rclpy
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import CompressedImage, Image

    rclpy.init(args=[])
    node = rclpy.create_node("bench_camera")
    kind, topic = (Image, _TOPIC) if raw else (CompressedImage, f"{_TOPIC}/compressed")
    publisher = node.create_publisher(kind, topic, qos_profile_sensor_data)
    with Bag(share_path("sample", "tabletop")) as bag:
        source = bag.choose_image_topic()
        pictures = [recorded.message for recorded in islice(bag.messages([source]), _PICTURES)]
        frames = [frame.rgb() for frame in islice(bag.frames(source, "camera"), _PICTURES)] if raw else []
    messages = []
    for place, picture in enumerate(pictures):
        data = array("B")
        data.frombytes((frames[place] if raw else picture.data).tobytes())
        if raw:
            height, width = frames[place].shape[:2]
            message = Image(height=height, width=width, encoding="rgb8", step=3 * width, data=data)
        else:
            message = CompressedImage(format=picture.format, data=data)
        message.header.frame_id = picture.header.frame_id
        messages.append(message)
    # there and back again, so that nothing jumps where it begins anew
    due_s = time.monotonic()
    for message in cycle([*messages, *reversed(messages)]):
        due_s = max(due_s + 1 / rate_hz, time.monotonic() - 1.0)
        time.sleep(max(0.0, due_s - time.monotonic()))
        message.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the benchmark, and of its camera."""
    end_with_parent()
    parser = argparse.ArgumentParser(prog="python -m villa_ros.bench.console", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each row")
    parser.add_argument("--rate", type=float, default=30.0, help="of the camera, Hz")
    parser.add_argument("--raw", action="store_true", help="raw pictures, which the console has to encode")
    parser.add_argument("--request", default="the blue mug", help="what the node is to follow")
    parser.add_argument("--checkpoint", default="")
    parser.add_argument("--camera", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.camera is not None:
        play_pictures(given.camera, raw=given.raw)
        return 0
    sys.stdout.write(f"{HEAD}\n")

    def told(row: Row) -> None:
        sys.stdout.write(f"{row.text()}\n")
        sys.stdout.flush()

    try:
        measure(given.seconds, given.rate, raw=given.raw, request=given.request, told=told, checkpoint=given.checkpoint)
    except ConsoleBenchError as error:
        sys.stderr.write(f"console bench: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
