"""The burden of a noisy scan: what a regressor is trained on, its error.

A share of tumour is told for each block of 2 voxels a side; their sum is the burden. A network that has to say where the tumour
is learns from every block, and its gradient lies at the tumour's edge; one number for a whole scan teaches little (the published
one is pooled: Laslo et al. 2025).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from ignite.metrics import Metric
from monai.inferers import Inferer
from monai.utils.enums import CommonKeys as Keys
from torch import Tensor, nn
from torch.nn import functional

from ..diffusion.basis import Basis
from ..diffusion.greys import standardize
from ..diffusion.process import Process
from ..machine import autocast
from .spread import BURDEN

BLOCK = 2
"""Voxels along each side of a block."""


def tumour_shares(label: Tensor) -> Tensor:
    """Returns the share of tumour in each block, (B, 1, *S / 2) float32, of prepared labels (B, 1, *S)."""
    tumour = torch.isin(label, torch.tensor(BURDEN, device=label.device)).float()
    pool = functional.avg_pool3d if label.ndim == 5 else functional.avg_pool2d
    return pool(tumour, BLOCK)


def log_burden(shares: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Returns the logarithm of one block more than ``axes`` of shares hold."""
    return shares.sum(axes).log1p()


def prepare_burden(
    batch: Mapping[str, Any], device: torch.device | str, non_blocking: bool = False, **_: Any
) -> tuple[Tensor, Tensor, tuple[()], dict[str, Any]]:
    """Turns a batch into what the trainer takes: MONAI's ``prepare_batch``.

    Args:
        batch: ``image`` (B, C, *S) in [0, 1], ``label`` (B, 1, *S) prepared, ``greys`` (B, C, 2), ``noise`` (B, C, *S),
            ``time`` (B,).
        device: Where the network is.
        non_blocking: As in ``Tensor.to``.
        **_: Not used.

    Returns:
        Standardized images, shares of tumour, and the inferer's further arguments.
    """
    on = {
        key: batch[key].to(device, non_blocking=non_blocking)
        for key in ("image", "label", "greys", "noise", "time")
    }
    image = standardize(on["image"].float(), on["greys"].float())
    return image, tumour_shares(on["label"]), (), {"noise": on["noise"].float(), "time": on["time"].float()}


def burden_logits(network: nn.Module, process: Process, z: Tensor, t: Tensor) -> Tensor:
    """Returns the logits of each block's share of tumour, (B, 1, *S'), of noisy coefficients (B, Cw, *S') at times (B,)."""
    logits: Tensor = network(process.network_input(z, t), process.network_time(t))
    return logits.float()


class BurdenInferer(Inferer):
    """The shares of tumour of a training batch.

    Args:
        basis: Basis the process runs in.
        process: The noising process.
        precision: ``bf16`` or ``fp32``.
    """

    def __init__(self, *, basis: Basis, process: Process, precision: str = "fp32") -> None:
        self.basis, self.process, self.precision = basis, process, precision

    def __call__(self, inputs: Tensor, network: nn.Module, *, noise: Tensor, time: Tensor) -> Tensor:  # type: ignore[override]
        """Returns logits, (B, 1, *S').

        Args:
            inputs: Standardized images, (B, C, *S).
            network: The regressor.
            noise: (B, C, *S)
            time: (B,)
        """
        z = self.process.add_noise(self.basis(inputs), self.basis(noise), time)
        with autocast(inputs.device, self.precision):
            return burden_logits(network, self.process, z, time)


class BurdenLoss(nn.Module):
    """Cross-entropy of the shares, and the squared error of the logarithm of their sum.

    Args:
        burden_weight: Of the second.
    """

    def __init__(self, *, burden_weight: float = 0.02) -> None:
        super().__init__()
        self.burden_weight = burden_weight

    def forward(self, logits: Tensor, shares: Tensor) -> Tensor:
        """Returns the loss of each sample, (B,).

        Args:
            logits: (B, 1, *S')
            shares: (B, 1, *S')
        """
        axes = tuple(range(1, logits.ndim))
        entropy = functional.binary_cross_entropy_with_logits(logits, shares, reduction="none").mean(axes)
        missed = log_burden(logits.sigmoid(), axes) - log_burden(shares, axes)
        return entropy + self.burden_weight * missed.square()


class BurdenError(Metric):
    """Mean over samples of how far the logarithm of the burden is off: 0.1 is about 10 %.

    Samples without tumour are left out. Of this process alone: the others wait for it.
    """

    def __init__(self) -> None:
        self.errors: list[float] = []
        super().__init__(output_transform=lambda out: (out[Keys.PRED], out[Keys.LABEL]))

    def reset(self) -> None:
        """Forgets all samples."""
        self.errors = []

    def update(self, output: tuple[Tensor, Tensor]) -> None:
        """Adds a batch: logits and shares, (B, 1, *S')."""
        logits, shares = output
        axes = tuple(range(1, logits.ndim))
        missed = log_burden(logits.sigmoid(), axes) - log_burden(shares, axes)
        there = shares.sum(axes) > 0
        self.errors += missed.abs()[there].tolist()

    def compute(self) -> float:
        """Returns the mean; 0 where no sample has tumour."""
        return sum(self.errors) / len(self.errors) if self.errors else 0.0
