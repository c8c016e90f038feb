"""Finding the head: which background voxels of a label map belong to the patient."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Literal, get_args

import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import GliomaGenError
from ..labels import BACKGROUND, CONTRASTS, HEAD
from .loading import Case, affine_of, file_of, present, require_same_geometry, with_geometry

Mask = NDArray[np.bool_]
Method = Literal["skull_stripped", "whole_head"]

_IN_PLANE = np.zeros((3, 3, 3), bool)  # face neighbours within an axial slice
_IN_PLANE[1, :, 1] = _IN_PLANE[:, 1, 1] = True


class AddHeadLabel(Transform):
    """Gives background voxels of a label map that lie in the head the label 1 (HEAD).

    ``skull_stripped`` (the scans' background is 0): the union of the contrasts' non-zero voxels and the lesion,
    its largest component, closed with a ball, holes filled. One contrast alone would not do: fluid is near zero
    on t2f and cavities often fall out of the non-zero region, which is why the published recipe (Otsu's threshold
    of one contrast) had to reject about one case in twenty by hand.

    ``whole_head`` (skull and scalp present, background not 0): each contrast's distance from its own background
    grey, which is read at the in-plane border, relative to the bright end of that contrast; the mean over the
    contrasts, smoothed; what exceeds a tenth (the convention of the Brain Extraction Tool, Smith, Hum Brain Mapp
    2002;17:143) or the border's own noise. One threshold serves the whole volume, so a nearly black end slice
    does not turn into noise, and a contrast whose background is grey counts by how far it departs from that grey.

    Args:
        method: One of the two.
        closing_mm: Radius of the ball that closes gaps, in mm. 0 closes nothing.
    """

    def __init__(self, *, method: Method = "skull_stripped", closing_mm: float = 5.0) -> None:
        if method not in get_args(Method):
            raise GliomaGenError(f"method '{method}' is not known; choose among {list(get_args(Method))}")
        if closing_mm < 0:
            raise GliomaGenError(f"closing_mm {closing_mm:g} is negative; give a radius in mm, or 0 for none")
        self.method = method
        self.closing_mm = closing_mm

    def __call__(self, image: MetaTensor, label: MetaTensor) -> MetaTensor:
        """Adds the head to ``label``.

        Args:
            image: All contrasts, (C, X, Y, Z), axes in RAS+ order.
            label: Prepared labels, (1, X, Y, Z), uint8, on the same grid. One that already has a head is left.

        Returns:
            The label, (1, X, Y, Z), uint8. Lesion labels are never changed.

        Raises:
            GliomaGenError: No head is found, or the scans' background is not 0 though ``skull_stripped`` says so.
        """
        labels = np.asarray(label)[0]  # (X, Y, Z)
        if (labels == HEAD).any():
            return label
        affine = affine_of(label)
        voxel_mm = np.linalg.norm(affine[:3, :3], axis=0)
        contrasts = np.asarray(image)  # (C, X, Y, Z)
        lesion = labels != BACKGROUND
        try:
            if self.method == "skull_stripped":
                head = _skull_stripped(contrasts, lesion, voxel_mm, self.closing_mm)
            else:
                head = _whole_head(contrasts, lesion, voxel_mm, self.closing_mm)
        except GliomaGenError as error:
            raise GliomaGenError(f"{file_of(image)}: {error}") from None
        result = np.where(head & ~lesion, np.uint8(HEAD), labels.astype(np.uint8))
        return with_geometry(result[None], affine, meta=label.meta)


class AddHeadLabeld(MapTransform):
    """Dictionary version of :class:`AddHeadLabel`.

    Args:
        keys: The contrasts.
        label_key: The label, which is replaced.
        method: As for :class:`AddHeadLabel`.
        closing_mm: As for :class:`AddHeadLabel`.
        allow_missing: Use the contrasts there are; and a case without a label gets one that has the head alone.
    """

    def __init__(
        self,
        keys: KeysCollection = CONTRASTS,
        *,
        label_key: str = "label",
        method: Method = "skull_stripped",
        closing_mm: float = 5.0,
        allow_missing: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys=allow_missing)
        self.label_key = label_key
        self.add = AddHeadLabel(method=method, closing_mm=closing_mm)

    def __call__(self, data: Mapping[Hashable, Any]) -> Case:
        """Adds the head to the label of one case.

        Raises:
            GliomaGenError: A key is missing, the images are not on one grid, or as for :class:`AddHeadLabel`.
        """
        case = dict(data)
        keys = present(case, self.keys, allow_missing=self.allow_missing_keys)
        first: MetaTensor = case[keys[0]]
        if self.label_key not in case and self.allow_missing_keys:
            empty = np.zeros((1, *first.shape[1:]), np.uint8)
            case[self.label_key] = with_geometry(empty, affine_of(first), meta=first.meta)
        present(case, (self.label_key,), allow_missing=False)
        require_same_geometry(case, [*keys, self.label_key])
        stacked = np.concatenate([np.asarray(case[key]) for key in keys])  # (C, X, Y, Z)
        image = with_geometry(stacked, affine_of(first), meta=first.meta)
        case[self.label_key] = self.add(image, case[self.label_key])
        return case


class HideLabelsd(MapTransform):
    """Leaves of a label map where the head is, and nothing else: for what shall be learnt without labels.

    Args:
        keys: Prepared label maps.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> Case:
        """Returns the case with every label HEAD."""
        return {**data, **{key: (data[key] > BACKGROUND).to(data[key].dtype) * HEAD for key in self.keys}}


def _skull_stripped(
    contrasts: NDArray[Any], lesion: Mask, voxel_mm: NDArray[np.float64], closing_mm: float
) -> Mask:
    signal = (contrasts != 0).any(axis=0)  # (X, Y, Z)
    if signal[_border(signal.shape)].mean() > 0.5:
        raise GliomaGenError(
            "the background is not 0, so the scan is not skull-stripped; set method to whole_head"
        )
    head = _largest(signal | lesion) | lesion
    head = _closed(head, closing_mm, voxel_mm)
    return _filled(head)


def _whole_head(
    contrasts: NDArray[Any], lesion: Mask, voxel_mm: NDArray[np.float64], closing_mm: float
) -> Mask:
    border = _border(contrasts.shape[1:])
    score = np.zeros(contrasts.shape[1:], np.float32)
    for contrast in contrasts:
        away = np.abs(contrast - _background_level(contrast[border]))
        score += np.minimum(away / max(float(np.percentile(away, 98)), np.finfo(np.float32).tiny), 1)
    score = ndimage.gaussian_filter(score / len(contrasts), _SMOOTHING_MM / voxel_mm)
    middle = np.median(score[border])
    noise = 1.4826 * np.median(np.abs(score[border] - middle))  # robust standard deviation
    threshold = np.clip(middle + 6 * noise, 0.1, 0.2)  # bounded, since a head may cover much of the border
    head = _filled(_closed(score > threshold, closing_mm, voxel_mm))
    head = _largest(_opened_in_plane(head, closing_mm, voxel_mm))  # cuts off ghosts and table
    return _filled(head | lesion)


_SMOOTHING_MM = 1.5


def _border(shape: tuple[int, ...]) -> Mask:
    """Marks the in-plane border of a volume: 2 % of the width, at least two voxels."""
    border = np.ones(shape, bool)
    x, y = (max(2, round(0.02 * size)) for size in shape[:2])
    border[x:-x, y:-y] = False
    return border


def _background_level(border: NDArray[Any]) -> float:
    """The commonest grey at the border; unlike the median it holds when half the border is head."""
    low, high = np.percentile(border, (0.5, 99.5))
    if high <= low:
        return float(low)
    counts, edges = np.histogram(border, bins=128, range=(low, high))
    fullest = int(counts.argmax())
    in_bin = border[(border >= edges[fullest]) & (border <= edges[fullest + 1])]
    return float(np.median(in_bin))


def _largest(mask: Mask) -> Mask:
    """The largest face-connected component."""
    components, count = ndimage.label(mask)
    if count == 0:
        raise GliomaGenError("no head is found (the images are empty); check or leave out the scan")
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    return np.asarray(components == sizes.argmax())


def _closed(mask: Mask, radius_mm: float, voxel_mm: NDArray[np.float64]) -> Mask:
    """Closes with a ball by two distance transforms: linear in voxels whatever the radius, and true to anisotropy."""
    if radius_mm == 0 or not mask.any():
        return mask
    margin = np.ceil(radius_mm / voxel_mm).astype(int) + 1
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    padded = np.pad(mask[box], [(int(m), int(m)) for m in margin])  # room to grow, beyond the image too
    grown = ndimage.distance_transform_edt(~padded, sampling=voxel_mm) <= radius_mm
    shrunk = ndimage.distance_transform_edt(grown, sampling=voxel_mm) > radius_mm
    result = mask.copy()
    result[box] |= shrunk[tuple(slice(int(m), -int(m)) for m in margin)]
    return result


def _opened_in_plane(mask: Mask, radius_mm: float, voxel_mm: NDArray[np.float64]) -> Mask:
    """Removes, slice by slice, what is narrower than a disc."""
    result = np.zeros_like(mask)
    for z in range(mask.shape[2]):
        padded = np.pad(mask[..., z], 1, mode="edge")  # a head cut by the image's edge goes on beyond it
        core = ndimage.distance_transform_edt(padded, sampling=voxel_mm[:2])[1:-1, 1:-1] > radius_mm
        if core.any():
            result[..., z] = ndimage.distance_transform_edt(~core, sampling=voxel_mm[:2]) <= radius_mm
    return result & mask


def _filled(mask: Mask) -> Mask:
    """Fills holes in 3-D and within each axial slice (a cavity open in the slice above is closed in its own)."""
    for structure, edges in ((None, (0, 1, 2)), (_IN_PLANE, (0, 1))):
        components, count = ndimage.label(~mask, structure)
        outside = np.zeros(count + 1, bool)
        for axis in edges:
            outside[components.take((0, -1), axis=axis).ravel()] = True
        outside[0] = False
        mask = ~outside[components]
    return mask
