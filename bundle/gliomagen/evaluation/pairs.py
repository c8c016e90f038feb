"""Scores of pairs: a synthetic scan and the real one of the same label map; two scans of one set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..randomness import numpy_generator
from ..scans import ScanFiles, read_scan
from .intervals import Estimate, interval, mean_interval
from .score import Score, Scores
from .similarity import betas_that_fit, ms_ssim

RECIPE = "volume"
PUBLISHED = "gliomagen"
Distance = Callable[[NDArray[Any], NDArray[Any]], float]

_SLICES = 48  # compared at once
_SEEN = 8  # slices of a pair whose diversity is looked at, evenly over the head


def paired(real: Sequence[ScanFiles], synthetic: Sequence[ScanFiles]) -> list[tuple[ScanFiles, ScanFiles]]:
    """Returns (real, synthetic) scans of one label map; a synthetic one says which it was made from."""
    by_case = {files.case: files for files in real}
    return [
        (by_case[files.mask_case or files.case], files)
        for files in synthetic
        if (files.mask_case or files.case) in by_case
    ]


def paired_scores(
    scores: Scores,
    pairs: Sequence[tuple[ScanFiles, ScanFiles]],
    *,
    contrasts: Sequence[str],
    distance: Distance | None = None,
    slices: bool = False,
    seed: int = 0,
) -> None:
    """Adds MS-SSIM of axial slices of each contrast, and the feature distance; one pair in memory at a time.

    Args:
        scores: Where they go.
        pairs: Real and synthetic scans of one label map.
        contrasts: The channels.
        distance: Perceptual distance of two scans; None leaves it out.
        slices: Also the published recipe's: every axial slice, mean and standard deviation over slices.
        seed: Of the resampling.
    """
    if not pairs:
        why = "no synthetic case was made from the label map of a real case given here"
        scores.leave_out(RECIPE, "ms_ssim, feature_distance", why)
        if slices:
            scores.leave_out(PUBLISHED, "ms_ssim", why)
        return
    head_slices: dict[str, list[float]] = {name: [] for name in contrasts}
    all_slices: dict[str, list[float]] = {name: [] for name in contrasts}
    apart: list[float] = []
    groups = [real.patient or real.case for real, _ in pairs]
    betas: tuple[float, ...] = ()
    for real_files, synthetic_files in pairs:
        real, synthetic = read_scan(real_files).volume, read_scan(synthetic_files).volume
        if real.shape != synthetic.shape:
            scores.leave_out(
                RECIPE,
                f"pair {synthetic_files.case}",
                f"{synthetic.shape[1:]} voxels, its real scan {real.shape[1:]}",
            )
            continue
        a, b = torch.from_numpy(real), torch.from_numpy(synthetic)
        betas = betas_that_fit(real.shape[1:3])
        there = (a != 0).any(0).flatten(0, 1).any(0)  # slices with some head, (Z,)
        for number, name in enumerate(contrasts):
            if betas:
                values = _slicewise(b[number], a[number], betas)
                head_slices[name].append(float(values[there].mean()))
                all_slices[name] += values.tolist()
        if distance is not None:
            apart.append(distance(synthetic, real))
    from_real = len({real.case for real, _ in pairs})
    if not betas:
        scores.leave_out(RECIPE, "ms_ssim", "slices of 10 voxels or fewer along an axis bear no scale")
    for name in contrasts if betas else ():
        scores.found.append(
            Score(
                recipe=RECIPE,
                name=f"ms_ssim of pairs, {len(betas)} scales",
                of=name,
                view="slices",
                better="",
                estimate=mean_interval(head_slices[name], groups, seed=seed),
                vectors=len(head_slices[name]),
                note="axial slices with some head; sharing a label map, scans need not be alike elsewhere: more is not better",
                real=from_real,
                synthetic=len(pairs),
            )
        )
    if apart:
        scores.found.append(
            Score(
                recipe=RECIPE,
                name="feature distance of pairs",
                of="all",
                view="volume",
                better="lower",
                estimate=mean_interval(apart, groups, seed=seed),
                vectors=len(apart),
                real=from_real,
                synthetic=len(pairs),
            )
        )
    for name in contrasts if slices and betas else ():
        every = np.array(all_slices[name])
        scores.found.append(
            Score(
                recipe=PUBLISHED,
                name="ms_ssim" if len(betas) == 5 else f"ms_ssim, {len(betas)} scales instead of 5",
                of=name,
                view="slices",
                better="higher",
                estimate=Estimate(
                    value=float(every.mean()),
                    low=float(every.mean() - every.std()),
                    high=float(every.mean() + every.std()),
                ),
                vectors=len(every),
                note="the ends are one standard deviation over slices away, as published",
                real=from_real,
                synthetic=len(pairs),
            )
        )


def _slicewise(a: torch.Tensor, b: torch.Tensor, betas: Sequence[float]) -> torch.Tensor:
    """MS-SSIM of each axial slice of two volumes (X, Y, Z), (Z,)."""
    one, two = a.movedim(2, 0)[:, None], b.movedim(2, 0)[:, None]  # (Z, 1, X, Y)
    values = [
        ms_ssim(one[start : start + _SLICES], two[start : start + _SLICES], betas=betas)
        for start in range(0, len(one), _SLICES)
    ]
    return torch.cat(values)


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
