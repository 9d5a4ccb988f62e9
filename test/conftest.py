"""For every test: the tree's own code, loopback only, a DDS domain for each process; skips fail where CI says so."""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
NO_SKIP = os.environ.get("VILLA_NO_SKIP") == "1"

_domain = None


def pytest_configure(config: pytest.Config) -> None:
    global _domain
    for name in ("COLUMNS", "LINES"):  # xdist sets them; what a command prints must not depend on who runs the tests
        os.environ.pop(name, None)
    # Workers share the cores: two that each compute on all of them wait for each other, on a busy machine for minutes.
    # xdist's workers inherit this; what a test starts does, too.
    workers = getattr(config.option, "numprocesses", None) or 1
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)
    # The processes that tests start run the same code as the tests (pyproject.toml's pythonpath).
    os.environ["PYTHONPATH"] = os.pathsep.join(map(str, (ROOT, ROOT / "model", ROOT / "test" / "support")))
    try:
        from domain_coordinator import domain_id
    except ImportError:  # no ROS here; the tests that need it skip by name
        return
    _domain = domain_id()
    os.environ["ROS_DOMAIN_ID"] = str(_domain.__enter__())


def pytest_unconfigure(config: pytest.Config) -> None:
    global _domain
    if _domain is not None:
        _domain.__exit__(None, None, None)
        _domain = None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that several workers end at about the same time."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def _not_allowed(nodeid: str, report: pytest.TestReport | pytest.CollectReport) -> str:
    longrepr = report.longrepr
    reason = longrepr[2] if isinstance(longrepr, tuple) else longrepr
    return f"{nodeid} was skipped, and VILLA_NO_SKIP=1 allows no skip: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[Any]:
    """With VILLA_NO_SKIP=1 a skip is a failure; a GPU, and what only a ROS 2 installation has, may be missing."""
    report: pytest.TestReport = yield
    expected_failure = hasattr(report, "wasxfail")
    may_be_missing = any(item.get_closest_marker(name) for name in ("gpu", "native"))
    if NO_SKIP and report.skipped and not expected_failure and not may_be_missing:
        report.outcome = "failed"
        report.longrepr = _not_allowed(item.nodeid, report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[Any]:
    """The same for a module that skips itself while it is imported."""
    report: pytest.CollectReport = yield
    if NO_SKIP and report.skipped:
        report.outcome = "failed"
        report.longrepr = _not_allowed(collector.nodeid, report)
    return report


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    """20 frames with a moving red box, and a command for it after half a second."""
    from small_bags import stamp, write_bag

    from villa_ros.pipeline.request import Request

    return write_bag(tmp_path / "bag", commands=[Request("red", "the red box", stamp_ns=stamp(5))])


@pytest.fixture
def fake_model(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """`villa` commands get the fake model; returns what they asked for."""
    from fakes import BlobModel

    import villa_ros.cli.bench
    import villa_ros.cli.evaluate
    import villa_ros.cli.main
    import villa_ros.cli.replay

    asked: list[tuple[str, str]] = []

    def load(checkpoint: str, device: str, threads: int = 0) -> BlobModel:
        asked.append((checkpoint, device))
        return BlobModel()

    for module in (villa_ros.cli.main, villa_ros.cli.bench, villa_ros.cli.evaluate, villa_ros.cli.replay):
        monkeypatch.setattr(module, "open_model", load)
    return asked


class LaunchEntity:
    """What a stand-in for a launch class remembers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args, self.kwargs = args, kwargs


_LAUNCH_NAMES = {
    "launch": ("LaunchDescription",),
    "launch.actions": ("DeclareLaunchArgument", "ExecuteProcess", "IncludeLaunchDescription", "SetEnvironmentVariable"),
    "launch.launch_description_sources": ("PythonLaunchDescriptionSource",),
    "launch.substitutions": ("LaunchConfiguration",),
    "launch_ros": (),
    "launch_ros.actions": ("Node",),
    "launch_ros.parameter_descriptions": ("ParameterValue",),
}


@pytest.fixture
def fake_launch(monkeypatch: pytest.MonkeyPatch) -> dict[str, type[LaunchEntity]]:
    """The part of launch and launch_ros that launch files here use, recording; for machines without them."""
    kinds: dict[str, type[LaunchEntity]] = {}
    for module_name, names in _LAUNCH_NAMES.items():
        module = types.ModuleType(module_name)
        for name in names:
            kinds[name] = type(name, (LaunchEntity,), {})
            setattr(module, name, kinds[name])
        monkeypatch.setitem(sys.modules, module_name, module)
    return kinds
