"""Surfaces of the sample scene, drawn here: labels, glaze, crust, table wood. Training uses none of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from villa.data.scenes.objects import ObjectModel, Surface, attach_surfaces
from villa.data.scenes.open_objects import SHAPES, Shape, model

Image = NDArray[np.uint8]  # [h, w, 3] RGB, row 0 at v = 1
_F32 = NDArray[np.float32]
_FONT = cv2.FONT_HERSHEY_DUPLEX
_TEXTURE_SEED = 20261  # the art is one fixed drawing, whatever the scene's seed


def _rng(offset: int) -> np.random.Generator:
    return np.random.default_rng(_TEXTURE_SEED + offset)


def cloud(rng: np.random.Generator, height: int, width: int, cells: tuple[int, int], octaves: int = 4) -> _F32:
    """Smooth noise [height, width] of about unit size: `cells` (rows, columns), twice as many each octave."""
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        grid = rng.normal(size=(cells[0] * 2**octave, cells[1] * 2**octave)).astype(np.float32)
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) * np.float32(0.5**octave)
    return total


def _flat(height: int, width: int, colour: tuple[int, int, int]) -> Image:
    image = np.empty((height, width, 3), np.uint8)
    image[:] = colour
    return image


def _shaded(image: Image, gain: _F32) -> Image:
    shaded: Image = np.clip(image.astype(np.float32) * gain[..., None], 0, 255).astype(np.uint8)
    return shaded


def _word(image: Image, text: str, centre: tuple[int, int], height: int, ink: tuple[int, int, int], bold: int) -> None:
    scale = height / 22.0
    (width, tall), _ = cv2.getTextSize(text, _FONT, scale, bold)
    corner = (centre[0] - width // 2, centre[1] + tall // 2)
    cv2.putText(image, text, corner, _FONT, scale, ink, bold, cv2.LINE_AA)


def can_label() -> Image:
    """A green drinks can: metal rims, a pale wave and the word LIMO on two sides."""
    image = _flat(256, 512, (20, 130, 58))
    image = _shaded(image, np.linspace(1.25, 0.8, 256, dtype=np.float32)[:, None] * np.ones((1, 512), np.float32))
    x = np.arange(512)
    for low, high, colour in ((0.60, 0.72, (226, 240, 170)), (0.74, 0.78, (250, 250, 240))):
        wave = 14.0 * np.sin(x / 512.0 * 4.0 * np.pi)
        top = np.stack([x, low * 256 + wave], 1)
        bottom = np.stack([x, high * 256 + wave], 1)[::-1]
        cv2.fillPoly(image, [np.concatenate([top, bottom]).astype(np.int32)], colour, cv2.LINE_AA)
    for centre in (128, 384):
        cv2.circle(image, (centre, 98), 52, (12, 92, 40), -1, cv2.LINE_AA)
        cv2.circle(image, (centre, 98), 52, (226, 240, 170), 4, cv2.LINE_AA)
        _word(image, "LIMO", (centre, 98), 34, (250, 250, 240), 4)
    image[:16] = image[-12:] = (176, 180, 184)
    return image


def carton_print() -> Image:
    """A milk carton: white, a green meadow below, MILK on front and back."""
    image = _flat(384, 256, (238, 240, 236))
    front = int(0.75 * 256)
    x = np.arange(256)
    hill = 285 + 14 * np.sin(x / 256 * 4 * np.pi)
    outline = np.concatenate([np.stack([x, hill], 1), [[255, 383], [0, 383]]]).astype(np.int32)
    cv2.fillPoly(image, [outline], (66, 150, 70), cv2.LINE_AA)
    image[340:] = (46, 118, 56)
    _word(image, "MILK", (front // 2, 190), 46, (30, 70, 60), 6)
    _word(image, "fresh", (front // 2, 236), 20, (60, 120, 80), 2)
    cv2.circle(image, (front // 2, 128), 18, (246, 196, 60), -1, cv2.LINE_AA)
    image[-12:, :12] = (225, 228, 224)
    return image


def cereal_print() -> Image:
    """A cereal box: purple, a bowl of rings, OATIES."""
    image = _flat(512, 512, (96, 42, 148))
    front = 384
    y, x = np.mgrid[0:512, 0:512].astype(np.float32)
    glow = np.exp(-(((x - front / 2) / 190) ** 2 + ((y - 300) / 200) ** 2))
    image = _shaded(image, 0.85 + 0.45 * glow)
    _word(image, "OATIES", (front // 2 + 4, 94), 66, (50, 16, 84), 14)
    _word(image, "OATIES", (front // 2, 90), 66, (250, 214, 70), 10)
    _word(image, "whole grain rings", (front // 2, 156), 22, (244, 236, 250), 2)
    rng = _rng(1)
    cv2.ellipse(image, (front // 2, 350), (150, 46), 0, 0, 360, (228, 222, 206), -1, cv2.LINE_AA)
    for _ in range(60):
        angle, reach = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform(0, 1))
        centre = (int(front / 2 + 136 * reach * np.cos(angle)), int(346 + 36 * reach * np.sin(angle)))
        cv2.ellipse(image, centre, (13, 10), 0, 0, 360, (206, 148, 72), 6, cv2.LINE_AA)
    cv2.ellipse(image, (front // 2, 352), (152, 110), 0, 0, 180, (240, 240, 244), -1, cv2.LINE_AA)
    cv2.ellipse(image, (front // 2, 352), (152, 46), 0, 0, 180, (222, 210, 190), 6, cv2.LINE_AA)
    image[484:, :] = (70, 26, 116)
    for line in range(12):
        length = int(rng.uniform(40, 100))
        y0 = 120 + line * 26
        cv2.rectangle(image, (front + 14, y0), (front + 14 + length, y0 + 7), (214, 196, 230), -1)
    image[-16:, :16] = (88, 38, 136)
    return image


def crust() -> Image:
    """A loaf: crust on the left three quarters, darker on top, and crumb of a cut end on the rest."""
    rng = _rng(2)
    image = _flat(256, 340, (186, 116, 54))
    gain = 1.0 + 0.05 * cloud(rng, 256, 340, (10, 20)) + np.linspace(-0.18, 0.12, 256, dtype=np.float32)[:, None]
    pores = (cloud(rng, 256, 340, (40, 52), 2) > 1.9).astype(np.float32)
    image = _shaded(image, (gain * (1.0 - 0.22 * pores)).astype(np.float32))
    crumb = _flat(256, 85, (236, 206, 152))
    holes = np.maximum(cloud(rng, 256, 85, (48, 20), 2) - 0.9, 0.0)
    image[:, 255:] = _shaded(crumb, (1.0 - 0.14 * holes).astype(np.float32))
    cv2.rectangle(image, (255, 0), (339, 255), (158, 92, 40), 12)
    return image


def peel() -> Image:
    """Lemon peel: yellow with pits."""
    rng = _rng(3)
    pits = np.maximum(cloud(rng, 256, 256, (36, 36), 2) - 0.6, 0.0)
    gain = 1.0 - 0.09 * pits + 0.03 * cloud(rng, 256, 256, (4, 4), 2)
    return _shaded(_flat(256, 256, (244, 214, 42)), gain.astype(np.float32))


def blue_glaze() -> Image:
    """A blue glaze that thins towards the rim, with specks of firing."""
    rng = _rng(4)
    image = _flat(256, 256, (28, 74, 176))
    gain = 1.0 + 0.05 * cloud(rng, 256, 256, (8, 4))
    gain[:22] *= np.linspace(1.55, 1.0, 22, dtype=np.float32)[:, None]
    image = _shaded(image, gain)
    for _ in range(120):
        centre = (int(rng.integers(256)), int(rng.integers(256)))
        cv2.circle(image, centre, 1, (14, 34, 92), -1, cv2.LINE_AA)
    return image


def red_glaze() -> Image:
    """A red glaze with two cream rings."""
    rng = _rng(5)
    image = _flat(256, 256, (186, 30, 30))
    for y in (70, 86):
        image[y : y + 7] = (240, 224, 198)
    return _shaded(image, (1.0 + 0.04 * cloud(rng, 256, 256, (8, 4))).astype(np.float32))


def leather() -> Image:
    """The orange leather of a basketball."""
    rng = _rng(6)
    return _shaded(_flat(256, 256, (224, 104, 26)), (1.0 + 0.05 * cloud(rng, 256, 256, (48, 48), 2)).astype(np.float32))


def grip() -> Image:
    """Black rubber with a few ridges."""
    image = _flat(128, 128, (34, 34, 36))
    image[::16] = image[1::16] = (60, 60, 64)
    return image


def steel() -> Image:
    """Brushed steel."""
    rng = _rng(7)
    return _shaded(_flat(128, 128, (150, 152, 156)), (1.0 + 0.08 * cloud(rng, 128, 128, (64, 2), 2)).astype(np.float32))


def table_wood(seed: int = 0, size: int = 1024) -> Image:
    """Five oak boards [size, size, 3] with grain, rings round knots, and dark joints; boards run along u."""
    rng = _rng(100 + seed)
    boards = 5
    tall = size // boards + 1
    rows = []
    for _ in range(boards):
        y, x = np.mgrid[0:tall, 0:size].astype(np.float32)
        bend = 26.0 * cloud(rng, tall, size, (2, 3), 3)
        knot_x, knot_y = rng.uniform(0, size), rng.uniform(0.2, 0.8) * tall
        away = np.sqrt(((x - knot_x) / 3.2) ** 2 + (y - knot_y) ** 2)
        bend += 34.0 * np.exp(-away / 34.0)
        rings = np.sin((y + bend) / rng.uniform(4.2, 6.5) * 2.0 * np.pi / 3.0)
        fibre = cloud(rng, tall, size, (96, 5), 2)
        gain = rng.uniform(0.9, 1.06) + 0.045 * rings + 0.032 * fibre + 0.03 * cloud(rng, tall, size, (2, 4), 2)
        gain *= 1.0 - 0.4 * np.exp(-((away / 7.0) ** 2))
        gain[:3] *= 0.55
        tint = np.array([176, 132, 88], np.float32) * rng.uniform(0.97, 1.03, 3).astype(np.float32)
        rows.append(gain[..., None] * tint)
    wood: Image = np.clip(np.concatenate(rows)[:size], 0, 255).astype(np.uint8)
    return wood


def wall_tiles(size: int = 1024, tiles: int = 8) -> Image:
    """A tiled kitchen wall [size, size, 3]: pale tiles of slightly different glaze, grey joints."""
    rng = _rng(200)
    pitch = size // tiles
    image = _flat(size, size, (172, 174, 170)).astype(np.float32)
    for row in range(tiles):
        for column in range(tiles):
            tint = np.array([206, 219, 214], np.float32) * rng.uniform(0.95, 1.03)
            sheen = 1.0 + 0.02 * cloud(rng, pitch - 4, pitch - 4, (2, 2), 2)
            block = tint * sheen[..., None]
            block[:3] *= 1.05
            block[-3:] *= 0.93
            y, x = row * pitch + 2, column * pitch + 2
            image[y : y + pitch - 4, x : x + pitch - 4] = block
    return np.clip(image, 0, 255).astype(np.uint8)


def _surfaces(shape: Shape, main: Image, accent: Image, specular: float, shininess: float) -> tuple[Surface, ...]:
    return tuple(
        Surface(
            part.mesh.vertices,
            part.mesh.faces,
            part.mesh.uv,
            # MuJoCo puts row 0 of a texture at v = 0.
            np.flipud(accent if part.accent else main),
            specular=specular,
            shininess=shininess,
        )
        for part in shape.parts
    )


_Drawing = Callable[[], Image]
# name of the object -> shape, colour, further colours it shows, drawing, drawing of the accent, gloss
_OBJECTS: dict[str, tuple[str, str, tuple[str, ...], _Drawing, _Drawing, float]] = {
    "blue_mug": ("mug", "blue", (), blue_glaze, blue_glaze, 0.6),
    "red_mug": ("mug", "red", ("white",), red_glaze, red_glaze, 0.6),
    "soda_can": ("can", "green", ("white", "gray"), can_label, can_label, 0.5),
    "milk_carton": ("carton", "white", ("green",), carton_print, carton_print, 0.1),
    "cereal_box": ("box", "purple", ("yellow", "white"), cereal_print, cereal_print, 0.1),
    "bread": ("bread", "brown", (), crust, crust, 0.05),
    "lemon": ("lemon", "yellow", (), peel, peel, 0.25),
    "ball": ("ball", "orange", ("black",), leather, grip, 0.15),
    "hammer": ("hammer", "black", ("gray",), grip, steel, 0.5),
}


def sample_models() -> tuple[ObjectModel, ...]:
    """The nine objects of the sample scene; keys are "sample/<name>"."""
    models = []
    for name, (shape_name, colour, others, main, accent, gloss) in _OBJECTS.items():
        shape = SHAPES[shape_name]()
        surfaces = _surfaces(shape, main(), accent(), gloss, 0.2 + 0.6 * gloss)
        attach = attach_surfaces(surfaces, shape.solids, shape.mass)
        models.append(model(shape, colour, f"sample/{name}", attach, others))
    return tuple(models)


def add_stage(spec: Any) -> None:
    """Add table, wall, floor and light of the sample scene; the table top is z = 0."""
    import mujoco

    from villa.data.scenes.objects import VISIBLE_GROUP, add_texture

    add_texture(spec, "table_wood", table_wood())
    add_texture(spec, "wall_tiles", wall_tiles())
    for name, repeat, gloss in (("table_wood", (1.0, 1.0), 0.18), ("wall_tiles", (4.0, 4.0), 0.05)):
        material = spec.add_material(name=name, specular=gloss, shininess=0.35, texrepeat=list(repeat))
        material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
    half = (0.95, 0.72, 0.02)
    spec.worldbody.add_geom(
        name="table",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=half,
        pos=(0.0, -0.12, -half[2]),
        material="table_wood",
        group=VISIBLE_GROUP,
        friction=[0.8, 0.01, 0.002],
        condim=4,
    )
    plane = mujoco.mjtGeom.mjGEOM_PLANE
    spec.worldbody.add_geom(
        name="wall",
        type=plane,
        size=[3.0, 2.0, 0.1],
        pos=(0.0, 1.1, 0.6),
        quat=(0.7071068, 0.7071068, 0.0, 0.0),
        material="wall_tiles",
        group=VISIBLE_GROUP,
        contype=0,
        conaffinity=0,
    )
    spec.worldbody.add_geom(
        name="floor",
        type=plane,
        size=[3.0, 3.0, 0.1],
        pos=(0.0, 0.0, -0.75),
        rgba=(0.33, 0.31, 0.30, 1.0),
        group=VISIBLE_GROUP,
        contype=0,
        conaffinity=0,
    )
    spec.worldbody.add_light(
        name="window",
        pos=(-1.0, -0.85, 1.75),
        dir=(0.56, 0.47, -0.93),
        diffuse=(0.66, 0.63, 0.58),
        specular=(0.5, 0.5, 0.5),
        ambient=(0.0, 0.0, 0.0),
        castshadow=True,
        type=mujoco.mjtLightType.mjLIGHT_SPOT,
        cutoff=46.0,
        exponent=2.0,
    )
    spec.worldbody.add_light(
        name="ceiling",
        pos=(0.6, -0.2, 2.2),
        dir=(-0.2, 0.1, -1.0),
        diffuse=(0.22, 0.23, 0.25),
        specular=(0.05, 0.05, 0.05),
        castshadow=False,
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
    )
    spec.visual.headlight.ambient = (0.40, 0.40, 0.41)
    spec.visual.headlight.diffuse = (0.08, 0.08, 0.08)
    spec.visual.headlight.specular = (0.0, 0.0, 0.0)
    spec.visual.quality.shadowsize = 4096
    spec.visual.map.shadowscale = 1.2  # the rim of the shadow map, which is speckled, stays out of view
    spec.visual.quality.offsamples = 8
