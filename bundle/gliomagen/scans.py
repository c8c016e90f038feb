"""Finding and reading what is judged: a synthetic data set, and the real scans it is compared with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .errors import GliomaGenError
from .files import read_json
from .labels import CONTRASTS, HEAD, convention
from .volume import Volume, read_volume

Image = NDArray[np.float32]
Labels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class ScanFiles:
    """One case's files.

    Attributes:
        case: Its name.
        patient: Whose it is; of a synthetic one whose label map it was made from, empty where nothing says so.
        images: One file per contrast.
        label: Its label map.
        label_convention: Of the label map.
        mask_case: Of a synthetic one: the label map it was made from.
    """

    case: str
    patient: str
    images: tuple[Path, ...]
    label: Path
    label_convention: str = "prepared"
    mask_case: str = ""


@dataclass(frozen=True, kw_only=True)
class Scan:
    """One case, read.

    Attributes:
        files: Where it came from.
        volume: (C, X, Y, Z), grey in [0, 1], RAS+.
        label: (X, Y, Z), prepared labels with the head.
        voxel_mm: Length of a voxel along each axis.
    """

    files: ScanFiles
    volume: Image
    label: Labels
    voxel_mm: tuple[float, float, float]


def real_scans(entries: Sequence[Mapping[str, Any]], contrasts: Sequence[str] = CONTRASTS) -> list[ScanFiles]:
    """Takes the entries of a prepared cohort's data list (case, patient, contrasts, label)."""
    return [
        ScanFiles(
            case=str(entry["case"]),
            patient=str(entry["patient"]),
            images=tuple(Path(entry[name]) for name in contrasts),
            label=Path(entry["label"]),
        )
        for entry in entries
    ]


def synthetic_scans(
    dataset_dir: str | Path,
    *,
    contrasts: Sequence[str] = CONTRASTS,
    label_convention: str = "brats2024",
    masks: Sequence[Mapping[str, Any]] = (),
) -> list[ScanFiles]:
    """Finds the cases of a synthetic data set.

    Args:
        dataset_dir: An nnU-Net data set (``imagesTr/<case>_0000.nii.gz``, ``labelsTr/<case>.nii.gz``), or a folder
            of case folders (``<case>/<case>-t1c.nii.gz``, ``<case>/<case>-seg.nii.gz``).
        contrasts: The channels, in order.
        label_convention: Of the data set's label maps; ``prepared`` if the head was kept.
        masks: Prepared label maps with the head, as entries with ``case`` and ``label``, to take instead of the
            data set's. A case's is the one its line in ``manifest.jsonl`` names (``mask_case``), else its namesake.

    Returns:
        The cases, sorted.

    Raises:
        GliomaGenError: There is none, a file or a case's mask lacks, or ``dataset.json`` names other labels.
    """
    folder = Path(dataset_dir)
    prepared = {str(entry["case"]): Path(entry["label"]) for entry in masks}
    convention(label_convention)
    if not folder.is_dir():
        raise GliomaGenError(f"{dataset_dir}: not found; give a synthetic data set")
    if (folder / "imagesTr").is_dir():
        _check_head(folder / "dataset.json", label_convention)
        suffix = "_0000.nii.gz"
        cases = sorted(
            file.name.removesuffix(suffix) for file in (folder / "imagesTr").glob(f"[!.]*{suffix}")
        )
        images = [[f"imagesTr/{case}_{i:04d}.nii.gz" for i in range(len(contrasts))] for case in cases]
        labels = [f"labelsTr/{case}.nii.gz" for case in cases]
    else:
        first = contrasts[0]
        cases = sorted(
            file.parent.name
            for file in folder.glob(f"*/*-{first}.nii.gz")
            if file.name == f"{file.parent.name}-{first}.nii.gz"
        )
        images = [[f"{case}/{case}-{name}.nii.gz" for name in contrasts] for case in cases]
        labels = [f"{case}/{case}-seg.nii.gz" for case in cases]
    if not cases:
        raise GliomaGenError(
            f"{dataset_dir}: holds neither imagesTr/<case>_0000.nii.gz nor <case>/<case>-{contrasts[0]}.nii.gz; "
            "give a data set made by synthesizing"
        )
    origins = _origins(folder / "manifest.jsonl")
    found = []
    for case, channels, label in zip(cases, images, labels, strict=True):
        source, patient = origins.get(case, (case, ""))
        if prepared and source not in prepared:
            raise GliomaGenError(
                f"case {case}: masks_dir has no label map {source}; give those it was made from"
            )
        files = ScanFiles(
            case=case,
            patient=patient,
            mask_case=source,
            images=tuple(folder / name for name in channels),
            label=prepared[source] if prepared else folder / label,
            label_convention="prepared" if prepared else label_convention,
        )
        for file in (*files.images, files.label):
            if not file.is_file():
                raise GliomaGenError(f"{file}: not found; synthesize case {case} again, or set masks_dir")
        found.append(files)
    return found


