"""Fixtures of the tests over DDS: a node in its own process, and a peer that talks to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (pip: ros-rclpy)")
pytest.importorskip("villa_msgs", reason="needs the interface package (pip install ./msg)")

import rclpy
from ros_graph import FAKE_NODE, Camera, Lifecycle, NodeProcess, Operator, Peer


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == FAKE_NODE.parent:
            item.add_marker(pytest.mark.ros)


@pytest.fixture(scope="session", autouse=True)
def _graph() -> Iterator[None]:
    rclpy.init()
    yield
    rclpy.try_shutdown()


@pytest.fixture
def peer() -> Iterator[Peer]:
    made = Peer()
    yield made
    made.close()


@pytest.fixture
def camera(peer: Peer) -> Camera:
    return Camera(peer)


@pytest.fixture
def operator(peer: Peer, camera: Camera) -> Operator:
    return Operator(peer, camera)


@pytest.fixture
def start_node(tmp_path: Path) -> Iterator[Callable[..., NodeProcess]]:
    """Start nodes with the given parameters; they end with the test."""
    started: list[NodeProcess] = []

    def start(script: Path | None = FAKE_NODE, **parameters: object) -> NodeProcess:
        log = tmp_path / f"node{len(started)}.log"
        started.append(NodeProcess(log, script, **parameters))
        return started[-1]

    yield start
    for node in started:
        if node.process.poll() is None:
            node.end()


@pytest.fixture
def lifecycle(peer: Peer) -> Lifecycle:
    return Lifecycle(peer)
