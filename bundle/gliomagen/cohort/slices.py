"""Axial slices drawn at run time from prepared 3-D cases, for the 2-D model."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from monai.transforms import MapTransform, Randomizable
from numpy.typing import NDArray

from ..errors import GliomaGenError
from ..labels import HEAD
from .loading import file_of


class DrawSliced(MapTransform, Randomizable):
    """Takes one axial slice of a case, and adds its relative ``height``.

    Height 0 is the lowest and 1 the highest slice of the head's extent (RAS: the last axis points up). Slices with
    hardly any head are left out.

    Args:
        keys: Arrays (C, X, Y, Z), the label map among them.
        label_key: The prepared label map.
        tumour_share: Share of draws that take a slice with lesion, if the case has any.
        fixed: Take the slice with the largest lesion (validation) instead of drawing one.
        least_head: A slice is left out if its head is smaller than this share of the case's largest.
        height_known: Share of draws that tell the height; of others it is NaN, so that a network learns to do without.
    """

    def __init__(
        self,
        *,
        keys: Sequence[str],
        label_key: str = "label",
        tumour_share: float = 0.5,
        fixed: bool = False,
        least_head: float = 0.2,
        height_known: float = 0.8,
    ) -> None:
        super().__init__(keys)
        self.label_key = label_key
        self.tumour_share = tumour_share
        self.fixed = fixed
        self.least_head = least_head
        self.height_known = height_known

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Returns the case with (C, X, Y) arrays under ``keys``."""
        label: NDArray[np.uint8] = np.asarray(data[self.label_key])[0]  # (X, Y, Z)
        head = (label > 0).sum((0, 1))
        lesion = (label > HEAD).sum((0, 1))
        extent = np.flatnonzero(head)
        usable = np.flatnonzero((head > self.least_head * head.max()) & (head > 0))
        ill = usable[lesion[usable] > 0]
        if self.fixed:
            at = int(lesion.argmax()) if len(ill) else int(head.argmax())
        else:
            wants_tumour = self.R.rand() < self.tumour_share
            among = ill if wants_tumour and len(ill) else usable if len(usable) else np.arange(len(head))
            at = int(among[self.R.randint(len(among))])
        low, high = (extent[0], extent[-1]) if len(extent) else (0, len(head) - 1)
        height = float((at - low) / max(high - low, 1))
        if not self.fixed and self.R.rand() >= self.height_known:
            height = float("nan")
        slices = {key: np.ascontiguousarray(data[key][..., at]) for key in self.key_iterator(data)}
        return {**data, **slices, "height": np.float32(height)}


class StateHeightsd(MapTransform):
    """Tells the relative height of each axial slice of a mask, ``position`` (Z,), in place of what its head says.

    Args:
        keys: The mask, (1, X, Y, Z).
        heights: Of its slices, 0 (lowest) to 1; None leaves it to the head.
        spatial_dims: Of the network: volumes have no height.

    Raises:
        GliomaGenError: The network is not 2-D, a height is not in 0 to 1, or a mask has another number of slices.
    """

    def __init__(self, keys: str, *, heights: Sequence[float] | None, spatial_dims: int) -> None:
        super().__init__(keys)
        if heights is not None and spatial_dims != 2:
            raise GliomaGenError("heights are of slices: add the overlay slices.yaml, or leave --heights out")
        if heights is not None and not all(0 <= height <= 1 for height in heights):
            raise GliomaGenError(f"heights {list(heights)}: relative ones are asked for, from 0 to 1")
        self.heights = heights

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Adds ``position`` to a case."""
        if self.heights is None:
            return dict(data)
        for key in self.keys:
            slices = data[key].shape[-1]
            if slices != len(self.heights):
                raise GliomaGenError(
                    f"{file_of(data[key])}: {slices} slices and {len(self.heights)} heights; name one --heights each"
                )
        return {**data, "position": np.asarray(self.heights, np.float32)}
