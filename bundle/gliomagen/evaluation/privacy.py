"""Are synthetic scans copies of training patients?

Each scan is compared with every training scan, as it is and mirrored (:mod:`.copies`). Its score is that of its
nearest training scan, for the whole head and for the lesion by itself. Real patients whom the generator did not see
say how near a stranger comes: a Gumbel distribution, that of maxima, is fitted to their scores, and what a stranger
would exceed once in ``1 / false_alarms`` times is suspected. Source of the practice: Dar et al. 2024 (nearest
neighbours of synthetic against those of held-out scans); Alaa et al. 2022, section 3.3 (authenticity).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from .copies import HEAD, LESION, Array, Nearest, head_score, mean_head, nearest
from .features import ALL, VOLUME
from .fidelity import Features, distances
from .intervals import Estimate, interval
from .measuring import Measured, features
from .score import Score, Scores

RECIPE = "privacy"

MIN_HELD_OUT = 10
"""Fewer held-out scans say too little about strangers."""


@dataclass(frozen=True, kw_only=True)
class Suspicion:
    """From where on a scan is suspected of being a copy.

    Attributes:
        head: Threshold of the head's score.
        lesion: Threshold of the lesion's.
        held_out: Number of held-out scans they were set on.
        false_alarms: Share of strangers that is expected above either.
    """

    head: float
    lesion: float
    held_out: int
    false_alarms: float

    def __call__(self, found: Nearest) -> NDArray[np.bool_]:
        """Tells which scans are suspected, (N,)."""
        return np.asarray((found.head > self.head) | (found.lesion > self.lesion))


def suspicion(held_out: Nearest, *, false_alarms: float = 0.02) -> Suspicion:
    """Sets the thresholds on real scans of patients the generator did not see.

    Raises:
        ValueError: They are too few.
    """
    if len(held_out.head) < MIN_HELD_OUT:
        raise ValueError(f"{len(held_out.head)} held-out scans; at least {MIN_HELD_OUT} are needed")
    limits = [
        float(stats.gumbel_r.ppf(1 - false_alarms / 2, *stats.gumbel_r.fit(scores)))
        for scores in (held_out.head, held_out.lesion)
    ]
    return Suspicion(head=limits[0], lesion=limits[1], held_out=len(held_out.head), false_alarms=false_alarms)


def judge(
    scores: Scores,
    *,
    real: Sequence[Measured],
    training: Sequence[Measured],
    synthetic: Sequence[Measured],
    features_known: bool,
) -> dict[str, Any] | None:
    """Adds the share of suspected copies, authenticity, and what seeds and training label maps change.

    Args:
        scores: Where they go.
        real: Held-out scans, on which suspicion is set.
        training: What the generator learnt from.
        synthetic: The scans to judge.
        features_known: Whether features of all contrasts together were measured, for authenticity.

    Returns:
        The thresholds, and the suspected copies with the training case each resembles, nearest first; None where
        there was nothing to compare with.
    """
    if len(real) < MIN_HELD_OUT or len(training) < MIN_HELD_OUT:
        scores.leave_out(
            RECIPE,
            "suspected copies",
            f"{len(real)} held-out scans and {len(training)} of patients the generator learnt from; at least {MIN_HELD_OUT} "
            "of each are needed, see real_dir and training_dir",
        )
        return None
    strangers = nearest(real, training)
    limits = suspicion(strangers)
    found = nearest(synthetic, training)
    suspected = limits(found)
    share = stats.binomtest(int(suspected.sum()), len(suspected)).proportion_ci(method="wilson")
    scores.found.append(
        Score(
            recipe=RECIPE,
            name="suspected copies",
            of="all",
            estimate=Estimate(value=float(suspected.mean()), low=float(share.low), high=float(share.high)),
            floor=Estimate(value=limits.false_alarms, low=float("nan"), high=float("nan")),
            better="lower",
            vectors=len(synthetic),
            note="beside it the share of strangers that would be suspected",
            real=len(real),
            synthetic=len(synthetic),
        )
    )
    if features_known:
        size = features(training, ALL, VOLUME)[0].std(0) + 1e-9
        a, b, c = (features(scans, ALL, VOLUME)[0] / size for scans in (synthetic, training, real))
        scores.found.append(
            Score(
                recipe=RECIPE,
                name="authenticity",
                of="all",
                estimate=interval(authenticity(a, b), []),
                floor=interval(authenticity(c, b), []),
                better="higher",
                vectors=len(synthetic),
                real=len(real),
                synthetic=len(synthetic),
            )
        )
    known = {scan.case for scan in training} | {scan.mask_case for scan in training}
    patients = {scan.patient for scan in training if scan.patient}
    learnt = np.array([scan.mask_case in known or scan.patient in patients for scan in synthetic])
    return {
        "thresholds": {"head": limits.head, "lesion": limits.lesion, "held_out_scans": limits.held_out},
        "expected_false_alarms": limits.false_alarms,
        "suspected": [
            {
                "case": synthetic[k].case,
                "resembles": training[int(index[k])].case,
                "by": kind,
                "score": float(score[k]),
            }
            for k in np.argsort(-np.maximum(found.head / limits.head, found.lesion / limits.lesion))
            if suspected[k]
            for kind, score, index in (
                ((HEAD, found.head, found.head_index),)
                if found.head[k] > limits.head
                else ((LESION, found.lesion, found.lesion_index),)
            )
        ],
        "same_mask_other_seed": seeds_alike(synthetic, mean_head(training)),
        "label_maps": {
            "from_training": _median(found.head[learnt]),
            "from_others": _median(found.head[~learnt]),
            "real_held_out": _median(strangers.head),
        },
    }


def _median(values: NDArray[np.float64]) -> float | None:
    return float(np.median(values)) if len(values) else None


def authenticity(synthetic: Features, training: Features) -> float:
    """Returns the share of synthetic vectors that do not crowd a training vector (Alaa et al. 2022, eq. 8).

    A synthetic vector is authentic if its nearest training vector has another training vector nearer than it.
    For vectors that are new draws from the training's own distribution it is about one half.
    """
    among = distances(training, training)
    np.fill_diagonal(among, np.inf)
    apart = distances(synthetic, training)
    nearest_training = apart.argmin(1)
    return float((apart.min(1) > among.min(1)[nearest_training]).mean())


def seeds_alike(scans: Sequence[Measured], typical: Array) -> dict[str, Any]:
    """Compares synthetic scans of one label map but different seeds.

    Returns:
        ``pairs`` and the mean head score ``same_mask``; ``other_mask`` for as many pairs of different label maps. A
        generator that knows its label maps by heart makes the same scan of one whatever the seed.
    """
    by_mask: dict[str, list[Measured]] = {}
    for scan in scans:
        by_mask.setdefault(scan.mask_case, []).append(scan)
    several = [group for group in by_mask.values() if len(group) > 1]
    same, other = [], []
    for number, group in enumerate(several):
        stranger = several[(number + 1) % len(several)][0] if len(several) > 1 else None
        for one, two in pairwise(group):
            same.append(head_score(one, two, typical))
            if stranger is not None:
                other.append(head_score(one, stranger, typical))
    return {
        "pairs": len(same),
        "same_mask": float(np.mean(same)) if same else None,
        "other_mask": float(np.mean(other)) if other else None,
    }
