"""What each way to install leaves behind, and that `share_path` finds it there."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from installing import ROOT, check_output, outside_environment

from villa_ros.runtime.package_share import share_path

# What a user of an installation does, in a process that sees nothing of the tree.
ASK = """
import sys
from villa_ros.runtime.package_share import share_path
import villa, villa_ros
import villa.data.language.wordings.widened  # reads every file of wordings
print(villa_ros.__file__)
print(villa.__file__)
print(share_path())
for part in sys.argv[1:]:
    print(share_path(*part.split("/")).resolve())
"""


def shipped() -> dict[str, Path]:
    """A file of each folder of the share, subfolders among them, by its name in the share."""
    wanted = {}
    for name, source in {
        "config": "config",
        "configs": "model/configs",
        "launch": "launch",
        "sample": "sample",
        "weights": "model/weights",
    }.items():
        files = sorted(path for path in (ROOT / source).rglob("*") if path.is_file() and path.suffix != ".pyc")
        first: dict[Path, Path] = {}
        for path in files:
            if not path.name.startswith("."):
                first.setdefault(path.parent, path)
        wanted |= {f"{name}/{path.relative_to(ROOT / source).as_posix()}": path for path in first.values()}
    assert any(name.startswith("config/") for name in wanted)
    assert any(name.startswith("configs/parts/") for name in wanted)
    return wanted


def test_share_path_in_a_checkout_needs_nothing_but_pythonpath(tmp_path: Path) -> None:
    paths = f"{ROOT}:{ROOT / 'model'}"
    lines = check_output([sys.executable, "-c", ASK, *shipped()], cwd=tmp_path, PYTHONPATH=paths).splitlines()
    assert lines[2] == str(ROOT)
    assert lines[3:] == [str(path) for path in shipped().values()]


def test_share_path_names_what_is_missing() -> None:
    with pytest.raises(FileNotFoundError, match=r"no_such_file\.bin does not exist"):
        share_path("weights", "no_such_file.bin")


def test_share_path_names_where_it_looked_when_nothing_is_installed(tmp_path: Path) -> None:
    package = tmp_path / "site" / "villa_ros"
    module = package / "runtime" / "package_share.py"
    module.parent.mkdir(parents=True)
    for folder in (package, module.parent):
        (folder / "__init__.py").touch()
    module.write_bytes((ROOT / "villa_ros" / "runtime" / "package_share.py").read_bytes())
    ask = "import sys; sys.path.insert(0, sys.argv[1]); import villa_ros.runtime.package_share as s; s.share_path()"
    done = subprocess.run(
        [sys.executable, "-c", ask, str(package.parent)],
        cwd=tmp_path,
        env=outside_environment(AMENT_PREFIX_PATH=str(tmp_path)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert f"no share/villa_ros in any folder above {module}" in done.stderr
    assert str(tmp_path) in done.stderr


def test_the_wheel_holds_both_packages_and_the_whole_share(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        (entry_points,) = [name for name in names if name.endswith(".dist-info/entry_points.txt")]
        requires = [line for line in archive.read(metadata).decode().splitlines() if line.startswith("Requires-Dist:")]
        scripts = archive.read(entry_points).decode()
    for folder, top in ((ROOT / "villa_ros", ROOT), (ROOT / "model" / "villa", ROOT / "model")):
        sources = {path.relative_to(top).as_posix() for end in ("py", "yaml") for path in folder.rglob(f"*.{end}")}
        assert sources <= names, sources - names
    assert "villa/data/language/wordings/training.yaml" in names
    data = wheel.name.rsplit("-", 3)[0] + ".data/data/"
    assert {f"{data}share/villa_ros/{name}" for name in shipped()} <= names
    assert f"{data}share/ament_index/resource_index/packages/villa_ros" in names
    assert f"{data}share/villa_ros/package.xml" in names
    assert not [name for name in names if name.startswith(("test/", "msg/")) or name.endswith(".pyc")]
    assert not [line for line in requires if ("ros-" in line or "opencv" in line) and "extra ==" not in line]
    assert "villa = villa_ros.cli.main:main" in scripts
    assert "villa_node = villa_ros.node.villa_node:main" in scripts


def test_share_path_after_pip_install(wheel: Path, tmp_path: Path) -> None:
    """Into a prefix of its own: the layout of a virtual environment, without another copy of torch."""
    options = ["--quiet", "--no-deps", "--ignore-installed", "--prefix", str(tmp_path)]
    check_output([sys.executable, "-m", "pip", "install", *options, str(wheel)], cwd=tmp_path)
    (site,) = tmp_path.glob("lib/python3*/site-packages")
    lines = check_output([sys.executable, "-c", ASK, *shipped()], cwd=tmp_path, PYTHONPATH=str(site)).splitlines()
    share = tmp_path / "share" / "villa_ros"
    assert lines[0].startswith(str(site))
    assert lines[1].startswith(str(site))
    assert lines[2] == str(share)
    assert lines[3:] == [str(share / name) for name in shipped()]
    assert (tmp_path / "bin" / "villa").exists()
    assert (tmp_path / "bin" / "villa_node").exists()


ASK_INDEX = """
from ament_index_python.packages import get_package_prefix, get_package_share_directory
for package in ("villa_ros", "villa_msgs"):
    print(get_package_prefix(package), get_package_share_directory(package))
