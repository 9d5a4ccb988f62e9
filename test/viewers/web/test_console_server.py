"""The console's web server, talked to as browsers do and as somebody who means no good would: real sockets, no page."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import stat
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from told import QuietSource, instance, picture, tracks

pytest.importorskip("starlette", reason="needs Starlette (pip: villa-ros[console])")
pytest.importorskip("uvicorn", reason="needs uvicorn (pip: villa-ros[console])")

from starlette.websockets import WebSocketState
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from villa_ros.pipeline.events import StatusEvent
from villa_ros.pipeline.request import Action, ErrorCode, Request, RequestState
from villa_ros.viewers.node_state import NodeState
from villa_ros.viewers.web import recognition
from villa_ros.viewers.web.access import Access, WrongTokens
from villa_ros.viewers.web.browser_session import MOST_BROWSERS, BrowserLink, Served
from villa_ros.viewers.web.certificate import self_signed
from villa_ros.viewers.web.recognition import Recognition, RecognitionError, find_recognition
from villa_ros.viewers.web.server import LARGEST_MESSAGE, ConsoleError, Opened, opened
from villa_ros.viewers.web.settings import ConsoleSettings

PATIENCE_S = 10.0
LOCAL = ConsoleSettings(port=0)
TOKEN = "correct horse battery"
SPOKEN = Recognition(lambda samples, rate_hz: (f"{samples.size} samples at {rate_hz}", 0.75))


class Page:
    """A page of ours, as the server sees it."""

    def __init__(self, link: ClientConnection) -> None:
        self.link = link
        self.said: list[dict[str, Any]] = []

    def send(self, **fields: Any) -> None:
        self.link.send(json.dumps(fields))

    def until(self, kind: str, fits: Callable[[dict[str, Any]], bool] = lambda fields: True) -> dict[str, Any]:
        """The next message of this kind that fits; pictures are of the kind "picture"."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            message = self.link.recv(timeout=PATIENCE_S)
            fields = header(message) if isinstance(message, bytes) else json.loads(message)
            self.said.append(fields)
            if fields["kind"] == kind and fits(fields):
                return fields
        raise AssertionError(f"no {kind} came; heard {[one['kind'] for one in self.said]}")

    def none_left(self, kind: str, wait_s: float = 0.6) -> bool:
        """Does no message of this kind come for so long?"""
        deadline = time.monotonic() + wait_s
        while (left_s := deadline - time.monotonic()) > 0:
            try:
                message = self.link.recv(timeout=left_s)
            except TimeoutError:
                return True
            if (header(message) if isinstance(message, bytes) else json.loads(message))["kind"] == kind:
                return False
        return True


def header(message: bytes) -> dict[str, Any]:
    length = int.from_bytes(message[:4], "little")
    return {**json.loads(message[4 : 4 + length]), "kind": "picture"}


@contextmanager
def page(where: Opened, token: str = "", **options: Any) -> Iterator[Page]:
    parts = urlsplit(where.url)
    scheme = "wss" if parts.scheme == "https" else "ws"
    with connect(f"{scheme}://{parts.netloc}/link", **options) as link:
        made = Page(link)
        with suppress(ConnectionClosed):  # by a server that does not want to hear it
            made.send(kind="hello", token=token)
        yield made


def closed_with(link: ClientConnection) -> tuple[int, str]:
    try:
        while True:
            link.recv(timeout=PATIENCE_S)
    except ConnectionClosed as ended:
        return (ended.rcvd.code, ended.rcvd.reason) if ended.rcvd else (1006, "")


def get(url: str, host: str = "", **options: Any) -> Any:
    """The answer, closed."""
    request = urllib.request.Request(url, headers={"Host": host} if host else {})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S, **options) as answer:
            return answer
    except urllib.error.HTTPError as refused:
        refused.close()
        raise


@pytest.fixture
def heard() -> NodeState:
    return NodeState()


@pytest.fixture
def source() -> QuietSource:
    return QuietSource()


