"""The search must choose what tells tissues apart, by cases left out, and say what it tried."""

from __future__ import annotations

import torch
from fewlabel_heads import features

from gliomagen.fewlabel.samples import Classes, Sample
from gliomagen.fewlabel.search import Search, _folds


def sample(case: int, z: int = 0) -> Sample:
    """A head with a disc that is bright in one contrast."""
    generator = torch.Generator().manual_seed(100 * case + z)
    at = torch.randint(8, 24, (2, 1, 1), generator=generator)
    far = (torch.stack(torch.meshgrid(*[torch.arange(32)] * 2, indexing="ij")) - at).square().sum(0)
    label = torch.where(far < 30, 3, 1).to(torch.uint8)
    image = (0.3 + 0.05 * torch.randn(4, 32, 32, generator=generator)).clamp(0.1, 1)
    image[1] += 0.5 * (label == 3)
    return Sample(name=f"c{case}-{z}", case=f"c{case}", image=image, label=label)


def test_what_is_nothing_but_noise_is_not_chosen() -> None:
    samples = [sample(case) for case in range(4)]
    search = Search(times=(0.05, 1.0), most=2, steps=60)
    choice = search.choose(features(2), samples, Classes.of(samples), intensities=False)
    assert set(choice) == {0.05}
    rounds = [[row for row in search.scores if len(row["pairs"]) == n] for n in (1, 2)]
    assert len(rounds[0]) == 10, "five blocks at two times"
    first, second = (max(row["dice"] for row in some) for some in rounds)
    noise = max(row["dice"] for row in rounds[0] if row["pairs"][0][1] == 1.0)
    assert first > noise + 0.2
    assert (sum(map(len, choice.values())) == 2) == (second >= first + search.least_gain)
    again = Search(times=(0.05, 1.0), most=2, steps=60)
    assert again.choose(features(2), samples, Classes.of(samples), intensities=False) == choice
    assert again.scores == search.scores


def test_a_case_is_left_out_whole() -> None:
    """Neighbouring slices of one patient look alike: a score on them would say nothing of other patients."""
    samples = [sample(case, z) for case in range(5) for z in range(3)]
    folds = _folds(samples, 3, 0)
    assert all(len(set(folds[3 * case : 3 * case + 3])) == 1 for case in range(5)) and set(folds) == {0, 1, 2}
    assert _folds([sample(0, z) for z in range(5)], 3, 0) == [0, 0, 1, 1, 2]
