"""How smoothly a volume goes on: from slice to slice along each axis, and across the edge of a part made anew."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]


def slice_steps(volume: NDArray[Any], inside: Mask) -> NDArray[np.float64]:
    """Returns the mean absolute difference of neighbours along each axis, (C, dims).

    A generator that makes slices by themselves, or windows of them, has larger steps along that axis than scans have.

    Args:
        volume: (C, *S)
        inside: (*S); both neighbours have to be there. An axis without such neighbours is NaN.
    """
    steps = np.full((len(volume), inside.ndim), np.nan)
    for axis in range(inside.ndim):
        both = inside.take(np.arange(1, inside.shape[axis]), axis) & inside.take(
            np.arange(inside.shape[axis] - 1), axis
        )
        if both.any():
            steps[:, axis] = [float(np.abs(np.diff(channel, axis=axis))[both].mean()) for channel in volume]
    return steps


def seam(volume: NDArray[Any], region: Mask, tissue: Mask, *, near: int = 2) -> NDArray[np.float64]:
    """Returns the step across a region's edge as a multiple of steps beside it, for each contrast, (C,).

    Steps are mean absolute differences of neighbouring voxels, both of them tissue: across the edge, and on either side
    within a few voxels of it. 1 is no seam.

    Args:
        volume: (C, *S)
        region: (*S)
        tissue: (*S), healthy by the label map: the border of a lesion is no seam.
        near: Voxels from the edge that steps beside it may be away.

    Returns:
        NaN where the edge meets no tissue.
    """
    band = ndimage.binary_dilation(region, iterations=near) & ~ndimage.binary_erosion(region, iterations=near)
    sums = np.zeros((2, len(volume)))  # across the edge, beside it
    counts = np.zeros(2)
    for axis in range(region.ndim):
        first, second = np.arange(region.shape[axis] - 1), np.arange(1, region.shape[axis])
        edge = region.take(first, axis) != region.take(second, axis)
        usable = (tissue & band).take(first, axis) & (tissue & band).take(second, axis)
        step = np.abs(np.diff(volume, axis=axis + 1))
        for kind, where in enumerate((usable & edge, usable & ~edge)):
            sums[kind] += step[:, where].sum(1)
            counts[kind] += where.sum()
    if not counts.all():
        return np.full(len(volume), np.nan)
    across, beside = sums / counts[:, None]
    ratio: NDArray[np.float64] = across / np.maximum(beside, 1e-12)
    return ratio
