"""nnU-Net (Isensee et al. 2021) as a segmentation method: planned, trained and predicting with its own program.

nnU-Net knows no seeds. Here a training's first weights come from one, and the random numbers of its own process, epoch by
epoch. With ``augmentation_processes: 0`` batches are drawn there too, so that on a CPU a run continued after a kill makes
the same numbers; nnU-Net's worker processes seed themselves, and cards are not run deterministically.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from ..children import run_module
from ..errors import GliomaGenError
from ..files import content_sha256, locked, read_json, write_json
from .methods import Predictions, card_of
from .preprocessed import PreprocessedCases

TRAINERS = Path(__file__).parent / "trainers"
"""Trainers that come along; nnU-Net finds them by ``nnUNet_extTrainer``."""
SPLITS_FILE, MIX_FILE = "splits_final.json", "mix.json"
_DONE, _FINGERPRINT = "prepared.json", "dataset_fingerprint.json"


@dataclass(frozen=True, kw_only=True)
class NnunetMethod:
    """nnU-Net v2.

    Args:
        configuration: ``3d_fullres``, ``2d`` …
        trainer: One of nnU-Net's, of :data:`TRAINERS`, or of ``trainers_dir``.
        planner: Experiment planner, ``ExperimentPlanner``, ``nnUNetPlannerResEncM`` …
        gpu_memory_gb: What plans are made for; None: the planner's default.
        trainers_dir: Folder of further trainers.
        augmentation_processes: Worker processes of a training; None: as nnU-Net chooses; 0: none.
        processes: Worker processes of preparation and export.
        labels: Of the data sets: ``challenge`` or ``prepared``.
        threads: CPU threads; None: all.
    """

    labels: str
    configuration: str = "3d_fullres"
    trainer: str = "nnUNetTrainer"
    planner: str = "ExperimentPlanner"
    gpu_memory_gb: float | None = None
    trainers_dir: str | None = None
    augmentation_processes: int | None = None
    processes: int = 2
    threads: int | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """What decides its results."""
        return {
            "segmenter": "nnunet",
            "configuration": self.configuration,
            "trainer": self.trainer,
            "planner": self.planner,
            "gpu_memory_gb": self.gpu_memory_gb,
            "nnunetv2": _version(),
        }

    def prepare(self, dataset: Path, *, cohort: Path, log: Path) -> dict[str, Any]:
        """Plans for the cohort, and preprocesses the data set by that plan; what a kill left of it is made anew.

        nnU-Net would plan for each data set by itself, and give arms other patches and batches, so other budgets.

        Returns:
            Patch, batch and network.
        """
        of_cohort = {**self.settings, "data": content_sha256(read_json(cohort / MIX_FILE))}
        planned = self._once(cohort, of_cohort, lambda: self._plan(cohort, log))
        own = {
            **self.settings,
            "data": content_sha256(read_json(dataset / MIX_FILE)),
            "plan": planned["plan"],
        }
        self._once(dataset, own, lambda: self._preprocess(dataset, cohort, planned, log))
        configuration = planned["plan"]["configurations"][self.configuration]
        return {name: configuration[name] for name in ("patch_size", "batch_size", "architecture")}

    def _once(
        self, dataset: Path, settings: dict[str, Any], make: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        folder = self._prepared(dataset)
        with locked(dataset.parents[1]):
            done = folder / _DONE
            if not done.is_file() or read_json(done)["settings"] != settings:
                shutil.rmtree(folder, ignore_errors=True)
                write_json(done, {"settings": settings, **make()})
            return dict(read_json(done))

    def _plan(self, cohort: Path, log: Path) -> dict[str, Any]:
        self._process("plan", cohort, cohort.parents[1], log, self.planner, str(self.gpu_memory_gb or ""))
        plans = [path for path in self._prepared(cohort).glob("*.json") if "plans_name" in read_json(path)]
        if len(plans) != 1:
            raise GliomaGenError(
                f"{self._prepared(cohort)}: nnU-Net made {len(plans)} plans, not one; see {log}"
            )
        plan = read_json(plans[0])
        whole = [name for name, parts in plan["configurations"].items() if "architecture" in parts]
        if self.configuration not in whole:
            raise GliomaGenError(
                f"configuration '{self.configuration}' is not planned for these scans; choose of {whole}"
            )
        return {"name": plans[0].stem, "plan": plan}

    def _preprocess(self, dataset: Path, cohort: Path, planned: dict[str, Any], log: Path) -> dict[str, Any]:
        """Preprocesses what no other data set has yet. Labels are the cohort's too: an arm may lack one."""
        of_cohort = read_json(cohort / "dataset.json")
        labels = {"labels": of_cohort["labels"]}

        def describe(dataset: Path) -> Path:
            folder = self._prepared(dataset)
            write_json(folder / f"{planned['name']}.json", {**planned["plan"], "dataset_name": dataset.name})
            write_json(folder / _FINGERPRINT, read_json(self._prepared(cohort) / _FINGERPRINT))
            write_json(folder / "dataset.json", {**read_json(dataset / "dataset.json"), **labels})
            return folder

        def preprocess(part: Path) -> Path:
            write_json(part / "dataset.json", {**read_json(part / "dataset.json"), **labels})
            folder = describe(part)
            self._process("preprocess", part, part.parents[1], log, planned["name"])
            (made,) = [path for path in folder.iterdir() if path.is_dir() and path.name != "gt_segmentations"]
            return made

        folder = describe(dataset)
        shutil.copyfile(dataset / SPLITS_FILE, folder / SPLITS_FILE)
        split = read_json(dataset / SPLITS_FILE)[0]
        shared = PreprocessedCases(
            cohort.parents[1] / "preprocessed", [self.settings, planned["plan"], labels]
        )
        shared.link(dataset, [*split["train"], *split["val"]], folder, preprocess)
        return {"name": planned["name"]}

    @staticmethod
    def _prepared(dataset: Path) -> Path:
        return dataset.parents[1] / "nnUNet_preprocessed" / dataset.name

    def run(
        self, dataset: Path, folder: Path, *, cohort: Path, seed: int, device: str, log: Path
    ) -> Predictions:
        """See :class:`.methods.SegmentationMethod`."""
        prepared = self._prepared(dataset)
        plans = read_json(prepared / _DONE)["name"]
        if read_json(prepared / SPLITS_FILE) != read_json(dataset / SPLITS_FILE):
            raise GliomaGenError(f"{prepared / SPLITS_FILE}: is not the data set's split; remove {prepared}")
        self._process("train", dataset, folder, log, self.trainer, plans, str(seed), device=device)
        run = f"{self.trainer}__{plans}__{self.configuration}"
        found = folder / "nnUNet_results" / dataset.name / run / "fold_0" / "validation"
        files = {path.name.removesuffix(".nii.gz"): path for path in found.glob("*.nii.gz")}
        facts = read_json(found.parent / "training.json")
        budget = "{epochs} epochs of {iterations} iterations, batch {batch}".format_map(facts)
        return Predictions(
            files=files,
            label_convention="brats2024" if self.labels == "challenge" else self.labels,
            train_s=facts["train_s"],
            device=facts["device"],
            budget=f"{budget}, nnU-Net {self.configuration}, {self.trainer}",
        )

    def _process(
        self, step: str, dataset: Path, folder: Path, log: Path, *more: str, device: str = "cpu"
    ) -> None:
        trainers = [str(TRAINERS), *filter(None, [self.trainers_dir])]
        environment = {
            "nnUNet_raw": str(dataset.parent),
            "nnUNet_preprocessed": str(self._prepared(dataset).parent),
            "nnUNet_results": str(folder / "nnUNet_results"),
            "nnUNet_extTrainer": os.pathsep.join(trainers),
            "nnUNet_def_n_proc": str(self.processes),
            **card_of(device),
        }
        if device == "cpu":
            environment["nnUNet_compile"] = "f"
        if self.augmentation_processes is not None and step == "train":
            environment["nnUNet_n_proc_DA"] = str(self.augmentation_processes)
        if self.threads:
            environment["OMP_NUM_THREADS"] = str(self.threads)
        kind = "cpu" if device == "cpu" else "cuda"
        arguments = [step, dataset.name, self.configuration, kind, *more]
        run_module("gliomagen.segmenter.nnunet_process", arguments, log=log, environment=environment)


def _version() -> str:
    try:
        return metadata.version("nnunetv2")
    except metadata.PackageNotFoundError:
        raise GliomaGenError(
            "nnU-Net is not installed; pip install nnunetv2==2.8.1, or choose segmenter quick"
        ) from None
