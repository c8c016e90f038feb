"""Scores of pairs: a synthetic scan and the real one of the same label map; two scans of one set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from ..randomness import numpy_generator
from ..scans import ScanFiles, read_scan
from .intervals import Estimate, interval, mean_interval
from .measuring import Measured
from .pairing import HEAD_SLICES, PAIR, slices_name
from .score import Score, Scores
from .similarity import betas_that_fit, ms_ssim

RECIPE = "volume"
PUBLISHED = "gliomagen"
_SEEN = 8  # slices of a pair whose diversity is looked at, evenly over the head


def paired_scores(
    scores: Scores,
    synthetic: Sequence[Measured],
    *,
    contrasts: Sequence[str],
    slices: bool = False,
    seed: int = 0,
) -> None:
    """Adds MS-SSIM of axial slices of each contrast, and the feature distance, of scans that were measured in pairs.

    Args:
        scores: Where they go.
        synthetic: Measured scans; those without a real partner do not count.
        contrasts: The channels.
        slices: Also the published recipe's: every axial slice, mean and standard deviation over slices.
        seed: Of the resampling.
    """
    found = [scan for scan in synthetic if PAIR in scan.facts]
    if not found:
        why = "no synthetic case was made from the label map of a real case given here"
        scores.leave_out(RECIPE, "ms_ssim, feature_distance", why)
        if slices:
            scores.leave_out(PUBLISHED, "ms_ssim", why)
        return
    for scan in found:
        if why := scan.facts[PAIR].get("left_out", ""):
            scores.leave_out(RECIPE, f"pair {scan.case}", why)
    found = [scan for scan in found if "left_out" not in scan.facts[PAIR]]
    of_real = len({scan.facts[PAIR]["real"] for scan in found})
    groups = [scan.facts[PAIR]["group"] for scan in found]
    scales = min((scan.facts[PAIR]["scales"] for scan in found), default=0)
    if not scales:
        scores.leave_out(RECIPE, "ms_ssim", "slices of 10 voxels or fewer along an axis bear no scale")
    for name in contrasts if scales else ():
        tables = [scan.array(slices_name(name)) for scan in found]
        heads = [scan.array(HEAD_SLICES) for scan in found]
        means = [float(table[head].mean()) for table, head in zip(tables, heads, strict=True)]
        scores.found.append(
            Score(
                recipe=RECIPE,
                name=f"ms_ssim of pairs, {scales} scales",
                of=name,
                view="slices",
                better="",
                estimate=mean_interval(means, groups, seed=seed),
                vectors=len(means),
                note="axial slices with some head; sharing a label map, scans need not be alike elsewhere: more is not better",
                real=of_real,
                synthetic=len(found),
            )
        )
        if slices:
            every = np.concatenate(tables).astype(np.float64)
            middle, deviation = float(every.mean()), float(every.std())
            scores.found.append(
                Score(
                    recipe=PUBLISHED,
                    name="ms_ssim" if scales == 5 else f"ms_ssim, {scales} scales instead of 5",
                    of=name,
                    view="slices",
                    better="higher",
                    estimate=Estimate(value=middle, low=middle - deviation, high=middle + deviation),
                    vectors=len(every),
                    note="the ends are one standard deviation over slices away, as published",
                    real=of_real,
                    synthetic=len(found),
                )
            )
    apart = [scan.facts[PAIR]["distance"] for scan in found if "distance" in scan.facts[PAIR]]
    if len(apart) == len(found) > 0:
        scores.found.append(
            Score(
                recipe=RECIPE,
                name="feature distance of pairs",
                of="all",
                view="volume",
                better="lower",
                estimate=mean_interval(apart, groups, seed=seed),
                vectors=len(apart),
                real=of_real,
                synthetic=len(found),
            )
        )


def diversity(
    scores: Scores,
    sets: Mapping[str, Sequence[ScanFiles]],
    *,
    contrasts: Sequence[str],
    pairs: int = 60,
    seed: int = 0,
) -> None:
    """Adds the mean MS-SSIM between scans of the synthetic set, and of the real set as its floor.

    Less is more diverse, but less than among real scans is not better: it may be noise.

    Args:
        scores: Where they go.
        sets: ``real`` and ``synthetic``.
        contrasts: The channels, whose mean is taken.
        pairs: Random pairs of each set.
        seed: Says which.
    """
    found: dict[str, Estimate] = {}
    number_of_scales = 0
    for what, scans in sets.items():
        if len(scans) < 3:
            scores.leave_out(
                RECIPE, f"ms_ssim between {what} scans", f"{len(scans)} cases; at least 3 are needed"
            )
            continue
        generator = numpy_generator(seed, "diversity", what)
        values = []
        for _ in range(min(pairs, len(scans) * (len(scans) - 1) // 2)):
            i, j = generator.choice(len(scans), 2, replace=False)
            one, other = (torch.from_numpy(read_scan(scans[k]).volume) for k in (i, j))
            if one.shape != other.shape:
                continue
            betas = betas_that_fit(one.shape[1:3])
            if betas:
                number_of_scales = len(betas)
                both = ((one != 0) & (other != 0)).any(0).flatten(0, 1).any(0).nonzero().flatten()
                at = both[torch.linspace(0, len(both) - 1, _SEEN + 2).long()[1:-1]]
                # contrasts are the channels of one picture, so their mean is taken
                a, b = (volume[..., at].permute(3, 0, 1, 2) for volume in (one, other))  # (_SEEN, C, X, Y)
                values.append(float(ms_ssim(a, b, betas=betas).mean()))
        if not values:
            scores.leave_out(RECIPE, f"ms_ssim between {what} scans", "no two scans are of one size")
            continue
        mean, error = float(np.mean(values)), float(np.std(values) / np.sqrt(len(values)))
        found[what] = interval(mean, [mean - 1.96 * error, mean + 1.96 * error])
    if "synthetic" in found:
        scores.found.append(
            Score(
                recipe=RECIPE,
                name=f"ms_ssim between samples, {number_of_scales} scales",
                of="all",
                view="slices",
                estimate=found["synthetic"],
                floor=found.get("real"),
                real=len(sets["real"]),
                synthetic=len(sets["synthetic"]),
                vectors=pairs,
                note="diversity: far above the real value, samples are too much alike",
            )
        )
