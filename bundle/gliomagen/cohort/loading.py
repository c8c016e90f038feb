"""Reading a case: files to tensors in RAS+ order, and challenge labels to prepared ones."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from monai.utils import ensure_tuple
from numpy.typing import NDArray

from ..errors import GliomaGenError
from ..labels import convention as label_convention
from ..volume import Volume, read_volume

Case = dict[Hashable, Any]
Source = str | Path | Mapping[str, Any]


class LoadVolume(Transform):
    """Reads one image as a tensor whose axes point to the right, to the front and up (closest RAS+).

    Args:
        label: Whether files hold labels: whole numbers from 0 to 255 in any storage type, given as uint8.
            Otherwise they hold a contrast, given as float32.
    """

    def __init__(self, *, label: bool = False) -> None:
        self.label = label

    def __call__(self, source: Source) -> MetaTensor:
        """Reads ``source``.

        Args:
            source: A NIfTI path, or ``{"path": ..., "channel": k}`` for one channel of a 4-D file. The channels
                of Medical Segmentation Decathlon Task01 are 0 t2f, 1 t1n, 2 t1c, 3 t2w.

        Returns:
            Shape (1, X, Y, Z), with ``affine`` in RAS+ mm (float64) and ``meta["filename_or_obj"]``.

        Raises:
            GliomaGenError: The file is missing or damaged, is not one 3-D image of numbers, has voxels that are
                not finite, or holds labels that are not whole numbers.
        """
        return self._from_volume(read_volume(_path(source)), source)

    def _from_volume(self, volume: Volume, source: Source) -> MetaTensor:
        path = _path(source)
        volume = _channel(volume, source, path).to_ras()
        if volume.data.dtype.kind not in "biuf":
            raise GliomaGenError(
                f"{path}: voxels are {volume.data.dtype}, not numbers; convert it to a scalar image"
            )
        if volume.data.dtype.kind == "f" and not np.isfinite(volume.data).all():
            raise GliomaGenError(
                f"{path}: has voxels that are not finite (NaN or infinity); mend or leave out the scan"
            )
        data = _whole_numbers(volume.data, path) if self.label else volume.data.astype(np.float32, copy=False)
        return with_geometry(data[None], volume.affine, meta={"filename_or_obj": str(path)})


class LoadVolumesd(MapTransform):
    """Dictionary version of :class:`LoadVolume`: every key that holds a path becomes its image.

    What is a tensor already stays as it is. A 4-D file that several keys name is read once.

    Args:
        keys: Contrasts and label.
        label_key: The key, or keys, whose file holds labels.
        allow_missing: Skip keys a case lacks, instead of refusing the case.
    """

    def __init__(
        self, keys: KeysCollection, *, label_key: KeysCollection = "label", allow_missing: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys=allow_missing)
        self.label_keys = ensure_tuple(label_key)

    def __call__(self, data: Mapping[Hashable, Any]) -> Case:
        """Reads the files of one case.

        Raises:
            GliomaGenError: A key is missing, or as for :class:`LoadVolume`.
        """
        case = dict(data)
        here = present(case, self.keys, allow_missing=self.allow_missing_keys)
        wanted = [key for key in here if not isinstance(case[key], torch.Tensor)]
        paths = [_path(case[key]) for key in wanted]
        shared: dict[Path, Volume] = {}
        for key, path in zip(wanted, paths, strict=True):
            volume = shared[path] if path in shared else read_volume(path)
            if paths.count(path) > 1:
                shared[path] = volume
            case[key] = LoadVolume(label=key in self.label_keys)._from_volume(volume, case[key])
        return case


class ConvertLabels(Transform):
    """Maps a challenge's label numbers to prepared ones (0 background, 1 head, 2 NETC, 3 SNFH, 4 ET, 5 RC).

    Args:
        convention: Name in :data:`gliomagen.labels.CONVENTIONS`; never guessed from the values.
    """

    def __init__(self, *, convention: str) -> None:
        self.convention = label_convention(convention)

    def __call__(self, label: MetaTensor) -> MetaTensor:
        """Maps ``label``, shape (1, X, Y, Z), and returns uint8 of that shape.

        Raises:
            GliomaGenError: A number is not of the convention; the message names the file.
        """
        try:
            prepared = self.convention.to_prepared(np.asarray(label))
        except GliomaGenError as error:
            raise GliomaGenError(f"{file_of(label)}: {error}") from None
        return with_geometry(prepared, affine_of(label), meta=label.meta)


class ConvertLabelsd(MapTransform):
    """Dictionary version of :class:`ConvertLabels`.

    Args:
        keys: The label, or several.
        convention: As for :class:`ConvertLabels`.
        allow_missing: Skip keys a case lacks, all of them if need be, instead of refusing the case.
    """

    def __init__(self, keys: KeysCollection, *, convention: str, allow_missing: bool = False) -> None:
        super().__init__(keys, allow_missing_keys=allow_missing)
        self.convert = ConvertLabels(convention=convention)

    def __call__(self, data: Mapping[Hashable, Any]) -> Case:
        """Maps the labels of one case.

        Raises:
            GliomaGenError: A key is missing, or as for :class:`ConvertLabels`.
        """
        case = dict(data)
        if not self.allow_missing_keys:
            present(case, self.keys, allow_missing=False)
        for key in self.key_iterator(case):
            case[key] = self.convert(case[key])
        return case


def with_geometry(
    array: NDArray[np.generic], affine: NDArray[np.float64], *, meta: Mapping[str, Any] | None = None
) -> MetaTensor:
    """Wraps ``array``, shape (C, X, Y, Z), with its affine (RAS+ mm, kept in float64) and the rest of ``meta``."""
    rest = {name: value for name, value in (meta or {}).items() if name != "affine"}
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return MetaTensor(tensor, affine=torch.as_tensor(affine, dtype=torch.float64), meta=rest)


def affine_of(image: MetaTensor) -> NDArray[np.float64]:
    """Returns the (4, 4) affine of a tensor, voxel indices to RAS+ mm."""
    return np.asarray(image.affine, np.float64)


def file_of(image: MetaTensor) -> str:
    """Returns the file a tensor came from, for messages."""
    return str(image.meta.get("filename_or_obj", "an image without a file"))


def present(
    case: Mapping[Hashable, Any], keys: tuple[Hashable, ...], *, allow_missing: bool
) -> list[Hashable]:
    """Returns those of ``keys`` that ``case`` has.

    Raises:
        GliomaGenError: One is missing and that is not allowed, or all are.
    """
    found = [key for key in keys if key in case]
    missing = [str(key) for key in keys if key not in case]
    if missing and (not allow_missing or not found):
        raise GliomaGenError(
            f"{_name(case)}: lacks {', '.join(missing)}; add the files or leave out the case"
        )
    return found


def require_same_geometry(case: Mapping[Hashable, Any], keys: list[Hashable]) -> None:
    """Checks that the images of a case lie on one grid: equal shape, and corners within a tenth of a voxel.

    Raises:
        GliomaGenError: They do not.
    """
    first: MetaTensor = case[keys[0]]
    affine = affine_of(first)
    corners = np.array([[x, y, z, 1] for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float64)  # (8, 4)
    corners[:, :3] *= np.array(first.shape[-3:]) - 1
    allowed_mm = 0.1 * np.linalg.norm(affine[:3, :3], axis=0).min()
    for key in keys[1:]:
        other: MetaTensor = case[key]
        apart_mm = np.abs(corners @ (affine_of(other) - affine).T).max()
        if other.shape[-3:] != first.shape[-3:]:
            problem = f"shape {tuple(other.shape[-3:])} is not {tuple(first.shape[-3:])}"
        elif apart_mm > allowed_mm:
            problem = f"its place differs by {apart_mm:.3g} mm"
        else:
            continue
        raise GliomaGenError(
            f"{file_of(other)}: not on the grid of {file_of(first)} ({problem}); co-register the case first"
        )


def _name(case: Mapping[Hashable, Any]) -> str:
    """A case's name for messages: its own, else a file of it."""
    for key in ("case", "case_id", "id", "name"):
        if isinstance(case.get(key), str):
            return str(case[key])
    for value in case.values():
        if isinstance(value, MetaTensor):
            return file_of(value)
        if isinstance(value, str | Path):
            return str(value)
    return "a case"


