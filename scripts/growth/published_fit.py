"""The published fit and bootstrap (Laslo et al. 2025), as its code is described, each of its two faults by a switch.

Exponential growth, one course. The residual is squared before least squares squares it again; the bootstrap multiplies each
measurement by N(1, 0.1), cut off above 1, so that noise only shrinks a tumour.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import least_squares

from gliomagen.growth.burden import Array, BurdenModel
from gliomagen.growth.fitting import Measured
from gliomagen.randomness import numpy_generator

_N = 1.1
BOUNDS = {
    "rate": (0.001 / _N, 2 * _N, 0.02),
    "survival": (0.001, 0.20 * _N, 0.0011),
    "decay": (0.001 / _N, 100 * _N, 0.02),
    "delay": (0.001, 300 * _N, 5.0),
    "slope": (0.001, 600 * _N, 1.0),
}
"""Lowest, highest, start."""
VARIANTS = {
    "published": {"fourth_power": True, "one_sided": True},
    "one-sided noise alone": {"fourth_power": False, "one_sided": True},
    "fourth power alone": {"fourth_power": True, "one_sided": False},
    "neither fault": {"fourth_power": False, "one_sided": False},
}
"""Faults of each."""


def published_bands(
    measured: Measured,
    days: Sequence[float] | Array,
    *,
    fourth_power: bool,
    one_sided: bool,
    refits: int,
    seed: int,
) -> Array:
    """Returns the burdens of all refits, (N, T), mm³.

    Args:
        measured: With one course.
        days: (T,) since the first measurement.
        fourth_power: The published loss.
        one_sided: The published noise.
        refits: N; published 30 to 50.
        seed: Of the noise.
    """
    model = BurdenModel(law="exponential", courses=measured.courses)
    scale = measured.burden[0]
    told = np.array(measured.burden) / scale
    first = (told[0] * 0.9, told[0] * 1.1, told[0])
    low, high, begin = np.array([first, *(BOUNDS[name] for name in model.parameters[1:])]).T
    rng = numpy_generator(seed, "published")
    found = []
    for _ in range(refits):
        noise = 1 + 0.1 * rng.standard_normal(len(told))
        noisy = told * np.clip(noise, 0.05, 1.0 if one_sided else None)

        def residuals(values: Array, noisy: Array = noisy) -> Array:
            apart = (
                np.minimum(model.burden(values[None], measured.days)[0], 1e6) - noisy
            )  # an overflow is no fit
            return apart**2 if fourth_power else apart

        fit = least_squares(
            residuals, begin, bounds=(low, high), x_scale=np.abs(begin) + 1e-3, max_nfev=10_000 // 6
        )
        found.append(model.burden(fit.x[None], days)[0] * scale)
    return np.stack(found)
