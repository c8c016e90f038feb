"""Smooth random fields, and the smooth invertible deformations made of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional

from ..randomness import numpy_generator
from .resampling import sample
from .shapes import Field

_PER_SIGMA = 3.0  # points of the coarse grid within one standard deviation of the smoothing
_PAD = 9  # three standard deviations: no border effect


def coarse_noise(
    shape: Sequence[int], voxel_mm: Sequence[float], *, smoothness_mm: float, seed: int, channels: int = 1
) -> tuple[Field, NDArray[np.float64]]:
    """Makes Gaussian-smoothed white noise of unit variance on a coarse grid that spans an array's voxel centres.

    Args:
        shape: Of the array.
        voxel_mm: Of the array.
        smoothness_mm: Standard deviation of the smoothing.
        seed: All of the field follows from it.
        channels: Independent fields.

    Returns:
        (channels, ...) on the coarse grid, and its spacing along each axis in mm.
    """
    extent = [(size - 1) * length for size, length in zip(shape, voxel_mm, strict=True)]
    points = [max(2, 1 + int(np.ceil(length * _PER_SIGMA / smoothness_mm))) for length in extent]
    spacing = np.array([max(length, 1e-3) / (n - 1) for length, n in zip(extent, points, strict=True)])
    sigma = np.minimum(smoothness_mm / spacing, _PAD)
    rng = numpy_generator(seed, "field")
    noise = rng.standard_normal((channels, *[n + 2 * _PAD for n in points]), dtype=np.float32)
    smooth = ndimage.gaussian_filter(noise, (0, *sigma), mode="wrap", truncate=3.0)
    # White noise through a Gaussian of sigma keeps the variance 1 / (2 sqrt(pi) sigma) along each axis.
    smooth *= np.sqrt(np.prod(2 * np.sqrt(np.pi) * sigma))
    return smooth[(slice(None), *[slice(_PAD, _PAD + n) for n in points])].copy(), spacing


def smooth_noise(
    shape: Sequence[int], voxel_mm: Sequence[float], *, smoothness_mm: float, seed: int, channels: int = 1
) -> Field:
    """Makes Gaussian-smoothed white noise of unit variance on a whole array, (channels, X, Y, Z)."""
    coarse, _ = coarse_noise(shape, voxel_mm, smoothness_mm=smoothness_mm, seed=seed, channels=channels)
    fine = functional.interpolate(
        torch.from_numpy(coarse)[None], size=tuple(shape), mode="trilinear", align_corners=True
    )
    result: Field = fine[0].numpy()
    return result


def exponential(velocity_mm: Field, spacing_mm: NDArray[np.float64]) -> Field:
    """Integrates a stationary velocity field for unit time by scaling and squaring (Arsigny et al., MICCAI 2006).

    Args:
        velocity_mm: (3, X, Y, Z).
        spacing_mm: Of its grid.

    Returns:
        Displacement in mm, (3, X, Y, Z): x goes to x + displacement(x).
    """
    spacing = torch.as_tensor(spacing_mm, dtype=torch.float32)
    largest = float(np.abs(velocity_mm / spacing_mm.reshape(3, 1, 1, 1)).max())
    squarings = max(0, int(np.ceil(np.log2(max(largest, 1e-6) / 0.1))))
    moved = torch.from_numpy(velocity_mm / np.float32(2**squarings))
    axes = [torch.arange(size, dtype=torch.float32) for size in velocity_mm.shape[1:]]
    index = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)  # (X, Y, Z, 3)
    for _ in range(squarings):
        moved = moved + sample(moved, index + moved.movedim(0, -1) / spacing, beyond="border")
    result: Field = moved.numpy()
    return result


def jacobian_determinant(displacement_mm: Field, spacing_mm: NDArray[np.float64]) -> Field:
    """Returns the local change of volume under x -> x + displacement(x), (X, Y, Z): positive where it does not fold."""
    jacobian = np.empty((*displacement_mm.shape[1:], 3, 3), np.float32)
    for row in range(3):
        for column in range(3):
            slope = np.gradient(displacement_mm[row], spacing_mm[column], axis=column)
            jacobian[..., row, column] = slope + (row == column)
    result: Field = np.linalg.det(jacobian)
    return result


def rotation(degrees: Sequence[float]) -> NDArray[np.float64]:
    """Returns the (3, 3) rotation about axes 0, 1, 2, in this order."""
    result = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        one, two = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[one, one] = turn[two, two] = np.cos(angle)
        turn[one, two], turn[two, one] = -np.sin(angle), np.sin(angle)
        result = turn @ result
    return result
