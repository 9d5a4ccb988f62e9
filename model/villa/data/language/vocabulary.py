"""The words of the scenes: kinds of object, colours, and what things are for.

The order of `KINDS` and `COLOURS` is stable (a dense classification loss indexes them): append only.
"""

from __future__ import annotations

from dataclasses import dataclass

COLOURS = (
    "red",
    "orange",
    "yellow",
    "green",
    "blue",
    "purple",
    "pink",
    "brown",
    "black",
    "white",
    "gray",
)


@dataclass(frozen=True)
class Kind:
    """One kind of object.

    `nouns` can stand for the kind in a request, the first one is used in answers. `near` names other kinds to
    which some speakers would give one of these nouns: a request that leaves the kind open never rests on the
    difference. `uses` are keys of `villa.data.language.affordances.USES`.
    """

    name: str
    nouns: tuple[str, ...]
    plural: str
    uses: tuple[str, ...] = ()
    near: tuple[str, ...] = ()


_KINDS = (
    Kind("mug", ("mug", "coffee mug"), "mugs", ("drink",), ("cup",)),
    Kind("cup", ("cup", "tumbler", "beaker"), "cups", ("drink",), ("mug", "jar")),
    Kind("bowl", ("bowl",), "bowls", ("eat_from",), ("plate", "cup", "basket")),
    Kind("plate", ("plate", "dish"), "plates", ("eat_from",), ("bowl", "tray", "pan")),
    Kind("bottle", ("bottle",), "bottles", ("pour",), ("vase", "jar", "can")),
    Kind("can", ("can", "tin", "tin can"), "cans", (), ("cylinder", "jar", "cup")),
    Kind("carton", ("carton", "drinks carton"), "cartons", ("pour",), ("box", "block")),
    Kind("box", ("box", "package", "packet"), "boxes", (), ("carton", "block", "book", "brick")),
    Kind("book", ("book",), "books", ("read",), ("box", "block")),
    Kind("pan", ("pan", "frying pan", "frypan", "skillet"), "pans", ("fry",), ("pot", "plate")),
    Kind("pot", ("pot", "cooking pot", "saucepan"), "pots", ("boil",), ("pan", "moka pot", "bowl", "vase")),
    Kind(
        "moka pot",
        ("moka pot", "coffee maker", "espresso maker"),
        "moka pots",
        ("make_coffee",),
        ("pot",),
    ),
    Kind("basket", ("basket",), "baskets", ("carry",), ("bowl", "box", "tray", "caddy")),
    Kind("tray", ("tray", "serving tray"), "trays", ("serve",), ("plate", "basket", "box")),
    Kind("vase", ("vase", "flower vase"), "vases", ("flowers",), ("bottle", "jar", "pot", "cup")),
    Kind("jar", ("jar",), "jars", (), ("can", "bottle", "vase", "cup")),
    Kind("block", ("block", "cube", "building block"), "blocks", ("stack",), ("box", "brick", "carton")),
    Kind("ball", ("ball",), "balls", ("play_ball",), ("orange", "apple")),
    Kind("cylinder", ("cylinder", "roller"), "cylinders", (), ("can", "cup", "jar")),
    Kind("apple", ("apple",), "apples", ("eat_fruit", "eat"), ("ball", "orange")),
    Kind("orange", ("orange",), "oranges", ("eat_fruit", "eat"), ("ball", "apple", "lemon")),
    Kind("lemon", ("lemon",), "lemons", ("sour",), ("orange", "ball")),
    Kind("banana", ("banana",), "bananas", ("eat_fruit", "eat"), ()),
    Kind("bread", ("bread", "loaf", "loaf of bread"), "loaves of bread", ("eat",), ("box", "block")),
    Kind("duck", ("duck", "toy duck", "rubber duck"), "ducks", ("toy",), ()),
    Kind("teddy bear", ("teddy bear", "teddy", "toy bear"), "teddy bears", ("toy",), ()),
    Kind("brick", ("brick", "toy brick", "lego brick"), "bricks", ("stack",), ("block", "box")),
    Kind("hammer", ("hammer",), "hammers", ("nail",), ()),
    Kind("caddy", ("caddy", "desk caddy", "organizer"), "caddies", ("tidy",), ("basket", "box", "tray")),
)

KINDS = tuple(kind.name for kind in _KINDS)
KIND = {kind.name: kind for kind in _KINDS}


@dataclass(frozen=True)
class Material:
    """A material that a kind of object has for every viewer; `maybe` are kinds that may be of it as well."""

    kinds: tuple[str, ...]
    maybe: tuple[str, ...]


MATERIALS = {
    "metal": Material(
        ("can", "pan", "pot", "moka pot"),
        ("hammer", "tray", "bowl", "mug", "cup", "plate", "bottle", "basket", "caddy", "vase", "cylinder", "jar"),
    ),
    "wicker": Material(("basket",), ("tray", "caddy", "box")),
    "paper": Material(("book",), ("box", "carton", "can", "cup")),
    "cardboard": Material(("box", "carton"), ("book", "block", "brick", "cylinder")),
}
