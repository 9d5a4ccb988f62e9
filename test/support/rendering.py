"""For the tests of rendered clips: small scenes, and a named skip where nothing can draw off-screen."""

from __future__ import annotations

import functools

import pytest

from villa.data.scenes.scene import SceneConfig

SMALL = SceneConfig(width=160, height=120, frames=4)


@functools.cache
def why_not() -> str:
    """Why this machine cannot render; empty where it can."""
    from villa.data.scenes.physics import RenderError, mujoco
    from villa.data.scenes.render import open_renderer

    try:
        open_renderer(mujoco.MjSpec().compile(), 32, 32).close()
    except RenderError as error:
        return str(error)
    return ""


def needs_rendering() -> None:
    """Skip the test, by name, where nothing can draw off-screen."""
    if reason := why_not():
        pytest.skip(reason)