import villa_msgs.msg
print(villa_msgs.__file__)
"""


def ask_sourced(install: Path, script: str, *arguments: str) -> list[str]:
    """Run Python in a shell that has sourced the workspace, as a user would."""
    shell = f'source "{install}/setup.bash" && exec "$0" "$@"'
    command = ["bash", "-c", shell, sys.executable, "-c", script, *arguments]
    return check_output(command, cwd=install, AMENT_PREFIX_PATH=sys.prefix).splitlines()


@pytest.mark.slow
def test_colcon_builds_both_packages_and_the_index_finds_them(colcon_workspace: Callable[..., Path]) -> None:
    pytest.importorskip("ament_index_python", reason="no ROS 2 here: pip install -r requirements/ros.txt")
    install = colcon_workspace()
    villa_ros, villa_msgs, generated = ask_sourced(install, ASK_INDEX)
    assert villa_ros == f"{install}/villa_ros {install}/villa_ros/share/villa_ros"
    assert villa_msgs == f"{install}/villa_msgs {install}/villa_msgs/share/villa_msgs"
    assert generated.startswith(str(install / "villa_msgs"))
    for executable in ("villa", "villa_node"):  # where `ros2 run villa_ros` looks
        assert (install / "villa_ros" / "lib" / "villa_ros" / executable).is_file()
    lines = ask_sourced(install, ASK, *shipped())
    share = install / "villa_ros" / "share" / "villa_ros"
    assert lines[0].startswith(str(install))
    assert lines[1].startswith(str(install))
    assert lines[2] == str(share)
    assert lines[3:] == [str(share / name) for name in shipped()]


@pytest.mark.slow
def test_share_path_after_colcon_symlink_install(colcon_workspace: Callable[..., Path], source_copy: Path) -> None:
    """Linked to the sources: an edited configuration or checkpoint is in force without building again."""
    install = colcon_workspace("--symlink-install", "--base-paths", ".")
    lines = ask_sourced(install, ASK, *shipped())
    assert Path(lines[0]).resolve() == source_copy / "villa_ros" / "__init__.py"
    assert Path(lines[1]).resolve() == source_copy / "model" / "villa" / "__init__.py"
    assert lines[2] == str(source_copy)
    assert lines[3:] == [str(source_copy / path.relative_to(ROOT)) for path in shipped().values()]
    for name in shipped():
        assert (install / "villa_ros" / "share" / "villa_ros" / name).exists()
