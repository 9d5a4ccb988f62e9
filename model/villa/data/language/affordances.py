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


USES: dict[str, Use] = {
    "drink": Use("nothing to drink from", ("jar", "bowl")),
    "eat_from": Use("nothing to eat from", ("tray", "pan", "basket", "pot")),
    "pour": Use("nothing to pour from", ("jar", "moka pot", "can", "mug", "cup", "vase", "pot")),
    "read": Use("nothing to read"),
    "fry": Use("nothing to fry with", ("pot",)),
    "boil": Use("nothing to boil with", ("pan", "moka pot")),
    "make_coffee": Use("nothing to make coffee with", ("pot",)),
    "carry": Use("nothing to carry things in", ("tray", "box", "caddy", "bowl", "pot")),
    "serve": Use("nothing to serve on", ("plate", "basket", "book", "box")),
    "flowers": Use("nothing for flowers", ("bottle", "jar", "cup", "pot", "mug")),
    "stack": Use("nothing to build with", ("box", "cylinder", "book", "carton", "can")),
    "play_ball": Use("nothing to play catch with", ("orange", "apple", "lemon")),
    "eat_fruit": Use("no fruit", ("lemon",)),
    "eat": Use("nothing to eat", ("lemon", "box", "can", "carton", "jar", "bottle")),
    "sour": Use("nothing sour", ("orange",)),
    "toy": Use("no toy animal", ("ball", "block", "brick")),
    "nail": Use("no tool for nails"),
    "tidy": Use("nothing to keep pens in", ("cup", "mug", "basket", "box", "jar", "vase")),
}
