"""The edge of a region that was made anew fades into the scan around it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]


def blended(
    made: NDArray[np.float32],
    original: NDArray[np.float32],
    region: Mask,
    *,
    head: Mask,
    lesion: Mask,
    voxel_mm: tuple[float, ...],
    band_mm: float,
) -> NDArray[np.float32]:
    """Lets the original fade into a region that was made anew, from its edge inwards; (C, *S).

    Args:
        made: (C, *S), equal to the original outside.
        original: (C, *S)
        region: (*S)
        head: (*S) The region's border with the background is no seam.
        lesion: (*S) where the original or the result shows lesion: nothing is blended there.
        voxel_mm: Edge lengths of a voxel.
        band_mm: Over so much of the region; 0: not at all.
    """
    kept = head & ~region
    if band_mm <= 0 or not region.any() or not kept.any():
        return made
    depth_mm = np.asarray(ndimage.distance_transform_edt(~kept, sampling=voxel_mm), np.float32)
    share = np.where(region & ~lesion, np.clip(1 - depth_mm / band_mm, 0, 1), 0).astype(np.float32)
    mixed: NDArray[np.float32] = made + share * (original - made)
    return np.where(share > 0, mixed, made)
