"""If a measure does not move when its fault is there, nothing built on it can see the fault."""

from __future__ import annotations

import json

import numpy as np
import pytest
from acceptance_heads import VOXEL_MM, head, nearest_greys
from scipy import ndimage

from gliomagen.labels import ET, HEAD, LESION, NETC, RC, SNFH
from gliomagen.synthesis.damage import Case, damaged
from gliomagen.synthesis.measures import GROUPS, Measures, agreement, background, measure
from gliomagen.synthesis.texture import haar_detail
from gliomagen.synthesis.whole_field import displaced_copy


def of(case: Case) -> Measures:
    return measure(case.volume, case.label, voxel_mm=VOXEL_MM)


def spoiled(kind: str, seed: int = 0) -> tuple[Measures, Measures, dict[str, object]]:
    case = head(7)
    result = damaged(kind, case, head(8), np.random.default_rng(seed))
    assert result is not None
    return of(case), of(result[0]), result[1]


def test_every_group_is_measured_in_finite_plain_numbers() -> None:
    case = head(7)
    found = measure(case.volume, case.label, voxel_mm=VOXEL_MM, segment=nearest_greys)
    assert set(found) == set(GROUPS)
    assert all(np.isfinite(value) for group in found.values() for value in group.values())
    json.dumps(found)


def test_haar_detail_keeps_the_strength_of_white_noise_and_ignores_slopes() -> None:
    noise = np.random.default_rng(0).normal(0, 0.03, (30, 30, 30)).astype(np.float32)
    slope = np.linspace(0, 1, 30, dtype=np.float32)[:, None, None]
    assert haar_detail(noise + slope).std() == pytest.approx(0.03, rel=0.03)


def test_added_noise_raises_noise_in_every_contrast() -> None:
    before, after, _ = spoiled("noise of 5 % of the range")
    for name in ("t1c", "t1n", "t2f", "t2w"):
        assert after["texture"][f"{name} noise"] > before["texture"][f"{name} noise"] + 0.5  # log2


def test_blur_lowers_fine_energy_and_the_edges_of_the_lesion() -> None:
    before, after, _ = spoiled("blur of one voxel")
    for name in ("t1c", "t1n", "t2f", "t2w"):
        assert after["texture"][f"{name} fine to coarse"] < before["texture"][f"{name} fine to coarse"] - 1
        assert after["texture"][f"{name} gradient 0.9"] < before["texture"][f"{name} gradient 0.9"]


def test_a_shift_leaves_signal_outside_an_empty_rim_and_edges_beside_the_mask() -> None:
    before, after, _ = spoiled("shift of two voxels")
    assert before["background"]["signal outside"] == 0
    assert after["background"]["signal outside"] > 0.02
    assert after["background"]["empty rim"] > before["background"]["empty rim"] + 0.1
    assert after["texture"]["t1c lesion edge"] < before["texture"]["t1c lesion edge"] - 0.3


def test_swapped_contrasts_change_how_contrasts_go_together() -> None:
    case = head(7)
    swapped = Case(volume=case.volume[[1, 0, 2, 3]], label=case.label)
    before, after = of(case)["contrast"], of(swapped)["contrast"]
    assert before["t1c-t1n lopsidedness"] > 0.05  # vessels are bright on t1c
    assert after["t1c-t1n lopsidedness"] == pytest.approx(-before["t1c-t1n lopsidedness"], abs=1e-6)
    assert after["t1c of ET"] < before["t1c of ET"] - 1


def test_an_inverted_label_changes_the_sign_of_its_contrast() -> None:
    case = head(7)
    volume = case.volume.copy()
    where, normal = case.label == ET, np.median(case.volume[0][case.label == HEAD])
    volume[0][where] = np.clip(2 * normal - volume[0][where], 0, 1)
    before, after = of(case)["contrast"], of(Case(volume=volume, label=case.label))["contrast"]
    assert before["t1c of ET"] > 1 and after["t1c of ET"] < -1


def test_inversion_turns_the_rim_of_liquor_and_the_greys_around() -> None:
    before, after, _ = spoiled("whole volume inverted")
    assert before["contrast"]["t1c of ET"] > 0 > after["contrast"]["t1c of ET"]
    assert after["contrast"]["t1c quantile 0.95"] < before["contrast"]["t1c quantile 0.95"]


def test_repeated_slices_show_in_the_least_detailed_slice() -> None:
    case = head(7)
    volume = case.volume.copy()
    volume[:, :, :, 12:15] = volume[:, :, :, 11:12]
    before, after = of(case)["texture"], of(Case(volume=volume, label=case.label))["texture"]
    assert after["t1n least detailed slice"] < before["t1n least detailed slice"] - 3
    assert after["t1n noise"] > before["t1n noise"] - 1  # an average over the head hides them


def test_contrast_does_not_depend_on_the_scanners_gain() -> None:
    case = head(7)
    darker = of(Case(volume=(case.volume * 0.8).astype(np.float32), label=case.label))["contrast"]
    same = of(case)["contrast"]
    assert darker["t2f of SNFH"] == pytest.approx(same["t2f of SNFH"], rel=1e-3)
    assert darker["t1c-t2w correlation"] == pytest.approx(same["t1c-t2w correlation"], abs=1e-3)


