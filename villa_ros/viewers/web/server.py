"""The console's web server: the page, and a websocket for each browser.

Starlette and uvicorn rather than a framework that also draws the page: the page has to draw masks on pictures at the
camera's rate and to hold back what a slow browser cannot take, which is a websocket and a canvas and nothing else.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from villa_ros.runtime.model_loading import memory_mb
from villa_ros.viewers.web.access import AccessError, WrongTokens, access_for, is_loopback
from villa_ros.viewers.web.certificate import CertificateError, self_signed
from villa_ros.viewers.web.door import Door, FewLines
from villa_ros.viewers.web.recognition import Recognition, find_recognition

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send
    from starlette.websockets import WebSocket

    from villa_ros.viewers.node_state import NodeState
    from villa_ros.viewers.source import Source
    from villa_ros.viewers.web.access import Access
    from villa_ros.viewers.web.browser_session import Served
    from villa_ros.viewers.web.settings import ConsoleSettings

LARGEST_MESSAGE = 128 * 1024  # bytes, from a browser
_START_S = 15.0
_STOP_S = 5.0
_PING_S = 5.0
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "worker-src 'self'; manifest-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "permissions-policy": "microphone=(self), camera=(), geolocation=()",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}


class ConsoleError(RuntimeError):
    """The console cannot be served."""


@dataclass(frozen=True)
class Opened:
    """Where a console is. `link` holds the token and is for whoever may use it, never for a log."""

    url: str
    token: str
    fingerprint: str  # of a self-signed certificate; empty: there is none
    warning: str  # what is unsafe about it, or why the microphone will be off elsewhere; empty: nothing

    @property
    def link(self) -> str:
        """The address with the token behind #, where browsers keep it to themselves."""
        return f"{self.url}#token={quote(self.token, safe='')}" if self.token else self.url


@contextmanager
def opened(
    heard: NodeState, source: Source, settings: ConsoleSettings, recognition: Recognition | None = None
) -> Iterator[Opened]:
    """Start the source and serve it from a thread until the block ends.

    Raises:
        ConsoleError: Starlette or uvicorn is not installed, the address cannot be bound, or the token, certificate or
            key will not do.
    """
    try:
        import uvicorn
    except ImportError as error:
        raise ConsoleError(f"the console needs {error.name}; pip install 'villa-ros[console]'") from error
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise ConsoleError("a certificate needs its key and a key its certificate: give --tls-cert and --tls-key")
    try:
        access = access_for(settings.host, settings.token, settings.names)
        made = None
        if settings.self_signed is not None and settings.tls_cert is None:
            made = self_signed(settings.self_signed, settings.host, settings.names)
    except (AccessError, CertificateError) as error:
        raise ConsoleError(str(error)) from error
    cert = made.cert if made else settings.tls_cert
    key = made.key if made else settings.tls_key
    app = _App(heard, source, access, settings, recognition or find_recognition())
    config = uvicorn.Config(
        app.guarded,
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        loop="asyncio",  # uvloop would accept past `Door`
        ws_max_size=LARGEST_MESSAGE,
        ws_ping_interval=_PING_S,
        ws_ping_timeout=2 * _PING_S,
        ws_per_message_deflate=False,  # pictures do not get smaller
        timeout_graceful_shutdown=1,
        ssl_certfile=cert,
        ssl_keyfile=key,
    )
    try:
        config.load()
    except (OSError, ValueError) as error:  # ssl tells of a bad certificate by OSError
        raise ConsoleError(f"cannot serve with certificate {cert} and key {key}: {error}") from error
    listening = Door(_bound(settings))
    app.served.door = listening
    server = uvicorn.Server(config)
    lines = FewLines()
    loggers = [logging.getLogger(name) for name in ("uvicorn.error", "asyncio")]
    for logger in loggers:
        logger.addFilter(lines)
    thread = threading.Thread(target=server.run, args=([listening],), name="console-server", daemon=True)
    source.start()
    try:
        thread.start()
        _wait_until_started(server, thread)
        scheme = "https" if cert else "http"
        url = f"{scheme}://{_shown_host(settings.host)}:{listening.getsockname()[1]}/"
        yield Opened(url, access.token, made.fingerprint if made else "", _warning(settings, secure=bool(cert)))
    finally:
        server.should_exit = True
        if thread.ident is not None:
            thread.join(_STOP_S)
        listening.close()
        for logger in loggers:
            logger.removeFilter(lines)
        source.close()


