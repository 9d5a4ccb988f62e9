"""The console's page without ROS: a recording that is replayed, and the microphone; in a real browser."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from console_page import ConsolePage, chromium
from fakes import BlobModel
from told import QuietSource

pytest.importorskip("starlette", reason="needs Starlette (pip: villa-ros[console])")
pytest.importorskip("uvicorn", reason="needs uvicorn (pip: villa-ros[console])")

from villa_ros.pipeline.events import StatusEvent
from villa_ros.pipeline.request import Action, ErrorCode, Request, RequestState
from villa_ros.runtime.package_share import share_path
from villa_ros.viewers.node_health import Line
from villa_ros.viewers.node_state import NodeState
from villa_ros.viewers.replay_source import ReplaySource
from villa_ros.viewers.web.recognition import Recognition
from villa_ros.viewers.web.server import opened
from villa_ros.viewers.web.settings import ConsoleSettings

LOCAL = ConsoleSettings(port=0)
# A microphone that beeps, and is given to every page that asks
BEEP = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    # A name that is not this machine's, and so no secure context
    with chromium(*BEEP, "--host-resolver-rules=MAP robot.test 127.0.0.1") as made:
        yield made


@pytest.fixture
def page(browser: Any) -> Iterator[ConsolePage]:
    made = ConsolePage(browser.new_page())
    yield made
    made.close()
    assert made.dialogs == []
    assert made.errors == []


class Listener:
    """Speech recognition that understands one thing, and keeps what it heard."""

    def __init__(self, text: str = "the red box") -> None:
        self.text = text
        self.samples: list[np.ndarray] = []
        self.rates_hz: list[int] = []

    def __call__(self, samples: Any, rate_hz: int) -> tuple[str, float]:
        self.samples.append(samples)
        self.rates_hz.append(rate_hz)
        return self.text, 0.87


class ActiveNode(QuietSource):
    """Says once in a while that it is active, and nothing else."""

    def __init__(self, heard: NodeState) -> None:
        super().__init__()
        self._heard = heard
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        super().start()
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        super().close()

    def _run(self) -> None:
        while not self._ended.wait(0.2):
            self._heard.diagnosed([Line("lifecycle", "ok", "active", {"state": "active", "enabled": "True"})])


def hold_to_talk(page: ConsolePage, milliseconds: int = 900) -> None:
    page.page.hover("#talk")
    page.page.mouse.down()
    page.says("#talk-why", "Listening")
    assert page.page.get_attribute("#talk", "aria-pressed") == "true"
    page.page.wait_for_timeout(milliseconds)
    page.page.mouse.up()


@dataclass(frozen=True)
class ServedNode:
    """An active node, on the page."""

    heard: NodeState
    source: ActiveNode
    url: str


@contextmanager
def active(
    page: ConsolePage, recognition: Recognition | None = None, settings: ConsoleSettings = LOCAL
) -> Iterator[ServedNode]:
    heard = NodeState()
    source = ActiveNode(heard)
    with opened(heard, source, settings, recognition) as where:
        page.open(where.url)
        page.says("#node-state", "active")
        yield ServedNode(heard, source, where.url)


def test_a_replay_is_asked_and_answered_ends_and_is_played_again(page: ConsolePage, tmp_path: Path) -> None:
    heard = NodeState()
    bag = share_path("sample", "tabletop")
    source = ReplaySource(heard, bag, BlobModel(), [Request("at once", "the blue thing", stamp_ns=0)])
    with opened(heard, source, LOCAL) as where:
        page.open(where.url).ready()
        assert page.text("#node") == "replay of tabletop"
        page.request("the blue thing", "TRACKING")
        page.ask("the red thing")
        page.request("the blue thing", "SUPERSEDED")
        page.request("the red thing", "TRACKING")
        page.shows_objects(1)

        def on_red() -> bool:  # the picture on which the blue one was still followed may be shown for a moment more
            share, pixels, _ = page.over_red("camera", reddest=True)
            return share > 0.9 and pixels > 10_000

        page.until(on_red, "the mask on the red thing")
        page.page.click("#again")
        page.request("the red thing", "CANCELED")
        page.until(lambda: page.page.locator("#requests li").count() == 3, "the recording's own request again")
        page.request("the blue thing", "TRACKING")


def test_held_the_microphone_hears_and_what_it_heard_waits_for_a_confirmation(page: ConsolePage) -> None:
    heard, listener = NodeState(), Listener()
    source = ActiveNode(heard)
    with opened(heard, source, LOCAL, Recognition(listener)) as where:
        page.open(where.url)
        page.says("#node-state", "active")
        hold_to_talk(page)
        page.says("#talk-why", "Understood (87 % sure). Send it, or edit it first.")
        assert page.page.input_value("#text") == "the red box"
        assert source.asked == []
        page.page.press("#text", "Enter")
        page.until(lambda: source.asked, "the request")
    assert (source.asked[0].text, source.asked[0].confidence) == ("the red box", 0.87)
    assert listener.rates_hz == [16_000]
    assert 0.5 < listener.samples[0].size / 16_000 < 5
    assert np.abs(listener.samples[0]).max() > 0.05


def test_a_tap_switches_the_microphone_on_and_the_next_one_off(page: ConsolePage) -> None:
    heard, listener = NodeState(), Listener()
    with opened(heard, ActiveNode(heard), LOCAL, Recognition(listener)) as where:
        page.open(where.url)
        page.says("#node-state", "active")
        page.page.focus("#talk")
        page.page.keyboard.press("Enter")
        page.says("#talk-why", "Listening")
        page.page.wait_for_timeout(700)
        page.page.keyboard.press("Enter")
        page.says("#talk-why", "Understood")


def test_words_that_were_mended_are_sent_as_typed(page: ConsolePage) -> None:
    with active(page, Recognition(Listener("the red mud"))) as served:
        hold_to_talk(page)
        page.says("#talk-why", "Understood")
        page.ask("the red mug")
        page.until(lambda: served.source.asked, "the request")
    assert np.isnan(served.source.asked[0].confidence)


def test_a_spoken_stop_waits_for_nothing(page: ConsolePage) -> None:
    with active(page, Recognition(Listener("Stop!"))) as served:
        hold_to_talk(page)
        page.until(lambda: served.source.stopped, "the stop")
    assert served.source.stopped == [""]


def test_a_stop_that_nobody_heard_is_shouted_until_one_is_heard(page: ConsolePage) -> None:
    with active(page) as served:
        page.page.click("#stop-all")
        page.says("#banners", "THE STOP WAS NOT HEARD: /villa_node has not answered it within 1 s.")
        colour = page.page.eval_on_selector("#banners .alarm", "(one) => getComputedStyle(one).backgroundColor")
        red, green, blue = (int(part) for part in re.findall(r"\d+", colour)[:3])
        assert red > 150 > 100 > max(green, blue)
        served.heard.command(Request("stop-2", "", Action.STOP_ALL))
        page.page.click("#stop-all")
        page.until(lambda: len(served.source.stopped) == 2, "the second stop")
        served.heard.status(StatusEvent("stop-2", RequestState.SUCCEEDED, ErrorCode.NONE, "ended 0 request(s)"))
        page.until(lambda: "THE STOP" not in page.text("#banners"), "the alarm to end")
    page.says("#banners", "No connection to the console on the robot.")
    page.page.click("#stop-all")
    page.says("#banners", "THE STOP WAS NOT HEARD: there is no connection to the console on the robot.")


def test_what_is_asked_while_the_connection_closes_is_told_as_not_sent(page: ConsolePage) -> None:
    with active(page) as served:
        # As long as the other end has not confirmed that it is closed, it is this
        page.page.evaluate("Object.defineProperty(WebSocket.prototype, 'readyState', { get: () => WebSocket.CLOSING })")
        page.ask("the red box")
        page.says("#text-why", "There is no connection: the request was not sent.")
        page.page.click("#stop-all")
        page.says("#banners", "THE STOP WAS NOT HEARD: there is no connection to the console on the robot.")
    assert (served.source.asked, served.source.stopped) == ([], [])


def test_told_to_the_console_sends_what_was_understood_at_once(page: ConsolePage) -> None:
    settings = ConsoleSettings(port=0, send_speech=True)
    with active(page, Recognition(Listener()), settings=settings) as served:
        hold_to_talk(page)
        page.until(lambda: served.source.asked, "the request")
    assert served.source.asked[0].text == "the red box"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("127.0.0.1", "no model of speech is installed"),
        ("robot.test", "browsers give it only to pages that come by https"),
    ],
)
def test_a_microphone_that_is_off_says_why(page: ConsolePage, name: str, why: str) -> None:
    heard = NodeState()
    settings = ConsoleSettings(port=0, names=("robot.test",))
    missing = Recognition(None, "no model of speech is installed")
    with opened(heard, ActiveNode(heard), settings, missing) as where:
        page.open(where.url.replace("127.0.0.1", name))
        page.says("#talk-why", why)
        assert page.page.get_attribute("#talk", "aria-disabled") == "true"
        page.page.focus("#talk")
        page.page.keyboard.press("Enter")
        page.says("#talk-why", why)


def test_the_connection_is_lost_in_words_and_comes_back_by_itself(page: ConsolePage) -> None:
    with active(page) as served:
        port = int(served.url.rstrip("/").rpartition(":")[2])
    page.says("#banners", "No connection to the console on the robot. Trying again by itself.")
    page.ask("the red mug")
    page.says("#text-why", "There is no connection: the request was not sent.")
    assert page.page.input_value("#text") == "the red mug"
    with opened(served.heard, ActiveNode(served.heard), ConsoleSettings(port=port)):
        page.says("#node-state", "active")
        page.until(lambda: page.text("#banners") == "", "the banner to go")


def test_a_node_that_is_away_inactive_or_disabled_is_told_from_one_that_works(page: ConsolePage) -> None:
    heard = NodeState()
    with opened(heard, QuietSource(), LOCAL) as where:
        page.open(where.url)
        page.says("#banners", "The node /villa_node was not heard of yet.")

        def lifecycle(state: str, enabled: str = "True") -> None:
            heard.diagnosed([Line("lifecycle", "warn", state, {"state": state, "enabled": enabled})])

        lifecycle("inactive")
        page.says("#banners", "The node /villa_node is not active: inactive.")
        lifecycle("active", "False")
        page.says("#banners", "The node /villa_node is disabled")
        lifecycle("active")
        page.until(lambda: page.text("#banners") == "", "the banner to go")


def test_everything_can_be_done_from_the_keyboard_and_nothing_hides_on_a_phone(browser: Any) -> None:
    heard = NodeState()
    source = ActiveNode(heard)
    with opened(heard, source, LOCAL) as where:
        phone = ConsolePage(browser.new_page(viewport={"width": 360, "height": 740}))
        phone.open(where.url).says("#node-state", "active")
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert phone.page.evaluate(wide) == 0
        assert phone.page.locator("#stop-all").is_visible()
        phone.page.keyboard.press("/")
        phone.page.keyboard.type("the red mug")
        phone.page.keyboard.press("Shift+Enter")
        phone.page.keyboard.type("on the left")
        phone.page.keyboard.press("Enter")
        phone.until(lambda: source.asked, "the request")
        assert source.asked[0].text == "the red mug\non the left"
        reached = set()
        for _ in range(25):
            phone.page.keyboard.press("Tab")
            reached.add(phone.page.evaluate("document.activeElement.id"))
        assert {"stop-all", "masks", "text", "talk", "follow-up"} <= reached
        phone.page.focus("#stop-all")
        phone.page.keyboard.press("Enter")
        phone.until(lambda: source.stopped, "the stop")
        assert phone.errors == []
        phone.close()
