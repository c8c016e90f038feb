"""Policies that vary the lesion in its head: transplants and edits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from gliomagen.errors import GliomaGenError
from gliomagen.labels import ET, HEAD, LESION, NETC, RC, SNFH
from gliomagen.randomness import numpy_generator
from gliomagen.synthesis.edit import EditPolicy
from gliomagen.synthesis.edit_borders import Move
from gliomagen.synthesis.maps import CannotVaryError, LabelMap, Labels, Parameters
from gliomagen.synthesis.transplant import TransplantPolicy

TUMOUR = (NETC, SNFH, ET, RC)
CORE = (NETC, ET, RC)
Maker = Callable[..., LabelMap]
Volume = Callable[..., float]


def _edit(source: LabelMap, kind: str, **changes: Any) -> Labels:
    """Draws one edit, changes what was drawn, and applies it."""
    policy = EditPolicy(shares={kind: 1}, edits_per_output=(1, 1))
    parameters = policy.draw(source, None, numpy_generator(5))
    parameters["edits"][0].update(changes)
    return policy.apply(source, None, parameters)


def _transplant(
    source: LabelMap, donor: LabelMap, seed: int = 1, **options: Any
) -> tuple[Parameters, Labels]:
    policy = TransplantPolicy(**options)
    for number in range(10):
        try:
            parameters = policy.draw(source, donor, numpy_generator(seed, number))
            return parameters, policy.apply(source, donor, parameters)
        except CannotVaryError:
            continue
    raise AssertionError("no transplant works out")


@pytest.mark.parametrize("voxel_mm", [(3.0, 3.0, 3.0), (1.5, 1.5, 4.0)])
def test_a_transplant_keeps_its_volumes_in_mm(
    voxel_mm: tuple[float, float, float], source: LabelMap, make_glioma: Maker, ml: Volume
) -> None:
    """A donor of other voxels would come out as a lesion of another size."""
    donor = make_glioma(centre_mm=(-24, -30, 14), voxel_mm=voxel_mm, name="B")
    parameters, label = _transplant(source, donor, keep_old_probability=0, contact=(0, 0))
    for kind in TUMOUR:
        expected = parameters["scale"] ** 3 * ml(donor, donor.label, kind)
        assert ml(source, label, kind) == pytest.approx(expected, rel=0.12), kind


def test_a_transplant_goes_where_the_record_says(source: LabelMap, donor: LabelMap) -> None:
    """The place, rotation and mirroring of the record would not be those of the output."""
    kept = {"rotation_deg": [0, 0, 0], "scale": 1.0, "mirror": False, "keep_old": False, "contact": 0.2}
    centre = np.argwhere(donor.label > HEAD).mean(0)
    home = TransplantPolicy().apply(source, donor, kept | {"place_mm": (centre * 3).tolist()})
    np.testing.assert_array_equal(
        np.where(home > HEAD, home, 0), np.where(donor.label > HEAD, donor.label, 0)
    )
    moved = TransplantPolicy().apply(
        source, donor, kept | {"mirror": True, "place_mm": (centre * 3 + 6).tolist()}
    )
    assert np.argwhere(moved > HEAD).mean(0) == pytest.approx(centre + 2, abs=0.2)


def test_the_old_lesion_goes_or_stays(source: LabelMap, donor: LabelMap) -> None:
    """A removed lesion would leave a hole in the head, or a kept one be painted over."""
    for seed in range(3):
        _, label = _transplant(
            source, donor, seed, keep_old_probability=0, home_share=1, mirror_probability=0
        )
        where = (source.label > HEAD) & ~ndimage.binary_dilation(label > HEAD)
        assert (label[where] == HEAD).all()
        parameters, label = _transplant(source, donor, seed, keep_old_probability=1)
        old_core = np.isin(source.label, CORE)
        assert parameters["keep_old"]
        assert (label[old_core] == source.label[old_core]).mean() > 0.85
        assert (label[source.label == SNFH] > HEAD).all()


def test_transplants_keep_off_the_border_of_the_head(source: LabelMap, donor: LabelMap) -> None:
    """Lesions would lie in the skull, or be cut flat by it."""
    depth = ndimage.distance_transform_edt(source.label > 0, sampling=3) - 0.75
    for seed in range(4):
        _, label = _transplant(source, donor, seed, keep_old_probability=0, contact=(0, 0), margin_mm=4)
        assert depth[label > HEAD].min() >= 4
        parameters, label = _transplant(source, donor, seed, keep_old_probability=0)
        lesion = label > HEAD
        surface = lesion & ~ndimage.binary_erosion(lesion)
        assert (depth[surface] < 3).mean() <= parameters["contact"] <= 0.2


def test_a_lesion_that_met_the_surface_meets_it_again(source: LabelMap, make_glioma: Maker) -> None:
    """Cavities that open to the brain's surface would float inside of it."""
    donor = make_glioma(centre_mm=(50, 12, 8), name="B")
    touched = 0
    for seed in range(5):
        _, label = _transplant(source, donor, seed, keep_old_probability=0)
        touched += bool((ndimage.binary_dilation(label == 0, iterations=1) & (label > HEAD)).any())
    assert touched >= 4


