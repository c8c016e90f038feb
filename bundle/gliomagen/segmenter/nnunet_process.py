"""One step of nnU-Net in a process of its own, as :mod:`.nnunet` starts it.

python -m gliomagen.segmenter.nnunet_process plan DATASET CONFIGURATION cpu PLANNER GPU_MEMORY_GB
python -m gliomagen.segmenter.nnunet_process preprocess DATASET CONFIGURATION cpu PLANS
python -m gliomagen.segmenter.nnunet_process train DATASET CONFIGURATION cpu|cuda TRAINER PLANS SEED
"""

from __future__ import annotations

import os
import random
import sys
from typing import Any


def plan(dataset: str, configuration: str, device: str, planner: str, gpu_memory_gb: str) -> None:
    """Takes the fingerprint of a data set, and plans for it."""
    from nnunetv2.configuration import default_num_processes
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api

    api.extract_fingerprints(_id(dataset), num_processes=default_num_processes, check_dataset_integrity=True)
    api.plan_experiments(_id(dataset), planner, float(gpu_memory_gb) if gpu_memory_gb else None)


def preprocess(dataset: str, configuration: str, device: str, plans: str) -> None:
    """Preprocesses a data set by plans that are there."""
    from nnunetv2.configuration import default_num_processes
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api
    from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity

    raw = os.environ["nnUNet_raw"]
    verify_dataset_integrity(os.path.join(raw, dataset), default_num_processes)
    api.preprocess(_id(dataset), plans, (configuration,), (default_num_processes,))


def _id(dataset: str) -> list[int]:
    return [int(dataset.removeprefix("Dataset")[:3])]


def train(dataset: str, configuration: str, device: str, trainer: str, plans: str, seed: str) -> None:
    """Trains on fold 0, from the last checkpoint if there is one, and segments its validation cases."""
    import torch
    from nnunetv2.run import run_training
    from nnunetv2.utilities import find_objects

    kind = seeded(find_objects.recursive_find_trainer_class_by_name(trainer), int(seed))
    run_training.recursive_find_trainer_class_by_name = lambda _: kind
    if device == "cpu":
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    run_training.run_training(
        dataset, configuration, 0, trainer, plans, continue_training=True, device=torch.device(device)
    )


def seeded(kind: Any, seed: int) -> Any:
    """Returns a trainer class whose random numbers come from a seed and the epoch, and whose checkpoints are whole.

    Args:
        kind: A trainer class of nnU-Net.
        seed: Of the training.
    """
    import numpy as np
    import torch

    from gliomagen.files import write_json, written_whole
    from gliomagen.machine import device_name
    from gliomagen.randomness import derived_seed

    def draw_from(what: object) -> None:
        number = derived_seed(seed, "nnunet", what)
        random.seed(number)
        np.random.seed(number % 2**32)
        torch.manual_seed(number)

    class Seeded(kind):  # type: ignore[misc]
        def initialize(self) -> None:
            draw_from("weights")
            super().initialize()

        def on_epoch_start(self) -> None:
            draw_from(self.current_epoch)
            super().on_epoch_start()

        def on_train_end(self) -> None:
            super().on_train_end()
            ends, starts = (
                self.logger.get_value(f"epoch_{end}_timestamps", step=None) for end in ("end", "start")
            )
            facts = {
                "train_s": sum(end - start for end, start in zip(ends, starts, strict=False)),
                "epochs": self.num_epochs,
                "iterations": self.num_iterations_per_epoch,
                "batch": self.batch_size,
                "device": device_name(self.device),
            }
            write_json(os.path.join(self.output_folder, "training.json"), facts)

        def save_checkpoint(self, filename: str) -> None:
            if self.disable_checkpointing:
                return
            with written_whole(filename, durable=True) as beside:
                super().save_checkpoint(str(beside))

    Seeded.__name__ = Seeded.__qualname__ = kind.__name__  # nnU-Net names folders by it
    return Seeded


if __name__ == "__main__":
    from gliomagen.errors import print_errors_as_one_line
    from gliomagen.torchvision_import import repair_torchvision

    print_errors_as_one_line()
    repair_torchvision()  # some trainers import it
    step: Any = {"plan": plan, "preprocess": preprocess, "train": train}[sys.argv[1]]
    step(*sys.argv[2:])