@pytest.fixture
def served(heard: NodeState, source: QuietSource) -> Iterator[Opened]:
    heard.camera("camera", "/image")
    with opened(heard, source, LOCAL, SPOKEN) as where:
        yield where


@pytest.fixture
def browser(served: Opened) -> Iterator[Page]:
    with page(served) as made:
        made.until("welcome")
        yield made


def test_the_source_runs_while_the_console_is_open(heard: NodeState, source: QuietSource) -> None:
    with opened(heard, source, LOCAL) as where:
        assert source.running
        assert get(where.url).status == 200
    assert not source.running
    with pytest.raises(urllib.error.URLError):
        get(where.url)


def test_every_file_of_the_page_comes_with_a_policy_that_lets_nothing_else_in(served: Opened) -> None:
    for name in ("", "console.js", "console.css", "recorder.js"):
        answer = get(served.url + name)
        assert "default-src 'none'; script-src 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers.get("server") is None


def test_nothing_beside_the_page_is_served(served: Opened) -> None:
    for name in ("../server.py", "..%2fserver.py", "%2e%2e/server.py", "nothing.js"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(served.url + name)


def test_a_name_that_is_not_ours_is_not_answered(served: Opened) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        get(served.url, host="evil.example")
    assert refused.value.code == 421
    port = urlsplit(served.url).port
    assert get(served.url, host=f"localhost:{port}").status == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1", "http://[", "file://127.0.0.1"]
)
def test_pages_of_others_may_not_connect(served: Opened, origin: str) -> None:
    with pytest.raises(InvalidStatus, match="403"), page(served, origin=origin):
        pass


def test_our_own_page_may_connect(served: Opened) -> None:
    with page(served, origin=served.url.rstrip("/")) as made:
        assert made.until("welcome")["node"] == "/villa_node"


def test_a_websocket_for_another_name_is_refused(served: Opened) -> None:
    port = urlsplit(served.url).port
    with (
        socket.create_connection(("127.0.0.1", port)) as wire,
        pytest.raises(InvalidStatus, match="403"),
        connect(f"ws://evil.example:{port}/link", sock=wire, origin=f"http://evil.example:{port}"),
    ):
        pass


def test_on_loopback_no_token_is_needed_unless_one_is_given(heard: NodeState, source: QuietSource) -> None:
    with opened(heard, source, LOCAL) as where:
        assert (where.token, where.link) == ("", where.url)
    with opened(heard, source, replace(LOCAL, token=TOKEN)) as where, page(where) as made:
        assert closed_with(made.link) == (4401, "wrong token")


def test_elsewhere_a_token_is_made_and_nobody_comes_in_without_it(heard: NodeState, source: QuietSource) -> None:
    with opened(heard, source, replace(LOCAL, host="0.0.0.0")) as where:
        assert len(where.token) >= 20
        assert where.link.endswith(f"#token={where.token}")
        assert "without TLS" in where.warning
        here = replace(where, url=f"http://127.0.0.1:{urlsplit(where.url).port}/")
        for wrong in ("", where.token[:-1], where.token + "x", "ü" * 24):
            with page(here, wrong) as made:
                assert closed_with(made.link)[0] == 4401
        with page(here, where.token) as made:
            assert made.until("welcome")


def test_whoever_tries_many_tokens_is_not_compared_any_more(heard: NodeState, source: QuietSource) -> None:
    with opened(heard, source, replace(LOCAL, token=TOKEN)) as where:
        with page(where) as made:
            assert closed_with(made.link)[0] == 4401  # a page that opens without a token guesses nothing
        codes = []
        for number in range(10):
            with page(where, f"wrong {number}") as made:
                codes.append(closed_with(made.link)[0])
        assert codes == [4401] * 8 + [4429] * 2


def test_a_token_that_is_too_short_is_refused(heard: NodeState, source: QuietSource) -> None:
    with (
        pytest.raises(ConsoleError, match="5 characters; give at least 12"),
        opened(heard, source, replace(LOCAL, token="12345")),
    ):
        pass


