"""What is answered where nothing serves for a use, and which other kinds some people would also take for it.

How people ask for it stands with the other sentences, in `villa.data.language.wordings`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Use:
    """What an object is for.

    `nothing` is the answer when nothing serves. `maybe` names kinds that some would also take: with one of them in view
    the request is not asked.
    """

    nothing: str
    maybe: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()  # whose kinds some would take, too


# fmt: off
USES: dict[str, Use] = {
    "drink": Use(
        "nothing to drink from",
        (
            "jar", "bowl", "pitcher", "thermos", "measuring cup", "teapot", "milk", "juice",
        ),
    ),
    "eat_from": Use(
        "nothing to eat from",
        (
            "tray", "pan", "basket", "pot", "saucer", "cutting board", "lid", "napkin",
        ),
    ),
    "pour": Use(
        "nothing to pour from",
        (
            "jar", "moka pot", "can", "mug", "cup", "vase", "pot", "milk", "juice", "oil", "measuring cup",
            "kettle", "syrup", "ketchup", "mustard", "soy sauce", "spray bottle", "dish soap", "bleach",
            "shampoo",
        ),
    ),
    "read": Use(
        "nothing to read",
        (
            "paper", "notebook", "envelope", "tablet", "tv", "laptop", "cell phone", "folder", "plastic card",
            "playing card", "picture frame",
        ),
    ),
    "fry": Use(
        "nothing to fry with",
        (
            "pot", "lid", "oven",
        ),
    ),
    "boil": Use(
        "nothing to boil with",
        (
            "pan", "moka pot", "microwave", "oven", "teapot", "lid",
        ),
    ),
    "make_coffee": Use(
        "nothing to make coffee with",
        (
            "pot", "kettle", "coffee", "thermos", "teapot",
        ),
    ),
    "carry": Use(
        "nothing to carry things in",
        (
            "tray", "box", "caddy", "bowl", "pot", "bucket", "handbag", "backpack", "suitcase", "tool box",
            "pencil cup", "trash can", "colander",
        ),
    ),
    "serve": Use(
        "nothing to serve on",
        (
            "plate", "basket", "book", "box", "cutting board", "saucer", "placemat",
        ),
    ),
    "flowers": Use(
        "nothing for flowers",
        (
            "bottle", "jar", "cup", "pot", "mug", "potted plant", "glass", "wine glass", "pitcher",
            "plastic cup", "bucket", "thermos",
        ),
    ),
    "stack": Use(
        "nothing to build with",
        (
            "box", "cylinder", "book", "carton", "can", "dice", "puzzle cube", "pudding box", "cracker box",
            "cereal", "puzzle", "lid",
        ),
    ),
    "play_ball": Use(
        "nothing to play catch with",
        (
            "orange", "apple", "lemon", "marble", "golf ball", "mandarin", "grapefruit", "peach", "nectarine",
            "plum", "tomato", "frisbee", "baseball glove", "lime", "onion", "potato",
        ),
    ),
    "eat_fruit": Use(
        "no fruit",
        (
            "lemon", "lime", "coconut", "raisin", "avocado", "tomato", "litchi",
        ),
    ),
    "eat": Use(
        "nothing to eat",
        (
            "lemon", "box", "can", "carton", "jar", "bottle",
        ),
        groups=("food",),
    ),
    "sour": Use(
        "nothing sour",
        (
            "orange", "lime", "grapefruit", "mandarin", "sour cream", "cherry",
        ),
    ),
    "toy": Use(
        "no toy animal",
        (
            "ball", "block", "brick", "doll", "toy airplane", "toy car", "bird", "cat", "dog", "bear",
            "puzzle", "puzzle cube", "dice",
        ),
    ),
    "nail": Use(
        "no tool for nails",
        (
            "wrench", "adjustable wrench", "pipe wrench", "ratchet", "drill", "screwdriver", "wooden block",
        ),
    ),
    "tidy": Use(
        "nothing to keep pens in",
        (
            "cup", "mug", "basket", "box", "jar", "vase", "glass", "plastic cup", "soup can", "thermos",
            "measuring cup",
        ),
    ),
}
# fmt: on
