"""Does a text mean "stop", and nothing else? A person who says it must not wait for a model."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

# All of them count whatever a command's locale says: who is frightened speaks their own language, and recognisers guess
# wrong. Accents and case do not matter.
STOP_WORDS_OF = {
    "en": (
        "stop", "stop it", "stop that", "stop this", "stop all", "stop everything", "stop the robot", "stop moving",
        "stop tracking", "stop following", "stop looking", "stop searching", "stop what you are doing",
        "stop doing that", "emergency stop", "e stop", "cancel", "cancel that", "cancel it", "cancel this",
        "cancel all", "cancel everything", "halt", "abort", "freeze", "stand down", "hold it", "enough",
        "that s enough", "never mind", "nevermind", "forget it", "quit",
    ),
    "de": (
        "stopp", "halt", "halt an", "anhalten", "sofort anhalten", "abbrechen", "abbruch", "hör auf", "aufhören",
        "hör auf damit", "nothalt",
    ),
    "fr": (
        "arrête", "arrête toi", "arrêtez", "arrêtez vous", "arrête ça", "stoppe", "stoppez", "annule", "annulez",
        "halte",
    ),
    "es": ("para", "pare", "párate", "detente", "deténgase", "alto", "cancela", "cancelar", "basta"),
    "it": ("ferma", "fermati", "fermo", "fermatevi", "si fermi", "annulla", "basta", "alt"),
    "pt": ("pare", "para", "pára", "parar", "cancela", "cancelar", "chega"),
    "nl": ("stoppen", "halt", "hou op", "stop ermee", "annuleer", "annuleren"),
    "pl": ("stój", "zatrzymaj", "zatrzymaj się", "przerwij", "anuluj"),
    "ja": ("止まれ", "止まって", "止めて", "とまれ", "とまって", "やめて", "ストップ", "中止"),
    "zh": ("停", "停止", "停下", "停下来", "取消"),
    "ko": ("멈춰", "멈춰요", "정지", "그만", "취소"),
}  # fmt: skip
_SIGNS = ("\N{OCTAGONAL SIGN}", "\N{BLACK SQUARE FOR STOP}", "\N{NO ENTRY}")
# Around a stop word they change nothing; alone they are none.
_BESIDE = (
    "please", "now", "right now", "right away", "at once", "immediately", "no", "hey", "ok", "okay", "wait", "oh",
    "just", "i said", "everybody", "robot", "villa",
    "bitte", "sofort", "jetzt", "s il te plait", "s il vous plait", "maintenant", "por favor", "ahora", "per favore",
    "subito", "agora", "alsjeblieft", "nu", "prosze", "natychmiast",
)  # fmt: skip
_LONGEST = 20_000  # characters that are looked at: nobody's patience, and more than any limit of a command

_NOT_WORD = re.compile(r"[\W_]+")
_DRAWN_OUT = re.compile(r"(\w)\1{2,}")  # "stoooop"


def is_stop(text: str) -> bool:
    """Does the whole text mean "stop"? Case, accents, punctuation, politeness and repetition do not matter."""
    if len(text) > _LONGEST:
        return False
    spoken = _words(text)
    return _meaning(spoken)[1] if spoken else any(sign in text for sign in _SIGNS)


def is_aside(text: str) -> bool:
    """Is the whole text what people say beside a stop: "no, please", "hey robot", or nothing?"""
    known, meant = _meaning(_words(text))
    return known and not meant


def _meaning(spoken: Sequence[str]) -> tuple[bool, bool]:
    """Is it nothing but stops and what is said beside them, and if so, is a stop among it?"""
    known = [True] + [False] * len(spoken)  # can the first n words be cut into phrases?
    meant = [False] * (len(spoken) + 1)  # and is a stop among these?
    for end in range(1, len(spoken) + 1):
        for begin in range(max(0, end - _MOST_WORDS), end):
            phrase = " ".join(spoken[begin:end])
            if known[begin] and (phrase in _STOPS or phrase in _ASIDES):
                known[end] = True
                meant[end] = meant[end] or meant[begin] or phrase in _STOPS
    return known[-1], meant[-1]


def _words(text: str) -> list[str]:
    """The words without what does not matter: case, accents, signs that are not seen, letters that are drawn out."""
    plain = "".join(
        letter
        for letter in unicodedata.normalize("NFKD", text.casefold())
        if unicodedata.category(letter) not in ("Mn", "Me", "Cf", "Cc") or letter.isspace()
    )
    return _NOT_WORD.sub(" ", _DRAWN_OUT.sub(r"\1", plain)).split()


def _spelled(phrase: str) -> set[str]:
    """As it is compared; umlauts are typed as two letters, too."""
    typed = phrase.translate({ord("ä"): "ae", ord("ö"): "oe", ord("ü"): "ue", ord("ł"): "l"})
    return {" ".join(_words(phrase)), " ".join(_words(typed))}


_STOPS = frozenset(form for words in STOP_WORDS_OF.values() for word in words for form in _spelled(word))
_ASIDES = frozenset(form for word in _BESIDE for form in _spelled(word))
_MOST_WORDS = max(len(phrase.split()) for phrase in _STOPS | _ASIDES)
