"""Lesions counted one by one, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from gliomagen.evaluation.lesionwise import (
    BRATS2023,
    BRATS2024,
    LesionRules,
    join,
    lesion_scores,
    true_lesions,
)
from gliomagen.labels import ET, HEAD, NETC, SNFH

ONE = (1.0, 1.0, 1.0)
REGIONS = {"ET": (ET,)}


def head(size: tuple[int, int, int] = (60, 30, 30)) -> np.ndarray:
    return np.full(size, HEAD, np.uint8)


def test_a_worked_example() -> None:
    """Two true lesions of 125 mm³, one found half, one missed; two false alarms, one of a single voxel."""
    truth, found = head(), head()
    truth[5:10, 5:10, 5:10] = ET
    truth[30:35, 5:10, 5:10] = ET
    found[5:10, 5:10, 5:8] = ET  # 75 of 125 voxels: Dice 150 / 200
    found[50:53, 20:23, 20:23] = ET
    found[50, 5, 5] = ET
    score = lesion_scores(found, truth, REGIONS, voxel_mm=ONE)["ET"]
    assert (score.hit, score.missed, score.false) == (1, 1, 2)
    assert score.dice == pytest.approx(0.75 / 4)
    assert score.hd95_mm == pytest.approx((2 + 3 * 374) / 4)


def test_parts_that_nearly_touch_are_one_lesion() -> None:
    """Six voxels apart the dilated parts meet, seven apart they do not."""
    for gap, count in ((6, 1), (7, 2)):
        truth = np.zeros((40, 12, 12), bool)
        truth[4:8, 4:8, 4:8] = True
        truth[8 + gap : 12 + gap, 4:8, 4:8] = True
        assert true_lesions(truth, BRATS2024).max() == count, gap


def test_small_true_lesions_do_not_count_but_may_be_matched() -> None:
    """What is found beside a speck of the truth is no false alarm."""
    truth, found = head(), head()
    truth[5:7, 5:7, 5:7] = ET  # 8 mm³, not above the 10 of ET
    found[5:8, 5:8, 5:8] = ET
    score = lesion_scores(found, truth, REGIONS, voxel_mm=ONE)["ET"]
    assert (score.dice, score.hd95_mm, score.hit, score.missed, score.false) == (1, 0, 0, 0, 0)
    bigger = lesion_scores(found, truth, REGIONS, voxel_mm=(1, 1, 2))["ET"]  # 16 mm³
    assert bigger.hit == 1 and bigger.dice == pytest.approx(16 / 35)
    assert lesion_scores(found, truth, REGIONS, voxel_mm=(1, 1, 2), rules=BRATS2023)["ET"].hit == 0


def test_one_found_part_may_match_two_true_lesions() -> None:
    truth, found = head(), head()
    truth[5:10, 5:10, 5:10] = ET
    truth[18:23, 5:10, 5:10] = ET
    found[5:23, 5:10, 5:10] = ET  # 450 voxels
    score = lesion_scores(found, truth, REGIONS, voxel_mm=ONE)["ET"]
    assert (score.hit, score.false) == (2, 0) and score.dice == pytest.approx(250 / 575)


def test_a_rim_in_pieces_around_one_core_is_one_lesion() -> None:
    """BraTS 2024 joins what touches the same lesion of another tissue; 2023 did not."""
    truth = head()
    truth[10:30, 10:15, 10:15] = NETC
    truth[5:10, 10:15, 10:15] = ET
    truth[30:35, 10:15, 10:15] = ET
    assert lesion_scores(truth, truth, REGIONS, voxel_mm=ONE)["ET"].hit == 1
    assert lesion_scores(truth, truth, REGIONS, voxel_mm=ONE, rules=BRATS2023)["ET"].hit == 2
    apart = lesion_scores(truth, truth, {"TC": (NETC, ET)}, voxel_mm=ONE)["TC"]
    assert apart.hit == 1 and apart.dice == 1


def test_joining_asks_the_first_lesion_touched() -> None:
    lesions = np.zeros((30, 5, 5), np.int32)
    others = np.zeros_like(lesions)
    for number, at in ((1, 1), (2, 9), (3, 17), (4, 26)):
        lesions[at : at + 2, 2, 2] = number
    others[3:9, 2, 2] = 1  # touches 1 and 2
    others[11:17, 2, 2] = 2  # touches 2 and 3; 2 is asked for the first
    joined = join(lesions, others)
    assert joined[1, 2, 2] == joined[9, 2, 2] != joined[17, 2, 2] != joined[26, 2, 2]
    assert set(np.unique(joined)) == {0, 1, 2, 3}
    lone = np.where(others == 1, 1, 0).astype(np.int32)
    lone[5:] = 0  # a single pair: the published program leaves all as it is
    assert np.array_equal(join(lesions, lone), lesions)


def test_an_image_full_of_lesion_has_no_background() -> None:
    full = np.full((6, 6, 6), SNFH, np.uint8)
    rules = LesionRules(name="any", min_mm3=0.0, joined=True)
    assert lesion_scores(full, full, {"SNFH": (SNFH,)}, voxel_mm=ONE, rules=rules)["SNFH"].dice == 1
