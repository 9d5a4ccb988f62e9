"""What has to be set in a process of ours as it starts: images arrive, and no orphan stays."""

from __future__ import annotations

import os
import signal
import threading
import time

from villa_ros.runtime.package_share import share_path

PROFILE_VARIABLE = "FASTDDS_DEFAULT_PROFILES_FILE"
PARENT_VARIABLE = "VILLA_END_WITH_PARENT"

_PARENT_POLL_S = 0.5
_PARENT_GRACE_S = 10.0  # from asking the process to end to killing it


def use_shared_memory_profile() -> str:
    """Point Fast DDS at the shipped profile unless another one is set; returns the path in force.

    Fast DDS's default shared-memory segment is smaller than one VGA image, and best-effort images that do not
    fit are lost without a word. Call before rclpy.init(); harmless with other middlewares.
    """
    already = os.environ.get(PROFILE_VARIABLE)
    if already:
        return already
    path = share_path("config", "fastdds_shm.xml")
    os.environ[PROFILE_VARIABLE] = str(path)
    return str(path)


def tied_to_this_process() -> dict[str, str]:
    """What to add to the environment of a program that calls `end_with_parent`, so that it does not outlive us."""
    return {PARENT_VARIABLE: str(os.getpid())}


def end_with_parent() -> None:
    """End this process when the one that started it has died, if that one asked for it; else do nothing.

    A killed demonstration or test cannot end its node any more, and the node would go on answering whoever next
    uses its DDS domain. SIGTERM first, so that requests are ended in order.
    """
    given = os.environ.pop(PARENT_VARIABLE, "")
    if given:
        threading.Thread(target=_outlive, args=(int(given),), name="parent-watch", daemon=True).start()


def _outlive(parent: int) -> None:
    while os.getppid() == parent:  # an orphan is handed to another process at once
        time.sleep(_PARENT_POLL_S)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PARENT_GRACE_S)
    os.kill(os.getpid(), signal.SIGKILL)
