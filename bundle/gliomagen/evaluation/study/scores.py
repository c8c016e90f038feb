"""Scores of one training on the validation patients, and what the published table makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import GliomaGenError
from ...labels import TUMOUR, convention
from ...pictures import LABEL_SHORT_NAMES
from ...segmenter.methods import Predictions
from ...volume import read_volume
from ..confusion import TRUTH, WHOLE, accuracy, cohen_kappa, confusion, f1_per_class
from ..segmentation import ML_PER_MM3, mean_scores, score_case, volume_correlation

CaseScores = dict[str, Any]
TISSUES = tuple(LABEL_SHORT_NAMES[number] for number in TUMOUR)


def score_predictions(
    found: Predictions, truth: Sequence[Mapping[str, Any]], labels: str
) -> dict[str, CaseScores]:
    """Scores label maps of validation cases.

    Args:
        found: What a method found.
        truth: Entries with case, patient and label.
        labels: Label convention of the true label maps.

    Returns:
        By case: ``patient``, ``regions`` as :func:`..segmentation.score_case` gives them, ``whole`` and ``truth``: counts
        of voxels, and ``found_ml`` and ``truth_ml``, the volume of all tumour labels.

    Raises:
        GliomaGenError: A label map is on another grid.
    """
    scores: dict[str, CaseScores] = {}
    for entry in truth:
        case = str(entry["case"])
        true, made = read_volume(entry["label"]).to_ras(), read_volume(found.files[case]).to_ras()
        if true.data.shape != made.data.shape or not np.allclose(true.affine, made.affine, atol=1e-3):
            raise GliomaGenError(f"{found.files[case]}: is not on the grid of {entry['label']}; segment anew")
        a = convention(found.label_convention).to_prepared(made.data)
        b = convention(labels).to_prepared(true.data)
        voxel_ml = float(np.prod(true.voxel_mm)) * ML_PER_MM3
        scores[case] = {
            "patient": entry["patient"],
            "regions": score_case(a, b, voxel_mm=true.voxel_mm),
            WHOLE: confusion(a, b, over=WHOLE).tolist(),
            TRUTH: confusion(a, b, over=TRUTH).tolist(),
            "found_ml": float(np.isin(a, TUMOUR).sum()) * voxel_ml,
            "truth_ml": float(np.isin(b, TUMOUR).sum()) * voxel_ml,
        }
    return scores


def mean_dice(case: Mapping[str, Any]) -> float:
    """Returns a case's mean Dice over the tissues that it has."""
    values = [case["regions"][name]["dice"] for name in TISSUES]
    there = [value for value in values if np.isfinite(value)]
    return float(np.mean(there)) if there else float("nan")


def published_row(cases: Mapping[str, CaseScores]) -> dict[str, float]:
    """Returns a row of the published table, under its own rules; to be compared with it and nothing else.

    kappa, accuracy, ``F1 <label>``: of voxels whose truth is a tumour label. ``Dice <label>`` and their mean ``Dice``: 1
    where both sides are empty. HD95, ASSD: in voxels, mean of the labels' means, cases with an empty side left out.
    ``r``: Pearson's, of whole tumour volumes.
    """
    means = mean_scores([case["regions"] for case in cases.values()])
    return {
        **_counted(cases, TRUTH),
        **{f"Dice {name}": means[name]["poster_dice"] for name in TISSUES},
        "Dice": float(np.mean([means[name]["poster_dice"] for name in TISSUES])),
        "HD95": _mean(means[name]["poster_hd95_voxel"] for name in TISSUES),
        "ASSD": _mean(means[name]["poster_assd_voxel"] for name in TISSUES),
        "r": _volume_r(cases),
    }


def sound_row(cases: Mapping[str, CaseScores]) -> dict[str, float]:
    """Returns the same with misses and false alarms told apart, in mm, and lesion by lesion; see :mod:`..segmentation`."""
    means = mean_scores([case["regions"] for case in cases.values()])
    return {
        **_counted(cases, WHOLE),
        **{f"Dice {name}": means[name]["dice"] for name in means},
        "Dice": _mean(means[name]["dice"] for name in TISSUES),
        "HD95 mm": _mean(means[name]["hd95_mm"] for name in TISSUES),
        "ASSD mm": _mean(means[name]["assd_mm"] for name in TISSUES),
        **{f"false alarms {name}": means[name]["false_alarm"] for name in TISSUES},
        "false alarms": _mean(means[name]["false_alarm"] for name in TISSUES),
        "lesion Dice": _mean(means[name]["lesion_dice"] for name in TISSUES),
        "lesion HD95 mm": _mean(means[name]["lesion_hd95_mm"] for name in TISSUES),
        "lesions missed": float(
            sum(c["regions"][n]["lesions_missed"] for c in cases.values() for n in TISSUES)
        ),
        "lesions false": float(
            sum(c["regions"][n]["lesions_false"] for c in cases.values() for n in TISSUES)
        ),
        "r": _volume_r(cases),
    }


def _counted(cases: Mapping[str, CaseScores], over: str) -> dict[str, float]:
    counts = np.sum([case[over] for case in cases.values()], axis=0)
    of_class = {f"F1 {name}": value for name, value in zip(TISSUES, f1_per_class(counts), strict=True)}
    return {"kappa": cohen_kappa(counts), "accuracy": accuracy(counts), **of_class}


def _volume_r(cases: Mapping[str, CaseScores]) -> float:
    return volume_correlation(
        [case["found_ml"] for case in cases.values()], [case["truth_ml"] for case in cases.values()]
    )


def _mean(values: Any) -> float:
    there = [value for value in values if np.isfinite(value)]
    return float(np.mean(there)) if there else float("nan")
