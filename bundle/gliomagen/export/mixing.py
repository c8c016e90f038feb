"""Real and synthetic cases in one nnU-Net data set, and the split that keeps its validation honest."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..errors import GliomaGenError
from ..files import content_sha256, link, read_json, write_json
from ..labels import convention
from ..provenance import refuse_seen
from ..volume import Volume, read_header, read_volume, write_volume
from .arms import arm_of, count_of, foreign_patients, parents, real_cases, synthetic_cases
from .datacard import ACCEPTANCE_FILE
from .mixcard import MIX_FILE, SPLITS_FILE, write_mix_card
from .nnunet_form import (
    MANIFEST_FILE,
    SECONDS_FILE,
    SET_FILE,
    dataset_folder,
    image_names,
    label_name,
    label_table,
    read_json_lines,
    to_dataset_labels,
    write_dataset_json,
    write_manifest,
)

logger = logging.getLogger(__name__)
THRESHOLDS_FILE = "acceptance.json"
_JUDGED_BY = ("reference_patients", "validation_patients", "segmenter_patients")


class Mixture:
    """Builds ``nnUNet_raw/DatasetNNN_<name>`` of a prepared cohort and synthetic data sets.

    One fold: the arm's cases train, all real validation cases validate. No synthetic child of a validation patient
    trains, and a generator or acceptance that saw one is refused. Where generator, acceptance or label maps know real
    patients that the arm does not have, the data set's name begins with ``transfer``, whatever it is called.

    One fold only: with several, the generator would have seen the validation patients of all but one.

    Args:
        training: Entries of the cohort: case, patient, contrasts and label (paths).
        validation: Likewise, of other patients.
        synthetic_dirs: Data sets that ``synthesizing`` made.
        output_dir: Where ``nnUNet_raw`` is.
        dataset_id: 1 to 999.
        dataset_name: None: after the arm, with ``_plus_`` for ``+``.
        arm: One of :data:`.arms.ARMS`, or counts: ``{real: 10, synthetic: 50}``, see :func:`.arms.arm_of`.
        contrasts: Channels, in order.
        labels: ``challenge`` or ``prepared``.
        seed: Which cases, where an arm takes a part.
        real_count: In place of the arm's.
        synthetic_count: In place of the arm's.
        preprocessed_dir: nnU-Net's folder of that name, which gets the split too; nnU-Net reads it there.
        cohort_sha256: Of the cohort, for the record.
        licence: Of the data set, as hubs name licences.
        real_terms: Licence or terms of the real scans; None: not named.

    Raises:
        GliomaGenError: The arm is not known, or a count is no whole number.
    """

    def __init__(
        self,
        *,
        training: Sequence[Mapping[str, Any]],
        validation: Sequence[Mapping[str, Any]],
        synthetic_dirs: Sequence[str | Path],
        output_dir: str | Path,
        dataset_id: int,
        arm: str | Mapping[str, Any],
        contrasts: Sequence[str],
        dataset_name: str | None = None,
        labels: str = "challenge",
        seed: int = 0,
        real_count: int | None = None,
        synthetic_count: int | None = None,
        preprocessed_dir: str | Path | None = None,
        cohort_sha256: str | None = None,
        licence: str = "other",
        real_terms: str | None = None,
    ) -> None:
        for option, count in (("real_count", real_count), ("synthetic_count", synthetic_count)):
            if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 0):
                raise GliomaGenError(f"{option} {count!r}: must be a whole number, 0 or more")
        self.training, self.validation = list(training), list(validation)
        sets = [Path(folder) for folder in synthetic_dirs]
        self.output_dir, self.dataset_id, self.dataset_name = Path(output_dir), dataset_id, dataset_name
        self.arm_name, self.arm = arm_of(arm)
        self.contrasts, self.labels = tuple(contrasts), labels
        self.sets = [folder for folder in sets if self.arm.of in (None, folder.name)]
        if not self.sets and self.arm.of:
            raise GliomaGenError(
                f"arm '{self.arm_name}': no data set {self.arm.of} among {[folder.name for folder in sets]}; name one of them"
            )
        self.seed = seed if self.arm.seed is None else self.arm.seed
        total = len(self.training)
        self.real_count = count_of(self.arm.real, total) if real_count is None else real_count
        self.synthetic_count = (
            count_of(self.arm.synthetic, total) if synthetic_count is None else synthetic_count
        )
        self.preprocessed_dir = preprocessed_dir
        self.cohort_sha256 = cohort_sha256
        self.terms = {"licence": licence, "real": real_terms}

    def write(self) -> Path:
        """Builds the data set beside and renames it; one that is there and says the same is left alone.

        Raises:
            GliomaGenError: Too few cases, unequal grids, a validation patient was seen, or the id is taken.
        """
        if self.real_count > len(self.training):
            raise GliomaGenError(
                f"arm '{self.arm_name}' takes {self.real_count} real cases, the cohort has {len(self.training)} to train on; "
                "let it take fewer"
            )
        real = real_cases(self.training, self.real_count, self.seed)
        synthetic = self._chosen_synthetic(real)
        if not real and not synthetic:
            raise GliomaGenError(f"arm '{self.arm_name}': no case is left to train on; give it more cases")
        seen = self._seen(synthetic)
        own = {entry["patient"] for entry in (real or self.training)}  # without real cases: all it is made of
        foreign = foreign_patients(own, synthetic, seen)
        name = self.dataset_name or self.arm_name
        if foreign and not name.startswith("transfer-"):
            name = f"transfer-{name}"
        folder = dataset_folder(self.output_dir, self.dataset_id, name.replace("+", "_plus_"))
        plan = self._plan(real, synthetic, seen, foreign)
        split = [{"train": plan["train"], "val": plan["val"]}]
        copy = Path(self.preprocessed_dir) / folder.name / SPLITS_FILE if self.preprocessed_dir else None
        if copy and copy.is_file() and read_json(copy) != split:
            raise GliomaGenError(f"{copy}: is another split; move it away, or choose another dataset_id")
        if folder.exists():
            self._refuse_other(folder, plan)
        else:
            self._build(folder, real, synthetic, plan)
        if copy and not copy.is_file():
            write_json(copy, split)
        logger.info(
            "%s: %d real and %d synthetic train, %d real validate",
            folder,
            len(real),
            len(synthetic),
            len(plan["val"]),
        )
        return folder

    def _chosen_synthetic(self, real: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        if not self.synthetic_count:
            return []
        validating = {entry["patient"] for entry in self.validation}
        records: list[dict[str, Any]] = []
        for folder in self.sets:
            made = self._synthesis(folder)
            refuse_seen(sorted(validating), made["weights"]["training_patients"], folder / SET_FILE)
            kept = read_json_lines(folder / MANIFEST_FILE)
            if self.arm.accepted:
                accepted = self._accepted(folder, validating)
                kept = [record for record in kept if record["case"] in accepted]
            records += [{**record, "folder": folder} for record in kept]
        names = Counter(entry["case"] for entry in (*records, *self.training, *self.validation))
        if twice := sorted(name for name, count in names.items() if count > 1):
            raise GliomaGenError(
                f"synthetic_dirs: '{twice[0]}' is there twice; give each data set once, made from other masks or seeds"
            )
        return synthetic_cases(
            records,
            self.synthetic_count,
            self.seed,
            forbidden=validating,
            preferred={entry["patient"] for entry in real},
        )

    def _synthesis(self, folder: Path) -> dict[str, Any]:
        if not (folder / MANIFEST_FILE).is_file():
            raise GliomaGenError(
                f"{folder}: has no {MANIFEST_FILE}; give data sets that synthesizing finished"
            )
        made: dict[str, Any] = read_json(folder / SET_FILE)
        try:
            settings, _ = made["settings"], made["weights"]["training_patients"]
        except (KeyError, TypeError) as error:
            raise GliomaGenError(
                f"{folder / SET_FILE}: lacks {error}, so that nobody knows whom its generator saw; synthesize again"
            ) from error
        for name, value in (("labels", self.labels), ("contrasts", list(self.contrasts))):
            if settings.get(name) != value:
                raise GliomaGenError(
                    f"{folder}: was made with {name} {settings.get(name)}, not {value}; set {name} alike"
                )
        return made

    def _accepted(self, folder: Path, validating: set[str]) -> set[str]:
        path = folder / ACCEPTANCE_FILE
        if not path.is_file():
            raise GliomaGenError(
                f"{path}: not found; the arm '{self.arm_name}' takes accepted cases, run accepting"
            )
        try:
            refuse_seen(sorted(validating), self._acceptance_patients(folder), folder / THRESHOLDS_FILE)
        except GliomaGenError as error:
            raise GliomaGenError(
                f"{error}; accepting with --thresholds_by 0 or 1 leaves them alone"
            ) from None
        return {entry["case"] for entry in read_json_lines(path) if entry["accepted"]}

    def _acceptance_patients(self, folder: Path) -> list[str]:
        """Hashes of those whose scans chose the accepted subset: reference, thresholds, and the segmenter's patients."""
        path = folder / THRESHOLDS_FILE
        judged_by = read_json(path)
        try:
            return sorted({patient for key in _JUDGED_BY for patient in judged_by[key]})
        except (KeyError, TypeError):
            raise GliomaGenError(f"{path}: does not say by whose scans was judged; run accepting") from None

    def _seen(self, synthetic: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
        """Returns what made or chose synthetic cases, by name, with the hashed patients it learnt from."""
        seen: dict[str, list[str]] = {}
        for folder in sorted({record["folder"] for record in synthetic}):
            made = read_json(folder / SET_FILE)["weights"]
            seen[f"generator of {folder.name}"] = list(made["training_patients"])
            if self.arm.accepted:
                seen[f"acceptance of {folder.name}"] = self._acceptance_patients(folder)
        return seen

    def _plan(
        self,
        real: Sequence[Mapping[str, Any]],
        synthetic: Sequence[Mapping[str, Any]],
        seen: Mapping[str, Sequence[str]],
        foreign: Sequence[str],
    ) -> dict[str, Any]:
        return {
            "package_version": __version__,
            "arm": self.arm_name,
            "name": ("transfer-" if foreign else "") + self.arm_name,
            "transfer": list(foreign),
            "cohort_sha256": self.cohort_sha256,
            "terms": self.terms,
            "patients": sorted({entry["patient"] for entry in real}),
            "seen": sorted({patient for patients in seen.values() for patient in patients}),
            "seed": self.seed,
            "labels": self.labels,
            "contrasts": list(self.contrasts),
            "real": len(real),
            "synthetic": len(synthetic),
            "synthetic_sha256": content_sha256([[r["case"], r["outputs"]] for r in synthetic]),
            "train": sorted([entry["case"] for entry in (*real, *synthetic)]),
            "val": sorted(entry["case"] for entry in self.validation),
        }

    @staticmethod
    def _refuse_other(folder: Path, plan: Mapping[str, Any]) -> None:
        there = read_json(folder / MIX_FILE) if (folder / MIX_FILE).is_file() else None
        if there != plan:
            raise GliomaGenError(
                f"{folder}: is there with other content; remove it, or choose another dataset_id"
            )

    def _build(
        self,
        folder: Path,
        real: Sequence[Mapping[str, Any]],
        synthetic: Sequence[Mapping[str, Any]],
        plan: Mapping[str, Any],
    ) -> None:
        beside = folder.with_name(f".building-{folder.name}")
        shutil.rmtree(beside, ignore_errors=True)  # what a kill left
        try:
            grid: tuple[Any, ...] | None = None
            records = []
            used: set[int] = set()
            for section, entries in (("training", real), ("validation", self.validation)):
                for entry in entries:
                    grid = self._same_grid(grid, entry[self.contrasts[0]])
                    used |= self._place_real(beside, entry)
                    facts = {"kind": "real", "origin": "cohort", "section": section}
                    records.append({"case": entry["case"], **facts, "patient": entry["patient"]})
            seconds = _seconds({record["folder"] for record in synthetic})
            for record in synthetic:
                source = record["folder"]
                grid = self._same_grid(grid, source / image_names(record["case"], 1)[0])
                for name in (*image_names(record["case"], len(self.contrasts)), label_name(record["case"])):
                    link(source / name, beside / name)
                used |= {int(number) for number in record["label_voxels"]}
                kept = {key: value for key, value in record.items() if key not in ("folder", "outputs")}
                facts = {"kind": "synthetic", "origin": source.name, "section": "training"}
                cost = {"seconds": seconds.get((source, record["case"]))}
                records.append({**kept, **facts, **cost, "parents": sorted(parents(record))})
            write_manifest(beside, records)
            write_json(beside / SPLITS_FILE, [{"train": plan["train"], "val": plan["val"]}])
            write_json(beside / MIX_FILE, plan)
            name = f"transfer: {'; '.join(plan['transfer'])}" if plan["transfer"] else "as named"
            write_dataset_json(
                beside,
                contrasts=self.contrasts,
                labels=label_table(self.labels, used),
                cases=len(records),
                description=f"arm {self.arm_name} ({name}); {SPLITS_FILE} says which cases train, validation is real",
                licence=self.terms["licence"] or "",
            )
            write_mix_card(beside, name=folder.name.partition("_")[2])
            shutil.rmtree(beside / ".working", ignore_errors=True)
            os.replace(beside, folder)
        except OSError as error:
            raise GliomaGenError(
                f"{folder}: cannot be written ({error.strerror or error}); check the folder and its free space"
            ) from error
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def _place_real(self, folder: Path, entry: Mapping[str, Any]) -> set[int]:
        """Places a real case; returns the numbers in its label map."""
        case = entry["case"]
        for contrast, name in zip(self.contrasts, image_names(case, len(self.contrasts)), strict=True):
            link(Path(entry[contrast]), folder / name)
        label = read_volume(entry["label"])
        prepared = convention("prepared").to_prepared(label.data)
        stored = to_dataset_labels(prepared, self.labels, where=entry["label"])
        write_volume(folder / label_name(case), Volume(data=stored, affine=label.affine))
        source = os.stat(entry["label"])  # the same time in every data set, so that caches know it again
        os.utime(folder / label_name(case), ns=(source.st_atime_ns, source.st_mtime_ns))
        return {int(number) for number in np.unique(stored)}

    @staticmethod
    def _same_grid(grid: tuple[Any, ...] | None, path: str | Path) -> tuple[Any, ...]:
        header = read_header(path)
        place = Volume(data=np.empty(0), affine=np.asarray(header.affine, np.float64))
        own = (tuple(header.shape), tuple(round(length, 3) for length in place.voxel_mm), place.orientation)
        if grid is not None and own != grid:
            raise GliomaGenError(
                f"{path}: has {own[0]} voxels of {own[1]} mm, {own[2]}, others {grid[0]} of {grid[1]} mm, {grid[2]}; "
                "synthesize on the cohort's grid, from prepared label maps"
            )
        return own


def _seconds(folders: Iterable[Path]) -> dict[tuple[Path, str], float]:
    """Returns what the cases of synthetic data sets took, where that was noted; a line that a kill cut off was not."""
    found: dict[tuple[Path, str], float] = {}
    for folder in folders:
        path = folder / SECONDS_FILE
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                noted = json.loads(line)
                found[folder, str(noted["case"])] = float(noted["seconds"])
    return found
