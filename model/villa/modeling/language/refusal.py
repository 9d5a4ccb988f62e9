"""A refusal names what was asked for: "There is no ..." goes on in the words of the request, and in no others.

A small language model knows few nouns well. Left alone it says "There is no spoon" of a fork that is not there, and the
operator does not know whether it was understood.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from villa.modeling.language.plurals import singulars
from villa.modeling.language.tokenizer import TextCodec

_BEGINS = "There is no"
_ENDS = "."
_SPECIAL = re.compile(r"<\|[^|]*\|>|\[(?:SEG|FRM)\]")
_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")
_PART = re.compile(r"[^\W_]+")
# Of a request with one of these it cannot be told which of its words are what is asked for: "what would I cut with?"
_OPEN = frozenset({"what", "what's", "whats", "which", "who", "something", "anything", "whatever", "nothing"})
_ANY = frozenset({"thing", "item", "object"})
# What stands between the words of a request where they are said again: "no mug left of the book that was lifted".
_BETWEEN = frozenset({
    "the", "left", "right", "of", "behind", "in", "front", "next", "to", "between", "and", "that", "fell", "moved",
    "was", "lifted", "pushed", "by", "arm",
})  # fmt: skip
# Words of requests, and of the chat around them, that are no part of what is asked for.
_NEVER = frozenset({
    "a", "an", "any", "some", "all", "this", "these", "those", "my", "your", "our", "is", "are", "there", "i", "me",
    "you", "we", "it", "no", "not", "please", "user", "assistant",
})  # fmt: skip
_MOST_WORDS = 16

Ids = tuple[int, ...]


class Refusal:
    """Which tokens may come next in an answer, if it is a refusal of what was asked.

    `asked` are the words of the request and of what it follows up on.
    """

    def __init__(self, codec: TextCodec, asked: str) -> None:
        asked = _SPECIAL.sub(" ", asked)
        said = {*_WORD.findall(asked), *_PART.findall(asked)}
        own = {form for word in said for form in (word, word.lower(), *singulars(word.lower()))}
        own = {word for word in own if word.lower() not in _BETWEEN | _NEVER}
        own = set() if any(word.lower() in _OPEN for word in said) else own and own | _ANY
        self._begins = tuple(codec.plain(_BEGINS))
        self._ends = codec.plain(_ENDS)[0]
        self._own = _tokens(codec, own)
        self._between = _tokens(codec, _BETWEEN)

    def allowed(self, ids: Sequence[int]) -> list[int] | None:
        """The tokens that may follow these of an answer; None: any."""
        start = len(self._begins)
        if not self._own or tuple(ids[:start]) != self._begins or self._ends in ids[start:]:
            return None
        # What may have been said so far: whole words, and the beginning of the one that is under way.
        ways: set[tuple[int, Ids]] = {(0, ())}
        for token in ids[start:]:
            ways = {way for one in ways for way in self._read(one, token)}
        following = {word[len(part)] for count, part in ways for word in self._words(count) if _longer(word, part)}
        if any(count and not part for count, part in ways):
            following.add(self._ends)
        return sorted(following) or None

    def _read(self, way: tuple[int, Ids], token: int) -> Iterable[tuple[int, Ids]]:
        count, part = way
        longer = (*part, token)
        if any(word[: len(longer)] == longer for word in self._words(count)):
            yield count, longer
            if longer in self._words(count):
                yield count + 1, ()

    def _words(self, count: int) -> frozenset[Ids]:
        """What may be said as word number `count`: first one of the request's own, at last nothing."""
        if count >= _MOST_WORDS:
            return frozenset()
        return self._own | self._between if count else self._own


def _longer(word: Ids, part: Ids) -> bool:
    return len(word) > len(part) and word[: len(part)] == part


def _tokens(codec: TextCodec, words: Iterable[str]) -> frozenset[Ids]:
    return frozenset(tuple(codec.plain(f" {word}")) for word in words)
