"""How much memory a training takes, told before it starts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor, nn

from ..errors import GliomaGenError
from ..machine import GIB, available_bytes

# Voxels along each axis. What is kept grows with them, but for the weights' own copies: two sizes tell both.
_PROBES = (32, 48)
_STATE_BYTES = 4 * 5  # weights, gradient, two moments of the optimiser, average: float32
_SLACK = 1.15  # what a library takes to work in, and fragments


def _kept_bytes(run: Callable[[], Tensor]) -> int:
    """Returns the bytes that a forward pass keeps for its backward pass, each storage once."""
    kept: dict[int, int] = {}
    held: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        held.append(tensor)  # or its address would be given to another
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(kept.values())


def predicted_bytes(
    network: nn.Module,
    prepare_batch: Callable[..., Any],
    inferer: Inferer,
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    contrasts: int,
    spatial_size: Sequence[int],
    batch_size: int,
    device: torch.device | str = "cpu",
) -> float:
    """Predicts the peak of a training step: what a small volume's pass keeps, scaled, and the states of the weights.

    Args:
        network: On the device.
        prepare_batch: As the trainer's.
        inferer: Likewise.
        loss: Likewise.
        contrasts: C.
        spatial_size: Of a sample.
        batch_size: Samples of a forward pass.
        device: Where the network is.
    """
    dims = len(spatial_size)

    def kept(edge: int) -> int:
        label = torch.ones(1, 1, *[edge] * dims, dtype=torch.uint8)
        image = torch.zeros(1, contrasts, *[edge] * dims)
        batch = {
            "image": image,
            "label": label,
            "labels_known": torch.ones_like(label),
            "voxels_known": torch.zeros_like(image),
            "noise": torch.zeros_like(image),
            "time": torch.full((1,), 0.5),
            "greys": torch.full((1, contrasts, 2), 0.5),
            "height": torch.full((1,), 0.5),
        }

        def run() -> Tensor:
            inputs, targets, args, kwargs = prepare_batch(batch, device)
            return loss(inferer(inputs, network, *args, **kwargs), targets)

        return _kept_bytes(run)

    few, more = _PROBES
    a_voxel = (kept(more) - kept(few)) / (more**dims - few**dims)
    weights = sum(p.numel() for p in network.parameters())
    return a_voxel * math.prod(spatial_size) * batch_size * _SLACK + weights * _STATE_BYTES


def require_memory(needed: float, device: torch.device, *, memory_gb: float | None = None) -> None:
    """Refuses a training that cannot fit.

    Args:
        needed: Bytes predicted.
        device: Where it would run.
        memory_gb: GiB it may take; None: all there are.

    Raises:
        GliomaGenError: It needs more than there is.
    """
    there = available_bytes(device) if memory_gb is None else memory_gb * GIB
    if needed > there:
        raise GliomaGenError(
            f"training needs about {needed / GIB:.1f} GiB of {device.type} memory, there are {there / GIB:.1f}; "
            "take a smaller preset, a smaller batch_size with more accumulation, or checkpointing"
        )
