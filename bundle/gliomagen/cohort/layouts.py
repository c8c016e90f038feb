"""How challenge folders name their files: a registry of layouts, and the cases found in a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import GliomaGenError
from ..labels import CONTRASTS, IMAGES

LABEL = "label"
HEAD_MAP = "head"
"""In place of the label map, of a scan that nobody labelled: the head alone."""
"""Key of the label map among a case's files and in data lists."""

BRATS_PATIENT = r"(.+-\d{5})-\d{3}"
"""``BraTS-GLI-PPPPP-TTT``: the time point TTT is not part of the patient's name."""

_SUFFIX = re.compile(r"\.nii(\.gz)?$")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where one scan stands: a 3-D file, or one channel of a 4-D file."""

    path: Path
    channel: int | None = None

    def value(self) -> str | dict[str, Any]:
        """Returns it as the loading transform takes it."""
        return str(self.path) if self.channel is None else {"path": str(self.path), "channel": self.channel}


@dataclass(frozen=True, kw_only=True)
class CaseFiles:
    """The files of one case that were found.

    Attributes:
        case: Its name.
        patient: Whose scan it is; several cases (time points) may have one patient.
        sources: By contrast, and by ``label`` for the label map. What was not found is absent.
        ignored: Files left out because the same scan is there twice, as ``.nii`` and ``.nii.gz``.
    """

    case: str
    patient: str
    sources: Mapping[str, Source]
    ignored: tuple[Path, ...] = ()

    def data(self, contrasts: Sequence[str]) -> dict[str, Any]:
        """Returns the entry of a MONAI data list: case, patient, the contrasts there are, label."""
        entry: dict[str, Any] = {"case": self.case, "patient": self.patient}
        for key in (*contrasts, LABEL):
            if key in self.sources:
                entry[key] = self.sources[key].value()
        return entry


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One challenge's file names.

    Attributes:
        name: What the option ``layout`` calls it.
        scan: Path of a scan inside the folder, with ``{case}`` and, unless ``channels``, ``{contrast}``.
            ``.nii`` and ``.nii.gz`` both match.
        label: Path of the label map, with ``{case}``; None: as a scan, with the contrast called ``seg``.
        contrast_names: What the files call a contrast (or ``seg``), where it is not our name.
        channels: Contrasts along the fourth axis of one file; empty: one file for each.
    """

    name: str
    scan: str
    label: str | None = None
    contrast_names: Mapping[str, str] = field(default_factory=dict)
    channels: tuple[str, ...] = ()

    def pattern(self, key: str) -> str:
        """Returns the path pattern of a contrast or of ``label``, with only ``{case}`` left open."""
        if key == LABEL:
            pattern, called = self.label or self.scan, self.contrast_names.get("seg", "seg")
        else:
            pattern, called = self.scan, self.contrast_names.get(key, key)
        return pattern.replace("{contrast}", called)

    def expected(self, key: str) -> str:
        """Returns the path to show a person, such as ``<case>/<case>-t1c.nii.gz``."""
        return self.pattern(key).replace("{case}", "<case>")


LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout(name="brats2024", scan="{case}/{case}-{contrast}.nii.gz"),
        Layout(
            name="brats2021",
            scan="{case}/{case}_{contrast}.nii.gz",
            contrast_names={"t1c": "t1ce", "t1n": "t1", "t2f": "flair", "t2w": "t2"},
        ),
        Layout(
            name="msd01",
            scan="imagesTr/{case}.nii.gz",
            label="labelsTr/{case}.nii.gz",
            channels=("t2f", "t1n", "t1c", "t2w"),
        ),
    )
}


def find_layout(name_or_pattern: str, contrast_names: Mapping[str, str] | None = None) -> Layout:
    """Returns a registered layout, or makes one from a path pattern with ``{case}`` and ``{contrast}``.

    Args:
        name_or_pattern: For example ``brats2024`` or ``{case}/{case}_{contrast}.nii.gz``.
        contrast_names: What the files call a contrast, for example ``{t1c: T1GD, seg: mask}``; what it does
            not name keeps the layout's own.

    Raises:
        GliomaGenError: Neither a known name nor a usable pattern, or a contrast name is not ours.
    """
    layout = LAYOUTS.get(name_or_pattern)
    if layout is None:
        if "{" not in name_or_pattern:
            raise GliomaGenError(
                f"layout '{name_or_pattern}' is not known; choose among {sorted(LAYOUTS)} or give a file-name "
                "pattern such as '{case}/{case}_{contrast}.nii.gz'"
            )
        fields = set(re.findall(r"\{(\w*)\}", name_or_pattern))
        if fields != {"case", "contrast"} or not _SUFFIX.search(name_or_pattern):
            raise GliomaGenError(
                f"layout '{name_or_pattern}': a pattern has the fields {{case}} and {{contrast}} and ends in "
                ".nii or .nii.gz, such as '{case}/{case}_{contrast}.nii.gz'"
            )
        pattern = str(PurePosixPath(name_or_pattern))  # "./{case}…" is "{case}…"
        layout = Layout(name=name_or_pattern, scan=pattern)
    if not contrast_names:
        return layout
    strange = sorted(set(contrast_names) - {*IMAGES, "seg"})
    if strange or layout.channels:
        raise GliomaGenError(
            f"contrast_names: layout '{layout.name}' has its contrasts in one file, leave the option out"
            if layout.channels
            else f"contrast_names: {strange} are not contrasts; its keys are among {[*IMAGES, 'seg']}"
        )
    return Layout(
        name=layout.name,
        scan=layout.scan,
        label=layout.label,
        contrast_names={**layout.contrast_names, **contrast_names},
    )


