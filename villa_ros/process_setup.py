"""What has to be set in this process before rclpy starts, so that images arrive and cost little."""

from __future__ import annotations

import ctypes
import os
import sys

from villa_ros.share import share_path

PROFILE_VARIABLE = "FASTDDS_DEFAULT_PROFILES_FILE"

_M_TRIM_THRESHOLD = -1  # malloc.h
_M_MMAP_THRESHOLD = -3
_MMAP_THRESHOLD_BYTES = 32 * 1024 * 1024  # the most glibc takes
_TRIM_THRESHOLD_BYTES = 256 * 1024 * 1024


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
