"""Reading a data set of :class:`.mixing.Mixture`: who trains, who validates, and that none does both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import GliomaGenError
from ..files import content_sha256, read_json
from ..volume import Volume, read_header
from .mixcard import MIX_FILE, SPLITS_FILE
from .nnunet_form import MANIFEST_FILE, image_names, label_name, read_json_lines


@dataclass(frozen=True, kw_only=True)
class Mixed:
    """A data set of real and synthetic cases.

    Attributes:
        path: Its folder.
        training: Entries with case, patient, kind, seconds (it took to make, or None), contrasts and label (absolute
            paths). The patient of a synthetic case is the one whose label map it goes back to.
        validation: Likewise, real ones.
        patients: Everyone whom the training cases go back to, donors included.
        plan: Content of ``mix.json``.
        spatial_size: Voxels along each axis; the same for all cases.
        voxel_mm: Length of a voxel along each axis.
        sha256: Of what the data set is made of.
    """

    path: Path
    training: list[dict[str, Any]]
    validation: list[dict[str, Any]]
    patients: list[str]
    plan: dict[str, Any]
    spatial_size: tuple[int, ...]
    voxel_mm: tuple[float, ...]
    sha256: str

    @property
    def name(self) -> str:
        """The configuration, ``transfer-…`` where its generator knew real patients that it lacks."""
        return str(self.plan["name"])


def read_mixed(dataset_dir: str | Path) -> Mixed:
    """Reads a data set, and checks that what trains knows nobody who validates.

    Raises:
        GliomaGenError: It is none of ours, its parts contradict each other, or a validation patient is in the training,
            himself or by a synthetic child; named.
    """
    folder = Path(dataset_dir).absolute()
    if not (folder / MIX_FILE).is_file():
        raise GliomaGenError(f"{folder}: has no {MIX_FILE}; give a data set that mixing made")
    plan = read_json(folder / MIX_FILE)
    split = read_json(folder / SPLITS_FILE)
    records = {record["case"]: record for record in read_json_lines(folder / MANIFEST_FILE)}
    if split != [{"train": plan["train"], "val": plan["val"]}]:
        raise GliomaGenError(
            f"{folder / SPLITS_FILE}: is not the split of {MIX_FILE}; make the data set anew"
        )
    if unknown := [case for case in (*plan["train"], *plan["val"]) if case not in records]:
        raise GliomaGenError(f"{folder / MANIFEST_FILE}: lacks the case {unknown[0]}; make the data set anew")
    validating = {_patient(records[case], folder) for case in plan["val"]}
    known: set[str] = set()
    for case in plan["train"]:
        record = records[case]
        of = {_patient(record, folder)} if record["kind"] == "real" else set(record["parents"])
        if not of:
            raise GliomaGenError(
                f"{folder}: nobody says whose label map the synthetic case {case} goes back to; leave it out"
            )
        if seen := sorted(of & validating):
            raise GliomaGenError(
                f"{folder}: the training case {case} goes back to {seen[0]}, who validates; leave it out"
            )
        known |= of
    contrasts = plan["contrasts"]
    first = folder / image_names(next(iter(plan["train"])), len(contrasts))[0]
    header = read_header(first)
    grid = Volume(data=np.empty(0), affine=np.asarray(header.affine, np.float64))
    return Mixed(
        path=folder,
        training=[_entry(folder, records[case], contrasts) for case in plan["train"]],
        validation=[_entry(folder, records[case], contrasts) for case in plan["val"]],
        patients=sorted(known),
        plan=plan,
        spatial_size=tuple(int(size) for size in header.shape[:3]),
        voxel_mm=tuple(round(float(length), 4) for length in grid.voxel_mm),
        sha256=content_sha256(plan),
    )


def _patient(record: Mapping[str, Any], folder: Path) -> str:
    if record.get("kind") != "real" or not record.get("patient"):
        raise GliomaGenError(
            f"{folder / MANIFEST_FILE}: {record['case']} has no patient; make the data set anew"
        )
    return str(record["patient"])


def _entry(folder: Path, record: Mapping[str, Any], contrasts: Sequence[str]) -> dict[str, Any]:
    case = record["case"]
    images = {
        name: str(folder / file)
        for name, file in zip(contrasts, image_names(case, len(contrasts)), strict=True)
    }
    patient = record["patient"] if record["kind"] == "real" else record["parents"][0]
    facts = {"case": case, "patient": patient, "kind": record["kind"], "seconds": record.get("seconds")}
    return {**facts, **images, "label": str(folder / label_name(case))}
