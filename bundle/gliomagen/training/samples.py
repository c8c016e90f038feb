"""Numbered samples: sample n's case and everything random about it depend on (seed, n) alone.

So a resumed run continues exactly, and ranks and workers change nothing but who computes what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Protocol

import torch
from monai.transforms import Randomizable
from torch.utils.data import DataLoader, Dataset, Sampler

from ..randomness import derived_seed, numpy_generator


class Cases(Protocol):
    """Cases by number: a list, or a cache of them."""

    def __len__(self) -> int:
        """Returns how many there are."""
        ...

    def __getitem__(self, index: int, /) -> dict[str, Any]:
        """Returns one."""
        ...


@lru_cache(maxsize=4)
def _permutation(seed: int, turn: int, length: int) -> list[int]:
    order: list[int] = numpy_generator(seed, "order", turn).permutation(length).tolist()
    return order


def case_of_sample(number: int, *, seed: int, cases: int) -> int:
    """Returns the case of sample ``number``: permutation(seed, n // N)[n % N], every case once a turn."""
    return _permutation(seed, number // cases, cases)[number % cases]


class NumberedDataset(Dataset[dict[str, Any]]):
    """Samples by number, without end.

    Args:
        data: The cases.
        transform: Random transform of a case, with MONAI's ``set_random_state``; None keeps the case.
        seed: Seed of all of it.
        in_order: Sample n is case n % N (validation) instead of a permutation.
        repeats: Samples of each case in a row (validation: one for each fixed time).
        length: What ``len`` says; a sample beyond it is as good.
    """

    def __init__(
        self,
        *,
        data: Cases,
        transform: Callable[[dict[str, Any]], Any] | None = None,
        seed: int = 0,
        in_order: bool = False,
        repeats: int = 1,
        length: int | None = None,
    ) -> None:
        self.data = data
        self.transform = transform
        self.seed = seed
        self.in_order = in_order
        self.repeats = repeats
        self.length = length

    def __len__(self) -> int:
        """Returns the number of samples of one turn."""
        return len(self.data) * self.repeats if self.length is None else self.length

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Returns sample ``number``: the case's entries after the transform, and ``number``."""
        index = number // self.repeats
        count = len(self.data)
        case = index % count if self.in_order else case_of_sample(index, seed=self.seed, cases=count)
        sample = {**self.data[case], "number": number}
        if self.transform is None:
            return sample
        if isinstance(self.transform, Randomizable):
            self.transform.set_random_state(seed=derived_seed(self.seed, "sample", number) & 0xFFFFFFFF)
        result: dict[str, Any] = self.transform(sample)
        return result


class StepSampler(Sampler[list[int]]):
    """Sample numbers of each optimiser step, from any step on.

    Sample n = step * samples_per_step + position; rank r of R takes the r-th part of the positions.

    Args:
        samples_per_step: Over all ranks.
        stop_step: Where to end.
        rank: This process.
        world_size: All processes.

    Attributes:
        start_step: The first step given; set it before iterating.
    """

    def __init__(self, *, samples_per_step: int, stop_step: int, rank: int = 0, world_size: int = 1) -> None:
        if samples_per_step % world_size:
            raise ValueError(
                f"samples_per_step {samples_per_step} does not divide over {world_size} processes"
            )
        self.samples_per_step = samples_per_step
        self.rank = rank
        self.world_size = world_size
        self.start_step = 0
        self.stop_step = stop_step

    def __iter__(self) -> Iterator[list[int]]:
        """Yields this rank's sample numbers, step by step."""
        mine = self.samples_per_step // self.world_size
        for step in range(self.start_step, self.stop_step):
            first = step * self.samples_per_step + self.rank * mine
            yield list(range(first, first + mine))

    def __len__(self) -> int:
        """Returns the number of steps left."""
        return max(self.stop_step - self.start_step, 0)


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)


def step_loader(
    dataset: Dataset[Any], sampler: StepSampler, *, num_workers: int, pin_memory: bool
) -> DataLoader[Any]:
    """Returns a loader whose batches are optimiser steps."""
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=num_workers,
        pin_memory=pin_memory,
        prefetch_factor=4 if num_workers else None,
        worker_init_fn=_one_thread,
    )
