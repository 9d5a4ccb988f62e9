"""What a recogniser says that nobody said, and what people say that is no command."""

from __future__ import annotations

import re
import zlib

from villa_ros.speech.vocabulary import Vocabulary, words

# What Whisper makes of noise, music and silence: the ends of the videos that it was trained on.
_HALLUCINATED = re.compile(
    r"thank(s| you)( (so|very) much)?( for (watching|listening|viewing|joining).*)?|"
    r".*\b(please |don't forget to |like and )*subscribe\b.*|.*\blike and share\b.*|"
    r"(i'll )?see you( (in the )?next (time|video|one|week))?|bye( bye)*|you|so|oh|um+|uh+|hm+|mm+|"
    r"(subtitles|captions|translated|transcribed) by.*|music|applause|silence|foreign|the end|"
    r"vielen dank( fürs zuschauen)?|untertitel.*|merci( d'avoir regardé.*)?|sous-titres.*|"
    r"gracias( por ver.*)?|subtítulos.*|obrigado|ご視聴ありがとうございました|谢谢.*观看|시청해.*"
)
_COMPRESSED = 2.0  # text that zlib makes this much smaller repeats itself
_LEAST_WORDS_REPEATED = 4

# How requests begin, by language. Other languages need push-to-talk, the wake word, or `accept: anything`.
_BEGINNINGS = {
    "en": (
        "track", "keep", "follow", "watch", "don't lose", "find", "look for", "look at", "locate", "search", "show",
        "point", "select", "segment", "mark", "highlight", "outline", "pick", "grab", "get", "take", "hand me",
        "give me", "pass me", "bring", "fetch", "hold", "where is", "where's", "where are", "where did", "which",
        "what is", "what's", "is there", "are there", "do you see", "can you see", "can you find", "can you track",
        "could you",
        "would you", "i need", "i want", "i am looking for", "i'm looking for", "now", "what about", "please track",
        "please find", "please follow", "something to", "something that", "put",
    ),
    "de": (
        "verfolge", "folge", "finde", "suche", "zeig", "zeige", "beobachte", "wo ist", "wo sind", "welche", "nimm",
        "gib mir", "hol", "bring", "markiere", "ich brauche", "behalte", "schau", "achte",
    ),
    "fr": (
        "suis", "suivez", "trouve", "trouvez", "cherche", "montre", "montrez", "où est", "où sont", "regarde", "prends",
        "donne moi", "apporte", "j'ai besoin", "surveille",
    ),
    "es": (
        "sigue", "encuentra", "busca", "muestra", "muéstrame", "dónde está", "dónde están", "mira", "toma", "dame",
        "trae", "necesito", "vigila", "señala",
    ),
}  # fmt: skip
_NOT_REQUESTED = frozenset(["i", "i'm", "we", "he", "she", "they", "it's", "was", "were", "said", "had", "have"])
_FOLLOWS_A_NAME = frozenset((
    "on", "in", "at", "next", "left", "right", "behind", "between", "under", "above", "below", "near",
    "beside", "that", "which", "with", "to", "of", "over", "please", "inside"))  # fmt: skip
_ARTICLES = frozenset(["the", "a", "an", "any", "all", "both", "my", "that", "this"])


def is_hallucinated(text: str) -> bool:
    """Is it a sentence that recognisers make out of nothing, and nobody commands?"""
    return _HALLUCINATED.fullmatch(" ".join(words(text))) is not None


def repeats_itself(text: str) -> bool:
    """Is it the loop that a recogniser gets caught in? "Stop, stop, stop" is none."""
    spoken = words(text)
    if len(spoken) >= _LEAST_WORDS_REPEATED and len(set(spoken)) * 3 <= len(spoken):
        return True
    data = " ".join(spoken).encode()
    return len(data) / max(1, len(zlib.compress(data))) > _COMPRESSED


def has_the_form_of_a_command(text: str, language: str, vocabulary: Vocabulary) -> bool:
    """Does it begin as requests do, or is it the name of a thing: "the orange next to the bowl"?"""
    said = " ".join(words(text))
    spoken = said.split()
    if len(spoken) < 2:
        return said in vocabulary.nouns
    for beginning in _BEGINNINGS.get(language, ()):
        if said.startswith(f"{beginning} "):
            rest = said[len(beginning) :].split()
            return beginning not in ("i want", "i need", "now", "what is", "what's") or not set(rest) & _NOT_REQUESTED
    if language != "en" or spoken[0] not in _ARTICLES:
        return False
    # a name alone: nothing but qualities up to a noun, and no verb after it
    for length in range(len(spoken), 1, -1):
        name = spoken[1:length]
        while len(name) > 1 and name[0] in vocabulary.qualities:
            name = name[1:]
        if " ".join(name) in vocabulary.nouns or name in (["one"], ["thing"]):
            after = spoken[length : length + 1]
            return not after or after[0] in _FOLLOWS_A_NAME
    return False
