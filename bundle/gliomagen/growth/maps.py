"""Maps of where tumour will be: many label maps, each of a burden and a way of spreading that may come true."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import center_of_mass

from ..labels import RC
from .burden import Array
from .patients import Seen
from .spread import BURDEN, Labels, Spread, smooth_noise
from .tissue import Float, Speeds, front_speed


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


def spread_maps(
    last: Seen, change: Array, *, options: SpreadOptions, seed: int
) -> Iterator[tuple[Labels, float]]:
    """Yields label maps, each of a burden and a way of spreading that may come true, and their burdens in mm³.

    Args:
        last: Scan that is known last.
        change: (N,) burdens over that of the last scan, one for each.
        options: Of their fronts.
        seed: Of draws.

    Raises:
        GliomaGenError: The last scan shows no tumour, or its tissues cannot be told.
    """
    speed = front_speed(last.images, last.labels, options.speeds, affine=last.affine)
    spread = Spread(labels=last.labels, speed=speed, voxel_mm=last.voxel_mm)
    for number, burden in enumerate(spread.burden * change):
        front, outline = (
            smooth_noise(
                speed.shape, last.voxel_mm, length_mm=options.length_mm, seed=seed, key=f"{what} {number}"
            )
            for what in ("speed", "outline")
        )
        ways = np.asarray(speed * np.exp(options.spread * front), np.float32)
        yield spread.grown(float(burden), speed=ways, outline=options.outline_mm * outline), float(burden)


def isotropic(last: Seen, change: float) -> Labels:
    """Returns a baseline, (X, Y, Z) prepared: the tumour grown alike in all directions within the head.

    Args:
        last: Scan that is known last.
        change: Burden over that of the last scan.
    """
    alike = ((last.labels > 0) & (last.labels != RC)).astype(np.float32)
    spread = Spread(labels=last.labels, speed=alike, voxel_mm=last.voxel_mm)
    return spread.grown(spread.burden * change)


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
