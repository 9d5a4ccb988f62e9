"""Damaged inputs, each made of a seed and its number alone: bytes, texts, and structures as JSON and YAML hold them."""

from __future__ import annotations

import copy
import json
import math
import random
import struct
from collections.abc import Callable, Sequence
from typing import Any

NASTY_NUMBERS = (
    0, -1, 1, 2, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**63 - 1, -(2**63), 10**30, 0.0,
    -0.0, 0.5, 1e-300, 1e300, math.nan, math.inf, -math.inf,
)  # fmt: skip
NASTY_TEXTS = (
    "", " ", "\0", "a" * 5000, "\ud800", "\udcff\udc00", "\u202e", "\u200b" * 50, "🛑" * 200,
    "e\u0301" * 300, "\ufdfa" * 50, "../../etc/passwd", "/", "~", "%s%n", "${x}", "null", "NaN", "-1", "1e999",
    "\r\n", "[SEG]",
    "<|im_end|>", "{}", "ß", "İ", "\ufeff", "stop", "the red mug",
)  # fmt: skip
NASTY_VALUES: tuple[Any, ...] = (*NASTY_NUMBERS, *NASTY_TEXTS, None, True, False, [], {}, [[]], {"": None}, [None] * 9)
_NASTY_BYTES = (b"\0", b"\xff", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\xff" * 8)
_MOST_CUTS = 6


def generator(attacker: str, seed: int, number: int) -> random.Random:
    """The chance of one input, and of no other."""
    return random.Random(f"{attacker}/{seed}/{number}")


def damaged(data: bytes, rng: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """The bytes with one to six wounds: bits, bytes, numbers in both orders, holes, repetitions, another's part."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, _MOST_CUTS))):
        if not out:
            return bytes(rng.choice(_NASTY_BYTES))
        at = rng.randrange(len(out))
        kind = rng.randrange(9)
        if kind == 0:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at] = rng.randrange(256)
        elif kind == 2:
            nasty = rng.choice(_NASTY_BYTES)
            out[at : at + len(nasty)] = nasty
        elif kind == 3:
            packed = struct.pack(
                rng.choice(("<I", ">I")), rng.choice((0, 1, len(out), 2**31, 2**32 - 1, rng.randrange(2**32)))
            )
            out[at : at + 4] = packed
        elif kind == 4:
            del out[at : at + rng.choice((1, 2, 4, 16, 200))]
        elif kind == 5:
            out[at:at] = rng.choice(_NASTY_BYTES)
        elif kind == 6:
            end = min(len(out), at + rng.choice((4, 16, 200)))
            out[at:at] = out[at:end] * rng.choice((1, 2, 9))
        elif kind == 7:
            del out[at:]
        elif others:
            other = rng.choice(others)
            begin = rng.randrange(len(other) or 1)
            out[at : at + 32] = other[begin : begin + 32]
    return bytes(out)


def garbled(text: str, rng: random.Random) -> str:
    """The text with nasty pieces put in, parts taken out or repeated."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(text) + 1)
        kind = rng.randrange(5)
        if kind == 0:
            text = text[:at] + rng.choice(NASTY_TEXTS) + text[at:]
        elif kind == 1:
            text = text[:at] + text[at + rng.choice((1, 3, 20)) :]
        elif kind == 2:
            text = (
                text[:at]
                + chr(rng.choice((rng.randrange(0xD800), rng.randrange(0xE000, 0x110000), rng.randrange(32))))
                + text[at:]
            )
        elif kind == 3:
            text = text[:at] + text[max(0, at - 40) : at] * rng.choice((1, 5, 60)) + text[at:]
        else:
            text = rng.choice(NASTY_TEXTS)
    return text


def twisted(value: Any, rng: random.Random) -> Any:
    """A structure with one to four places changed: other values, keys lost, doubled or misnamed, lists cut, nesting."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        places = list(_places(value))
        if not places:
            return _nasty(rng)
        holder, key = rng.choice(places)
        kind = rng.randrange(8)
        if kind <= 2:
            holder[key] = _nasty(rng)
        elif kind == 3:
            del holder[key]
        elif kind == 4:
            holder[key] = _near(holder[key], rng)
        elif kind == 5:
            holder[key] = [holder[key]] if rng.random() < 0.5 else {"x": holder[key]}
        elif kind == 6 and isinstance(holder, dict):
            holder[rng.choice((f"{key}x", "", "0", "path", "type"))] = holder.pop(key)
        elif isinstance(holder, list):
            holder[key:key] = copy.deepcopy(holder[key : key + 1]) * rng.choice((1, 3, 40))
        else:
            other, other_key = rng.choice(places)
            holder[key] = copy.deepcopy(other[other_key]) if other is not holder[key] else None
    return value


def _nasty(rng: random.Random) -> Any:
    """A copy: the next turn may change what is inside, for good and for every later input."""
    return copy.deepcopy(rng.choice(NASTY_VALUES))


def _near(value: Any, rng: random.Random) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return (
            value * rng.choice((-1, 2, 1000, 10**6, 10**9)) if rng.random() < 0.7 else value + rng.choice((-1, 1, 0.5))
        )
    if isinstance(value, str):
        return garbled(value, rng)
    return _nasty(rng)


def _places(value: Any) -> Any:
    """(holder, key) of everything that is inside; holders that stand at several places once."""
    waiting, seen = [value], set()
    while waiting:
        holder = waiting.pop()
        if id(holder) in seen:
            continue
        seen.add(id(holder))
        pairs = (
            list(holder.items())
            if isinstance(holder, dict)
            else list(enumerate(holder))
            if isinstance(holder, list)
            else []
        )
        for key, inner in pairs:
            yield holder, key
            waiting.append(inner)


def json_of(rng: random.Random, value: Any) -> bytes:
    """A twisted structure as JSON; now and then the text itself is damaged, or nested without end."""
    chance = rng.random()
    if chance < 0.02:
        return b"[" * 20_000
    if chance < 0.04:
        return b'{"a":' * 20_000
    text = json.dumps(twisted(value, rng), allow_nan=True)
    data = text.encode("utf-8", "surrogatepass")
    return damaged(data, rng) if chance < 0.2 else data


Attack = Callable[[bytes], str]
