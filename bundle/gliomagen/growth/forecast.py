"""A patient's burden on a later day: which growth law, which parameters, how sure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from ..errors import GliomaGenError
from .burden import Array, GrowthLaw, checked_law
from .fitting import BurdenFit, Measured, Prior

FitMethod = Literal["sampler", "bootstrap"]
_TRIED: tuple[GrowthLaw, ...] = ("logistic", "gompertz", "exponential")
BAND = (0.05, 0.5, 0.95)
"""Quantiles that are told."""


@dataclass(frozen=True, kw_only=True)
class BurdenForecast:
    """What is expected.

    Attributes:
        fit: Of the chosen law.
        values: (N, P) draws of its parameters, the measurement error last.
        day: Forecast, since the first measurement.
        measured: (N,) draws of what will be measured then, mm³.
        change: (N,) draws of the burden then over that at the last measurement.
        laws: One-step-ahead error of each law that was tried: root mean square of the logarithm's.
    """

    fit: BurdenFit
    values: Array
    day: float
    measured: Array
    change: Array
    laws: Mapping[str, float]

    def facts(self) -> dict[str, Any]:
        """Returns what ``forecast.json`` says."""
        names = self.fit.names
        return {
            "growth_law": self.fit.model.law,
            "one_step_ahead_error": dict(self.laws),
            "burden_mm3": _quantiles(self.measured),
            "change": _quantiles(self.change),
            "parameters": {name: _quantiles(self.values[:, k]) for k, name in enumerate(names)},
        }


def _quantiles(draws: Array) -> dict[str, float]:
    return {f"{q:g}": float(f"{v:.6g}") for q, v in zip(BAND, np.quantile(draws, BAND), strict=True)}


class BurdenForecaster:
    """Forecasts one patient after the other.

    Args:
        priors: See :class:`.BurdenFit`.
        law: Of growth; ``auto`` takes the one that told each visit best from those before it; logistic with fewer than three, which a head can hold.
        method: ``sampler`` of the posterior, or ``bootstrap``.
        draws: N.
        smallest_mm3: Burden that can just be seen.
        seed: Of the draws.

    Raises:
        GliomaGenError: Law or method is not known.
    """

    def __init__(
        self,
        *,
        priors: Mapping[str, Prior],
        law: str = "auto",
        method: str = "sampler",
        draws: int = 500,
        smallest_mm3: float = 30.0,
        seed: int = 0,
    ) -> None:
        if method not in get_args(FitMethod):
            raise GliomaGenError(f"fit '{method}' is not known; choose among {list(get_args(FitMethod))}")
        self.laws: list[GrowthLaw] = list(_TRIED) if law == "auto" else [checked_law(law)]
        self.priors, self.method, self.draws = priors, method, draws
        self.smallest, self.seed = smallest_mm3, seed

    def __call__(self, measured: Measured, day: float) -> BurdenForecast:
        """Returns the forecast for a day after the last measurement.

        Args:
            measured: So far; its courses may be planned ones.
            day: Since the first measurement.

        Raises:
            GliomaGenError: There never was any tumour.
        """
        errors: dict[str, float] = {law: self._one_step_ahead(measured, law) for law in self.laws}
        law = min(self.laws, key=lambda one: errors[one])
        fit = self._fit(measured, law)
        values = (
            fit.sampled(self.draws, self.seed)
            if self.method == "sampler"
            else fit.bootstrapped(self.draws, self.seed)
        )
        last, then = fit.model.burden(values[:, :-1], [measured.days[-1], day]).T
        return BurdenForecast(
            fit=fit,
            values=values,
            day=day,
            measured=fit.predictive(values, [day], self.seed)[:, 0],
            change=then / np.maximum(last, 1e-9),
            laws=errors,
        )

    def _fit(self, measured: Measured, law: GrowthLaw) -> BurdenFit:
        return BurdenFit(measured=measured, law=law, priors=self.priors, smallest_mm3=self.smallest)

    def _one_step_ahead(self, measured: Measured, law: GrowthLaw) -> float:
        """Returns the error with which the law tells each measurement from those before it; 0 where too few are there to tell."""
        apart = []
        for count in range(2, len(measured.days)):
            before = measured.until(count)
            if max(before.burden) <= self.smallest:
                continue
            fit = self._fit(before, law)
            told = fit.model.burden(fit.best()[None, :-1], [measured.days[count]])[0, 0]
            apart.append(np.log(max(told, self.smallest) / max(measured.burden[count], self.smallest)))
        return float(np.sqrt(np.mean(np.square(apart)))) if apart else 0.0
