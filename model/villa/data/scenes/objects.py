"""One object model, whatever it is made from: what it is called, and how it enters a MuJoCo scene.

Body frame: z up, the origin on the table under the object's middle. Lengths are metres.
Geometry group 1 is seen by the camera, group 3 only by the physics.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villa.data.language.vocabulary import COLOURS, KIND
from villa.data.scenes.physics import mujoco

VISIBLE_GROUP = 1
COLLISION_GROUP = 3

Attach = Callable[[Any, str, np.random.Generator], Any]
_SOLIDS = {
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
    "ellipsoid": mujoco.mjtGeom.mjGEOM_ELLIPSOID,
    "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
}


class ObjectModelError(ValueError):
    """An object model contradicts the vocabulary or itself."""


@dataclass(frozen=True)
class Surface:
    """A visible triangle mesh [V, 3] m, [F, 3] with a texture and its coordinates [T, 2], or one colour.

    Each vertex has the texture coordinate of its own number, unless `uv_faces` [F, 3] gives those of each corner.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    uv: NDArray[np.float32] | None = None
    texture: NDArray[np.uint8] | None = None  # [h, w, 3], row 0 at v = 0, as MuJoCo has it
    rgba: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    specular: float = 0.2
    shininess: float = 0.3
    uv_faces: NDArray[np.int32] | None = None


@dataclass(frozen=True)
class Solid:
    """A collision primitive in MuJoCo terms: half sizes and middle in m, quaternion w x y z."""

    shape: str
    size: tuple[float, ...]
    position: tuple[float, float, float]
    quaternion: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class ObjectModel:
    """An object that a scene can hold.

    `attach(spec, name, rng)` adds one body `name` with a free joint at the world origin and returns it;
    every mesh, texture and material it adds is prefixed with `name`. `radius` encloses the footprint.
    `painted(rng)`, where there is one, gives the same object a surface of its own: only that one's colours are known.
    """

    key: str
    kind: str
    colour: str  # empty where people would differ
    material: str
    source: str
    radius: float
    height: float
    attach: Attach
    nouns: tuple[str, ...] = ()  # further nouns for this very object ("milk carton"), beside its kind's
    extra_uses: tuple[str, ...] = ()  # beside its kind's
    colours: tuple[str, ...] = ()  # other colours it shows: neither asked for nor denied
    rivals: tuple[str, ...] = ()  # of these: large enough to be taken for its main colour from some side
    clear: bool = True  # False: some would call it by another colour, whatever the side
    painted: Callable[[np.random.Generator], ObjectModel] | None = None

    def __post_init__(self) -> None:
        if self.kind not in KIND:
            raise ObjectModelError(f"{self.key}: kind {self.kind!r} is not in villa.data.language.vocabulary.KINDS")
        if self.colour and self.colour not in COLOURS:
            raise ObjectModelError(f"{self.key}: colour {self.colour!r} is not in {', '.join(COLOURS)}")

    @property
    def uses(self) -> tuple[str, ...]:
        """What it is for, its kind's uses first."""
        return KIND[self.kind].uses + self.extra_uses

    @property
    def name(self) -> str:
        """Colour and noun as an answer says them; a fruit named like its colour is not named twice."""
        noun = KIND[self.kind].nouns[0]
        return noun if self.colour in ("", noun) else f"{self.colour} {noun}"


def attach_surfaces(surfaces: tuple[Surface, ...], solids: tuple[Solid, ...], mass: float) -> Attach:
    """An `ObjectModel.attach` for meshes in memory; `mass` in kg is spread over the solids."""

    def attach(spec: Any, name: str, rng: np.random.Generator) -> Any:
        body = spec.worldbody.add_body(name=name)
        body.add_freejoint(name=f"{name}_free")
        for index, surface in enumerate(surfaces):
            _add_surface(spec, body, f"{name}_{index}", surface)
        friction = float(rng.uniform(0.5, 0.9))
        for solid in solids:
            size = np.zeros(3)
            size[: len(solid.size)] = solid.size
            body.add_geom(
                type=_SOLIDS[solid.shape],
                size=size,
                pos=solid.position,
                quat=solid.quaternion,
                group=COLLISION_GROUP,
                mass=mass / len(solids),
                friction=[friction, 0.01, 0.003],
                condim=6,
            )
        return body

    return attach


def _add_surface(spec: Any, body: Any, name: str, surface: Surface) -> None:
    mesh = spec.add_mesh(name=name)
    mesh.uservert = np.ascontiguousarray(surface.vertices, np.float32).reshape(-1)
    mesh.userface = np.ascontiguousarray(surface.faces, np.int32).reshape(-1)
    mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL
    material = spec.add_material(name=name, rgba=surface.rgba, specular=surface.specular, shininess=surface.shininess)
    if surface.texture is not None and surface.uv is not None:
        mesh.usertexcoord = np.ascontiguousarray(surface.uv, np.float32).reshape(-1)
        if surface.uv_faces is not None:
            mesh.userfacetexcoord = np.ascontiguousarray(surface.uv_faces, np.int32).reshape(-1)
        add_texture(spec, name, surface.texture)
        material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
    # MuJoCo moves a mesh to its centre of mass and turns it to its principal axes, and the geom with it.
    body.add_geom(
        type=mujoco.mjtGeom.mjGEOM_MESH,
        meshname=name,
        material=name,
        group=VISIBLE_GROUP,
        contype=0,
        conaffinity=0,
        mass=0,
    )


def add_texture(spec: Any, name: str, image: NDArray[np.uint8]) -> None:
    """Add an image [h, w, 3] as a 2D texture."""
    height, width = image.shape[:2]
    texture = spec.add_texture(name=name, type=mujoco.mjtTexture.mjTEXTURE_2D, width=width, height=height, nchannel=3)
    texture.data = np.ascontiguousarray(image, np.uint8).tobytes()
