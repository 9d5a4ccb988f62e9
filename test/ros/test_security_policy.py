"""The SROS2 policy allows what the nodes use on a live graph, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from ros_graph import Peer

from villa_ros.node.security_policy import profile_of

SHIPPED = Path(__file__).parents[2] / "config" / "villa.policy.xml"


def made(*arguments: str) -> ET.Element:
    """What the command prints."""
    command = [sys.executable, "-m", "villa_ros.cli.main", "policy", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sys.path))}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return ET.fromstring(done.stdout)


def allowed(policy: ET.Element, node: str) -> dict[str, set[str]]:
    """Right -> names, of one node."""
    (profile,) = policy.iterfind(f".//profile[@node='{node}']")
    found: dict[str, set[str]] = {}
    for group in profile:
        (right,) = group.attrib
        found.setdefault(right, set()).update(name.text or "" for name in group)
    return found


def test_the_policy_is_what_a_live_node_uses(start_node: Any, peer: Peer) -> None:
    policy = made("--", "--ros-args", "-p", "cameras:=[left,right]", "-r", "left/image:=/front/left")
    rights = allowed(policy, "villa_node")
    start_node(cameras=["left", "right"])
    tracks = "/villa_node/right/tracks"
    peer.until(lambda: "villa_node" in peer.node.get_node_names(), "the node")

    def names(ask: Any) -> set[str]:
        return {name for name, _ in ask("villa_node", "/")}

    def used() -> dict[str, set[str]]:
        published = names(peer.node.get_publisher_names_and_types_by_node)
        heard = names(peer.node.get_subscriber_names_and_types_by_node)
        served = names(peer.node.get_service_names_and_types_by_node)
        return {
            "publish": {name for name in published if "/_action/" not in name},
            "subscribe": {"/front/left" if name == "/left/image" else name for name in heard},
            "reply": {name for name in served if "/_action/" not in name},
            "execute": {name.partition("/_action/")[0] for name in served if "/_action/" in name},
        }

    # Each endpoint is discovered by itself, in any order
    peer.until(lambda: all(rights[right] <= seen for right, seen in used().items()), "all that it uses")
    for right, seen in used().items():
        assert seen == rights[right], right
    console = allowed(policy, "villa_console")
    assert {"/front/left", "/right/image", tracks} <= console["subscribe"]
    assert console["publish"] >= {"/villa_node/command", "/villa_node/stop"}


def test_the_policy_that_ships_is_of_today() -> None:
    told = "run: villa policy --out config/villa.policy.xml"
    shipped = ET.parse(SHIPPED).getroot()
    today = made()
    for node in ("villa_node", "villa_console"):
        assert allowed(shipped, node) == allowed(today, node), told


def test_a_node_is_asked_what_it_uses(peer: Peer) -> None:
    profile = profile_of(peer.node)
    assert profile.node == "peer"
    assert "/rosout" in profile.publish
