"""What a made label map must be before it is used."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..labels import HEAD, LABEL_NAMES
from ..pictures import LABEL_SHORT_NAMES
from .maps import LabelMap, Labels, Policy


def label_dice(first: Labels, second: Labels) -> float:
    """Returns the overlap of two lesions with their sub-regions: Dice over the voxels of equal tumour label.

    1 where neither has a lesion.
    """
    a, b = first > HEAD, second > HEAD
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & (first == second)).sum()) / total if total else 1.0


def dice_to_source(label: Labels, source: Labels) -> float:
    """Returns the larger :func:`label_dice` to the source and to its mirror image."""
    return max(label_dice(label, source), label_dice(label, source[::-1]))


class LabelMapChecks:
    """Says why a label map is not to be used. Where the source itself breaks a bound, the source is the bound.

    Args:
        required: Labels that must be there.
        min_label_mm3: Smallest volume of a label that is there at all.
        max_components: Most separate parts of the lesion (parts that touch at a corner are one).
        max_head_share: Largest share of the head that the lesion may take.
        min_head_kept: Smallest volume of the head, lesion included, as a share of the source's.
        max_outer_share: Largest share of the lesion's surface that may lie on the head's outer border.
        max_source_dice: Largest :func:`dice_to_source`. Not asked of policies that mean to stay near.
    """

    def __init__(
        self,
        *,
        required: tuple[int, ...] = (),
        min_label_mm3: float = 27.0,
        max_components: int = 6,
        max_head_share: float = 0.35,
        min_head_kept: float = 0.6,
        max_outer_share: float = 0.35,
        max_source_dice: float = 0.95,
    ) -> None:
        self.required = tuple(required)
        self.min_label_mm3 = min_label_mm3
        self.max_components = max_components
        self.max_head_share = max_head_share
        self.min_head_kept = min_head_kept
        self.max_outer_share = max_outer_share
        self.max_source_dice = max_source_dice

    def __call__(self, source: LabelMap, label: Labels, policy: Policy) -> str | None:
        """Returns a reason, one of few so that they can be counted, or None.

        Args:
            source: What the label map was made from.
            label: (X, Y, Z), on the source's grid.
            policy: What made it.
        """
        if policy.keeps_near:  # the published protocol has rules of its own
            return None
        reason = self._head(source, label) or self._sizes(source, label) or self._place(source, label)
        if reason:
            return reason
        if (source.label > HEAD).any() and dice_to_source(label, source.label) > self.max_source_dice:
            return "too near its source"
        return None

    def _head(self, source: LabelMap, label: Labels) -> str | None:
        parts, count = ndimage.label(label > 0, np.ones((3, 3, 3)))
        if count == 0:
            return "no head"
        sizes = np.bincount(parts.ravel())[1:]
        if sizes.max() < 0.99 * sizes.sum():
            return "head in pieces"
        return "head too small" if sizes.sum() < self.min_head_kept * (source.label > 0).sum() else None

    def _sizes(self, source: LabelMap, label: Labels) -> str | None:
        counts, before = (np.bincount(x.ravel(), minlength=8) for x in (label, source.label))
        for number in self.required:
            if not counts[number]:
                return f"lacks {LABEL_SHORT_NAMES[number]}"
        smallest = self.min_label_mm3 / float(np.prod(source.voxel_mm))
        for number in LABEL_NAMES:
            bound = min(smallest, before[number]) if before[number] else smallest
            if number > HEAD and 0 < counts[number] < bound:
                return f"{LABEL_SHORT_NAMES[number]} too small"
        share = counts[HEAD + 1 :].sum() / counts[HEAD:].sum()
        source_share = before[HEAD + 1 :].sum() / max(before[HEAD:].sum(), 1)
        return "lesion too large" if share > max(self.max_head_share, source_share) else None

    def _place(self, source: LabelMap, label: Labels) -> str | None:
        components = _components(label)
        if components > self.max_components and components > _components(source.label):
            return "lesion in pieces"
        outer = _outer_share(label)
        if outer > self.max_outer_share and outer > _outer_share(source.label):
            return "lesion along the head's border"
        return None


def _components(label: Labels) -> int:
    return int(ndimage.label(_around_lesion(label) > HEAD, np.ones((3, 3, 3)))[1])


def _outer_share(label: Labels) -> float:
    """Share of the lesion's surface voxels that touch the background or the edge of the image."""
    label = _around_lesion(label)
    lesion: NDArray[np.bool_] = label > HEAD
    surface = lesion & ~ndimage.binary_erosion(lesion)
    if not surface.any():
        return 0.0
    inside = ndimage.binary_erosion(label > 0)
    return float((surface & ~inside).sum() / surface.sum())


def _around_lesion(label: Labels) -> Labels:
    """The label map cut to its lesion and a voxel around: what is beyond costs time and says nothing."""
    found = ndimage.find_objects((label > HEAD).astype(np.uint8))
    if not found:
        return label[:0]
    return label[tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in found[0])]
