"""Scores of a segmentation: overlap, surfaces in mm, lesions, volumes; the sound way, and the published one beside it.

Rules for labels that are absent, of one region in one case:

=====================  ==============  ==================  ===========  ==========================
in truth / in result   Dice            HD95, ASSD          false alarm  published (``poster_``)
=====================  ==============  ==================  ===========  ==========================
yes / yes              measured        measured, in mm     left out     measured, in voxels
yes / no               0               374 mm              left out     Dice 0, surfaces left out
no / no                left out (nan)  left out (nan)      0            Dice 1, surfaces left out
no / yes               left out (nan)  left out (nan)      1            Dice 0, surfaces left out
=====================  ==============  ==================  ===========  ==========================

So the truth alone says which cases a mean is over, and two methods are compared on the same ones (Maier-Hein et al.,
Metrics reloaded, 2024, on empty references); with Dice 0 for a false alarm a case entered the mean of the method that
raised it. 374 mm is the BraTS challenges' penalty. Means over cases say of how many they are (``n``). The published
scores drop misses from the surface distances and take a voxel for a millimetre; they stand here to be compared with,
not used. Lesion-wise rules are those of :mod:`.lesionwise`: there false alarms count as Dice 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ..errors import GliomaGenError
from ..labels import ET, NETC, RC, SNFH
from .lesionwise import BRATS2024, PENALTY_MM, LesionRules, lesion_scores
from .surfaces import Mask, surface_distances

Labels = NDArray[np.uint8]
Scores = dict[str, float]

REGIONS: dict[str, tuple[int, ...]] = {
    "NETC": (NETC,),
    "SNFH": (SNFH,),
    "ET": (ET,),
    "RC": (RC,),
    "TC": (NETC, ET),
    "WT": (NETC, SNFH, ET),
}
"""BraTS 2024: the tissues, tumour core, whole tumour (without the cavity)."""

ML_PER_MM3 = 1e-3


def score_case(
    found: Labels,
    truth: Labels,
    *,
    voxel_mm: Sequence[float],
    regions: Mapping[str, Sequence[int]] = REGIONS,
    rules: LesionRules = BRATS2024,
) -> dict[str, Scores]:
    """Scores one case.

    Args:
        found: Prepared labels, (X, Y, Z).
        truth: Prepared labels, (X, Y, Z).
        voxel_mm: Length of a voxel along each axis.
        regions: The labels that make up each region, by its name.
        rules: How lesions are counted.

    Returns:
        For each region ``dice``, ``hd95_mm``, ``assd_mm``, ``false_alarm``, ``lesion_dice``, ``lesion_hd95_mm``, ``lesions_hit``,
        ``lesions_missed``, ``lesions_false``, ``volume_found_ml``, ``volume_truth_ml``, and the published
        ``poster_dice``, ``poster_hd95_voxel``, ``poster_assd_voxel``. What a case cannot bear is nan.

    Raises:
        GliomaGenError: The maps are not on one grid.
    """
    if found.shape != truth.shape:
        raise GliomaGenError(
            f"label maps of {found.shape} and {truth.shape} voxels; bring both onto one grid before scoring"
        )
    voxel_ml = float(np.prod(voxel_mm)) * ML_PER_MM3
    lesions = lesion_scores(found, truth, regions, voxel_mm=voxel_mm, rules=rules)
    scores = {}
    for name, numbers in regions.items():
        a, b = np.isin(found, list(numbers)), np.isin(truth, list(numbers))
        lesion = lesions[name]
        scores[name] = {
            **_overlap_and_surfaces(a, b, voxel_mm),
            "lesion_dice": lesion.dice,
            "lesion_hd95_mm": lesion.hd95_mm,
            "lesions_hit": float(lesion.hit),
            "lesions_missed": float(lesion.missed),
            "lesions_false": float(lesion.false),
            "volume_found_ml": float(a.sum()) * voxel_ml,
            "volume_truth_ml": float(b.sum()) * voxel_ml,
        }
    return scores


def _overlap_and_surfaces(a: Mask, b: Mask, voxel_mm: Sequence[float]) -> Scores:
    nan = float("nan")
    size_a, size_b = int(a.sum()), int(b.sum())
    if not size_a or not size_b:
        missed = {"dice": 0.0, "hd95_mm": PENALTY_MM, "assd_mm": PENALTY_MM, "false_alarm": nan}
        absent = {"dice": nan, "hd95_mm": nan, "assd_mm": nan, "false_alarm": float(size_a > 0)}
        published = {"poster_hd95_voxel": nan, "poster_assd_voxel": nan}
        return {**(missed if size_b else absent), "poster_dice": float(size_a == size_b), **published}
    dice = 2 * int((a & b).sum()) / (size_a + size_b)
    in_mm = surface_distances(a, b, voxel_mm)
    in_voxels = surface_distances(a, b, (1.0,) * a.ndim)
    return {
        "dice": dice,
        "hd95_mm": in_mm.hd95_mm,
        "assd_mm": in_mm.assd_mm,
        "false_alarm": nan,
        "poster_dice": dice,
        "poster_hd95_voxel": in_voxels.pooled_hd95_mm,
        "poster_assd_voxel": in_voxels.balanced_assd_mm,
    }


def volume_correlation(found_ml: Sequence[float], truth_ml: Sequence[float]) -> float:
    """Returns Pearson's r of volumes; nan for fewer than three cases, or where one side does not vary."""
    a, b = np.asarray(found_ml, np.float64), np.asarray(truth_ml, np.float64)
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(stats.pearsonr(a, b).statistic)


def mean_scores(cases: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, Any]]:
    """Returns the mean of each score of each region over the cases that bear it, and of how many (``n_<score>``).

    The volumes become ``volume_r``, Pearson's r over the cases.

    Args:
        cases: As :func:`score_case` returns them.
    """
    means: dict[str, dict[str, Any]] = {}
    for region in cases[0] if cases else ():
        table = {name: np.array([case[region][name] for case in cases]) for name in cases[0][region]}
        means[region] = {}
        for name, values in table.items():
            if name.startswith("volume_"):
                continue
            there = values[~np.isnan(values)]
            means[region][name] = float(there.mean()) if len(there) else float("nan")
            means[region][f"n_{name}"] = len(there)
        means[region]["volume_r"] = volume_correlation(
            table["volume_found_ml"].tolist(), table["volume_truth_ml"].tolist()
        )
    return means
