"""`villa console` on a real node over DDS, in a real headless browser: what a person at the page sees and does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import rclpy
from builtin_interfaces.msg import Time
from ros_graph import BEST_EFFORT, FAKE_NODE, NodeProcess
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from villa_msgs.msg import Command, RequestStatus, TrackedInstance, TrackedInstanceArray
from villa_ros.bags.reader import Bag
from villa_ros.runtime.package_share import share_path
from villa_ros.runtime.process import tied_to_this_process

pytest.importorskip("starlette", reason="needs Starlette (pip: villa-ros[console])")
pytest.importorskip("uvicorn", reason="needs uvicorn (pip: villa-ros[console])")


from console_page import PATIENCE_S, ConsolePage, chromium

TOKEN = "correct horse battery"
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"
# px; a mask on the picture before or after would miss a third of the square
HEIGHT, WIDTH, SIDE, STEP = 240, 320, 72, 24
PERIOD_S = 1 / 15


class MovingCamera:
    """Publishes a red and a blue square that jump to the right, from a thread, until it is covered."""

    def __init__(self, topic: str) -> None:
        self._node = rclpy.create_node("moving_camera")
        self._publisher = self._node.create_publisher(Image, topic, BEST_EFFORT)
        self.covered = threading.Event()
        self.still = threading.Event()  # squares stay where they are
        self._ended = threading.Event()
        self.last = Header()
        self._count = self._steps = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(PERIOD_S):
            if not self.covered.is_set():
                self._publisher.publish(self._message())

    def _message(self) -> Image:
        self._count += 1
        picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        self._steps += not self.still.is_set()
        left = self.left
        picture[20 : 20 + SIDE, left : left + SIDE] = (255, 0, 0)
        picture[140 : 140 + SIDE, left : left + SIDE] = (0, 0, 255)
        data = array("B")
        data.frombytes(picture.tobytes())
        sec, nanosec = divmod(1_234_567_890_123_456_789 + self._count * 66_666_667, 10**9)
        self.last = Header(stamp=Time(sec=sec, nanosec=nanosec), frame_id="left_optical_frame")
        return Image(header=self.last, height=HEIGHT, width=WIDTH, encoding="rgb8", step=3 * WIDTH, data=data)

    @property
    def left(self) -> int:
        """Where the squares begin, px."""
        return STEP * (self._steps % 9)

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._node.destroy_node()


class ConsoleProcess:
    """`villa console` as a process of its own."""

    def __init__(self, log: Path, *options: str) -> None:
        self._log = log
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", **tied_to_this_process()}
        program = [sys.executable, "-m", "villa_ros.cli.console", "--port", "0", *options]
        with log.open("wb") as sink:
            self.process = subprocess.Popen(program, stdout=sink, stderr=subprocess.STDOUT, env=environment)
        deadline = time.monotonic() + PATIENCE_S
        while not (told := re.search(r"^console: (\S+)$", self.log(), re.MULTILINE)):
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)
        self.link = told[1]

    def log(self) -> str:
        return self._log.read_text("utf-8", "replace")

    def end(self) -> int:
        self.process.terminate()
        return self.process.wait(PATIENCE_S)


class Stack:
    """A node with two cameras, of which the right one sends nothing, and a console on it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._starts = 0
        self.camera = MovingCamera("/left/image")
        self.node = self.start_node()
        self.console = ConsoleProcess(folder / "console.log")

    def start_node(self) -> NodeProcess:
        self._starts += 1
        self.node = NodeProcess(
            self._folder / f"node{self._starts}.log", FAKE_NODE, cameras=["left", "right"], frame_timeout_s=120.0
        )
        return self.node

    def close(self) -> None:
        self.console.end()
        self.node.end()
        self.camera.close()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    made = Stack(tmp_path_factory.mktemp("console"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as made:
        yield made


@pytest.fixture
def open_page(browser: Any) -> Iterator[Any]:
    """Opens pages in browsers of their own; whatever a test does in them, nothing in them may complain."""
    opened: list[ConsolePage] = []

    def open_one(link: str, **options: Any) -> ConsolePage:
        opened.append(ConsolePage(browser.new_context(**options).new_page()))
        return opened[-1].open(link)

    yield open_one
    for page in opened:
        page.close()
        assert page.dialogs == []
        assert page.errors == []


@pytest.fixture
def page(stack: Stack, open_page: Any) -> Iterator[ConsolePage]:
    """A page on the console, when node and left camera are there; every request is ended afterwards."""
    stack.camera.covered.clear()
    stack.camera.still.clear()
    made = open_page(stack.console.link)
    made.ready()
    yield made
    made.page.click("#stop-all")
    made.until(lambda: not made.objects(), "everything to end")


def asked_for_red(page: ConsolePage) -> None:
    page.ask("the red square")
    page.request("the red square", "TRACKING")
    page.shows_objects(1)


def test_a_typed_request_is_answered_and_its_masks_lie_on_their_own_pictures(page: ConsolePage) -> None:
    asked_for_red(page)
    page.says("#requests li:first-child .answer", "the red box")
    # A track is not confirmed in its first pictures.
    listed = page.says("#objects li", "in view")
    assert re.fullmatch(r"red box in view · meant \d+ % · mask \d+ % · \S+ · left Stop Follow only this", listed)
    seen: dict[str, float] = {}

    def look() -> bool:
        share, masked, stamp = page.over_red()
        if masked:
            seen[stamp] = share
        return len(seen) >= 25

    page.until(look, "25 pictures with masks")
    assert min(seen.values()) > 0.85, seen  # the mask of the picture before or after would reach 0.5
    assert re.search(r"shown \d+\.\d Hz", page.text("figure figcaption"))


def test_a_click_on_an_object_offers_to_stop_it_and_stops_it(page: ConsolePage, stack: Stack) -> None:
    asked_for_red(page)
    stack.camera.still.set()  # so that it stays where we click

    def settled() -> bool:
        masked = np.flatnonzero(page.mask("left")[1][20 + SIDE // 2])
        return masked.size > 0 and abs(int(masked[0]) - stack.camera.left) < 4

    page.until(settled, "the mask where the square stays")
    box = page.page.locator("canvas.inks").first.bounding_box()
    x, y = (
        box["x"] + (stack.camera.left + SIDE / 2) / WIDTH * box["width"],
        box["y"] + (20 + SIDE / 2) / HEIGHT * box["height"],
    )
    page.page.mouse.click(x, box["y"] + box["height"] - 4)
    assert page.page.locator(".card").count() == 0  # there is nothing
    page.page.mouse.click(x, y)
    assert page.text(".card b") == "red box"
    page.page.keyboard.press("Escape")
    assert page.page.locator(".card").count() == 0
    page.page.mouse.click(x, y)
    page.page.locator(".card button", has_text="Stop").click()
    page.request("the red square", "CANCELED")
    page.shows_objects(0)
    page.until(lambda: page.over_red()[1] == 0, "the masks to go")


def test_one_of_two_objects_is_followed_alone_by_keyboard(page: ConsolePage) -> None:
    page.ask("the red square and the blue square")
    red, blue = page.shows_objects(2)
    assert (red.startswith("red box "), blue.startswith("blue box ")) == (True, True)
    page.page.locator("#objects button[aria-label='Follow only blue box']").focus()
    page.page.keyboard.press("Enter")
    page.request("the blue box", "TRACKING")
    page.request("the red square and the blue square", "SUPERSEDED")
    (left,) = page.shows_objects(1)
    assert left.startswith("blue box")


def test_a_request_shows_how_far_it_is_and_can_be_cancelled(page: ConsolePage) -> None:
    page.page.select_option("#camera", "right")
    page.ask("the red square")
    row = page.request("the red square", "BUFFERING")
    assert row.locator(".chip").inner_text() == "waits for pictures"
    assert row.locator("progress").is_visible()
    assert row.locator("progress").get_attribute("value") == "2"
    row.locator("button", has_text="Cancel").click()
    row = page.request("the red square", "CANCELED")
    assert row.locator(".chip").inner_text() == "stopped"
    assert not row.locator("progress").is_visible()
    page.says("#announcer", "the red square: stopped")
    page.page.select_option("#camera", "left")


def test_a_page_that_is_loaded_again_shows_what_goes_on_and_knows_what_was_typed(page: ConsolePage) -> None:
    asked_for_red(page)
    before = page.page.locator("#requests li").count()
    page.page.reload()
    page.ready()
    page.request("the red square", "TRACKING")
    page.shows_objects(1)
    assert page.page.locator("#requests li").count() == before
    page.until(lambda: page.over_red()[0] > 0.85, "masks")
    page.page.focus("#text")
    page.page.keyboard.press("ArrowUp")
    assert page.page.input_value("#text") == "the red square"
    page.page.keyboard.press("ArrowDown")
    assert page.page.input_value("#text") == ""


def test_two_browsers_see_the_same_and_either_may_stop(page: ConsolePage, stack: Stack, open_page: Any) -> None:
    asked_for_red(page)
    other = open_page(stack.console.link)
    other.ready()
    row = other.request("the red square", "TRACKING")
    other.shows_objects(1)
    other.until(lambda: other.over_red()[0] > 0.85, "masks in the second browser")
    page.until(lambda: page.over_red()[1] > 0, "masks in the first browser too")
    row.locator("button", has_text="Stop").click()
    page.request("the red square", "CANCELED")
    page.shows_objects(0)


def test_each_camera_has_its_screen_and_one_can_be_chosen(page: ConsolePage) -> None:
    assert page.page.locator("figure").count() == 2
    assert page.page.locator("figure", has_text="right").locator(".veil").inner_text().startswith("No picture yet")
    page.page.locator("#shown button", has_text="left").click()
    assert page.page.locator("figure").count() == 1
    page.page.locator("#shown button", has_text="All").click()
    assert page.page.locator("figure").count() == 2


def test_a_camera_that_stops_is_said_to_be_gone_until_it_is_back(page: ConsolePage, stack: Stack) -> None:
    stack.camera.covered.set()
    page.says("#banners", "No pictures come from camera left.")
    page.says("figure", "No picture for")
    stack.camera.covered.clear()
    page.until(lambda: page.text("#banners") == "", "the banner to go")
    page.until(lambda: page.page.locator("figure .veil").first.is_hidden(), "pictures")


def test_a_script_in_a_name_and_in_an_answer_is_shown_as_text(page: ConsolePage, stack: Stack, peer: Any) -> None:
    page.ask(HOSTILE)
    page.request(HOSTILE, "NO_TARGET")
    assert HOSTILE in page.text("#requests li:first-child .said")
    page.says("#requests li:first-child .answer", f"There is no {HOSTILE}")
    publisher = peer.publisher(TrackedInstanceArray, "/villa_node/left/tracks", BEST_EFFORT)
    item = TrackedInstance(track_id="x-1", request_id="somebody's", name=HOSTILE, state=TrackedInstance.TRACKED)
    item.mask.encoding, item.mask.height, item.mask.width, item.mask.area = 1, HEIGHT, WIDTH, 400
    item.mask.roi.x_offset, item.mask.roi.y_offset, item.mask.roi.width, item.mask.roi.height = 10, 10, 20, 20
    item.mask.runs = array("I", [0, 400])

    def show() -> None:
        publisher.publish(TrackedInstanceArray(header=stack.camera.last, camera="left", instances=[item]))

    page.until(lambda: page.page.locator(".names span").count(), "the name over the object", show)
    assert page.page.locator(".names span").inner_text().startswith(HOSTILE)
    page.until(lambda: page.objects(), "the name in the list", show)
    assert page.objects()[0].startswith(HOSTILE)
    assert page.page.locator("main img, main script").count() == 0
    item.state = TrackedInstance.REMOVED
    page.until(lambda: not page.objects(), "its end", show)


def test_a_request_of_ten_thousand_characters_is_refused_and_never_leaves(page: ConsolePage, peer: Any) -> None:
    heard = peer.listen(Command, "/villa_node/command")
    peer.until(peer.hears_all, "the console's commands")
    page.ask("x" * 10_000)
    page.says("#text-why", "The request has 10,000 characters; at most 2,000 are taken. Shorten it.")
    assert len(page.page.input_value("#text")) == 10_000
    page.page.fill("#text", "")
    asked_for_red(page)
    peer.until(lambda: heard, "the request that is short enough")
    assert [command.text for command in heard] == ["the red square"]


def test_what_the_speech_node_asks_is_shown_until_it_is_answered(page: ConsolePage, peer: Any) -> None:
    asked = peer.publisher(RequestStatus, "/villa_speech/status")
    question = RequestStatus(request_id="speech-1", state=RequestStatus.QUEUED, message=f'did you mean "{HOSTILE}"?')
    asked.publish(question)
    page.says("#question-text", f'Heard by the robot: did you mean "{HOSTILE}"?')
    page.page.click("#yes")
    page.says("#text-why", "nobody answers /villa_speech/confirm: is the speech node running?")
    page.until(lambda: page.page.locator("#question").is_hidden(), "the question to go")
    asked.publish(question)
    page.until(lambda: page.page.locator("#question").is_visible(), "the question again")
    question.state = RequestStatus.CANCELED
    asked.publish(question)
    page.until(lambda: page.page.locator("#question").is_hidden(), "the question to be closed")


def test_a_wrong_token_is_refused_and_the_right_one_lets_in(stack: Stack, open_page: Any, tmp_path: Path) -> None:
    console = ConsoleProcess(tmp_path / "console.log", "--token", TOKEN)
    try:
        url = console.link.partition("#")[0]
        page = open_page(f"{url}#token=not%20the%20right%20one")
        page.says("#token-why", "wrong token")
        assert page.page.locator("#main").is_hidden()
        assert page.page.url == url
        page.page.fill("#token", TOKEN)
        page.page.press("#token", "Enter")
        page.ready()
        page.page.reload()
        page.ready()
        assert page.page.url == url
        assert TOKEN not in "".join(page.asked_for)
        assert console.log().count(quote(TOKEN)) <= 1
    finally:
        assert console.end() == 0


def test_the_node_goes_and_comes_back_and_the_page_with_it(page: ConsolePage, stack: Stack) -> None:
    asked_for_red(page)
    stack.node.process.kill()
    stack.node.process.wait()
    page.says("#banners", "The node /villa_node is not heard of any more.")
    assert page.text("#node-state") == "gone"
    assert page.request("the red square", "GONE").locator(".chip").inner_text() == "the node went away"
    assert page.page.locator("figure .veil").first.is_hidden()  # the camera goes on
    page.until(lambda: page.over_red()[1] == 0, "the masks to go")
    page.ask("the blue square")
    page.says("#text-why", "the node /villa_node has said nothing for")
    assert page.page.input_value("#text") == "the blue square"
    stack.start_node()
    page.says("#node-state", "active")
    page.until(lambda: "/villa_node" not in page.text("#banners"), "the banner to go")
    page.page.press("#text", "Enter")
    page.request("the blue square", "TRACKING")
    page.until(lambda: page.over_red()[1] > 0, "masks of the new node")


class Sample:
    """The sample bag, played to a node and a console of its own beside those of the other tests."""

    def __init__(self, folder: Path, *program: str) -> None:
        topic, environment = (
            "/sample/image/compressed",
            {**os.environ, "OMP_NUM_THREADS": "1", **tied_to_this_process()},
        )
        node = [*program, "--ros-args", "-r", "__node:=sample_node", "-p", f"camera.image_topic:={topic}"]
        player = [sys.executable, "-m", "villa_ros.bags.player", str(share_path("sample", "tabletop")), "--wait", "90"]
        player += ["--topic", f"/camera/image_raw/compressed={topic}"]
        player += ["--listeners", f"{topic}=2"]  # node and console
        with (folder / "sample.log").open("wb") as log:
            self._processes = [
                subprocess.Popen(one, stdout=log, stderr=subprocess.STDOUT, env=environment) for one in (node, player)
            ]
        self.console = ConsoleProcess(folder / "console.log", "--node", "/sample_node")

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        self.console.end()


def test_masks_of_the_sample_bag_lie_on_the_pixels_they_were_made_from(open_page: Any, tmp_path: Path) -> None:
    sample = Sample(tmp_path, sys.executable, str(FAKE_NODE))
    try:
        page = open_page(sample.console.link)
        page.ready()
        page.ask("the red thing")
        page.request("the red thing", "TRACKING")
        shares: dict[str, float] = {}

        def look() -> bool:
            share, masked, stamp = page.over_red("camera", reddest=True)
            if masked:
                shares[stamp] = share
            return len(shares) >= 10

        page.until(look, "ten pictures with masks")
        # The tests' model takes what is bright in red, on a grid of half the size.
        assert min(shares.values()) > 0.9, shares
    finally:
        sample.close()


@pytest.mark.slow
def test_the_shipped_model_finds_the_blue_mug_of_the_sample_bag_on_the_page(open_page: Any, tmp_path: Path) -> None:
    sample = Sample(tmp_path, sys.executable, "-m", "villa_ros.node.villa_node")
    try:
        page = open_page(sample.console.link)
        page.ready()
        page.page.wait_for_timeout(1000)  # of pictures to look back on
        page.ask("the blue mug")
        page.request("the blue mug", "TRACKING")
        page.until(lambda: page.over_red("camera")[1] > 0, "masks")
        stamp_ns, mask = page.mask("camera")
        truth = true_mask(share_path("sample", "tabletop"), "blue mug", stamp_ns)
        assert np.count_nonzero(mask & truth) / np.count_nonzero(mask | truth) > 0.5
    finally:
        sample.close()


def true_mask(bag_path: Path, name: str, stamp_ns: int) -> np.ndarray:
    """Where the ground truth has this object at this stamp."""
    from villa.masks import decode
    from villa_ros.conversions.events import mask_from_message, nanoseconds

    with Bag(bag_path) as bag:
        everything = next(
            one.message for one in bag.messages(["/ground_truth/tracklets"]) if not one.message.request_id
        )
    (tracklet,) = [one for one in everything.tracklets if one.name == name]
    stamps = [nanoseconds(stamp) for stamp in everything.clip.stamps]
    place = list(tracklet.frame_index).index(stamps.index(stamp_ns))
    return decode(mask_from_message(tracklet.masks[place]))
