"""Arms of a study compared on the same patients: means over seeds and patients, gains, and how sure they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from .intervals import Estimate

Table = NDArray[np.float64]
"""One score of each seed and patient, (seeds, patients); NaN where a patient bears none."""


def patient_table(scores: Sequence[Mapping[str, float]], patients: Mapping[str, str]) -> Table:
    """Returns a score by seed and patient, the mean over a patient's cases.

    Args:
        scores: Of each seed, by case.
        patients: Patient of each case; their sorted order is that of the columns.
    """
    names = sorted(set(patients.values()))
    table = np.full((len(scores), len(names)), np.nan)
    for row, cases in zip(table, scores, strict=True):
        for column, name in enumerate(names):
            own = [value for case, value in cases.items() if patients[case] == name and np.isfinite(value)]
            row[column] = np.mean(own) if own else np.nan
    return table


def mean_of(table: Table) -> Estimate:
    """Returns the mean over seeds and patients, for other patients and other trainings like these."""
    return _interval(_mean(table), _spread(table, None))


def gain_of(table: Table, base: Table) -> Estimate:
    """Returns the mean difference of two arms on the same patients, those with a score in every training of both.

    The interval is Welch's: the variance of the patients' differences, each the mean over seeds, and that of each arm's
    trainings add up, with the degrees of freedom of Satterthwaite (1946). Resampling three trainings would cover the truth
    in nine of ten cases only. Of one training each it is the patients' alone, and says nothing of how trainings scatter.
    """
    table, base = _shared(table, base)
    return _interval(_mean(table) - _mean(base), _spread(table, base))


def share_of(table: Table, base: Table) -> Estimate:
    """Returns the ratio of two arms' means, likewise; its interval to first order (delta method)."""
    table, base = _shared(table, base)
    share, unit = _mean(table) / _mean(base), _mean(base)
    return _interval(share, _spread(table / unit, base * share / unit))


def p_of_gain(table: Table, base: Table) -> float:
    """Returns the two-sided p of a gain of nothing, by the same t distribution as the interval of :func:`gain_of`.

    A signed-rank test of the patients takes the trainings for granted, and finds differences between trainings of one arm.
    """
    table, base = _shared(table, base)
    error, freedom = _spread(table, base)
    gain = _mean(table) - _mean(base)
    if not gain:
        return 1.0
    return float(2 * stats.t.sf(abs(gain) / error, freedom)) if error else 0.0


def _shared(table: Table, base: Table) -> tuple[Table, Table]:
    both = np.isfinite(table).all(0) & np.isfinite(base).all(0)
    return table[:, both], base[:, both]


def _interval(value: float, spread: tuple[float, float]) -> Estimate:
    error, freedom = spread
    half = float(stats.t.ppf(0.975, freedom)) * error if error else error
    return Estimate(value=value, low=value - half, high=value + half)


def _spread(table: Table, base: Table | None) -> tuple[float, float]:
    """Returns the standard error of a mean, or of a difference of means, and its degrees of freedom."""
    arms = [table] if base is None else [table, base]
    of_patients = _over_seeds(table) - (0.0 if base is None else _over_seeds(base))
    parts = [_of_mean(of_patients)]
    parts += [_of_mean(np.array([_mean(row) for row in arm])) for arm in arms if len(arm) > 1]
    variance = sum(part for part, _ in parts)
    if not variance > 0:  # none, or not known
        return variance, 1.0
    return math.sqrt(variance), variance**2 / sum(part**2 / freedom for part, freedom in parts)


def _of_mean(values: Table) -> tuple[float, float]:
    """Variance of the mean of some values, and its degrees of freedom."""
    there = values[np.isfinite(values)]
    if len(there) < 2:
        return math.nan, 1.0
    return float(there.var(ddof=1)) / len(there), len(there) - 1.0


def _mean(table: Table) -> float:
    there = table[np.isfinite(table)]
    return float(there.mean()) if len(there) else math.nan


def _over_seeds(table: Table) -> Table:
    there = np.isfinite(table)
    return np.where(there.any(0), np.where(there, table, 0).sum(0) / np.maximum(there.sum(0), 1), np.nan)


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Returns p values corrected for their number, step down (Holm 1979): the chance of any false alarm stays bounded."""
    corrected, so_far = {}, 0.0
    for rank, name in enumerate(sorted(p, key=lambda name: p[name])):
        so_far = max(so_far, min(1.0, (len(p) - rank) * p[name]))
        corrected[name] = so_far
    return {name: corrected[name] for name in p}
