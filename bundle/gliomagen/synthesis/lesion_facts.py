"""What is kept of a label map for a comparison of thousands: a few numbers and a coarse outline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..labels import HEAD, LESION, TUMOUR
from .variation import read_label_map

COARSE = (24, 24, 24)
"""Grid of the lesions that are compared with each other, spanning the head."""

KINDS = (*TUMOUR, LESION)
_CHUNK = 256  # label maps whose outlines are unpacked at once: 14 MB of float32


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is kept of a label map: about 2 kB, whatever its size.

    Attributes:
        case: Its name.
        volumes_ml: Of each tumour label.
        centroid: Of the lesion, (3,) in [0, 1] of the head's bounding box, RAS; NaN without a lesion.
        outline: The lesion on the coarse grid over the head's bounding box, flat, packed to bits.
    """

    case: str
    volumes_ml: dict[int, float]
    centroid: NDArray[np.float64]
    outline: NDArray[np.uint8]

    @property
    def lesion_ml(self) -> float:
        """Volume of the whole lesion."""
        return sum(self.volumes_ml.values())


def facts_of(entry: Mapping[str, Any]) -> Facts:
    """Reads a label map and returns what is kept of it."""
    source, _ = read_label_map(entry)
    label = source.label
    voxel_ml = float(np.prod(source.voxel_mm)) / 1000
    counts = np.bincount(label.ravel(), minlength=LESION + 1)
    box = ndimage.find_objects((label > 0).astype(np.uint8))[0]
    lesion = label[box] > HEAD
    centroid = np.full(3, np.nan)
    coarse = np.zeros(COARSE, np.float32)
    if lesion.any():
        centroid = (np.array(ndimage.center_of_mass(lesion)) + 0.5) / np.array(lesion.shape)
        coarse = _coarse(lesion)
    return Facts(
        case=source.case,
        volumes_ml={number: float(counts[number]) * voxel_ml for number in KINDS},
        centroid=centroid,
        # Half of the largest value where none reaches a half: the smallest lesions have an outline too.
        outline=np.packbits((coarse > 0) & (coarse >= min(0.5, 0.5 * coarse.max()))),
    )


def _coarse(lesion: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The share of lesion in each cell of the coarse grid."""
    sizes = [max(n // c, 1) for n, c in zip(lesion.shape, COARSE, strict=True)]
    smooth = ndimage.uniform_filter(lesion.astype(np.float32), sizes)
    factors = [c / n for n, c in zip(lesion.shape, COARSE, strict=True)]
    coarse: NDArray[np.float32] = ndimage.zoom(smooth, factors, order=1, grid_mode=True, mode="nearest")
    return coarse


def mean_mix(facts: Sequence[Facts]) -> dict[int, float]:
    """Returns the mean share of the lesion that each tumour label takes, over the label maps with a lesion."""
    shares = [[f.volumes_ml[n] / f.lesion_ml for n in KINDS] for f in facts if f.lesion_ml > 0]
    means = np.mean(shares, axis=0).tolist() if shares else [0.0] * len(KINDS)
    return dict(zip(KINDS, means, strict=True))


def nearest_dice(
    facts: Sequence[Facts], others: Sequence[Facts], *, excluding_self: bool = False
) -> NDArray[np.float64]:
    """Returns the largest Dice of each lesion's outline with any of the others, in chunks of bounded memory.

    Args:
        facts: N of them.
        others: M of them.
        excluding_self: Leave out the case of the same name.

    Returns:
        (N,); NaN without a lesion, or without another case to compare with.
    """
    nearest = np.full(len(facts), np.nan)
    names = np.array([other.case for other in others])
    for start in range(0, len(others), _CHUNK):
        second = _unpacked(others[start : start + _CHUNK])  # (m, V)
        for first in range(0, len(facts), _CHUNK):
            some = facts[first : first + _CHUNK]
            one = _unpacked(some)  # (n, V)
            sizes = one.sum(1)[:, None] + second.sum(1)[None]
            dice = (2 * (one @ second.T) / np.maximum(sizes, 1)).astype(np.float64)  # (n, m)
            dice[~one.any(1)] = np.nan
            if excluding_self:
                own = np.array([f.case for f in some])[:, None] == names[start : start + _CHUNK][None]
                dice[own] = np.nan
            best = np.fmax.reduce(dice, axis=1)
            nearest[first : first + _CHUNK] = np.fmax(nearest[first : first + _CHUNK], best)
    return nearest


def _unpacked(facts: Sequence[Facts]) -> NDArray[np.float32]:
    bits = np.unpackbits(np.stack([one.outline for one in facts]), axis=1, count=int(np.prod(COARSE)))
    return bits.astype(np.float32)
