"""Plain values out of text that anybody may have written: JSON, YAML, and dataclasses made of them.

Such a file may be cut off, nested without end, of another program, or made to be costly. Everything here ends in a
`PlainDataError` that says what was seen and where; who calls adds the file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml
from yaml.nodes import CollectionNode, Node

Made = TypeVar("Made")
MOST_NODES = 200_000  # of a YAML file, with what its aliases stand for
_SHOWN = 300  # characters of a foreign text in a message


class PlainDataError(ValueError):
    """No such text, or other values than wanted."""


def from_json(text: str | bytes) -> Any:
    """JSON text or UTF-8 bytes -> values.

    Raises:
        PlainDataError: it is no JSON, is not UTF-8, or is nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise PlainDataError("it is nested too deeply: wanted what one of our commands wrote") from error
    except ValueError as error:
        raise PlainDataError(f"it is no JSON: {error}") from error


def read_json(path: Path) -> Any:
    """The values of a JSON file.

    Raises:
        PlainDataError: it cannot be read, or as `from_json`.
    """
    try:
        return from_json(path.read_bytes())
    except OSError as error:
        raise PlainDataError(str(error)) from error


def from_yaml(text: str) -> Any:
    """YAML text -> values. An alias stands for what it repeats, up to `MOST_NODES` values in all.

    Raises:
        PlainDataError: it is no YAML, is nested too deeply, repeats itself without end or too often.
    """
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            # Before anything is made of it: nine lines of nine aliases each stand for a thousand million values.
            if (nodes := _nodes(node)) > MOST_NODES:
                raise PlainDataError(f"its aliases stand for {nodes:,} values, wanted {MOST_NODES:,} or fewer")
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except RecursionError as error:
        raise PlainDataError("it is nested too deeply") from error
    except (yaml.YAMLError, ValueError, AttributeError, TypeError) as error:  # a date that is none, say
        if isinstance(error, PlainDataError):
            raise
        raise PlainDataError(f"it is no YAML: {shown(str(error))}") from error


def read_yaml(path: Path) -> Any:
    """The values of a YAML file.

    Raises:
        PlainDataError: it cannot be read, or as `from_yaml`.
    """
    try:
        return from_yaml(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise PlainDataError(str(error)) from error


def shaped(values: Any, kind: type[Made], *, exact: bool = False) -> Made:
    """Plain values -> a dataclass, with everything inside it, by its annotations; `exact`: no field may be unknown.

    Raises:
        PlainDataError: a field is missing or of another type; the message names the place and both types.
    """
    try:
        made = msgspec.convert(values, kind)
        if exact and (unknown := _unknown(values, msgspec.to_builtins(made))):
            raise PlainDataError(f"unknown field `{shown(unknown)}`")
        return made
    except msgspec.ValidationError as error:
        raise PlainDataError(str(error)) from error
    except RecursionError as error:
        raise PlainDataError("it is nested too deeply") from error
    except UnicodeEncodeError as error:
        raise PlainDataError(f"a text in it holds half a character: {error.reason}") from error


def is_there(path: Path) -> bool:
    """Is there a file? Also of a name that somebody else wrote, which may be none at all."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, or with a zero in it
        return False


def shown(text: str) -> str:
    """A foreign text for a message: its beginning, without what cannot be printed."""
    cut = text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ..."
    return cut.encode("utf-8", "backslashreplace").decode("utf-8")


def _unknown(values: Any, made: Any, place: str = "$") -> str:
    """The place of the first field that nothing was made of; empty: there is none."""
    if isinstance(values, dict) and isinstance(made, dict):
        pairs = [(f"{place}.{name}", name, value) for name, value in values.items()]
        if lost := [where for where, name, _ in pairs if name not in made]:
            return lost[0]
        inside = ((value, made[name], where) for where, name, value in pairs)
    elif isinstance(values, (list, tuple)) and isinstance(made, (list, tuple)):
        inside = ((one, other, f"{place}[{row}]") for row, (one, other) in enumerate(zip(values, made, strict=False)))
    else:
        return ""
    return next(filter(None, (_unknown(*one) for one in inside)), "")


def _nodes(root: Node) -> int:
    """How many values a document has once its aliases are written out."""
    counts: dict[int, int] = {}
    waiting = [(root, False)]
    open_nodes: set[int] = set()
    while waiting:
        node, done = waiting.pop()
        key = id(node)
        if done:
            open_nodes.discard(key)
            counts[key] = 1 + sum(counts[id(inner)] for inner in _inside(node))
        elif key not in counts:
            if key in open_nodes:
                raise PlainDataError("an alias in it stands for what it is part of")
            open_nodes.add(key)
            waiting.append((node, True))
            waiting += [(inner, False) for inner in _inside(node)]
    return counts[id(root)]


def _inside(node: Node) -> list[Node]:
    if not isinstance(node, CollectionNode):
        return []
    return [part for item in node.value for part in (item if isinstance(item, tuple) else (item,))]
