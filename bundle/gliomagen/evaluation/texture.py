"""Grey and texture of a scan as numbers: what a network that was trained to name tissues has learnt to overlook.

Of each contrast inside the head: mean, standard deviation and percentiles of the grey; size and kurtosis of what lies
between Gaussians of growing width (fine grain to coarse folds). Of all together also the correlation of each two
contrasts. A few of the statistics by which Portilla and Simoncelli (Int J Comput Vis 2000;40:49) describe a texture.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .features import ALL

TEXTURE = "texture"
_PERCENTILES = (5, 25, 50, 75, 95)
_SIGMAS = (0.6, 1.2, 2.4, 4.8)  # voxels; scans that are compared have voxels of one size
_LEAST = 1e-4  # of the range of greys: below, a band counts as empty

Image = NDArray[np.float32]
Vector = NDArray[np.float32]


def texture(volume: NDArray[Any], head: NDArray[np.bool_], contrasts: Sequence[str]) -> dict[str, Vector]:
    """Returns a vector (F,) for each contrast, and for ``all`` of them.

    Args:
        volume: (C, X, Y, Z) in [0, 1].
        head: (X, Y, Z).
        contrasts: The channels, in order.
    """
    if not head.any():
        head = np.ones_like(head)
    weights = [np.maximum(ndimage.gaussian_filter(head.astype(np.float32), sigma), 1e-3) for sigma in _SIGMAS]
    single = {
        name: _statistics(np.asarray(grey, np.float32), head, weights)
        for name, grey in zip(contrasts, volume, strict=True)
    }
    greys = volume[:, head].astype(np.float64)
    greys = greys - greys.mean(1, keepdims=True)
    size = np.sqrt((greys**2).sum(1)) + 1e-9
    alike = [greys[a] @ greys[b] / (size[a] * size[b]) for a, b in combinations(range(len(greys)), 2)]
    together = np.concatenate([*single.values(), np.array(alike)])
    return {ALL: together.astype(np.float32), **single}


def _statistics(grey: Image, head: NDArray[np.bool_], weights: Sequence[Image]) -> Vector:
    inside = grey[head]
    found = [inside.mean(), inside.std(), *np.percentile(inside, _PERCENTILES)]
    finer = grey
    for sigma, weight in zip(_SIGMAS, weights, strict=True):
        coarser = np.where(head, ndimage.gaussian_filter(np.where(head, grey, 0), sigma) / weight, 0)
        band = (finer - coarser)[head].astype(np.float64)
        deviation = max(float(band.std()), _LEAST)
        kurtosis = float(((band - band.mean()) ** 4).mean()) / deviation**4
        found += [np.log(deviation), np.log(kurtosis + 1)]
        finer = coarser
    return np.array(found, np.float32)
