"""Measures of one volume with its label map, grouped: agreement, contrast, texture, background.

None of them says good or bad; :mod:`.thresholds` compares them with those of real scans. A measure that a case
cannot bear (a label it lacks, or has in few voxels) is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

from ..labels import CONTRASTS, ET, HEAD, LESION, NETC, TUMOUR
from ..pictures import LABEL_SHORT_NAMES
from .texture import texture
from .whole_field import field

Image = NDArray[np.float32]
Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Group = dict[str, float]
Measures = dict[str, Group]
"""Values by group and name."""
Segment = Callable[[Image], NDArray[Any]]
"""An independent segmenter: volume (C, X, Y, Z) in [0, 1] to prepared labels (X, Y, Z)."""

GROUPS: tuple[str, ...] = ("agreement", "contrast", "texture", "field", "background")
MIN_VOXELS = 30
"""A label with fewer voxels is not measured: its median would be noise."""

_CORE = (NETC, ET)
_AWAY_MM = 5.0  # tissue nearer to the lesion may be infiltrated or pressed
_RIM_MM, _DEEP_MM = 6.0, 20.0
_RANKED = 20_000  # voxels are enough for a rank correlation


def measure(
    volume: Image,
    label: Labels,
    *,
    voxel_mm: Sequence[float],
    contrasts: Sequence[str] = CONTRASTS,
    segment: Segment | None = None,
    min_voxels: int = MIN_VOXELS,
) -> Measures:
    """Measures a volume.

    Args:
        volume: (C, X, Y, Z), grey in [0, 1].
        label: (X, Y, Z), prepared labels: what the volume is said to show.
        voxel_mm: Length of a voxel along each axis.
        contrasts: Names of the C channels.
        segment: An independent segmenter; None leaves the group ``agreement`` out.
        min_voxels: A label with fewer voxels is not measured.
    """
    volume = np.asarray(volume, np.float32)
    label = np.asarray(label)
    groups: Measures = {}
    if segment is not None:
        groups["agreement"] = agreement(np.asarray(segment(volume)), label, min_voxels=min_voxels)
    groups["background"] = background(volume, label, contrasts=contrasts)
    box = _around_head(label)
    volume, label = volume[(slice(None), *box)], label[box]
    groups["contrast"] = contrast(
        volume, label, voxel_mm=voxel_mm, contrasts=contrasts, min_voxels=min_voxels
    )
    groups["texture"] = texture(volume, label, voxel_mm=voxel_mm, contrasts=contrasts, min_voxels=min_voxels)
    groups["field"] = field(volume, label, voxel_mm=voxel_mm, contrasts=contrasts, min_voxels=min_voxels)
    return groups


def agreement(segmented: NDArray[Any], label: Labels, *, min_voxels: int = MIN_VOXELS) -> Group:
    """Compares what a segmenter sees with what the mask says.

    Args:
        segmented: (X, Y, Z), prepared labels found in the volume.
        label: (X, Y, Z), prepared labels asked for.
        min_voxels: A label with fewer voxels in the mask has no Dice.

    Returns:
        ``Dice <label>`` per tumour label, of the core (enhancing and not) and of the whole lesion;
        ``false lesion``: lesion seen outside the mask's, as a share of the head.
    """
    seen = np.isin(segmented, (*TUMOUR, LESION))
    lesion = np.isin(label, (*TUMOUR, LESION))
    found: Group = {}
    for number in TUMOUR:
        if (label == number).sum() >= min_voxels:
            found[f"Dice {LABEL_SHORT_NAMES[number]}"] = _dice(segmented == number, label == number)
    core = np.isin(label, _CORE)
    if core.sum() >= min_voxels:
        found["Dice core"] = _dice(np.isin(segmented, _CORE), core)
    if lesion.sum() >= min_voxels:
        found["Dice lesion"] = _dice(seen, lesion)
    found["false lesion"] = float((seen & ~lesion).sum() / max((label > 0).sum(), 1))
    return found


def contrast(
    volume: Image,
    label: Labels,
    *,
    voxel_mm: Sequence[float],
    contrasts: Sequence[str] = CONTRASTS,
    min_voxels: int = MIN_VOXELS,
) -> Group:
    """How bright what is, relative to this volume's own normal tissue, and how the contrasts go together.

    Normal tissue is the head away from the lesion; greys are given from its median, in interquartile ranges.

    Returns:
        Per contrast: median and spread of each tumour label; quantiles of the normal tissue's greys; its rim
        (cortex and liquor) against its depth. Per pair of contrasts: rank correlation in normal tissue, and how
        lopsided the difference of ranks is (one has the brighter vessels, say).
    """
    found: Group = {}
    head = label > 0
    normal = _normal_tissue(label, voxel_mm, min_voxels)
    if normal.sum() < min_voxels:
        return found
    depth_mm = ndimage.distance_transform_edt(np.pad(head, 1), sampling=voxel_mm)[1:-1, 1:-1, 1:-1]
    rim, deep = normal & (depth_mm <= _RIM_MM), normal & (depth_mm >= _DEEP_MM)
    tissues = {number: label == number for number in (*TUMOUR, LESION)}
    for name, grey in zip(contrasts, volume, strict=True):
        low, middle, high = np.quantile(grey[normal], (0.25, 0.5, 0.75))
        spread = max(float(high - low), 1e-3)
        for number, where in tissues.items():
            if where.sum() >= min_voxels:
                quartiles = (np.quantile(grey[where], (0.25, 0.5, 0.75)) - middle) / spread
                short = LABEL_SHORT_NAMES[number]
                found[f"{name} of {short}"] = float(quartiles[1])
                found[f"{name} spread in {short}"] = float(quartiles[2] - quartiles[0])
        for share in (0.05, 0.25, 0.5, 0.75, 0.95):
            found[f"{name} quantile {share:g}"] = float(np.quantile(grey[normal], share))
        if min(rim.sum(), deep.sum()) >= min_voxels:
            found[f"{name} of rim to depth"] = float((np.median(grey[rim]) - np.median(grey[deep])) / spread)
    return found | _relations(volume[:, normal], contrasts)


def background(volume: Image, label: Labels, *, contrasts: Sequence[str] = CONTRASTS) -> Group:
    """Whether the volume fills the head of its label map and nothing else.

    Returns:
        ``signal outside``: voxels outside the head that are not exactly 0, as a share of the head; ``empty
        inside`` and ``empty rim``: share of the head, and of its outermost voxels, that is 0 in every contrast;
        per contrast the share of the head that is 0.
    """
    head = label > 0
    size = max(int(head.sum()), 1)
    # The image's own edge is no rim: a head may be cut there.
    rim = head & ~ndimage.binary_erosion(head, border_value=1)
    empty = (volume == 0).all(axis=0)
    found = {
        "signal outside": float((~empty & ~head).sum() / size),
        "empty inside": float((empty & head).sum() / size),
        "empty rim": float((empty & rim).sum() / max(int(rim.sum()), 1)),
    }
    for name, grey in zip(contrasts, volume, strict=True):
        found[f"{name} empty inside"] = float(((grey == 0) & head).sum() / size)
    return found


def _around_head(label: Labels, margin: int = 3) -> tuple[slice, ...]:
    """The head's box and a margin: what is beyond costs time and says nothing."""
    found = ndimage.find_objects((label > 0).astype(np.uint8))
    if not found:
        return tuple(slice(None) for _ in label.shape)
    return tuple(slice(max(side.start - margin, 0), side.stop + margin) for side in found[0])


