"""Label maps as the generator's input: which voxels are known, on which grid, and the way back."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.transforms import MapTransform, Transform
from numpy.typing import NDArray

from ..errors import GliomaGenError
from ..labels import HEAD, convention
from ..volume import Volume, read_header
from .datalist import mask_datalist
from .geometry import resample
from .head import AddHeadLabeld
from .loading import Case, affine_of, file_of, with_geometry

logger = logging.getLogger(__name__)


def find_masks(
    *,
    dataset_dir: str | Path,
    layout: str,
    section: str,
    label_convention: str,
    contrasts: Sequence[str],
    unconditional: int = 0,
) -> list[dict[str, Any]]:
    """Returns the generator's inputs: label maps under the key ``image``, as hosts of MONAI bundles have it.

    Args:
        dataset_dir: See :func:`.datalist.mask_datalist`.
        layout: Of a challenge folder.
        section: Of a prepared cohort.
        label_convention: Of the masks. Where it has the head, the scans beside are not read.
        contrasts: Keys of the scans.
        unconditional: Return so many entries without a mask instead, named ``unconditional-000`` and so on.
    """
    if unconditional:
        return [{"case": f"unconditional-{i:03d}"} for i in range(unconditional)]
    masks = mask_datalist(dataset_dir, layout, section, contrasts=contrasts)
    needed = contrasts if convention(label_convention).background_includes_head else ()
    kept = ("case", *needed)
    return [{"image": entry["label"], **{k: entry[k] for k in kept if k in entry}} for entry in masks]


class AddMissingMaskd(MapTransform):
    """Gives an entry without a mask an empty one of which nothing is known: unconditional samples.

    Args:
        keys: The mask.
        spatial_size: Of the empty mask; None where the weights leave an axis as it is, as those of slices may.
        voxel_mm: Of the empty mask, likewise.
        heights: Relative heights of its axial slices, for the 2-D network; null: it has the weights' size.

    Raises:
        GliomaGenError: The weights tell no number of slices, and there are no ``heights``.
    """

    def __init__(
        self,
        keys: str,
        *,
        spatial_size: Sequence[int | None],
        voxel_mm: Sequence[float | None],
        heights: Sequence[float] | None = None,
    ) -> None:
        super().__init__(keys)
        depth = len(heights) if heights else spatial_size[2]
        self.spatial_size = (*spatial_size[:2], depth)
        self.voxel_mm = tuple(mm or 1.0 for mm in voxel_mm)

    def __call__(self, data: Mapping[Hashable, Any]) -> Case:
        """Adds the mask and ``labels_known`` where there is none."""
        case = dict(data)
        for key in self.keys:
            if key not in case:
                if None in self.spatial_size:
                    raise GliomaGenError(
                        f"the weights' grid {self.spatial_size} leaves a size open; name slices with --heights"
                    )
                shape = tuple(int(size) for size in self.spatial_size if size)
                affine = np.diag([*self.voxel_mm, 1.0])
                affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
                case[key] = with_geometry(np.zeros((1, *shape), np.uint8), affine)
                case["labels_known"] = with_geometry(np.zeros((1, *shape), np.uint8), affine)
        return case


class CompleteMaskd(MapTransform):
    """Adds the head to a mask, and ``labels_known``.

    Prepared masks have the head. A challenge's mask takes it from the scan beside it; with no scan there, only the
    lesion is known and the generator makes the head.

    Args:
        keys: The mask, in prepared labels.
        contrasts: Keys of the scan, if present.
        label_convention: The convention the mask came in.
        method: How the head is found, see :class:`AddHeadLabeld`.
    """

    def __init__(self, keys: str, *, contrasts: Sequence[str], label_convention: str, method: str) -> None:
        super().__init__(keys)
        self.contrasts = tuple(contrasts)
        self.needs_head = convention(label_convention).background_includes_head
        self.method = method

    def __call__(self, data: Mapping[Hashable, Any]) -> Case:
        """Completes the mask of one case."""
        case = dict(data)
        if "labels_known" in case:
            return case
        for key in self.keys:
            here = [name for name in self.contrasts if name in case]
            if self.needs_head and here:
                case = AddHeadLabeld(here, label_key=key, method=self.method)(case)  # type: ignore[arg-type]
            label = np.asarray(case[key])
            only_lesion = self.needs_head and not here
            known = ((label > HEAD) if only_lesion else np.ones_like(label)).astype(np.uint8)
            case["labels_known"] = with_geometry(known, affine_of(case[key]))
            for name in here:
                del case[name]
        return case


class FitMaskd(MapTransform):
    """Puts a mask on a grid that the network takes, and keeps what is needed to come back.

    Args:
        keys: The mask.
        grid: ``own``: the mask's own grid. ``weights``: that of the weights, centred on the mask. ``auto``: the
            mask's own if its sizes are multiples of 16 and its voxels within a fifth of the weights', else theirs.
        spatial_size: Of the weights' grid; None leaves an axis as it is (slices).
        voxel_mm: Of the weights' grid, likewise.
        multiple: What sizes must be multiples of.
    """

    def __init__(
        self,
        keys: str,
        *,
        grid: str,
        spatial_size: Sequence[int | None],
        voxel_mm: Sequence[float | None],
        multiple: int = 16,
    ) -> None:
        super().__init__(keys)
        if grid not in ("auto", "own", "weights"):
            raise GliomaGenError(f"grid '{grid}' is not known; choose auto, own or weights")
        self.grid = grid
        self.spatial_size = tuple(spatial_size)
        self.voxel_mm = tuple(voxel_mm)
        self.multiple = multiple

    def __call__(self, data: Mapping[Hashable, Any]) -> Case:
        """Fits the mask of one case; adds ``native`` (label and affine of the mask's own grid)."""
        case = dict(data)
        for key in self.keys:
            mask = case[key]
            case["mask_file"] = mask.meta.get("filename_or_obj", "")
            label, affine = np.asarray(mask)[0], affine_of(mask)
            case["native"] = {"label": label, "known": np.asarray(case["labels_known"])[0], "affine": affine}
            if self._keeps_own(label.shape, affine, file_of(mask)):
                continue
            shape = tuple(size or own for size, own in zip(self.spatial_size, label.shape, strict=True))
            target = self._centred(label, affine, shape)
            for name in (key, "labels_known"):
                array = resample(
                    np.asarray(case[name])[0],
                    affine,
                    target_affine=target,
                    target_shape=shape,
                    nearest=True,
                )
                case[name] = with_geometry(array[None], target, meta=mask.meta if name == key else None)
            case["labels_known"] = self._known_beyond(case["labels_known"], case["native"]["known"])
        return case

    def _keeps_own(self, shape: tuple[int, ...], affine: NDArray[np.float64], file: str) -> bool:
        good_size = all(
            size % self.multiple == 0
            for size, theirs in zip(shape, self.spatial_size, strict=True)
            if theirs is not None
        )
        ratio = np.linalg.norm(affine[:3, :3], axis=0) / self._voxel_mm(affine)
        good_voxels = bool((np.abs(np.log(ratio)) < np.log(1.2)).all())
        if self.grid == "own" and not good_size:
            raise GliomaGenError(
                f"{file}: volume size {shape} is not a multiple of {self.multiple}; prepare it, or pass --grid weights"
            )
        own = self.grid == "own" or (self.grid == "auto" and good_size and good_voxels)
        size_mm = " x ".join(f"{v:g}" for v in np.linalg.norm(affine[:3, :3], axis=0))
        weights_mm = " x ".join(f"{v:g}" for v in self._voxel_mm(affine))
        if own and not good_voxels:
            logger.warning(
                "%s: voxels of %s mm, weights trained at %s mm: expect wrong anatomy",
                file,
                size_mm,
                weights_mm,
            )
        if not own:
            logger.info(
                "%s: sampled on the weights' grid (%s mm), brought back to %s mm", file, weights_mm, size_mm
            )
        return own

    def _voxel_mm(self, affine: NDArray[np.float64]) -> NDArray[np.float64]:
        own = np.linalg.norm(affine[:3, :3], axis=0)
        return np.array([mm or here for mm, here in zip(self.voxel_mm, own, strict=True)])

    def _centred(
        self, label: NDArray[Any], affine: NDArray[np.float64], shape: tuple[int, ...]
    ) -> NDArray[np.float64]:
        """Affine of the weights' grid, RAS+, its middle at the middle of what is labelled (or of the mask)."""
        inside = np.argwhere(label == HEAD)
        low, high = (
            (inside.min(0), inside.max(0)) if len(inside) else (np.zeros(3), np.array(label.shape) - 1)
        )
        middle = affine[:3, :3] @ ((low + high) / 2) + affine[:3, 3]
        target = np.diag([*self._voxel_mm(affine), 1.0])
        target[:3, 3] = middle - target[:3, :3] @ ((np.array(shape) - 1) / 2)
        return target

    @staticmethod
    def _known_beyond(known: Any, native: NDArray[Any]) -> Any:
        """Where the mask was known everywhere, the background beyond its field of view is known too."""
        return known * 0 + 1 if native.all() else known


class RestoreGrid(Transform):
    """Brings a sampled volume back to the mask's own grid; background stays exactly 0."""

    def __call__(self, pred: NDArray[Any], item: Mapping[str, Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Returns ((C, X, Y, Z), affine) on the mask's own grid.

        Args:
            pred: (C, X', Y', Z')
            item: The evaluator's item: ``image`` on the network's grid, and ``native``.
        """
        native = item["native"]
        label, known, affine = (np.asarray(native[name]) for name in ("label", "known", "affine"))
        source = affine_of(item["image"])
        if pred.shape[1:] != label.shape or not np.allclose(source, affine):
            pred = np.stack(
                [
                    resample(p, source, target_affine=affine, target_shape=label.shape, nearest=False)
                    for p in pred
                ]
            )
            pred *= ~((label == 0) & (known > 0))
        if not item["mask_file"]:
            return pred, affine
        own = np.asarray(read_header(item["mask_file"]).affine)  # masks are turned to RAS+ when read
        turned = [Volume(data=p, affine=affine).oriented_like(own) for p in pred]
        return np.stack([volume.data for volume in turned]), own
