"""Checks of one case before anything is made of it. All findings are collected, none stops the next check.

An error rejects the case; a warning keeps it. Any axis order and flip is fine and said nothing about, since
loading turns every scan to RAS+; only axes tilted against the world's are warned of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes

from ..labels import BACKGROUND, CT, HEAD, LABEL_NAMES, LabelConvention
from ..volume import Volume
from .filecheck import Report, check_contrast, check_labels, corners_apart_mm, read_checked
from .findings import ERROR, WARNING, Finding
from .layouts import LABEL, CaseFiles

CORNER_TOLERANCE_MM = 1e-3
"""Scans of one case whose corners lie further apart are not co-registered."""
LESION_OUTSIDE = 0.05
"""Share of the lesion outside the head above which mask and scans do not belong together."""


@dataclass(kw_only=True)
class CaseCheck:
    """What the check of one case found out.

    Attributes:
        findings: In the order found.
        voxels_sha256: Hash of each contrast's voxels, whatever their storage; constant contrasts have none.
        source_shape: Voxels along each axis of the scans, as stored.
        source_affine: (4, 4), voxel indices to mm.
        source_orientation: For example ``LPS``.
        lesion_mm3: Volume of each tumour label there is, by its name.
    """

    findings: list[Finding] = field(default_factory=list)
    voxels_sha256: dict[str, str] = field(default_factory=dict)
    source_shape: list[int] = field(default_factory=list)
    source_affine: list[list[float]] = field(default_factory=list)
    source_orientation: str = ""
    lesion_mm3: dict[str, float] = field(default_factory=dict)

    @property
    def rejected(self) -> bool:
        """Whether any finding is an error."""
        return any(finding.level == ERROR for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Returns plain content that :meth:`from_json` takes."""
        return asdict(self)

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> CaseCheck:
        """Rebuilds what :meth:`to_json` gave."""
        return CaseCheck(**{**content, "findings": [Finding(**entry) for entry in content["findings"]]})


def check_case(
    files: CaseFiles,
    *,
    contrasts: Sequence[str],
    convention: LabelConvention,
    expected: Callable[[str], str],
    root: Path,
    allow_missing_contrasts: bool = False,
    allow_missing_labels: bool = False,
) -> CaseCheck:
    """Reads every voxel of a case and checks all there is to check.

    Args:
        files: The case.
        contrasts: Those it has to have.
        convention: How its label map is numbered.
        expected: Gives the file name that a contrast (or ``label``) should have, for messages.
        root: Findings name files relative to this folder.
        allow_missing_contrasts: A missing contrast is only warned of, as long as one is there.
        allow_missing_labels: A missing label map is only warned of.

    Returns:
        The findings, and the facts of the scans that preparing records.
    """
    check = CaseCheck()

    def report(level: str, code: str, message: str, key: str = "") -> None:
        path = files.sources[key].path if key in files.sources else None
        name = path.relative_to(root).as_posix() if path else ""
        check.findings.append(Finding(case=files.case, level=level, code=code, message=message, file=name))

    for key in (*contrasts, LABEL):
        if key not in files.sources:
            some = any(c in files.sources for c in contrasts)
            lenient = some and (allow_missing_labels if key == LABEL else allow_missing_contrasts)
            code, what = ("missing_label", "label map") if key == LABEL else ("missing_contrast", key)
            wanted = expected(key).replace("<case>", files.case)
            report(WARNING if lenient else ERROR, code, f"{what} is missing, expected {wanted}")
    for path in files.ignored:
        report(WARNING, "stored_twice", f"{path.name} is left out, the same scan is there as .nii.gz")

    volumes: dict[str, Volume] = {}
    read: dict[Path, Volume | None] = {}  # a 4-D file holds several contrasts and is read once
    for key in (*contrasts, LABEL):
        if key not in files.sources:
            continue
        source = files.sources[key]
        if source.path not in read:
            read[source.path] = read_checked(source.path, partial(report, key=key))
        volume = read[source.path]
        if volume is None:
            continue
        channel, shape = source.channel, volume.data.shape
        if channel is None and len(shape) == 4 and shape[3] == 1:
            report(WARNING, "odd_storage", "stored 4-D with one channel; nothing is lost", key)
            channel = 0
        if len(shape) != (3 if channel is None else 4) or (channel or 0) >= (*shape, 1, 1)[3]:
            wanted = "3-D" if channel is None else f"4-D with a channel {channel} for {key}"
            report(ERROR, "dimensions", f"shape {_by(shape)} is not {wanted}", key)
            continue
        data = volume.data if channel is None else volume.data[..., channel]
        volumes[key] = Volume(data=data, affine=volume.affine)

    for key, volume in volumes.items():
        (check_labels(volume, convention, report) if key == LABEL else check_contrast(key, volume, report))
    _check_geometry(volumes, report)
    if LABEL in volumes:
        _check_lesion(volumes, convention, report)
    for key, volume in volumes.items():
        if key != LABEL and volume.data.size and volume.data.min() != volume.data.max():
            check.voxels_sha256[key] = voxels_sha256(volume)
    for (one, hash_one), (other, hash_other) in combinations(check.voxels_sha256.items(), 2):
        if hash_one == hash_other:
            report(ERROR, "same_contrast", f"{other} has the same voxels as {one}", other)

    if volumes:
        first = next(iter(volumes.values()))
        check.source_shape = list(first.data.shape)
        check.source_affine = first.affine.tolist()
        check.source_orientation = first.orientation
    if LABEL in volumes and not check.rejected:
        check.lesion_mm3 = lesion_mm3(convention.to_prepared(volumes[LABEL].data), volumes[LABEL].affine)
    return check


