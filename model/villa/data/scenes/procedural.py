"""Household objects made from random numbers: every call gives another instance, and no asset is needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from villa.data.language.vocabulary import COLOURS
from villa.data.scenes import food_forms, forms
from villa.data.scenes.objects import ObjectModel, Surface, attach_surfaces
from villa.data.scenes.palette import ONE_COLOURED, companion, paint, shade


@dataclass(frozen=True)
class _Recipe:
    form: Callable[[np.random.Generator], forms.Form]
    colours: tuple[str, ...] = COLOURS
    second: str | None = None  # a fixed second colour
    second_counts: bool = True  # False: nobody calls it by the colour of its lid, handle or pages
    material: str = "plastic"
    specular: tuple[float, float] = (0.05, 0.6)


_WARES = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "gray")
_RECIPES: dict[str, _Recipe] = {
    "mug": _Recipe(forms.mug, _WARES, material="ceramic"),
    "cup": _Recipe(forms.cup, _WARES),
    "bowl": _Recipe(forms.bowl, _WARES, material="ceramic"),
    "plate": _Recipe(forms.plate, _WARES, material="ceramic"),
    "bottle": _Recipe(forms.bottle, _WARES),
    "can": _Recipe(forms.can, tuple(c for c in _WARES if c not in ("gray", "brown")), "gray", False, "metal"),
    "carton": _Recipe(
        forms.carton, ("red", "orange", "yellow", "green", "blue", "white", "purple", "pink"), material="card"
    ),
    "box": _Recipe(forms.box, _WARES, material="card"),
    "book": _Recipe(forms.book, _WARES, "white", False, "paper", (0.0, 0.2)),
    "pan": _Recipe(forms.pan, ("black", "gray", "red", "blue", "green", "orange"), "black", False, "metal"),
    "pot": _Recipe(
        forms.pot, ("gray", "red", "blue", "green", "orange", "white", "black", "yellow"), "black", False, "metal"
    ),
    "moka pot": _Recipe(forms.moka_pot, ("gray", "red", "green", "blue", "black"), "black", False, "metal"),
    "basket": _Recipe(
        forms.basket, ("brown", "white", "gray", "red", "blue", "green", "pink", "yellow"), material="wicker"
    ),
    "tray": _Recipe(forms.tray, _WARES),
    "vase": _Recipe(forms.vase, _WARES, material="ceramic"),
    "jar": _Recipe(forms.jar, _WARES, material="glass"),
    "block": _Recipe(forms.block, _WARES, material="wood", specular=(0.0, 0.3)),
    "ball": _Recipe(food_forms.ball, tuple(c for c in _WARES if c not in ("orange", "brown")), material="rubber"),
    "cylinder": _Recipe(forms.cylinder, _WARES, material="wood", specular=(0.0, 0.3)),
    "apple": _Recipe(food_forms.apple, ("red", "red", "green"), "brown", False, "fruit"),
    "orange": _Recipe(food_forms.orange, ("orange",), "green", False, "fruit"),
    "lemon": _Recipe(food_forms.lemon, ("yellow",), "yellow", False, "fruit"),
    "banana": _Recipe(food_forms.banana, ("yellow", "yellow", "yellow", "green"), "brown", False, "fruit"),
    "bread": _Recipe(food_forms.bread, ("brown",), "brown", False, "bread", (0.0, 0.05)),
}

# What the darker strands of a weave may be called.
_IN_SHADE = {"white": "gray", "gray": "black"}

PROCEDURAL_KINDS = tuple(_RECIPES)


def palette_of(kind: str) -> tuple[str, ...]:
    """The colours in which this kind is made."""
    return tuple(dict.fromkeys(_RECIPES[kind].colours))


def make(kind: str, rng: np.random.Generator, colour: str | None = None) -> ObjectModel:
    """A random object of one of `PROCEDURAL_KINDS`, in `colour` or one of the kind's own.

    Raises:
        KeyError: the kind has no recipe.
    """
    recipe = _RECIPES[kind]
    main = str(rng.choice(recipe.colours)) if colour is None else colour
    form = recipe.form(rng)
    other = companion(main, rng) if recipe.second is None else recipe.second
    pattern = form.patterns[int(rng.integers(len(form.patterns)))]
    printed = companion(main, rng)
    if main == "gray":  # beside any other colour, gray is not what one would call it
        pattern = pattern if pattern in ("weave", "mottled", "label", "print") else "plain"
        printed = "white" if rng.random() < 0.5 else "black"
    specular, shininess = float(rng.uniform(*recipe.specular)), float(rng.uniform(0.1, 0.7))
    texture = paint(main, printed, pattern, rng, window=form.window)
    surfaces = [
        Surface(form.main.vertices, form.main.faces, form.main.uv, texture, specular=specular, shininess=shininess)
    ]
    if form.second is not None:
        red, green, blue = (float(value) / 255.0 for value in shade(other, rng))
        rgba = (red, green, blue, 1.0)
        surfaces.append(
            Surface(form.second.vertices, form.second.faces, rgba=rgba, specular=specular, shininess=shininess)
        )
    shown = {printed} if pattern not in ONE_COLOURED else set()
    rivals = set(shown)
    if form.second is not None:
        shown.add(other)
        rivals |= {other} if recipe.second_counts else set()
    if pattern == "weave" and main in _IN_SHADE:
        shown.add(_IN_SHADE[main])
    shown.discard(main)
    rivals.discard(main)
    return ObjectModel(
        key=f"procedural/{kind}/{int(rng.integers(1 << 31)):08x}",
        kind=kind,
        colour=main,
        material=recipe.material,
        source="procedural",
        radius=max(float(np.hypot(*surface.vertices[:, :2].T).max()) for surface in surfaces),
        height=max(float(surface.vertices[:, 2].max()) for surface in surfaces),
        attach=attach_surfaces(tuple(surfaces), form.solids, form.mass),
        colours=tuple(sorted(shown)),
        rivals=tuple(sorted(rivals)),
    )
