"""Choosing decoder blocks and times on the labelled samples alone: each labelled case is left out once."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..randomness import torch_generator
from .features import Choice, DenoiserFeatures, block_names
from .samples import Classes, Sample, labelled_voxels
from .voxelwise import VoxelEnsemble

logger = logging.getLogger(__name__)

Pair = tuple[str, float]
"""A decoder block and a time of the noise."""


@dataclass(kw_only=True)
class Search:
    """Forward search: the best pair of block and time, then whatever raises the score most beside it, of the best ones.

    The score is the mean Dice of the lesion classes over the voxels of cases that the classifier has not seen. Cases are left
    out one by one, in at most ``folds`` groups; of a single case, stretches of its slices.

    Attributes:
        times: To choose among.
        most: Pairs to choose, at most.
        shortlist: Pairs that are tried beside the first, the best by themselves.
        least_gain: In Dice, for which another pair is taken: each costs memory and time.
        folds: Groups of cases.
        voxels: To learn from and to score on, in all; more are drawn from.
        steps: Of the light classifier's training, published size.
        seed: Of it.
        scores: Score of each set of pairs that was tried, best last in each round; empty before :meth:`choose`.
    """

    times: Sequence[float] = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7)
    most: int = 4
    shortlist: int = 12
    least_gain: float = 0.003
    folds: int = 4
    voxels: int = 60_000
    steps: int = 150
    seed: int = 0
    scores: list[dict[str, Any]] = field(default_factory=list)

    def choose(
        self, features: DenoiserFeatures, samples: Sequence[Sample], classes: Classes, *, intensities: bool
    ) -> Choice:
        """Returns what to make features of.

        Args:
            features: Of the denoiser; what it has chosen so far does not matter.
            samples: Labelled.
            classes: Theirs.
            intensities: A voxel's own greys are features too.
        """
        pairs = [(block, time) for time in self.times for block in block_names(features.network)]
        rows, greys, target, fold = self._rows(features, samples, classes)
        chosen: list[Pair] = []
        best = -1.0
        self.scores = []
        while len(chosen) < self.most:
            tried = {
                pair: self._score(
                    [*([greys] if intensities else []), *(rows[p] for p in (*chosen, pair))],
                    target,
                    fold,
                    classes.count,
                )
                for pair in pairs
                if pair not in chosen
            }
            ranked = sorted(tried, key=lambda pair: tried[pair])
            self.scores += [{"pairs": [*chosen, pair], "dice": round(tried[pair], 4)} for pair in ranked]
            if chosen and tried[ranked[-1]] < best + self.least_gain:
                break
            if not chosen:
                pairs = ranked[-self.shortlist :]
            chosen.append(ranked[-1])
            best = tried[ranked[-1]]
        logger.info("chosen: %s, Dice %.3f on cases left out", chosen, best)
        return by_time(chosen)

    def _rows(
        self, features: DenoiserFeatures, samples: Sequence[Sample], classes: Classes
    ) -> tuple[Mapping[Pair, Tensor], Tensor, Tensor, Tensor]:
        """Returns (N, F) of each pair, greys (N, C), classes (N,) and the fold of each voxel (N,)."""
        blocks = block_names(features.network)
        every = features.of({time: blocks for time in self.times})
        folds = _folds(samples, self.folds, self.seed)
        most = max(1, self.voxels // len(samples))
        found: dict[Pair, list[Tensor]] = {(block, time): [] for time in self.times for block in blocks}
        greys, target, fold = [], [], []
        for number, sample in enumerate(samples):
            voxels, classes_there = labelled_voxels(sample, classes, most, self.seed)
            maps = every(
                sample.image[None],
                [sample.name],
                greys=None if sample.greys is None else sample.greys[None],
                position=torch.tensor([sample.position]),
            )[0]
            for pair, part in zip(found, maps.each(voxels), strict=True):
                found[pair].append(part.half())  # half the memory of all pairs at once
            greys.append(sample.image[(slice(None), *voxels.T)].T)
            target.append(classes_there)
            fold.append(torch.full_like(classes_there, folds[number]))
        together = {pair: torch.cat(parts).cpu() for pair, parts in found.items()}
        return together, torch.cat(greys), torch.cat(target), torch.cat(fold)

    def _score(self, parts: Sequence[Tensor], target: Tensor, fold: Tensor, count: int) -> float:
        rows = torch.cat([part.float() for part in parts], 1)
        said = torch.zeros_like(target)
        for left_out in fold.unique().tolist():
            out = fold == left_out
            ensemble = VoxelEnsemble(members=[(128, 64)], steps=self.steps, batch_size=512, seed=self.seed)
            ensemble.fit(rows[~out], target[~out], count)
            said[out] = ensemble.probabilities(rows[out]).mean(0).argmax(-1)
        return _mean_dice(said, target, count)


def by_time(pairs: Sequence[Pair]) -> Choice:
    """Returns pairs as a choice."""
    return {time: [block for block, at in pairs if at == time] for time in dict.fromkeys(t for _, t in pairs)}


def _folds(samples: Sequence[Sample], most: int, seed: int) -> list[int]:
    """Returns the fold of each sample: cases are kept together; of a single case, neighbouring slices."""
    cases = list(dict.fromkeys(sample.case for sample in samples))
    if len(cases) > 1:
        order = torch.randperm(len(cases), generator=torch_generator(seed, "folds", *cases)).tolist()
        of = {cases[k]: place % min(most, len(cases)) for place, k in enumerate(order)}
        return [of[sample.case] for sample in samples]
    count = min(most, len(samples))
    return [number * count // len(samples) for number in range(len(samples))]


def _mean_dice(said: Tensor, target: Tensor, count: int) -> float:
    scores = []
    for k in range(1, count):
        mine, theirs = said == k, target == k
        if theirs.any():
            scores.append(float(2 * (mine & theirs).sum() / (mine.sum() + theirs.sum())))
    return sum(scores) / len(scores)
