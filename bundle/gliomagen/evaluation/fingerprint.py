"""What tells one patient's scan from another's, in a form in which copies can be looked for among thousands.

Greys are taken as the label map leaves them unexplained: less the mean of their label, so that two scans of one label
map are not alike for that alone. They are blurred a little and sampled in millimetres around the head's centre of
mass, so that a copy moved by a voxel, blurred or with other contrast stays itself; mirroring is tried when comparing.
The lesion is sampled by itself, finer, around its own centre: it may have been copied into another head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..labels import HEAD
from ..scans import Scan

HEAD_GRID: tuple[int, int, int] = (28, 32, 26)
HEAD_MM = 6.0
LESION_GRID: tuple[int, int, int] = (24, 24, 24)
LESION_MM = 3.0
_FINE_MM, _COARSE_MM = 3.0, 18.0  # of the head's greys, what lies between these two Gaussians
_LESION_BLUR_MM = 1.5

HEAD_NAME, LESION_NAME, MASK_NAME = "copy/head", "copy/lesion", "copy/lesion_mask"

Array = NDArray[np.float32]


def fingerprint(scan: Scan) -> dict[str, NDArray[Any]]:
    """Returns the arrays by which copies of a scan are found.

    Args:
        scan: A prepared or synthetic scan.

    Returns:
        ``copy/head`` (C, *HEAD_GRID), ``copy/lesion`` (C, *LESION_GRID), ``copy/lesion_mask`` (*LESION_GRID); float16.
        Without a lesion the latter two are 0.
    """
    head, lesion = scan.label > 0, scan.label > HEAD
    greys = unexplained(scan.volume, scan.label)
    bands = np.stack(
        [
            _blur(grey, head, _FINE_MM, scan.voxel_mm) - _blur(grey, head, _COARSE_MM, scan.voxel_mm)
            for grey in greys
        ]
    )
    bands[:, ~head] = 0
    mask = np.zeros(LESION_GRID, np.float32)
    texture = np.zeros((len(greys), *LESION_GRID), np.float32)
    if lesion.any():
        centre = ndimage.center_of_mass(lesion)
        mask = _sampled(lesion.astype(np.float32), centre, LESION_GRID, LESION_MM, scan.voxel_mm)
        for number, grey in enumerate(greys):
            soft = np.where(lesion, _blur(grey, lesion, _LESION_BLUR_MM, scan.voxel_mm), 0)
            texture[number] = _sampled(soft, centre, LESION_GRID, LESION_MM, scan.voxel_mm)
    middle = ndimage.center_of_mass(head) if head.any() else [(length - 1) / 2 for length in head.shape]
    whole = [_sampled(band, middle, HEAD_GRID, HEAD_MM, scan.voxel_mm) for band in bands]
    return {
        HEAD_NAME: np.stack(whole).astype(np.float16),
        LESION_NAME: texture.astype(np.float16),
        MASK_NAME: mask.astype(np.float16),
    }


def unexplained(volume: NDArray[np.float32], label: NDArray[np.uint8]) -> Array:
    """Returns the greys less the mean of their label in this scan, 0 in the background; (C, X, Y, Z)."""
    at = label.astype(np.intp).ravel()
    counts = np.maximum(np.bincount(at), 1)
    rest = np.empty_like(volume, dtype=np.float32)
    for number, grey in enumerate(volume):
        means = np.bincount(at, grey.ravel()) / counts
        rest[number] = np.where(label > 0, grey - means[label], 0)
    return rest


def _blur(grey: Array, within: NDArray[np.bool_], sigma_mm: float, voxel_mm: Sequence[float]) -> Array:
    """Blurs within a mask: what lies outside does not count."""
    sigma = [sigma_mm / length for length in voxel_mm]
    weight = ndimage.gaussian_filter(within.astype(np.float32), sigma, mode="constant")
    soft = ndimage.gaussian_filter(np.where(within, grey, 0).astype(np.float32), sigma, mode="constant")
    return np.asarray(soft / np.maximum(weight, 1e-3), np.float32)


def _sampled(
    field: Array,
    centre: Sequence[float],
    grid: Sequence[int],
    step_mm: float,
    voxel_mm: Sequence[float],
) -> Array:
    axes = [
        middle + (np.arange(count) - (count - 1) / 2) * step_mm / length
        for middle, count, length in zip(centre, grid, voxel_mm, strict=True)
    ]
    places = np.meshgrid(*axes, indexing="ij")
    return np.asarray(ndimage.map_coordinates(field, places, order=1, mode="constant"), np.float32)
