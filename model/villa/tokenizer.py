"""The text side of the language model: a byte-pair tokenizer cut to its first merges, plus `[SEG]` and `[FRM]`.

Byte-pair ids are ordered by merge, so the first N ids with the merges that make them are themselves a complete
tokenizer: rarer words only split into more pieces.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer

SEG = "[SEG]"
FRM = "[FRM]"
_START, _END = "<|im_start|>", "<|im_end|>"


class TokenizerError(ValueError):
    """A tokenizer lacks the tokens that the model needs."""


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


@dataclass(frozen=True)
class PromptIds:
    """A request around the video: `head`, then the visual tokens, then `tail`; the answer follows.

    `request` are the positions in `tail` of the request's own words, which the ContextSynthesizer may enrich.
    """

    head: tuple[int, ...]
    tail: tuple[int, ...]
    request: tuple[int, int]  # [start, stop) in tail


class TextCodec:
    """Text <-> ids, with the chat format of the source model."""

    def __init__(self, serialized: str) -> None:
        self.serialized = serialized
        self._tokenizer = Tokenizer.from_str(serialized)
        self.seg_id = self._id(SEG)
        self.frm_id = self._id(FRM)
        self.end_id = self._id(_END)
        self._start_id = self._id(_START)
        self._user = tuple(self._plain("user\n"))
        self._assistant = tuple(self._plain("assistant\n"))
        self._newline = tuple(self._plain("\n"))

    def _id(self, token: str) -> int:
        index = self._tokenizer.token_to_id(token)
        if index is None:
            raise TokenizerError(f"the tokenizer has no token {token!r}: it was not made for this model")
        return int(index)

    def __len__(self) -> int:
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    def _plain(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def request_ids(self, text: str, limit: int) -> list[int]:
        """A user's words -> at most `limit` ids; written special tokens are text, not control."""
        for token in (SEG, FRM, _START, _END, "<|endoftext|>"):
            text = text.replace(token, " ")
        return self._plain(" " + text.strip())[:limit]

    def prompt(self, request: str, history: str, limit: int) -> PromptIds:
        """Request (and earlier turns as text) -> the ids around the video."""
        words = self.request_ids(request, limit)
        before = [*self._newline, *self.request_ids(history, limit)] if history else list(self._newline)
        after = [self.end_id, *self._newline, self._start_id, *self._assistant]
        return PromptIds(
            head=(self._start_id, *self._user),
            tail=(*before, *words, *after),
            request=(len(before), len(before) + len(words)),
        )

    def answer_ids(self, text: str) -> list[int]:
        """An answer that may hold `[SEG]` -> ids with the end token."""
        return [*self._plain(text), self.end_id]

    def decode(self, ids: list[int]) -> str:
        """Ids -> text, special tokens kept."""
        return str(self._tokenizer.decode(ids, skip_special_tokens=False))
