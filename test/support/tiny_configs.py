"""Named configurations of tiny parts, as files, and the folders that a hub would have of them."""

from __future__ import annotations

import json
from pathlib import Path

from tiny_parts import mllm_settings, parts_config, sam2_settings, save_parts

MLLM, SAM2 = "tiny/mllm", "tiny/sam2"  # repositories


def write_config(folder: Path, family: str = "smolvlm", **more: str) -> Path:
    """A configuration file with its parts beside it."""
    parts = folder / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    described = {
        "tiny-mllm": {"repository": MLLM, "kind": family, "config": mllm_settings(family)},
        "tiny-sam2": {"repository": SAM2, "kind": "sam2_video", "config": sam2_settings()},
    }
    for name, part in described.items():
        (parts / f"{name}.json").write_text(json.dumps(part | {"part": name, "licence": "apache-2.0"}))
    named = {
        "villa": json.loads(parts_config(family).to_json()),
        "parts": {"mllm": "tiny-mllm", "sam2": "tiny-sam2"},
        "source": "made for tests",
    }
    path = folder / f"tiny-{family}.json"
    path.write_text(json.dumps(named | more))
    return path


def hub_files(folder: Path, family: str = "smolvlm") -> dict[str, dict[str, bytes]]:
    """Repository -> the files that a hub has of it, code and pickled weights among them."""
    dangerous = {"modeling_tiny.py": b"raise SystemExit", "pytorch_model.bin": b"\x80\x04.", "README.md": b"# tiny"}
    found = {}
    for repository, part in zip((MLLM, SAM2), save_parts(folder, family), strict=True):
        found[repository] = {path.name: path.read_bytes() for path in part.iterdir()} | dangerous
        found[repository]["onnx/model.json"] = b"{}"
    return found
