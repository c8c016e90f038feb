"""Numbered samples: were they a state, a resumed run would train on other data than an uninterrupted one."""

import numpy as np
import pytest
import torch
from monai.transforms import Compose, RandFlipd, RandScaleIntensityd

from gliomagen.training.samples import NumberedDataset, StepSampler, case_of_sample, step_loader

CASES = [{"image": np.full((1, 4, 4), float(i), np.float32), "case": str(i)} for i in range(5)]


def _random() -> Compose:
    return Compose([RandFlipd(["image"], prob=0.5), RandScaleIntensityd(["image"], factors=0.5, prob=1.0)])


def test_every_case_comes_once_a_turn_in_another_order() -> None:
    turns = [[case_of_sample(5 * turn + i, seed=3, cases=5) for i in range(5)] for turn in range(20)]
    assert all(sorted(turn) == [0, 1, 2, 3, 4] for turn in turns)
    assert len({tuple(turn) for turn in turns}) > 10


def test_sample_depends_on_seed_and_number_alone() -> None:
    dataset, other = (NumberedDataset(data=CASES, transform=_random(), seed=0) for _ in range(2))
    expected = [dataset[n]["image"] for n in range(12)]
    backwards = {n: other[n]["image"] for n in reversed(range(12))}
    assert all(torch.equal(torch.as_tensor(expected[n]), torch.as_tensor(backwards[n])) for n in range(12))
    another = NumberedDataset(data=CASES, transform=_random(), seed=1)
    assert any(
        not torch.equal(torch.as_tensor(expected[n]), torch.as_tensor(another[n]["image"])) for n in range(12)
    )


def _batches(workers: int, start: int = 0) -> list[torch.Tensor]:
    sampler = StepSampler(samples_per_step=3, stop_step=6)
    sampler.start_step = start
    dataset = NumberedDataset(data=CASES, transform=_random(), seed=0)
    return [b["image"] for b in step_loader(dataset, sampler, num_workers=workers, pin_memory=False)]


def test_workers_and_a_later_start_change_nothing() -> None:
    whole = _batches(0)
    assert len(whole) == 6
    assert all(torch.equal(a, b) for a, b in zip(whole, _batches(2), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(whole[4:], _batches(2, start=4), strict=True))


def test_ranks_share_a_step() -> None:
    one = list(StepSampler(samples_per_step=4, stop_step=3))
    ranks = [list(StepSampler(samples_per_step=4, stop_step=3, rank=r, world_size=2)) for r in (0, 1)]
    assert one == [a + b for a, b in zip(*ranks, strict=True)]
    with pytest.raises(ValueError, match="does not divide"):
        StepSampler(samples_per_step=3, stop_step=3, world_size=2)


def test_validation_goes_in_order_with_repeats() -> None:
    dataset = NumberedDataset(data=CASES, in_order=True, repeats=2)
    assert len(dataset) == 10 and [dataset[n]["case"] for n in (0, 1, 2, 9)] == ["0", "0", "1", "4"]
