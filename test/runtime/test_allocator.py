"""Resident memory does not grow where a reserve was made for what comes, and what is free can be given back."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs glibc")

_USES_64_MIB = """
import json
import numpy as np
from villa_ros.runtime.allocator import RESERVE_BYTES, keep_large_blocks, reserve
from villa_ros.runtime.allocator import resident_mb

assert keep_large_blocks()
before = resident_mb()
if {reserved}:
    assert reserve()
start = resident_mb()
blocks = [np.ones(8 << 20, np.uint8) for _ in range(8)]
print(json.dumps([RESERVE_BYTES / 1e6, start - before, resident_mb() - start]))
"""


def _printed(script: str) -> list[float]:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    numbers: list[float] = json.loads(done.stdout)
    return numbers


@pytest.mark.parametrize("reserved", [True, False])
def test_what_was_reserved_is_used_before_memory_grows(reserved):
    size_mb, reserve_mb, growth_mb = _printed(_USES_64_MIB.format(reserved=reserved))
    assert reserve_mb == pytest.approx(size_mb if reserved else 0.0, abs=8.0)
    assert growth_mb == pytest.approx(0.0 if reserved else 67.1, abs=8.0)


_IN_PIECES = """
import json
import numpy as np
from villa_ros.runtime.allocator import give_back, keep_large_blocks, resident_mb

assert keep_large_blocks()
blocks = [np.ones(1 << 20, np.uint8) for _ in range(200)]
used = resident_mb()
blocks = blocks[::2]
pieces = resident_mb()
assert give_back()
print(json.dumps([used - pieces, pieces - resident_mb()]))
"""


def test_free_pages_between_used_ones_are_given_back():
    freed_mb, given_back_mb = _printed(_IN_PIECES)
    assert freed_mb < 8.0
    assert given_back_mb == pytest.approx(104.9, abs=8.0)
