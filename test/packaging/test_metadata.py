"""What pip and rosdep are told agrees with the tree."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def setup_arguments() -> dict[str, ast.expr]:
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    (setup,) = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "setup"]
    return {keyword.arg: keyword.value for keyword in setup.keywords if keyword.arg}


def requirement_lines(name: str) -> list[str]:
    lines = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return [line.split("#")[0].strip() for line in lines if line.split("#")[0].strip()]


def distribution(requirement: str) -> str:
    return re.split(r"[<>=~!;\[ ]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def test_one_version_everywhere() -> None:
    (version,) = {
        ast.literal_eval(setup_arguments()["version"]),
        ET.parse(ROOT / "package.xml").findtext("version"),
        ET.parse(ROOT / "msg" / "package.xml").findtext("version"),
        re.search(r'^version = "(.*)"', (ROOT / "msg" / "pyproject.toml").read_text(), re.MULTILINE)[1],
    }
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_one_licence_everywhere() -> None:
    assert ast.literal_eval(setup_arguments()["license"]) == "Apache-2.0"
    for package in (ROOT / "package.xml", ROOT / "msg" / "package.xml"):
        assert ET.parse(package).findtext("license") == "Apache-2.0"
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in licence
    assert "END OF TERMS AND CONDITIONS" in licence


def test_the_package_itself_requires_no_ros_and_no_opencv() -> None:
    """A native installation has both, and wheels of them would shadow its own."""
    names = {distribution(line) for line in requirement_lines("runtime")}
    assert names, "requirements/runtime.txt is empty"
    assert not {name for name in names if name.startswith(("ros-", "opencv", "villa"))}


def test_native_requirements_are_the_package_s_own_without_what_rosdep_brings() -> None:
    xml = (ROOT / "package.xml").read_text(encoding="utf-8")
    by_rosdep = {
        "numpy": "python3-numpy",
        "PyYAML": "python3-yaml",
        "jsonschema": "python3-jsonschema",
        "pillow": "python3-pil",
        "rich": "python3-rich",
        "scipy": "python3-scipy",
    }
    for line in requirement_lines("runtime"):
        name = re.split(r"[<>=]", line, maxsplit=1)[0]
        if name in by_rosdep:
            assert f">{by_rosdep[name]}<" in xml
        else:
            assert line in requirement_lines("native")
    assert set(requirement_lines("native")) <= set(requirement_lines("runtime"))


def test_no_requirement_pulls_a_second_opencv_or_torchvision() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        names = {distribution(line) for line in requirement_lines(path.stem)}
        assert not names & {"opencv-python", "opencv-contrib-python", "torchvision", "timm"}, path


@pytest.mark.parametrize(
    ("name", "ros"),
    [
        *((name, "kilted") for name in ("runtime", "opencv", "ros", "test", "colcon", "data", "train")),
        ("ros_jazzy", "jazzy"),
        ("colcon_jazzy", "jazzy"),
    ],
)
def test_every_requirement_is_pinned_by_a_constraint(name: str, ros: str) -> None:
    of_all = (*requirement_lines("constraints"), *requirement_lines(f"constraints_{ros}"))
    pinned = {distribution(line) for line in of_all} | {"torch"}
    exact = {distribution(line) for line in requirement_lines(name) if "==" in line}
    assert {distribution(line) for line in requirement_lines(name)} <= pinned | exact


ONLY_NATIVE = {"cv_bridge", "launch", "launch_ros", "message_filters", "sensor_msgs_py", "tf2_ros"}


def test_ros_packages_that_the_code_imports_are_declared() -> None:
    """In package.xml, for rosdep."""
    xml = ET.parse(ROOT / "package.xml").getroot()
    declared = {element.text for element in xml if element.tag.endswith("depend")}
    wheels = {distribution(line) for line in requirement_lines("constraints_kilted")}
    ros = {name.removeprefix("ros-").replace("-", "_") for name in wheels if name.startswith("ros-")}
    ros |= ONLY_NATIVE | {"villa_msgs"}
    imported = set()
    for path in [*(ROOT / "villa_ros").rglob("*.py"), *(ROOT / "launch").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                imported.add(node.module.split(".")[0])
            elif isinstance(node, ast.Import):
                imported.update(alias.name.split(".")[0] for alias in node.names)
    assert "rclpy" in imported & ros
    assert imported & ros <= declared


def test_only_the_adapters_import_ros() -> None:
    """Arrows go one way: villa and the pipeline know no ROS, villa knows no villa_ros."""
    forbidden = {
        ROOT / "model" / "villa": ("rclpy", "villa_ros", "villa_msgs", "sensor_msgs", "std_msgs"),
        ROOT / "villa_ros" / "pipeline": ("rclpy", "villa_msgs", "sensor_msgs", "std_msgs"),
    }
    for folder, names in forbidden.items():
        for path in folder.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                modules += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
                for module in modules:
                    assert module.split(".")[0] not in names, f"{path} imports {module}"


def test_the_two_distributions_are_asked_for_the_same_packages() -> None:
    kilted, jazzy = ({distribution(line) for line in requirement_lines(name)} for name in ("ros", "ros_jazzy"))
    assert kilted == jazzy


def test_the_interface_package_is_built_from_the_wheels_of_one_distribution(tmp_path: Path) -> None:
    made = {}
    for ros in ("kilted", "jazzy"):
        constraints = ROOT / "requirements" / f"constraints_{ros}.txt"
        command = [sys.executable, str(ROOT / ".ci" / "msg_of"), str(constraints), str(tmp_path / ros)]
        subprocess.run(command, check=True)
        made[ros] = (tmp_path / ros / "pyproject.toml").read_text(encoding="utf-8")
        named = dict(re.findall(r'"(ros-[\w-]+)(?:==|~=)([\w.]+)"', made[ros]))
        wheels = dict(line.split("==") for line in requirement_lines(f"constraints_{ros}"))
        assert named.items() <= wheels.items()
        assert (tmp_path / ros / "msg" / "Command.msg").is_file()
    own = dict(re.findall(r'"(ros-[\w-]+)~=([\w.]+)"', (ROOT / "msg" / "pyproject.toml").read_text(encoding="utf-8")))
    assert dict(re.findall(r'"(ros-[\w-]+)==([\w.]+)"', made["kilted"])) == own
    (tmp_path / "few.txt").write_text("ros-std-msgs==1.2.3\n")
    command = [sys.executable, str(ROOT / ".ci" / "msg_of"), str(tmp_path / "few.txt"), str(tmp_path / "few")]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "few.txt has no version of ros-" in refused.stderr


def test_make_names_the_distributions_that_it_knows() -> None:
    command = ["make", "--no-print-directory", "help", "ROS=foxy"]
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "ROS=foxy" in refused.stderr
    assert "kilted or jazzy" in refused.stderr


def test_the_container_takes_the_steps_of_the_page() -> None:
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    container = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    native = page[page.index("## With colcon") :]
    (steps,) = re.findall(r"```\ncd villa_ros\n(.*?)source install", native, re.DOTALL)
    flat = " ".join(container.replace("\\\n", " ").split())
    assert len(steps.splitlines()) == 3
    for step in steps.splitlines():
        assert step in flat, step


@pytest.mark.parametrize("target", ["setup", "demo", "test", "bench", "soak", "colcon", "clean", "data-setup"])
def test_make_help_names_every_target(target: str) -> None:
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert re.search(rf"^  make {target} +\S", shown.stdout, re.MULTILINE), shown.stdout


def test_the_packages_to_install_first_are_the_same_in_every_document() -> None:
    pattern = re.compile(r"^sudo apt-get install (git .*?)\s*(?:#.*)?$", re.MULTILINE)
    pages = [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/install.md")]
    (line,) = {pattern.search(page)[1] for page in pages}
    assert set(line.split()) == {"git", "make", "g++", "python3-venv", "python3-dev"}


def test_the_tree_names_no_package_host_and_no_home_folder() -> None:
    """Nothing here may depend on the machine it was written on."""
    git = shutil.which("git")
    if git is None:
        pytest.skip("no git here")
    listed = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    pattern = re.compile(r"(/root/|/home/\w+/|/var/tmp/|index-url|files\.pythonhosted)")
    for name in listed.stdout.decode().split("\0"):
        path = ROOT / name
        if not name or path == Path(__file__) or path.suffix not in {".py", ".md", ".txt", ".toml", ".cfg", ".xml", ""}:
            continue
        if path.is_file():
            found = pattern.search(path.read_text(encoding="utf-8"))
            assert found is None, f"{name} holds {found[0]!r}"
