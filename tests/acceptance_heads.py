"""Small heads for the tests of acceptance: alike enough to have a distribution, different enough to need one."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import ndimage

from gliomagen.labels import ET, HEAD, NETC, RC, SNFH
from gliomagen.synthesis.damage import Case
from gliomagen.synthesis.measures import measure
from gliomagen.synthesis.thresholds import Measured, Thresholds, fit

SIZE = (32, 32, 24)
VOXEL_MM = (3.0, 3.0, 3.0)
CONTRASTS = ("t1c", "t1n", "t2f", "t2w")
# head, NETC, SNFH, ET, RC
GREYS = np.array(
    [
        [0.0, 0.60, 0.30, 0.50, 0.95, 0.15],
        [0.0, 0.58, 0.35, 0.48, 0.52, 0.15],
        [0.0, 0.45, 0.60, 0.85, 0.75, 0.10],
        [0.0, 0.30, 0.70, 0.65, 0.55, 0.95],
    ]
)


def head(seed: int) -> Case:
    """An ellipsoid with tissue, vessels, shading, noise and a lesion of all four labels."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in SIZE], indexing="ij"))
    radius = 0.85 + 0.08 * rng.random((3, 1, 1, 1))
    label = ((grid / radius) ** 2).sum(0) < 1
    label = label.astype(np.uint8) * np.uint8(HEAD)
    centre = rng.uniform(-0.25, 0.25, (3, 1, 1, 1))
    distance = np.sqrt(((grid - centre) ** 2).sum(0))
    for number, reach in ((SNFH, 0.5), (ET, 0.38), (NETC, 0.26)):
        label[distance < reach] = number
    label[((grid - centre - np.array([0.3, 0, 0]).reshape(3, 1, 1, 1)) ** 2).sum(0) < 0.05] = RC

    def field(sigma: float) -> np.ndarray:
        smooth = ndimage.gaussian_filter(rng.standard_normal(SIZE), sigma)
        return np.asarray(smooth / smooth.std())

    tissue, vessel = field(1.2), field(0.7) > 2.0
    volume = np.zeros((4, *SIZE))
    for i, (way, own) in enumerate(((0.10, 0.02), (0.12, 0.03), (-0.04, 0.04), (-0.09, 0.03))):
        grey = GREYS[i][label] + way * tissue * (label == HEAD) + own * field(1.0)
        grey = np.where(vessel & (label == HEAD), [0.95, 0.5, 0.3, 0.2][i], grey)
        volume[i] = grey * (1 + 0.04 * field(6)) + 0.015 * rng.standard_normal(SIZE)
    inside = np.clip(volume, 0.004, 1) * (label > 0)
    return Case(volume=inside.astype(np.float32), label=label)


def nearest_greys(volume: np.ndarray) -> np.ndarray:
    """A segmenter for these heads: the label whose greys are nearest, smoothed; tissue needs to be near its own."""
    smooth = ndimage.gaussian_filter(volume, (0, 0.6, 0.6, 0.6))
    apart = ((smooth[:, None] - GREYS[:, :, None, None, None]) ** 2).sum(0)
    return np.asarray(ndimage.median_filter(apart.argmin(0).astype(np.uint8), 3))


def measured(seed: int, *, segment: bool = False) -> Measured:
    case = head(seed)
    measures = measure(case.volume, case.label, voxel_mm=VOXEL_MM, segment=nearest_greys if segment else None)
    return Measured(case=f"case-{seed}", patient=f"patient-{seed}", measures=measures)


@lru_cache  # fitted once for all tests
def fitted(*, reference: int = 30, validation: int = 25, quantile: float = 0.95) -> Thresholds:
    """Thresholds of real-like heads; seeds from 1000 are never among them."""
    return fit(
        [measured(seed) for seed in range(reference)],
        [measured(seed, segment=True) for seed in range(500, 500 + validation)],
        contrasts=CONTRASTS,
        voxel_mm=VOXEL_MM,
        quantile=quantile,
        segmenter_card={"sha256": "0" * 64, "training_patients": ["1" * 16]},
    )
