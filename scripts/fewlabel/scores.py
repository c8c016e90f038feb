"""Scores of slices, by patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gliomagen.evaluation.segmentation import REGIONS
from gliomagen.evaluation.surfaces import surface_distances
from gliomagen.fewlabel.samples import Sample

Found = Mapping[str, NDArray[np.uint8]]
"""Prepared labels of each slice, by its name."""


def patient_scores(
    slices: Mapping[str, Sequence[Sample]],
    found: Found,
    voxel_mm: Sequence[float],
    regions: Mapping[str, Sequence[int]] = REGIONS,
) -> list[dict[str, object]]:
    """Returns a row for each patient: mean Dice and HD95 (mm) of its slices by region.

    As published, a slice's Dice does not count where truth and result are both empty, its HD95 where either is. A slice where
    only the result is empty, or only the truth, has Dice 0.
    """
    rows = []
    for patient, samples in slices.items():
        row: dict[str, object] = {"patient": patient}
        for region, numbers in regions.items():
            dice, far = [], []
            for sample in samples:
                a = np.isin(found[sample.name], list(numbers))
                b = np.isin(sample.label.numpy(), list(numbers))
                if a.any() or b.any():
                    dice.append(2 * int((a & b).sum()) / int(a.sum() + b.sum()))
                if a.any() and b.any():
                    far.append(surface_distances(a, b, voxel_mm[:2]).hd95_mm)
            row[region] = [float(np.mean(values)) if values else None for values in (dice, far)]
        rows.append(row)
    return rows