def test_a_lesion_too_large_for_the_head_is_refused(make_ball: Maker) -> None:
    """It would fill the head, or be cut to its shape."""
    large, small = make_ball(SNFH, 50.0), make_ball(SNFH, 10.0)
    tiny = replace(small, label=np.ascontiguousarray(np.where(small.label > 0, small.label, 0)))
    tiny.label[np.indices(tiny.label.shape)[0] < 45] = 0
    with pytest.raises(CannotVaryError, match=r"fits nowhere|no place"):
        TransplantPolicy(scale=(1, 1)).draw(tiny, large, numpy_generator(0))
    place = {"place_mm": [90.0, 20.0, 80.0], "rotation_deg": [0, 0, 0], "scale": 1.0, "mirror": False}
    with pytest.raises(CannotVaryError, match="leave the head"):
        TransplantPolicy().apply(small, large, place | {"keep_old": False, "contact": 0.2})


@pytest.mark.parametrize("kind", [SNFH, NETC, RC, ET, LESION])
@pytest.mark.parametrize("mm", [4.0, -4.0])
def test_a_ball_grows_and_shrinks_by_the_drawn_distance(
    kind: int, mm: float, make_ball: Maker, ml: Volume
) -> None:
    """The distance of the record would not be that of the output."""
    source = make_ball(kind, 16.0)
    before = ml(source, source.label, kind)
    name = "grow" if mm > 0 else "shrink"
    exact = _edit(source, name, label=kind, mm=mm, roughness=0.0)
    assert ml(source, exact, kind) == pytest.approx(before * ((16 + mm) / 16) ** 3, rel=0.1)
    rough = _edit(source, name, label=kind, mm=mm, roughness=0.5)
    assert ml(source, rough, kind) == pytest.approx(before * ((16 + mm) / 16) ** 3, rel=0.35)
    assert (rough != exact).any()


def test_a_growing_necrosis_keeps_its_rim(make_glioma: Maker, ml: Volume) -> None:
    """Necrosis would break through its rim of enhancement, and oedema lie inside the core."""
    source = make_glioma(voxel_mm=(1.5, 1.5, 1.5))
    label = _edit(source, "grow", label=NETC, mm=4.0, roughness=0.0)
    # A ball of 9 mm in a rim of 4 mm, but for where the cavity stands.
    assert ml(source, label, NETC) > 1.7 * ml(source, source.label, NETC)
    assert ml(source, label, ET) > ml(source, source.label, ET)
    beside = ndimage.binary_dilation(label == NETC) & (label != NETC)
    assert np.isin(label[beside], (ET, RC)).mean() > 0.95
    assert ml(source, label, RC) > 0.8 * ml(source, source.label, RC)


def test_growth_takes_what_lies_outside_only(source: LabelMap) -> None:
    """Oedema would eat the core, enhancement the necrosis or the cavity."""
    label = _edit(source, "grow", label=SNFH, mm=5.0)
    core = np.isin(source.label, CORE)
    np.testing.assert_array_equal(label[core], source.label[core])
    label = _edit(source, "grow", label=ET, mm=4.0)
    kept = np.isin(source.label, (NETC, RC))
    np.testing.assert_array_equal(label[kept], source.label[kept])
    label = _edit(source, "shrink", label=SNFH, mm=-4.0)
    np.testing.assert_array_equal(label[core], source.label[core])


def test_a_cavity_stands_where_the_core_was(make_glioma: Maker, ml: Volume) -> None:
    """A cavity elsewhere, or without oedema around, is no surgery."""
    source = make_glioma(voxel_mm=(1.5, 1.5, 1.5))
    label = _edit(source, "cavity", extent=1.0, beyond_mm=1.0, rim_mm=2.0, rim_share=1.0)
    assert ml(source, label, RC) > ml(source, source.label, *CORE)
    core = np.isin(source.label, CORE)
    assert (label[core] == RC).mean() > 0.9
    assert not (label == NETC).any()
    wall = ndimage.binary_dilation(label == RC) & (label != RC)
    assert (label[wall] == ET).mean() > 0.95
    assert ndimage.label(label == RC)[1] == 1


def test_a_rim_may_be_incomplete_and_a_core_be_left(make_glioma: Maker, ml: Volume) -> None:
    """All cavities would look like complete resections."""
    source = make_glioma(voxel_mm=(1.5, 1.5, 1.5))
    label = _edit(source, "cavity", extent=1.0, rim_share=0.3, rim_mm=2.0)
    wall = ndimage.binary_dilation(label == RC) & (label != RC)
    assert 0.1 < (label[wall] == ET).mean() < 0.5
    assert (label[wall] == SNFH).mean() > 0.4
    rest = _edit(source, "cavity", extent=0.6, rim_share=0.3, direction=[0.0, 1.0, 0.0], beyond_mm=0.0)
    assert ml(source, rest, NETC) > 0.2 * ml(source, source.label, NETC)


