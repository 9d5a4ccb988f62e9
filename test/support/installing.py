"""Commands as a user would give them in a new shell."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def outside_environment(**extra: str) -> dict[str, str]:
    """The environment of a new shell: nothing of this process's paths, nor of the ROS wheels' interpreter."""
    dropped = {"PYTHONPATH", "LD_LIBRARY_PATH", "_ROS_WHEELS_BOOTSTRAP_COMPLETE", "AMENT_PREFIX_PATH", "VIRTUAL_ENV"}
    return {name: value for name, value in os.environ.items() if name not in dropped} | extra


def check_output(command: list[str], cwd: Path, **extra: str) -> str:
    """Standard output of a command that has to succeed; what it printed is in the failure."""
    environment = outside_environment(**extra)
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout
