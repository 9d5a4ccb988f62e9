"""The console's listening socket: how many may stand in it at a time, and who goes first when it is full.

A web server holds every socket that was opened, also of those who never say a word, until the process has no file
handle left. Here the oldest ones of strangers are hung up on; whoever has said the token keeps the place.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections import Counter, OrderedDict
from typing import Any

from villa_ros.runtime.token_bucket import TokenBucket

MOST_OPEN = 192  # sockets in all; a process may usually hold 1,024 files
MOST_OF_ADDRESS = 64  # a page and its pictures take some six; several people may share an address
_LINES_HZ, _LINES_BURST = 1.0, 20

Caller = tuple[str, int]  # address and port


class Door(socket.socket):
    """Listens. Sockets that it accepts are counted until they are closed."""

    def __init__(self, listening: socket.socket) -> None:
        """Takes the place of a listening socket."""
        super().__init__(listening.family, listening.type, listening.proto, fileno=listening.detach())
        self._lock = threading.Lock()
        self._strangers: OrderedDict[Caller, _Guest] = OrderedDict()  # oldest first
        self._kept: dict[Caller, _Guest] = {}
        self.hung_up = 0

    def accept(self) -> tuple[socket.socket, Any]:
        """As a socket's; one too many costs the oldest stranger of its address, or of all, the connection."""
        plain, address = super().accept()
        guest = _Guest(plain, self, _caller(address))
        with self._lock:
            self._strangers[guest.caller] = guest
            of_address = [one for one in self._strangers.values() if one.caller[0] == guest.caller[0]]
            if len(of_address) > MOST_OF_ADDRESS:
                self._hang_up(of_address[0])
            elif len(self._strangers) > MOST_OPEN:
                self._hang_up(next(iter(self._strangers.values())))
        return guest, address

    def keep(self, caller: object) -> None:
        """Whoever calls from there has said the token."""
        with self._lock:
            guest = self._strangers.pop(_caller(caller), None)
            if guest is not None:
                self._kept[guest.caller] = guest

    def open_now(self) -> Counter[str]:
        """Sockets that are open, of strangers and of those who are known."""
        with self._lock:
            return Counter(strangers=len(self._strangers), known=len(self._kept))

    def left(self, caller: Caller) -> None:
        """This socket is closed."""
        with self._lock:
            self._strangers.pop(caller, None)
            self._kept.pop(caller, None)

    def _hang_up(self, guest: _Guest) -> None:
        self.hung_up += 1
        self._strangers.pop(guest.caller, None)
        with contextlib.suppress(OSError):
            guest.shutdown(socket.SHUT_RDWR)  # its owner sees the end, and closes it


class _Guest(socket.socket):
    """Somebody's connection."""

    def __init__(self, plain: socket.socket, door: Door, caller: Caller) -> None:
        super().__init__(plain.family, plain.type, plain.proto, fileno=plain.detach())
        self._door = door
        self.caller = caller

    def close(self) -> None:
        """As a socket's."""
        self._door.left(self.caller)
        super().close()


class FewLines(logging.Filter):
    """Lets a few lines a second of a logger through, and says how many it left out; anybody can cause them."""

    def __init__(self) -> None:
        super().__init__()
        self._bucket = TokenBucket(_LINES_BURST)
        self._left_out = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Is this line written?"""
        if not self._bucket.take(_LINES_HZ):
            self._left_out += 1
            return False
        if self._left_out:
            record.msg = f"{record.getMessage()} ({self._left_out} lines before it were left out)"
            record.args = ()
            self._left_out = 0
        return True


def _caller(address: object) -> Caller:
    """An address as sockets and servers give it -> address and port; of IPv6 without the rest."""
    if isinstance(address, (tuple, list)) and len(address) >= 2:
        return str(address[0]), int(address[1])
    return str(address), time.monotonic_ns()  # none of a network