def test_the_token_is_in_no_log(
    heard: NodeState, source: QuietSource, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    with opened(heard, source, replace(LOCAL, token=TOKEN)) as where:
        with page(where, TOKEN) as made:
            made.until("welcome")
        with page(where, "wrong " + TOKEN) as made:
            closed_with(made.link)
        get(where.url)
    told = capfd.readouterr()
    assert TOKEN not in told.out + told.err
    assert TOKEN not in "\n".join(
        record.getMessage() for record in caplog.records if not record.name.startswith("websockets.client")
    )


def test_a_picture_brings_the_masks_of_its_own_stamp(heard: NodeState, browser: Page) -> None:
    for index in range(3):
        heard.picture(picture(index))
    heard.tracks(tracks(1, instance()))
    browser.send(kind="watch", cameras=["camera"])
    seen = browser.until("picture")
    assert (seen["stamp"], seen["masks"], seen["mime"]) == (str(picture(1).stamp_ns), True, "image/jpeg")
    mask = instance().mask
    (told,) = seen["objects"]
    assert (told["name"], told["state"], told["score"]) == ("red box", "TRACKED", 0.9)
    assert told["box"] == [mask.x, mask.y, mask.box_width, mask.box_height]
    assert told["runs"] == mask.runs.size


def test_masks_that_contradict_themselves_or_the_picture_are_not_sent(heard: NodeState, browser: Page) -> None:
    good = instance().mask
    bad = {
        "too many pixels": replace(good, runs=np.array([0, 4_000_000_000], np.uint32)),
        "no box": replace(good, box_width=0),
        "outside": replace(good, x=good.width - 1),
        "huge": replace(good, height=60_000, width=60_000),
    }
    heard.picture(picture(0))
    given = [replace(instance(name, track_id=name), mask=mask) for name, mask in bad.items()]
    heard.tracks(tracks(0, instance("good"), *given))
    browser.send(kind="watch", cameras=["camera"])
    seen = browser.until("picture")["objects"]
    assert [(one["name"], one["area"] > 0) for one in seen] == [("good", True), *((name, False) for name in bad)]
    assert all(one["size"] == [good.width, good.height] for one in seen)


def test_a_slow_browser_gets_newer_pictures_and_no_queue(heard: NodeState, browser: Page) -> None:
    browser.send(kind="watch", cameras=["camera"])
    for index in range(40):
        heard.picture(picture(index))
        time.sleep(0.05)
    first, second = browser.until("picture"), browser.until("picture")
    assert browser.none_left("picture")
    browser.send(kind="shown", camera="camera")
    third = browser.until("picture")
    stamps = [int(seen["stamp"]) for seen in (first, second, third)]
    assert stamps[1] < picture(10).stamp_ns
    assert stamps[2] == picture(39).stamp_ns


def test_what_is_not_watched_is_not_sent(heard: NodeState, browser: Page) -> None:
    heard.picture(picture(0))
    assert browser.none_left("picture")
    browser.send(kind="watch", cameras=["camera", "no such camera"])
    assert browser.until("picture")["camera"] == "camera"
    browser.send(kind="watch", cameras=[])
    heard.picture(picture(1))
    assert browser.none_left("picture")


def test_a_request_is_handed_on_with_all_that_was_said(browser: Page, source: QuietSource) -> None:
    browser.send(kind="ask", number=7, text=" the red mug ", camera="camera", conversation="c", confidence=0.5)
    told = browser.until("accepted")
    (asked,) = source.asked
    assert (told["number"], told["request"]) == (7, asked.request_id)
    assert (asked.text, asked.camera, asked.conversation_id) == ("the red mug", "camera", "c")
    assert (asked.action, asked.confidence, asked.track) == (Action.SEGMENT, 0.5, True)
    browser.send(kind="ask", number=8, text="and the blue one", follow_up=True, confidence="very")
    browser.until("accepted")
    assert source.asked[1].action is Action.FOLLOW_UP
    assert np.isnan(source.asked[1].confidence)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x" * 10_000, "10,000 characters; at most 2,000"),
        ("ü" * 2_001, "2,001 characters"),
        ("  \n ", "Say what to look for"),
        ("half \ud800 a character", "characters that are none"),
        ("nul \0 byte", "characters that are none"),
    ],
)
def test_requests_that_cannot_be_are_refused_in_words(browser: Page, source: QuietSource, text: str, why: str) -> None:
    browser.send(kind="ask", number=1, text=text)
    assert why in browser.until("refused")["why"]
    assert source.asked == []