def _path(source: Source) -> Path:
    return Path(source["path"] if isinstance(source, Mapping) else source)


def _channel(volume: Volume, source: Source, path: Path) -> Volume:
    """Picks the 3-D image that ``source`` means."""
    shape = volume.data.shape
    if isinstance(source, Mapping) and "channel" in source:
        channel = int(source["channel"])
        if len(shape) != 4 or not 0 <= channel < shape[3]:
            raise GliomaGenError(
                f"{path}: has no channel {channel} (shape {shape}); correct the channel or the layout"
            )
        return Volume(data=volume.data[..., channel], affine=volume.affine)
    if len(shape) == 4 and shape[3] == 1:
        return Volume(data=volume.data[..., 0], affine=volume.affine)
    if len(shape) != 3:
        raise GliomaGenError(f"{path}: not one 3-D image (shape {shape}); for a 4-D file name the channel")
    return volume


def _whole_numbers(data: NDArray[Any], path: Path) -> NDArray[np.uint8]:
    if data.dtype.kind == "f" and not np.array_equal(data, np.rint(data)):
        raise GliomaGenError(
            f"{path}: labels are not whole numbers; give the segmentation, not probabilities"
        )
    if data.size and (data.min() < 0 or data.max() > 255):
        raise GliomaGenError(
            f"{path}: labels from {data.min():g} to {data.max():g}, not 0 to 255; correct the file"
        )
    return data.astype(np.uint8)
