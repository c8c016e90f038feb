"""How fast a tumour's front moves through a head: fast along white matter, slow in grey matter, hardly through liquor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.filters import threshold_multiotsu

from ..errors import GliomaGenError
from ..labels import BACKGROUND, HEAD, RC

Float = NDArray[np.float32]
T1 = ("t1n", "t1c")
"""Contrasts that tell tissues apart by brightness: liquor, grey, white."""


@dataclass(frozen=True, kw_only=True)
class Speeds:
    """Of a front, relative to white matter.

    Attributes:
        grey: In grey matter.
        liquor: In ventricles and sulci; a barrier, but a leaky one, as partial volumes and thin sulci are not seen as they are.
        midline: Across the midline where there is no white matter.
    """

    grey: float = 0.4
    liquor: float = 0.03
    midline: float = 0.05


def front_speed(
    images: Mapping[str, Float], labels: NDArray[np.uint8], speeds: Speeds, *, affine: NDArray[np.float64]
) -> Float:
    """Returns the speed of a front in each voxel, (X, Y, Z), 0 outside the head and in cavities.

    A tissue is told by its brightness on T1, in three classes (Otsu 1979) of what is healthy. Under the lesion it cannot be told,
    so there it is white matter; the front begins at the lesion's edge anyway.

    Args:
        images: By contrast, in [0, 1], (X, Y, Z); t1n or t1c is needed.
        labels: Prepared.
        speeds: By tissue.
        affine: (4, 4), to find left and right.

    Raises:
        GliomaGenError: Neither T1 contrast is there, or it shows no tissues.
    """
    known = [name for name in T1 if name in images]
    if not known:
        raise GliomaGenError(f"tissues are told by {' or '.join(T1)}, and the scan has neither")
    healthy = labels == HEAD
    grey = _smoothed(images[known[0]], healthy)
    try:
        dark, bright = threshold_multiotsu(grey[healthy], classes=3)
    except ValueError as error:
        raise GliomaGenError(f"{known[0]} shows no tissues inside the head ({error})") from error
    speed = np.where(grey < dark, speeds.liquor, np.where(grey < bright, speeds.grey, 1.0)).astype(np.float32)
    speed[(labels != HEAD) & (labels != BACKGROUND)] = 1.0
    across = _midline(healthy | (labels > HEAD), affine) & (speed < 1)
    speed[across] = np.minimum(speed[across], speeds.midline)
    speed[(labels == BACKGROUND) | (labels == RC)] = 0
    return speed


def _smoothed(image: Float, inside: NDArray[np.bool_]) -> Float:
    """Returns the image over half a voxel, without what lies outside."""
    share = gaussian_filter(inside.astype(np.float32), 0.5)
    return np.asarray(gaussian_filter(np.where(inside, image, 0), 0.5) / np.maximum(share, 1e-3), np.float32)


def _midline(head: NDArray[np.bool_], affine: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Returns the slice of voxels in which the head's own mirror stands, (X, Y, Z)."""
    axis = int(np.abs(affine[0, :3]).argmax())
    line = np.moveaxis(head, axis, 0).reshape(head.shape[axis], -1)
    length = len(line)
    # A head is nearly its own mirror image: the mirror that moves the fewest voxels.
    best, middle = -1.0, length // 2
    for twice in range(length - length // 4, length + length // 4):
        low, high = max(0, twice - length + 1), min(length - 1, twice)
        agree = float((line[low : high + 1] & line[low : high + 1][::-1]).sum())
        if agree > best:
            best, middle = agree, round(twice / 2)
    plane = np.zeros(head.shape, bool)
    np.moveaxis(plane, axis, 0)[middle] = True
    return plane
