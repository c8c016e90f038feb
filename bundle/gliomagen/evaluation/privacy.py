"""Are synthetic scans copies of training patients?

Each scan is compared with every training scan, as it is and mirrored (:mod:`.fingerprint`). Its score is that of its
nearest training scan, for the whole head and for the lesion by itself. Real patients whom the generator did not see
say how near a stranger comes: a Gumbel distribution, that of maxima, is fitted to their scores, and what a stranger
would exceed once in ``1 / false_alarms`` times is suspected. Source of the practice: Dar et al. 2024 (nearest
neighbours of synthetic against those of held-out scans); Alaa et al. 2022, section 3.3 (authenticity).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from .fidelity import Features, distances
from .fingerprint import HEAD_NAME, LESION_NAME, MASK_NAME
from .measuring import Measured

HEAD, LESION = "head", "lesion"
_BLOCK = 128  # scans in memory at once, of either side
_SMOOTH_VOXELS = 8.0  # neighbouring samples of a lesion are alike: so many tell as much as one
_LEAST_OVERLAP = 20.0  # samples of lesion that two scans must share to be compared
MIN_HELD_OUT = 10
"""Fewer held-out scans say too little about strangers."""

Array = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """The training scans nearest to each scan of a set.

    Attributes:
        head: Score of the nearest whole head, (N,): correlation of what the label map leaves unexplained.
        head_index: Which training scan, (N,).
        lesion: Score of the nearest lesion, (N,): Fisher z of the correlation within both lesions.
        lesion_index: Which training scan, (N,).
    """

    head: NDArray[np.float64]
    head_index: NDArray[np.int64]
    lesion: NDArray[np.float64]
    lesion_index: NDArray[np.int64]


def nearest(scans: Sequence[Measured], training: Sequence[Measured], *, same: bool = False) -> Nearest:
    """Finds the training scans nearest to each scan.

    Args:
        scans: Of the set to judge.
        training: What the generator learnt from.
        same: The sets are one; scans of a patient are not compared with each other.
    """
    typical = mean_head(training)
    best = {kind: np.full(len(scans), -np.inf) for kind in (HEAD, LESION)}
    index = {kind: np.zeros(len(scans), np.int64) for kind in (HEAD, LESION)}
    groups = np.array([scan.group for scan in scans])
    for rows, ours in _blocks(scans):
        for columns, theirs in _blocks(training):
            scores = {HEAD: head_scores(ours, theirs, typical), LESION: lesion_scores(ours, theirs)}
            for kind, table in scores.items():
                if same:
                    table = np.where(groups[rows][:, None] == groups[columns][None], -np.inf, table)
                top = table.argmax(1)
                value = table[np.arange(len(top)), top]
                better = value > best[kind][rows]
                best[kind][rows] = np.where(better, value, best[kind][rows])
                index[kind][rows] = np.where(better, columns.start + top, index[kind][rows])
    return Nearest(head=best[HEAD], head_index=index[HEAD], lesion=best[LESION], lesion_index=index[LESION])


def mean_head(scans: Sequence[Measured]) -> Array:
    """Returns the mean of the heads and their mirror images: what all patients have in common."""
    total: Array | None = None
    for _, block in _blocks(scans):
        heads = block[HEAD_NAME].sum(0)
        total = heads if total is None else total + heads
    assert total is not None
    mean = total / len(scans)
    return np.asarray((mean + mean[:, ::-1]) / 2)


def head_scores(ours: dict[str, Array], theirs: dict[str, Array], typical: Array) -> NDArray[np.float64]:
    """Returns the correlation of each pair of heads, the better of as they are and mirrored, (N, M)."""
    a, b = ours[HEAD_NAME] - typical, theirs[HEAD_NAME] - typical  # typical is its own mirror image
    flat_b = _unit(b)
    return np.maximum(_unit(a) @ flat_b.T, _unit(a[:, :, ::-1]) @ flat_b.T).astype(np.float64)


def lesion_scores(ours: dict[str, Array], theirs: dict[str, Array]) -> NDArray[np.float64]:
    """Returns Fisher's z of the correlation of each pair of lesions where both are, (N, M); mirrored too.

    z = artanh(r) √(n / 8), so that a small overlap, where much correlates by chance, counts for less.
    """
    mirrored = {name: ours[name][..., ::-1, :, :] for name in (LESION_NAME, MASK_NAME)}
    return np.maximum(_lesion_z(ours, theirs), _lesion_z(mirrored, theirs))


def _lesion_z(ours: dict[str, Array], theirs: dict[str, Array]) -> NDArray[np.float64]:
    mask_a, mask_b = (side[MASK_NAME].reshape(len(side[MASK_NAME]), -1) for side in (ours, theirs))
    shared = mask_a @ mask_b.T  # (N, M)
    total = np.zeros_like(shared)
    contrasts = ours[LESION_NAME].shape[1]
    for number in range(contrasts):
        a = ours[LESION_NAME][:, number].reshape(len(mask_a), -1)
        b = theirs[LESION_NAME][:, number].reshape(len(mask_b), -1)
        size = np.sqrt(np.maximum(a**2 @ mask_b.T, 1e-9) * np.maximum(mask_a @ (b**2).T, 1e-9))
        total += (a @ b.T) / size
    r = np.clip(total / contrasts, -0.99, 0.99)
    z = np.arctanh(r) * np.sqrt(shared / _SMOOTH_VOXELS)
    return np.where(shared >= _LEAST_OVERLAP, z, 0.0).astype(np.float64)


def _unit(heads: Array) -> Array:
    flat = heads.reshape(len(heads), -1)
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9))


def _blocks(scans: Sequence[Measured]) -> Iterator[tuple[slice, dict[str, Array]]]:
    for start in range(0, len(scans), _BLOCK):
        part = scans[start : start + _BLOCK]
        yield (
            slice(start, start + len(part)),
            {
                name: np.stack([scan.array(name).astype(np.float32) for scan in part])
                for name in (HEAD_NAME, LESION_NAME, MASK_NAME)
            },
        )


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
            same.append(_pair(one, two, typical))
            if stranger is not None:
                other.append(_pair(one, stranger, typical))
    return {
        "pairs": len(same),
        "same_mask": float(np.mean(same)) if same else None,
        "other_mask": float(np.mean(other)) if other else None,
    }


def _pair(one: Measured, two: Measured, typical: Array) -> float:
    a, b = ({HEAD_NAME: scan.array(HEAD_NAME).astype(np.float32)[None]} for scan in (one, two))
    return float(head_scores(a, b, typical)[0, 0])
