"""Whether a node in another process knows the end points of this one."""

from __future__ import annotations

from villa_ros.runtime.acquaintance import Acquaintance


def test_a_node_is_met_when_it_comes_and_again_when_it_was_away(start_node, peer):
    acquaintance = Acquaintance(peer.node, "/villa_node")
    assert not acquaintance.made()
    node = start_node()
    peer.until(acquaintance.made, "the node to answer")
    node.end()
    peer.until(lambda: not acquaintance.made(), "the node to be gone")
    start_node()
    peer.until(acquaintance.made, "the second node to answer")
    acquaintance.destroy()
