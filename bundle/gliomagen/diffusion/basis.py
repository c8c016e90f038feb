"""The basis the process runs in: one-level orthonormal Haar, or the image itself."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor


class Basis(Protocol):
    """An orthonormal change of basis: energy is kept and white noise stays white."""

    factor: int
    """Channels become ``factor`` times as many, positions as many times fewer."""

    def __call__(self, image: Tensor) -> Tensor:
        """Transforms (B, C, *S) to (B, C * factor, *S')."""
        ...

    def inverse(self, coefficients: Tensor) -> Tensor:
        """Transforms back."""
        ...


class HaarBasis:
    """One level of the orthonormal Haar transform, in 2-D or 3-D (Haar 1910; Mallat 1989).

    Along each axis, neighbours a, b become (a + b) / sqrt 2 and (a - b) / sqrt 2. The channels of a band stay
    together: band k of channel c is channel k * C + c, band 0 being the local mean (times ``factor ** 0.5``).

    Args:
        spatial_dims: 2 or 3.
    """

    def __init__(self, *, spatial_dims: int) -> None:
        self.spatial_dims = spatial_dims
        self.factor = 2**spatial_dims

    def __call__(self, image: Tensor) -> Tensor:
        """Transforms an image.

        Args:
            image: (B, C, *S), every size of S even.

        Returns:
            (B, C * 2**dims, *S / 2)

        Raises:
            ValueError: A size is odd.
        """
        if any(size % 2 for size in image.shape[2:]):
            raise ValueError(f"the Haar basis needs even sizes, not {tuple(image.shape[2:])}")
        for axis in range(2, 2 + self.spatial_dims):
            even, odd = image.unflatten(axis, (-1, 2)).unbind(axis + 1)
            image = torch.cat([even + odd, even - odd], dim=1)
        return image * (1 / math.sqrt(self.factor))

    def inverse(self, coefficients: Tensor) -> Tensor:
        """Transforms (B, C * 2**dims, *S / 2) back to (B, C, *S)."""
        for axis in reversed(range(2, 2 + self.spatial_dims)):
            total, difference = coefficients.chunk(2, dim=1)
            pair = torch.stack([total + difference, total - difference], dim=axis + 1)
            coefficients = pair.flatten(axis, axis + 1)
        return coefficients * (1 / math.sqrt(self.factor))


class IdentityBasis:
    """The image itself: what the reference recipe runs in."""

    factor = 1

    def __call__(self, image: Tensor) -> Tensor:
        """Returns ``image``."""
        return image

    def inverse(self, coefficients: Tensor) -> Tensor:
        """Returns ``coefficients``."""
        return coefficients