class _App:
    """The routes, and what every answer bears."""

    def __init__(
        self, heard: NodeState, source: Source, access: Access, settings: ConsoleSettings, recognition: Recognition
    ) -> None:
        from starlette.applications import Starlette
        from starlette.routing import Mount, WebSocketRoute
        from starlette.staticfiles import StaticFiles

        from villa_ros.viewers.web.browser_session import Served

        self.served: Served = Served(
            heard,
            source,
            access,
            settings,
            recognition,
            WrongTokens(time.monotonic),
            nonce=secrets.token_hex(4),
            load=_Load().values,
        )
        page = StaticFiles(packages=[("villa_ros.viewers.web", "page")], html=True)
        self._app = Starlette(routes=[WebSocketRoute("/link", self._on_link), Mount("/", page)])

    async def _on_link(self, websocket: WebSocket) -> None:
        from villa_ros.viewers.web.browser_session import BrowserLink

        await websocket.accept()
        await BrowserLink(websocket, self.served).run()

    @property
    def guarded(self) -> ASGIApp:
        """The application, behind the checks of Host and Origin."""

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            headers = {name: value.decode("latin-1") for name, value in scope.get("headers", ())}
            host = headers.get(b"host", "")
            access = self.served.access
            if scope["type"] == "websocket" and not (
                access.knows_host(host) and access.knows_origin(headers.get(b"origin"), host)
            ):
                await send({"type": "websocket.close", "code": 1008})  # before accepting: the browser gets a 403
                return
            if scope["type"] == "http" and not access.knows_host(host):
                await _refuse(send, f"this console does not answer to the name {host[:100]!r}: see --allow-host\n")
                return

            async def send_guarded(message: Message) -> None:
                if message["type"] == "http.response.start":
                    added = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                    message = {**message, "headers": [*message.get("headers", ()), *added]}
                await send(message)

            await self._app(scope, receive, send_guarded)

        return app


async def _refuse(send: Send, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"x-content-type-options", b"nosniff")]
    await send({"type": "http.response.start", "status": 421, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


class _Load:
    """What this process costs, between two looks that are at least a second apart."""

    def __init__(self) -> None:
        self._at_s, self._cpu_s = time.monotonic(), _cpu_s()
        self._percent = 0.0

    def values(self) -> dict[str, float]:
        """CPU in percent of one core, memory in MB."""
        now_s = time.monotonic()
        if now_s - self._at_s >= 1.0:
            cpu_s = _cpu_s()
            self._percent = 100 * (cpu_s - self._cpu_s) / (now_s - self._at_s)
            self._at_s, self._cpu_s = now_s, cpu_s
        return {"cpu_percent": round(self._percent, 1), "memory_mb": round(memory_mb("").get("resident", 0.0), 1)}


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system


def _bound(settings: ConsoleSettings) -> socket.socket:
    """A listening socket.

    Raises:
        ConsoleError: the address is no address of this machine, or somebody listens there.
    """
    where = f"{settings.host}:{settings.port}"
    try:
        family, _, _, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address[:2], family=family)
    except (OSError, OverflowError) as error:
        raise ConsoleError(f"cannot listen on {where} ({error}); choose another --host or --port") from error


def _wait_until_started(server: object, thread: threading.Thread) -> None:
    deadline = time.monotonic() + _START_S
    while not getattr(server, "started", False):
        if not thread.is_alive() or time.monotonic() > deadline:
            raise ConsoleError("the web server did not start; its log says why")
        time.sleep(0.01)


def _shown_host(host: str) -> str:
    if host in ("", "0.0.0.0", "::"):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def _warning(settings: ConsoleSettings, *, secure: bool) -> str:
    if secure or is_loopback(settings.host):
        return ""
    return (
        "without TLS everybody on the network can read pictures and token, and browsers elsewhere refuse the "
        "microphone: see --tls-cert and --tls-self-signed"
    )
