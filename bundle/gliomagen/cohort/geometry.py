"""Bringing every case onto one kind of grid, with an affine that tells the truth."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import GliomaGenError
from ..labels import HEAD
from ..volume import Volume
from .loading import Case, affine_of, file_of, present, require_same_geometry, with_geometry

Matrix = NDArray[np.float64]
Box = tuple[int, int, int]

_ALIGNED = 1e-4
"""Relative difference of spacing or direction that counts as none: at most 0.03 voxels across a volume."""


class FitGeometry(Transform):
    """Puts a case onto a grid of given size and voxel size, centred on the head.

    Axes point to the right, to the front and up. The grid is centred on the middle of the head's bounding box.
    Contrasts are interpolated linearly, after smoothing where voxels become larger; labels take the nearest voxel.
    Where the source already has the voxel size, the grid is moved onto whole source voxels along that axis, so
    nothing is interpolated there: if all three axes have it, the case is cropped and padded, bit for bit.

    Presets: 192x192x144 at 1.25 mm (the default), and native, 192x224x160 at 1 mm.

    ``voxel_mm`` may be None for an axis: it keeps the source's own spacing; if its ``spatial_size`` is None too,
    the axis is left untouched. Thick slices: ``voxel_mm=(a, a, None)``, ``spatial_size=(n, n, None)``. As a slice
    axis cannot be both kept and turned, such a grid keeps the source's directions (closest RAS+, perhaps oblique);
    with three voxel sizes the grid is parallel to the world's axes, and oblique scans are turned.

    Args:
        spatial_size: Voxels along each axis. None: as many as cover the source.
        voxel_mm: Edge lengths of a voxel. None: the source's own.
        multiple: What sizes must be multiples of, for the network's halvings: in-plane always, along the slice
            axis unless ``voxel_mm`` leaves that axis its own.

    Raises:
        GliomaGenError: A size is not a positive number, or not a multiple.
    """

    def __init__(
        self,
        *,
        spatial_size: Sequence[int | None] = (192, 192, 144),
        voxel_mm: Sequence[float | None] = (1.25, 1.25, 1.25),
        multiple: int = 16,
    ) -> None:
        _require_three("spatial_size", spatial_size, whole=True)
        _require_three("voxel_mm", voxel_mm, whole=False)
        self.spatial_size = tuple(spatial_size)
        self.voxel_mm = tuple(voxel_mm)
        self.multiple = multiple
        for axis, size in enumerate(self.spatial_size):
            if size is not None:
                self._require_multiple(axis, size, "")

    def __call__(self, image: MetaTensor, label: MetaTensor) -> tuple[MetaTensor, MetaTensor]:
        """Fits ``image`` and ``label``.

        Args:
            image: (C, X, Y, Z), 0 outside the head; on the label's grid.
            label: (1, X, Y, Z), prepared labels with the head.

        Returns:
            The image, (C, X', Y', Z'), float32, exactly 0 where the label is background; and the label, uint8,
            whose meta has ``cut_off``: ``head_mm3`` (any label but background) and ``lesion_mm3`` of the source
            that lie outside the grid.

        Raises:
            GliomaGenError: The label has no head, or an axis left untouched has a size that is no multiple.
        """
        label_volume = _ras(label, 0)
        to_source, shape = self._plan(label_volume, file_of(label))
        affine = label_volume.affine @ to_source
        labels = _sampled(label_volume.data, to_source, shape, nearest=True)  # (X', Y', Z')
        head = labels > 0
        images = np.empty((image.shape[0], *shape), np.float32)  # (C, X', Y', Z')
        for channel in range(image.shape[0]):
            images[channel] = _sampled(_ras(image, channel).data, to_source, shape, nearest=False)
            images[channel] *= head
        meta = {**label.meta, "cut_off": _cut_off(label_volume, to_source, shape)}
        return with_geometry(images, affine, meta=image.meta), with_geometry(labels[None], affine, meta=meta)

    def _require_multiple(self, axis: int, size: int, where: str) -> None:
        if (axis == 2 and self.voxel_mm[2] is None) or size % self.multiple == 0:
            return
        below = max(size // self.multiple, 1) * self.multiple
        good = f"{below} or {below + self.multiple}" if below < size else f"{below}"
        raise GliomaGenError(
            f"{where}spatial_size: {size} along axis {axis} is not a multiple of {self.multiple}; set it to {good}"
        )

    def _plan(self, label: Volume, file: str) -> tuple[Matrix, Box]:
        """Chooses the grid: the matrix from its voxel indices to the source's, and its shape."""
        if not label.data.any():
            raise GliomaGenError(f"{file}: has no head label; add it before fitting the geometry")
        source_mm = np.array(label.voxel_mm)
        directions = label.affine[:3, :3] / source_mm
        voxel_mm = np.array(
            [own if v is None else v for v, own in zip(self.voxel_mm, source_mm, strict=True)]
        )
        if None in self.voxel_mm or np.abs(directions - np.eye(3)).max() < _ALIGNED:
            steps = voxel_mm / source_mm  # source voxels per voxel of the grid
            turn = np.diag(np.where(np.abs(steps - 1) < _ALIGNED, 1.0, steps))
        else:
            turn = np.linalg.inv(label.affine[:3, :3]) @ np.diag(voxel_mm)
        back = np.linalg.inv(turn)
        head = _extent(_outline(label.data), back)  # (2, 3), in voxels of the grid but for their origin
        corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * (
            np.array(label.data.shape) - 1
        )
        whole = _extent(corners, back)
        shape, middle = [], np.empty(3)
        for axis, size in enumerate(self.spatial_size):
            if size is None:
                edge = np.abs(back[axis]).sum() - 1e-3  # a source voxel's own width, less rounding errors
                size = int(np.ceil(whole[1, axis] - whole[0, axis] + edge))
                self._require_multiple(axis, size, f"{file}: ")
                middle[axis] = whole[:, axis].mean()
            else:
                middle[axis] = head[:, axis].mean()
            shape.append(size)
        to_source = np.eye(4)
        to_source[:3, :3] = turn
        to_source[:3, 3] = turn @ (middle - (np.array(shape) - 1) / 2)
        kept = (turn == np.eye(3)).all(axis=1)  # along these the grid moves onto whole source voxels
        to_source[:3, 3][kept] = np.floor(to_source[:3, 3][kept] + 0.5)
        return to_source, (shape[0], shape[1], shape[2])


def _require_three(name: str, values: Any, *, whole: bool) -> None:
    """Refuses what is not three positive numbers or None; the command line makes text of an unquoted null."""

    def good(value: Any) -> bool:
        number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
        return value is None or (number and value > 0)

    if isinstance(values, Sequence) and len(values) == 3 and all(good(value) for value in values):
        return
    raise GliomaGenError(
        f"{name} {values!r}: give three positive {'whole ' * whole}numbers; where an axis stays as it is, null in a "
        'file and None on the command line, as in "[128,128,None]"'
    )


class FitGeometryd(MapTransform):
    """Dictionary version of :class:`FitGeometry`.

    The case also gets ``cut_off``: {"head_mm3", "lesion_mm3"}, 0 where nothing was lost.

    Args:
        keys: The contrasts, if any; the label may be among them and is fitted in any case.
        label_key: The label, with the head.
        spatial_size: As for :class:`FitGeometry`.
        voxel_mm: As for :class:`FitGeometry`.
        multiple: As for :class:`FitGeometry`.
        allow_missing: Skip contrasts a case lacks, instead of refusing the case.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        label_key: str = "label",
        spatial_size: Sequence[int | None] = (192, 192, 144),
        voxel_mm: Sequence[float | None] = (1.25, 1.25, 1.25),
        multiple: int = 16,
        allow_missing: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys=allow_missing)
        self.label_key = label_key
        self.fit = FitGeometry(spatial_size=spatial_size, voxel_mm=voxel_mm, multiple=multiple)

    def __call__(self, data: Mapping[Hashable, Any]) -> Case:
        """Fits the images of one case.

        Raises:
            GliomaGenError: A key is missing, the images are not on one grid, or as for :class:`FitGeometry`.
        """
        case = dict(data)
        contrasts = tuple(key for key in self.keys if key != self.label_key)
        keys = present(case, contrasts, allow_missing=self.allow_missing_keys)
        present(case, (self.label_key,), allow_missing=False)
        require_same_geometry(case, [*keys, self.label_key])
        label = case[self.label_key]
        none = np.empty((0, *label.shape[1:]), np.float32)  # a label map alone is fitted too
        stacked = np.concatenate([none, *(np.asarray(case[key]) for key in keys)])  # (C, X, Y, Z)
        images, fitted = self.fit(with_geometry(stacked, affine_of(label)), label)
        case["cut_off"] = fitted.meta.pop("cut_off")
        for channel, key in enumerate(keys):
            array = np.asarray(images)[channel : channel + 1].copy()
            case[key] = with_geometry(array, affine_of(images), meta=case[key].meta)
        case[self.label_key] = fitted
        return case


def resample(
    array: NDArray[Any],
    affine: NDArray[Any],
    *,
    target_affine: NDArray[Any],
    target_shape: Sequence[int],
    nearest: bool,
) -> NDArray[Any]:
    """Samples an image on another grid, through both affines; 0 beyond the source.

    Linear interpolation follows a Gaussian where the target's voxels are the larger ones (Cardoso et al., Scale
    factor point spread function matching, MICCAI 2015: the width that turns one voxel size into the other).
    Where the target's voxels fall onto whole source voxels, values are the source's own.

    Args:
        array: (X, Y, Z).
        affine: (4, 4), of ``array``.
        target_affine: (4, 4), of the result; any orientation.
        target_shape: Of the result.
        nearest: Take the nearest voxel (labels; the dtype stays) instead of interpolating (float32).

    Returns:
        Shape ``target_shape``.
    """
    to_source = np.linalg.inv(np.asarray(affine, np.float64)) @ np.asarray(target_affine, np.float64)
    x, y, z = (int(size) for size in target_shape)
    return _sampled(array, _tidied(to_source), (x, y, z), nearest=nearest)


def _tidied(to_source: Matrix) -> Matrix:
    """Removes rounding errors of float32 headers, so that equal grids are recognized as equal."""
    whole = np.rint(to_source)
    tolerance = np.full((4, 4), 1e-5)
    tolerance[:, 3] = 1e-3  # voxels
    return np.where(np.abs(to_source - whole) < tolerance, whole, to_source)


def _sampled(array: NDArray[Any], to_source: Matrix, shape: Box, *, nearest: bool) -> NDArray[Any]:
    """Samples ``array`` at ``to_source`` times the voxel indices of a grid of ``shape``."""
    matrix, offset = to_source[:3, :3], to_source[:3, 3]
    if not nearest:
        array = array.astype(np.float32, copy=False)
    if np.array_equal(matrix, np.eye(3)) and np.array_equal(offset, np.rint(offset)):
        return _cropped_and_padded(array, offset.astype(int), shape)
    if not nearest:
        ratio = np.linalg.norm(matrix, axis=1)  # target voxel size over source voxel size, per source axis
        sigma = np.sqrt(np.maximum(ratio**2 - 1, 0)) / np.sqrt(8 * np.log(2))
        if sigma.max() > 1e-3:
            array = ndimage.gaussian_filter(array, sigma, mode="nearest", truncate=3)
    diagonal = np.array_equal(matrix, np.diag(np.diag(matrix)))
    result: NDArray[Any] = ndimage.affine_transform(
        array,
        np.diag(matrix) if diagonal else matrix,  # the former is much faster
        offset,
        output_shape=shape,
        order=0 if nearest else 1,
        mode="grid-constant",
        prefilter=False,
    )
    return result


def _cropped_and_padded(array: NDArray[Any], offset: NDArray[Any], shape: Box) -> NDArray[Any]:
    result = np.zeros(shape, array.dtype)
    first, last = np.maximum(offset, 0), np.minimum(offset + shape, array.shape)
    if (first < last).all():
        source = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
        target = tuple(slice(a, b) for a, b in zip(first - offset, last - offset, strict=True))
        result[target] = array[source]
    return result


def _ras(image: MetaTensor, channel: int) -> Volume:
    return Volume(data=np.asarray(image)[channel], affine=affine_of(image)).to_ras()


def _outline(labels: NDArray[Any]) -> NDArray[np.int64]:
    """First and last labelled voxel of each column, (N, 3): where any linear extent of the head is reached."""
    inside = labels > 0
    x, y = np.nonzero(inside.any(axis=2))
    columns = inside[x, y]  # (N/2, Z)
    first = columns.argmax(axis=1)
    last = labels.shape[2] - 1 - columns[:, ::-1].argmax(axis=1)
    return np.concatenate([np.stack([x, y, z], axis=1) for z in (first, last)])


def _extent(points: NDArray[Any], back: Matrix) -> Matrix:
    """Least and greatest coordinates, (2, 3), of voxel indices (N, 3) taken through ``back`` (3, 3)."""
    moved = points @ back.T
    return np.stack([moved.min(axis=0), moved.max(axis=0)])


def _cut_off(label: Volume, to_source: Matrix, shape: Box) -> dict[str, float]:
    """Volume of head and lesion, in mm3, whose source voxels have their centre outside the grid."""
    back = np.linalg.inv(to_source)
    x, y = np.arange(label.data.shape[0])[:, None], np.arange(label.data.shape[1])[None]
    head = lesion = 0
    for z in range(label.data.shape[2]):  # slice by slice: no coordinates of the whole volume are held
        labels: NDArray[Any] = label.data[..., z]
        if not labels.any():
            continue
        outside = np.zeros(labels.shape, bool)
        for row, size in zip(back[:3], shape, strict=True):
            at = row[0] * x + row[1] * y + (row[2] * z + row[3])  # (X, Y)
            outside |= (at < -0.5 - 1e-6) | (at > size - 0.5 + 1e-6)
        head += int((outside & (labels > 0)).sum())
        lesion += int((outside & (labels > HEAD)).sum())
    voxel_mm3 = abs(float(np.linalg.det(label.affine[:3, :3])))
    return {"head_mm3": head * voxel_mm3, "lesion_mm3": lesion * voxel_mm3}
