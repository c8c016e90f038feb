"""Does the scan show what its label map says? A segmenter that the generator did not make is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .confusion import TRUTH, WHOLE, accuracy, cohen_kappa, f1_per_class
from .intervals import mean_interval
from .measuring import Measured
from .score import Score, Scores
from .segmentation import REGIONS, mean_scores

RECIPE = "faithfulness"
_SHOWN = {
    "dice": "higher",
    "hd95_mm": "lower",
    "assd_mm": "lower",
    "lesion_dice": "higher",
    "false_alarm": "lower",
}


def compare(
    scores: Scores, *, real: Sequence[Measured], synthetic: Sequence[Measured], seed: int = 0
) -> dict[str, Any] | None:
    """Adds Dice, HD95, ASSD and lesion-wise Dice of each region, with those of real held-out scans as the floor.

    What the segmenter gets wrong on real scans it gets wrong on synthetic ones too, so the floor is what to compare
    with. Far above it is no praise: the scans are easier than real ones.

    Returns:
        The means of every score of either set, and those of counted voxels; None where nothing was segmented.
    """
    sets = {"real": real, "synthetic": synthetic}
    tables = {
        what: [scan.facts["segmentation"] for scan in scans if "segmentation" in scan.facts]
        for what, scans in sets.items()
    }
    if not all(tables.values()):
        scores.leave_out(RECIPE, "dice, hd95, assd", "no segmenter was given")
        return None
    for region in REGIONS:
        for name, better in _SHOWN.items():
            estimates = {
                what: mean_interval(
                    [case[region][name] for case in tables[what]], [scan.group for scan in scans], seed=seed
                )
                for what, scans in sets.items()
            }
            if not np.isfinite(estimates["synthetic"].value):
                case = "every synthetic case has it" if name == "false_alarm" else "no synthetic case has it"
                scores.leave_out(RECIPE, f"{name} of {region}", case)
                continue
            scores.found.append(
                Score(
                    recipe=RECIPE,
                    name=name,
                    of=region,
                    estimate=estimates["synthetic"],
                    floor=estimates["real"],
                    better=better,
                    real=len(tables["real"]),
                    synthetic=len(tables["synthetic"]),
                    vectors=sum(bool(np.isfinite(case[region][name])) for case in tables["synthetic"]),
                )
            )
    return {
        what: {
            "regions": mean_scores(tables[what]),
            "voxels": {over: _counted(scans, over) for over in (WHOLE, TRUTH)},
        }
        for what, scans in sets.items()
    }


def _counted(scans: Sequence[Measured], over: str) -> dict[str, Any]:
    counts = np.sum([scan.array(f"confusion/{over}") for scan in scans], axis=0)
    return {"accuracy": accuracy(counts), "cohen_kappa": cohen_kappa(counts), "f1": f1_per_class(counts)}