def test_agreement_is_the_dice_of_each_label_and_of_the_wholes() -> None:
    label = np.full((20, 20, 20), HEAD, np.uint8)
    label[2:8, 2:8, 2:8], label[10:16, 2:8, 2:8] = ET, SNFH
    seen = label.copy()
    seen[2:5, 2:8, 2:8] = SNFH  # half of the enhancing tumour is missed
    found = agreement(seen, label)
    assert found["Dice ET"] == pytest.approx(2 / 3)
    assert found["Dice SNFH"] == pytest.approx(2 * 216 / (216 + 216 + 108))
    assert found["Dice core"] == pytest.approx(2 / 3)
    assert found["Dice lesion"] == 1 and found["false lesion"] == 0
    assert "Dice RC" not in found and "Dice NETC" not in found


def test_a_healthy_mask_has_no_dice_but_false_lesion() -> None:
    label = np.full((10, 10, 10), HEAD, np.uint8)
    seen = label.copy()
    seen[:2] = ET
    assert agreement(seen, label) == {"false lesion": pytest.approx(0.2)}


def test_an_empty_lesion_mask_is_measured_without_the_lesion() -> None:
    case = head(7)
    healthy = Case(volume=case.volume, label=np.minimum(case.label, HEAD).astype(np.uint8))
    found = of(healthy)
    assert "t1c of ET" not in found["contrast"] and "t1c lesion edge" not in found["texture"]
    assert found["contrast"]["t1c quantile 0.5"] > 0


def test_labels_with_few_voxels_are_left_out() -> None:
    case = head(7)
    label = case.label.copy()
    rest = np.flatnonzero(label == RC)[29:]
    label.flat[rest] = HEAD
    assert "t1c of RC" not in of(Case(volume=case.volume, label=label))["contrast"]
    assert "t1c of NETC" in of(Case(volume=case.volume, label=label))["contrast"]


def test_a_lesion_of_unknown_kind_is_measured() -> None:
    case = head(7)
    label = np.where(case.label > HEAD, LESION, case.label).astype(np.uint8)
    found = measure(case.volume, label, voxel_mm=VOXEL_MM, segment=lambda _: label)
    assert found["agreement"]["Dice lesion"] == 1
    assert "t2f of lesion" in found["contrast"]


@pytest.mark.parametrize("label", [np.zeros((8, 8, 8), np.uint8), np.full((8, 8, 8), NETC, np.uint8)])
def test_a_mask_without_head_or_of_nothing_but_lesion_does_not_crash(label: np.ndarray) -> None:
    found = measure(np.zeros((4, 8, 8, 8), np.float32), label, voxel_mm=VOXEL_MM)
    assert all(np.isfinite(value) for group in found.values() for value in group.values())


def test_a_constant_volume_does_not_crash() -> None:
    case = head(7)
    flat = of(Case(volume=(0.5 * (case.label > 0)[None].repeat(4, 0)).astype(np.float32), label=case.label))
    assert all(np.isfinite(value) for group in flat.values() for value in group.values())
    assert flat["texture"]["t1c noise"] < -10


def test_a_head_cut_by_the_images_edge_has_no_empty_rim_there() -> None:
    label = np.zeros((12, 12, 12), np.uint8)
    label[:, :, :6] = HEAD
    volume = np.where(label > 0, np.float32(0.5), 0)[None].repeat(4, 0)
    assert background(volume, label)["empty rim"] == 0
    moved = ndimage.shift(volume, (0, 0, 0, 1), order=0)
    assert (
        background(moved, label)["empty rim"] == 0
    )  # it comes in from the image's edge, not from the head's
    assert background(moved, label)["signal outside"] > 0


def test_shading_of_one_contrast_tilts_that_contrast_alone() -> None:
    before, after, drawn = spoiled("one contrast shaded")
    names = ("t1c", "t1n", "t2f", "t2w")
    for channel, name in enumerate(names):
        tilts = [
            abs(after["field"][key] - before["field"][key])
            for key in before["field"]
            if key.startswith(f"{name} slope")
        ]
        assert (max(tilts) > 0.2) == (channel == drawn["channel"])


def test_a_ghost_shows_as_a_copy() -> None:
    before, after, drawn = spoiled("motion ghost", seed=1)
    assert drawn["axis"] != 2  # there the copy would lie nearer than folds repeat
    for name in ("t1c", "t1n", "t2f", "t2w"):
        assert after["field"][f"{name} copy"] > before["field"][f"{name} copy"] + 0.05


def test_a_displaced_copy_is_found_at_its_strength() -> None:
    detail = np.random.default_rng(0).standard_normal((40, 30, 20))
    inside = np.ones(detail.shape, bool)
    copied = 0.8 * detail + 0.2 * np.roll(detail, 12, axis=0)
    expected = 0.8 * 0.2 / (0.8**2 + 0.2**2)  # correlation of a + kb with b
    assert displaced_copy(detail, inside, voxel_mm=(3, 3, 3)) < 0.08
    assert displaced_copy(copied, inside, voxel_mm=(3, 3, 3)) == pytest.approx(expected, abs=0.04)
