"""The benchmark of the overhead: what it sends is what was given, and it says so in numbers."""

from __future__ import annotations

import json

import numpy as np

from villa.masks import from_logits
from villa_ros.bench.overhead import OURS, POLYGONS, SIMPLIFIED, blobs, measure


def test_masks_arrive_whole_and_polygons_lose_their_holes(tmp_path):
    size = (120, 160)
    result = measure(1, sizes=[size], counts=[1, 3])
    assert len(result.costs) == 6
    ours, polygons, simplified = (result.of(way, size, 3) for way in (OURS, POLYGONS, SIMPLIFIED))
    assert ours.fidelity == 1.0
    assert simplified.fidelity <= polygons.fidelity < 1.0
    assert polygons.kilobytes > ours.kilobytes
    assert all(cost.total_ms > 0 and cost.total_of_masks_ms > 0 for cost in result.costs)
    assert len(json.loads(result.save(tmp_path).read_text("utf-8"))) == 6
    assert result.table().row_count == 6


def test_blobs_are_things_inside_the_image():
    for logits in blobs(4):
        mask = from_logits(logits, 120, 160)
        assert 0.01 < mask.mean() < 0.1
        edge = np.concatenate((mask[0], mask[-1], mask[:, 0], mask[:, -1]))
        assert not edge.any()
