"""Distances between the surfaces of two masks, in mm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from monai.metrics.utils import get_mask_edges, get_surface_distance
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class SurfaceDistances:
    """How far each surface voxel of one mask lies from the surface of the other, in mm.

    Attributes:
        forth: From the found mask to the true one, (n,).
        back: From the true mask to the found one, (m,).
    """

    forth: NDArray[np.float64]
    back: NDArray[np.float64]

    @property
    def hd95_mm(self) -> float:
        """95th percentile of the Hausdorff distance: the larger of the two directed percentiles (MONAI, BraTS)."""
        return float(max(np.percentile(self.forth, 95), np.percentile(self.back, 95)))

    @property
    def assd_mm(self) -> float:
        """Average symmetric surface distance: the mean over both surfaces' voxels together (MONAI)."""
        return float(np.concatenate([self.forth, self.back]).mean())

    @property
    def pooled_hd95_mm(self) -> float:
        """The 95th percentile of both directions thrown together, as medpy has it."""
        return float(np.percentile(np.concatenate([self.forth, self.back]), 95))

    @property
    def balanced_assd_mm(self) -> float:
        """The mean of the two directed means, as medpy has it."""
        return float((self.forth.mean() + self.back.mean()) / 2)


def surface_distances(found: Mask, truth: Mask, voxel_mm: Sequence[float]) -> SurfaceDistances:
    """Measures between the surfaces of two masks: voxels of a mask that miss one of their six neighbours.

    Voxels at the border of the image count as surface.

    Args:
        found: (X, Y, Z)
        truth: (X, Y, Z)
        voxel_mm: Length of a voxel along each axis.

    Raises:
        ValueError: A mask is empty; what that is worth is for the caller to say.
    """
    if not found.any() or not truth.any():
        raise ValueError("an empty mask has no surface")
    spacing = tuple(float(length) for length in voxel_mm)
    a, b = get_mask_edges(found, truth)
    return SurfaceDistances(
        forth=np.asarray(get_surface_distance(a, b, spacing=spacing), np.float64),
        back=np.asarray(get_surface_distance(b, a, spacing=spacing), np.float64),
    )


def bounding_box(mask: Mask, margin: int = 0) -> tuple[slice, ...]:
    """Returns the smallest box around a mask that is not empty, and ``margin`` voxels more within the image."""
    ends = []
    for axis in range(mask.ndim):
        at = np.flatnonzero(mask.any(axis=tuple(k for k in range(mask.ndim) if k != axis)))
        ends.append(slice(max(int(at[0]) - margin, 0), int(at[-1]) + 1 + margin))
    return tuple(ends)
