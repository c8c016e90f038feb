"""Patients of known parameters: burdens over time, courses, measurements with their error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from gliomagen.growth.burden import BurdenModel, GrowthLaw
from gliomagen.growth.fitting import Measured, Prior
from gliomagen.randomness import numpy_generator

SEEN_MM3 = (50.0, 600_000.0)
"""Burdens that a patient may have: what can be seen, and what a head can hold."""
FIRST_MM3, FIRST_SPREAD = 15_000.0, 0.8


@dataclass(frozen=True, kw_only=True)
class SimulatedPatient:
    """Attributes: the parameters, all measurements, and the burden without error at each."""

    law: GrowthLaw
    values: dict[str, float]
    measured: Measured
    burden: tuple[float, ...]

    def known(self) -> Measured:
        """Returns all but the last measurement. A course between the two is planned, and known."""
        return replace(self.measured, days=self.measured.days[:-1], burden=self.measured.burden[:-1])


def simulated_patient(
    seed: int,
    number: int | str,
    *,
    law: GrowthLaw,
    priors: Mapping[str, Prior],
    courses: tuple[int, int] = (0, 2),
    earliest: float = -60.0,
) -> SimulatedPatient:
    """Draws a patient: 4 to 7 visits, 30 to 90 days apart, parameters of the priors.

    Args:
        seed: Of the study.
        number: Of the patient.
        law: Of growth.
        priors: By parameter.
        courses: Fewest and most; each begins before the last visit but one.
        earliest: Day on which one may begin.
    """
    rng = numpy_generator(seed, "patient", number)

    def drawn(prior: Prior) -> float:
        while True:
            value = float(prior.median * np.exp(prior.spread * rng.standard_normal()))
            if prior.low < value < prior.high:
                return value

    first = Prior(median=FIRST_MM3, spread=FIRST_SPREAD, low=SEEN_MM3[0], high=SEEN_MM3[1])
    while True:
        days = np.concatenate([[0.0], np.cumsum(rng.uniform(30, 90, size=rng.integers(3, 7)))])
        begun = tuple(
            sorted(rng.uniform(earliest, days[-2], size=rng.integers(courses[0], courses[1] + 1)).tolist())
        )
        model = BurdenModel(law=law, courses=begun)
        values = {name: drawn({**priors, "start": first}[name]) for name in model.parameters}
        burden = model.burden(np.array([list(values.values())]), days)[0]
        if SEEN_MM3[0] < burden.min() and burden.max() < SEEN_MM3[1]:
            break
    values["error"] = drawn(priors["error"])
    told = burden * np.exp(values["error"] * rng.standard_normal(len(days)))
    measured = Measured(days=tuple(days.tolist()), burden=tuple(told.tolist()), courses=begun)
    return SimulatedPatient(law=law, values=values, measured=measured, burden=tuple(burden.tolist()))
