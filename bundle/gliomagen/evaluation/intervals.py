"""Intervals by resampling patients: scans of one patient, and slices of one scan, are not independent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..randomness import numpy_generator
from .fidelity import Features, fid, kernel

Weights = NDArray[np.int64]

LARGEST = 4096
"""Vectors of a side whose kernel is computed: 134 MB."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its 95 % interval.

    Attributes:
        value: The number.
        low: Lower end; nan where there was nothing to resample.
        high: Upper end.
    """

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float | None]:
        """Returns plain content; what is not a number becomes null."""
        return {name: _plain(getattr(self, name)) for name in ("value", "low", "high")}


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def interval(value: float, draws: Sequence[float], *, centred: bool = False) -> Estimate:
    """Makes an estimate of a value and its bootstrap draws.

    Args:
        value: The statistic of the sample itself.
        draws: The statistic of resamples.
        centred: Shift the percentiles so that the draws' mean lies on the value. For statistics that resampling
            biases: a set with repeated members has a smaller spread than it seems, so the FID of resamples lies above
            that of the sample.
    """
    there = np.asarray([draw for draw in draws if np.isfinite(draw)])
    if not len(there):
        return Estimate(value=value, low=float("nan"), high=float("nan"))
    low, high = np.percentile(there, [2.5, 97.5])
    shift = value - there.mean() if centred else 0.0
    return Estimate(value=value, low=float(low + shift), high=float(high + shift))


def resamples(groups: Sequence[str], *, draws: int, seed: int, what: str) -> list[Weights]:
    """Draws patients with replacement.

    Args:
        groups: Patient of each row.
        draws: Number of resamples.
        seed: Decides the draws, with ``what``.
        what: Name of the set.

    Returns:
        How often each row was drawn, (N,), one for each resample.
    """
    _, patient = np.unique(np.asarray(groups), return_inverse=True)
    count = int(patient.max()) + 1
    generator = numpy_generator(seed, "bootstrap", what)
    return [
        np.bincount(generator.integers(count, size=count), minlength=count)[patient] for _ in range(draws)
    ]


def mean_interval(
    values: Sequence[float], groups: Sequence[str], *, draws: int = 1000, seed: int = 0
) -> Estimate:
    """Returns the mean over rows that have a value, resampling patients."""
    table = np.asarray(values, np.float64)
    there = np.isfinite(table)
    if not there.any():
        return Estimate(value=float("nan"), low=float("nan"), high=float("nan"))
    table, names = table[there], [group for group, keep in zip(groups, there, strict=True) if keep]
    means = [
        float(weights @ table / weights.sum())
        for weights in resamples(names, draws=draws, seed=seed, what="mean")
    ]
    return interval(float(table.mean()), means)


def two_sample_interval(
    statistic: Callable[[Features, Features], float],
    real: Features,
    synthetic: Features,
    real_groups: Sequence[str],
    synthetic_groups: Sequence[str],
    *,
    draws: int = 200,
    seed: int = 0,
) -> Estimate:
    """Returns a statistic of two sets, its interval by resampling the patients of both, centred on the value."""
    pairs = zip(
        resamples(real_groups, draws=draws, seed=seed, what="real"),
        resamples(synthetic_groups, draws=draws, seed=seed, what="synthetic"),
        strict=True,
    )
    values = [statistic(np.repeat(real, a, axis=0), np.repeat(synthetic, b, axis=0)) for a, b in pairs]
    return interval(statistic(real, synthetic), values, centred=True)


def fid_interval(
    real: Features,
    synthetic: Features,
    real_groups: Sequence[str],
    synthetic_groups: Sequence[str],
    **options: Any,
) -> Estimate:
    """Returns FID with its interval; options as for :func:`two_sample_interval`."""
    return two_sample_interval(fid, real, synthetic, real_groups, synthetic_groups, **options)


def kid_interval(
    real: Features,
    synthetic: Features,
    real_groups: Sequence[str],
    synthetic_groups: Sequence[str],
    *,
    draws: int = 200,
    seed: int = 0,
) -> Estimate:
    """Returns KID with its interval.

    The kernels are computed once; of more than :data:`LARGEST` vectors a random part is taken, which KID bears without
    bias. A pair of two copies of one vector, which only resampling makes, does not count: it would raise the estimate.
    """
    real, real_groups = _part(real, real_groups, seed, "real")
    synthetic, synthetic_groups = _part(synthetic, synthetic_groups, seed, "synthetic")
    aa, bb, ab = (kernel(*pair) for pair in ((real, real), (synthetic, synthetic), (real, synthetic)))

    def weighted(a: Weights, b: Weights) -> float:
        return _within(aa, a) + _within(bb, b) - 2 * float(a @ ab @ b / (a.sum() * b.sum()))

    pairs = zip(
        resamples(real_groups, draws=draws, seed=seed, what="real"),
        resamples(synthetic_groups, draws=draws, seed=seed, what="synthetic"),
        strict=True,
    )
    values = [weighted(a, b) for a, b in pairs]
    value = weighted(np.ones(len(real), np.int64), np.ones(len(synthetic), np.int64))
    return interval(value, values, centred=True)


def _part(vectors: Features, groups: Sequence[str], seed: int, what: str) -> tuple[Features, Sequence[str]]:
    if len(vectors) <= LARGEST:
        return vectors, groups
    rows = np.sort(numpy_generator(seed, "kernel", what).permutation(len(vectors))[:LARGEST])
    return vectors[rows], [groups[row] for row in rows]


def _within(kernel: Features, weights: Weights) -> float:
    pairs = float(weights.sum()) ** 2 - float((weights**2).sum())
    return float(weights @ kernel @ weights - (weights**2) @ np.diag(kernel)) / pairs
