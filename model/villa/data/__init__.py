"""Training data: rendered table-top clips with exact masks, and requests made from each scene's facts.

MuJoCo picks its OpenGL back end when it is imported. Where the environment does not say and there is no display,
the first installed off-screen one is taken: OSMesa, then EGL.
"""

from __future__ import annotations

import os
import sys
from ctypes.util import find_library

if sys.platform == "linux" and "MUJOCO_GL" not in os.environ and not os.environ.get("DISPLAY"):
    if find_library("OSMesa"):
        os.environ["MUJOCO_GL"] = "osmesa"
    elif find_library("EGL"):
        os.environ["MUJOCO_GL"] = "egl"
