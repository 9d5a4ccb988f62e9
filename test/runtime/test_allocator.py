"""Resident memory does not grow where a reserve was made for what comes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

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


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs glibc")
@pytest.mark.parametrize("reserved", [True, False])
def test_what_was_reserved_is_used_before_memory_grows(reserved):
    done = subprocess.run(
        [sys.executable, "-c", _USES_64_MIB.format(reserved=reserved)], capture_output=True, text=True, check=True
    )
    size_mb, reserve_mb, growth_mb = json.loads(done.stdout)
    assert reserve_mb == pytest.approx(size_mb if reserved else 0.0, abs=8.0)
    assert growth_mb == pytest.approx(0.0 if reserved else 67.1, abs=8.0)
