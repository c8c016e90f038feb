"""Guidance by a regressor: a scan comes back from noise as it was, and guidance brings its burden where it is wanted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from guided_heads import guidance, scan
from torch import Tensor

from gliomagen.diffusion.inversion import flow_times, walked
from gliomagen.errors import GliomaGenError
from gliomagen.growth.guidance import shares_shown
from gliomagen.growth.regressor import BurdenError, BurdenLoss, tumour_shares


@pytest.mark.parametrize("dims", [2, 3])
def test_a_scan_comes_back_from_noise_and_without_change_it_stays(dims: int) -> None:
    """In 2-D slice by slice, with slices that have no head among them."""
    judged = guidance(dims)
    there = judged.inverted(scan(), "one")
    assert there.error < 0.005
    image, _ = judged.guided(there, 1.0, judged.region(scan(), 1.0))
    assert float((image - there.image).abs().mean()) < 0.01


@pytest.mark.parametrize("change", [0.5, 1.5])
def test_guidance_brings_the_burden_to_the_target_and_keeps_the_rest(change: float) -> None:
    judged = guidance()
    there = judged.inverted(scan(), "one")
    region = judged.region(scan(), change)
    image, shares = judged.guided(there, change, region)
    assert float(shares.sum() / there.shares.sum()) == pytest.approx(change, rel=0.1)
    moved = (image - judged.guided(there, 1.0, region)[0]).abs()
    labels = torch.from_numpy(scan().labels)
    far = labels.clone().bool()
    far[:12, :12, :12] = False  # within reach and a block
    assert float(moved[0, 1][labels == 3].mean()) > 20 * float(moved[0, :, far].mean())


def test_guidance_reaches_as_far_as_growth_needs_room() -> None:
    judged, last = guidance(reach_mm=3.0), scan()
    tumour = last.labels == 3
    near = judged.region(last, 0.5)
    assert (near & ~tumour).sum() == 6 * 5 * 5  # the next voxel on each side, of 3 mm
    wide = judged.region(last, 4.0)
    assert wide.sum() >= 2 * 4.0 * tumour.sum() and wide[near].all() and not wide[last.labels == 0].any()
    assert np.array_equal(judged.region(last, 1e3), last.labels > 0)


def test_a_noisy_scan_is_asked_for_the_share_of_a_change_that_it_shows() -> None:
    """Normal burden, seen with noise: the slope of the posterior mean is the share of variance explained."""
    assert shares_shown([0.25, 0.5, 1.0], 1.25) == pytest.approx((1.0, 0.75, 0.25))
    assert shares_shown([0.25, 0.1, 3.0], 1.25) == (1.0, 1.0, 0.0)


def test_what_the_regressor_needs_is_asked_for_in_one_line() -> None:
    last = scan()
    del last.images["t1c"]
    with pytest.raises(GliomaGenError, match="needs t1c; take guidance mask"):
        guidance().inverted(last, "one")
    last = scan()
    last.labels[last.labels == 3] = 1
    with pytest.raises(GliomaGenError, match="no tumour"):
        guidance().inverted(last, "one")
    with pytest.raises(GliomaGenError, match="comes back from noise with an error"):
        guidance(steps=1, most_error=1e-6).inverted(scan(), "one")
    with pytest.raises(GliomaGenError, match="choose 0 < start < depth < 1"):
        guidance(depth=1.0)


def test_walks_are_of_second_order() -> None:
    """A denoiser whose path is known: the posterior mean of normal data."""

    def denoise(z: Tensor, t: Tensor) -> Tensor:
        t = t[:, None]
        return z * (1 - t) / ((1 - t) ** 2 + t**2)

    z = torch.randn(1, 8, generator=torch.Generator().manual_seed(0))
    errors = []
    for steps in (8, 16):
        times = flow_times(0.02, 0.9, steps)
        found = walked(denoise, z, times)[-1]
        size = torch.sqrt((1 - times) ** 2 + times**2)
        errors.append(float((found - z * size[-1] / size[0]).abs().max()))
    assert errors[1] < errors[0] / 3


def test_burden_is_told_by_blocks_and_its_error_by_scans() -> None:
    label = torch.zeros(1, 1, 4, 4, 4, dtype=torch.uint8)
    label[..., :2, :2, :2] = 4
    label[..., 2:, 2:, 2:] = 5  # a cavity is none
    shares = tumour_shares(label)
    assert shares.sum() == 1 and shares[0, 0, 0, 0, 0] == 1
    sure = torch.where(shares > 0, 20.0, -20.0)
    spread = torch.zeros_like(shares)
    loss = BurdenLoss()
    assert float(loss(torch.cat([sure, spread], 1), shares)) < 1e-6
    assert float(loss(torch.cat([-sure, spread], 1), shares)) > 1
    metric = BurdenError()
    metric.update((torch.cat([torch.full_like(shares, -20.0), spread], 1), shares))
    assert metric.compute() == pytest.approx(np.log(2), abs=1e-5)  # one block said to be none


def test_the_loss_is_least_where_the_variance_is_that_of_the_errors() -> None:
    shares = torch.zeros(2, 1, 4, 4, 4)
    shares[:, :, 0, 0, :2] = 1
    told = torch.cat([torch.where(shares > 0, 20.0, -20.0), torch.zeros_like(shares)], 1)
    told[0, 0, 0, 0, 0] = -20.0  # one block of two missed: log 2/3
    losses = []
    for factor in (0.25, 1.0, 4.0):
        told[:, 1] = float(np.log(factor * np.log(1.5) ** 2))
        losses.append(float(BurdenLoss(burden_weight=1.0)(told, shares)[0]))
    assert losses[1] < min(losses[0], losses[2])
