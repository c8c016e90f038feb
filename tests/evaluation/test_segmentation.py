"""Scores of a segmentation: right against others' code and by hand, and the rules for what is absent."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.metrics import (
    compute_average_surface_distance,
    compute_dice,
    compute_hausdorff_distance,
)
from scipy import ndimage

from gliomagen.errors import GliomaGenError
from gliomagen.evaluation.segmentation import mean_scores, score_case, volume_correlation
from gliomagen.evaluation.surfaces import surface_distances
from gliomagen.labels import ET, HEAD, NETC, RC, SNFH

VOXEL_MM = (0.9, 1.5, 4.0)


def blobs(seed: int, size: tuple[int, int, int] = (20, 18, 12)) -> np.ndarray:
    """A rough lesion that touches the border of the image."""
    noise = np.random.default_rng(seed).standard_normal(size)
    mask = ndimage.gaussian_filter(noise, 2) > 0.08
    mask[0, :4, :4] = True
    return mask


def maps(seed: int) -> tuple[np.ndarray, np.ndarray]:
    found = np.full((20, 18, 12), HEAD, np.uint8)
    truth = found.copy()
    found[blobs(seed)] = ET
    truth[blobs(seed) & blobs(seed + 1) | blobs(seed + 2) & blobs(seed)] = ET
    return found, truth


def brute_force(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All distances between surface voxels, one by one."""

    def surface(mask: np.ndarray) -> np.ndarray:
        padded = np.pad(mask, 1)
        inner = padded.copy()
        for axis in range(3):
            for step in (-1, 1):
                inner &= np.roll(padded, step, axis)
        return np.argwhere((padded & ~inner)[1:-1, 1:-1, 1:-1]) * np.array(VOXEL_MM)

    one, other = surface(a), surface(b)
    apart = np.sqrt(((one[:, None] - other[None]) ** 2).sum(-1))
    return apart.min(1), apart.min(0)


@pytest.mark.parametrize("seed", [0, 3, 6])
def test_surfaces_are_right_with_voxels_of_any_shape(seed: int) -> None:
    """Distances in voxels instead of mm made the published ones a fifth too small."""
    found, truth = (label == ET for label in maps(seed))
    ours = surface_distances(found, truth, VOXEL_MM)
    forth, back = brute_force(found, truth)
    assert np.allclose(np.sort(ours.forth), np.sort(forth)) and np.allclose(np.sort(ours.back), np.sort(back))

    a, b = (torch.from_numpy(mask[None, None]) for mask in (found, truth))
    hd95 = compute_hausdorff_distance(a, b, include_background=True, percentile=95, spacing=VOXEL_MM)
    assd = compute_average_surface_distance(a, b, include_background=True, symmetric=True, spacing=VOXEL_MM)
    assert ours.hd95_mm == pytest.approx(hd95.item(), rel=1e-5)  # float32 there
    assert ours.assd_mm == pytest.approx(assd.item(), rel=1e-5)
    assert ours.pooled_hd95_mm == pytest.approx(np.percentile(np.concatenate([forth, back]), 95))
    assert ours.balanced_assd_mm == pytest.approx((forth.mean() + back.mean()) / 2)


@pytest.mark.parametrize("seed", [0, 3])
def test_dice_is_monais(seed: int) -> None:
    found, truth = maps(seed)
    a, b = (torch.from_numpy((label == ET)[None, None].astype(np.uint8)) for label in (found, truth))
    score = score_case(found, truth, voxel_mm=VOXEL_MM)["ET"]
    assert score["dice"] == score["poster_dice"] == pytest.approx(compute_dice(a, b).item())
    assert score["volume_truth_ml"] == pytest.approx((truth == ET).sum() * 0.9 * 1.5 * 4.0 / 1000)


def test_regions_are_those_of_the_challenge() -> None:
    """The cavity is no part of the whole tumour, oedema none of the core."""
    label = np.full((6, 6, 6), HEAD, np.uint8)
    label[1, 1, 1], label[2, 1, 1], label[3, 1, 1], label[4, 1, 1] = NETC, SNFH, ET, RC
    scores = score_case(label, label, voxel_mm=(10, 10, 10))
    assert {name: score["volume_truth_ml"] for name, score in scores.items()} == pytest.approx(
        {"NETC": 1, "SNFH": 1, "ET": 1, "RC": 1, "TC": 2, "WT": 3}
    )


def test_what_is_absent_counts_as_the_docstring_says() -> None:
    """A missed lesion that drops out of a mean flatters whoever missed it; the truth alone says what a mean is over."""
    empty = np.full((8, 8, 8), HEAD, np.uint8)
    full = empty.copy()
    full[2:5, 2:5, 2:5] = ET
    neither = score_case(empty, empty, voxel_mm=(1, 1, 1))["ET"]
    assert all(math.isnan(neither[name]) for name in ("dice", "hd95_mm", "assd_mm", "poster_hd95_voxel"))
    assert (
        neither["false_alarm"] == 0
        and neither["poster_dice"] == 1
        and neither["lesion_dice"] == 1
        and neither["lesion_hd95_mm"] == 0
    )
    missed, alarm = (score_case(*maps, voxel_mm=(1, 1, 1))["ET"] for maps in ((empty, full), (full, empty)))
    assert (missed["dice"], missed["hd95_mm"], missed["assd_mm"]) == (0, 374, 374)
    assert math.isnan(missed["false_alarm"]) and alarm["false_alarm"] == 1
    assert all(math.isnan(alarm[name]) for name in ("dice", "hd95_mm", "assd_mm"))
    for one in (missed, alarm):
        assert one["poster_dice"] == 0 and math.isnan(one["poster_hd95_voxel"])
        assert one["lesion_dice"] == 0 and one["lesion_hd95_mm"] == 374
    pairs = ((full, full), (empty, full), (empty, empty), (full, empty))
    cases = [score_case(found, truth, voxel_mm=(1, 1, 1)) for found, truth in pairs]
    means = mean_scores(cases)["ET"]
    assert means["dice"] == pytest.approx(0.5) and means["n_dice"] == 2
    assert means["false_alarm"] == pytest.approx(0.5) and means["n_false_alarm"] == 2
    assert means["poster_dice"] == pytest.approx(2 / 4) and means["n_poster_hd95_voxel"] == 1


def test_volumes_correlate_over_cases() -> None:
    assert volume_correlation([1, 2, 4], [2, 4, 8]) == pytest.approx(1)
    assert math.isnan(volume_correlation([1, 2], [1, 2])) and math.isnan(
        volume_correlation([1, 1, 1], [1, 2, 3])
    )


def test_maps_of_two_grids_are_refused() -> None:
    with pytest.raises(GliomaGenError, match="one grid"):
        score_case(np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 5), np.uint8), voxel_mm=(1, 1, 1))
