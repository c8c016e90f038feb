"""Noise and sharpness of a volume: everywhere in the head, slice by slice, and along the mask's borders."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..labels import CONTRASTS, HEAD

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]

_FLOOR = 1e-4  # grey; what is below is as good as nothing, and its logarithm must not run away
_SHADING_MM = 25.0


def texture(
    volume: Image,
    label: NDArray[np.uint8],
    *,
    voxel_mm: Sequence[float],
    contrasts: Sequence[str] = CONTRASTS,
    min_voxels: int = 30,
) -> dict[str, float]:
    """Measures noise and sharpness of each contrast.

    Ratio-scale values are given as log2, so that half and double are equally far.

    Args:
        volume: (C, X, Y, Z), grey in [0, 1].
        label: (X, Y, Z), prepared labels.
        voxel_mm: Length of a voxel along each axis.
        contrasts: Names of the C channels.
        min_voxels: A region with fewer voxels is not measured.

    Returns:
        Per contrast: ``noise`` (standard deviation of the finest diagonal Haar detail where the image is smooth;
        Donoho & Johnstone, Biometrika 1994;81:425), ``gradient`` quantiles relative to the grey's interquartile
        range, ``fine to coarse`` energy, the least and most detailed slice against the whole, ``shading``
        (slow change over the head), and the edge strength at the lesion's borders against beside them.
    """
    head = label > 0
    inside = ndimage.binary_erosion(head)
    found: dict[str, float] = {}
    if inside.sum() < min_voxels:
        return found
    border, beside = _lesion_borders(label)
    sigma = [_SHADING_MM / 2 / length for length in voxel_mm]
    weight = np.maximum(_average(head.astype(np.float32), sigma), 1e-6)
    for name, image in zip(contrasts, volume, strict=True):
        low, middle, high = np.quantile(image[head], (0.25, 0.5, 0.75))
        spread = max(float(high - low), 1e-3)
        # Without the step at the head's edge, which is the mask's and not the image's.
        grey = np.where(head, image, np.float32(middle)).astype(np.float32)
        fine, coarse = ndimage.gaussian_filter(grey, 1.0), ndimage.gaussian_filter(grey, 2.0)
        gradient = _gradient(grey)

        slope = _gradient(fine)
        calm = inside & (slope <= np.median(slope[inside]))
        detail = np.abs(haar_detail(grey))
        found[f"{name} noise"] = _log2(1.4826 * float(np.median(detail[calm])), _FLOOR)
        for share in (0.5, 0.9, 0.99):
            value = float(np.quantile(gradient[inside], share)) / spread
            found[f"{name} gradient {share:g}"] = _log2(value, _FLOOR)
        energies = float((grey - fine)[inside].var()), float((fine - coarse)[inside].var())
        found[f"{name} fine to coarse"] = _log2(energies[0] / max(energies[1], _FLOOR**2), _FLOOR)
        least, most = _slice_extremes(detail, inside, min_voxels)
        found[f"{name} least detailed slice"], found[f"{name} most detailed slice"] = least, most
        slow = _average(grey - np.float32(middle), sigma) / weight  # grey is middle outside the head
        found[f"{name} shading"] = _log2(float(slow[head].std()) / spread, _FLOOR)
        if min(border.sum(), beside.sum()) >= min_voxels:
            ratio = float(gradient[border].mean()) / max(float(gradient[beside].mean()), _FLOOR)
            found[f"{name} lesion edge"] = _log2(ratio, _FLOOR)
    return found


def haar_detail(grey: Image) -> Image:
    """Finest detail diagonal in all three axes, undecimated, (X, Y, Z); white noise keeps its standard deviation.

    The last voxel along each axis has no neighbour and repeats the one before.
    """
    for axis in range(3):
        difference = np.diff(grey, axis=axis) / np.float32(np.sqrt(2))
        last = difference.take([-1], axis=axis)
        grey = np.concatenate([difference, last], axis=axis)
    return grey


def _gradient(grey: Image) -> Image:
    return np.sqrt(sum(np.square(part) for part in np.gradient(grey))).astype(np.float32)  # type: ignore[arg-type]


def _log2(value: float, floor: float) -> float:
    return float(np.log2(max(value, floor)))


def _slice_extremes(detail: Image, inside: Mask, min_voxels: int) -> tuple[float, float]:
    """Mean detail of the least and the most detailed slice, along any axis, against the whole head's; log2.

    A fault of a few slices drowns in any average over the volume.
    """
    whole = max(float(detail[inside].mean()), _FLOOR)
    ratios = []
    for axis in range(3):
        others = tuple(k for k in range(3) if k != axis)
        counts = inside.sum(axis=others)
        enough = counts >= max(min_voxels, 0.25 * counts.max())  # end slices are small and mostly cortex
        sums = np.where(inside, detail, 0).sum(axis=others, dtype=np.float64)
        ratios.append(sums[enough] / counts[enough] / whole)
    every = np.concatenate(ratios)
    if not len(every):
        return 0.0, 0.0
    return _log2(float(every.min()), _FLOOR), _log2(float(every.max()), _FLOOR)


def _average(grey: Image, sigma: Sequence[float]) -> Image:
    return np.asarray(ndimage.gaussian_filter(grey, sigma, mode="constant", truncate=2.0), np.float32)


def _lesion_borders(label: NDArray[np.uint8]) -> tuple[Mask, Mask]:
    """Voxels at a border of a lesion's label inside the head, and those two to four voxels from any."""
    lesion = label > HEAD
    if not lesion.any():
        return lesion, lesion
    cross = ndimage.generate_binary_structure(3, 1)
    differs = ndimage.maximum_filter(label, footprint=cross) != ndimage.minimum_filter(label, footprint=cross)
    well_inside = ndimage.binary_erosion(label > 0)
    border = differs & ndimage.binary_dilation(lesion, cross) & well_inside
    apart = ndimage.distance_transform_edt(~border)
    return border, well_inside & (apart >= 2) & (apart <= 4)
