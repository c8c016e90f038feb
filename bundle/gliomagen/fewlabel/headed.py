"""The denoiser with a head that tells classes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Literal, get_args

import torch
from monai.networks.blocks import Convolution
from torch import Tensor, nn
from torch.nn import functional

from ..diffusion.basis import Basis
from ..diffusion.denoiser import Denoiser
from ..diffusion.process import Process
from ..errors import GliomaGenError
from .features import Choice, checked, told_nothing, watched

Learning = Literal["head", "decoder", "all"]
"""What of it learns: the head alone (convolutions on features), the denoiser's decoder too, or all of the denoiser."""


class HeadedDenoiser(nn.Module):
    """The denoiser with a head for classes.

    The head sees decoder blocks, at one or several times of the noise, and the scan's coefficients, and makes coefficients of
    logits: the basis brings both to the scan's grid.

    Args:
        network: The denoiser, which is changed.
        basis: Of the process.
        process: The noising process.
        num_labels: Labels without background that the network can be told, L.
        contrasts: C.
        classes: K.
        spatial_dims: 2 or 3.
        learning: What of it learns.
        choice: Decoder blocks that the head sees, by time of the noise.
        layers: Convolutions of the head that see neighbours.
        width: Their channels.

    Raises:
        GliomaGenError: There is no such block, a time is not in (0, 1], or ``learning`` is not known.
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
        learning: Learning,
        choice: Choice,
        layers: int = 1,
        width: int = 64,
    ) -> None:
        super().__init__()
        self.choice = checked(network, choice)
        if learning not in get_args(Learning):
            raise GliomaGenError(
                f"learning '{learning}' is not known; choose among {list(get_args(Learning))}"
            )
        self.network, self.basis, self.process = network, basis, process
        self.num_labels, self.learning = num_labels, learning
        for name, parameter in network.named_parameters():
            decoder = name.split(".")[0] in ("up", "finer")
            parameter.requires_grad_(learning == "all" or (learning == "decoder" and decoder))
        clean = contrasts * basis.factor
        channels = clean + sum(
            _channels(network, block, spatial_dims) for blocks in self.choice.values() for block in blocks
        )
        norm = ("GROUP", {"num_groups": 8})
        self.head = nn.Sequential(
            *(
                Convolution(
                    spatial_dims,
                    width if layer else channels,
                    width,
                    adn_ordering="NA",
                    act="SWISH",
                    norm=norm,
                )
                for layer in range(layers)
            ),
            Convolution(spatial_dims, width, classes * basis.factor, kernel_size=1, conv_only=True),
        )

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
        seen = [clean]
        with torch.no_grad() if self.learning == "head" else nullcontext():
            denoiser = Denoiser(
                network=self.network, basis=self.basis, process=self.process, condition=condition
            )
            for time, blocks in self.choice.items():
                t = torch.full((len(image),), time, device=image.device)
                with watched(self.network, blocks) as found:
                    denoiser.output(self.process.add_noise(clean, z, t), t)
                seen += [_fitted(functional.silu(found[block]), clean.shape[2:]) for block in blocks]
        logits: Tensor = self.basis.inverse(self.head(torch.cat([x.to(seen[-1]) for x in seen], 1)).float())
        return logits


def _channels(network: nn.Module, block: str, spatial_dims: int) -> int:
    return next(
        int(p.shape[0]) for p in network.get_submodule(block).parameters() if p.ndim == spatial_dims + 2
    )


def _fitted(seen: Tensor, shape: Sequence[int]) -> Tensor:
    if tuple(seen.shape[2:]) == tuple(shape):
        return seen
    mode = "bilinear" if seen.ndim == 4 else "trilinear"
    return functional.interpolate(seen.float(), tuple(shape), mode=mode, align_corners=False).to(seen.dtype)
