"""What a full ROS 2 installation has beside what this package needs: used where it is there, never required."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any


@cache
def installed(module: str) -> Any:
    """The module, or None where it is not installed or cannot be loaded here.

    Wheels of some ROS packages import and then fail on the NumPy at hand: those count as not installed.
    """
    try:
        return importlib.import_module(module)
    except Exception:
        return None
