"""How this process keeps memory: blocks are used again, and resident memory stays where it was after the start."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

from villa_ros.pipeline.config import MIB

_M_TRIM_THRESHOLD = -1  # malloc.h
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_MMAP_THRESHOLD_BYTES = 32 * MIB  # the most glibc takes
_TRIM_THRESHOLD_BYTES = 256 * MIB
_BLOCK_BYTES = 16 * MIB  # below the threshold above, so that it comes from the heap
_STATM = Path("/proc/self/statm")  # proc(5): second field, resident pages
RESERVE_BYTES = 144 * MIB  # some 60 of it were free already after loading the default model


def resident_mb() -> float:
    """Resident set size of this process, MB (10^6 bytes); Linux only."""
    pages = int(_STATM.read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def keep_large_blocks() -> bool:
    """Let malloc reuse image-sized blocks, in one heap for all threads; False without glibc.

    By default every block above 128 KiB is mapped and unmapped anew, and the kernel zeroes its pages each
    time: for a 1080p image that costs more than the rest of its way from the network to the callback. And each
    thread would keep free memory of its own.
    """
    libc = _glibc()
    if libc is None:
        return False
    wanted = (
        (_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES),
        (_M_TRIM_THRESHOLD, _TRIM_THRESHOLD_BYTES),
        (_M_ARENA_MAX, 1),
    )
    return all(libc.mallopt(option, value) for option, value in wanted)


def reserve(size: int = RESERVE_BYTES) -> bool:
    """Touch `size` bytes of heap and free them again; after `keep_large_blocks` and loading. False without glibc.

    What a session keeps of each frame lies between what the model needs for a moment, and now and then leaves no gap
    that is large enough. The heap then grows by some megabytes although no more of it is in use. With a reserve it
    need not.
    """
    libc = _glibc()
    if libc is None:
        return False
    blocks = [libc.malloc(_BLOCK_BYTES) for _ in range(size // _BLOCK_BYTES)]
    for block in filter(None, blocks):
        ctypes.memset(block, 0, _BLOCK_BYTES)
    for block in blocks:
        libc.free(block)
    return all(blocks)


def give_back() -> bool:
    """Return free pages of the heap to the system, those between blocks in use as well; False where there were none.

    For moments in which much was let go and nothing is in a hurry. Else they stay, in pieces that the next owner may
    not be able to use, and the heap grows by what does not fit.
    """
    libc = _glibc()
    return libc is not None and bool(libc.malloc_trim(0))


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        return None
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    return libc
