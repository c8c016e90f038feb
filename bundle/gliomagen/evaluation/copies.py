"""The training scans nearest to each scan, by what its label map leaves unexplained (:mod:`.fingerprint`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .fingerprint import HEAD_NAME, LESION_NAME, MASK_NAME
from .measuring import Measured

HEAD, LESION = "head", "lesion"
_OURS, _THEIRS = 256, 64  # scans in memory at once; every block of ours reads all of theirs
_SMOOTH_VOXELS = 8.0  # neighbouring samples of a lesion are alike: so many tell as much as one
_LEAST_OVERLAP = 20.0  # samples of lesion that two scans must share to be compared

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


def nearest(scans: Sequence[Measured], training: Sequence[Measured]) -> Nearest:
    """Finds the training scans nearest to each scan.

    Args:
        scans: Of the set to judge.
        training: What the generator learnt from.
    """
    typical = mean_head(training)
    best = {kind: np.full(len(scans), -np.inf) for kind in (HEAD, LESION)}
    index = {kind: np.zeros(len(scans), np.int64) for kind in (HEAD, LESION)}
    for rows, ours in _blocks(scans, _OURS):
        heads = _both_ways(ours[HEAD_NAME], typical)
        for columns, theirs in _blocks(training, _THEIRS):
            scores = {
                HEAD: head_scores(heads, _own(theirs[HEAD_NAME], typical)),
                LESION: lesion_scores(ours, theirs),
            }
            for kind, table in scores.items():
                top = table.argmax(1)
                value = table[np.arange(len(top)), top]
                better = value > best[kind][rows]
                best[kind][rows] = np.where(better, value, best[kind][rows])
                index[kind][rows] = np.where(better, columns.start + top, index[kind][rows])
    return Nearest(head=best[HEAD], head_index=index[HEAD], lesion=best[LESION], lesion_index=index[LESION])


def mean_head(scans: Sequence[Measured]) -> Array:
    """Returns the mean of the heads and their mirror images: what all patients have in common."""
    total: Array | None = None
    for _, block in _blocks(scans, _THEIRS):
        heads = block[HEAD_NAME].sum(0)
        total = heads if total is None else total + heads
    assert total is not None
    mean = total / len(scans)
    return np.asarray((mean + mean[:, ::-1]) / 2)


def head_scores(ours: tuple[Array, Array], theirs: Array) -> NDArray[np.float64]:
    """Returns the correlation of each pair of heads, the better of as they are and mirrored, (N, M).

    What all patients have in common is projected out: how strongly a scan shows it (a blurred one hardly does) says
    nothing of whose it is.
    """
    straight, mirrored = ours
    return np.maximum(straight @ theirs.T, mirrored @ theirs.T).astype(np.float64)


def _both_ways(heads: Array, typical: Array) -> tuple[Array, Array]:
    return _own(heads, typical), _own(heads[:, :, ::-1], typical)


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


def _own(heads: Array, typical: Array) -> Array:
    """Returns what is not typical of heads, as vectors of unit length, (N, D)."""
    flat, direction = heads.reshape(len(heads), -1), typical.ravel()
    direction = direction / max(float(np.linalg.norm(direction)), 1e-9)
    flat = flat - (flat @ direction)[:, None] * direction
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9))


def _blocks(scans: Sequence[Measured], size: int) -> Iterator[tuple[slice, dict[str, Array]]]:
    for start in range(0, len(scans), size):
        part = scans[start : start + size]
        yield (
            slice(start, start + len(part)),
            {
                name: np.stack([scan.array(name).astype(np.float32) for scan in part])
                for name in (HEAD_NAME, LESION_NAME, MASK_NAME)
            },
        )


def head_score(one: Measured, two: Measured, typical: Array) -> float:
    """Returns the head score of two scans."""
    a, b = (scan.array(HEAD_NAME).astype(np.float32)[None] for scan in (one, two))
    return float(head_scores(_both_ways(a, typical), _own(b, typical))[0, 0])
