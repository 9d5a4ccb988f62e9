"""Chooses the OpenGL back end before any test module imports MuJoCo, which reads it once."""

import villa.data  # noqa: F401
