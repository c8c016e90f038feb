"""Grey levels: taken out of a scan, told to the network, drawn when none are given."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gliomagen.diffusion.basis import HaarBasis
from gliomagen.diffusion.greys import (
    HEAD_SPREAD,
    GreyDistribution,
    MeasureGreysd,
    black_and_white,
    learn_greys,
    measure_greys,
    restore,
    standardize,
)
from gliomagen.diffusion.inferer import SliceInferer, SynthesisInferer
from gliomagen.diffusion.process import RectifiedFlow


def label_map() -> Tensor:
    label = torch.zeros(1, 1, 16, 16, 16, dtype=torch.long)
    label[:, :, 2:14, 2:14, 2:14] = 1
    label[:, :, 6:9, 6:9, 6:9] = 4
    return label


def scan(seed: int = 0) -> Tensor:
    image = 0.5 + 0.1 * torch.randn(1, 4, 16, 16, 16, generator=torch.Generator().manual_seed(seed))
    return torch.where(label_map() == 4, 1.0, image.clamp(0, 1)) * (label_map() > 0)


def test_healthy_tissue_is_standardized_and_comes_back() -> None:
    """A bright lesion must not darken the rest of its scan."""
    image, label = scan(), label_map()
    greys = torch.from_numpy(MeasureGreysd(keys="image")({"image": image[0], "label": label[0]})["greys"])[
        None
    ]
    standard = standardize(image, greys)
    healthy = standard[:, :, label[0, 0] == 1]
    assert healthy.mean(2).abs().max() < 1e-5 and (healthy.std(2) - HEAD_SPREAD).abs().max() < 1e-3
    assert (restore(standard, greys) - image).abs().max() < 1e-6
    levels = black_and_white(greys)
    ends = torch.cat([standardize(torch.full_like(image, v), greys)[:, :, 0, 0, 0] for v in (0.0, 1.0)], 1)
    assert torch.allclose(levels, ends, atol=1e-5)


def test_a_scan_that_is_all_lesion_has_grey_levels_all_the_same() -> None:
    """NaN would spread through the whole training."""
    label = torch.where(label_map() > 0, 4, 0)
    greys = MeasureGreysd(keys="image")({"image": scan()[0], "label": label[0]})["greys"]
    assert np.isfinite(greys).all()


def fitted() -> tuple[GreyDistribution, Tensor]:
    """Grey levels of 500 scans in which the second contrast follows the first."""
    rng = torch.Generator().manual_seed(0)
    mean = 0.4 + 0.05 * torch.randn(500, 1, generator=rng) + 0.01 * torch.randn(500, 4, generator=rng)
    spread = 0.2 * (0.1 * torch.randn(500, 4, generator=rng)).exp()
    greys = torch.stack([mean, spread], 2)
    distribution = GreyDistribution(4)
    distribution.fit(greys)
    return distribution, greys


def test_drawn_grey_levels_are_spread_as_the_training_scans_are() -> None:
    """Else all samples look alike, or no scan does like them."""
    distribution, greys = fitted()
    normal = torch.randn(2000, 8, generator=torch.Generator().manual_seed(1))
    drawn = distribution.draw(normal, torch.full((2000, 4, 2), torch.nan))
    assert torch.allclose(drawn.mean(0), greys.mean(0), atol=0.005)
    assert torch.allclose(drawn.std(0), greys.std(0), rtol=0.1)
    assert torch.corrcoef(drawn[:, :, 0].T)[0, 1] > 0.9


def test_contrasts_that_are_known_tell_of_those_that_are_not() -> None:
    """A missing contrast must not have another scan's brightness."""
    distribution, _ = fitted()
    known = torch.full((2, 4, 2), torch.nan)
    known[0, 0], known[1, 0] = torch.tensor([0.30, 0.2]), torch.tensor([0.50, 0.2])
    drawn = distribution.draw(torch.zeros(2, 8), known)
    assert torch.allclose(drawn[:, 0], known[:, 0])
    assert drawn[1, 1, 0] - drawn[0, 1, 0] > 0.15


