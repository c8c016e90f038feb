"""How well labels agree: the validation curve of the segmenter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from ignite.metrics import Metric
from monai.utils.enums import CommonKeys as Keys
from torch import Tensor


def dice_per_label(found: Tensor, truth: Tensor, labels: Sequence[int]) -> list[float | None]:
    """Returns Dice of each label; None where neither side has it.

    Args:
        found: Labels, any shape.
        truth: Labels, the same shape.
        labels: Those asked for.
    """
    scores: list[float | None] = []
    for label in labels:
        a, b = found == label, truth == label
        total = int(a.sum()) + int(b.sum())
        scores.append(2 * int((a & b).sum()) / total if total else None)
    return scores


class MeanDice(Metric):
    """Mean Dice of each label over the cases that have it on either side, and the mean over labels.

    A label found where there is none scores 0 in that case. Of this process alone: the others wait for it.

    Args:
        labels: Number and short name of each label scored.
    """

    def __init__(self, *, labels: Mapping[int, str]) -> None:
        self.labels = dict(labels)
        self.scores: dict[int, list[float]] = {}
        super().__init__(output_transform=lambda out: (out[Keys.PRED], out[Keys.LABEL]))

    def reset(self) -> None:
        """Forgets all cases."""
        self.scores = {number: [] for number in self.labels}

    def update(self, output: tuple[Tensor, Tensor]) -> None:
        """Adds a batch: logits or probabilities (B, L, *S), labels (B, 1, *S)."""
        prediction, truth = output
        for found, label in zip(prediction.argmax(1), torch.as_tensor(truth)[:, 0], strict=True):
            for number, dice in zip(
                self.labels, dice_per_label(found, label, list(self.labels)), strict=True
            ):
                if dice is not None:
                    self.scores[number].append(dice)

    def compute(self) -> dict[str, float]:
        """Returns ``dice_<name>`` of each label that a case had, and their mean ``dice``."""
        means = {
            f"dice_{name}": sum(self.scores[number]) / len(self.scores[number])
            for number, name in self.labels.items()
            if self.scores[number]
        }
        return {**means, "dice": sum(means.values()) / len(means) if means else 0.0}
