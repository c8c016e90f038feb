"""The recipe ``gliomagen``: as GliomaGen (2025) scored its volumes, to be compared with its table and nothing else.

All axial slices of every case, empty ones included; ImageNet's Inception v3; FID over all slices; KID as mean and
standard deviation over 10 disjoint random subsets; MS-SSIM of slice pairs, mean and standard deviation over slices
(:mod:`.pairs`). Its traps: slices of one patient count as independent, empty slices agree perfectly, features of
photographs. Vectors are read case by case, so that memory does not grow with the cases.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..randomness import numpy_generator
from .fidelity import Features, fid_of_moments, kid
from .intervals import Estimate
from .measuring import Measured, slice_name
from .pairs import PUBLISHED
from .score import Score, Scores

SUBSETS = 10
_LARGEST = 2000  # vectors of a subset; beyond, the kernel would outgrow the memory


def published_scores(
    scores: Scores,
    *,
    real: Sequence[Measured],
    synthetic: Sequence[Measured],
    contrasts: Sequence[str],
    seed: int = 0,
) -> None:
    """Adds FID and KID of each contrast, and their mean over the contrasts.

    Args:
        scores: Where they go.
        real: Real scans.
        synthetic: Synthetic scans.
        contrasts: The channels.
        seed: Of the subsets.
    """
    found: dict[str, list[Estimate]] = {"fid": [], "kid": []}
    slices = 0
    for contrast in contrasts:
        name = slice_name(contrast)
        counts = [np.array([len(scan.array(name)) for scan in scans]) for scans in (real, synthetic)]
        slices = int(min(count.sum() for count in counts))
        if slices < 2 * SUBSETS:
            scores.leave_out(
                PUBLISHED, f"fid, kid of {contrast}", f"{slices} slices; {2 * SUBSETS} are needed"
            )
            continue
        value = fid_of_moments(_moments(real, name), _moments(synthetic, name))
        found["fid"].append(Estimate(value=value, low=float("nan"), high=float("nan")))
        values = [
            kid(
                *(_subset(scans, name, chosen) for scans, chosen in zip((real, synthetic), rows, strict=True))
            )
            for rows in zip(*(_subsets(count, slices // SUBSETS, seed) for count in counts), strict=True)
        ]
        middle, deviation = float(np.mean(values)), float(np.std(values))
        found["kid"].append(Estimate(value=middle, low=middle - deviation, high=middle + deviation))
        for kind in ("fid", "kid"):
            scores.found.append(_score(kind, contrast, found[kind][-1], len(real), len(synthetic), slices))
    for kind, estimates in found.items():
        if len(estimates) == len(contrasts) > 1:
            mean = Estimate(
                value=float(np.mean([estimate.value for estimate in estimates])),
                low=float("nan"),
                high=float("nan"),
            )
            scores.found.append(_score(kind, "mean", mean, len(real), len(synthetic), slices))


def _score(kind: str, of: str, estimate: Estimate, real: int, synthetic: int, slices: int) -> Score:
    note = "the ends are one standard deviation over subsets away, as published" if kind == "kid" else ""
    return Score(
        recipe=PUBLISHED,
        name=kind,
        of=of,
        view="slices",
        estimate=estimate,
        better="lower",
        real=real,
        synthetic=synthetic,
        vectors=slices,
        note=note,
    )


def _moments(scans: Sequence[Measured], name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and covariance of the vectors of all scans, one scan in memory at a time."""
    count, total, products = 0, np.zeros(0), np.zeros((0, 0))
    for scan in scans:
        table = scan.array(name).astype(np.float64)
        if not count:
            total, products = np.zeros(table.shape[1]), np.zeros((table.shape[1], table.shape[1]))
        count += len(table)
        total += table.sum(0)
        products += table.T @ table
    mean = total / count
    return mean, (products - count * np.outer(mean, mean)) / (count - 1)


def _subsets(counts: NDArray[np.int64], size: int, seed: int) -> list[list[NDArray[np.int64]]]:
    """Disjoint random subsets of all slices; of each, the rows of every scan."""
    total = int(counts.sum())
    order = numpy_generator(seed, "published kid", total).permutation(total)
    ends = np.cumsum(counts)
    subsets = []
    for number in range(SUBSETS):
        chosen = np.sort(order[number * size : (number + 1) * size][:_LARGEST])
        scan = np.searchsorted(ends, chosen, side="right")
        rows = chosen - (ends - counts)[scan]
        subsets.append([rows[scan == k] for k in range(len(counts))])
    return subsets


def _subset(scans: Sequence[Measured], name: str, rows: Sequence[NDArray[np.int64]]) -> Features:
    return np.concatenate(
        [scan.array(name)[chosen] for scan, chosen in zip(scans, rows, strict=True) if len(chosen)]
    ).astype(np.float64)
