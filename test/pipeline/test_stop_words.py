"""What means "stop", however it is written, and what only speaks of it."""

from __future__ import annotations

import unicodedata

import pytest

from villa_ros.pipeline.command_validation import meaning
from villa_ros.pipeline.request import Action, Request
from villa_ros.pipeline.stop_words import STOP_WORDS_OF, is_stop


@pytest.mark.parametrize(
    "text",
    [
        "stop", "STOP!", " Stop. ", "stop stop stop", "para, para", "please stop", "Cancel that.", "halt", "never mind",
        "stop " * 26, "stop! " * 500, "st\u200bop", "sto\u00adp", "\ufeffstop", "\u202estop\u202c",
        "s\u0336t\u0336o\u0336p\u0336",
        "\uff33\uff34\uff2f\uff30", "Stoooop!!!", "stoppppp", "arrete", "ARRÊTE", "hoer auf", "hor auf", "stój",
        "stoj", "pará",
        "stop\nstop\tstop", "no, stop it now, please", "Hey robot: stop!", "stop the robot", "por favor, para",
        "s'il vous plaît, arrêtez-vous", "🛑", "🛑🛑", "stop 🛑", "E-STOP", "stop, halt, cancel",
        "Bitte sofort anhalten!",
    ],
)  # fmt: skip
def test_a_text_that_only_means_stop_stops(text: str) -> None:
    assert is_stop(text)
    assert meaning(Request("r", text)) == Action.STOP_ALL
    assert meaning(Request("r", text, Action.FOLLOW_UP)) == Action.STOP_ALL


@pytest.mark.parametrize("language", STOP_WORDS_OF)
def test_stop_is_understood_in_every_language_whatever_the_locale_says(language: str) -> None:
    for word in STOP_WORDS_OF[language]:
        assert is_stop(word)
        assert is_stop(f"{word.upper()}!")
        for form in ("NFD", "NFKD"):
            assert is_stop(unicodedata.normalize(form, word))
        assert meaning(Request("r", f" {word}. ", locale="en-GB")) == Action.STOP_ALL
        assert not is_stop(f"{word} mug")


@pytest.mark.parametrize(
    "text",
    [
        "the stop sign", "stop the car from falling", "don't stop", "do not stop", "", "  ", "bus stop", "stopper",
        "please", "now", "no", "hey robot", "please now", "the mug, please", "stop sign", "stop " * 30 + "sign",
        "the red mug", "\u200b", "🙂", "stop the mug from falling", "the halt button", "alto saxophone", "paragraph",
    ],
)  # fmt: skip
def test_a_text_that_only_mentions_stop_is_a_request(text: str) -> None:
    assert not is_stop(text)
    assert meaning(Request("r", text)) == Action.SEGMENT


def test_a_text_without_end_is_not_looked_at_for_long() -> None:
    assert not is_stop("\ufdfa " * 9_000)  # each becomes four words of 18 letters
    assert not is_stop("stop " * 1_000_000)  # nobody says that, and no limit of a command allows it
