"""The check before anything is set up: each lack is seen in the first second, all of them at once, with its remedy.

The machine is a PATH of links to this one's real programs, of which one or the other is left out or replaced.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from installing import ROOT, outside_environment

CHECK = ROOT / ".ci" / "check_machine"
TOOLS = (
    "bash", "cut", "df", "du", "env", "grep", "head", "id", "mktemp", "readlink", "rm", "sed", "sort", "tail", "tr",
    "uname",
)  # fmt: skip
COMPILERS = ("as", "ld", "cc", "c++")
THIS = f"{sys.version_info[0]}.{sys.version_info[1]}"
DEBIAN, FEDORA = ("apt-get",), ("dnf",)


@dataclass
class Machine:
    """A folder of programs, and what else the check looks at."""

    programs: Path

    def have(self, *names: str) -> None:
        for name in names:
            (self.programs / name).symlink_to(shutil.which(name) or pytest.fail(f"this machine itself has no {name}"))

    def script(self, name: str, text: str) -> str:
        """Put a program in place of the real one."""
        program = self.programs / name
        program.unlink(missing_ok=True)
        program.write_text(text, encoding="utf-8")
        program.chmod(0o755)
        return name

    def python(self, sitecustomize: str = "") -> str:
        """The Python of these tests, after it has run `sitecustomize`."""
        folder = self.programs.parent / "site"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(sitecustomize, encoding="utf-8")
        base = Path(sys.base_prefix) / "bin" / f"python{THIS}"
        return self.script("python3", f'#!/bin/sh\nPYTHONPATH="{folder}" exec "{base}" "$@"\n')

    def check(self, python: str, *what: str, **variables: str) -> subprocess.CompletedProcess[str]:
        home = self.programs.parent / "home"
        home.mkdir(exist_ok=True)
        environment = {"PATH": str(self.programs), "HOME": str(home), "LC_ALL": "C", **variables}
        venv = self.programs.parent / "venv"
        return subprocess.run(
            [str(CHECK), python, str(venv), *what], env=environment, capture_output=True, text=True, check=False
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """One with everything but a Python and a package manager."""
    made = Machine(tmp_path / "bin")
    made.programs.mkdir()
    made.have(*TOOLS, *COMPILERS)
    return made


@pytest.fixture
def bare(tmp_path: Path) -> Callable[..., Machine]:
    """One with a package manager and nothing that the check looks for."""

    def make(manager: tuple[str, ...]) -> Machine:
        made = Machine(tmp_path / "bin")
        made.programs.mkdir()
        made.have(*TOOLS)
        for name in manager:
            made.script(name, "#!/bin/sh\nexit 0\n")
        return made

    return make


FROM_DISTRIBUTION = "import sys\nsys.base_prefix = '/usr'\n"
NO_HEADERS = "import sysconfig\nsysconfig.get_path = lambda name: '/nowhere/include'\n"
NO_VENV = "import sys\nsys.modules['ensurepip'] = None\n"
OLD = "import sys\nsys.version_info = (3, 9, 2, 'final', 0)\n"


def test_the_machine_that_runs_the_tests_passes() -> None:
    done = subprocess.run(
        [str(CHECK), sys.executable, str(ROOT / ".venv"), "environment", "test", "build"],
        env=outside_environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_machine_with_everything_passes(machine: Machine) -> None:
    done = machine.check(machine.python(), "environment", "test", "build")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_bare_machine_is_told_all_of_it_at_once_in_one_line_to_copy(bare: Callable[..., Machine]) -> None:
    machine = bare(DEBIAN)
    machine.script("id", "#!/bin/sh\necho 1000\n")
    done = machine.check("", "environment", "build")
    assert done.returncode == 1
    for words in ("Python: python3 is not in PATH", "C compiler: none of cc gcc clang", "C++ compiler: none of c++"):
        assert words in done.stderr
    line = "sudo apt-get update && sudo apt-get install -y g++ python3 python3-dev python3-venv"
    assert f"  {line}\n" in done.stderr


def test_a_bare_fedora_is_told_its_own_package_names(bare: Callable[..., Machine]) -> None:
    machine = bare(FEDORA)
    machine.script("id", "#!/bin/sh\necho 0\n")
    done = machine.check("", "environment", "build")
    assert "  dnf install -y gcc-c++ python3 python3-devel\n" in done.stderr


def test_debians_python_without_its_two_other_packages(bare: Callable[..., Machine]) -> None:
    machine = bare(DEBIAN)
    machine.have(*COMPILERS)
    python = machine.python(FROM_DISTRIBUTION + NO_HEADERS + NO_VENV)
    done = machine.check(python, "environment", "build")
    assert done.returncode == 1
    assert "venv: python3 cannot make virtual environments: " in done.stderr
    assert "Python's headers: no /nowhere/include/Python.h" in done.stderr
    assert f"apt-get install -y python{THIS}-dev python{THIS}-venv\n" in done.stderr
    assert "compiler:" not in done.stderr


def test_a_python_that_is_not_the_distributions_is_not_completed_from_there(bare: Callable[..., Machine]) -> None:
    machine = bare(DEBIAN)
    machine.have(*COMPILERS)
    done = machine.check(machine.python("import sys\nsys.base_prefix = '/opt/own'\n" + NO_HEADERS), "build")
    assert done.returncode == 1
    assert "the Python in /opt/own is none of the distribution's" in done.stderr
    assert "apt-get" not in done.stderr


def test_an_old_python_is_named_with_one_that_would_do(machine: Machine) -> None:
    python = machine.python(OLD)
    done = machine.check(python, "environment")
    assert "python3 is 3.9, wanted 3.10 to 3.13: install one" in done.stderr
    machine.script("python3.12", "#!/bin/sh\nexit 0\n")
    done = machine.check(python, "environment")
    assert done.returncode == 1
    assert "this machine has one: make PYTHON=python3.12" in done.stderr


def test_a_python_that_does_not_run_is_quoted(machine: Machine) -> None:
    done = machine.check(machine.script("python3", "#!/bin/sh\necho 'no libpython' >&2\nexit 127\n"), "environment")
    assert "Python: python3 does not run: no libpython" in done.stderr


@pytest.mark.parametrize(("name", "language"), [("cc", "C"), ("c++", "C++")])
def test_a_compiler_that_makes_no_program_is_quoted(machine: Machine, name: str, language: str) -> None:
    machine.script(name, "#!/bin/sh\necho 'ld: error: cannot find crt1.o' >&2\nexit 1\n")
    done = machine.check(machine.python(), "build")
    assert done.returncode == 1
    assert f"  {language} compiler: {name} cannot make a program: ld: error: cannot find crt1.o\n" in done.stderr


def test_the_compiler_that_cmake_is_told_to_take_is_the_one_that_is_tried(machine: Machine) -> None:
    python = machine.python()
    assert machine.check(python, "build", CXX="c++ -Wall").returncode == 0
    done = machine.check(python, "build", CXX="no-such-compiler")
    assert done.returncode == 1
    assert "C++ compiler: no-such-compiler cannot make a program" in done.stderr


def test_compilers_and_headers_are_not_asked_for_where_nothing_is_compiled(bare: Callable[..., Machine]) -> None:
    machine = bare(DEBIAN)
    done = machine.check(machine.python(NO_HEADERS), "environment")
    assert (done.returncode, done.stderr) == (0, "")


DF = """#!/bin/sh
echo Filesystem 1024-blocks Used Available Capacity Mounted on
echo /dev/disk 99999999 0 {free_kb} 0% /small
"""


def test_a_disk_that_is_too_small_is_told_with_what_it_has_to_hold(machine: Machine) -> None:
    python = machine.python()
    machine.script("df", DF.format(free_kb=1_000_000))
    done = machine.check(python, "environment")
    assert done.returncode == 1
    assert "disk: 976 MB free on /small, wanted " in done.stderr
    assert "pip's cache" in done.stderr
    assert "make VENV=" in done.stderr


def test_the_test_tools_want_more_room_than_the_demo_and_no_cache_less(machine: Machine) -> None:
    python = machine.python()
    machine.script("df", DF.format(free_kb=1024))

    def wanted_mb(*what: str, **variables: str) -> int:
        return int(machine.check(python, *what, **variables).stderr.partition("wanted ")[2].split()[0])

    demo = wanted_mb("environment")
    assert wanted_mb("environment", "test") > demo > wanted_mb("environment", PIP_NO_CACHE_DIR="1")
    there = machine.programs.parent / "venv"
    there.mkdir()
    (there / "torch").write_bytes(os.urandom(5_000_000))
    assert wanted_mb("environment") == pytest.approx(demo - 5, abs=1)


def test_a_mistyped_question_is_refused(machine: Machine) -> None:
    done = machine.check(machine.python(), "enviroment")
    assert done.returncode == 2
    assert "enviroment is none of environment, test, build" in done.stderr


def test_make_asks_before_it_makes_anything(machine: Machine, tmp_path: Path) -> None:
    """The real Makefile on a machine without compilers: it ends with the check's words, and no environment is there."""
    machine.have("awk", "cat", "find", "make", "sha256sum")
    for name in COMPILERS:
        (machine.programs / name).unlink()
    clone = tmp_path / "clone"
    clone.mkdir()
    for name in (".ci", "msg", "requirements"):
        shutil.copytree(ROOT / name, clone / name)
    shutil.copy(ROOT / "Makefile", clone)
    environment = {"PATH": str(machine.programs), "HOME": str(tmp_path)}
    command = ["make", "demo", f"PYTHON={machine.python(NO_HEADERS)}"]
    done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    for words in ("C++ compiler: none of", "/nowhere/include/Python.h"):
        assert words in done.stderr
    assert not (clone / ".venv").exists()
