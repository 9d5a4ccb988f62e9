"""What only a GPU can show; reported as skipped where there is none."""

from __future__ import annotations

import pytest
import torch
from answering_models import clip, image, light, over_sam2, says
from tiny_parts import parts_config, save_parts

from villa.checkpoints.build import from_folders
from villa.checkpoints.checkpoint import load, save
from villa.inference.stream_session import StreamSession
from villa.interface import finish

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]
ANSWER = "The mug [SEG] and the bowl [SEG]."


@pytest.mark.parametrize("begin", [light, over_sam2], ids=["light", "sam2"])
def test_a_gpu_gives_the_masks_of_the_cpu(begin):
    results = []
    for device in ("cpu", "cuda"):
        model = begin(ANSWER).to(device)
        session = StreamSession(model)
        finish(session.request("both", clip(3)))
        results.append(session.step(image(9), 1_700_000_001.0))
    for mine, theirs in zip(*results, strict=True):
        assert mine.present_score == pytest.approx(theirs.present_score, abs=1e-2)
        assert (mine.logits is None) == (theirs.logits is None)


def test_a_checkpoint_of_parts_runs_in_bfloat16(tmp_path):
    mllm, sam2 = save_parts(tmp_path / "hub")
    save(from_folders(parts_config(max_new_tokens=60), mllm, sam2, torch.float32), tmp_path / "checkpoint", None)
    model = load(tmp_path / "checkpoint", "cuda")
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    session = StreamSession(says(model, ANSWER))
    finish(session.request("both", clip(6)))
    for t in range(30):
        session.step(image(t), 1_700_000_001.0 + 0.1 * t)


def test_device_memory_is_flat_over_a_stream():
    model = over_sam2(ANSWER).to("cuda")
    session = StreamSession(model)
    finish(session.request("both", clip(3)))
    held = []
    for t in range(200):
        session.step(image(t % 20), 1_700_000_001.0 + 0.1 * t)
        held.append(torch.cuda.memory_allocated())
    assert max(held[50:]) <= held[50] * 1.01


def test_memory_that_runs_out_is_let_go_and_said():
    from villa.inference.out_of_memory import DeviceMemoryError

    model = over_sam2(ANSWER).to("cuda")
    limit = torch.cuda.memory_allocated() + 2_000_000
    torch.cuda.set_per_process_memory_fraction(limit / torch.cuda.get_device_properties(0).total_memory)
    try:
        with pytest.raises(DeviceMemoryError):
            finish(StreamSession(model).request("both", clip(3)))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert len(finish(StreamSession(model).request("both", clip(3))).objects) == 2
