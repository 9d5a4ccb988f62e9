"""A node does not outlive the process that started it for itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ros_graph import FAKE_NODE

STARTER = """
import os, signal, subprocess, sys
from villa_ros.runtime.process import tied_to_this_process
node = subprocess.Popen([sys.executable, sys.argv[1]], env={**os.environ, **tied_to_this_process()})
print(node.pid, flush=True)
sys.stdin.readline()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_node_ends_when_the_process_that_started_it_is_killed(peer, lifecycle):
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(FAKE_NODE)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    node = int(starter.stdout.readline())
    peer.until(lambda: lifecycle.state() == "active", "the node to activate itself")
    starter.communicate("now\n")
    peer.until(lambda: _gone(node), "the node to end")


def _gone(process: int) -> bool:
    try:
        stat = Path(f"/proc/{process}/stat").read_text("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"  # dead, nobody has taken note yet
