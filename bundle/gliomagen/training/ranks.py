"""Several processes, one training: the group of them that ``torchrun`` starts, and the network they share."""

from __future__ import annotations

import os
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from ..errors import GliomaGenError

PATIENCE = timedelta(hours=12)
"""How long a process waits for another: the first validates and draws pictures alone."""


def join_group(device: torch.device) -> None:
    """Joins the group of this run's processes: NCCL between cards, Gloo between processors.

    Args:
        device: This process's own, of ``machine.resolve_device``.

    Raises:
        GliomaGenError: ``torchrun`` did not start this process.
    """
    if not distributed.is_torchelastic_launched():
        raise GliomaGenError(
            "multi_gpu_train.yaml: needs several processes; start it with torchrun --nproc_per_node=N -m monai.bundle run "
            "training ..., or leave this overlay out"
        )
    cuda = device.type == "cuda"
    # torchrun keeps one store over its restarts: without a prefix, processes would find the addresses of dead ones.
    store, rank, world_size = next(rendezvous("env://", timeout=PATIENCE))
    attempt = os.environ["TORCHELASTIC_RESTART_COUNT"]
    distributed.init_process_group(
        "nccl" if cuda else "gloo",
        store=PrefixStore(f"attempt {attempt}", store),
        rank=rank,
        world_size=world_size,
        timeout=PATIENCE,
        device_id=device if cuda else None,
    )


def shared(network: nn.Module, device: torch.device) -> DistributedDataParallel:
    """Returns the network wrapped so that its gradients are the mean over all processes.

    It starts from the first process's weights everywhere.
    """
    return DistributedDataParallel(network, device_ids=[device] if device.type == "cuda" else None)


def mean_over_ranks(value: Tensor) -> Tensor:
    """Returns the mean of a scalar over all processes; the scalar itself if there is one process."""
    if not distributed.is_initialized():
        return value
    total = value.clone()
    distributed.all_reduce(total)
    return total / distributed.get_world_size()


def leave_group() -> None:
    """Waits until all processes are done, then ends the group."""
    distributed.barrier()
    distributed.destroy_process_group()
