"""Bringing the grey values of one scan's contrast to [0, 1]."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform

from ..errors import GliomaGenError
from .loading import Case, affine_of, file_of, present, require_same_geometry, with_geometry


class NormalizeContrasts(Transform):
    """Scales each contrast linearly so that two percentiles inside the head become 0 and 1; the rest is clipped.

    MR grey values have no unit, so each scan and contrast is scaled by itself. Both ends are measured inside the
    head (label > 0), over voxels that are not exactly 0:

    - Not over the whole volume: how much background a file has says nothing about the patient.
    - The dark end is a percentile and not 0. What is darkest inside a skull-stripped head is fluid (t1c, t1n, t2f)
      or vessels and bone (t2w), and a scanner's offset or noise floor lifts all of it; a fixed 0 would leave
      that offset in, and fluid would be a different grey in every cohort. Nor is it the minimum: interpolation
      leaves values below 0 at the brain's edge, a few voxels of which would otherwise set the scale. Where three
      quarters of the head are above 0 the dark end is at least 0; z-scored scans keep their negative range.
    - Exact zeros are what brain extraction removed, not measurements. A head that was closed over a cavity has
      some; counting them would make the dark end jump to 0 once they exceed the percentile.

    Voxels at or below the dark end become 0, as the background is: the label, not the value, tells them apart.
    ``value * (high - low) + low`` goes back, but for what was clipped.

    Args:
        percentiles: Which become 0 and 1.
        window: Grey values that become 0 and 1 instead, the same in every scan: CT, whose values have a unit (HU).
    """

    def __init__(
        self, *, percentiles: tuple[float, float] = (0.5, 99.5), window: tuple[float, float] | None = None
    ) -> None:
        if window is not None and not window[0] < window[1]:
            raise GliomaGenError(f"window {list(window)}: give two rising grey values")
        self.window = None if window is None else (float(window[0]), float(window[1]))
        low, high = percentiles
        if not 0 <= low < high <= 100:
            raise GliomaGenError(f"percentiles {list(percentiles)}: give two rising numbers from 0 to 100")
        self.low, self.high = float(low), float(high)

    def __call__(self, image: MetaTensor, label: MetaTensor) -> MetaTensor:
        """Scales ``image``.

        Args:
            image: (C, X, Y, Z), any real dtype.
            label: (1, X, Y, Z), prepared labels on the same grid, with the head.

        Returns:
            (C, X, Y, Z), float32 in [0, 1], exactly 0 where the label is background. Its meta has, per channel,
            ``intensity_range`` ([low, high], grey values of the file) and ``clipped_negatives`` (how many head
            voxels below 0 in the file were clipped).

        Raises:
            GliomaGenError: The label has no head, or a contrast is constant in it.
        """
        head = np.asarray(label)[0] > 0  # (X, Y, Z)
        if not head.any():
            raise GliomaGenError(f"{file_of(label)}: has no head label; add it before normalizing")
        contrasts = np.asarray(image)
        result = np.zeros(contrasts.shape, np.float32)
        ranges: list[list[float]] = []
        negatives: list[int] = []
        for contrast, scaled in zip(contrasts, result, strict=True):
            inside = contrast[head]  # (N,)
            measured = inside[inside != 0]
            low, quarter, high = 0.0, 0.0, 0.0
            if self.window is not None:
                low, high = self.window
                if not ((inside > low) & (inside < high)).any():
                    raise GliomaGenError(
                        f"{file_of(image)}: nothing in it is between {low:g} and {high:g}; change the window"
                    )
            elif measured.size:
                low, quarter, high = np.percentile(measured, (self.low, 25, self.high)).tolist()
            if quarter > 0:  # a magnitude image: what is below 0 is ripple
                low = max(low, 0.0)
            if high <= low:
                raise GliomaGenError(
                    f"{file_of(image)}: constant inside the head ({low:g}), so it has no contrast; leave out the scan"
                )
            scaled[head] = np.clip((inside - low) / (high - low), 0, 1)
            ranges.append([low, high])
            negatives.append(0 if self.window else int((inside < min(low, 0.0)).sum()))
        meta = {**image.meta, "intensity_range": ranges, "clipped_negatives": negatives}
        return with_geometry(result, affine_of(image), meta=meta)


class NormalizeContrastsd(MapTransform):
    """Dictionary version of :class:`NormalizeContrasts`.

    The case also gets ``intensity_range`` {contrast: [low, high]} and ``clipped_negatives`` {contrast: count}.

    Args:
        keys: The contrasts, one channel each.
        label_key: The label, with the head.
        percentiles: As for :class:`NormalizeContrasts`.
        window: Likewise.
        allow_missing: Skip contrasts a case lacks, instead of refusing the case.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        label_key: str = "label",
        percentiles: tuple[float, float] = (0.5, 99.5),
        window: tuple[float, float] | None = None,
        allow_missing: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys=allow_missing)
        self.label_key = label_key
        self.normalize = NormalizeContrasts(percentiles=percentiles, window=window)

    def __call__(self, data: Mapping[Hashable, Any]) -> Case:
        """Scales the contrasts of one case.

        Raises:
            GliomaGenError: A key is missing, the images are not on one grid, or as for :class:`NormalizeContrasts`.
        """
        case = dict(data)
        keys = present(case, self.keys, allow_missing=self.allow_missing_keys)
        present(case, (self.label_key,), allow_missing=False)
        require_same_geometry(case, [*keys, self.label_key])
        case["intensity_range"], case["clipped_negatives"] = {}, {}
        for key in keys:
            case[key] = self.normalize(case[key], case[self.label_key])
            case["intensity_range"][key] = case[key].meta.pop("intensity_range")[0]
            case["clipped_negatives"][key] = case[key].meta.pop("clipped_negatives")[0]
        return case
