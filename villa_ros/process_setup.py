"""What has to be set in a process of ours as it starts: images arrive and cost little, and no orphan stays."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

from villa_ros.share import share_path

PROFILE_VARIABLE = "FASTDDS_DEFAULT_PROFILES_FILE"
PARENT_VARIABLE = "VILLA_END_WITH_PARENT"

_M_TRIM_THRESHOLD = -1  # malloc.h
_M_MMAP_THRESHOLD = -3
_MMAP_THRESHOLD_BYTES = 32 * 1024 * 1024  # the most glibc takes
_TRIM_THRESHOLD_BYTES = 256 * 1024 * 1024
_PARENT_POLL_S = 0.5
_PARENT_GRACE_S = 10.0  # from asking the process to end to killing it


def keep_large_blocks() -> bool:
    """Let malloc reuse image-sized blocks; False where the C library has no mallopt (not glibc).

    By default every block above 128 KiB is mapped and unmapped anew, and the kernel zeroes its pages each
    time: for a 1080p image that costs more than the rest of its way from the network to the callback.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    wanted = ((_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES), (_M_TRIM_THRESHOLD, _TRIM_THRESHOLD_BYTES))
    return all(mallopt(option, value) for option, value in wanted)


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
