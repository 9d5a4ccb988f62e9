"""Installations to look at: a wheel of this tree, a venv with it, a colcon workspace on the ROS 2 wheels."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from installing import ROOT, check_output

_NOT_SOURCES = shutil.ignore_patterns(
    ".git", ".venv*", ".cache", ".*_cache", "__pycache__", "build", "install", "log", "out", "runs", "*.egg-info"
)


@pytest.fixture(scope="session")
def source_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree, so that building leaves nothing in it; weights are linked, not copied."""
    copy = tmp_path_factory.mktemp("source") / "villa_ros"
    shutil.copytree(ROOT, copy, ignore=_NOT_SOURCES, copy_function=_link_or_copy)
    return copy


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


@pytest.fixture(scope="session")
def wheel(source_copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that `pip install .` makes, without asking any index."""
    folder = tmp_path_factory.mktemp("wheel")
    check_output(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder), "."],
        cwd=source_copy,
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def colcon_workspace(source_copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Build the tree with pip's colcon and return the install folder."""
    binaries = Path(sys.executable).parent
    if not (binaries / "colcon").exists():
        pytest.skip(f"no colcon in {binaries}: pip install -r requirements/colcon.txt")

    def build(*options: str) -> Path:
        out = tmp_path_factory.mktemp("colcon")
        script = str(source_copy / ".ci" / "colcon_on_wheels")
        check_output([script, str(binaries), str(out), *options], cwd=source_copy)
        return out / "install"

    return build
