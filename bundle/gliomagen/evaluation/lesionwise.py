"""Lesion-wise Dice and HD95, as the BraTS challenges count them.

The rules, for one region (a tissue, or several) of one case:

1. True lesions are the components of the truth dilated three times (18 neighbours), each with the truth's own voxels
   in it: parts closer than six voxels are one lesion. Found lesions are components with 26 neighbours.
2. BraTS 2024 only: true lesions of one tissue that touch the same lesion of another tissue become one (a rim of
   enhancement in three pieces around one necrosis is one lesion). For each tissue the others are asked in turn, see
   ``_ASKED``; the first lesion touched, in the order of their numbers, decides.
3. A true lesion is matched by all found lesions that touch it, dilated three times; their union is scored against it.
   Unmatched, it scores Dice 0 and HD95 374 mm. True lesions of at most ``min_mm3`` are left out of the score, but may
   be matched.
4. A found lesion that matches no true one, of whatever size, scores Dice 0 and HD95 374 mm.
5. The case's score is the mean over both kinds. Nothing true, nothing found: Dice 1, HD95 0.

Source: Saluja et al., BraTS-2023-Metrics and BraTS-2024-Metrics, the challenges' published programs, restated here as
rules. In those the threshold that 2024 sets for ET also holds for RC, which is scored after it; so it does here.
Surfaces are voxels here and marching-cube facets there: HD95 differs, mostly by less than half a voxel
(``bundle/docs/measurements.md``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..labels import ET, NETC, RC, SNFH
from .surfaces import Mask, bounding_box, surface_distances

PENALTY_MM = 374.0
"""HD95 of a miss: about the diagonal of the challenge's 240×240×155 mm."""

_FACES_AND_EDGES = ndimage.generate_binary_structure(3, 2)
_ALL = ndimage.generate_binary_structure(3, 3)
# Which tissues are asked, in turn, whether they join lesions of a tissue (BraTS 2024).
_ASKED: dict[int, tuple[int, ...]] = {NETC: (ET, RC), ET: (NETC, RC), RC: (ET, NETC), SNFH: (ET, RC, NETC)}

Components = NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class LesionRules:
    """What a challenge counts.

    Attributes:
        name: Which challenge.
        dilations: How often the truth is dilated.
        min_mm3: True lesions up to this volume are not scored.
        min_mm3_of: The same for single regions, by name.
        joined: Join lesions of a tissue by those of the others (rule 2).
    """

    name: str
    dilations: int = 3
    min_mm3: float = 50.0
    min_mm3_of: Mapping[str, float] = field(default_factory=dict)
    joined: bool = False


BRATS2023 = LesionRules(name="brats2023")
BRATS2024 = LesionRules(name="brats2024", min_mm3=20.0, min_mm3_of={"ET": 10.0, "RC": 10.0}, joined=True)


@dataclass(frozen=True, kw_only=True)
class LesionScore:
    """Of one region of one case.

    Attributes:
        dice: Mean over lesions, misses and false alarms 0.
        hd95_mm: Likewise, misses and false alarms 374.
        hit: True lesions matched, of those scored.
        missed: True lesions that are not, of those scored.
        false: Found lesions that match nothing.
    """

    dice: float
    hd95_mm: float
    hit: int
    missed: int
    false: int


def lesion_scores(
    found: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    regions: Mapping[str, Sequence[int]],
    *,
    voxel_mm: Sequence[float],
    rules: LesionRules = BRATS2024,
) -> dict[str, LesionScore]:
    """Scores every region of a case, lesion by lesion.

    Args:
        found: Prepared labels, (X, Y, Z).
        truth: Prepared labels, (X, Y, Z).
        regions: The labels that make up each region, by its name.
        voxel_mm: Length of a voxel along each axis.
        rules: What counts.
    """
    lesion = np.isin(found, (NETC, SNFH, ET, RC)) | np.isin(truth, (NETC, SNFH, ET, RC))
    if lesion.any():  # dilations of the whole head cost, those of the lesion hardly
        box = bounding_box(lesion, margin=rules.dilations + 1)
        found, truth = found[box], truth[box]
    tissues = {number: true_lesions(truth == number, rules) for number in _ASKED} if rules.joined else {}
    scores = {}
    for name, numbers in regions.items():
        lesions = true_lesions(np.isin(truth, list(numbers)), rules)
        if rules.joined and len(numbers) == 1:
            for other in _ASKED[numbers[0]]:
                lesions = join(lesions, tissues[other])
        min_mm3 = rules.min_mm3_of.get(name, rules.min_mm3)
        scores[name] = _score(np.isin(found, list(numbers)), lesions, rules, min_mm3, voxel_mm)
    return scores


def true_lesions(truth: Mask, rules: LesionRules) -> Components:
    """Numbers the lesions of a mask from 1; those that meet when dilated are one (rule 1)."""
    if not truth.any():
        return np.zeros(truth.shape, np.int32)
    dilated = ndimage.binary_dilation(truth, _FACES_AND_EDGES, iterations=rules.dilations)
    return np.where(truth, _components(dilated), 0).astype(np.int32)


def join(lesions: Components, others: Components) -> Components:
    """Makes lesions that touch the same lesion of another tissue one (rule 2).

    Nothing changes where fewer than two pairs touch, as in the published program.

    Args:
        lesions: Numbered, (X, Y, Z).
        others: Those of the other tissue, numbered.
    """
    near = ndimage.binary_dilation(others > 0, _FACES_AND_EDGES)
    first: dict[int, int] = {}
    pairs = 0
    for number in np.unique(lesions[lesions > 0]).tolist():
        mask = lesions == number
        if not (mask & near).any():
            continue
        touched = np.unique(others[ndimage.binary_dilation(mask, _FACES_AND_EDGES)])
        touched = touched[touched > 0]
        pairs += len(touched)
        first[number] = int(touched[0])
    if pairs < 2:
        return lesions
    joined = lesions.copy()
    above = int(lesions.max())
    for number, other in first.items():
        joined[lesions == number] = above + other
    _, compact = np.unique(joined, return_inverse=True)  # 0 stays 0, it is the smallest
    compact = compact.reshape(joined.shape)
    return (compact if (joined == 0).any() else compact + 1).astype(np.int32)


def _score(
    found: Mask, lesions: Components, rules: LesionRules, min_mm3: float, voxel_mm: Sequence[float]
) -> LesionScore:
    parts = _components(found)
    matched: set[int] = set()
    dice, hd95 = [], []
    hit = 0
    for number in range(1, int(lesions.max(initial=0)) + 1):
        lesion = lesions == number
        near = ndimage.binary_dilation(lesion, _FACES_AND_EDGES, iterations=rules.dilations)
        touching = np.unique(parts[near & found])
        matched.update(touching.tolist())
        if lesion.sum() * float(np.prod(voxel_mm)) <= min_mm3:
            continue
        if not len(touching):
            dice.append(0.0)
            hd95.append(PENALTY_MM)
            continue
        union = np.isin(parts, touching)
        dice.append(2 * float((union & lesion).sum()) / float(union.sum() + lesion.sum()))
        hd95.append(surface_distances(union, lesion, voxel_mm).hd95_mm)
        hit += 1
    false = int(parts.max(initial=0)) - len(matched)
    count = len(dice) + false
    return LesionScore(
        dice=sum(dice) / count if count else 1.0,
        hd95_mm=(sum(hd95) + PENALTY_MM * false) / count if count else 0.0,
        hit=hit,
        missed=len(dice) - hit,
        false=false,
    )


def _components(mask: Mask) -> Components:
    return np.asarray(ndimage.label(mask, _ALL)[0], np.int32)