def patient_of(case: str, patient_pattern: str | None = None) -> str:
    """Returns whose scan a case is.

    Args:
        case: Its name.
        patient_pattern: Regular expression with one group, the patient, that matches the whole name. None: a
            name that ends as BraTS's do (five digits, then three for the time point) loses the time point, any
            other is the patient itself.

    Raises:
        GliomaGenError: The pattern is not usable or does not match.
    """
    try:
        pattern = re.compile(patient_pattern or BRATS_PATIENT)
    except re.error as error:
        raise GliomaGenError(
            f"patient_pattern '{patient_pattern}': not a regular expression ({error})"
        ) from None
    if pattern.groups != 1:
        raise GliomaGenError(f"patient_pattern '{patient_pattern}': needs exactly one group, the patient")
    match = pattern.fullmatch(case)
    if match and match[1]:
        return match[1]
    if patient_pattern:
        raise GliomaGenError(f"patient_pattern '{patient_pattern}': does not match the case '{case}'")
    return case


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a folder holds: its cases by name, and folders where a case was expected and none of its files is."""

    cases: tuple[CaseFiles, ...]
    empty_folders: tuple[str, ...]


def find_cases(
    dataset_dir: str | Path,
    layout: str = "brats2024",
    *,
    contrasts: Sequence[str] = CONTRASTS,
    contrast_names: Mapping[str, str] | None = None,
    patient_pattern: str | None = None,
) -> Found:
    """Finds the cases of a folder, each file paired by name.

    Cases that lack some files are listed too (checking reports them). Hidden files are not looked at.

    Args:
        dataset_dir: The challenge folder.
        layout: A registered name or a pattern, see :func:`find_layout`.
        contrasts: Those to look for.
        contrast_names: See :func:`find_layout`.
        patient_pattern: See :func:`patient_of`.

    Returns:
        Cases sorted by name.

    Raises:
        GliomaGenError: The folder is missing or has no case.
    """
    folder = Path(dataset_dir)
    if not folder.is_dir():
        raise GliomaGenError(f"{folder}: no such folder; set dataset_dir to the challenge folder")
    named = find_layout(layout, contrast_names)
    lacking = sorted(set(contrasts) - set(named.channels)) if named.channels else []
    if lacking:
        raise GliomaGenError(
            f"layout '{named.name}' has no contrast {lacking}; it has {list(named.channels)}"
        )
    expressions = {key: _expression(named.pattern(key)) for key in (*contrasts, LABEL)}
    depths = {named.pattern(key).count("/") for key in expressions}
    found: dict[str, dict[str, list[Path]]] = {}
    folders_with_scans: set[str] = set()
    for relative in _files(folder, max(depths)):
        for key, expression in expressions.items():
            if match := expression.fullmatch(relative):
                found.setdefault(match["case"], {}).setdefault(key, []).append(folder / relative)
                folders_with_scans.add(relative.split("/")[0])
    if not found:
        raise GliomaGenError(_nothing(folder, named, contrasts))
    cases = tuple(
        _case_files(case, found[case], named, patient_of(case, patient_pattern)) for case in sorted(found)
    )
    empty: tuple[str, ...] = ()
    if named.scan.startswith("{case}/"):
        empty = tuple(name for name in _entries(folder, folders=True) if name not in folders_with_scans)
    return Found(cases=cases, empty_folders=empty)


def _expression(pattern: str) -> re.Pattern[str]:
    """Turns ``{case}/{case}-t1c.nii.gz`` into an expression; every further ``{case}`` must equal the first."""
    first, *more = [re.escape(part) for part in _SUFFIX.sub("", pattern).split("{case}")]
    body = first + "(?P<case>[^/]+)" + "(?P=case)".join(more)
    return re.compile(body + r"\.nii(\.gz)?")


def _case_files(case: str, files: Mapping[str, list[Path]], layout: Layout, patient: str) -> CaseFiles:
    sources: dict[str, Source] = {}
    ignored: set[Path] = set()
    for key, paths in files.items():
        chosen, *others = sorted(paths, key=lambda path: (path.suffix != ".gz", path))
        channel = layout.channels.index(key) if key in layout.channels else None
        sources[key] = Source(path=chosen, channel=channel)
        ignored.update(others)
    return CaseFiles(case=case, patient=patient, sources=sources, ignored=tuple(sorted(ignored)))


def _entries(folder: Path, *, folders: bool) -> list[str]:
    """Names in a folder, hidden ones left out: its folders, or else its files."""
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir() == folders)
    except OSError as error:
        raise GliomaGenError(
            f"{folder}: cannot be listed ({error.strerror}); check its permissions"
        ) from error


def _files(folder: Path, depth: int, prefix: str = "") -> Iterator[str]:
    """Yields the paths of files at most ``depth`` folders down, relative to where it began."""
    for name in _entries(folder, folders=False):
        yield prefix + name
    if depth:
        for name in _entries(folder, folders=True):
            yield from _files(folder / name, depth - 1, f"{prefix}{name}/")


def _nothing(folder: Path, layout: Layout, contrasts: Sequence[str]) -> str:
    """Says what was looked for and what is there instead."""
    entries = sorted(_entries(folder, folders=True) + _entries(folder, folders=False))
    there = ", ".join(entries[:3]) + (", ..." if len(entries) > 3 else "") if entries else "nothing"
    scan = next((path for path in _files(folder, 4) if _SUFFIX.search(path)), None)
    example = f"; first scan below it: {scan}" if scan else ""
    expected = layout.expected(contrasts[0])
    return (
        f"{folder}: no case found for layout '{layout.name}' (expected {expected}); "
        f"first entries there: {there}{example}"
    )