def test_a_question_of_the_speech_node_is_asked_and_answered(
    heard: NodeState, browser: Page, source: QuietSource
) -> None:
    heard.asks("speech-1", 'did you mean "the red mug"?')
    assert browser.until("question")["text"] == 'did you mean "the red mug"?'
    browser.send(kind="confirm", yes=True)
    heard.asks_no_more("speech-1")
    assert browser.until("question")["text"] == ""
    assert source.confirmed == [True]
    source.deaf = "nobody answers"
    browser.send(kind="confirm", yes=False)
    assert browser.until("refused")["why"] == "nobody answers"


def test_a_node_that_does_not_listen_is_told_of(browser: Page, source: QuietSource) -> None:
    source.deaf = "nobody listens on /villa_node/command"
    browser.send(kind="ask", number=1, text="the red mug")
    assert browser.until("refused")["why"] == source.deaf
    browser.send(kind="stop", request="")
    told = browser.until("stop")
    assert (told["heard"], told["why"]) == (False, source.deaf)


def test_a_stop_is_said_to_be_heard_once_the_node_tells_of_it(
    heard: NodeState, browser: Page, source: QuietSource
) -> None:
    heard.command(Request("stop-1", "", Action.STOP_ALL))
    browser.send(kind="stop", request="")
    heard.status(StatusEvent("stop-1", RequestState.SUCCEEDED, ErrorCode.NONE, "ended 0 request(s)"))
    assert browser.until("stop")["heard"]
    heard.command(Request("one", "the red mug"))
    browser.send(kind="stop", request="one")
    heard.status(StatusEvent("one", RequestState.CANCELED, ErrorCode.NONE, "stopped by a command"))
    assert browser.until("stop")["heard"]


def test_a_stop_that_the_node_never_answers_is_said_to_be_lost(browser: Page) -> None:
    browser.send(kind="ask", number=1, text="Stop!")
    told = browser.until("stop")
    assert not told["heard"]
    assert "/villa_node has not answered" in told["why"]


def test_a_flood_of_requests_is_held_back_and_a_stop_never(browser: Page, source: QuietSource) -> None:
    for number in range(30):
        browser.send(kind="ask", number=number, text="the red mug")
    browser.until("refused", lambda fields: "Too many requests" in fields["why"])
    browser.send(kind="ask", number=99, text="Stop!")
    browser.until("accepted", lambda fields: fields["number"] == 99)
    browser.send(kind="stop", request="one")
    browser.send(kind="ask", number=100, text="x" * 5000)
    browser.until("refused", lambda fields: fields["number"] == 100)
    assert len(source.asked) < 15
    assert source.stopped == ["", "one"]


@pytest.mark.parametrize(
    "message",
    [
        "no json",
        "[]",
        "{}",
        '{"kind": "dance"}',
        '{"kind": "ask", "text": 7}',
        '{"kind": "ask", "number": Infinity, "text": ""}',
        '{"kind": "ask", "number": 1e999, "text": ""}',
        "[" * 9000,
    ],
)
def test_what_no_page_of_ours_sends_ends_the_link(browser: Page, message: str) -> None:
    browser.link.send(message)
    assert closed_with(browser.link)[0] == 4400


