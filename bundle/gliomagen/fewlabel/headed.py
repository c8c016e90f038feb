"""The denoiser with a head that tells classes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Literal

import torch
from monai.networks.layers.factories import Conv, Norm
from torch import Tensor, nn
from torch.nn import functional

from ..diffusion.basis import Basis
from ..diffusion.denoiser import Denoiser
from ..diffusion.process import Process
from .features import Choice, checked, told_nothing, watched

Learning = Literal["head", "decoder", "all"]
"""What of it learns: the head alone (convolutions on features), the denoiser's decoder too, or all of the denoiser."""


class Head(nn.Module):
    """Tells classes of a scan's own voxels and of maps on coarser grids.

    Every voxel of the scan is treated alike. (Logits that are the inverse transform of coefficients, as the denoiser's output is,
    must be learnt once for each place in a block: from 20 slices that told small tissues half as well.)

    Args:
        spatial_dims: 2 or 3.
        channels: Of the scan, and of each map.
        classes: K.
        layers: Convolutions that see neighbours.
        width: Their channels.
    """

    def __init__(
        self, *, spatial_dims: int, channels: Sequence[int], classes: int, layers: int, width: int
    ) -> None:
        super().__init__()
        conv, norm = Conv["conv", spatial_dims], Norm["batch", spatial_dims]
        self.scaled = nn.ModuleList(norm(count, affine=False) for count in channels)
        self.mixed = nn.ModuleList(conv(count, width, 1, bias=False) for count in channels)
        seeing = [
            part for _ in range(layers) for part in (conv(width, width, 3, padding=1), norm(width), nn.SiLU())
        ]
        self.told = nn.Sequential(norm(width), nn.SiLU(), *seeing, conv(width, classes, 1))

    def forward(self, seen: Sequence[Tensor]) -> Tensor:
        """Returns logits, (B, K, *S).

        Args:
            seen: (B, C, *S) and (B, C', *S') of each map. They are mixed before they are interpolated: it comes to the same.
        """
        parts = [mix(scale(x)) for mix, scale, x in zip(self.mixed, self.scaled, seen, strict=True)]
        logits: Tensor = self.told(sum(_fitted(part, seen[0].shape[2:]) for part in parts))
        return logits


class HeadedDenoiser(nn.Module):
    """The denoiser with a head for classes, which sees the scan and decoder blocks at one or several times of the noise.

    Args:
        network: The denoiser, which is changed.
        basis: Of the process.
        process: The noising process.
        num_labels: Labels without background that the network can be told, L.
        contrasts: C.
        classes: K.
        spatial_dims: 2 or 3.
        choice: Decoder blocks that the head sees, by time of the noise.
        layers: Convolutions of the head that see neighbours.
        width: Their channels.

    Raises:
        GliomaGenError: There is no such block, or a time is not in (0, 1].
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        basis: Basis,
        process: Process,
        num_labels: int,
        contrasts: int,
        classes: int,
        spatial_dims: int,
        choice: Choice,
        layers: int = 1,
        width: int = 32,
    ) -> None:
        super().__init__()
        self.choice = checked(network, choice)
        self.network, self.basis, self.process = network, basis, process
        self.num_labels = num_labels
        blocks = [block for some in self.choice.values() for block in some]
        channels = [contrasts, *(_channels(network, block, spatial_dims) for block in blocks)]
        self.head = Head(
            spatial_dims=spatial_dims, channels=channels, classes=classes, layers=layers, width=width
        )
        self.learns("head")

    def learns(self, learning: Learning) -> list[nn.Parameter]:
        """Says what learns from now on; returns its parameters."""
        for name, parameter in self.network.named_parameters():
            decoder = name.split(".")[0] in ("up", "finer")
            parameter.requires_grad_(learning == "all" or (learning == "decoder" and decoder))
        self.learning = learning
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def forward(
        self, image: Tensor, noise: Tensor, greys: Tensor | None = None, position: Tensor | None = None
    ) -> Tensor:
        """Returns logits, (B, K, *S).

        Args:
            image: (B, C, *S) in [0, 1], 0 outside the head.
            noise: (B, C, *S)
            greys: (B, C, 2), measured if None.
            position: (B,), not known if None.
        """
        standard, condition = told_nothing(
            self.network, image, num_labels=self.num_labels, greys=greys, position=position
        )
        clean, z = self.basis(standard), self.basis(noise)
        seen = [standard]
        with torch.no_grad() if self.learning == "head" else nullcontext():
            denoiser = Denoiser(
                network=self.network, basis=self.basis, process=self.process, condition=condition
            )
            for time, blocks in self.choice.items():
                t = torch.full((len(image),), time, device=image.device)
                with watched(self.network, blocks) as found:
                    denoiser.output(self.process.add_noise(clean, z, t), t)
                seen += [functional.silu(found[block]) for block in blocks]
        logits: Tensor = self.head(seen)
        return logits.float()


def _channels(network: nn.Module, block: str, spatial_dims: int) -> int:
    return next(
        int(p.shape[0]) for p in network.get_submodule(block).parameters() if p.ndim == spatial_dims + 2
    )


def _fitted(seen: Tensor, shape: Sequence[int]) -> Tensor:
    if tuple(seen.shape[2:]) == tuple(shape):
        return seen
    mode = "bilinear" if seen.ndim == 4 else "trilinear"
    return functional.interpolate(seen.float(), tuple(shape), mode=mode, align_corners=False).to(seen.dtype)
