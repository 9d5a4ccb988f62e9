"""Metadata of villa_ros, for pip and for colcon's ament_python build."""

from __future__ import annotations

import os
from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "villa_ros"
ROOT = Path(__file__).resolve().parent  # colcon --symlink-install runs a link to this file
SHARE = f"share/{PACKAGE}"

# Folders of the package share -> where they are in the tree; villa_ros/runtime/package_share.py finds them again.
SHARED_FOLDERS = {
    "config": "config",
    "configs": "model/configs",
    "launch": "launch",
    "sample": "sample",
    "weights": "model/weights",
}


def readme() -> str:
    path = ROOT / "README.md"
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def requirements(name: str) -> list[str]:
    """The lines of requirements/<name>.txt without comments."""
    lines = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return [line.split("#")[0].strip() for line in lines if line.split("#")[0].strip()]


def data_files() -> list[tuple[str, list[str]]]:
    found = [
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (SHARE, ["package.xml", "LICENSE", "NOTICE"]),
    ]
    for target, source in SHARED_FOLDERS.items():
        for folder, subfolders, names in os.walk(ROOT / source):
            subfolders[:] = sorted(name for name in subfolders if name != "__pycache__")
            files = sorted(name for name in names if not name.startswith(".") and not name.endswith(".pyc"))
            if files:
                inside = Path(folder).relative_to(ROOT / source)
                at = Path(folder).relative_to(ROOT)
                there = (Path(SHARE) / target / inside).as_posix()
                found.append((there, [(at / name).as_posix() for name in files]))
    return found


setup(
    name="villa-ros",  # an unrelated `villa` exists on the package index
    version="0.1.0",
    description="Segments and tracks what a spoken-style request means in a robot's camera stream",
    long_description=readme(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    author="The villa_ros authors",
    maintainer="The villa_ros authors",
    maintainer_email="villa-ros@users.noreply.github.com",
    classifiers=[
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
    python_requires=">=3.10,<3.14",
    packages=[
        *find_packages(str(ROOT), include=[PACKAGE, f"{PACKAGE}.*"]),
        *find_packages(str(ROOT / "model"), include=["villa", "villa.*"]),
    ],
    package_dir={"villa": "model/villa"},  # colcon refuses a name mapped to itself
    package_data={
        "villa.data": ["*.json"],
        "villa.data.real_clips": ["*.json", "held/*.json", "seen/*.json"],
        "villa.data.language": ["*.yaml"],
        "villa.data.language.wordings": ["*.yaml"],
        "villa.data.scans": ["*.yaml"],
        "villa.modeling.language": ["*.yaml"],
        PACKAGE: ["speech/*.safetensors", "evaluation/report/*", "viewers/web/page/*"],
    },
    data_files=data_files(),
    install_requires=requirements("runtime"),
    extras_require={
        name: requirements(name)
        for name in (
            "ros",
            "opencv",
            "video",
            "ray",
            "report",
            "speech",
            "console",
            "rerun",
            "train",
            "data",
            "test",
            "colcon",
        )
    },
    entry_points={
        "console_scripts": [
            "villa = villa_ros.cli.main:main",
            "villa_node = villa_ros.node.villa_node:main",
            "villa_speech = villa_ros.speech.node:main",
        ],
    },
    zip_safe=False,
)
