"""Distances between sets of features, against torchmetrics, and their intervals."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gliomagen.evaluation.fidelity import fid, kid, kid_subsets, prdc
from gliomagen.evaluation.intervals import (
    fid_interval,
    interval,
    kid_interval,
    mean_interval,
    resamples,
    two_sample_interval,
)
from gliomagen.torchvision_import import repair_torchvision


def vectors(count: int, size: int = 24, *, shift: float = 0.0, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, size)) @ np.random.default_rng(9).normal(size=(size, size)) + shift


def names(count: int) -> list[str]:
    return [str(number) for number in range(count)]


@pytest.mark.parametrize(("many", "few"), [(90, 70), (90, 12)])
def test_fid_is_torchmetrics(many: int, few: int) -> None:
    """Also where there are fewer vectors than features, which a matrix root does not like."""
    repair_torchvision()
    from torchmetrics.image.fid import _compute_fid

    a, b = vectors(many), vectors(few, shift=0.4, seed=1)
    x, y = torch.from_numpy(a), torch.from_numpy(b)
    theirs = _compute_fid(x.mean(0), x.T.cov(), y.mean(0), y.T.cov())
    assert fid(a, b) == pytest.approx(float(theirs), rel=1e-4)
    assert fid(a, a) == pytest.approx(0, abs=1e-6)


def test_kid_is_torchmetrics() -> None:
    repair_torchvision()
    from torchmetrics.image.kid import poly_mmd

    a, b = vectors(60), vectors(60, shift=0.2, seed=1)
    assert kid(a, b) == pytest.approx(float(poly_mmd(torch.from_numpy(a), torch.from_numpy(b))), rel=1e-6)
    assert kid_subsets(a, b, subsets=1)[0] == pytest.approx(kid(a, b))
    assert kid_subsets(a, b, subsets=5)[1] > 0
    with pytest.raises(ValueError, match="too few"):
        kid_subsets(a, b, subsets=40)


def test_prdc_by_hand() -> None:
    """On a line: real 0 1 2 3, reach 1 of each; synthetic at 0.5 lies in reach of 0 and 1, at 9 of none."""
    real = np.arange(4.0)[:, None]
    synthetic = np.array([[0.5], [9.0]])
    scores = prdc(real, synthetic, nearest=1)
    assert scores == {"precision": 0.5, "recall": 1.0, "density": 1.0, "coverage": 0.5}
    with pytest.raises(ValueError, match="more than"):
        prdc(real, synthetic, nearest=2)


def test_collapse_and_blur_of_a_set_are_told_apart() -> None:
    """A generator that makes one good scan again and again is precise and covers nothing."""
    real, rng = vectors(80), np.random.default_rng(2)
    collapsed = np.repeat(vectors(2, seed=5), 40, axis=0) + 1e-3 * rng.standard_normal((80, 24))
    same, one = prdc(real, vectors(80, seed=6)), prdc(real, collapsed)
    assert one["recall"] < 0.2 < same["recall"] and one["coverage"] < 0.5 < same["coverage"]


def test_the_value_is_in_its_interval_and_more_patients_narrow_it() -> None:
    def width(count: int) -> float:
        a, b = vectors(count), vectors(count, shift=0.3, seed=1)
        for estimate, value in (
            (fid_interval(a, b, names(count), names(count), draws=40), fid(a, b)),
            (kid_interval(a, b, names(count), names(count), draws=40), kid(a, b)),
        ):
            assert estimate.value == pytest.approx(value) and estimate.low < value < estimate.high
        return fid_interval(a, b, names(count), names(count), draws=40)

    few, many = width(40), width(400)
    assert many.high - many.low < 0.6 * (few.high - few.low)


def test_scans_of_one_patient_are_drawn_together() -> None:
    """Ten scans of ten patients tell more than ten scans of two."""
    weights = resamples(["a", "a", "b", "c", "c"], draws=50, seed=0, what="x")
    assert all(w[0] == w[1] and w[3] == w[4] and w[0] + w[2] + w[3] == 3 for w in weights)
    values = [1.0, 1.1, 0.9, 5.0, 5.1, 4.9]
    alone = mean_interval(values, names(6))
    together = mean_interval(values, ["a", "a", "a", "b", "b", "b"])
    assert together.high - together.low > 1.2 * (alone.high - alone.low)


def test_kids_interval_is_not_shifted_by_repeated_vectors() -> None:
    """Two sets of one kind have KID 0; a bootstrap that pairs copies with themselves says more."""
    a, b = vectors(60, seed=3), vectors(60, seed=4)
    estimate = kid_interval(a, b, names(60), names(60), draws=100)
    assert estimate.low < 0 < estimate.high


def test_kid_of_many_vectors_takes_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel of all slabs of two thousand scans would not fit; a part of them says the same, less surely."""
    a, b = vectors(400), vectors(400, shift=0.5, seed=1)
    whole = kid_interval(a, b, names(400), names(400), draws=60)
    monkeypatch.setattr("gliomagen.evaluation.intervals.LARGEST", 150)
    part = kid_interval(a, b, names(400), names(400), draws=60)
    assert part.low < whole.value < part.high and part.high - part.low > whole.high - whole.low


def test_a_constant_is_its_own_interval() -> None:
    a = vectors(20)
    estimate = two_sample_interval(lambda x, y: 1.0, a, a, names(20), names(20), draws=5)
    assert (estimate.value, estimate.low, estimate.high) == (1, 1, 1)
    nothing = interval(2.0, [])
    assert nothing.to_json() == {"value": 2.0, "low": None, "high": None}
