"""nnU-Net (Isensee et al. 2021) as a segmentation method: planned, trained and predicting with its own program.

nnU-Net knows no seeds. Here a training's first weights and, epoch by epoch, its random numbers come from one, so that a
run continued after a kill makes the same numbers; to the bit only with ``augmentation_processes: 0``, since nnU-Net's
worker processes take batches in the order in which they come.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..children import run_module
from ..errors import GliomaGenError
from ..files import read_json, write_json
from .methods import Predictions, card_of

TRAINERS = Path(__file__).parent / "trainers"
"""Trainers that come along; nnU-Net finds them by ``nnUNet_extTrainer``."""
SPLITS_FILE, MIX_FILE = "splits_final.json", "mix.json"
_PREPARED = "prepared.json"


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
        }

    def prepare(self, dataset: Path, work: Path, log: Path) -> None:
        """Plans and preprocesses; what a kill left of it is made anew."""
        folder = work / "nnUNet_preprocessed" / dataset.name
        wanted = {**self.settings, "data": read_json(dataset / MIX_FILE)["synthetic_sha256"]}
        done = folder / _PREPARED
        if done.is_file() and read_json(done)["settings"] == wanted:
            return
        shutil.rmtree(folder, ignore_errors=True)
        self._process("prepare", dataset, work, work, log, self.planner, str(self.gpu_memory_gb or ""))
        plans = [path for path in folder.glob("*.json") if "plans_name" in read_json(path)]
        if len(plans) != 1:
            raise GliomaGenError(f"{folder}: nnU-Net made {len(plans)} plans, not one; see {log}")
        shutil.copyfile(dataset / SPLITS_FILE, folder / SPLITS_FILE)
        write_json(done, {"settings": wanted, "plans": plans[0].stem})

    def run(
        self, dataset: Path, work: Path, folder: Path, *, seed: int, device: str, log: Path
    ) -> Predictions:
        """See :class:`.methods.SegmentationMethod`."""
        plans = read_json(work / "nnUNet_preprocessed" / dataset.name / _PREPARED)["plans"]
        self._process("train", dataset, work, folder, log, self.trainer, plans, str(seed), device=device)
        run = f"{self.trainer}__{plans}__{self.configuration}"
        found = folder / "nnUNet_results" / dataset.name / run / "fold_0" / "validation"
        files = {path.name.removesuffix(".nii.gz"): path for path in found.glob("*.nii.gz")}
        return Predictions(
            files=files,
            label_convention="brats2024" if self.labels == "challenge" else self.labels,
            train_s=read_json(found.parent / "times.json")["train_s"],
        )

    def plan(self, dataset: Path, work: Path) -> Mapping[str, Any]:
        """Returns what nnU-Net planned: patch, batch, and the network, to be held against that of other arms."""
        folder = work / "nnUNet_preprocessed" / dataset.name
        content = read_json(folder / f"{read_json(folder / _PREPARED)['plans']}.json")
        configuration = content["configurations"][self.configuration]
        return {name: configuration[name] for name in ("patch_size", "batch_size", "architecture")}

    def _process(
        self, step: str, dataset: Path, work: Path, folder: Path, log: Path, *more: str, device: str = "cpu"
    ) -> None:
        trainers = [str(TRAINERS), *filter(None, [self.trainers_dir])]
        environment = {
            "nnUNet_raw": str(dataset.parent),
            "nnUNet_preprocessed": str(work / "nnUNet_preprocessed"),
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
