"""Arms of a study compared on the same patients: means over seeds and patients, gains, and how sure they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ..randomness import numpy_generator
from .intervals import Estimate, interval

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


def mean_of(table: Table, *, draws: int = 2000) -> Estimate:
    """Returns the mean over seeds and patients, resampling both."""
    return interval(_mean(table), [_mean(part) for part in _resampled(table, draws)])


def gain_of(table: Table, base: Table, *, draws: int = 2000) -> Estimate:
    """Returns the mean difference of two arms on the same patients, resampling patients and each arm's seeds."""
    pairs = zip(_resampled(table, draws, "a"), _resampled(base, draws, "b"), strict=True)
    differences = [_mean(a) - _mean(b) for a, b in pairs]
    return interval(_mean(table) - _mean(base), differences)


def share_of(table: Table, base: Table, *, draws: int = 2000) -> Estimate:
    """Returns the ratio of two arms' means, likewise."""
    pairs = zip(_resampled(table, draws, "a"), _resampled(base, draws, "b"), strict=True)
    ratios = [_mean(a) / _mean(b) for a, b in pairs]
    return interval(_mean(table) / _mean(base), ratios)


def _mean(table: Table) -> float:
    there = table[np.isfinite(table)]
    return float(there.mean()) if len(there) else float("nan")


def _resampled(table: Table, draws: int, what: str = "") -> list[Table]:
    patients = numpy_generator(0, "patients")  # the same for both sides of a pair
    seeds = numpy_generator(0, "seeds", what)
    count, people = table.shape
    return [
        table[seeds.integers(count, size=count)][:, patients.integers(people, size=people)]
        for _ in range(draws)
    ]


def paired_p(table: Table, base: Table) -> float:
    """Returns the two-sided p of Wilcoxon's signed-rank test of the patients' differences, each the mean over seeds.

    It says whether patients fare otherwise with these trainings; how far trainings scatter is in the interval of
    :func:`gain_of`. 1 where all patients fare alike.
    """
    with np.errstate(invalid="ignore"):
        difference = _over_seeds(table) - _over_seeds(base)
    difference = difference[np.isfinite(difference)]
    if not len(difference) or not difference.any():
        return 1.0
    return float(stats.wilcoxon(difference).pvalue)


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
