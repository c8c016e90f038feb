"""The ensemble and its vote: rare tissues must be found, doubt must be where it belongs, and a rerun must say the same."""

from __future__ import annotations

import pytest
import torch

from gliomagen.errors import GliomaGenError
from gliomagen.fewlabel.prediction import vote
from gliomagen.fewlabel.samples import IGNORED, Classes, Sample, class_weights
from gliomagen.fewlabel.voxelwise import VoxelEnsemble


def blobs(seed: int, count: int = 4000) -> tuple[torch.Tensor, torch.Tensor]:
    """Three classes of shares 0.94, 0.05, 0.01 in eight features of unlike size; half a voxel in two is doubtful."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.multinomial(torch.tensor([0.94, 0.05, 0.01]), count, replacement=True, generator=generator)
    centres = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    rows = torch.randn(count, 8, generator=generator)
    rows[:, :2] += centres[target]
    return rows * torch.logspace(-3, 3, 8), target


def test_a_rare_tissue_is_found() -> None:
    ensemble = VoxelEnsemble(steps=150, batch_size=512)
    ensemble.fit(*blobs(0), 3)
    rows, target = blobs(1)
    found, uncertainty, _ = vote(ensemble.probabilities(rows))
    for k in (1, 2):
        assert (found[target == k] == k).float().mean() > 0.8
    assert (found == target).float().mean() > 0.93
    assert uncertainty[found != target].mean() > uncertainty[found == target].mean() + 0.1
    assert uncertainty.min() >= 0 and uncertainty.max() <= 1


def test_the_same_seed_says_the_same_in_any_company() -> None:
    rows, target = blobs(0)
    first, second, other = (VoxelEnsemble(steps=30, seed=seed) for seed in (1, 1, 2))
    torch.manual_seed(5)
    first.fit(rows, target, 3)
    torch.manual_seed(6)
    second.fit(rows, target, 3)
    other.fit(rows, target, 3)
    said = first.probabilities(rows)
    assert torch.equal(said, second.probabilities(rows)) and not torch.allclose(
        said, other.probabilities(rows)
    )
    torch.testing.assert_close(first.probabilities(rows[:7]), said[:, :7])


def test_disagreement_is_not_shared_doubt() -> None:
    sure, doubt = torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.5])
    shared = torch.stack([doubt, doubt])[:, None]
    contrary = torch.stack([sure, sure.flip(0)])[:, None]
    agreed = torch.stack([sure, sure])[:, None]
    for members, uncertainty, disagreement in ((shared, 1, 0), (contrary, 1, 1), (agreed, 0, 0)):
        _, total, apart = vote(members)
        assert total.item() == pytest.approx(uncertainty) and apart.item() == pytest.approx(disagreement)


def test_classes_are_those_that_are_labelled() -> None:
    label = torch.zeros(4, 4, dtype=torch.uint8)
    label[1:] = 1
    label[2, 2], label[3, 3] = 5, 3
    image = torch.ones(2, 4, 4) * (label > 0)
    sample = Sample(name="a", case="a", image=image, label=label)
    classes = Classes.of([sample])
    assert classes.labels == (3, 5) and classes.count == 3
    target = classes.target(sample)
    assert (target[0] == IGNORED).all() and target[2, 2] == 2 and target[3, 3] == 1 and target[1, 1] == 0
    assert classes.to_labels(target.clamp(min=0))[2, 2] == 5
    with pytest.raises(GliomaGenError, match="no lesion is labelled"):
        Classes.of([Sample(name="b", case="b", image=image, label=label.clamp(max=1))])


def test_weights_by_the_root_of_rarity() -> None:
    target = torch.tensor([0] * 900 + [1] * 100 + [IGNORED] * 50)
    weight = class_weights(target, 3)
    assert weight[1] / weight[0] == pytest.approx(3.0) and weight[2] == 0
    assert (weight[0] * 900 + weight[1] * 100) / 1000 == pytest.approx(1.0)
