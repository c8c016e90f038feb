"""Slices by their place in the head, and a slice of one head fitted into another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import GliomaGenError
from ..labels import HEAD
from .scan import Mask, Scan

AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
"""Array axis of each plane's normal, in RAS+ order."""


def axis_named(name: str) -> int:
    """Returns the array axis a plane is perpendicular to.

    Raises:
        GliomaGenError: There is no such plane.
    """
    if name not in AXES:
        raise GliomaGenError(f"axis '{name}' is not known; choose {', '.join(AXES)}")
    return AXES[name]


def slices_at(scan: Scan, axis: int, positions: Sequence[float], slices: Sequence[int] | None) -> list[int]:
    """Returns the indices of slices.

    Args:
        scan: The scan.
        axis: Array axis.
        positions: 0 is the first and 1 the last slice of the head along the axis.
        slices: Indices, in place of positions.

    Raises:
        GliomaGenError: One lies outside.
    """
    size = scan.label.shape[axis]
    if slices is not None:
        for index in slices:
            if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < size:
                raise GliomaGenError(
                    f"{scan.name}: has no slice {index} along axis {axis}; choose 0 to {size - 1}"
                )
        return [int(index) for index in slices]
    others = tuple(k for k in range(scan.label.ndim) if k != axis)
    extent = np.flatnonzero((scan.label > 0).any(others))
    if not len(extent):
        raise GliomaGenError(
            f"{scan.name}: has no head, so that no slice has a place in it; prepare the scan"
        )
    low, high = int(extent[0]), int(extent[-1])
    for position in positions:
        if isinstance(position, bool) or not isinstance(position, int | float) or not 0 <= position <= 1:
            raise GliomaGenError(f"position {position!r} is not in the head; choose numbers from 0 to 1")
    return [low + round(float(position) * (high - low)) for position in positions]


def on_slices(shape: Sequence[int], axis: int, indices: Sequence[int]) -> Mask:
    """Returns where slices are, (*S)."""
    where = np.zeros(tuple(shape), bool)
    np.moveaxis(where, axis, 0)[list(indices)] = True
    return where


def fitted_slice(
    donor: Scan, donor_index: int, scan: Scan, index: int, axis: int
) -> tuple[NDArray[np.float32], Mask]:
    """Fits a slice of another head into a slice of this one, by place and size of the heads' outlines.

    Args:
        donor: The other head.
        donor_index: Its slice.
        scan: This one.
        index: Its slice.
        axis: Array axis.

    Returns:
        Intensities (C, *S'), and where they can stand: where both are healthy head, (*S').

    Raises:
        GliomaGenError: One of the slices has no head.
    """
    theirs = np.asarray(donor.label.take(donor_index, axis))
    own = np.asarray(scan.label.take(index, axis))
    (low, high), (own_low, own_high) = _outline(theirs, donor.name), _outline(own, scan.name)
    zoom = (high - low) / np.maximum(own_high - own_low, 1)
    offset = low - zoom * own_low

    def moved(plane: NDArray[Any]) -> NDArray[np.float32]:
        options: dict[str, Any] = {"output_shape": own.shape, "order": 1, "mode": "constant"}
        return np.asarray(ndimage.affine_transform(plane.astype(np.float32), zoom, offset, **options))

    planes = np.asarray(donor.image.take(donor_index, axis + 1))  # (C, *S')
    image = np.stack([moved(plane) for plane in planes])
    healthy = moved(theirs == HEAD) > 0.999  # edges would mix in what lies beyond
    return image, healthy & (own == HEAD)


def _outline(label: NDArray[np.uint8], name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    inside = np.argwhere(label > 0)
    if not len(inside):
        raise GliomaGenError(f"{name}: has no head in the slice asked for; choose another position")
    return inside.min(0).astype(np.float64), inside.max(0).astype(np.float64)
