"""How good a forecast was: where tumour came, how much of it, and what the scan looked like."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .burden import Array
from .maps import isotropic
from .patients import Seen
from .spread import BURDEN, Labels, burden_mm3
from .tissue import Float

ScoreLabels = Callable[..., Mapping[str, Mapping[str, Any]]]
Compare = Callable[[Float, Float, NDArray[np.bool_]], Mapping[str, float]]
REGION = {"tumour": BURDEN}
BINS = (0.0, 0.2, 0.4, 0.6, 0.8, 0.999)
BASELINES = ("no_change", "isotropic")


class Scoring:
    """Scores a forecast beside two baselines: the last label map, and the median burden grown alike in all directions.

    Args:
        score: Of a label map against the truth, see :func:`.score_case`.
        compare: Of contrasts, both (C, X, Y, Z), within a region (X, Y, Z), see :func:`.similar`.
    """

    def __init__(self, *, score: ScoreLabels, compare: Compare) -> None:
        self.score, self.compare = score, compare

    def __call__(
        self,
        *,
        last: Seen,
        truth: Seen,
        true_mm3: float,
        probability: Float,
        likely: NDArray[np.bool_],
        change: Array,
        measured: Array,
    ) -> dict[str, Any]:
        """Returns the scores of where tumour came and how much.

        Args:
            last: Scan that was known last.
            truth: What came, with tumour.
            true_mm3: Its burden.
            probability: (X, Y, Z) of tumour.
            likely: (X, Y, Z) where tumour was at least as likely as not.
            change: (M,) draws of the burden over that of the last scan.
            measured: (M,) draws of the burden that was expected to be measured, mm³.
        """
        alone = {
            name: np.isin(labels, BURDEN)
            for name, labels in zip(
                BASELINES, (last.labels, isotropic(last, float(np.median(change)))), strict=True
            )
        }
        methods: dict[str, tuple[Float, NDArray[np.bool_]]] = {
            "forecast": (probability, likely),
            **{name: (region.astype(np.float32), region) for name, region in alone.items()},
        }
        wanted = _region(np.isin(truth.labels, BURDEN))
        found: dict[str, Any] = {}
        for name, (said, region) in methods.items():
            labels = _region(region)
            scores = self.score(labels, wanted, voxel_mm=truth.voxel_mm, regions=REGION)["tumour"]
            found[name] = {
                "dice": float(scores["dice"]),
                "hd95_mm": float(scores["hd95_mm"]),
                "brier": brier_score(said, truth.labels),
                "volume_error": float(np.log(max(burden_mm3(labels, truth.voxel_mm), 1.0) / true_mm3)),
            }
        low, middle, high = np.quantile(measured, (0.05, 0.5, 0.95))
        found["burden"] = {
            "true_mm3": true_mm3,
            "log_error": float(np.log(middle / true_mm3)),
            "within_90": bool(low <= true_mm3 <= high),
        }
        found["calibration"] = calibration(probability, truth.labels, BINS)
        return found

    def similarity(
        self, last: Seen, truth: Seen, images: Float, contrasts: Sequence[str]
    ) -> dict[str, dict[str, Mapping[str, float]]]:
        """Returns how like the true scan a made one is, and the last scan beside it, within the lesion and outside.

        Within: where the last or the true scan has a lesion. Outside: the rest of the head that both share.

        Args:
            last: Scan that was known last.
            truth: What came.
            images: (C, X, Y, Z)
            contrasts: Their names; those that both scans have are compared.
        """
        both = [name for name in contrasts if name in last.images and name in truth.images]
        if not both:
            return {}
        true, old = (np.stack([seen.images[name] for name in both]) for seen in (truth, last))
        made = images[[list(contrasts).index(name) for name in both]]
        head = (last.labels > 0) & (truth.labels > 0)
        lesion = head & ((last.labels > 1) | (truth.labels > 1))
        where = {"inside": lesion, "outside": head & ~lesion}
        return {
            name: {region: self.compare(one, true, here) for region, here in where.items() if here.any()}
            for name, one in (("forecast", made), ("no_change", old))
        }


def _region(tumour: NDArray[np.bool_]) -> Labels:
    return np.where(tumour, BURDEN[0], 0).astype(np.uint8)


def brier_score(probability: Float, truth: Labels) -> float:
    """Returns the mean squared error of a probability (Brier 1950) over the voxels of the head.

    Args:
        probability: (X, Y, Z) of tumour.
        truth: (X, Y, Z) prepared.
    """
    head = truth > 0
    return float(np.mean((probability[head] - np.isin(truth[head], BURDEN)) ** 2, dtype=np.float64))


def calibration(probability: Float, truth: Labels, edges: Sequence[float]) -> list[dict[str, float]]:
    """Returns how often tumour came where it was said to, by what was said.

    Args:
        probability: (X, Y, Z) of tumour.
        truth: (X, Y, Z) prepared.
        edges: Of bins, 0 to 1; voxels in which nothing is said, probability 0 or 1, have bins of their own at the ends.
    """
    head = truth > 0
    said, came = probability[head], np.isin(truth[head], BURDEN)
    number = np.digitize(said, edges, right=True)
    return [
        {"said": float(said[here].mean()), "came": float(came[here].mean()), "voxels": int(here.sum())}
        for k in range(len(edges) + 1)
        if (here := number == k).any()
    ]
