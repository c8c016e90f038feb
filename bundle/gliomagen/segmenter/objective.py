"""The segmenter's objective: Dice and cross-entropy, of each sample by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..labels import HEAD


def prepare_segmentation(
    batch: Mapping[str, Any], device: torch.device | str, non_blocking: bool = False, **_: Any
) -> tuple[Tensor, Tensor, tuple[()], dict[str, Any]]:
    """Turns a batch into what the trainer takes: MONAI's ``prepare_batch``.

    Args:
        batch: ``image`` (B, C, *S) in [0, 1], ``label`` (B, 1, *S) prepared labels.
        device: Where the network is.
        non_blocking: As in ``Tensor.to``.
        **_: Not used.

    Returns:
        Images, labels, and no further arguments of the inferer.
    """
    image = batch["image"].to(device, non_blocking=non_blocking).float()
    label = batch["label"].to(device, non_blocking=non_blocking).long()
    return image, label, (), {}


class SegmentationLoss(nn.Module):
    """Soft Dice plus cross-entropy (Isensee et al. 2021, nnU-Net), of each sample.

    Dice is the mean over the labels a sample has, background left out: a label it lacks has no overlap to speak of,
    and is kept from appearing by the cross-entropy.

    Args:
        num_labels: Labels with background, L.
        lesion_weight: A lesion voxel counts so many times in the cross-entropy; lesions are a few voxels in a hundred.
        smooth: Added to both sides of the Dice fraction, in voxels.
    """

    def __init__(self, *, num_labels: int = 6, lesion_weight: float = 8.0, smooth: float = 1.0) -> None:
        super().__init__()
        self.num_labels = num_labels
        self.lesion_weight = lesion_weight
        self.smooth = smooth

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """Returns the loss of each sample, (B,).

        Args:
            logits: (B, L, *S)
            label: (B, 1, *S)
        """
        logits = logits.float()
        weight = torch.where(label[:, 0] > HEAD, self.lesion_weight, 1.0).flatten(1)  # (B, N)
        entropy = functional.cross_entropy(logits, label[:, 0], reduction="none").flatten(1)
        entropy = (weight * entropy).sum(1) / weight.sum(1)
        truth = (
            functional.one_hot(label[:, 0], self.num_labels).movedim(-1, 1)[:, 1:].flatten(2)
        )  # (B, L-1, N)
        found = logits.softmax(1)[:, 1:].flatten(2)
        size = truth.sum(2)  # (B, L-1)
        dice = (2 * (found * truth).sum(2) + self.smooth) / (found.sum(2) + size + self.smooth)
        present = (size > 0).float()
        return entropy + ((1 - dice) * present).sum(1) / present.sum(1).clamp(min=1)
