"""What things are for, as one would ask for them, and which other kinds some people would also take."""

from __future__ import annotations

from dataclasses import dataclass


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
