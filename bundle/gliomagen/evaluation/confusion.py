"""Scores from counting voxels: accuracy, Cohen's kappa, F1 of each class; two ways of counting, named apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..labels import HEAD, TUMOUR

Counts = NDArray[np.int64]

WHOLE, TRUTH = "whole", "truth"
"""``whole``: every voxel counts, the classes are the tumour labels and all else together. ``truth``: only voxels whose
truth is a tumour label count, as on the poster: what is found in healthy brain or in the background does not show."""


def confusion(
    found: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    *,
    over: str = WHOLE,
    classes: Sequence[int] = TUMOUR,
) -> Counts:
    """Counts voxels, (K, K): rows are the truth, columns what was found; add the cases' counts up.

    Args:
        found: Prepared labels.
        truth: Prepared labels, the same shape.
        over: Which voxels count, see :data:`WHOLE` and :data:`TRUTH`.
        classes: Those of interest, K − 1 of them; class 0 of the table is all other labels.

    Raises:
        ValueError: There is no such way of counting.
    """
    if over not in (WHOLE, TRUTH):
        raise ValueError(f"over must be '{WHOLE}' or '{TRUTH}', not '{over}'")
    place = np.zeros(int(max(HEAD, *classes, found.max(initial=0), truth.max(initial=0))) + 1, np.int64)
    place[list(classes)] = np.arange(1, len(classes) + 1)
    a, b = place[found].ravel(), place[truth].ravel()
    if over == TRUTH:
        a, b = a[b > 0], b[b > 0]
    size = len(classes) + 1
    return np.bincount(b * size + a, minlength=size * size).reshape(size, size)


def accuracy(counts: Counts) -> float:
    """Returns the share of voxels found right; nan where none counts."""
    total = counts.sum()
    return float(np.trace(counts) / total) if total else float("nan")


def cohen_kappa(counts: Counts) -> float:
    """Returns Cohen's kappa: agreement beyond that of chance with the same class sizes; nan where chance is sure."""
    total = counts.sum()
    if not total:
        return float("nan")
    chance = float((counts.sum(0) / total) @ (counts.sum(1) / total))
    return (accuracy(counts) - chance) / (1 - chance) if chance < 1 else float("nan")


def f1_per_class(counts: Counts) -> list[float]:
    """Returns F1 of each class but 0: 2 TP / (2 TP + FP + FN); nan where a class is neither true nor found."""
    hits = np.diag(counts)[1:].astype(np.float64)
    sizes = (counts.sum(0) + counts.sum(1))[1:].astype(np.float64)
    return [2 * h / s if s else float("nan") for h, s in zip(hits.tolist(), sizes.tolist(), strict=True)]