def test_grey_levels_of_ten_scans_can_be_drawn() -> None:
    """Fewer scans than would make a covariance regular."""
    distribution, greys = fitted()
    distribution.fit(greys[:3])
    drawn = distribution.draw(torch.randn(50, 8), torch.full((50, 4, 2), torch.nan))
    assert drawn.isfinite().all() and drawn.std(0).min() > 0


class Blank(nn.Module):
    """A network that knows of nothing but the usual grey, and the distribution."""

    def __init__(self) -> None:
        super().__init__()
        self.greys = GreyDistribution(4)
        learn_greys([{"greys": g} for g in fitted()[1].numpy()], self)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return torch.zeros_like(x[:, :32])


def sample(case: str = "a", **given: Tensor) -> Tensor:
    inferer = SynthesisInferer(
        basis=HaarBasis(spatial_dims=3), process=RectifiedFlow(), steps=2, background_known=True
    )
    return inferer(label_map(), Blank(), case_ids=[case], **given)


def test_every_case_has_grey_levels_of_its_own() -> None:
    one, again, other = (sample(case)[0, :, 5, 5, 5] for case in ("a", "a", "b"))
    assert torch.equal(one, again) and (one - other).abs().max() > 0.005


def test_grey_levels_can_be_given() -> None:
    greys = torch.tensor([[0.01, 0.1], [0.4, 0.1], [0.5, 0.2], [0.6, 0.2]])[None]  # also what is never drawn
    assert torch.allclose(sample(greys=greys)[0, :, 5, 5, 5], greys[0, :, 0], atol=1e-5)


@pytest.mark.parametrize("where", ["outside the lesion", "one slice", "one contrast"])
def test_what_is_made_takes_the_grey_levels_of_what_is_known(where: str) -> None:
    """A lesion painted into a scan, or a contrast completed, with other grey levels than the scan's has a seam."""
    image = 0.6 * scan()  # darker than any training scan
    known = (label_map() == 1).expand(1, 4, -1, -1, -1).clone()
    if where == "one slice":
        known[..., :5] = known[..., 6:] = False
    elif where == "one contrast":
        known[:, 1:] = False
    made = sample(voxels=image, voxels_known=known)
    greys = measure_greys(image, known)[0, 0]
    assert torch.equal(made[known], image[known])
    fresh = made[0, 0][~known[0, 0] & (label_map()[0, 0] > 0)]
    if where != "one contrast":
        assert abs(fresh.median() - greys[0]) < 0.01


def test_a_volume_made_of_slices_is_one_scan() -> None:
    """Slices with grey levels of their own would be a ladder from neck to crown."""
    inferer = SliceInferer(basis=HaarBasis(spatial_dims=2), process=RectifiedFlow(), steps=2)
    label = label_map().repeat(2, 1, 1, 1, 1)[..., :15]  # any number of slices
    label[1, ..., 3] = 0

    class Flat(Blank):
        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return torch.zeros_like(x[:, :16])

    made = inferer(label, Flat(), case_ids=["a", "b"])
    assert made.shape == (2, 4, 16, 16, 15) and not made[1, ..., 3].any()
    greys = made[:, :, 5, 5]  # (cases, contrasts, slices)
    assert (greys[0] - greys[0, :, 3:4])[:, 2:14].abs().max() < 1e-6
    assert (greys[0, :, 4] - greys[1, :, 4]).abs().max() > 0.005
    known = torch.zeros(2, 4, 16, 16, 15, dtype=torch.bool)
    known[..., 7] = True
    voxels = torch.rand(known.shape)
    completed = inferer(label, Flat(), case_ids=["a", "b"], voxels=voxels, voxels_known=known)
    assert torch.equal(completed[known], voxels[known])
