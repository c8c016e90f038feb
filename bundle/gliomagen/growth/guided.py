"""Samples by a regressor's guidance: the last scan itself, moved until a segmenter reads the burden that is wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..diffusion.blending import blended
from ..labels import HEAD
from .burden import Array
from .guidance import BurdenGuidance, Mask
from .patients import Seen
from .samples import Sample, aims, sample_name
from .spread import BURDEN, Labels, burden_mm3


@dataclass(frozen=True, kw_only=True)
class Reached:
    """A scan moved to a burden.

    Attributes:
        made: (C, X, Y, Z) in [0, 1] as the generator made it.
        image: The same where guidance acted, elsewhere the last scan's own voxels; the one fades into the other.
        before: (X, Y, Z) label map that the segmenter reads of the last scan.
        labels: The same of ``image``.
        facts: How near it came.
    """

    made: NDArray[np.float32]
    image: NDArray[np.float32]
    before: Labels
    labels: Labels
    facts: dict[str, float]


Read = Callable[[Tensor], Tensor]
"""Of scans (1, C, X, Y, Z) in [0, 1], scores of each prepared label, (1, L, X, Y, Z)."""


class RegressorGrowth:
    """Guides the last scan to each burden, see :mod:`.guidance`.

    What the regressor reads can be moved further than the tumour is. So a segmenter reads the result, and as long as it reads
    another change than is wanted, guidance is told to go further or less far.

    Args:
        guidance: Moves scans.
        read: The segmenter.
        samples: Per patient; each is a scan.
        tries: Of each sample, the first without the segmenter's correction.
        tolerance: That ends them: of the logarithm of the burden.
        blend_mm: Over which the result fades into the last scan, where guidance's reach ends.
        seed: Of draws.
    """

    def __init__(
        self,
        *,
        guidance: BurdenGuidance,
        read: Read,
        samples: int,
        tries: int = 6,
        tolerance: float = 0.03,
        blend_mm: float = 6.0,
        seed: int = 0,
    ) -> None:
        self.guidance, self.read = guidance, read
        self.samples, self.tries, self.tolerance = samples, tries, tolerance
        self.blend_mm, self.seed = blend_mm, seed
        self.contrasts = guidance.contrasts

    def __call__(self, last: Seen, change: Array, patient: str) -> Iterator[Sample]:
        """Yields samples; see :class:`.Growing`.

        Raises:
            GliomaGenError: A contrast is missing, there is no tumour, or the scan does not come back from noise.
        """
        burden = burden_mm3(last.labels, last.voxel_mm)
        for number, wanted in enumerate(aims(change, self.samples, self.seed)):
            reached = self.reached(last, float(wanted), sample_name(patient, number))
            yield Sample(
                labels=_moved(last.labels, reached.before, reached.labels),
                burden=burden * float(wanted),
                images=reached.image,
                facts=reached.facts,
            )

    def reached(self, last: Seen, wanted: float, name: str) -> Reached:
        """Moves a scan to a burden.

        Args:
            last: Scan that is known last.
            wanted: Burden over that of the scan, above 0.
            name: The noise is drawn for it.

        Raises:
            GliomaGenError: A contrast is missing, there is no tumour, or the scan does not come back from noise.
        """
        scan = self.guidance.inverted(last, name)
        region = self.guidance.region(last, wanted)
        before = self._labels(scan.volume(scan.image).numpy())
        told, best = float(np.log(wanted)), None
        tried: list[tuple[float, float]] = []
        for _ in range(self.tries):
            guided, _ = self.guidance.guided(scan, float(np.exp(told)), region)
            made = scan.volume(guided).numpy()
            written = self._within(region, last, made)
            labels = self._labels(written)
            off = _log_change(before, labels) - np.log(wanted)
            tried.append((told, off))
            if best is None or abs(off) < abs(best[0]):
                best = off, made, written, labels
            if abs(off) <= self.tolerance:
                break
            told = _next(tried)
        assert best is not None
        facts = {
            "change_wanted": wanted,
            "change_read": float(wanted * np.exp(best[0])),
            "tries": len(tried),
            "inversion_error": scan.error,
        }
        return Reached(made=best[1], image=best[2], before=before, labels=best[3], facts=facts)

    def _labels(self, image: NDArray[np.float32]) -> Labels:
        with torch.no_grad():
            scores = self.read(torch.from_numpy(image)[None].to(self.guidance.device))
        return np.asarray(scores[0].argmax(0).cpu().numpy(), np.uint8)

    def _within(self, region: Mask, last: Seen, made: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns what was made in the region and the last scan elsewhere, (C, X, Y, Z)."""
        original = np.stack([last.images[one] for one in self.contrasts])
        return blended(
            np.where(region, made, original),
            original,
            region,
            head=last.labels > 0,
            lesion=(last.labels > HEAD) | (self._labels(made) > HEAD),
            voxel_mm=last.voxel_mm,
            band_mm=self.blend_mm,
        )


def _log_change(before: Labels, after: Labels) -> float:
    was, now = (np.isin(labels, BURDEN).sum() for labels in (before, after))
    return float(np.log(max(now, 1) / max(was, 1)))


def _next(tried: list[tuple[float, float]]) -> float:
    """Returns what to tell guidance next: between what was too little and too much, else as far on as it was off, twofold at most."""
    low = max((one for one in tried if one[1] < 0), default=None)
    high = min((one for one in tried if one[1] >= 0), default=None)
    if low and high and low[0] < high[0]:
        share = float(np.clip(low[1] / (low[1] - high[1]), 0.2, 0.8))
        return low[0] + share * (high[0] - low[0])
    told, off = tried[-1]
    return told - float(np.clip(off, -np.log(2), np.log(2)))


def _moved(last: Labels, before: Labels, after: Labels) -> Labels:
    """Returns the last label map with what the segmenter reads otherwise than before; its own errors are the same in both."""
    inside = (last > 0) & (after > 0)
    return np.where(inside & (after != before), after, last).astype(np.uint8)