def read_scan(files: ScanFiles) -> Scan:
    """Reads a case.

    Label maps without a head get one: whatever is not 0 in some contrast, and the lesion, with holes filled.
    Then nothing can lie outside the head, and a shift shows at the lesion alone.

    Raises:
        GliomaGenError: A file is damaged, not on the grid of the others, or its greys are not in [0, 1].
    """
    label = read_volume(files.label).to_ras()
    images = []
    for file in files.images:
        image = read_volume(file).to_ras()
        _require_same_grid(image, label, file, files.label)
        images.append(image.data.astype(np.float32))
    volume = np.stack(images)  # (C, X, Y, Z)
    finite = volume[np.isfinite(volume)]
    if finite.size and (finite.min() < -1e-3 or finite.max() > 1 + 1e-3):
        raise GliomaGenError(
            f"{files.images[0]}: greys from {finite.min():g} to {finite.max():g}, not 0 to 1; "
            "only prepared and synthesized volumes can be judged"
        )
    try:
        labels = convention(files.label_convention).to_prepared(label.data)
    except GliomaGenError as error:
        raise GliomaGenError(f"{files.label}: {error}") from None
    if convention(files.label_convention).background_includes_head:
        labels = with_head(volume, labels)
    return Scan(files=files, volume=volume, label=labels, voxel_mm=label.voxel_mm)


def with_head(volume: Image, label: Labels) -> Labels:
    """Adds the head to a label map that lacks it: non-zero voxels of any contrast and the lesion, holes filled."""
    head = ndimage.binary_fill_holes((volume != 0).any(axis=0) | (label > HEAD))
    return np.where((label == 0) & head, np.uint8(HEAD), label).astype(np.uint8)


def _origins(manifest: Path) -> dict[str, tuple[str, str]]:
    """Label map and patient each case was made from, as the manifest has it: several volumes may come from one."""
    if not manifest.is_file():
        return {}
    try:
        lines = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
        return {
            str(line["case"]): (str(line["mask_case"]), str(line.get("source_patient") or ""))
            for line in lines
            if "mask_case" in line
        }
    except (ValueError, KeyError, TypeError) as error:
        raise GliomaGenError(f"{manifest}: not a manifest ({error}); run synthesizing again") from error


def _check_head(path: Path, label_convention: str) -> None:
    """Refuses a convention that contradicts what ``dataset.json`` calls its labels."""
    if not path.is_file():
        return
    names = {str(name).lower() for name in read_json(path).get("labels", {})}
    if names and ("head" in names) == convention(label_convention).background_includes_head:
        kept = "has" if "head" in names else "has no"
        raise GliomaGenError(
            f"{path}: {kept} label 'head', which does not fit label_convention '{label_convention}'; "
            f"pass --label_convention {'prepared' if 'head' in names else 'brats2024'}"
        )


def _require_same_grid(image: Volume, label: Volume, file: Path, label_file: Path) -> None:
    if image.data.shape != label.data.shape or not np.allclose(image.affine, label.affine, atol=1e-2):
        raise GliomaGenError(
            f"{file}: not on the grid of {label_file} ({image.data.shape} and {label.data.shape} voxels); "
            "image and mask of a case must lie on one grid"
        )