def test_a_resected_low_grade_glioma_has_its_cavity_in_the_oedema(make_ball: Maker) -> None:
    """Sources of oedema alone would never have a cavity."""
    source = make_ball(SNFH, 16.0)
    label = _edit(source, "cavity")
    assert (label == RC).any() and (source.label[label == RC] == SNFH).mean() > 0.9


@pytest.mark.parametrize("becomes", ["necrosis", "oedema", "gone"])
def test_response_removes_enhancement(becomes: str, source: LabelMap, ml: Volume) -> None:
    """An answer to treatment would leave what it is to remove."""
    label = _edit(source, "respond", share=1.0, becomes=becomes, oedema_mm=0.0)
    assert not (label == ET).any()
    assert ml(source, label, *TUMOUR) == pytest.approx(ml(source, source.label, *TUMOUR))
    assert (ml(source, label, NETC) > ml(source, source.label, NETC)) == (becomes != "oedema")
    part = _edit(source, "respond", share=0.6, becomes=becomes, oedema_mm=4.0)
    assert 0.2 < ml(source, part, ET) / ml(source, source.label, ET) < 0.5
    assert ml(source, part, SNFH) < ml(source, label, SNFH)


def test_satellites_stand_apart_and_near(source: LabelMap) -> None:
    """They would be growth of the lesion, or metastases."""
    distance = ndimage.distance_transform_edt(source.label <= HEAD, sampling=3)
    depth = ndimage.distance_transform_edt(source.label > 0, sampling=3)
    _, before = ndimage.label(source.label > HEAD, np.ones((3, 3, 3)))
    for seed in range(4):
        policy = EditPolicy(shares={"satellite": 1}, edits_per_output=(1, 1))
        parameters = policy.draw(source, None, numpy_generator(seed))
        label = policy.apply(source, None, parameters)
        new = (label > HEAD) & (source.label <= HEAD)
        assert ndimage.label(label > HEAD, np.ones((3, 3, 3)))[1] == before + len(
            parameters["edits"][0]["satellites"]
        )
        assert distance[new].max() < 50 and depth[new].min() > 3
        np.testing.assert_array_equal(label[source.label > HEAD], source.label[source.label > HEAD])


@pytest.mark.parametrize("kind", ["grow", "shrink", "satellite"])
def test_a_lesion_of_unknown_kind_stays_one(kind: str, make_ball: Maker) -> None:
    """Cohorts of one class would get labels they do not have."""
    source = make_ball(LESION, 14.0)
    assert set(np.unique(_edit(source, kind))) == {0, HEAD, LESION}


@pytest.mark.parametrize("kind", ["cavity", "respond"])
def test_what_makes_no_sense_is_refused(kind: str, make_ball: Maker) -> None:
    """A cavity in a lesion of unknown kind would mix two label spaces."""
    with pytest.raises(CannotVaryError):
        _edit(make_ball(LESION, 14.0), kind)


def test_several_edits_keep_the_order_of_sub_regions(source: LabelMap) -> None:
    """Edits on top of each other would leave cores bare in the middle of oedema's place, or dust."""
    policy = EditPolicy(edits_per_output=(2, 3))
    made = 0
    for seed in range(10):
        try:
            parameters = policy.draw(source, None, numpy_generator(seed))
            label = policy.apply(source, None, parameters)
        except CannotVaryError:
            continue
        made += 1
        names = [edit["edit"] for edit in parameters["edits"]]
        assert 2 <= len(names) <= 3 and names == sorted(names, key=policy.order.index)
        core = np.isin(label, CORE)
        inner = ndimage.binary_fill_holes(core) & ~core
        assert (label[inner] == SNFH).sum() + (label[inner] == HEAD).sum() <= 0.02 * core.sum()
        assert set(np.unique(label)) <= {0, HEAD, *TUMOUR}
    assert made >= 8


def test_wrong_options_are_one_line() -> None:
    """A slip in the configuration would be a traceback."""
    for options in (
        {"shares": {"grwo": 1}},
        {"shares": {"grow": 0}},
        {"options": {"grow": {"milimetres": 3}}},
    ):
        with pytest.raises(GliomaGenError, match=r"grwo|shares|milimetres"):
            EditPolicy(**options)
    with pytest.raises(GliomaGenError, match="scale"):
        TransplantPolicy(scale=(1.2, 0.8))


def test_what_grows_loses_none_of_its_own(source: LabelMap) -> None:
    edit = Move(outward=True, mm=(2.0, 5.0), shares={"NETC": 1.0})
    for seed in range(5):
        grown = edit.apply(source, edit.draw(source, np.random.default_rng(seed)))
        assert (grown[source.label == NETC] == NETC).all()


def test_a_lesion_of_unknown_kind_is_never_drawn_for_surgery_or_treatment(source: LabelMap) -> None:
    """Else most draws on a cohort with one lesion class would be refused."""
    unknown = replace(source, label=np.where(source.label > HEAD, LESION, source.label).astype(np.uint8))
    for seed in range(20):
        drawn = EditPolicy().draw(unknown, None, np.random.default_rng(seed))
        assert {edit["edit"] for edit in drawn["edits"]} <= {"grow", "shrink", "satellite"}
