"""A recogniser's weights written as the TensorFlow.js graph that they are published as."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from torch import nn

from villa.modeling.objects.recogniser import Recogniser

# As the graph has them: each level's lateral stands before the next stage, and heads follow as soon as they can.
_ORDER = (
    "stem", "stages.0.enter", "stages.0.inner.0", "stages.0.inner.1", "stages.0.leave",
    "stages.1.enter", *(f"stages.1.inner.{i}" for i in range(4)), "stages.1.leave", "lateral.0",
    "stages.2.enter", *(f"stages.2.inner.{i}" for i in range(4)), "stages.2.leave", "lateral.1",
    "stages.3.enter", *(f"stages.3.inner.{i}" for i in range(6)), "stages.3.leave", "lateral.2",
    "spread.0", "spread.1", "tell.0", "spread.2", "tell.1", "tell.2",
)  # fmt: skip


def save_graph(model: Recogniser, folder: Path, *, without: str = "") -> Path:
    """Writes nanodet.json and nanodet.bin; `without` leaves one convolution out."""
    modules = dict(model.named_modules())
    nodes: list[dict[str, object]] = [{"name": "image", "op": "Placeholder", "input": []}]
    entries, raw, before = [], b"", "image"
    for name in _ORDER:
        conv = modules[f"{name}.conv"]
        assert isinstance(conv, nn.Conv2d)
        assert conv.bias is not None
        if name == without:
            continue
        for part, values in (("kernel", conv.weight.detach().permute(2, 3, 1, 0)), ("bias", conv.bias.detach())):
            stored = values.numpy().astype(np.float16)
            quantization = {"dtype": "float16", "original_dtype": "float32"}
            shape = list(stored.shape) if part == "kernel" else [1, 1, 1, len(stored)]
            entries.append({"name": f"{name}/{part}", "shape": shape, "dtype": "float32", "quantization": quantization})
            nodes.append({"name": f"{name}/{part}", "op": "Const", "input": []})
            raw += stored.tobytes()
        nodes.append({"name": f"{name}/turned", "op": "Transpose", "input": [before]})
        nodes.append({"name": f"{name}/conv", "op": "Conv2D", "input": [f"{name}/turned", f"{name}/kernel"]})
        nodes.append({"name": f"{name}/out", "op": "Add", "input": [f"{name}/bias", f"{name}/conv"]})
        before = f"{name}/out"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "nanodet.bin").write_bytes(raw)
    graph = {"modelTopology": {"node": nodes}, "weightsManifest": [{"paths": ["nanodet.bin"], "weights": entries}]}
    (folder / "nanodet.json").write_text(json.dumps(graph))
    return folder
