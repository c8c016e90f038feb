"""Counting voxels, two ways, against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics

from gliomagen.evaluation.confusion import TRUTH, WHOLE, accuracy, cohen_kappa, confusion, f1_per_class
from gliomagen.labels import ET, HEAD, NETC, RC, SNFH

CLASSES = [0, NETC, SNFH, ET, RC]


def maps() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 6, (12, 12, 12)).astype(np.uint8)
    found = np.where(rng.random(truth.shape) < 0.7, truth, rng.integers(0, 6, truth.shape)).astype(np.uint8)
    return found, truth


@pytest.mark.parametrize("over", [WHOLE, TRUTH])
def test_scores_are_scikit_learns(over: str) -> None:
    found, truth = maps()
    a, b = (np.where(label == HEAD, 0, label).ravel() for label in (found, truth))
    if over == TRUTH:
        a, b = a[b > 0], b[b > 0]
    counts = confusion(found, truth, over=over)
    assert np.array_equal(counts, metrics.confusion_matrix(b, a, labels=CLASSES))
    assert accuracy(counts) == pytest.approx(metrics.accuracy_score(b, a))
    assert cohen_kappa(counts) == pytest.approx(metrics.cohen_kappa_score(b, a))
    assert f1_per_class(counts) == pytest.approx(metrics.f1_score(b, a, labels=CLASSES[1:], average=None))


def test_only_the_whole_count_sees_false_alarms() -> None:
    """The published accuracy stays the same however much tumour is painted into healthy brain."""
    truth = np.full((8, 8, 8), HEAD, np.uint8)
    truth[:2] = ET
    painted = truth.copy()
    painted[4:] = SNFH
    assert accuracy(confusion(painted, truth, over=TRUTH)) == 1
    assert accuracy(confusion(painted, truth, over=WHOLE)) == pytest.approx(0.5)


def test_nothing_to_count_is_not_a_number() -> None:
    head = np.full((4, 4, 4), HEAD, np.uint8)
    counts = confusion(head, head, over=TRUTH)
    assert math.isnan(accuracy(counts)) and math.isnan(cohen_kappa(counts))
    assert all(math.isnan(value) for value in f1_per_class(counts))
    assert math.isnan(cohen_kappa(confusion(head, head)))
    with pytest.raises(ValueError, match="over"):
        confusion(head, head, over="tumour")
