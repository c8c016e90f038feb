"""A challenge folder becomes a checked, prepared, split cohort."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from monai.transforms import Compose

from .. import __version__
from ..describe import describe
from ..errors import GliomaGenError
from ..files import write_json, written_whole
from ..labels import CONTRASTS, HEAD, IMAGES, LABEL_NAMES, convention
from ..machine import is_mine, rank
from .casework import COHORT_FILE, CaseWork, Checked
from .findings import ERROR, WARNING, Finding, table
from .integrity import find_duplicates
from .layouts import LABEL, CaseFiles, find_cases, find_layout
from .split import SECTIONS, UNLABELLED, split_cases
from .workers import Workers

COHORT_FORMAT = "gliomagen-cohort"
COHORT_FORMAT_VERSION = 1
TABLE_FILE = "integrity.md"

_SHOWN = 20
_POLL_S = 1.0
_T = TypeVar("_T")


class Preparation:
    """Checks, prepares and splits a challenge folder.

    Below ``output_dir``: ``<case>/<case>-{t1c,…,seg}.nii.gz`` and ``<case>/case.json``, ``cohort.json``, and the table
    of findings ``integrity.md``. Running again does only what is new or changed. Under ``torchrun`` the ranks take
    cases by hash and meet through the files; rank 0 writes what covers all cases.

    Args:
        dataset_dir: The challenge folder.
        output_dir: The cohort's folder, another one.
        transforms: The deterministic list, from a case's file names to its prepared scans.
        layout: How files are named, see :func:`.layouts.find_layout`.
        contrast_names: What the files call a contrast, where the layout does not know.
        patient_pattern: Regular expression with one group, the patient, see :func:`.layouts.patient_of`.
        contrasts: To prepare.
        label_convention: How the label maps are numbered; the transforms convert from it.
        transform_config: Plain description of the transforms; None: made from them.
        spatial_size: What the transforms make; None leaves an axis as it is.
        voxel_mm: Likewise, in mm.
        strict: Fail in the end if any case was rejected.
        validation_fraction: Share of the patients that validate, see :func:`.split.split_cases`.
        split_file: A given split, used instead.
        seed: Of the split.
        num_workers: Processes; 0 or 1 works in this one.
        allow_missing_contrasts: Keep cases that lack some contrast.
        allow_missing_labels: Keep cases that nobody labelled, in a section of their own.

    Raises:
        GliomaGenError: From :meth:`run`.
    """

    def __init__(
        self,
        *,
        dataset_dir: str | Path | None,
        output_dir: str | Path | None,
        transforms: Compose,
        layout: str = "brats2024",
        contrast_names: Mapping[str, str] | None = None,
        patient_pattern: str | None = None,
        contrasts: Sequence[str] = CONTRASTS,
        label_convention: str = "brats2024",
        class_names: Mapping[int | str, str] | None = None,
        transform_config: Any = None,
        spatial_size: Sequence[int | None] = (192, 192, 144),
        voxel_mm: Sequence[float | None] = (1.25, 1.25, 1.25),
        strict: bool = False,
        validation_fraction: float = 0.2,
        split_file: str | Path | None = None,
        seed: int = 0,
        num_workers: int = 2,
        allow_missing_contrasts: bool = False,
        allow_missing_labels: bool = False,
    ) -> None:
        self.dataset_dir = dataset_dir
        self.output_dir = output_dir
        self.transforms = transforms
        self.layout = layout
        self.contrast_names = contrast_names
        self.patient_pattern = patient_pattern
        self.contrasts = contrasts
        self.label_convention = label_convention
        self.class_names = class_names
        self.transform_config = (
            describe(list(transforms.transforms)) if transform_config is None else transform_config
        )
        self.spatial_size = tuple(spatial_size)
        self.voxel_mm = tuple(voxel_mm)
        self.strict = strict
        self.split: dict[str, Any] = {
            "validation_fraction": validation_fraction,
            "split_file": split_file,
            "seed": seed,
        }
        self.seed = seed
        self.num_workers = num_workers
        self.allow_missing_contrasts = allow_missing_contrasts
        self.allow_missing_labels = allow_missing_labels

    def run(self) -> None:
        """Does all of it.

        Raises:
            GliomaGenError: An option cannot be meant, there is no case, or the machine is at fault; after everything
                is written: no case was good, or with ``strict`` one was not.
        """
        work = self._work()
        found = find_cases(
            work.dataset_dir,
            self.layout,
            contrasts=work.contrasts,
            contrast_names=self.contrast_names,
            patient_pattern=self.patient_pattern,
        )
        files = {case.case: case for case in found.cases}
        patients = {case.case: case.patient for case in found.cases}
        split_cases(patients, **self.split)  # refuse a wrong split before hours of work
        mine = {case for case in files if is_mine(case)}

        with Workers(work, self.num_workers, quiet=rank() != 0) as workers:
            workers.each("check", [(files[c],) for c in sorted(mine) if work.checked(files[c]) is None])
            checked = _wait_for_all({case: partial(work.checked, files[case]) for case in files})
            duplicates = find_duplicates({case: checked[case].check for case in files})
            good = [case for case in files if not checked[case].check.rejected and case not in duplicates]
            to_do = [
                case for case in good if case in mine and work.prepared(files[case], checked[case]) is None
            ]
            workers.each("prepare", [(files[case], checked[case]) for case in to_do])
        if rank() != 0:
            return

        results: dict[str, dict[str, Any] | Finding] = _wait_for_all(
            {case: partial(work.prepared, files[case], checked[case]) for case in good}
        )
        findings = {case: list(checked[case].check.findings) for case in files}
        entries: dict[str, dict[str, Any]] = {}
        for case in files:
            result = results.get(case)
            if case in duplicates:
                findings[case].append(duplicates[case])
            elif isinstance(result, Finding):
                findings[case].append(result)
            elif result is not None:
                findings[case] += _cut_off(case, result["cut_off"])
                entries[case] = _entry(
                    work, files[case], checked[case], result, findings[case], self._label_names()
                )
        for case in files:
            if case in duplicates or checked[case].check.rejected:
                work.clear(case)
        strangers = [
            Finding(
                case=name,
                level=WARNING,
                code="no_scan",
                message=f"folder without any file named as in {work.layout.expected(work.contrasts[0])}; left out",
            )
            for name in found.empty_folders
            if (work.dataset_dir / name).resolve() != work.output_dir.resolve()
        ]
        listed = [finding for case in files for finding in findings[case]] + strangers
        with written_whole(work.output_dir / TABLE_FILE) as beside:
            beside.write_text(_report(listed, len(files), len(entries)), encoding="utf-8")
        sections = self._write_cohort(work, patients, entries, findings)
        self._conclude(work, listed, len(files), sections)

    def _work(self) -> CaseWork:
        """Checks the options that need no look at the scans."""
        if not self.dataset_dir or not self.output_dir:
            raise GliomaGenError("dataset_dir and output_dir must be given: --dataset_dir D --output_dir O")
        dataset_dir, output_dir = Path(self.dataset_dir), Path(self.output_dir)
        if dataset_dir.resolve() == output_dir.resolve():
            raise GliomaGenError(f"{output_dir}: is the challenge folder itself; choose another output_dir")
        if (dataset_dir / COHORT_FILE).is_file() and self.label_convention != "prepared":
            raise GliomaGenError(
                f"{dataset_dir}: is a prepared cohort already, train on it; "
                "to prepare it again set label_convention to prepared"
            )
        strange = [contrast for contrast in self.contrasts if contrast not in IMAGES]
        if strange or not self.contrasts:
            raise GliomaGenError(f"contrasts {list(self.contrasts)}: must be some of {list(IMAGES)}")
        self._label_names()
        return CaseWork(
            dataset_dir=dataset_dir,
            output_dir=output_dir,
            layout=find_layout(self.layout, self.contrast_names),
            contrasts=tuple(contrast for contrast in IMAGES if contrast in self.contrasts),
            label_convention=self.label_convention,
            transforms=self.transforms,
            transform_config=self.transform_config,
            spatial_size=self.spatial_size,
            allow_missing_contrasts=self.allow_missing_contrasts,
            allow_missing_labels=self.allow_missing_labels,
        )

    def _label_names(self) -> dict[int, str]:
        """Returns the name of each prepared label.

        Raises:
            GliomaGenError: A class is named that the convention does not have.
        """
        of: dict[int | str, int] = {LABEL_NAMES[HEAD]: HEAD}
        of.update({number: label for number, label in convention(self.label_convention).prepared.items()})
        named = dict(self.class_names or {})
        strange = [number for number in named if number not in of]
        if strange:
            raise GliomaGenError(
                f"class_names: {strange} are not of the convention '{self.label_convention}' ({list(of)})"
            )
        return {**LABEL_NAMES, **{of[number]: str(name) for number, name in named.items()}}

    def _write_cohort(
        self,
        work: CaseWork,
        patients: Mapping[str, str],
        entries: Mapping[str, dict[str, Any]],
        findings: Mapping[str, list[Finding]],
    ) -> dict[str, list[dict[str, Any]]]:
        if not entries:
            (work.output_dir / COHORT_FILE).unlink(missing_ok=True)
            return {}
        # A given split names every case that was found; a hashed one must not leave a side to rejected cases alone.
        among = patients if self.split["split_file"] else {case: patients[case] for case in entries}
        side = split_cases(among, **self.split)
        sections = {
            name: [entries[case] for case in sorted(entries) if side[case] == name and LABEL in entries[case]]
            for name in SECTIONS
        }
        # Which side of the split an unlabelled scan's patient is on: what validates must not be learnt from either.
        sections[UNLABELLED] = [
            {**entries[case], "section": side[case]} for case in sorted(entries) if LABEL not in entries[case]
        ]
        content = {
            "format": COHORT_FORMAT,
            "format_version": COHORT_FORMAT_VERSION,
            "package_version": __version__,
            "contrasts": list(work.contrasts),
            "labels": {str(number): name for number, name in self._label_names().items()},
            "label_convention": "prepared",
            "spatial_size": list(self.spatial_size),
            "voxel_mm": list(self.voxel_mm),
            "seed": self.seed,
            "preparation": self.transform_config,
            **sections,
            "rejected": [
                {"case": case, "findings": [finding.plain() for finding in findings[case]]}
                for case in sorted(findings)
                if case not in entries
            ],
        }
        write_json(work.output_dir / COHORT_FILE, content)
        return sections

    def _conclude(
        self,
        work: CaseWork,
        listed: Sequence[Finding],
        found: int,
        sections: Mapping[str, list[dict[str, Any]]],
    ) -> None:
        """Prints the summary, and fails if it has to."""
        kept = sum(map(len, sections.values()))
        path = work.output_dir / TABLE_FILE
        worst_first = sorted(listed, key=lambda finding: finding.level != ERROR)
        if listed:
            print(table(worst_first[:_SHOWN]))
        if len(listed) > _SHOWN:
            print(f"... {len(listed) - _SHOWN} more in {path}")
        shown = [name for name in (*SECTIONS, UNLABELLED) if name in SECTIONS or sections.get(name)]
        counts = ", ".join(f"{len(sections.get(name, []))} {name}" for name in shown)
        print(
            f"{found} case{'s' * (found != 1)}: {kept} prepared ({counts}), {found - kept} rejected; findings: {path}"
        )
        errors = [finding for finding in worst_first if finding.level == ERROR]
        if not errors or (kept and not self.strict):
            return
        first = errors[0]
        where = f"{first.case}, {first.file}" if first.file else first.case
        verdict = f"{found - kept} of {found} cases rejected" if kept else "no case is usable"
        raise GliomaGenError(
            f"{work.dataset_dir}: {verdict}, first {where}: {first.message}; all are in {path}"
        )


def _entry(
    work: CaseWork,
    files: CaseFiles,
    checked: Checked,
    result: Mapping[str, Any],
    findings: Iterable[Finding],
    label_names: Mapping[int, str],
) -> dict[str, Any]:
    """Returns what ``cohort.json`` says of a prepared case; paths relative to it, so that the folder can move."""
    check = checked.check
    sources: dict[str, dict[str, Any]] = {}
    for name in (*work.contrasts, LABEL):
        if name not in files.sources:
            continue
        source = files.sources[name]
        sources[name] = {
            "file": source.path.relative_to(work.dataset_dir).as_posix(),
            "sha256": checked.sha256[name],
        }
        if source.channel is not None:
            sources[name]["channel"] = source.channel
    before, after = check.lesion_mm3, result["lesion_mm3"]
    return {
        "case": files.case,
        "patient": files.patient,
        **{
            name: work.file(files.case, name).relative_to(work.output_dir).as_posix()
            for name in work.made(files)
        },
        "sources": sources,
        "geometry": {
            **result["geometry"],
            "source_affine": check.source_affine,
            "source_shape": check.source_shape,
            "source_orientation": check.source_orientation,
        },
        "intensity_range": result["intensity_range"],
        "cut_off": result["cut_off"],
        "lesion_mm3": {
            label_names[number]: [before.get(name, 0.0), after.get(name, 0.0)]
            for number, name in LABEL_NAMES.items()
            if name in before or name in after
        },
        "findings": [finding.plain() for finding in findings],
    }


def _cut_off(case: str, cut_off: Mapping[str, float]) -> list[Finding]:
    """Nothing of the head is cut off without being reported."""
    if not any(cut_off.values()):
        return []
    parts = " and ".join(
        f"{volume:.0f} mm3 of the {name.removesuffix('_mm3')}" for name, volume in cut_off.items() if volume
    )
    message = f"{parts} lie outside spatial_size and are cut off"
    return [Finding(case=case, level=WARNING, code="cut_off", message=message)]


def _report(findings: Sequence[Finding], found: int, kept: int) -> str:
    if not findings:
        return f"{found} cases, {kept} kept, nothing to report.\n"
    errors = sum(finding.level == ERROR for finding in findings)
    counts = f"{found} cases, {kept} kept; {errors} errors, {len(findings) - errors} warnings."
    return f"{counts} An error rejects its case.\n\n{table(findings)}\n"


def _wait_for_all(asked: Mapping[str, Callable[[], _T | None]]) -> dict[str, _T]:
    """Asks until every case has an answer; other ranks may still be at work on theirs."""
    answers: dict[str, _T] = {}
    while True:
        for case, ask in asked.items():
            if case not in answers and (answer := ask()) is not None:
                answers[case] = answer
        if len(answers) == len(asked):
            return {case: answers[case] for case in asked}
        time.sleep(_POLL_S)
