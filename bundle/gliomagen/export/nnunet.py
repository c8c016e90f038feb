"""Writing a synthetic nnU-Net data set: case by case, by many processes, and to be continued after any kill."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..errors import GliomaGenError
from ..files import file_sha256, read_json
from ..machine import is_mine
from ..volume import Volume, write_volume
from .datacard import write_data_card
from .nnunet_form import (
    FILE_ENDING,
    IMAGES,
    LABELS,
    MANIFEST_FILE,
    SECONDS_FILE,
    SET_FILE,
    dataset_folder,
    file_names,
    image_names,
    label_convention_of,
    label_name,
    label_table,
    read_json_lines,
    to_dataset_labels,
    write_dataset_json,
    write_manifest,
)
from .placing import (
    WORKING,
    place_case,
    record_path,
    recorded_cases,
    remove_unfinished,
    unfinished_cases,
    write_shared,
)

SET_FORMAT = "gliomagen-synthetic-dataset"
SET_FORMAT_VERSION = 1


class NnunetWriter:
    """Writes ``<output_dir>/nnUNet_raw/DatasetNNN_Name``.

    First ``synthesis.json`` (settings, weights' card, terms). Then for each case its images and label map, and last
    its record ``cases/<case>.json``: a case with a record and all files is finished, one without is made anew. Which
    process ever finds all cases finished writes ``dataset.json``, ``manifest.jsonl`` (the records, sorted) and the
    data card ``README.md``; they are a function of the records, so that it may be several processes, or again.

    Args:
        output_dir: Where ``nnUNet_raw`` is.
        dataset_id: 1 to 999.
        dataset_name: The name behind it.
        contrasts: Names of the channels, in order.
        labels: ``challenge`` (BraTS 2024's numbers) or ``prepared`` (with the head).
        settings: What made the cases: sampler, steps, seed, hash of the weights. A data set is of one setting.
        card: The weights' card.
        licence: Of the data set, as hubs name licences.
        mask_terms: Licence or terms of the label maps; None: not named.
    """

    def __init__(
        self,
        *,
        output_dir: str | Path,
        dataset_id: int,
        dataset_name: str,
        contrasts: Sequence[str],
        labels: str,
        settings: Mapping[str, Any],
        card: Mapping[str, Any],
        licence: str = "other",
        mask_terms: str | None = None,
    ) -> None:
        label_convention_of(labels)
        self.output_dir, self.dataset_id, self.dataset_name = output_dir, dataset_id, dataset_name
        self.contrasts = tuple(contrasts)
        self.labels = labels
        self.settings = {
            "synthetic": True,
            "package_version": __version__,
            "contrasts": list(contrasts),
            "labels": labels,
            **settings,
        }
        self.card = dict(card)
        self.terms = {"licence": licence, "masks": mask_terms}
        self.expected: list[str] = []
        self.mine, self.finished = 0, 0
        self._begun = False
        self._lock = threading.Lock()

    @property
    def folder(self) -> Path:
        """The data set's folder.

        Raises:
            GliomaGenError: See :func:`.nnunet_form.dataset_folder`.
        """
        return dataset_folder(self.output_dir, self.dataset_id, self.dataset_name)

    def pending(self, entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Returns this process's entries that are not finished. Reads only.

        Args:
            entries: All cases that are wanted, with ``case`` and its label map ``image``, the same in every process.

        Raises:
            GliomaGenError: The folder is not one of ours, was made with other settings, from other label maps, or
                holds what belongs to no case.
        """
        folder = self.folder
        self.expected = [str(entry["case"]) for entry in entries]
        done = {record["case"]: record for record in self._checked_records(folder)}
        self._refuse_strangers(folder, {*self.expected, *done, *unfinished_cases(folder)})
        present = _present(folder)
        left = []
        self.mine = 0
        for entry in entries:
            case = str(entry["case"])
            if not is_mine(case):
                continue
            self.mine += 1
            if case in done and present.issuperset(file_names(case, len(self.contrasts))):
                self._refuse_other_mask(folder, done[case], entry)
            else:
                left.append(dict(entry))
        self.finished = self.mine - len(left)
        return left

    def write(
        self,
        case: str,
        volumes: NDArray[Any],
        label: NDArray[Any],
        affine: NDArray[Any],
        facts: Mapping[str, Any],
        seconds: float | None = None,
    ) -> None:
        """Writes one case. Several threads may.

        Args:
            case: Its name.
            volumes: (C, X, Y, Z), [0, 1]; stored as float32.
            label: (X, Y, Z), prepared labels, on the same grid.
            affine: (4, 4)
            facts: What is particular to this case: label map, parents, network calls.
            seconds: It took.

        Raises:
            GliomaGenError: No room, or a label that the data set's convention lacks.
        """
        folder = self.folder
        with self._lock:
            if not self._begun:
                self._write_set_file(folder)
                self._begun = True
        stored = to_dataset_labels(label, self.labels, where=facts.get("mask") or case)
        arrays: dict[str, NDArray[Any]] = {
            name: np.asarray(volume, np.float32)
            for name, volume in zip(image_names(case, len(self.contrasts)), volumes, strict=True)
        }
        arrays[label_name(case)] = stored
        numbers, counts = np.unique(stored, return_counts=True)
        record = {
            "case": case,
            **self.settings,
            **facts,
            "spatial_size": list(stored.shape),
            "voxel_mm": [round(length, 6) for length in Volume(data=stored, affine=affine).voxel_mm],
            "label_voxels": {str(n): int(c) for n, c in zip(numbers, counts, strict=True)},
            "outputs": {name: voxel_sha256(array) for name, array in arrays.items()},
        }
        writers: dict[str, Callable[[Path], None]] = {
            name: partial(write_volume, volume=Volume(data=array, affine=affine))
            for name, array in arrays.items()
        }
        place_case(folder, case, writers, record)
        if seconds is not None:
            with self._lock, open(folder / SECONDS_FILE, "a", encoding="utf-8") as file:
                file.write(json.dumps({"case": case, "seconds": round(seconds, 3)}) + "\n")

    def complete(self) -> bool:
        """Makes the data set of the finished cases if no case is left, in whichever process; returns whether.

        Raises:
            GliomaGenError: A file belongs to no case, or no room.
        """
        folder = self.folder
        records = self._checked_records(folder)
        present = _present(folder)
        whole = {
            record["case"]
            for record in records
            if present.issuperset(file_names(record["case"], len(self.contrasts)))
        }
        if not records or not whole.issuperset(self.expected):
            return False
        for record in records:
            if record["case"] not in whole:
                raise GliomaGenError(
                    f"{record_path(folder, record['case'])}: files of this case are gone; synthesize its label map "
                    "again, or remove the record"
                )
        remove_unfinished(folder, partial(file_names, contrasts=len(self.contrasts)))
        self._refuse_strangers(folder, {record["case"] for record in records})
        self._write_set_file(folder)
        write_manifest(folder, records)
        used = {int(number) for record in records for number in record["label_voxels"]}
        write_dataset_json(
            folder,
            contrasts=self.contrasts,
            labels=label_table(self.labels, used),
            cases=len(records),
            description=f"{len(records)} synthetic MRI volumes with label maps; see README.md and {MANIFEST_FILE}",
            licence=self.terms["licence"] or "",
        )
        write_data_card(folder)
        remove_unfinished(folder, partial(file_names, contrasts=len(self.contrasts)))
        return True

    def _write_set_file(self, folder: Path) -> None:
        content = {
            "format": SET_FORMAT,
            "format_version": SET_FORMAT_VERSION,
            "dataset": folder.name,
            "settings": self.settings,
            "terms": self.terms,
            "weights": self.card,
        }
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise GliomaGenError(
                f"{folder}: cannot be made ({error.strerror}); choose another output_dir"
            ) from error
        write_shared(folder / SET_FILE, json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    def _checked_records(self, folder: Path) -> list[dict[str, Any]]:
        """Returns the records of finished cases, sorted; refuses a folder that is not of these settings."""
        if not folder.exists():
            return []
        if not folder.is_dir():
            raise GliomaGenError(f"{folder}: is not a folder; choose another dataset_id")
        if not (folder / SET_FILE).is_file():
            if any(path.name != WORKING for path in folder.iterdir()):
                raise GliomaGenError(
                    f"{folder}: exists and was not made by synthesizing (no {SET_FILE}); choose another dataset_id"
                )
            return []
        made = read_json(folder / SET_FILE)
        if not isinstance(made, dict) or made.get("format") != SET_FORMAT:
            raise GliomaGenError(f"{folder / SET_FILE}: is not one of ours; choose another dataset_id")
        self._refuse_other_settings(made.get("settings", {}), folder / SET_FILE)
        if (folder / MANIFEST_FILE).is_file():
            for entry in read_json_lines(folder / MANIFEST_FILE):
                self._refuse_other_settings(entry, folder / MANIFEST_FILE)
        records = []
        for case in recorded_cases(folder):
            path = record_path(folder, case)
            record = read_json(path)
            if not isinstance(record, dict) or record.get("case") != case:
                raise GliomaGenError(f"{path}: is not the record of {case}; remove it and run again")
            self._refuse_other_settings(record, path)
            records.append(record)
        return records

    def _refuse_other_settings(self, made: Mapping[str, Any], where: Path) -> None:
        for name, value in self.settings.items():
            if made.get(name) != value:
                raise GliomaGenError(
                    f"{where}: was made with {name} {made.get(name)}, not {value}; "
                    "choose another dataset_id or output_dir"
                )

    @staticmethod
    def _refuse_other_mask(folder: Path, record: Mapping[str, Any], entry: Mapping[str, Any]) -> None:
        if "image" in entry and record.get("mask_sha256") != file_sha256(entry["image"]):
            raise GliomaGenError(
                f"{entry['image']}: is not the label map that {record_path(folder, record['case'])} was made from; "
                "choose another dataset_id or output_dir"
            )

    @staticmethod
    def _refuse_strangers(folder: Path, cases: Iterable[str]) -> None:
        """nnU-Net would take any further file for a case."""
        known = set(cases)
        for name in sorted(_present(folder)):
            case = Path(name).name.removesuffix(FILE_ENDING)
            if name.startswith(IMAGES):
                case = case[: -len("_0000")]
            if case not in known:
                raise GliomaGenError(
                    f"{folder / name}: belongs to no case of this data set; move it away and run again"
                )


def voxel_sha256(array: NDArray[Any]) -> str:
    """Returns the sha256 of an image's voxels as they stand in the uncompressed file: first axis fastest."""
    return hashlib.sha256(np.ascontiguousarray(array.T).data).hexdigest()


def _present(folder: Path) -> set[str]:
    """Returns the images and label maps in their places, by name relative to the data set."""
    return {
        f"{place}/{path.name}"
        for place in (IMAGES, LABELS)
        if (folder / place).is_dir()
        for path in (folder / place).iterdir()
        if path.name.endswith(FILE_ENDING)
    }
