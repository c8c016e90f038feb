"""What goes wrong over the whole field of view: one-sided brightness, and displaced copies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from ..labels import CONTRASTS, HEAD

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]

_AXES = ("left to right", "back to front", "bottom to top")
_NEAR_MM = 20.0  # folds repeat within this; a copy is farther
_MIN_OVERLAP = 0.1  # of the head, for a displacement to count


def field(
    volume: Image,
    label: NDArray[np.uint8],
    *,
    voxel_mm: Sequence[float],
    contrasts: Sequence[str] = CONTRASTS,
    min_voxels: int = 30,
) -> dict[str, float]:
    """Measures each contrast over the whole head.

    Args:
        volume: (C, X, Y, Z), grey in [0, 1].
        label: (X, Y, Z), prepared labels, RAS+.
        voxel_mm: Length of a voxel along each axis.
        contrasts: Names of the C channels.
        min_voxels: A head with less normal tissue is not measured.

    Returns:
        Per contrast: the ``slope`` of normal tissue's grey along each axis, from one end of the head to the other in
        units of its median; and ``copy``, the largest correlation of the fine detail with itself displaced along an
        axis: ghosts of motion, aliasing, tissue repeated.
    """
    normal = np.asarray(label == HEAD)
    inside = ndimage.binary_erosion(label > 0)
    found: dict[str, float] = {}
    if normal.sum() < min_voxels or inside.sum() < min_voxels:
        return found
    at = np.argwhere(normal).astype(np.float64)  # (N, 3)
    extent = np.maximum(at.max(0) - at.min(0), 1)
    design = np.column_stack([(at - at.mean(0)) / extent, np.ones(len(at))])
    for name, image in zip(contrasts, volume, strict=True):
        grey = image[normal]
        slopes = np.linalg.lstsq(design, grey, rcond=None)[0][:3] / max(float(np.median(grey)), 1e-3)
        for axis, slope in zip(_AXES, slopes, strict=True):
            found[f"{name} slope {axis}"] = float(slope)
        filled = np.where(label > 0, image, np.float32(np.median(grey)))
        detail = np.where(inside, filled - ndimage.gaussian_filter(filled, 2.0), 0)
        found[f"{name} copy"] = displaced_copy(detail, inside, voxel_mm=voxel_mm)
    return found


def displaced_copy(detail: NDArray[np.floating], inside: Mask, *, voxel_mm: Sequence[float]) -> float:
    """Returns the largest correlation of a detail image with itself displaced by 20 mm or more along an axis.

    Args:
        detail: (X, Y, Z), zero outside ``inside``.
        inside: (X, Y, Z), where it counts.
        voxel_mm: Length of a voxel along each axis.
    """
    largest = 0.0
    mask = inside.astype(np.float64)
    for axis, length_mm in enumerate(voxel_mm):
        size = detail.shape[axis]
        first = int(np.ceil(_NEAR_MM / length_mm))
        if first >= size:
            continue
        values, squares, ones = (
            fft.rfft(a.astype(np.float64), 2 * size, axis=axis) for a in (detail, detail**2, mask)
        )

        def summed(
            product: NDArray[np.complexfloating], axis: int = axis, size: int = size
        ) -> NDArray[np.float64]:
            others = tuple(k for k in range(3) if k != axis)
            return np.asarray(fft.irfft(product.sum(axis=others), 2 * size)[:size], np.float64)

        together = summed(values * values.conj())  # sum of d(x) d(x + lag), by lag
        one = summed(squares * ones.conj())  # energy of each side where both are inside
        other = summed(ones * squares.conj())
        overlap = summed(ones * ones.conj())
        usable = (overlap >= _MIN_OVERLAP * mask.sum()) & (np.arange(size) >= first)
        if usable.any():
            energy = np.sqrt(np.maximum(one * other, 1e-12))
            largest = max(largest, float((together[usable] / energy[usable]).max()))
    return largest