@pytest.mark.parametrize("turns", range(6))
def test_a_link_ends_also_where_its_browser_goes_as_it_is_told_of_a_change(heard: NodeState, turns: int) -> None:
    """asyncio loses a cancellation that comes in the very turn in which what is waited for happens."""

    class Going:
        application_state = client_state = WebSocketState.CONNECTED
        client = None

        async def receive_text(self) -> str:
            return json.dumps({"kind": "hello", "token": TOKEN})

        async def receive(self) -> dict[str, str]:
            await asyncio.sleep(0.02)  # the sender rests by now
            heard.command(Request("one", "the red box", stamp_ns=1))
            for _ in range(turns):
                await asyncio.sleep(0)
            return {"type": "websocket.disconnect"}

        async def send_text(self, text: str) -> None:
            """Never fails: what a real one raises would end the sender in time."""

        send_bytes = send_text

    served = Served(
        heard, QuietSource(), Access(TOKEN, frozenset()), LOCAL, Recognition(None), WrongTokens(time.monotonic)
    )

    async def serve() -> None:
        link = asyncio.ensure_future(BrowserLink(Going(), served).run())  # type: ignore[arg-type]
        _, waiting = await asyncio.wait({link}, timeout=PATIENCE_S)
        assert not waiting

    asyncio.run(serve())


def test_a_message_that_is_too_large_ends_the_link(browser: Page) -> None:
    browser.link.send("x" * (LARGEST_MESSAGE + 1))
    assert closed_with(browser.link)[0] == 1009


def test_a_browser_too_many_is_told_so(served: Opened) -> None:
    with ExitStack() as stack:
        for _ in range(MOST_BROWSERS):
            stack.enter_context(page(served)).until("welcome")
        with page(served) as late:
            assert closed_with(late.link)[0] == 4503


def test_a_page_that_opens_late_is_told_all_requests_and_then_only_changes(heard: NodeState, served: Opened) -> None:
    heard.command(Request("one", "the red mug"))
    heard.status(StatusEvent("one", RequestState.TRACKING, ErrorCode.NONE, ""))
    heard.status(StatusEvent("two", RequestState.REJECTED, ErrorCode.BUSY, "full"))
    with page(served) as made:
        told = made.until("requests")
        assert told["whole"]
        assert {one["id"]: (one["state"], one["text"], one["error"]) for one in told["requests"]} == {
            "one": ("TRACKING", "the red mug", ""),
            "two": ("REJECTED", "", "BUSY"),
        }
        heard.status(StatusEvent("one", RequestState.CANCELED, ErrorCode.NONE, ""))
        told = made.until("requests")
        assert [(one["id"], one["final"]) for one in told["requests"]] == [("one", True)]
        assert not told["whole"]


def say(browser: Page, seconds: float, rate_hz: object = 16_000) -> None:
    browser.send(kind="talk", rate=rate_hz)
    samples = np.zeros(round(16_000 * seconds), "<i2")
    for start in range(0, samples.size, 4096):
        browser.link.send(samples[start : start + 4096].tobytes())
    browser.send(kind="talked")


def test_what_is_said_comes_back_as_words(browser: Page) -> None:
    say(browser, 0.5)
    told = browser.until("understood")
    assert (told["text"], told["confidence"], told["stop"]) == ("8000 samples at 16000", 0.75, False)


@pytest.mark.parametrize(
    ("seconds", "rate_hz", "why"),
    [(0.1, 16_000, "too short"), (31, 16_000, "more than 30 s"), (1, "fast", "sampling rate"), (1, 1, "sampling rate")],
)
def test_sound_that_cannot_be_understood_is_told_why(browser: Page, seconds: float, rate_hz: object, why: str) -> None:
    say(browser, seconds, rate_hz)
    assert why in browser.until("misunderstood")["why"]
    say(browser, 0.5)
    assert browser.until("understood")


