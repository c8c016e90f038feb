"""A patient's burden on a later day: which growth law, which parameters, how sure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
class LawDraws:
    """What one law expects.

    Attributes:
        fit: Of the law.
        values: (N, P) draws of its parameters, the measurement error last.
    """

    fit: BurdenFit
    values: Array

    def burdens(self, days: Sequence[float] | Array) -> Array:
        """Returns burdens on days (T,) without measurement error, (N, T), mm³."""
        return self.fit.model.burden(self.values[:, :-1], days)


@dataclass(frozen=True, kw_only=True)
class BurdenForecast:
    """What is expected: draws of each law, so many as the law is likely.

    Attributes:
        laws: The likeliest first.
        known: Measurements that it was told.
        day: Forecast, since the first measurement.
        measured: (N,) draws of what will be measured then, mm³.
        change: (N,) draws of the burden then over that at the last measurement.
        one_step_ahead: Error of each law that was tried: root mean square of the logarithm's.
    """

    laws: tuple[LawDraws, ...]
    known: Measured
    day: float
    measured: Array
    change: Array
    one_step_ahead: Mapping[str, float]

    @property
    def law(self) -> GrowthLaw:
        """The likeliest."""
        return self.laws[0].fit.model.law

    def burdens(self, days: Sequence[float] | Array) -> Array:
        """Returns draws of burdens on days (T,) without measurement error, (N, T), mm³."""
        return np.concatenate([one.burdens(days) for one in self.laws])

    def errors(self) -> Array:
        """Returns draws of the measurement error, (N,)."""
        return np.concatenate([one.values[:, -1] for one in self.laws])

    def facts(self) -> dict[str, Any]:
        """Returns what ``forecast.json`` says; parameters are those of the likeliest law."""
        first = self.laws[0]
        return {
            "growth_law": self.law,
            "growth_laws": {
                one.fit.model.law: round(len(one.values) / len(self.measured), 3) for one in self.laws
            },
            "one_step_ahead_error": dict(self.one_step_ahead),
            "burden_mm3": _quantiles(self.measured),
            "change": _quantiles(self.change),
            "parameters": {name: _quantiles(first.values[:, k]) for k, name in enumerate(first.fit.names)},
        }


def _size(errors: Sequence[float]) -> float:
    """Returns their root mean square; 0 of none."""
    return float(np.sqrt(np.mean(np.square(errors)))) if errors else 0.0


def _quantiles(draws: Array) -> dict[str, float]:
    return {f"{q:g}": float(f"{v:.6g}") for q, v in zip(BAND, np.quantile(draws, BAND), strict=True)}


class BurdenForecaster:
    """Forecasts one patient after the other.

    Args:
        priors: See :class:`.BurdenFit`.
        law: Of growth; ``auto`` takes each as often as it is likely to be the one, told by how well it tells each visit from those
            before it; logistic with fewer than three visits, which a head can hold.
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
        self.tried: list[GrowthLaw] = list(_TRIED) if law == "auto" else [checked_law(law)]
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
        errors = [self._one_step_ahead(measured, law) for law in self.tried]
        counts = self._counts(errors)
        laws = []
        for law, count in sorted(zip(self.tried, counts, strict=True), key=lambda one: -one[1]):
            if count:
                fit = self._fit(measured, law)
                draw = fit.sampled if self.method == "sampler" else fit.bootstrapped
                laws.append(LawDraws(fit=fit, values=draw(count, self.seed)))
        last, then = np.concatenate([one.burdens([measured.days[-1], day]) for one in laws]).T
        came = [one.fit.predictive(one.values, [day], self.seed)[:, 0] for one in laws]
        return BurdenForecast(
            laws=tuple(laws),
            known=measured,
            day=day,
            measured=np.concatenate(came),
            change=then / np.maximum(last, 1e-9),
            one_step_ahead={str(law): _size(own) for law, own in zip(self.tried, errors, strict=True)},
        )

    def _counts(self, errors: Sequence[Sequence[float]]) -> list[int]:
        """Returns how many draws each law gets, told by its one-step-ahead errors.

        Its likelihood is theirs as normal ones, whose variance is not known but at least the measurements'. To take the best law
        alone would be too sure: of simulated patients it is the true one for less than half.
        """
        if not errors[0]:
            return [self.draws, *[0] * (len(errors) - 1)]
        least = self.priors["error"].median ** 2
        likely = np.array([(_size(own) ** 2 + least) ** (-len(own) / 2) for own in errors])
        ends = np.round(self.draws * np.cumsum(likely / likely.sum()))
        return [int(count) for count in np.diff(ends, prepend=0)]

    def _fit(self, measured: Measured, law: GrowthLaw) -> BurdenFit:
        return BurdenFit(measured=measured, law=law, priors=self.priors, smallest_mm3=self.smallest)

    def _one_step_ahead(self, measured: Measured, law: GrowthLaw) -> list[float]:
        """Returns the errors of the logarithm with which the law tells each measurement from the two or more before it."""
        apart: list[float] = []
        for count in range(2, len(measured.days)):
            before = measured.until(count)
            if max(before.burden) <= self.smallest:
                continue
            fit = self._fit(before, law)
            told = fit.model.burden(fit.best()[None, :-1], [measured.days[count]])[0, 0]
            apart.append(float(np.log(max(told, self.smallest) / max(measured.burden[count], self.smallest))))
        return apart
