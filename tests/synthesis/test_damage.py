"""If damage is not what it says, the proof that acceptance catches it is worth nothing."""

from __future__ import annotations

import json

import numpy as np
import pytest
from acceptance_heads import head

from gliomagen.errors import GliomaGenError
from gliomagen.labels import ET, HEAD, TUMOUR
from gliomagen.synthesis.damage import KINDS, RESERVED, Case, damaged


@pytest.fixture(scope="module")
def case() -> Case:
    return head(1)


@pytest.fixture(scope="module")
def other() -> Case:
    return head(2)


@pytest.mark.parametrize("kind", [*KINDS, *RESERVED])
def test_damage_changes_the_case_and_leaves_the_given_one(kind: str, case: Case, other: Case) -> None:
    before = case.volume.copy(), case.label.copy()
    result = damaged(kind, case, other, np.random.default_rng(0))
    assert result is not None
    after, parameters = result
    assert np.array_equal(case.volume, before[0]) and np.array_equal(case.label, before[1])
    assert not (np.array_equal(after.volume, case.volume) and np.array_equal(after.label, case.label))
    assert after.volume.dtype == np.float32 and 0 <= after.volume.min() and after.volume.max() <= 1
    json.dumps(parameters)


@pytest.mark.parametrize("kind", [*KINDS, *RESERVED])
def test_damage_is_a_function_of_its_seed(kind: str, case: Case, other: Case) -> None:
    first = damaged(kind, case, other, np.random.default_rng(5))
    second = damaged(kind, case, other, np.random.default_rng(5))
    assert first is not None and second is not None
    assert first[1] == second[1]
    assert np.array_equal(first[0].volume, second[0].volume)


@pytest.mark.parametrize("kind", [k for k in (*KINDS, *RESERVED) if k != "shift of two voxels"])
def test_an_emptied_or_filled_background_does_not_give_image_damage_away(
    kind: str, case: Case, other: Case
) -> None:
    result = damaged(kind, case, other, np.random.default_rng(3))
    assert result is not None
    assert not result[0].volume[:, case.label == 0].any()


def test_noise_has_five_percent_of_the_range(case: Case, other: Case) -> None:
    result = damaged("noise of 5 % of the range", case, other, np.random.default_rng(0))
    assert result is not None
    middle = (case.volume > 0.3) & (case.volume < 0.7)
    assert (result[0].volume - case.volume)[middle].std() == pytest.approx(0.05, rel=0.03)


def test_a_shift_moves_two_voxels_and_fills_with_zero(case: Case, other: Case) -> None:
    result = damaged("shift of two voxels", case, other, np.random.default_rng(0))
    assert result is not None
    back = np.roll(result[0].volume, -result[1]["voxels"], 1 + result[1]["axis"])
    assert np.array_equal(back, case.volume)  # the head is far enough from the edge


def test_an_inverted_label_is_mirrored_about_normal_tissue_and_the_rest_untouched(case: Case) -> None:
    only = Case(volume=case.volume, label=np.where(np.isin(case.label, (0, HEAD, ET)), case.label, HEAD))
    result = damaged("one label's contrast inverted", only, only, np.random.default_rng(0))
    assert result is not None and result[1] == {"label": ET}
    where = only.label == ET
    normal = np.median(only.volume[0][only.label == HEAD])
    before, after = np.median(only.volume[0][where]), np.median(result[0].volume[0][where])
    assert after - normal == pytest.approx(normal - before, abs=1e-3)
    assert np.array_equal(result[0].volume[:, ~where], only.volume[:, ~where])


def test_a_case_without_a_lesion_has_no_label_to_invert(case: Case, other: Case) -> None:
    healthy = Case(volume=case.volume, label=np.minimum(case.label, HEAD).astype(np.uint8))
    rng = np.random.default_rng(0)
    assert damaged("one label's contrast inverted", healthy, other, rng) is None
    assert damaged("lesion of another case in the mask", case, healthy, rng) is None


def test_the_lesion_of_another_case_stays_in_this_head(case: Case, other: Case) -> None:
    result = damaged("lesion of another case in the mask", case, other, np.random.default_rng(0))
    assert result is not None
    assert np.array_equal(result[0].label > 0, case.label > 0)
    inside = np.isin(other.label, TUMOUR) & (case.label > 0)
    assert np.array_equal(result[0].label[inside], other.label[inside])


def test_repeated_slices_are_the_one_before(case: Case, other: Case) -> None:
    result = damaged("missing slices repeated", case, other, np.random.default_rng(0))
    assert result is not None
    volume = np.moveaxis(result[0].volume, 1 + result[1]["axis"], 1)
    label = np.moveaxis(case.label, result[1]["axis"], 0)
    first, both = result[1]["first"], (label[result[1]["first"]] > 0) & (label[result[1]["first"] - 1] > 0)
    assert np.array_equal(volume[:, first, both], volume[:, first - 1, both])


def test_an_unknown_kind_is_named() -> None:
    case = head(1)
    with pytest.raises(GliomaGenError, match="damage 'rust' is not known"):
        damaged("rust", case, case, np.random.default_rng(0))
