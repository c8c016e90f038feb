"""What a copy of a patient may look like: the trial that the search for copies has to pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy import ndimage

from ..labels import HEAD
from ..scans import Scan

BLUR_VOXELS = 0.7
_FARTHEST_VOXELS = 8  # a lesion is moved by, along each axis
_TRIES = 200
_LEAST_VOXELS = 30  # of a lesion that is worth copying


def mirrored(scan: Scan) -> Scan:
    """Left and right exchanged."""
    return replace(scan, volume=scan.volume[:, ::-1].copy(), label=scan.label[::-1].copy())


def shifted(scan: Scan) -> Scan:
    """Moved by a voxel along two axes."""
    step = (1, 0, -1)
    volume = np.roll(scan.volume, step, (1, 2, 3))
    return replace(scan, volume=volume, label=np.roll(scan.label, step, (0, 1, 2)))


def blurred(scan: Scan) -> Scan:
    """Blurred lightly."""
    soft = np.stack([ndimage.gaussian_filter(grey, BLUR_VOXELS) for grey in scan.volume])
    return replace(scan, volume=np.where(scan.label > 0, soft, 0).astype(np.float32))


def _gamma(exponent: float) -> Callable[[Scan], Scan]:
    return lambda scan: replace(scan, volume=scan.volume**exponent)


DISGUISES: dict[str, Callable[[Scan], Scan]] = {
    "exact": lambda scan: scan,
    "mirrored": mirrored,
    "shifted by a voxel": shifted,
    "gamma 1.1": _gamma(1.1),
    "gamma 0.9": _gamma(0.9),
    "blurred": blurred,
    "all at once": lambda scan: mirrored(shifted(blurred(_gamma(1.1)(scan)))),
}


def with_lesion_of(source: Scan, host: Scan, rng: np.random.Generator) -> Scan | None:
    """Puts the lesion of one scan into the head of another, elsewhere; the host's own lesion becomes plain head.

    Returns:
        The host, changed; None where the lesion is too small to speak of or finds no place.
    """
    lesion = source.label > HEAD
    if lesion.sum() < _LEAST_VOXELS:
        return None
    for _ in range(_TRIES):
        step = tuple(rng.integers(-_FARTHEST_VOXELS, _FARTHEST_VOXELS + 1, 3).tolist())
        placed = np.roll(lesion, step, (0, 1, 2))
        if not (placed & (host.label == 0)).any():
            break
    else:
        return None
    label = np.where(
        placed, np.roll(source.label, step, (0, 1, 2)), np.where(host.label > HEAD, HEAD, host.label)
    )
    volume = np.where(placed, np.roll(source.volume, step, (1, 2, 3)), host.volume)
    return replace(host, volume=volume.astype(np.float32), label=label.astype(np.uint8))
