"""What the messages of a bag are made of: by the definitions that it stores, else by those of this package."""

from __future__ import annotations

from typing import Any

from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from villa_ros.bags.storage import Channel
from villa_ros.bags.typestore import villa_typestore

_RULE = "=" * 80 + "\n"  # between the definitions of one text


class DefinitionError(RuntimeError):
    """A message type whose definition is missing or makes no sense; the message goes on from "holds TYPE, "."""


class Definitions:
    """Types by what one bag says of them. Each definition is read when a message of it is wanted."""

    def __init__(self) -> None:
        self._stores: dict[tuple[str, str], Typestore] = {}

    def of(self, channel: Channel) -> Typestore:
        """Where messages of this channel are defined.

        Raises:
            DefinitionError: nowhere, otherwise than they were recorded, or in words that cannot be read.
        """
        if channel.definition is None:
            store = villa_typestore()
            if channel.type not in store.fielddefs:
                raise DefinitionError(
                    "which neither the bag nor villa_ros defines; "
                    "record to MCAP, which stores definitions, or leave the topic out"
                )
            return store
        key = (channel.type, channel.definition[1])
        if key not in self._stores:
            self._stores[key] = _store(channel)
        return self._stores[key]


def _store(channel: Channel) -> Typestore:
    assert channel.definition is not None
    form, text = channel.definition
    store = get_typestore(Stores.EMPTY)
    try:
        if form == "ros2msg":
            types = get_types_from_msg(text, channel.type)
        else:
            types = {}
            for part in text.split(_RULE)[1:] if text.startswith(f"{_RULE}IDL: ") else [f"\n{text}"]:
                types.update(get_types_from_idl(part.partition("\n")[2]))
        store.register(types)
        hashed = store.hash_rihs01(channel.type) if channel.digest else ""
    except Exception as error:  # its grammar raises what it meets
        seen = " ".join(str(error).split()) or type(error).__name__
        raise DefinitionError(f"whose definition in the bag cannot be read ({seen}): leave the topic out") from error
    if hashed != channel.digest:
        raise DefinitionError(
            f"which the bag defines otherwise than it was recorded (hash mismatch {hashed} != {channel.digest}): "
            "a wrong schema; record again from a workspace with one version of the message"
        )
    _check_fields(store)
    return store


def _check_fields(store: Typestore) -> None:
    """Has each type that villa_ros reads, too, the fields that it reads?

    Raises:
        DefinitionError: one is missing, or is something else.
    """
    ours = villa_typestore().fielddefs
    for name, (_, fields) in store.fielddefs.items():
        if name not in ours:
            continue
        stored = {field: _form(kind) for field, kind in fields}
        for field, kind in ours[name][1]:
            if stored.get(field) != _form(kind):
                seen = "without" if field not in stored else "with another"
                raise DefinitionError(
                    f"which the bag defines {seen} {field!r} in {name}: it was recorded with another version of that "
                    "message; record it again, or leave the topic out"
                )


def _form(kind: Any) -> tuple[Any, ...]:
    """What a value of a field is like: a text, a number, a message of a type, or several of one of them."""
    node, about = kind
    if node == Nodetype.NAME:
        return ("message", about)
    if node == Nodetype.BASE:
        return ("text" if about[0] in ("string", "wstring") else "number",)
    return ("several", *_form(about[0]))
