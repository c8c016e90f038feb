"""The segmenter's objective and inferer: what a wrong one would teach the judge of every synthetic volume."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets import UNet
from torch import Tensor, nn
from torch.nn.functional import one_hot

from gliomagen.errors import GliomaGenError
from gliomagen.segmenter.inferer import SegmentationInferer
from gliomagen.segmenter.objective import SegmentationLoss
from gliomagen.segmenter.scores import MeanDice, dice_per_label


def sure_of(label: Tensor) -> Tensor:
    return 40.0 * one_hot(label[:, 0], 6).movedim(-1, 1).float()


@pytest.fixture
def label() -> Tensor:
    label = torch.zeros(2, 1, 16, 16, 16, dtype=torch.long)
    label[:, :, 2:14, 2:14, 2:14] = 1
    label[0, :, 5:9, 5:9, 5:9] = 4
    return label


def test_the_truth_costs_nothing_whatever_labels_a_case_lacks(label: Tensor) -> None:
    assert SegmentationLoss()(sure_of(label), label).max() < 1e-3


def test_a_missed_lesion_and_an_invented_one_cost(label: Tensor) -> None:
    missed, invented = label.clone(), label.clone()
    missed[missed == 4] = 1
    invented[1, :, 5:9, 5:9, 5:9] = 4
    loss = SegmentationLoss()
    assert loss(sure_of(missed), label)[0] > 0.4 and loss(sure_of(missed), label)[1] < 1e-3
    assert loss(sure_of(invented), label)[1] > 0.3


def test_a_sample_does_not_depend_on_its_batch(label: Tensor) -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 6, 16, 16, 16)
    loss = SegmentationLoss()
    assert torch.allclose(loss(logits, label)[1:], loss(logits[1:], label[1:]), atol=1e-6)


def test_dice_leaves_out_what_neither_side_has(label: Tensor) -> None:
    assert dice_per_label(label[1], label[1], [1, 4]) == [1.0, None]
    assert dice_per_label(label[0], label[1], [4]) == [0.0]
    metric = MeanDice(labels={3: "SNFH", 4: "ET"})
    metric.update((sure_of(label), label))
    assert metric.compute() == {"dice_ET": 1.0, "dice": 1.0}
    metric.update((sure_of(label), label.flip(0)))  # missed in one, invented in the other
    assert metric.compute()["dice_ET"] == pytest.approx(1 / 3)


class Sided(nn.Module):
    """Sees the label only on one side of the volume."""

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.linspace(0, 1, x.shape[2]).reshape(1, 1, -1, 1, 1)
        return torch.cat([x[:, :1] * weight, -x[:, :1] * weight], 1)


def test_mirroring_makes_both_sides_alike() -> None:
    """Else a lesion's side would decide whether a volume is accepted."""
    torch.manual_seed(0)
    image = torch.rand(1, 4, 16, 16, 16)
    inferer = SegmentationInferer(mirror=True)
    assert torch.allclose(inferer(image.flip(2), Sided()), inferer(image, Sided()).flip(2), atol=1e-6)
    assert not torch.allclose(SegmentationInferer()(image.flip(2), Sided()), inferer(image, Sided()).flip(2))
    total = SegmentationInferer(probabilities=True)(image, Sided()).sum(1)
    assert torch.allclose(total, torch.ones_like(total), atol=1e-5)


class Local(nn.Module):
    """Looks one voxel around, and halves nothing: what it says must not depend on how a volume is cut."""

    def forward(self, x: Tensor) -> Tensor:
        near = nn.functional.avg_pool3d(x, 3, stride=1, padding=1)
        return torch.cat([x[:, :1], near[:, 1:2]], 1)


def test_a_large_volume_is_labelled_window_by_window() -> None:
    """Memory must not grow with the volume, nor labels change where windows meet."""
    torch.manual_seed(0)
    image = torch.rand(1, 4, 40, 24, 16)
    largest: list[int] = []

    class Watched(Local):
        def forward(self, x: Tensor) -> Tensor:
            largest.append(x[0, 0].numel())
            return super().forward(x)

    windowed = SegmentationInferer(window=[24, 24, 24])(image, Watched())
    whole = SegmentationInferer()(image, Local())
    assert windowed.shape == whole.shape and len(largest) > 1 and max(largest) == 24 * 24 * 16
    inner = (..., slice(2, -2), slice(2, -2), slice(2, -2))
    # Where windows end the network sees padding: the blend keeps that small, and the middle untouched.
    assert (windowed - whole)[inner].abs().mean() < 0.02
    assert torch.equal(windowed.argmax(1)[0, 1:10], whole.argmax(1)[0, 1:10])
    once = SegmentationInferer(window=[40, 24, 16])(image, Local())
    assert torch.equal(once, whole)
    with pytest.raises(GliomaGenError, match="multiples of 8"):
        SegmentationInferer(window=[20, 24, 24])


def test_a_volume_of_any_size_is_padded_with_background() -> None:
    """Thick-slice cohorts keep the number of slices they came with."""
    torch.manual_seed(0)
    image = torch.rand(1, 4, 9, 16, 21)
    padded = torch.zeros(1, 4, 16, 16, 24)
    padded[:, :, :9, :, :21] = image
    inferer = SegmentationInferer()
    assert torch.equal(inferer(image, Local()), inferer(padded, Local())[:, :, :9, :, :21])


def test_a_network_of_slices_takes_volumes() -> None:
    """Thick slices are segmented one by one, however many; and windows are those of a volume."""
    torch.manual_seed(0)
    network = UNet(
        spatial_dims=2, in_channels=2, out_channels=3, channels=[4, 8, 8], strides=[2, 2], num_res_units=1
    ).eval()
    images = torch.rand(2, 2, 16, 20, 19)
    inferer = SegmentationInferer(window=[192, 192, 160])
    with torch.inference_mode():
        logits = inferer(images, network)
        assert logits.shape == (2, 3, 16, 20, 19)
        assert torch.allclose(logits[..., 7], inferer(images[..., 7], network), atol=1e-5)
