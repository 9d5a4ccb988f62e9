"""The one door to MuJoCo, so that a missing library is one clear error."""

from __future__ import annotations

import os

__all__ = ["RenderError", "mujoco"]

INSTALL = "apt-get install libosmesa6 and set MUJOCO_GL=osmesa, or MUJOCO_GL=egl where a driver with EGL is installed"


class RenderError(RuntimeError):
    """The machine cannot draw off-screen."""


try:
    import mujoco
except ModuleNotFoundError as error:
    if error.name != "mujoco":
        raise
    raise RenderError("scenes need MuJoCo: pip install mujoco==3.14.0") from error
except (ImportError, AttributeError, OSError) as error:
    # PyOpenGL looks up a function of the library that it did not find: an AttributeError while importing.
    backend = os.environ.get("MUJOCO_GL", "(unset)")
    raise RenderError(f"no off-screen OpenGL with MUJOCO_GL={backend} ({error}): {INSTALL}") from error
