"""Training as several processes: their gradients are averaged, and one of them writes the run."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from drawn_clips import draw_clip
from tiny import tiny_model

from villa.checkpoints.checkpoint import load, save
from villa.training.distributed import backend

_WORKER = """
import sys
from pathlib import Path
from villa.training.train import TrainConfig, train

root, out = Path(sys.argv[1]), Path(sys.argv[2])
train(TrainConfig(data=root, out=out, init=root / "villa.safetensors", steps=2, decay_steps=1, warmup_steps=1,
                  clips_per_step=1, frames=2, requests=3, log_every=1, threads=1, backbone_lr=0.0))
"""
_AVERAGE = """
import sys
import torch
from villa.training.distributed import Workers

workers = Workers("cpu")
layer = torch.nn.Conv2d(3, 2, 3).to(memory_format=torch.channels_last)
with torch.no_grad():
    layer.weight.fill_(float(workers.rank))
workers.share([layer])
parameters = list(layer.parameters())
for _ in range(2):
    workers.zero(parameters)
    (layer.weight.sum() * (workers.rank + 1.0)).backward()
    workers.average()
assert float(layer.weight.abs().max()) == 0.0, "the first process's parameters were not taken"
assert torch.equal(layer.weight.grad, torch.full_like(layer.weight, 1.5)), layer.weight.grad
assert layer.weight.grad.stride() == layer.weight.stride()
assert torch.equal(layer.bias.grad, torch.zeros(2))
assert workers.first == (workers.rank == 0)
workers.close()
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _run_two(script: str, *arguments: Path) -> None:
    """Two processes with the variables that `torchrun` sets."""
    environment = {
        **os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()),
        "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip
    command = [sys.executable, "-c", script, *map(str, arguments)]
    workers = [
        subprocess.Popen(
            command,
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        for worker in workers:
            said, _ = worker.communicate(timeout=240)
            assert worker.returncode == 0, said
    finally:
        for worker in workers:
            worker.kill()


@pytest.mark.parametrize(
    ("processes", "gpus", "wanted"),
    [(2, 0, "gloo"), (2, 2, "nccl"), (1, 2, "nccl"), (12, 1, "gloo")],
    ids=["on CPUs", "a GPU for each", "GPUs to spare", "sharing one"],
)
def test_gradients_go_over_nccl_where_each_process_has_a_gpu(processes, gpus, wanted):
    assert backend(processes, gpus) == wanted


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no distributed package")
def test_gradients_are_the_mean_over_processes():
    _run_two(_AVERAGE)


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no distributed package")
def test_two_processes_train_one_model(tmp_path):
    root, out = tmp_path / "clips", tmp_path / "run"
    draw_clip(root / "0000000", 0)
    save(tiny_model(), root / "villa.safetensors", torch.float32)
    _run_two(_WORKER, root, out)
    assert [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()] == [1, 2]
    before, after = load(root / "villa.safetensors").state_dict(), load(out / "villa.safetensors").state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)
