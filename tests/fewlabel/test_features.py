"""Features of the denoiser: they must hang on the scan alone, lie where the scan lies, and tell its tissues apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fewlabel_heads import features
from torch.nn import functional

from gliomagen.errors import GliomaGenError
from gliomagen.fewlabel.features import FeatureMaps, block_names


def scans(*shape: int) -> torch.Tensor:
    image = torch.rand(2, 4, *shape, generator=torch.Generator().manual_seed(1))
    image[..., :3, :] = 0
    return image


@pytest.mark.parametrize("shape", [(32, 48), (16, 32, 16)])
def test_a_scan_has_the_same_features_in_any_company(shape: tuple[int, ...]) -> None:
    """Whole-batch noise made the source's predictions change from run to run."""
    make, image = features(len(shape)), scans(*shape)
    both, alone = make(image, ["a", "b"]), make(image[1:], ["b"])
    for ours, theirs in zip(both[1].maps, alone[0].maps, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(make(image[1:], ["c"])[0].maps[0], alone[0].maps[0], atol=1e-3)
    assert alone[0].width == 2 * (8 + 8)
    again = make(image[1:], ["b"])
    assert all(torch.equal(a, b) for a, b in zip(again[0].maps, alone[0].maps, strict=True))


def test_draws_are_averaged() -> None:
    image = scans(16, 16)
    one, many = features(2)(image, ["a", "b"]), features(2, draws=8)(image, ["a", "b"])
    other = features(2, seed=9, draws=8)(image, ["a", "b"])
    few = (one[0].maps[1] - features(2, seed=9)(image, ["a", "b"])[0].maps[1]).std()
    assert (many[0].maps[1] - other[0].maps[1]).std() < 0.6 * few


@pytest.mark.parametrize("shape", [(8, 12), (8, 12, 4)])
def test_features_lie_where_the_scan_lies(shape: tuple[int, ...]) -> None:
    """Half a voxel off, and every border is learnt wrong: as torch's own interpolation has it."""
    coarse = torch.randn(3, *(n // 2 for n in shape))
    mode = "bilinear" if len(shape) == 2 else "trilinear"
    fine = functional.interpolate(coarse[None], shape, mode=mode, align_corners=False)[0]
    voxels = torch.from_numpy(np.argwhere(np.ones(shape)))
    rows = FeatureMaps(maps=[coarse, fine], shape=shape).at(voxels)
    expected = fine.flatten(1).T
    torch.testing.assert_close(rows[:, :3], expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(rows[:, 3:], expected, atol=1e-5, rtol=1e-5)


def test_wrong_use_is_one_line() -> None:
    with pytest.raises(GliomaGenError, match=r"'up.9.9'.*choose among \['up.2.0', 'up.2.1', 'up.1.0'"):
        features(2, choice={0.1: ["up.9.9"]})
    with pytest.raises(GliomaGenError, match="above 0, up to 1"):
        features(2, choice={0.0: ["up.0.0"]})
    with pytest.raises(GliomaGenError, match="multiples of 16"):
        features(2)(scans(24, 16), ["a", "b"])
    with pytest.raises(GliomaGenError, match="has no decoder blocks"):
        block_names(torch.nn.Linear(1, 1))
