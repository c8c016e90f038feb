"""Maps of where tumour will be: many label maps, each of a burden and a way of spreading that may come true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import center_of_mass

from ..randomness import numpy_generator
from .burden import Array
from .patients import Seen
from .spread import BURDEN, Labels, Spread, smooth_noise
from .tissue import Float, Speeds, front_speed


@dataclass(frozen=True, kw_only=True)
class GrowthMaps:
    """What may come.

    Attributes:
        samples: (N, X, Y, Z) prepared labels.
        probability: (X, Y, Z) of tumour, in [0, 1].
        likely: (X, Y, Z) where tumour is at least as likely as not.
        no_change: Baseline: the last label map.
        isotropic: Baseline: grown alike in all directions to the median burden.
        burdens: (N,) mm³ of the samples.
    """

    samples: Labels
    probability: Float
    likely: NDArray[np.bool_]
    no_change: Labels
    isotropic: Labels
    burdens: Array


@dataclass(frozen=True, kw_only=True)
class SpreadOptions:
    """How fronts differ.

    Attributes:
        speeds: By tissue.
        spread: Standard deviation of the logarithm of what a scan does not tell of a front's speed.
        outline_mm: Standard deviation of where the last outline lies.
        length_mm: Over which both change.
    """

    speeds: Speeds
    spread: float
    outline_mm: float
    length_mm: float


def growth_maps(
    last: Seen,
    change: Array,
    *,
    samples: int,
    options: SpreadOptions,
    seed: int,
) -> GrowthMaps:
    """Returns maps of a forecast.

    Args:
        last: Scan that is known last.
        change: (M,) draws of the burden over that of the last scan.
        samples: N label maps.
        options: Of their fronts.
        seed: Of draws.

    Raises:
        GliomaGenError: The last scan shows no tumour, or its tissues cannot be told.
    """
    speed = front_speed(last.images, last.labels, options.speeds, affine=last.affine)
    spread = Spread(labels=last.labels, speed=speed, voxel_mm=last.voxel_mm)
    # One of each part of the forecast, so that few samples have its width.
    chosen = np.quantile(change, (np.arange(samples) + 0.5) / samples)
    burdens = spread.burden * numpy_generator(seed, "burdens").permutation(chosen)
    made = []
    for number, burden in enumerate(burdens):
        front, outline = (
            smooth_noise(
                speed.shape, last.voxel_mm, length_mm=options.length_mm, seed=seed, key=f"{what} {number}"
            )
            for what in ("speed", "outline")
        )
        ways = np.asarray(speed * np.exp(options.spread * front), np.float32)
        made.append(spread.grown(float(burden), speed=ways, outline=options.outline_mm * outline))
    alike = np.where((last.labels > 0) & (speed > 0), 1.0, 0.0).astype(np.float32)
    labels = np.stack(made)
    probability = np.isin(labels, BURDEN).mean(0, dtype=np.float32)
    median = float(spread.burden * np.median(change))
    return GrowthMaps(
        samples=labels,
        probability=probability,
        likely=probability >= 0.5,
        no_change=last.labels,
        isotropic=spread.grown(median, speed=alike),
        burdens=np.asarray(burdens),
    )


def growth_direction(last: Seen, probability: Float) -> dict[str, Any]:
    """Returns where new tumour lies from the old: a unit vector (right, anterior, superior), and mm between their middles.

    Args:
        last: Scan that is known last.
        probability: (X, Y, Z) of tumour.
    """
    old = np.isin(last.labels, BURDEN)
    new = np.where(old, 0, probability)
    if not old.any() or not new.any():
        return {"direction_ras": None, "distance_mm": 0.0}
    way = last.affine[:3, :3] @ (np.array(center_of_mass(new)) - center_of_mass(old))
    length = float(np.linalg.norm(way))
    return {
        "direction_ras": [round(float(x) / max(length, 1e-9), 3) for x in way],
        "distance_mm": round(length, 2),
    }


def brier_score(probability: Float, truth: Labels) -> float:
    """Returns the mean squared error of a probability (Brier 1950) over the voxels of the head.

    Args:
        probability: (X, Y, Z) of tumour.
        truth: (X, Y, Z) prepared.
    """
    head = truth > 0
    return float(np.mean((probability[head] - np.isin(truth[head], BURDEN)) ** 2, dtype=np.float64))


def calibration(probability: Float, truth: Labels, edges: Sequence[float]) -> list[dict[str, float]]:
    """Returns how often tumour came where it was said to, by what was said.

    Args:
        probability: (X, Y, Z) of tumour.
        truth: (X, Y, Z) prepared.
        edges: Of bins, 0 to 1; voxels in which nothing is said, probability 0 or 1, have bins of their own at the ends.
    """
    head = truth > 0
    said, came = probability[head], np.isin(truth[head], BURDEN)
    number = np.digitize(said, edges, right=True)
    return [
        {"said": float(said[here].mean()), "came": float(came[here].mean()), "voxels": int(here.sum())}
        for k in range(len(edges) + 1)
        if (here := number == k).any()
    ]
