"""The house: rooms stand above what they import, nothing imports in a circle, and few files lie flat.

A room is a folder directly in a package, or a file there. The tables below name them from the top down, with those that
may not know each other in one row.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from installing import ROOT

PACKAGES = {"villa_ros": ROOT / "villa_ros", "villa": ROOT / "model" / "villa"}
ROOMS = {
    "villa_ros": (
        ("__main__",),
        ("cli",),
        ("bench",),
        ("viewers", "evaluation"),
        ("replay",),
        ("speech", "video"),
        ("node", "examples"),
        ("client", "bags"),
        ("conversions", "parallel"),
        ("runtime",),
        ("pipeline",),
    ),
    "villa": (
        ("training",),
        ("evaluation",),
        ("predictor",),
        ("data", "checkpoints", "inference"),
        ("modeling",),
        ("config", "interface", "images"),
        ("files",),
        ("masks",),
    ),
}
MOST_FLAT_FILES = {"villa_ros": 3, "villa": 5}


@dataclass(frozen=True)
class Import:
    """One module imports another; both by their dotted names."""

    importer: str
    imported: str
    line: int

    def __str__(self) -> str:
        return f"{self.importer} (line {self.line}) imports {self.imported}"


def modules_of(package: str, folder: Path) -> dict[str, Path]:
    """Dotted name -> file, of every module of a package."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = (package, *path.relative_to(folder).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(modules: Mapping[str, Path]) -> Iterator[Import]:
    """Every import of one of these modules by another, wherever in a file it stands."""
    for importer, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{path}: relative imports are not used here"
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                # a package's own door is for users: behind it a circle would not be seen
                own_door = node.module == importer.split(".")[0] and not set(names) <= set(modules)
                assert not own_door, f"{path}, line {node.lineno}: import {names} from where it is defined"
            else:
                continue
            for name in names:
                while name and name not in modules:  # a definition in a module, or another package's module
                    name = name.rpartition(".")[0]
                if (
                    "." in name
                    and name != importer
                    and not (path.name == "__init__.py" and name.startswith(f"{importer}."))
                ):
                    yield Import(importer, name, node.lineno)


def circles(arrows: Mapping[str, set[str]]) -> list[list[str]]:
    """The strongly connected components of more than one node (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in arrows.get(node, ()):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            circle = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(circle) > 1:
                found.append(sorted(circle))

    for node in arrows:
        if node not in index:
            visit(node)
    return found


def arrows_that_run_up(rooms: tuple[tuple[str, ...], ...], imports: list[Import]) -> list[Import]:
    """Imports from a room to one that does not stand below it."""
    floor = {room: -number for number, row in enumerate(rooms) for room in row}

    def room(module: str) -> str:
        return [*module.split("."), ""][1]

    inside = [arrow for arrow in imports if room(arrow.importer) and room(arrow.imported)]
    return [
        arrow
        for arrow in inside
        if room(arrow.importer) != room(arrow.imported) and floor[room(arrow.imported)] >= floor[room(arrow.importer)]
    ]


def circles_by_folder(imports: list[Import]) -> list[list[str]]:
    """Circles among files, and among the folders and files that lie in one folder, at every depth."""
    found = []
    deepest = max((arrow.importer.count(".") for arrow in imports), default=0)
    for depth in range(1, deepest + 1):
        arrows: dict[str, set[str]] = {}
        for arrow in imports:
            a, b = (name.split(".") for name in (arrow.importer, arrow.imported))
            if len(a) > depth and len(b) > depth and a[:depth] == b[:depth] and a[depth] != b[depth]:
                arrows.setdefault(".".join(a[: depth + 1]), set()).add(".".join(b[: depth + 1]))
        found += circles(arrows)
    return found


@pytest.fixture(scope="module")
def imports() -> dict[str, list[Import]]:
    return {package: list(imports_of(modules_of(package, folder))) for package, folder in PACKAGES.items()}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_room_is_in_the_table(package: str) -> None:
    named = {room for row in ROOMS[package] for room in row}
    there = {name.split(".")[1] for name in modules_of(package, PACKAGES[package]) if "." in name}
    assert there == named


@pytest.mark.parametrize("package", PACKAGES)
def test_a_room_imports_only_rooms_below_it(package: str, imports: dict[str, list[Import]]) -> None:
    upward = arrows_that_run_up(ROOMS[package], imports[package])
    assert not upward, "these imports run up or sideways:\n" + "\n".join(map(str, upward))


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_imports_in_a_circle(package: str, imports: dict[str, list[Import]]) -> None:
    found = circles_by_folder(imports[package])
    between = [str(arrow) for circle in found for arrow in imports[package] if _inside(arrow, circle)]
    assert not found, f"circles: {found}; they are tied by\n" + "\n".join(between)


def _inside(arrow: Import, circle: list[str]) -> bool:
    ends = [
        [part for part in circle if name == part or name.startswith(f"{part}.")]
        for name in (arrow.importer, arrow.imported)
    ]
    return all(ends) and ends[0] != ends[1]


def test_the_model_knows_no_ros_and_the_pipeline_imports_none() -> None:
    foreign = ("rclpy", "villa_ros", "villa_msgs", "sensor_msgs", "std_msgs", "rosbags")
    files = [*PACKAGES["villa"].rglob("*.py"), *(PACKAGES["villa_ros"] / "pipeline").rglob("*.py")]
    for path in files:
        allowed = {"villa_ros"} if path.is_relative_to(PACKAGES["villa_ros"]) else set()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            known = [name for name in names if name.split(".")[0] in foreign]
            assert all(name.split(".")[0] in allowed for name in known), f"{path} imports {known}"


@pytest.mark.parametrize("package", PACKAGES)
def test_few_files_lie_flat(package: str) -> None:
    flat = sorted(path.name for path in PACKAGES[package].glob("*.py"))
    assert len(flat) <= MOST_FLAT_FILES[package], flat


def test_the_check_sees_a_circle_and_an_arrow_that_runs_up(tmp_path: Path) -> None:
    """Lazy imports and those for types count too."""
    sources = {
        "low/a.py": "def late():\n    from pack.high.b import thing\n",
        "high/b.py": "from pack.high import c\n",
        "high/c.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pack.high.b import thing\n",
        "high/deep/d.py": "import pack.high.e\n",
        "high/e.py": "from pack.high.deep.d import other\n",
    }
    for name, text in sources.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        (tmp_path / name).with_name("__init__.py").write_text("")
    (tmp_path / "__init__.py").write_text("")
    seen = list(imports_of(modules_of("pack", tmp_path)))
    upward = arrows_that_run_up((("high",), ("low",)), seen)
    assert [(arrow.importer, arrow.imported) for arrow in upward] == [("pack.low.a", "pack.high.b")]
    assert circles_by_folder(seen) == [["pack.high.b", "pack.high.c"], ["pack.high.deep", "pack.high.e"]]
