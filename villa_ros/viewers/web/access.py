"""Who may use the console: which host names it answers to, which pages may talk to it, and who knows its token."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

SHORTEST_TOKEN = 12  # characters
_WRONG_TOKENS = 8  # of one address ...
_WRONG_WINDOW_S = 60.0  # ... in this time; then nothing of it is compared any more
_MOST_ADDRESSES = 1024


class AccessError(ValueError):
    """The console cannot be opened to others like this."""


@dataclass(frozen=True)
class Access:
    """`token`: empty where none is asked for. `hosts`: the names, in lower case, that the console answers to.

    Addresses in figures are always answered to: only a name can be pointed at somebody else's machine (DNS rebinding).
    """

    token: str
    hosts: frozenset[str]

    def knows_host(self, header: str) -> bool:
        """Is the Host header one of ours?"""
        name = _host_name(header)
        return name is not None and (name in self.hosts or is_address(name))

    def knows_origin(self, origin: str | None, host: str) -> bool:
        """May the page of this Origin talk to us, who were called by this Host header? Only our own may.

        Programs that are no browser send no Origin and can send any, so they are let through; the token is for them.
        """
        if origin is None:
            return True
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()

    def accepts(self, token: object) -> bool:
        """Is this the token? Takes as long for a wrong one as for the right one."""
        if not self.token:
            return True
        return isinstance(token, str) and hmac.compare_digest(token.encode(), self.token.encode())


def access_for(host: str, token: str, names: Iterable[str] = ()) -> Access:
    """Who may use a console bound to `host`: beyond this machine only with a token, made here where none is given.

    Raises:
        AccessError: a token that is too short.
    """
    if token and len(token) < SHORTEST_TOKEN:
        raise AccessError(
            f"the token has {len(token)} characters; give at least {SHORTEST_TOKEN}, or none: one is made"
        )
    local = is_loopback(host)
    own = {"localhost", *(name.lower() for name in names)}
    if not local:
        machine = socket.gethostname().lower()
        own |= {machine, f"{machine}.local"}
    if host not in ("", "0.0.0.0", "::"):
        own.add(host.lower())
    return Access(token or ("" if local else secrets.token_urlsafe(18)), frozenset(own))


def is_loopback(host: str) -> bool:
    """Can only this machine reach a server bound to `host`?"""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class WrongTokens:
    """Counts wrong tokens by address, so that nobody tries many. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._tries: OrderedDict[str, tuple[float, int]] = OrderedDict()  # address -> since when, how many

    def blocked(self, address: str) -> bool:
        """Has this address tried too often of late?"""
        since_s, count = self._tries.get(address, (0.0, 0))
        return count >= _WRONG_TOKENS and self._clock() - since_s < _WRONG_WINDOW_S

    def wrong(self, address: str) -> None:
        """This address gave a wrong token."""
        since_s, count = self._tries.pop(address, (self._clock(), 0))
        if self._clock() - since_s >= _WRONG_WINDOW_S:
            since_s, count = self._clock(), 0
        self._tries[address] = (since_s, count + 1)
        if len(self._tries) > _MOST_ADDRESSES:
            self._tries.popitem(last=False)


def _host_name(header: str) -> str | None:
    """The name in a Host header, without the port; None where it is no Host header."""
    try:
        parts = urlsplit(f"//{header}")
        _ = parts.port  # raises where it is no number
    except ValueError:
        return None
    return None if parts.path or parts.query or parts.username is not None else parts.hostname


def is_address(name: str) -> bool:
    """Is this an IP address in figures?"""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