def _dice(a: Mask, b: Mask) -> float:
    return float(2 * (a & b).sum() / max(a.sum() + b.sum(), 1))


def _normal_tissue(label: Labels, voxel_mm: Sequence[float], min_voxels: int) -> Mask:
    normal = np.asarray(label == HEAD)
    lesion = label > HEAD
    if not lesion.any():
        return normal
    away = normal & (ndimage.distance_transform_edt(~lesion, sampling=voxel_mm) > _AWAY_MM)
    return away if away.sum() >= min_voxels else normal


def _relations(greys: Image, contrasts: Sequence[str]) -> Group:
    """Between-contrast relations in normal tissue, (C, N); invariant to any rising map of a contrast's greys."""
    if len(contrasts) < 2:
        return {}
    thinned = greys[:, :: max(1, greys.shape[1] // _RANKED)]
    ranks = stats.rankdata(thinned, axis=1) / thinned.shape[1]  # (C, N'), (0, 1]
    found: Group = {}
    for a, b in combinations(range(len(contrasts)), 2):
        pair = f"{contrasts[a]}-{contrasts[b]}"
        moves = ranks[a].std() > 0 and ranks[b].std() > 0
        found[f"{pair} correlation"] = float(np.corrcoef(ranks[a], ranks[b])[0, 1]) if moves else 0.0
        low, middle, high = np.quantile(ranks[a] - ranks[b], (0.01, 0.5, 0.99))
        found[f"{pair} lopsidedness"] = float((high + low - 2 * middle) / max(high - low, 1e-6))
    return found
