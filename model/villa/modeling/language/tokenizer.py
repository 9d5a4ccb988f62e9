"""The text side of the language model: any byte-pair tokenizer with `[SEG]` and `[FRM]`, and the chat around a video.

Byte-pair ids are ordered by merge, so the first N ids with the merges that make them are themselves a complete
tokenizer: rarer words only split into more pieces. The small default is such a cut.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import AddedToken, Tokenizer

# As phones and word processors write them.
_TYPEWRITER = str.maketrans(
    {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-", "\u2026": "..."}
)
SEG = "[SEG]"
FRM = "[FRM]"
_LAST_ID = 4_000_000  # ten times the largest vocabulary that is published


class TokenizerError(ValueError):
    """It is no tokenizer, or lacks the tokens that the model needs."""


class RequestError(ValueError):
    """A request is too long for the model."""


@dataclass(frozen=True)
class ChatFormat:
    """The words that a language model was taught to expect around frames, requests and answers.

    `frame_before` may hold {seconds} and {number}. Pieces are turned into tokens one by one, as special tokens between
    them would have it.
    """

    start: str = ""  # in front of everything
    user: str = "<|im_start|>user\n"
    frame_before: str = ""
    frame_after: str = ""
    video_after: str = "\n"
    words_before: str = " "  # in front of a request's own words
    assistant: str = "<|im_end|>\n<|im_start|>assistant\n"
    answer_after: str = "<|im_end|>\n"
    end: str = "<|im_end|>"  # the token that ends an answer


SMALL_CHAT = ChatFormat()


def plain_text(text: str) -> str:
    """The same words as a typewriter has them: one space between two, no control characters, no typographic quotes."""
    text = unicodedata.normalize("NFKC", text.translate(_TYPEWRITER))
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def cut(serialized: str, vocabulary: int) -> str:
    """Tokenizer JSON -> the same cut to its first `vocabulary` ids, with `[SEG]` and `[FRM]` behind them."""
    data: dict[str, Any] = json.loads(serialized)
    model = data["model"]
    kept = {token: index for token, index in model["vocab"].items() if index < vocabulary}
    model["vocab"] = kept
    merges = [m if isinstance(m, list) else m.split(" ") for m in model["merges"]]
    model["merges"] = [pair for pair in merges if "".join(pair) in kept]
    for index, token in enumerate((SEG, FRM)):
        data["added_tokens"].append(
            {
                "id": vocabulary + index,
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
        )
    return json.dumps(data)


def _read(serialized: str) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_str(serialized)
    except Exception as error:  # the library raises nothing more special
        raise TokenizerError(f"this is no tokenizer: {error}") from error
    last = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
    if last > _LAST_ID:  # written again, it would be counted through from 0
        raise TokenizerError(f"a token of the tokenizer has the id {last:,}, wanted one up to {_LAST_ID:,}")
    return tokenizer


def with_tokens(serialized: str) -> tuple[str, tuple[str, ...]]:
    """Tokenizer JSON -> the same with `[SEG]` and `[FRM]`, and which of the two were added.

    Raises:
        TokenizerError: it is no tokenizer.
    """
    tokenizer = _read(serialized)
    missing = tuple(token for token in (SEG, FRM) if tokenizer.token_to_id(token) is None)
    if missing:
        tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in missing])
    return str(tokenizer.to_str()), missing


@dataclass(frozen=True)
class Prompt:
    """A request about a video: `video` ids, then `tail` ids; the answer follows.

    In `video`, places of visual tokens hold the codec's `visual_id`. `request` are the positions in `tail` of the
    request's own words, which the ContextSynthesizer may enrich; `tracks` those of earlier `[SEG]`, in order.
    """

    video: tuple[int, ...]
    tail: tuple[int, ...]
    request: tuple[int, int]  # [start, stop) in tail
    tracks: tuple[int, ...] = ()


class TextCodec:
    """Text <-> ids, with the chat format of the language model.

    Raises:
        TokenizerError: the tokenizer lacks `[SEG]`, `[FRM]`, or the token that ends an answer.
    """

    visual_id = -1  # stands for a visual token in a prompt

    def __init__(self, serialized: str, chat: ChatFormat = SMALL_CHAT) -> None:
        self.serialized = serialized
        self.chat = chat
        self._tokenizer = _read(serialized)
        self.seg_id = self.id_of(SEG)
        self.frm_id = self.id_of(FRM)
        self.end_id = self.id_of(chat.end)
        added = self._tokenizer.get_added_tokens_decoder().values()
        self._control = sorted({token.content for token in added if token.special}, key=len, reverse=True)

    def id_of(self, token: str) -> int:
        """Id of one token.

        Raises:
            TokenizerError: there is none.
        """
        index = self._tokenizer.token_to_id(token)
        if index is None:
            raise TokenizerError(f"the tokenizer has no token {token!r}: it was not made for this model")
        return int(index)

    def __len__(self) -> int:
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    def plain(self, text: str) -> list[int]:
        """Text -> ids; special tokens in it count as such."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids) if text else []

    def request_ids(self, text: str) -> list[int]:
        """A user's words -> ids; written special tokens are text, not control.

        What is not printed (new lines, control characters) parts words, and typographic signs are plain ones.
        """
        for token in self._control:
            text = text.replace(token, " ")
        return self.plain(self.chat.words_before + plain_text(text))

    def prompt(
        self, request: str, history: Sequence[tuple[str, str]], times_s: Sequence[float], visual: int, limit: int
    ) -> Prompt:
        """Request, earlier (request, answer) pairs, frame times, visual tokens a frame -> the ids to read.

        `times_s` are seconds before the newest frame, oldest first. In earlier answers `[SEG]` stays where it was
        written: what stands there instead is the model's business.

        Raises:
            RequestError: the request has more than `limit` tokens.
        """
        words = self.request_ids(request)
        if len(words) > limit:
            raise RequestError(f"the request has {len(words)} tokens, at most {limit} are read: say it in fewer words")
        tail: list[int] = []
        tracks: list[int] = []
        for asked, answered in history:
            tail += self.request_ids(asked)[:limit] + self.plain(self.chat.assistant)
            answer = self.plain(answered)
            tracks += [len(tail) + at for at, token in enumerate(answer) if token == self.seg_id]
            tail += answer + self.plain(self.chat.answer_after) + self.plain(self.chat.user)
        start = len(tail)
        tail += words
        return Prompt(
            video=self._video(times_s, visual),
            tail=(*tail, *self.plain(self.chat.assistant)),
            request=(start, start + len(words)),
            tracks=tuple(tracks),
        )

    def _video(self, times_s: Sequence[float], visual: int) -> tuple[int, ...]:
        chat = self.chat
        ids = self.plain(chat.start) + self.plain(chat.user)
        oldest = max(times_s, default=0.0)
        for number, age in enumerate(times_s, 1):
            before = chat.frame_before.replace("{seconds}", f"{oldest - age:.1f}").replace("{number}", str(number))
            ids += [*self.plain(before), *([self.visual_id] * visual), *self.plain(chat.frame_after)]
        return (*ids, *self.plain(chat.video_after))

    def answer_ids(self, text: str) -> list[int]:
        """An answer that may hold `[SEG]` -> ids with the end token."""
        return [*self.plain(text), self.end_id]

    def decode(self, ids: Sequence[int]) -> str:
        """Ids -> text, special tokens kept."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))