def lesion_mm3(labels: NDArray[np.uint8], affine: NDArray[np.float64]) -> dict[str, float]:
    """Returns the volume in mm³ of each tumour label there is, by its name.

    Args:
        labels: Prepared labels, any shape.
        affine: (4, 4), voxel indices to mm.
    """
    voxel_mm3 = abs(float(np.linalg.det(affine[:3, :3])))
    counts = np.bincount(labels.ravel(), minlength=len(LABEL_NAMES))
    return {
        name: round(int(counts[number]) * voxel_mm3, 3)
        for number, name in LABEL_NAMES.items()
        if number not in (BACKGROUND, HEAD) and counts[number]
    }


def voxels_sha256(volume: Volume) -> str:
    """Returns the hash of a scan's voxels as float32 in RAS+ order: independent of dtype, byte and axis order."""
    data = np.asarray(volume.to_ras().data, dtype="<f4") + np.float32(0)  # -0 is 0
    return hashlib.sha256(f"{data.shape}".encode() + np.ascontiguousarray(data).tobytes()).hexdigest()


def find_duplicates(checks: Mapping[str, CaseCheck]) -> dict[str, Finding]:
    """Finds cases that hold a scan of another case: the later one by name is the duplicate.

    Args:
        checks: By case. Cases already rejected are not compared.

    Returns:
        An error for each duplicate.
    """
    owner: dict[str, str] = {}
    duplicates: dict[str, Finding] = {}
    for case in sorted(checks):
        hashes = checks[case].voxels_sha256
        if checks[case].rejected:
            continue
        twins = [(contrast, owner[digest]) for contrast, digest in hashes.items() if digest in owner]
        if twins:
            contrast, twin = twins[0]
            duplicates[case] = Finding(
                case=case,
                level=ERROR,
                code="duplicate",
                message=f"{contrast} has the same voxels as a scan of {twin}",
            )
        else:
            owner.update(dict.fromkeys(hashes.values(), case))
    return duplicates


def _check_geometry(volumes: Mapping[str, Volume], report: Report) -> None:
    """Names the odd ones out: those that differ from what most scans of the case have."""
    if not volumes:
        return
    shapes = {key: volume.data.shape for key, volume in volumes.items()}
    usual = _most_common(shapes.values())
    model = next(key for key, shape in shapes.items() if shape == usual)
    for key, shape in shapes.items():
        if shape != usual:
            report(ERROR, "shape", f"shape {_by(shape)} differs from {model}'s {_by(usual)}", key)
    alike = [key for key, shape in shapes.items() if shape == usual]

    def apart_mm(one: str, other: str) -> float:
        return corners_apart_mm(volumes[one].affine, volumes[other].affine, usual)

    model = max(alike, key=lambda one: sum(apart_mm(one, other) <= CORNER_TOLERANCE_MM for other in alike))
    for key in alike:
        if not (apart := apart_mm(model, key)) <= CORNER_TOLERANCE_MM:
            report(ERROR, "affine", f"lies up to {apart:.3g} mm from {model}: not on the same grid", key)


def _check_lesion(volumes: Mapping[str, Volume], convention: LabelConvention, report: Report) -> None:
    labels = volumes[LABEL].data
    numbers = [
        number for number, prepared in convention.prepared.items() if prepared not in (BACKGROUND, HEAD)
    ]
    lesion = np.isin(labels, numbers)
    count = int(lesion.sum())
    if not count:
        if not convention.unknown(labels):
            report(WARNING, "empty_mask", "no lesion in the label map", LABEL)
        return
    scans: list[NDArray[Any]] = [
        v.data
        for key, v in volumes.items()
        if key not in (LABEL, CT) and v.data.shape == labels.shape  # in CT 0 is water
    ]
    if not scans:
        return
    region = np.logical_or.reduce([scan != 0 for scan in scans])
    outside = int((lesion & ~region).sum())
    if not outside:
        return
    # A cavity may be 0 in every contrast: inside the head it says nothing against the mask.
    beyond = int((lesion & ~binary_fill_holes(region)).sum())
    if beyond > LESION_OUTSIDE * count:
        message = (
            f"{beyond / count:.0%} of the lesion lies outside the head; mask and scans do not belong together"
        )
        report(ERROR, "lesion_outside", message, LABEL)
    else:
        message = f"{outside} lesion voxels ({outside / count:.1%}) lie where every contrast is 0"
        report(WARNING, "lesion_outside", message, LABEL)


def _most_common(shapes: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    listed = list(shapes)
    return max(listed, key=listed.count)  # the first of equals


def _by(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
