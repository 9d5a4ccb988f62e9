"""One browser's websocket: what it is sent, and what it may ask for.

It is sent the newest of everything and no queue: a picture goes out when the ones before it have been drawn, and states
go out as they are then. So a slow browser, or a slow network, gets fewer pictures and no older ones.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.websockets import WebSocketDisconnect, WebSocketState

from villa_ros.conversions.images import BadImage
from villa_ros.pipeline.request import Action, Request
from villa_ros.pipeline.stop_words import is_stop
from villa_ros.runtime.token_bucket import TokenBucket
from villa_ros.viewers.picture import PictureError
from villa_ros.viewers.source import NotSentError
from villa_ros.viewers.web import protocol
from villa_ros.viewers.web.recognition import LONGEST_S, RecognitionError, Utterance

if TYPE_CHECKING:
    from starlette.websockets import WebSocket

    from villa_ros.viewers.node_state import NodeState
    from villa_ros.viewers.source import Source
    from villa_ros.viewers.web.access import Access, WrongTokens
    from villa_ros.viewers.web.door import Door
    from villa_ros.viewers.web.recognition import Recognition
    from villa_ros.viewers.web.settings import ConsoleSettings

# Why a connection is closed; the page knows these numbers.
BAD_MESSAGE, WRONG_TOKEN, NO_HELLO, TOO_MANY_TRIES, FULL = 4400, 4401, 4408, 4429, 4503

MOST_BROWSERS = 16
_MOST_STRANGERS, _MOST_STRANGERS_OF_ADDRESS = 64, 16
_MOST_UTTERANCES = 2  # of a browser: one that is being understood, and one that waits
_HELLO_S = 5.0
_WRONG_TOKEN_S = 0.5  # a wrong token is answered late
_IN_FLIGHT = 2  # pictures of a camera on their way to a browser: one is drawn while the next one travels
_LEAST_GAP_S = 1 / 31  # between two pictures of a camera
_LONGEST_REST_S = 0.2  # masks that come no more, and a node that went away, are noticed after so long
_HEALTH_PERIOD_S = 1.0
_MESSAGES_HZ, _MESSAGES_BURST = 400.0, 800  # of a browser: acknowledgements of pictures and pieces of sound
_REQUESTS_HZ, _REQUESTS_BURST = 2.0, 8
_LONGEST_ID = 128
_STOP_HEARD_S = 1.0  # a stop that the node has not answered by then did not reach it
_STOP_LOOK_S = 0.05


@dataclass
class Served:
    """What all browsers share."""

    heard: NodeState
    source: Source
    access: Access
    settings: ConsoleSettings
    recognition: Recognition
    wrong_tokens: WrongTokens
    browsers: int = 0
    strangers: dict[BrowserLink, str] = field(default_factory=dict)  # who have not said the token yet -> address
    door: Door | None = None
    recognising: asyncio.Lock = field(default_factory=asyncio.Lock)  # one utterance at a time: it takes a core
    request_ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    nonce: str = ""
    load: Callable[[], dict[str, float]] = dict  # of this process, for people


class _BadMessageError(ValueError):
    """A page of ours does not send this."""


class BrowserLink:
    """Serves one websocket that has been accepted, until it ends."""

    def __init__(self, socket: WebSocket, served: Served) -> None:
        self._socket = socket
        self._served = served
        self._wake = asyncio.Event()
        self._sending = asyncio.Lock()
        self._shown: tuple[str, ...] = ()  # cameras that the browser wants to see
        self._masks = True
        self._in_flight: dict[str, int] = {}
        self._sent_key: dict[str, tuple[int, int]] = {}
        self._sent_s: dict[str, float] = {}
        self._messages = TokenBucket(_MESSAGES_BURST)
        self._requests = TokenBucket(_REQUESTS_BURST)
        self._utterance: Utterance | None = None
        self._understanding = 0  # utterances
        self._ending = False
        self._tasks: set[asyncio.Task[None]] = set()  # what takes longer than to take a message

    async def run(self) -> None:
        """Greet, then send and receive until the browser goes."""
        served, client = self._served, self._socket.client
        address = client.host if client else ""
        await self._make_room(address)
        served.strangers[self] = address
        try:
            greeted = await self._greeted(address)
        finally:
            served.strangers.pop(self, None)
        if greeted:
            if served.door is not None and client is not None:
                served.door.keep((client.host, client.port))
            served.browsers += 1
            try:
                await self._serve()
            finally:
                served.browsers -= 1

    async def _make_room(self, address: str) -> None:
        """Who has stood here the longest without the token goes: silence must not keep anybody out."""
        strangers = self._served.strangers
        of_address = [one for one, where in strangers.items() if where == address]
        if len(of_address) >= _MOST_STRANGERS_OF_ADDRESS:
            oldest = of_address[0]
        elif len(strangers) >= _MOST_STRANGERS:
            oldest = next(iter(strangers))
        else:
            return
        strangers.pop(oldest, None)
        await oldest._close(FULL, "too many connections")

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()

        def changed() -> None:
            with suppress(RuntimeError):  # the loop is closed: told of a change while the server ended
                loop.call_soon_threadsafe(self._wake.set)

        end = self._served.heard.listen(changed)
        sender = asyncio.ensure_future(self._send_all())
        receiver = asyncio.ensure_future(self._receive_all())
        try:
            done, _ = await asyncio.wait({sender, receiver}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                error = task.exception()
                if isinstance(error, _BadMessageError):
                    await self._close(BAD_MESSAGE, str(error))
                elif error is not None and not isinstance(error, WebSocketDisconnect) and self._connected:
                    raise error  # what sending to a browser that has gone raises is nobody's fault
        finally:
            end()
            # Until Python 3.12, wait_for may swallow a cancellation that comes together with what it waits for
            self._ending = True
            for other in (sender, receiver, *self._tasks):
                other.cancel()
            await asyncio.gather(sender, receiver, *self._tasks, return_exceptions=True)

    async def _greeted(self, address: str) -> bool:
        """Has the browser said the token?"""
        tries = self._served.wrong_tokens
        try:
            hello = _parsed(await asyncio.wait_for(self._socket.receive_text(), _HELLO_S))
        except (asyncio.TimeoutError, KeyError, _BadMessageError):
            await self._close(NO_HELLO, "no greeting came")
            return False
        except WebSocketDisconnect:
            return False
        # One after the other, whatever comes at once: nothing is waited for between this look and the count below.
        if tries.blocked(address):
            await self._close(TOO_MANY_TRIES, "too many wrong tokens; wait a minute")
            return False
        token = hello.get("token", "")
        if hello.get("kind") != "hello" or not self._served.access.accepts(token):
            if token:  # none is what a page that opens without one says, and no guess
                tries.wrong(address)
            await asyncio.sleep(_WRONG_TOKEN_S)
            await self._close(WRONG_TOKEN, "wrong token")
            return False
        served = self._served
        if served.browsers >= MOST_BROWSERS:
            await self._close(FULL, f"{MOST_BROWSERS} browsers are connected already")
            return False
        await self._send(
            protocol.note_message(
                "welcome",
                node=served.source.name,
                repeats=served.source.repeats,
                microphone={"on": served.recognition.recognise is not None, "why": served.recognition.why},
                longest_speech_s=LONGEST_S,
                send_speech=served.settings.send_speech,
                max_text=served.settings.max_text,
            )
        )
        return True

    @property
    def _connected(self) -> bool:
        states = (self._socket.application_state, self._socket.client_state)
        return states == (WebSocketState.CONNECTED, WebSocketState.CONNECTED)

    async def _close(self, code: int, reason: str) -> None:
        if self._connected:
            await self._socket.close(code, reason)

    async def _send(self, message: str | bytes) -> None:
        async with self._sending:
            await (self._socket.send_text(message) if isinstance(message, str) else self._socket.send_bytes(message))

    # -- to the browser ---

    async def _send_all(self) -> None:
        heard = self._served.heard
        revision, whole, health_s = 0, True, -math.inf
        question = None
        while not self._ending:
            self._wake.clear()
            revision, changed = heard.requests(revision)
            if changed or whole:
                await self._send(protocol.requests_message(changed, heard.now_s(), whole=whole))
                whole = False
            if heard.question != question:
                question = heard.question
                await self._send(protocol.note_message("question", text=question.text if question else ""))
            if time.monotonic() - health_s >= _HEALTH_PERIOD_S:
                health_s = time.monotonic()
                load = {**self._served.load(), "browsers": self._served.browsers}
                await self._send(protocol.health_message(heard.health(), self._served.source.name, load))
            rest_s = _LONGEST_REST_S
            for camera in self._shown:
                rest_s = min(rest_s, await self._send_picture(camera))
            try:
                await asyncio.wait_for(self._wake.wait(), rest_s)
            except asyncio.TimeoutError:
                continue

    async def _send_picture(self, camera: str) -> float:
        """Send what a camera shows now, if the browser is ready for it; returns when to look again, s."""
        gap_s = self._sent_s.get(camera, -math.inf) + _LEAST_GAP_S - time.monotonic()
        if gap_s > 0:
            return gap_s
        if self._in_flight.get(camera, 0) >= _IN_FLIGHT:
            return _LONGEST_REST_S
        view = self._served.heard.view(camera, masks=self._masks)
        if view is None or view.key == self._sent_key.get(camera):
            return _LONGEST_REST_S
        self._sent_key[camera] = view.key
        try:
            message = await asyncio.to_thread(protocol.picture_message, view)
        except (BadImage, PictureError) as error:
            self._served.heard.bad_picture(camera, str(error))
            return _LEAST_GAP_S
        self._sent_s[camera] = time.monotonic()
        self._in_flight[camera] = self._in_flight.get(camera, 0) + 1
        await self._send(message)
        return _LEAST_GAP_S

    # -- from the browser ---

    async def _receive_all(self) -> None:
        kinds: dict[str, Callable[[dict[str, Any]], Awaitable[None]]] = {
            "watch": self._on_watch,
            "shown": self._on_shown,
            "ask": self._on_ask,
            "stop": self._on_stop,
            "confirm": self._on_confirm,
            "again": self._on_again,
            "talk": self._on_talk,
            "talked": self._on_talked,
            "hush": self._on_hush,
        }
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if not self._messages.take(_MESSAGES_HZ):
                raise _BadMessageError("too many messages")
            if message.get("bytes") is not None:
                await self._on_sound(message["bytes"])
                continue
            fields = _parsed(message.get("text") or "")
            take = kinds.get(str(fields.get("kind")))
            if take is None:
                raise _BadMessageError("a message of no known kind")
            await take(fields)

    async def _on_watch(self, fields: dict[str, Any]) -> None:
        known, wanted = self._served.heard.cameras, fields.get("cameras")
        if not isinstance(wanted, list):
            raise _BadMessageError("watch without cameras")
        self._shown = tuple(camera for camera in known if camera in wanted)
        self._masks = fields.get("masks") is not False
        # What was not drawn while a camera was hidden is not waited for, and what it showed is sent anew.
        self._in_flight = {camera: count for camera, count in self._in_flight.items() if camera in self._shown}
        self._sent_key.clear()
        self._wake.set()

    async def _on_shown(self, fields: dict[str, Any]) -> None:
        camera = _string(fields, "camera")
        if self._in_flight.get(camera, 0) > 0:
            self._in_flight[camera] -= 1
        self._wake.set()

    async def _on_ask(self, fields: dict[str, Any]) -> None:
        number = fields.get("number")
        if not isinstance(number, int | None):
            raise _BadMessageError("number is no whole number")
        text = _string(fields, "text")
        if why := self._wrong_with(text, fields):
            await self._send(protocol.note_message("refused", number=number, why=why))
            return
        request = Request(
            f"console-{self._served.nonce}-{next(self._served.request_ids)}",
            text.strip(),
            Action.FOLLOW_UP if fields.get("follow_up") is True else Action.SEGMENT,
            camera=_string(fields, "camera"),
            conversation_id=_string(fields, "conversation")[:_LONGEST_ID],
            confidence=_share(fields.get("confidence")),
            track=fields.get("track") is not False,
        )
        if is_stop(text):
            await self._send(protocol.note_message("accepted", number=number, request=""))
            await self._stop("")
            return
        try:
            self._served.source.ask(request)
        except NotSentError as error:
            await self._send(protocol.note_message("refused", number=number, why=str(error)))
            return
        await self._send(protocol.note_message("accepted", number=number, request=request.request_id))

    def _wrong_with(self, text: str, fields: dict[str, Any]) -> str:
        """Why a request is not handed on; empty where nothing speaks against it."""
        longest, camera = self._served.settings.max_text, _string(fields, "camera")
        if not text.strip():
            return "Say what to look for, for instance: the red mug."
        if len(text) > longest:
            return f"The request has {len(text):,} characters; at most {longest:,} are taken. Shorten it."
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            return "The request holds characters that are none. Type it anew."
        if camera and camera not in self._served.heard.cameras:
            return f"There is no camera {camera[:_LONGEST_ID]!r}."
        if not is_stop(text) and not self._requests.take(_REQUESTS_HZ):
            return "Too many requests at once. Wait a moment."
        return ""

    async def _on_stop(self, fields: dict[str, Any]) -> None:
        await self._stop(_string(fields, "request")[:_LONGEST_ID])

    async def _stop(self, request_id: str) -> None:
        try:
            stop_id = self._served.source.stop(request_id)
        except NotSentError as error:
            await self._send(protocol.note_message("stop", request=request_id, heard=False, why=str(error)))
            return
        self._begin(self._hear_stop(stop_id, request_id))

    async def _hear_stop(self, stop_id: str, request_id: str) -> None:
        """Whoever stops something must know when it goes on."""
        until_s = time.monotonic() + _STOP_HEARD_S
        while not self._served.heard.stopped(stop_id):
            if time.monotonic() > until_s:
                why = f"{self._served.source.name} has not answered it within {_STOP_HEARD_S:g} s"
                await self._send(protocol.note_message("stop", request=request_id, heard=False, why=why))
                return
            await asyncio.sleep(_STOP_LOOK_S)
        await self._send(protocol.note_message("stop", request=request_id, heard=True, why=""))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _on_confirm(self, fields: dict[str, Any]) -> None:
        try:
            self._served.source.confirm(yes=fields.get("yes") is True)
        except NotSentError as error:
            await self._send(protocol.note_message("refused", number=None, why=str(error)))

    async def _on_again(self, fields: dict[str, Any]) -> None:
        self._served.source.again()

    async def _on_talk(self, fields: dict[str, Any]) -> None:
        if self._served.recognition.recognise is None:
            await self._misunderstood(self._served.recognition.why)
            return
        try:
            self._utterance = Utterance(fields.get("rate"))
        except RecognitionError as error:
            await self._misunderstood(str(error))

    async def _on_sound(self, piece: bytes) -> None:
        if self._utterance is None:
            return  # it was refused, and the page did not know yet
        try:
            self._utterance.add(piece)
        except RecognitionError as error:
            self._utterance = None
            await self._misunderstood(str(error))

    async def _on_hush(self, fields: dict[str, Any]) -> None:
        self._utterance = None

    async def _on_talked(self, fields: dict[str, Any]) -> None:
        utterance, self._utterance = self._utterance, None
        if utterance is None:
            return
        if self._understanding >= _MOST_UTTERANCES:
            await self._misunderstood("what was said before is not understood yet: wait a moment")
            return
        self._understanding += 1
        self._begin(self._understand(utterance))

    async def _understand(self, utterance: Utterance) -> None:
        try:
            await self._understood(utterance)
        finally:
            self._understanding -= 1

    async def _understood(self, utterance: Utterance) -> None:
        recognise = self._served.recognition.recognise
        assert recognise is not None
        try:
            samples = utterance.samples()
            async with self._served.recognising:
                text, confidence = await asyncio.to_thread(recognise, samples, utterance.rate_hz)
        except RecognitionError as error:
            await self._misunderstood(str(error))
            return
        except Exception as error:  # a recogniser of somebody else's; it must not end the link
            await self._misunderstood(f"speech recognition failed: {type(error).__name__}: {error}")
            return
        text = text[: self._served.settings.max_text].strip()
        if not text:
            await self._misunderstood("nothing was understood")
            return
        share = _share(confidence)
        told = None if math.isnan(share) else round(share, 3)
        # A spoken stop is not held back for a confirmation.
        await self._send(protocol.note_message("understood", text=text, confidence=told, stop=is_stop(text)))

    async def _misunderstood(self, why: str) -> None:
        await self._send(protocol.note_message("misunderstood", why=why))


def _parsed(text: str) -> dict[str, Any]:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _BadMessageError("a message that is no JSON") from error
    if not isinstance(fields, dict):
        raise _BadMessageError("a message that is no object")
    return fields


def _string(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name, "")
    if not isinstance(value, str):
        raise _BadMessageError(f"{name} is no text")
    return value


def _share(value: object) -> float:
    """A number in 0..1 as it is; anything else is NaN, "not known"."""
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1
    return float(value) if known else math.nan  # type: ignore[arg-type]
