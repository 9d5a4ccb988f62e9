"""How a console is served."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ConsoleSettings:
    """What the command line says.

    Attributes:
        host: Address to bind; beyond loopback a token is needed, and made where none is given.
        port: 0: any that is free.
        token: Asked of browsers; empty: none on loopback, a made one elsewhere.
        tls_cert: PEM files of a certificate and its key; both or neither.
        tls_key: See `tls_cert`.
        self_signed: Folder of a certificate that the console signs itself; made where it is missing.
        names: Further host names that the console answers to.
        send_speech: What is understood is sent at once, without being confirmed.
        max_text: Longest request, characters; the node has its own limit, `max_command_chars`.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    token: str = ""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    self_signed: Path | None = None
    names: tuple[str, ...] = ()
    send_speech: bool = False
    max_text: int = 2000