def test_a_recogniser_that_fails_ends_nothing(heard: NodeState, source: QuietSource) -> None:
    def fail(samples: Any, rate_hz: int) -> tuple[str, float]:
        raise ValueError("a model with a hole")

    def silent(samples: Any, rate_hz: int) -> tuple[str, float]:
        raise RecognitionError("only noise")

    for recognise, why in ((fail, "ValueError: a model with a hole"), (silent, "only noise")):
        with opened(heard, source, LOCAL, Recognition(recognise)) as where, page(where) as made:
            say(made, 0.5)
            assert why in made.until("misunderstood")["why"]


def test_a_spoken_stop_is_told_from_a_request(heard: NodeState, source: QuietSource) -> None:
    with opened(heard, source, LOCAL, Recognition(lambda *_: ("Stop!", 0.9))) as where, page(where) as made:
        say(made, 0.5)
        assert made.until("understood")["stop"]


def test_without_speech_recognition_the_page_is_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recognition, "find_spec", lambda name: None)
    missing = find_recognition()
    assert missing.recognise is None
    assert missing.why == "speech recognition is not installed on the robot (ctranslate2 is missing)"


@pytest.mark.slow
def test_what_is_said_is_understood_by_the_robots_own_recogniser() -> None:
    pytest.importorskip("faster_whisper", reason="needs the packages of requirements/speech.txt")
    from villa_ros.speech import synthesis

    if not synthesis.installed():
        pytest.skip(f"needs espeak-ng: {synthesis.HOW_TO_INSTALL}")
    found = find_recognition()
    assert found.recognise is not None, found.why
    sound = synthesis.speak("Track the red mug.", synthesis.Voice("en-us", 150))
    text, confidence = found.recognise(np.repeat(sound, 3), 48_000)
    assert "red mug" in text.lower()
    assert 0 < confidence <= 1
    with pytest.raises(RecognitionError, match="nothing was said"):
        found.recognise(np.zeros(16_000, np.float32), 16_000)


def test_a_self_signed_certificate_serves_https_and_is_kept(
    heard: NodeState, source: QuietSource, tmp_path: Path
) -> None:
    pytest.importorskip("cryptography", reason="needs cryptography (pip: villa-ros[console])")
    settings = replace(LOCAL, self_signed=tmp_path / "tls", names=("robot.test",))
    with opened(heard, source, settings) as where:
        trusted = ssl.create_default_context(cafile=str(tmp_path / "tls" / "cert.pem"))
        assert get(where.url, context=trusted).status == 200
        assert where.url.startswith("https://")
        with page(where, ssl=trusted) as made:
            made.until("welcome")
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            get(where.url)
    assert stat.S_IMODE((tmp_path / "tls" / "key.pem").stat().st_mode) == 0o600
    again = self_signed(tmp_path / "tls", "127.0.0.1", ("robot.test",))
    assert again.fingerprint == where.fingerprint
    assert self_signed(tmp_path / "tls", "127.0.0.1", ("another.test",)).fingerprint != where.fingerprint


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (replace(LOCAL, tls_cert=Path("cert.pem")), "a certificate needs its key"),
        (replace(LOCAL, tls_cert=Path("no.pem"), tls_key=Path("no.pem")), "cannot serve with certificate no.pem"),
        (replace(LOCAL, host="192.0.2.1"), "cannot listen on 192.0.2.1:0"),
    ],
)
def test_what_cannot_be_served_is_told_in_words(
    heard: NodeState, source: QuietSource, settings: ConsoleSettings, why: str
) -> None:
    with pytest.raises(ConsoleError, match=why), opened(heard, source, settings):
        pass
    assert not source.running


def test_a_port_that_is_taken_is_told_of(heard: NodeState, source: QuietSource, served: Opened) -> None:
    port = urlsplit(served.url).port
    assert port is not None
    with (
        pytest.raises(ConsoleError, match=f"cannot listen on 127.0.0.1:{port}"),
        opened(heard, source, replace(LOCAL, port=port)),
    ):
        pass
