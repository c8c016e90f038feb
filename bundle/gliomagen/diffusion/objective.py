"""The objective: what a batch becomes, the error of the network on it, and the weight of each voxel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor, nn

from ..errors import GliomaGenError
from ..labels import HEAD
from ..machine import autocast
from .basis import Basis
from .condition import Condition, make_condition
from .denoiser import Denoiser
from .greys import fixed_greys, standardize
from .process import Process

_EXACT = 1e-3
"""So near black or white a voxel was cut off: interpolation does not hit them exactly."""
MOST = 16.0
"""So many times as much may a voxel count because others are given."""


def region_weight(
    label: Tensor,
    labels_known: Tensor,
    voxels_known: Tensor | None = None,
    *,
    lesion_weight: float,
    background_weight: float = 1.0,
) -> Tensor:
    """Returns the loss weight of each voxel, (B, 1, *S), or (B, C, *S) where some voxels are given.

    Where labels are given, a lesion voxel counts ``lesion_weight`` times as much as another, and the mean is 1 (0 of a
    sample without any head, if background counts nothing). Where they are not given a voxel counts exactly 1, or the
    unconditional model would be pulled toward lesions.

    A voxel that is given is not to be made, and counts nothing; the others count for it, up to ``MOST`` times as much. Else a
    network that makes whole scans would learn to fill a hole from that small part of its loss that lies in holes.

    Args:
        label: (B, 1, *S) prepared labels.
        labels_known: (B, 1, *S)
        voxels_known: (B, C, *S)
        lesion_weight: At least 1.
        background_weight: Of a background voxel, likewise; 0 where the sampler puts background in.
    """
    known = labels_known.float()
    raw = known * torch.where(label > HEAD, lesion_weight, torch.where(label > 0, 1.0, background_weight))
    axes = tuple(range(1, label.ndim))
    mean = raw.sum(axes, keepdim=True) / known.sum(axes, keepdim=True).clamp(min=1)
    weight = torch.where(known > 0, raw / mean.clamp(min=1e-8), 1.0)
    if voxels_known is None or not voxels_known.any():
        return weight
    left = weight * ~voxels_known.bool()  # (B, C, *S)
    before, after = weight.mean(axes, keepdim=True), left.mean(axes, keepdim=True)
    return left * (before / after.clamp(min=1e-8)).clamp(max=MOST)


class PrepareDenoising:
    """Turns a batch of samples into what the trainer takes: MONAI's ``prepare_batch``.

    Args:
        num_labels: Labels without background, L.
        lesion_weight: See :func:`region_weight`.
        background_weight: Likewise.
        grey_levels: ``drawn``: scans are standardized by their own and the network is told them; or ``fixed``.
        data_range: Range of the network for [0, 1], with ``fixed``.
        position: The network is told the height of slices.
    """

    def __init__(
        self,
        *,
        num_labels: int = 5,
        lesion_weight: float = 1.0,
        background_weight: float = 1.0,
        grey_levels: str = "fixed",
        data_range: tuple[float, float] = (-1.0, 1.0),
        position: bool = False,
    ) -> None:
        if grey_levels not in ("drawn", "fixed"):
            raise GliomaGenError(f"grey_levels '{grey_levels}' is not known; choose drawn or fixed")
        self.num_labels = num_labels
        self.lesion_weight = lesion_weight
        self.background_weight = background_weight
        self.grey_levels = grey_levels
        self.data_range = data_range
        self.position = position

    def __call__(
        self, batch: Mapping[str, Any], device: torch.device | str, non_blocking: bool = False, **_: Any
    ) -> tuple[Tensor, Tensor, tuple[()], dict[str, Any]]:
        """Returns (images, voxel weights, (), the inferer's further arguments), on ``device``.

        Args:
            batch: ``image`` (B, C, *S) in [0, 1], ``label`` (B, 1, *S), ``labels_known``, ``voxels_known``,
                ``noise`` (B, C, *S), ``time`` (B,); ``greys`` (B, C, 2) unless they are fixed; ``height``
                (B,) where the network is told it.
            device: Where the network is.
            non_blocking: As in ``Tensor.to``.
        """
        on = {
            key: batch[key].to(device, non_blocking=non_blocking)
            for key in ("image", "label", "labels_known", "voxels_known", "noise", "time")
        }
        image, told = on["image"].float(), self.grey_levels == "drawn"
        greys = (
            batch["greys"].to(image) if told else fixed_greys(image.shape[0], image.shape[1], self.data_range)
        )
        beyond = (image >= 1 - _EXACT).to(torch.int8) - (image <= _EXACT).to(torch.int8)
        image = standardize(image, greys)
        condition = make_condition(
            on["label"],
            num_labels=self.num_labels,
            contrasts=image.shape[1],
            labels_known=on["labels_known"],
            voxels=image,
            voxels_known=on["voxels_known"],
            greys=greys if told else None,
            position=batch["height"].to(image) if self.position else None,
        )
        weight = region_weight(
            on["label"],
            on["labels_known"],
            on["voxels_known"],
            lesion_weight=self.lesion_weight,
            background_weight=self.background_weight,
        )
        told_too = {"noise": on["noise"].float(), "time": on["time"].float(), "beyond": beyond}
        return image, weight, (), {"condition": condition, **told_too}


class DenoisingInferer(Inferer):
    """One denoising of a training batch. Its output is the error itself, back in voxels.

    Args:
        basis: Basis the process runs in.
        process: The noising process.
        precision: ``bf16`` or ``fp32``.
    """

    def __init__(self, *, basis: Basis, process: Process, precision: str = "fp32") -> None:
        self.basis = basis
        self.process = process
        self.precision = precision

    def __call__(  # type: ignore[override]
        self,
        inputs: Tensor,
        network: nn.Module,
        *,
        condition: Condition,
        noise: Tensor,
        time: Tensor,
        beyond: Tensor,
    ) -> Tensor:
        """Returns the residual, (B, C, *S) float32.

        Args:
            inputs: Clean images in the network's range, (B, C, *S).
            network: The denoising network.
            condition: What the network is told.
            noise: (B, C, *S)
            time: (B,)
            beyond: (B, C, *S), where the scan is cut off: 1 at white, -1 at black, else 0.
        """
        clean, eps = self.basis(inputs), self.basis(noise)  # (B, Cw, *S')
        with autocast(inputs.device, self.precision):
            denoiser = Denoiser(network=network, basis=self.basis, process=self.process, condition=condition)
            output = denoiser.output(self.process.add_noise(clean, eps, time), time)
        residual = self.basis.inverse(self.process.residual(output, clean, eps, time))
        return torch.where(residual * beyond > 0, 0.0, residual) if self.process.censored else residual


class ResidualLoss(nn.Module):
    """Mean over voxels of the weighted residual to a power.

    Args:
        power: 2 for our velocity error, 1 for the reference recipe.
    """

    def __init__(self, *, power: int = 2) -> None:
        super().__init__()
        self.power = power

    def forward(self, residual: Tensor, weight: Tensor) -> Tensor:
        """Returns the loss of each sample, (B,).

        Args:
            residual: (B, C, *S)
            weight: (B, 1, *S) or (B, C, *S), mean 1 per sample.
        """
        error = residual.abs() if self.power == 1 else residual.square()
        return (weight * error).flatten(1).mean(1)
