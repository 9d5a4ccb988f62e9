"""Many sockets, silent ones and guesses at once: nobody keeps out who has the token, and nothing grows."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from urllib.parse import urlsplit

import numpy as np
import pytest
from test_console_server import LOCAL, PATIENCE_S, Page, closed_with, get, page
from told import QuietSource
from websockets.sync.client import connect

from villa_ros.viewers.node_state import NodeState
from villa_ros.viewers.web.door import MOST_OF_ADDRESS, MOST_OPEN, Door, FewLines
from villa_ros.viewers.web.recognition import Recognition
from villa_ros.viewers.web.server import Opened, opened
from villa_ros.viewers.web.settings import ConsoleSettings

TOKEN = "correct horse battery"


@pytest.fixture
def served() -> Iterator[Opened]:
    heard = NodeState()
    heard.camera("camera", "/image")
    with opened(heard, QuietSource(), ConsoleSettings(port=0, token=TOKEN), Recognition(None, "none")) as where:
        yield where


def address(where: Opened) -> tuple[str, int]:
    parts = urlsplit(where.url)
    assert parts.hostname
    assert parts.port
    return parts.hostname, parts.port


def ended(one: socket.socket) -> bool:
    """Has the server hung up?"""
    one.settimeout(PATIENCE_S)
    try:
        return one.recv(1) == b""
    except ConnectionResetError:
        return True


def test_sockets_that_say_nothing_keep_nobody_out(served: Opened) -> None:
    with page(served, TOKEN) as operator, ExitStack() as stack:
        operator.until("welcome")
        silent = [stack.enter_context(socket.create_connection(address(served))) for _ in range(3 * MOST_OF_ADDRESS)]
        assert all(ended(one) for one in silent[:MOST_OF_ADDRESS])
        assert get(served.url).status == 200
        with page(served, TOKEN) as late:
            late.until("welcome")
        operator.send(kind="stop", request="")
        operator.until("stop")


def test_links_that_say_no_token_keep_nobody_out(served: Opened) -> None:
    with ExitStack() as stack:
        parts = urlsplit(served.url)
        silent = [stack.enter_context(connect(f"ws://{parts.netloc}/link")) for _ in range(20)]
        with page(served, TOKEN) as operator:
            operator.until("welcome")
        assert closed_with(silent[0])[0] == 4503


def test_guesses_at_once_are_counted_one_by_one(served: Opened) -> None:
    gate = threading.Barrier(14)

    def guess(row: int) -> int:
        parts = urlsplit(served.url)
        with connect(f"ws://{parts.netloc}/link") as link:
            made = Page(link)
            gate.wait(PATIENCE_S)
            made.send(kind="hello", token=f"guess {row}")
            return closed_with(link)[0]

    with ThreadPoolExecutor(14) as pool:
        codes = sorted(pool.map(guess, range(14)))
    assert codes == [4401] * 8 + [4429] * 6


def test_a_door_forgets_who_has_left() -> None:
    door = Door(socket.create_server(("127.0.0.1", 0)))
    with door, ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(socket.create_connection(door.getsockname()))
        guests = [door.accept()[0] for _ in range(5)]
        door.keep(guests[0].getpeername())
        assert door.open_now() == {"known": 1, "strangers": 4}
        for guest in guests:
            guest.close()
        assert not +door.open_now()
    assert MOST_OPEN > MOST_OF_ADDRESS


def test_a_few_lines_are_written_and_the_others_counted() -> None:
    lines = FewLines()

    def written(text: str) -> logging.LogRecord | None:
        record = logging.LogRecord("uvicorn.error", logging.WARNING, "", 0, text, (), None)
        return record if lines.filter(record) else None

    told = [written(f"line {row}") for row in range(500)]
    assert 1 <= sum(record is not None for record in told) <= 25
    lines._bucket._looked_s = None  # the bucket is full again
    last = written("after a while")
    assert last is not None
    assert "lines before it were left out" in last.getMessage()


def test_speech_that_comes_faster_than_it_is_understood_is_refused() -> None:
    gate = threading.Event()

    def slow(samples: object, rate_hz: int) -> tuple[str, float]:
        assert gate.wait(PATIENCE_S)
        return "the mug", 0.9

    heard = NodeState()
    heard.camera("camera", "/image")
    with opened(heard, QuietSource(), LOCAL, Recognition(slow)) as where, page(where) as browser:
        for _ in range(5):
            browser.send(kind="talk", rate=16_000)
            browser.link.send(np.zeros(8_000, "<i2").tobytes())
            browser.send(kind="talked")
        for _ in range(3):
            assert "wait a moment" in browser.until("misunderstood")["why"]
        gate.set()
        for _ in range(2):
            assert browser.until("understood")["text"] == "the mug"
