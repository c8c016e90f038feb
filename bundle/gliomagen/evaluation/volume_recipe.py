"""The recipe ``volume``: features and texture of whole scans, intervals over patients, real against real beside everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..pictures import PLANES
from .features import ALL, VOLUME
from .fidelity import Features, fid, kid, prdc
from .intervals import Estimate, fid_interval, interval, kid_interval
from .measuring import Measured, features
from .score import Score, Scores
from .texture import TEXTURE

RECIPE = "volume"
MIN_CASES = 5
"""Fewer cases on a side say nothing of a distribution."""

_NEAREST = 5  # neighbours of precision and recall
_FAR = 10.0  # standard deviations
_BETTER = {"fid": "lower", "kid": "lower", "precision": "higher", "recall": "higher"}
_BETTER |= {"density": "", "coverage": "higher"}


def volume_scores(
    scores: Scores,
    *,
    real: Sequence[Measured],
    synthetic: Sequence[Measured],
    floor: Sequence[Measured],
    contrasts: Sequence[str],
    views: Mapping[str, Sequence[str]],
    draws: int = 200,
    seed: int = 0,
) -> None:
    """Adds FID, KID, precision, recall, density and coverage.

    Args:
        scores: Where they go.
        real: Held-out real scans.
        synthetic: Synthetic scans.
        floor: Other real scans, in place of the synthetic ones; as many of them are taken.
        contrasts: ``all`` and single contrasts, as the extractor gives them.
        views: Views the extractor gives, of each of them.
        draws: Resamples of the patients for each interval.
        seed: Of the resampling.
    """
    if min(len(real), len(synthetic)) < MIN_CASES:
        why = (
            f"{len(real)} real and {len(synthetic)} synthetic cases; at least {MIN_CASES} of each are needed"
        )
        scores.leave_out(RECIPE, "fid, kid, precision, recall, density, coverage", why)
        return
    # The floor is worth something only at the size of the synthetic set: FID grows as sets shrink.
    stand_in = list(floor[: len(synthetic)]) if len(floor) >= len(synthetic) else []
    if not stand_in:
        why = f"{len(floor)} training scans cannot stand in for {len(synthetic)} synthetic ones"
        scores.leave_out(RECIPE, "floor (real against real)", why)
    for contrast in contrasts:
        for view in (VOLUME, TEXTURE):
            if view in views[contrast]:
                _of_volumes(scores, real, synthetic, stand_in, contrast, view, draws=draws, seed=seed)
        if planes := [plane for plane in PLANES if plane in views[contrast]]:
            _of_planes(scores, real, synthetic, stand_in, contrast, planes, draws=draws, seed=seed)


def _of_volumes(
    scores: Scores,
    real: Sequence[Measured],
    synthetic: Sequence[Measured],
    stand_in: Sequence[Measured],
    contrast: str,
    view: str,
    *,
    draws: int,
    seed: int,
) -> None:
    (a, groups_a), (b, groups_b), *rest = _scaled(real, synthetic, stand_in, contrast, view)
    c, groups_c = rest[0] if rest else (None, None)
    options = {"draws": draws, "seed": seed}
    for name, measure in (("fid", fid_interval), ("kid", kid_interval)):
        _add(
            scores,
            name,
            contrast,
            view,
            measure(a, b, groups_a, groups_b, **options),
            measure(a, c, groups_a, groups_c, **options) if c is not None and groups_c is not None else None,
            (real, synthetic, min(len(a), len(b))),
        )
    if contrast != ALL:
        return
    if min(len(a), len(b)) <= _NEAREST:
        scores.leave_out(
            RECIPE, "precision, recall, density, coverage", f"more than {_NEAREST} cases are needed"
        )
        return
    floors = prdc(a, c, nearest=_NEAREST) if c is not None and len(c) > _NEAREST else {}
    for name, value in prdc(a, b, nearest=_NEAREST).items():
        floor = interval(floors[name], []) if name in floors else None
        _add(scores, name, contrast, view, interval(value, []), floor, (real, synthetic, min(len(a), len(b))))


def _of_planes(
    scores: Scores,
    real: Sequence[Measured],
    synthetic: Sequence[Measured],
    stand_in: Sequence[Measured],
    contrast: str,
    planes: Sequence[str],
    *,
    draws: int,
    seed: int,
) -> None:
    """2.5-D: slabs or slices in up to three planes, the mean of their scores."""
    tables = {plane: _scaled(real, synthetic, stand_in, contrast, plane) for plane in planes}
    least = min(len(table) for plane in tables.values() for table, _ in plane)
    if least < 2:
        scores.leave_out(RECIPE, f"fid, kid of {contrast} in planes", "a plane has fewer than two vectors")
        return
    for name, measure, with_interval in (("fid", fid, None), ("kid", kid, kid_interval)):
        estimates, floors = [], []
        for plane in planes:
            (a, groups_a), (b, groups_b), *rest = tables[plane]
            if with_interval is None:  # hundreds of decompositions for every interval: value only
                estimates.append(interval(measure(a, b), []))
                floors += [interval(measure(a, c), []) for c, _ in rest]
            else:
                estimates.append(with_interval(a, b, groups_a, groups_b, draws=draws, seed=seed))
                floors += [
                    with_interval(a, c, groups_a, groups_c, draws=draws, seed=seed) for c, groups_c in rest
                ]
        counts = (real, synthetic, least)
        _add(scores, name, contrast, "planes", _mean(estimates), _mean(floors) if floors else None, counts)
    if least <= _NEAREST:
        return
    close: list[list[dict[str, float]]] = [  # of the synthetic set, of the stand-in
        [prdc(table[0][0], table[n][0], nearest=_NEAREST) for table in tables.values()]
        for n in range(1, 3 if stand_in else 2)
    ]
    for name in close[0][0]:
        values = [_mean([interval(found[name], []) for found in sets]) for sets in close]
        _add(scores, name, contrast, "planes", values[0], values[1] if stand_in else None, counts)


def _scaled(
    real: Sequence[Measured],
    synthetic: Sequence[Measured],
    stand_in: Sequence[Measured],
    contrast: str,
    view: str,
) -> list[tuple[Features, list[str]]]:
    """Vectors and patients of each set that is not empty, each feature standardized by the real one.

    An encoder's channels differ in size by orders of magnitude; as they are, a few would decide alone, and the kernel
    of KID wants vectors of about unit size. What lies far outside is cut off at ten standard deviations, or a feature
    that real scans hardly ever show would.
    """
    sets = [features(scans, contrast, view) for scans in (real, synthetic, stand_in) if scans]
    middle, size = sets[0][0].mean(0), sets[0][0].std(0)
    size = np.where(
        size > 1e-6 * max(float(size.max()), 1e-12), size, np.inf
    )  # what never varies tells nothing
    return [(((table - middle) / size).clip(-_FAR, _FAR), groups) for table, groups in sets]


def _mean(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of the planes; their resamples are of the same patients, so their ends go together."""
    ends = [[getattr(estimate, end) for estimate in estimates] for end in ("value", "low", "high")]
    value, low, high = (float(np.mean(values)) for values in ends)
    return Estimate(value=value, low=low, high=high)


def _add(
    scores: Scores,
    name: str,
    contrast: str,
    view: str,
    estimate: Estimate,
    floor: Estimate | None,
    counts: tuple[Sequence[Measured], Sequence[Measured], int],
) -> None:
    real, synthetic, vectors = counts
    scores.found.append(
        Score(
            recipe=RECIPE,
            name=name,
            of=contrast,
            view=view,
            estimate=estimate,
            better=_BETTER[name],
            floor=floor,
            real=len(real),
            synthetic=len(synthetic),
            vectors=vectors,
        )
    )
