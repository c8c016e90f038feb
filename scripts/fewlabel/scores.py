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


def patient_scores(
    slices: Mapping[str, Sequence[Sample]],
    found: Found,
    voxel_mm: Sequence[float],
    regions: Mapping[str, Sequence[int]] = REGIONS,
) -> dict[str, list[list[float | None]]]:
    """Returns Dice and HD95 (mm) of each region by patient, in the order of their names; means over slices, None where there is none.

    As published, a slice's Dice does not count where truth and result are both empty, its HD95 where either is. A slice where
    only the result is empty, or only the truth, has Dice 0.
    """
    scores: dict[str, list[list[float | None]]] = {region: [[], []] for region in regions}
    for _, samples in sorted(slices.items()):
        for region, numbers in regions.items():
            dice, far = [], []
            for sample in samples:
                a = np.isin(found[sample.name], list(numbers))
                b = np.isin(sample.label.numpy(), list(numbers))
                if a.any() or b.any():
                    dice.append(2 * int((a & b).sum()) / int(a.sum() + b.sum()))
                if a.any() and b.any():
                    far.append(surface_distances(a, b, voxel_mm[:2]).hd95_mm)
            for values, column in zip((dice, far), scores[region], strict=True):
                column.append(round(float(np.mean(values)), 4) if values else None)
    return scores
