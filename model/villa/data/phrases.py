"""How people word requests to a robot: verbs, frames, uses, slips of the tongue and of the keyboard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from villa.data.vocabulary import KIND

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
THINGS = ("thing", "object", "item")

_VERBS = (
    "track",
    "follow",
    "find",
    "segment",
    "show me",
    "point at",
    "point to",
    "keep your eyes on",
    "keep an eye on",
    "look at",
    "watch",
    "pick up",
    "grab",
    "go to",
    "give me",
    "hand me",
    "pass me",
    "bring me",
    "fetch",
    "get",
    "take",
    "locate",
    "highlight",
    "mark",
    "select",
    "outline",
    "detect",
    "focus on",
    "keep sight of",
    "stay on",
    "search for",
    "look for",
    "reach for",
    "move to",
    "lock on to",
)
_COMMANDS = (
    "{verb} {np}",
    "{verb} {np}",
    "{verb} {np}",
    "please {verb} {np}",
    "{verb} {np} please",
    "{verb} {np} for me",
    "can you {verb} {np}",
    "could you {verb} {np}",
    "could you please {verb} {np}",
    "would you {verb} {np}",
    "I want you to {verb} {np}",
    "I'd like you to {verb} {np}",
    "I need you to {verb} {np}",
    "robot, {verb} {np}",
    "hey robot, {verb} {np}",
    "now {verb} {np}",
    "okay, {verb} {np}",
    "next, {verb} {np}",
    "try to {verb} {np}",
    "just {verb} {np}",
)
_QUESTIONS_ONE = (
    "where is {np}",
    "where's {np}",
    "do you see {np}",
    "can you see {np}",
    "which one is {np}",
    "can you tell me where {np} is",
    "what about {np}",
    "where can I find {np}",
)
_QUESTIONS_MANY = (
    "where are {np}",
    "do you see {np}",
    "can you see {np}",
    "which ones are {np}",
    "can you tell me where {np} are",
)
_SOME = (
    "I need {np}",
    "I want {np}",
    "is there {np}",
    "is there {np} here",
    "do you see {np}",
    "find {np}",
    "find me {np}",
    "get me {np}",
    "show me {np}",
    "bring me {np}",
    "look for {np}",
    "please find {np}",
    "can you find {np}",
    "I am looking for {np}",
    "I could use {np}",
    "hand me {np}",
)
# Words of requests that name no object and no colour.
PLAIN_WORDS = tuple(
    sorted(
        {
            word
            for template in (*_VERBS, *_COMMANDS, *_QUESTIONS_ONE, *_QUESTIONS_MANY, *_SOME)
            for word in template.replace("{verb}", "").replace("{np}", "").replace(",", "").split()
            if word not in KIND
        }
        | {"a", "an", "the", "all", "both", "every", "each", "of", "that", "and"}
    )
)


@dataclass(frozen=True)
class Use:
    """What an object is for: whole requests, noun phrases, and the answer when nothing serves.

    `maybe` names kinds that some would also take: with one of them in view the request is not asked.
    """

    requests: tuple[str, ...]
    phrases: tuple[str, ...]
    nothing: str
    maybe: tuple[str, ...] = ()


USES: dict[str, Use] = {
    "drink": Use(
        (
            "I want to drink some coffee",
            "I am thirsty, what can I drink from",
            "what can I drink tea from",
            "what would you pour coffee into",
            "which of these holds a hot drink",
            "I would like a cup of tea",
        ),
        (
            "something to drink from",
            "something for my coffee",
            "a thing to drink tea from",
            "something for a hot drink",
        ),
        "nothing to drink from",
        ("jar", "bowl"),
    ),
    "eat_from": Use(
        (
            "what can I eat my dinner from",
            "I need to put my food on something",
            "what would you serve a salad in",
            "where could I put my pasta once it is done",
        ),
        ("something to eat from", "something to serve food on", "something to put my meal on"),
        "nothing to eat from",
        ("tray", "pan", "basket", "pot"),
    ),
    "pour": Use(
        ("what can I pour a drink from", "which of these has a drink inside", "what would you pour from"),
        ("something to pour from", "something with a drink inside", "something that holds liquid to pour"),
        "nothing to pour from",
        ("jar", "moka pot", "can", "mug", "cup", "vase", "pot"),
    ),
    "read": Use(
        ("what can I read", "I am bored and want to read", "I want to read a story", "what has pages"),
        ("something to read", "something with pages", "something to read in bed"),
        "nothing to read",
    ),
    "fry": Use(
        ("I need to fry an egg", "I want to fry some eggs", "what can I fry bacon in", "I am making pancakes"),
        ("something to fry an egg in", "something for frying", "something to make pancakes in"),
        "nothing to fry with",
        ("pot",),
    ),
    "boil": Use(
        (
            "I want to boil some pasta",
            "I need to cook soup",
            "what can I boil potatoes in",
            "I am going to cook a stew",
        ),
        ("something to boil water in", "something to cook soup in", "something for cooking pasta"),
        "nothing to boil with",
        ("pan", "moka pot"),
    ),
    "make_coffee": Use(
        ("I want to brew coffee", "what makes espresso", "how can I make coffee on the stove"),
        ("something to brew coffee with", "something that makes espresso"),
        "nothing to make coffee with",
        ("pot",),
    ),
    "carry": Use(
        ("what can I carry the laundry in", "I want to collect fruit in something", "what can I carry my shopping in"),
        ("something to carry my shopping in", "something to collect things in"),
        "nothing to carry things in",
        ("tray", "box", "caddy", "bowl", "pot"),
    ),
    "serve": Use(
        ("I want to serve several drinks at once", "what can I carry the glasses on"),
        ("something to carry drinks on", "something to serve drinks on"),
        "nothing to serve on",
        ("plate", "basket", "book", "box"),
    ),
    "flowers": Use(
        ("I got flowers, where do they go", "where can I put these roses", "what would you put flowers in"),
        ("something for flowers", "something to put tulips in"),
        "nothing for flowers",
        ("bottle", "jar", "cup", "pot", "mug"),
    ),
    "stack": Use(
        ("what can a child build a tower with", "let us build a toy castle"),
        ("something to build a tower with", "something for building toy houses"),
        "nothing to build with",
        ("box", "cylinder", "book", "carton", "can"),
    ),
    "play_ball": Use(
        ("what can I throw and catch", "I want to play catch", "what bounces"),
        ("something to play catch with", "something that bounces", "something to throw and catch"),
        "nothing to play catch with",
        ("orange", "apple", "lemon"),
    ),
    "eat_fruit": Use(
        ("I would like some fruit", "which of these grew on a tree and is sweet", "I want a healthy snack"),
        ("some fruit", "a piece of fruit", "a sweet fruit"),
        "no fruit",
        ("lemon",),
    ),
    "eat": Use(
        ("I am hungry", "what can I eat", "I would like a snack", "what here is food"),
        ("something to eat", "something edible", "a snack"),
        "nothing to eat",
        ("lemon", "box", "can", "carton", "jar", "bottle"),
    ),
    "sour": Use(
        ("I need something sour for my tea", "what tastes sour", "what would you squeeze over fish"),
        ("something sour", "something sour to squeeze"),
        "nothing sour",
        ("orange",),
    ),
    "toy": Use(
        ("what would a small child cuddle", "which one is a toy animal"),
        ("a toy animal", "something a toddler cuddles"),
        "no toy animal",
        ("ball", "block", "brick"),
    ),
    "nail": Use(
        ("I need to hit a nail", "how do I get this nail into the wall", "what tool drives nails"),
        ("something to hit nails with", "a tool for nails", "a tool"),
        "no tool for nails",
    ),
    "tidy": Use(
        ("where can I keep my pens",),
        ("something to keep pens in",),
        "nothing to keep pens in",
        ("cup", "mug", "basket", "box", "jar", "vase"),
    ),
}


def joined(parts: Sequence[str]) -> str:
    """One or more phrases as a list in a sentence: "a, b and c"."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def sentence(text: str) -> str:
    """The text with a capital and a full stop."""
    return f"{text[0].upper()}{text[1:]}."


