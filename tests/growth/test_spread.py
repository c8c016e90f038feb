"""Spread: a forecast label map has the burden it is asked for, keeps to the anatomy, and leaves the rest as it is."""

from __future__ import annotations

import numpy as np
import pytest

from gliomagen.errors import GliomaGenError
from gliomagen.growth.scores import brier_score, calibration
from gliomagen.growth.spread import Spread, burden_mm3, smooth_noise
from gliomagen.growth.tissue import Speeds, front_speed
from gliomagen.labels import ET, HEAD, LESION, NETC, RC, SNFH

MM = (2.0, 2.0, 2.0)
SHAPE = (40, 40, 40)
AFFINE = np.diag([*MM, 1.0])


def ball(radius: float, centre: tuple[float, float, float] = (20, 20, 20)) -> np.ndarray:
    away = np.sqrt(sum((axis - c) ** 2 for axis, c in zip(np.ogrid[:40, :40, :40], centre, strict=True)))
    return np.asarray(away <= radius)


def tumour() -> np.ndarray:
    labels = np.where(ball(19), HEAD, 0).astype(np.uint8)
    for radius, label in ((8, SNFH), (6, ET), (4, NETC)):
        labels[ball(radius)] = label
    labels[ball(3, (26, 20, 20))] = RC
    return labels


@pytest.mark.parametrize("share", [0.3, 0.8, 1.0, 1.3, 2.5])
def test_label_map_has_the_burden_asked_for_in_every_part(share: float) -> None:
    labels = tumour()
    speed = np.where(labels > 0, 1, 0).astype(np.float32)
    spread = Spread(labels=labels, speed=speed, voxel_mm=MM)
    made = spread.grown(share * spread.burden)
    assert burden_mm3(made, MM) == pytest.approx(share * spread.burden, abs=10)
    for some in ((NETC,), (NETC, ET)):
        assert np.isin(made, some).sum() == pytest.approx(share * np.isin(labels, some).sum(), abs=2)
    assert np.array_equal(made == RC, labels == RC)
    assert np.array_equal(made > 0, labels > 0)
    if share == 1:
        assert np.array_equal(made, labels)
    old, new = np.isin(labels, (NETC, ET, SNFH)), np.isin(made, (NETC, ET, SNFH))
    assert (new & ~old).any() == (share > 1) and (old & ~new).any() == (share < 1)


def test_front_goes_around_a_barrier_and_further_where_it_is_fast() -> None:
    labels = np.where(ball(19), HEAD, 0).astype(np.uint8)
    labels[ball(5)] = LESION
    speed = np.where(labels > 0, 0.3, 0).astype(np.float32)
    speed[:, 20:][labels[:, 20:] > 0] = 1.0  # white matter in front
    speed[14] = np.minimum(speed[14], 0.001)  # a wall to the left
    made = Spread(labels=labels, speed=speed, voxel_mm=MM).grown(3 * burden_mm3(labels, MM))
    new = (made == LESION) & (labels != LESION)
    assert new[:, 20:].sum() > 3 * new[:, :20].sum()
    assert new[:14].sum() < 0.15 * new[27:].sum()


def test_tumour_of_enhancement_alone_gets_no_oedema() -> None:
    labels = np.where(ball(19), HEAD, 0).astype(np.uint8)
    labels[ball(5)] = ET
    spread = Spread(labels=labels, speed=np.ones(SHAPE, np.float32), voxel_mm=MM)
    assert set(np.unique(spread.grown(2 * spread.burden))) == {0, HEAD, ET}


def test_what_does_not_fit_into_the_head_is_left_out_and_no_tumour_is_told() -> None:
    labels = tumour()
    spread = Spread(labels=labels, speed=(labels > 0).astype(np.float32), voxel_mm=MM)
    assert np.isin(spread.grown(1e9), (NETC, ET, SNFH, RC)).sum() <= (labels > 0).sum()
    with pytest.raises(GliomaGenError, match="no tumour"):
        Spread(labels=np.where(labels > 0, HEAD, 0).astype(np.uint8), speed=spread.speed, voxel_mm=MM)


def test_tissues_are_told_by_brightness_and_liquor_and_midline_hold_a_front_up() -> None:
    labels = np.where(ball(19), HEAD, 0).astype(np.uint8)
    image = np.where(labels > 0, 0.7, 0).astype(np.float32)
    image[labels > 0] += np.random.default_rng(0).normal(0, 0.02, int((labels > 0).sum())).astype(np.float32)
    image[:, :12] *= 0.75  # grey matter
    image[:, 30:] *= 0.2  # liquor
    speed = front_speed({"t1n": image}, labels, Speeds(), affine=AFFINE)
    assert np.median(speed[22, 14:28, 20]) == 1.0
    assert np.median(speed[22, 4:11, 20]) == pytest.approx(0.4)
    assert np.median(speed[22, 32:37, 20]) == pytest.approx(0.03)
    assert np.median(speed[20, 5:11, 20]) == pytest.approx(0.05)  # the mirror of this head
    assert not speed[labels == 0].any()
    with pytest.raises(GliomaGenError, match="neither"):
        front_speed({"t2f": image}, labels, Speeds(), affine=AFFINE)


def test_noise_is_smooth_of_unit_spread_and_of_its_key() -> None:
    first, again, second = (smooth_noise(SHAPE, MM, length_mm=8.0, seed=0, key=k) for k in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, second)
    assert first.std() == pytest.approx(1, rel=0.01)
    assert np.abs(np.diff(first, axis=0)).mean() < 0.3


def test_outline_that_is_off_moves_the_edge_and_not_the_burden() -> None:
    labels = tumour()
    spread = Spread(labels=labels, speed=(labels > 0).astype(np.float32), voxel_mm=MM)
    shift = np.zeros(SHAPE, np.float32)
    shift[20:] = 4  # to the right it lies further in
    made = spread.grown(spread.burden, outline=shift)
    assert burden_mm3(made, MM) == pytest.approx(spread.burden, abs=10)
    assert np.isin(made, (NETC, ET, SNFH))[:20].sum() > 1.2 * np.isin(labels, (NETC, ET, SNFH))[:20].sum()


def test_brier_score_and_calibration_count_voxels_of_the_head() -> None:
    truth = np.where(ball(19), HEAD, 0).astype(np.uint8)
    truth[ball(6)] = ET
    probability = np.where(ball(8), 0.5, 0).astype(np.float32)
    assert brier_score(probability, truth) == pytest.approx(0.25 * ball(8).sum() / (truth > 0).sum())
    rows = calibration(probability, truth, (0.0, 0.4, 0.6))
    assert [row["said"] for row in rows] == [0.0, 0.5]
    assert rows[1]["came"] == pytest.approx(ball(6).sum() / ball(8).sum())
