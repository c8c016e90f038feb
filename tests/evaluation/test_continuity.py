"""Seams and steps between slices: what a reader of a completed scan would see first."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from gliomagen.evaluation.continuity import seam, slice_steps
from gliomagen.evaluation.similarity import psnr, ssim

RNG = np.random.default_rng(0)
SMOOTH = ndimage.gaussian_filter(RNG.standard_normal((2, 24, 24, 24)), (0, 2, 2, 2)) * 3
HEAD = np.zeros((24, 24, 24), bool)
HEAD[2:-2, 2:-2, 2:-2] = True
REGION = np.zeros_like(HEAD)
REGION[8:15, 8:15, 8:15] = True


def test_slices_made_by_themselves_have_larger_steps_along_their_axis_alone() -> None:
    """GEM-3D's weak point: seen only along the axis that slices were stacked on."""
    uneven = SMOOTH + 0.3 * RNG.standard_normal(24)  # along the last axis
    plain, stacked = slice_steps(SMOOTH, HEAD), slice_steps(uneven, HEAD)
    np.testing.assert_allclose(stacked[:, :2], plain[:, :2])
    assert (stacked[:, 2] > 2 * plain[:, 2]).all()
    by_hand = np.abs(np.diff(SMOOTH[1, 2:-2, 2:-2, 2:-2], axis=1)).mean()
    assert plain[1, 1] == pytest.approx(by_hand)
    assert np.isnan(slice_steps(SMOOTH, HEAD & (np.arange(24) == 5))[:, 2]).all()


def test_a_region_of_another_brightness_has_a_seam() -> None:
    """A step of the mean shows, whatever the texture; none is 1."""
    assert seam(SMOOTH, REGION, HEAD) == pytest.approx(1.0, abs=0.15)
    assert (seam(SMOOTH + 0.5 * REGION, REGION, HEAD) > 2).all()
    lesion = HEAD & ~ndimage.binary_dilation(REGION)
    assert np.isnan(seam(SMOOTH, REGION, lesion)).all(), (
        "where only lesion meets the edge there is none to judge"
    )


def test_similarity_counts_the_voxels_asked_alone() -> None:
    """Background or given voxels would raise the score of any completion."""
    true = torch.from_numpy(np.clip(SMOOTH, 0, 1)).float()
    made = true.clone()
    made[:, torch.from_numpy(REGION)] += 0.1
    where = torch.from_numpy(REGION)
    assert psnr(made, true, where).tolist() == pytest.approx([20.0, 20.0], abs=1e-4)
    assert (psnr(made, true, torch.from_numpy(HEAD)) > 25).all()
    assert (psnr(true, true, where) > 100).all()
    far = torch.from_numpy(HEAD & ~ndimage.binary_dilation(REGION, iterations=6))
    assert ssim(made, true, far).tolist() == pytest.approx([1.0, 1.0], abs=1e-3)
    assert (ssim(made, true, where) < 0.99).all()
    noise = torch.from_numpy(RNG.uniform(0, 1, true.shape)).float()
    assert (ssim(noise, true, where) < ssim(made, true, where)).all()
