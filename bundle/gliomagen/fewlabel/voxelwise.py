"""Classifiers that see one voxel's features at a time: an ensemble of perceptrons."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..randomness import torch_generator
from .samples import class_weights

MEMBERS: tuple[tuple[int, ...], ...] = ((128, 64), (256, 128), (128, 64, 32))
"""Hidden sizes: as published (Baranchuk et al. 2022), wide, deep."""


def perceptron(features: int, hidden: Sequence[int], classes: int) -> nn.Sequential:
    """Returns a perceptron with batch norm after each hidden layer, as published."""
    layers: list[nn.Module] = []
    for before, width in zip([features, *hidden], hidden, strict=False):
        layers += [nn.Linear(before, width), nn.ReLU(), nn.BatchNorm1d(width)]
    return nn.Sequential(*layers, nn.Linear([features, *hidden][-1], classes))


class VoxelEnsemble:
    """An ensemble of perceptrons on standardized features, each trained on batches of its own.

    Args:
        members: Hidden sizes of each.
        steps: Of each member's training.
        batch_size: Voxels a step.
        learning_rate: Of Adam, at the beginning; falls to nothing as a cosine does.
        seed: Of initial weights and batches.
    """

    def __init__(
        self,
        *,
        members: Sequence[Sequence[int]] = MEMBERS,
        steps: int = 800,
        batch_size: int = 1024,
        learning_rate: float = 2e-3,
        seed: int = 0,
    ) -> None:
        self.hidden = [list(hidden) for hidden in members]
        self.steps = steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.seed = seed
        self.networks: list[nn.Sequential] = []

    def fit(self, rows: Tensor, target: Tensor, classes: int) -> None:
        """Trains all members.

        Args:
            rows: (N, F)
            target: (N,) classes.
            classes: K.
        """
        self.mean, self.spread = rows.mean(0), rows.std(0).clamp(min=1e-6)
        rows, weight = self._scaled(rows), class_weights(target, classes).to(rows)
        self.networks = [
            self._member(number, hidden, rows, target, weight) for number, hidden in enumerate(self.hidden)
        ]

    @torch.inference_mode()
    def probabilities(self, rows: Tensor) -> Tensor:
        """Returns what each member says, (M, N, K).

        Args:
            rows: (N, F)
        """
        scaled = self._scaled(rows)
        return torch.stack([network(scaled).softmax(1) for network in self.networks])

    def _scaled(self, rows: Tensor) -> Tensor:
        return (rows - self.mean) / self.spread

    def _member(
        self, number: int, hidden: Sequence[int], rows: Tensor, target: Tensor, weight: Tensor
    ) -> nn.Sequential:
        generator = torch_generator(self.seed, "voxels", number)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
            network = perceptron(rows.shape[1], hidden, len(weight)).to(rows.device)
        optimizer = torch.optim.Adam(network.parameters(), lr=self.learning_rate, amsgrad=True)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        for _ in range(self.steps):
            chosen = torch.randint(len(rows), (self.batch_size,), generator=generator).to(rows.device)
            loss = functional.cross_entropy(network(rows[chosen]), target[chosen], weight)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        return network.eval()
