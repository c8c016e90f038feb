"""MONAI data lists: from a prepared cohort, from a challenge folder, or of label maps alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..errors import GliomaGenError
from ..files import content_sha256, read_json
from ..labels import CONTRASTS
from .casework import COHORT_FILE
from .layouts import HEAD_MAP, LABEL, find_cases, patient_of
from .preparation import COHORT_FORMAT, COHORT_FORMAT_VERSION
from .split import SECTIONS, TRAINING, UNLABELLED, VALIDATION, split_cases

ALL = "all"
Entry = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """A prepared cohort.

    Attributes:
        path: Its folder.
        contrasts: In our order; one network channel each.
        labels: Name of each prepared label.
        spatial_size: Voxels along each axis; None: differs from case to case.
        voxel_mm: Likewise, in mm.
        training: Entries of ``cohort.json``, paths made absolute.
        validation: Likewise.
        unlabelled: Likewise; they have ``head`` in place of ``label``, and ``section``, the side their patient is on.
        sha256: Of the content of ``cohort.json``.
    """

    path: Path
    contrasts: tuple[str, ...]
    labels: dict[int, str]
    spatial_size: tuple[int | None, ...]
    voxel_mm: tuple[float | None, ...]
    training: list[Entry]
    validation: list[Entry]
    unlabelled: list[Entry]
    sha256: str

    def section(self, name: str) -> list[Entry]:
        """Returns the entries of ``training``, ``validation``, ``unlabelled``, or ``all`` that are labelled, sorted by case.

        Raises:
            GliomaGenError: There is no such section.
        """
        _require_section(name, UNLABELLED)
        if name == ALL:
            return sorted([*self.training, *self.validation], key=lambda entry: str(entry["case"]))
        return {TRAINING: self.training, VALIDATION: self.validation, UNLABELLED: self.unlabelled}[name]


def read_cohort(dataset_dir: str | Path) -> Cohort:
    """Reads the ``cohort.json`` of a prepared cohort.

    Raises:
        GliomaGenError: There is none, it is not ours, or a file it lists is gone.
    """
    folder = Path(dataset_dir).absolute()
    path = folder / COHORT_FILE
    if not path.is_file():
        raise GliomaGenError(
            f"{dataset_dir}: no {COHORT_FILE}; run preparing first, or use raw.yaml for a challenge folder"
        )
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != COHORT_FORMAT:
        raise GliomaGenError(f"{path}: is not a prepared cohort's; run preparing")
    if content["format_version"] != COHORT_FORMAT_VERSION:
        raise GliomaGenError(
            f"{path}: has format version {content['format_version']}, this package reads {COHORT_FORMAT_VERSION}; "
            "run preparing again"
        )
    contrasts = tuple(content["contrasts"])

    def located(entry: Entry) -> Entry:
        files = {name: folder / entry[name] for name in (*contrasts, LABEL, HEAD_MAP) if name in entry}
        for file in files.values():
            if not file.is_file():
                raise GliomaGenError(f"{file}: listed in {COHORT_FILE} but not there; run preparing again")
        return {**entry, **{name: str(file) for name, file in files.items()}}

    return Cohort(
        path=folder,
        contrasts=contrasts,
        labels={int(number): name for number, name in content["labels"].items()},
        spatial_size=tuple(content["spatial_size"]),
        voxel_mm=tuple(content["voxel_mm"]),
        training=[located(entry) for entry in content[TRAINING]],
        validation=[located(entry) for entry in content[VALIDATION]],
        unlabelled=[located(entry) for entry in content.get(UNLABELLED, [])],
        sha256=content_sha256(content),
    )


def datalist(
    dataset_dir: str | Path,
    section: str = TRAINING,
    contrasts: Sequence[str] = CONTRASTS,
    *,
    allow_missing: bool = False,
) -> list[Entry]:
    """Returns a section of a prepared cohort as a MONAI data list.

    Args:
        dataset_dir: The cohort's folder.
        section: ``training``, ``validation``, ``unlabelled`` or ``all``.
        contrasts: Those wanted.
        allow_missing: Keep cases that lack some of them, or a label map; ``all`` has the unlabelled then.

    Returns:
        Entries with case, patient, the contrasts and label, paths absolute.

    Raises:
        GliomaGenError: The cohort, or a case in it, lacks a contrast; or as for :func:`read_cohort`.
    """
    cohort = read_cohort(dataset_dir)
    if not set(contrasts) <= set(cohort.contrasts):
        raise GliomaGenError(
            f"{dataset_dir}: has the contrasts {list(cohort.contrasts)}, asked for {list(contrasts)}; "
            "change the option contrasts"
        )
    whole = cohort.section(section) + (cohort.unlabelled if section == ALL and allow_missing else [])
    entries = [_picked(entry, contrasts) for entry in whole]
    if not allow_missing:
        _require_complete(entries, contrasts, dataset_dir)
    return entries


def hidden_datalist(
    dataset_dir: str | Path, section: str = TRAINING, contrasts: Sequence[str] = CONTRASTS
) -> list[Entry]:
    """Returns a section as :func:`datalist` does, with the unlabelled scans of its patients: to learn from no labels.

    What stands under ``label`` is the label map or, of an unlabelled scan, the head's: :class:`.masks.HideLabelsd` makes
    them alike.
    """
    cohort = read_cohort(dataset_dir)
    theirs = [entry for entry in cohort.unlabelled if section in (ALL, entry["section"])]
    entries = [
        _picked({LABEL: entry.get(HEAD_MAP), **entry}, contrasts)
        for entry in [*cohort.section(section), *theirs]
    ]
    _require_complete(entries, contrasts, dataset_dir)
    return entries


def raw_datalist(
    dataset_dir: str | Path,
    layout: str = "brats2024",
    section: str = TRAINING,
    validation_fraction: float = 0.2,
    seed: int = 0,
    *,
    contrasts: Sequence[str] = CONTRASTS,
    contrast_names: Mapping[str, str] | None = None,
    patient_pattern: str | None = None,
    split_file: str | Path | None = None,
    allow_missing: bool = False,
) -> list[Entry]:
    """Returns the same from a challenge folder that was not prepared; options as for preparing.

    A 4-D file's contrasts are given as ``{"path": ..., "channel": k}``.

    Raises:
        GliomaGenError: There is no case, one lacks a file, or the split does not fit.
    """
    _require_section(section)
    found = find_cases(
        Path(dataset_dir).absolute(),
        layout,
        contrasts=contrasts,
        contrast_names=contrast_names,
        patient_pattern=patient_pattern,
    )
    side = split_cases(
        {files.case: files.patient for files in found.cases},
        validation_fraction=validation_fraction,
        seed=seed,
        split_file=split_file,
    )
    entries = [files.data(contrasts) for files in found.cases if section in (ALL, side[files.case])]
    _require_complete(entries, () if allow_missing else contrasts, dataset_dir)
    return entries


def mask_datalist(
    dataset_dir: str | Path,
    layout: str = "brats2024",
    section: str = ALL,
    *,
    contrasts: Sequence[str] = CONTRASTS,
    contrast_names: Mapping[str, str] | None = None,
    patient_pattern: str | None = None,
) -> list[Entry]:
    """Returns label maps, and the contrasts that stand beside them, whatever the folder is.

    Args:
        dataset_dir: A label-map file; a folder of them (the case is the name without ``-seg``); a folder of case
            folders; or a prepared cohort.
        layout: Of a folder of case folders.
        section: Of a prepared cohort.
        contrasts: Those to look for beside; what is absent is left out.
        contrast_names: See :func:`.layouts.find_layout`.
        patient_pattern: See :func:`.layouts.patient_of`.

    Returns:
        Entries with case, patient, label and the contrasts there are, paths absolute, sorted by case.

    Raises:
        GliomaGenError: There is no label map, or a case has none.
    """
    path = Path(dataset_dir).absolute()
    if path.is_file():
        return [_mask_entry(path, contrasts, patient_pattern)]
    if not path.is_dir():
        raise GliomaGenError(f"{dataset_dir}: not found; give a label map or a folder of them")
    if (path / COHORT_FILE).is_file():
        return [_picked(entry, contrasts) for entry in read_cohort(path).section(section)]
    files = [file for file in sorted(path.iterdir()) if _is_image(file) and file.is_file()]
    named = [file for file in files if _stem(file) != _case_of(file)]  # scans may stand beside
    if files:
        entries = [_mask_entry(file, contrasts, patient_pattern) for file in named or files]
        entries.sort(key=lambda entry: str(entry["case"]))
        for entry, following in pairwise(entries):
            if entry["case"] == following["case"]:
                raise GliomaGenError(f"{following[LABEL]}: a second label map of {entry['case']}; remove one")
        return entries
    found = find_cases(
        path, layout, contrasts=contrasts, contrast_names=contrast_names, patient_pattern=patient_pattern
    )
    entries = [case.data(contrasts) for case in found.cases]
    _require_complete(entries, (), dataset_dir)
    return entries


def _require_section(name: str, *more: str) -> None:
    names = [*SECTIONS, *more, ALL]
    if name not in names:
        raise GliomaGenError(f"section '{name}' is not known; choose among {names}")


def _picked(entry: Mapping[str, Any], contrasts: Sequence[str]) -> Entry:
    return {name: entry[name] for name in ("case", "patient", *contrasts, LABEL) if name in entry}


def _require_complete(entries: Sequence[Entry], contrasts: Sequence[str], dataset_dir: str | Path) -> None:
    for entry in entries:
        for name in (*contrasts, LABEL):
            if name not in entry:
                what = "label map" if name == LABEL else name
                raise GliomaGenError(
                    f"{dataset_dir}: case {entry['case']} has no {what}; add it or leave out the case"
                )


def _is_image(file: Path) -> bool:
    return not file.name.startswith(".") and file.name.endswith((".nii", ".nii.gz"))


def _stem(file: Path) -> str:
    return file.name.removesuffix(".gz").removesuffix(".nii")


def _case_of(file: Path) -> str:
    return _stem(file).removesuffix("-seg").removesuffix("_seg")


def _mask_entry(file: Path, contrasts: Sequence[str], patient_pattern: str | None) -> Entry:
    if not _is_image(file):
        raise GliomaGenError(f"{file}: not a label map; give a .nii.gz file or a folder of them")
    case = _case_of(file)
    entry: Entry = {"case": case, "patient": patient_of(case, patient_pattern)}
    for contrast in contrasts:
        beside = [file.with_name(f"{case}-{contrast}{suffix}") for suffix in (".nii.gz", ".nii")]
        if scan := next((scan for scan in beside if scan.is_file()), None):
            entry[contrast] = str(scan)
    return {**entry, LABEL: str(file)}
