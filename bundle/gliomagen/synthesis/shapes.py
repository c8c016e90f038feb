"""Boxes, distances and places in mm: the geometry that policies of label-map variation share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..labels import BACKGROUND, ET, HEAD, LESION, NETC, RC, SNFH
from .maps import CannotVaryError, Labels

Mask = NDArray[np.bool_]
Box = tuple[slice, slice, slice]
Field = NDArray[np.float32]

CORE: tuple[int, ...] = (NETC, ET, RC)
_BORDER = 0.25  # voxels between the outermost centres and the border
_SHORT = {HEAD: "head", NETC: "NETC", SNFH: "SNFH", ET: "ET", RC: "RC", LESION: "lesion"}


def names_of(labels: Iterable[int]) -> str:
    """Returns the short names of labels, in order of their numbers."""
    return ", ".join(_SHORT.get(number, str(number)) for number in sorted(labels))


def box_of(mask: Mask, margin: Sequence[int] = (0, 0, 0)) -> Box:
    """Returns the smallest box around a mask with a margin in voxels, within the array.

    Raises:
        CannotVaryError: The mask is empty.
    """
    sides = []
    for axis in range(3):
        along = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        if not len(along):
            raise CannotVaryError("there is nothing to vary: no head or no lesion")
        first, last = int(along[0]) - margin[axis], int(along[-1]) + 1 + margin[axis]
        sides.append(slice(max(first, 0), min(last, mask.shape[axis])))
    return sides[0], sides[1], sides[2]


def box_within_mm(mask: Mask, margin_mm: float, voxel_mm: Sequence[float]) -> Box:
    """Returns the box around a mask with a margin in mm, and at least two voxels, within the array."""
    return box_of(mask, [2 + int(np.ceil(margin_mm / length)) for length in voxel_mm])


def positions_mm(box: Box, voxel_mm: Sequence[float]) -> tuple[Field, Field, Field]:
    """Returns the places of a box's voxels, mm from the centre of the array's first voxel, ready to broadcast."""
    x, y, z = (
        np.arange(side.start, side.stop, dtype=np.float32) * np.float32(length)
        for side, length in zip(box, voxel_mm, strict=True)
    )
    return x[:, None, None], y[None, :, None], z[None, None, :]


def signed_distance_mm(mask: Mask, voxel_mm: Sequence[float]) -> Field:
    """Returns the distance to a mask's border in mm, negative inside; without a border, infinite.

    The border is taken to run a quarter of a (smallest) voxel outside the mask's outermost voxel centres: half a voxel
    is right for flat faces only, and makes balls grow too much.
    """
    if not mask.any():
        return np.full(mask.shape, np.inf, np.float32)
    if mask.all():
        return np.full(mask.shape, -np.inf, np.float32)
    inside = ndimage.distance_transform_edt(mask, sampling=voxel_mm)
    outside = ndimage.distance_transform_edt(~mask, sampling=voxel_mm)
    gap = _BORDER * min(voxel_mm)
    return np.where(mask, gap - inside, outside - gap).astype(np.float32)


def depth_mm(head: Mask, voxel_mm: Sequence[float]) -> Field:
    """Returns how deep in the head each voxel's centre lies, in mm; not above 0 outside."""
    return -signed_distance_mm(head, voxel_mm)


def nearest_label(label: Labels, allowed: Mask, voxel_mm: Sequence[float]) -> Labels:
    """Returns for each voxel the label of the nearest allowed voxel; HEAD where none is allowed."""
    if not allowed.any():
        return np.full_like(label, HEAD)
    at = ndimage.distance_transform_edt(
        ~allowed, sampling=voxel_mm, return_distances=False, return_indices=True
    )
    result: Labels = label[tuple(at)]
    return result


def components(mask: Mask) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Returns the connected parts (corners count) as numbers from 1, and the voxels of each number."""
    parts, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    return parts, np.bincount(parts.ravel())


def largest_part(mask: Mask) -> Mask:
    """Returns the largest connected part of a mask."""
    parts, counts = components(mask)
    if len(counts) < 2:
        return mask
    result: Mask = parts == 1 + counts[1:].argmax()
    return result


def specks(mask: Mask, least_mm3: float, voxel_mm: Sequence[float]) -> Mask:
    """Returns the voxels of all connected parts smaller than a volume (and of all single voxels)."""
    parts, counts = components(mask)
    small = counts < max(least_mm3 / float(np.prod(voxel_mm)), 2)
    small[0] = False
    result: Mask = small[parts]
    return result


def surface_of(mask: Mask) -> Mask:
    """Returns the voxels of a mask that have a face neighbour outside of it."""
    result: Mask = mask & ~ndimage.binary_erosion(mask)
    return result


class CoarseHead:
    """A head on a coarse grid, for asking of very many places how deep they lie.

    Args:
        label: (X, Y, Z) prepared labels.
        voxel_mm: Of the label map.
        spacing_mm: About the spacing of the coarse grid; never finer than the label map.
    """

    def __init__(self, label: Labels, voxel_mm: Sequence[float], *, spacing_mm: float = 2.5) -> None:
        self.stride = np.array([max(1, int(spacing_mm / length)) for length in voxel_mm])
        self.spacing_mm = self.stride * np.asarray(voxel_mm)
        x, y, z = self.stride
        self.head: Mask = np.pad(label[::x, ::y, ::z] != BACKGROUND, 1)  # the image's end is a border, too
        if not self.head.any():
            raise CannotVaryError("there is no head")
        lesion = np.argwhere(label > HEAD)
        self.lesion: Mask = np.zeros_like(self.head)
        at = np.rint(lesion / self.stride).astype(int) + 1
        self.lesion[tuple(at.clip(0, np.array(self.head.shape) - 1).T)] = True
        self.places_mm = (np.argwhere(self.head) - 1) * self.spacing_mm  # (N, 3)
        self.low_mm, self.high_mm = self.places_mm.min(0), self.places_mm.max(0)
        self.middle_mm = float(self.places_mm[:, 0].mean())
        """Left-right position of the midline."""

    @cached_property
    def depth_mm(self) -> Field:
        """Depth of each voxel of the coarse grid in the head, in mm; below 0 outside."""
        inside = ndimage.distance_transform_edt(self.head, sampling=self.spacing_mm)
        return np.asarray(inside - _BORDER * self.spacing_mm.min(), np.float32)

    def depth_at(self, points_mm: NDArray[Any]) -> Field:
        """Returns the depth of (..., 3) places in mm; negative outside of the head and of the image."""
        at = np.rint(np.asarray(points_mm) / self.spacing_mm).astype(np.int64) + 1
        # Outside the image is outside the head: the pad holds no head.
        depth: Field = self.depth_mm[tuple(at[..., k].clip(0, self.head.shape[k] - 1) for k in range(3))]
        return depth

    def lesion_distance_mm(self) -> Field:
        """Returns the distance of every place of :attr:`places_mm` from the lesion, (N,) mm."""
        distance = signed_distance_mm(self.lesion, self.spacing_mm.tolist())
        result: Field = distance[self.head]
        return result