def article(noun_phrase: str) -> str:
    """ "a" or "an" before it."""
    return f"{'an' if noun_phrase[0] in 'aeiou' else 'a'} {noun_phrase}"


def plural(noun: str) -> str:
    """Plural of a noun of the vocabulary or of "thing", "object", "item"."""
    for kind in KIND.values():
        if noun == kind.nouns[0]:
            return kind.plural
    if noun.startswith("loaf"):
        return noun.replace("loaf", "loaves", 1)
    if noun.endswith(("x", "sh", "ch", "ss")):
        return noun + "es"
    return noun if noun.endswith("s") else noun + "s"


def _pick(options: tuple[str, ...], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def ask_for_one(noun_phrase: str, rng: np.random.Generator) -> str:
    """A request for the one thing that `noun_phrase` (without article) means."""
    form = rng.random()
    definite = f"the {noun_phrase}"
    if form < 0.2:
        return noun_phrase
    if form < 0.32:
        return definite
    if form < 0.72:
        return _pick(_COMMANDS, rng).format(verb=_pick(_VERBS, rng), np=definite)
    if form < 0.88:
        return _pick(_QUESTIONS_ONE, rng).format(np=definite)
    return _pick(_SOME, rng).format(np=article(noun_phrase))


def ask_for_these(noun_phrase: str, rng: np.random.Generator) -> str:
    """A request for things that a phrase in the plural, with its article or quantifier, means."""
    form = rng.random()
    if form < 0.25:
        return noun_phrase
    if form < 0.8 or noun_phrase.startswith(("every", "each")):
        return _pick(_COMMANDS, rng).format(verb=_pick(_VERBS, rng), np=noun_phrase)
    return _pick(_QUESTIONS_MANY, rng).format(np=noun_phrase)


def ask_for_some(phrase: str, rng: np.random.Generator) -> str:
    """A request with a phrase such as "something to read"."""
    return phrase if rng.random() < 0.25 else _pick(_SOME, rng).format(np=phrase)


_QUESTION_WORDS = ("where", "what", "which", "who", "how", "do ", "is ", "can ", "could ", "would ", "are ")


def as_spoken(text: str, rng: np.random.Generator) -> str:
    """The same words as typed or as a recogniser writes them: case, punctuation, now and then a slip."""
    if rng.random() < 0.3:
        text = text.replace("gray", "grey")
    if rng.random() < 0.05:
        text = _slip(text, rng)
    style = rng.random()
    if style < 0.45:
        return text.lower().replace(",", "")
    if style < 0.6:
        return text
    text = text[0].upper() + text[1:]
    if style < 0.7:
        return text
    return text + ("?" if text.lower().startswith(_QUESTION_WORDS) else "." if rng.random() < 0.8 else "!")


def _slip(text: str, rng: np.random.Generator) -> str:
    """Swap, drop or double one letter inside a longer word."""
    places = [i for i in range(1, len(text) - 2) if text[i : i + 2].isalpha() and text[i - 1].isalpha()]
    if not places:
        return text
    at = int(rng.choice(places))
    kind = int(rng.integers(3))
    if kind == 0:
        return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    return text[:at] + text[at + 1 :] if kind == 1 else text[:at] + text[at] + text[at:]
