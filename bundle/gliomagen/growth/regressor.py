"""The burden of a noisy scan: what a regressor is trained on, its error.

A share of tumour is told for each block of 2 voxels a side; their sum is the burden. A network that has to say where the tumour
is learns from every block, and its gradient lies at the tumour's edge; one number for a whole scan teaches little (the published
one is pooled: Laslo et al. 2025). Beside it stands how far off the sum may be: of a scan that is mostly noise little can be read.
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


def log_burden(shares: Tensor) -> Tensor:
    """Returns the logarithm of one block more than shares (B, 1, *S') hold, (B,)."""
    return shares.flatten(1).sum(1).log1p()


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


def read_blocks(network: nn.Module, process: Process, z: Tensor, t: Tensor) -> Tensor:
    """Returns what a regressor says of noisy coefficients (B, Cw, *S') at times (B,).

    Returns:
        (B, 2, *S') float32: the logit of each block's share of tumour, and what :func:`log_variance` is the mean of.
    """
    read: Tensor = network(process.network_input(z, t), process.network_time(t))
    return read.float()


def shares_read(read: Tensor) -> Tensor:
    """Returns the shares of tumour that were read, (B, 1, *S')."""
    return read[:, :1].sigmoid()


def log_variance(read: Tensor) -> Tensor:
    """Returns the logarithm of the variance of the burden's logarithm, (B,)."""
    return read[:, 1:].flatten(1).mean(1).clamp(-8, 4)


class BurdenInferer(Inferer):
    """What a regressor says of a training batch.

    Args:
        basis: Basis the process runs in.
        process: The noising process.
        precision: ``bf16`` or ``fp32``.
    """

    def __init__(self, *, basis: Basis, process: Process, precision: str = "fp32") -> None:
        self.basis, self.process, self.precision = basis, process, precision

    def __call__(self, inputs: Tensor, network: nn.Module, *, noise: Tensor, time: Tensor) -> Tensor:  # type: ignore[override]
        """Returns what :func:`read_blocks` does, (B, 2, *S').

        Args:
            inputs: Standardized images, (B, C, *S).
            network: The regressor.
            noise: (B, C, *S)
            time: (B,)
        """
        z = self.process.add_noise(self.basis(inputs), self.basis(noise), time)
        with autocast(inputs.device, self.precision):
            return read_blocks(network, self.process, z, time)


class BurdenLoss(nn.Module):
    """Cross-entropy of the shares, the squared error of the logarithm of their sum, and the likelihood of that error.

    The last teaches the variance alone (Nix and Weigend 1994); what is read is not made worse for it.

    Args:
        burden_weight: Of the second and the third.
    """

    def __init__(self, *, burden_weight: float = 0.02) -> None:
        super().__init__()
        self.burden_weight = burden_weight

    def forward(self, read: Tensor, shares: Tensor) -> Tensor:
        """Returns the loss of each sample, (B,).

        Args:
            read: (B, 2, *S'), of :func:`read_blocks`.
            shares: (B, 1, *S')
        """
        axes = tuple(range(1, read.ndim))
        entropy = functional.binary_cross_entropy_with_logits(read[:, :1], shares, reduction="none").mean(
            axes
        )
        missed = _missed(read, shares).square()
        spread = log_variance(read)
        unlikely = (missed.detach() * (-spread).exp() + spread) / 2
        return entropy + self.burden_weight * (missed + unlikely)


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
        """Adds a batch: what was read, (B, 2, *S'), and shares, (B, 1, *S')."""
        read, shares = output
        there = shares.flatten(1).sum(1) > 0
        self.errors += _missed(read, shares).abs()[there].tolist()

    def compute(self) -> float:
        """Returns the mean; 0 where no sample has tumour."""
        return sum(self.errors) / len(self.errors) if self.errors else 0.0


def _missed(read: Tensor, shares: Tensor) -> Tensor:
    return log_burden(shares_read(read)) - log_burden(shares)
