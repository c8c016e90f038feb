"""Scores of slices, by patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gliomagen.evaluation.segmentation import REGIONS
from gliomagen.evaluation.surfaces import surface_distances
from gliomagen.fewlabel.samples import Sample
from gliomagen.labels import HEAD

Found = Mapping[str, NDArray[np.uint8]]
"""Prepared labels of each slice, by its name."""


def regions_of(samples: Sequence[Sample]) -> dict[str, tuple[int, ...]]:
    """Returns the regions that some slice shows; of a single tissue, that alone."""
    there = {int(label) for sample in samples for label in sample.label.unique()} - {0, HEAD}
    shown = {name: tuple(numbers) for name, numbers in REGIONS.items() if there & set(numbers)}
    return {name: n for name, n in shown.items() if len(n) == 1} if len(there) == 1 else shown


def bearing(
    slices: Mapping[str, Sequence[Sample]], regions: Mapping[str, Sequence[int]] = REGIONS
) -> dict[str, list[bool]]:
    """Returns of each region whether each patient's slices show it, in the order of their names."""
    return {
        region: [
            any(bool(np.isin(sample.label.numpy(), list(numbers)).any()) for sample in samples)
            for _, samples in sorted(slices.items())
        ]
        for region, numbers in regions.items()
    }


SCORES = ("dice", "slice dice", "hd95")


def patient_scores(
    slices: Mapping[str, Sequence[Sample]],
    found: Found,
    voxel_mm: Sequence[float],
    regions: Mapping[str, Sequence[int]] = REGIONS,
) -> dict[str, dict[str, list[float | None]]]:
    """Returns scores of each region by patient, in the order of their names; None where neither truth nor result has it.

    ``dice`` is over the voxels of all of a patient's slices. ``slice dice`` and ``hd95`` (mm) are means over slices, as
    published: a slice's Dice does not count where truth and result are both empty, and is 0 where one is; its HD95 does not
    count where either is.
    """
    scores: dict[str, dict[str, list[float | None]]] = {}
    for region, numbers in regions.items():
        columns = [
            _of_patient(samples, found, voxel_mm, list(numbers)) for _, samples in sorted(slices.items())
        ]
        scores[region] = {
            name: [None if np.isnan(value) else round(value, 4) for value in column]
            for name, column in zip(SCORES, zip(*columns, strict=True), strict=True)
        }
    return scores


def _of_patient(
    samples: Sequence[Sample], found: Found, voxel_mm: Sequence[float], numbers: Sequence[int]
) -> tuple[float, float, float]:
    both, total, dice, far = 0, 0, [], []
    for sample in samples:
        a, b = np.isin(found[sample.name], numbers), np.isin(sample.label.numpy(), numbers)
        shared, sizes = int((a & b).sum()), int(a.sum() + b.sum())
        both, total = both + shared, total + sizes
        if sizes:
            dice.append(2 * shared / sizes)
        if a.any() and b.any():
            far.append(surface_distances(a, b, voxel_mm[:2]).hd95_mm)
    means = (float(np.mean(values)) if values else np.nan for values in (dice, far))
    return (2 * both / total if total else np.nan, *means)  # type: ignore[return-value]
