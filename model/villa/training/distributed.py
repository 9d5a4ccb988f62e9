"""Training in several processes: each takes other clips, and their gradients are averaged.

Start them with `torchrun --nproc-per-node N -m villa_ros.cli.main train ...`. A step of a small model is many small
operations: on CPUs one process per core with one thread each is worth almost N times one process, and a GPU waits for
a single process most of the time, so several may share it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import nn


def backend(processes: int, gpus: int) -> str:
    """How so many processes of one machine with so many GPUs exchange gradients: NCCL wants a GPU for each."""
    return "nccl" if 0 < processes <= gpus else "gloo"


class Workers:
    """This process among those of a run; alone where `torchrun` did not start it."""

    def __init__(self, device: str) -> None:
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        self.device = device
        self._flat: torch.Tensor | None = None
        if self.count > 1:
            here = int(os.environ.get("LOCAL_WORLD_SIZE", str(self.count)))
            own = int(os.environ.get("LOCAL_RANK", "0"))
            gpus = torch.cuda.device_count() if device.startswith("cuda") else 0
            if device == "cuda" and gpus:
                self.device = f"cuda:{own % gpus}"
            dist.init_process_group(backend(here, gpus))

    @property
    def first(self) -> bool:
        """Whether this process writes what the run leaves behind."""
        return self.rank == 0

    def share(self, modules: Iterable[nn.Module]) -> None:
        """Start all processes from the first one's parameters."""
        if self.count > 1:
            with torch.no_grad():
                for module in modules:
                    for parameter in module.parameters():
                        whole = parameter.detach().contiguous()
                        dist.broadcast(whole, 0)
                        parameter.copy_(whole)

    def zero(self, parameters: list[nn.Parameter]) -> None:
        """Clear gradients. With several processes they are views of one buffer, so that averaging copies nothing."""
        if self.count == 1:
            for parameter in parameters:
                parameter.grad = None
            return
        if self._flat is None:
            self._flat = torch.zeros(sum(p.numel() for p in parameters), device=self.device)
            at = 0
            for parameter in parameters:
                # With the parameter's own strides: convolutions keep their channels last.
                parameter.grad = torch.as_strided(self._flat, parameter.shape, parameter.stride(), at)
                at += parameter.numel()
        self._flat.zero_()

    def average(self) -> None:
        """Make each gradient the mean over all processes."""
        if self._flat is not None:
            dist.all_reduce(self._flat)
            self._flat /= self.count

    def close(self) -> None:
        """Leave the group."""
        if self.count > 1:
            dist.destroy_process_group()
