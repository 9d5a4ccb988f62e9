"""Files of wordings, read: YAML in which every block (`verbs: |`) has one sentence a line.

In a block, a line that begins with `#` is a comment, `3 x track` stands for three times the same sentence, and `<part>`
for every line of that part in turn. docs/tabletop_benchmark.md tells the whole form.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import NoReturn

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from villa.data.language.wordings.wording import FORMS, MAY_LACK, Forms, Groups, Sentences

# The same in C, where PyYAML was built with it.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SLOT = re.compile(r"\{([a-z]+)\}")
_PART = re.compile(r"<([^<>]*)>")
_TIMES = re.compile(r"(\d+) x (.*)")


class WordingsError(ValueError):
    """A file of wordings says something that no request can be made of."""


@dataclass(frozen=True)
class _Line:
    text: str
    number: int  # in the file, from 1 on


@cache
def read(name: str, *, whole: bool = True) -> Groups:
    """The groups of a file beside this module.

    Args:
        name: Of the file.
        whole: Does every group have to be there, with every key?

    Raises:
        WordingsError: the file breaks a rule; says in which line, what was wanted and what to do.
    """
    text = files("villa.data.language.wordings").joinpath(name).read_text("utf-8")
    return parse(text, name, whole=whole)


def parse(text: str, name: str, *, whole: bool = True) -> Groups:
    """The same for a text; `name` is for errors."""
    try:
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        said = getattr(error, "problem", None) or error
        raise WordingsError(
            f"{name}{where}: {said}; wanted `group: |` and one sentence a line below it, all indented alike"
        ) from error
    reader = _Reader(name, whole)
    if node is None:
        raise WordingsError(f"{name}: holds nothing, wanted groups of sentences such as `verbs: |`")
    groups = reader.mapping(node, "the file", (*FORMS, "parts"))
    reader.take_parts(groups.pop("parts", None))
    if whole:
        reader.no_lack(node, groups, FORMS, "the file")
    found = {key: reader.group(value, FORMS[key], key, key) for key, value in groups.items()}
    reader.no_idle_part()
    return found


def joined(*several: Groups) -> Groups:
    """Per group and key, the sentences of the first one and behind them those of the others."""
    found: dict[str, Groups | Sentences] = {}
    for key in dict.fromkeys(itertools.chain(*several)):
        values = [groups[key] for groups in several if key in groups]
        keyed = [value for value in values if isinstance(value, Mapping)]
        found[key] = joined(*keyed) if keyed else tuple(itertools.chain(*values))
    return found


class _Reader:
    """Reads one file; keeps its parts."""

    def __init__(self, name: str, whole: bool) -> None:
        self._name, self._whole = name, whole
        self._parts: dict[tuple[str, str | None], list[_Line]] = {}
        self._used: set[tuple[str, str | None]] = set()

    def _fail(self, line: int, message: str) -> NoReturn:
        raise WordingsError(f"{self._name}, line {line}: {message}")

    # -- what YAML holds -----------------------------------------------------------------------------------------------

    def mapping(self, node: Node, what: str, known: Iterable[str] | None) -> dict[str, Node]:
        """Key -> node, each key known and given once."""
        if not isinstance(node, MappingNode):
            self._fail(_line(node), f"{what} holds {_kind(node)}, wanted keys with blocks of sentences below them")
        found: dict[str, Node] = {}
        lines: dict[str, int] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, ScalarNode) else _kind(key)
            if known is not None and name not in known:
                wanted = ", ".join(known)
                self._fail(_line(key), f"{name!r} is no key of {what}, wanted one of {wanted}; correct or remove it")
            if name in found:
                self._fail(_line(key), f"{name!r} is there twice, first in line {lines[name]}; make it one block")
            found[name], lines[name] = value, _line(key)
        return found

    def no_lack(self, node: Node, given: Iterable[str], wanted: Iterable[str], what: str) -> None:
        """Every key is there that a whole wording has."""
        lacking = [key for key in wanted if key not in given and key not in MAY_LACK]
        if lacking:
            self._fail(_line(node), f"{what} lacks {', '.join(lacking)}; add a block of sentences for each")

    def _block(self, node: Node, what: str) -> list[_Line]:
        """The lines of a block, without comments."""
        if not isinstance(node, ScalarNode) or node.style != "|":
            self._fail(_line(node), f"{what} holds {_kind(node)}, wanted `|` and one sentence a line below it")
        lines = []
        for number, text in enumerate(node.value.split("\n"), node.start_mark.line + 2):
            text = text.strip()
            if text and not text.startswith("#"):
                if "#" in text:
                    self._fail(number, f"{text!r} in {what} holds a '#'; give the comment a line of its own")
                lines.append(_Line(text, number))
        if not lines:
            self._fail(_line(node), f"{what} holds no sentence; add one or remove the key")
        return lines

    # -- groups --------------------------------------------------------------------------------------------------------

    def group(self, node: Node, form: Forms | Sentences, what: str, key: str) -> Groups | Sentences:
        """The sentences of a group, or of each of its keys; `key` is the innermost one."""
        if isinstance(form, Mapping):
            given = self.mapping(node, what, form)
            if self._whole:
                self.no_lack(node, given, form, what)
            return {name: self.group(value, form[name], f"{what}: {name}", name) for name, value in given.items()}
        seen: dict[str, int] = {}
        found: list[str] = []
        for line, times in self._said(node, what, key):
            self._check_slots(line, form, what)
            if line.text in seen:
                first = seen[line.text]
                advice = f"remove one, or write `2 x {line.text}` for one that is to be said more often"
                self._fail(line.number, f"{line.text!r} in {what} is there already, from line {first}; {advice}")
            seen[line.text] = line.number
            found += [line.text] * times
        return tuple(found)

    def _check_slots(self, line: _Line, form: Sentences, what: str) -> None:
        slots = " ".join(sorted(set(_SLOT.findall(line.text))))
        if re.search(r"[{}]", _SLOT.sub("", line.text)):
            self._fail(line.number, f"{line.text!r} in {what} has a brace that belongs to no slot such as {{np}}")
        if slots not in form:
            wanted = " or ".join(_named(choice) for choice in form)
            self._fail(
                line.number, f"{line.text!r} in {what} holds {_named(slots)}, wanted {wanted}; change the sentence"
            )

    def _said(self, node: Node, what: str, key: str) -> Iterator[tuple[_Line, int]]:
        """All sentences of a block or of a list of blocks, parts put in, each with how often it is said."""
        for item in node.value if isinstance(node, SequenceNode) else (node,):
            if not isinstance(item, MappingNode):
                for line in self._block(item, what):
                    counted = _TIMES.fullmatch(line.text)
                    times, text = (int(counted[1]), counted[2]) if counted else (1, line.text)
                    if counted and times < 2:
                        self._fail(line.number, f"{line.text!r} in {what} is said {times} times, wanted 2 or more")
                    for said in self._filled(_Line(text, line.number), key, {}, ()):
                        yield _Line(said, line.number), times
                continue
            given = self.mapping(item, what, ("for each", "say"))
            if len(given) < 2:
                self._fail(_line(item), f"{what} has `for each` or `say` alone; add the other one")
            names = self._names(given["for each"], what)
            sentences = self._block(given["say"], what)
            number = _line(given["for each"])
            for words in itertools.product(*(self._words(name, key, {}, (), number) for name in names)):
                for sentence in sentences:
                    for said in self._filled(sentence, key, dict(zip(names, words, strict=True)), ()):
                        yield _Line(said, sentence.number), 1

    def _names(self, node: Node, what: str) -> list[str]:
        items = node.value if isinstance(node, SequenceNode) else [node]
        for item in items:
            if not isinstance(item, ScalarNode):
                self._fail(_line(item), f"`for each` in {what} holds {_kind(item)}, wanted names of parts")
        return [item.value for item in items]

    # -- parts ---------------------------------------------------------------------------------------------------------

    def take_parts(self, node: Node | None) -> None:
        """Keep the parts that sentences are put together from: one block, or one for each key of a group."""
        for name, value in self.mapping(node, "parts", None).items() if node else ():
            if isinstance(value, MappingNode):
                for key, block in self.mapping(value, f"part {name}", None).items():
                    self._parts[name, key] = self._block(block, f"part {name}: {key}")
            else:
                self._parts[name, None] = self._block(value, f"part {name}")

    def no_idle_part(self) -> None:
        """Every part is in some sentence."""
        for (name, key), lines in self._parts.items():
            if (name, key) not in self._used:
                what = name if key is None else f"{name}: {key}"
                self._fail(lines[0].number, f"no sentence holds part {what}; use it as <{name}>, or remove it")

    def _filled(self, line: _Line, key: str, bound: Mapping[str, str], inside: tuple[str, ...]) -> Iterator[str]:
        """The line with every choice of words for its parts, those of the last part in turn first."""
        found = _PART.search(line.text)
        if found is None:
            yield line.text
            return
        for word in self._words(found[1], key, bound, inside, line.number):
            text = f"{line.text[: found.start()]}{word}{line.text[found.end() :]}"
            yield from self._filled(_Line(text, line.number), key, bound, inside)

    def _words(
        self, name: str, key: str, bound: Mapping[str, str], inside: tuple[str, ...], number: int
    ) -> Iterator[str]:
        """What a part stands for in the sentences of this key."""
        if name in bound:
            yield bound[name]
            return
        at = (name, key) if (name, key) in self._parts else (name, None)
        if at not in self._parts:
            keyed = [other for part, other in self._parts if part == name and other]
            wanted = f"a list for {key!r} beside {', '.join(keyed)}" if keyed else ", ".join(self._part_names())
            self._fail(number, f"there is no part <{name}> for {key!r}, wanted {wanted}; correct the name or add it")
        if name in inside:
            self._fail(number, f"part <{name}> holds itself, by way of <{'>, <'.join(inside)}>; take it out of one")
        self._used.add(at)
        for line in self._parts[at]:
            yield from self._filled(line, key, bound, (*inside, name))

    def _part_names(self) -> list[str]:
        return list(dict.fromkeys(f"<{name}>" for name, _ in self._parts)) or ["none, as the file has no parts"]


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1


def _kind(node: Node) -> str:
    if isinstance(node, ScalarNode):
        return "a block" if node.style == "|" else repr(node.value) if node.value else "nothing"
    return "a list" if isinstance(node, SequenceNode) else "keys"


def _named(slots: str) -> str:
    return " and ".join(f"{{{slot}}}" for slot in slots.split()) or "no slot"
