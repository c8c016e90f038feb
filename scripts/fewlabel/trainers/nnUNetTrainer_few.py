"""nnU-Net with a budget for a handful of small slices."""

from __future__ import annotations

from typing import Any

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

BATCH = 8


class nnUNetTrainer_few(nnUNetTrainer):
    """40 epochs of 50 iterations of 8 slices, as many as the quick network sees.

    nnU-Net plans batches for cards, of more slices than there are to learn from.
    """

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008, nnU-Net's own signature, which it reads
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        planned = self.configuration_manager.configuration
        planned["batch_size"] = min(BATCH, planned["batch_size"])
        self.num_epochs = 40
        self.num_iterations_per_epoch = 50
        self.num_val_iterations_per_epoch = 1
        self.save_every = 5
