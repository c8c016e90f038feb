"""Policies that vary head and lesion together: the published protocol, and smooth deformation."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from gliomagen.labels import ET, HEAD, NETC, RC, SNFH
from gliomagen.randomness import numpy_generator
from gliomagen.synthesis.deform import DeformPolicy, affine_matrix
from gliomagen.synthesis.edit import EditPolicy
from gliomagen.synthesis.fields import coarse_noise, exponential, jacobian_determinant, smooth_noise
from gliomagen.synthesis.maps import CannotVaryError, LabelMap, Labels, Parameters, Policy
from gliomagen.synthesis.published import PublishedPolicy
from gliomagen.synthesis.transplant import TransplantPolicy

POLICIES: dict[str, Callable[[], Policy]] = {
    "published": PublishedPolicy,
    "deform": DeformPolicy,
    "transplant": TransplantPolicy,
    "edit": EditPolicy,
}
KEPT: Parameters = {
    "amplitude_mm": 0.0,
    "smoothness_mm": 30.0,
    "field_seed": 1,
    "rotation_deg": [0.0, 0.0, 0.0],
    "scale": [1.0, 1.0, 1.0],
    "shear": [0.0, 0.0, 0.0],
    "flip": False,
}


def _outputs(
    policy: Policy, source: LabelMap, donor: LabelMap | None, count: int
) -> list[tuple[Parameters, Labels]]:
    found = []
    for number in range(4 * count):
        try:
            parameters = policy.draw(source, donor, numpy_generator(number, "test"))
            found.append((parameters, policy.apply(source, donor, parameters)))
        except CannotVaryError:
            continue
        if len(found) == count:
            return found
    raise AssertionError("most draws do not work out")


@pytest.mark.parametrize("name", POLICIES)
def test_a_record_read_back_makes_the_same_map(name: str, source: LabelMap, donor: LabelMap) -> None:
    """Without it nobody could make again what a manifest describes."""
    before = source.label.copy(), donor.label.copy()
    for parameters, label in _outputs(POLICIES[name](), source, donor, 3):
        again = POLICIES[name]().apply(source, donor, json.loads(json.dumps(parameters)))
        np.testing.assert_array_equal(again, label)
        assert label.dtype == np.uint8 and label.shape == source.label.shape
    np.testing.assert_array_equal(source.label, before[0])
    np.testing.assert_array_equal(donor.label, before[1])


@pytest.mark.parametrize("name", ["transplant", "edit"])
def test_lesion_policies_leave_the_head_as_it_is(name: str, source: LabelMap, donor: LabelMap) -> None:
    """Painting a lesion into a real scan needs the scan's own head; and no lesion may lie outside of it."""
    for parameters, label in _outputs(POLICIES[name](), source, donor, 8):
        np.testing.assert_array_equal(label > 0, source.label > 0, err_msg=str(parameters))
        assert (label != source.label).any()


@pytest.mark.parametrize("name", POLICIES)
def test_a_map_with_neither_head_nor_lesion_is_refused_not_broken(name: str, source: LabelMap) -> None:
    """A batch over thousands of maps would end in a traceback."""
    empty = replace(source, label=np.zeros_like(source.label))
    if name == "published":
        return  # nothing to lose: an empty map scales to an empty map
    with pytest.raises(CannotVaryError):
        policy = POLICIES[name]()
        policy.apply(empty, empty, policy.draw(empty, empty, numpy_generator(0)))


def test_published_is_a_flip_and_one_scale(source: LabelMap, make_glioma: Callable[..., LabelMap]) -> None:
    """The published count could not be reproduced by any other protocol."""
    policy = PublishedPolicy()
    drawn = [policy.draw(source, None, numpy_generator(number)) for number in range(400)]
    assert 0.4 < np.mean([parameters["flip"] for parameters in drawn]) < 0.6
    scales = np.array([parameters["scale"] for parameters in drawn])
    assert 0.98 <= scales.min() < 0.9805 and 1.0195 < scales.max() <= 1.02
    np.testing.assert_array_equal(
        policy.apply(source, None, {"flip": True, "scale": 1.0}), source.label[::-1]
    )
    fine = make_glioma(voxel_mm=(1.0, 1.0, 1.0))  # on a coarse grid 2 % are less than half a voxel
    larger = policy.apply(fine, None, {"flip": False, "scale": 1.02})
    assert (larger > 0).sum() / (fine.label > 0).sum() == pytest.approx(1.02**3, rel=0.02)
    assert policy.keeps_near


def test_published_redraws_the_scale_until_the_head_is_inside(source: LabelMap) -> None:
    """A head that fills the image can only become smaller."""
    tight = replace(source, label=np.full((9, 9, 9), HEAD, np.uint8))
    drawn = [PublishedPolicy().draw(tight, None, numpy_generator(number)) for number in range(30)]
    assert max(parameters["scale"] for parameters in drawn) <= 1
    assert max(parameters["tries"] for parameters in drawn) > 1
    with pytest.raises(CannotVaryError, match="leaves the image"):
        PublishedPolicy(scale=(1.01, 1.02)).draw(tight, None, numpy_generator(0))


def test_published_rejects_a_mask_that_lost_a_label(make_glioma: Callable[..., LabelMap]) -> None:
    """These rejections are what the published count counts; the runner must see why."""
    source = make_glioma(voxel_mm=(1.5, 3.0, 3.0))
    label = np.where(source.label > HEAD, np.uint8(HEAD), source.label)
    scaled = PublishedPolicy().apply(replace(source, label=label), None, {"flip": False, "scale": 0.98})
    assert set(np.unique(scaled)) == {0, HEAD}
    lost = 0
    for x in range(20, 100):
        speck = label.copy()
        speck[x, 33, 26] = NETC
        try:
            PublishedPolicy().apply(replace(source, label=speck), None, {"flip": False, "scale": 0.98})
        except CannotVaryError as error:
            assert str(error) == "lost NETC"
            lost += 1
    assert 0 < lost < 10


def test_no_deformation_changes_nothing(source: LabelMap) -> None:
    """Half a voxel of shift would be hidden in every output."""
    np.testing.assert_array_equal(DeformPolicy().apply(source, None, KEPT), source.label)
    np.testing.assert_array_equal(
        DeformPolicy().apply(source, None, KEPT | {"flip": True}), source.label[::-1]
    )


def test_deform_volumes_change_as_drawn(source: LabelMap, ml: Callable[..., float]) -> None:
    """Thin rims would vanish by resampling, and lesion volumes mean nothing."""
    parameters = KEPT | {
        "scale": [1.1, 0.9, 1.05],
        "rotation_deg": [8.0, -5.0, 9.0],
        "shear": [0.03, 0.0, -0.03],
    }
    label = DeformPolicy().apply(source, None, parameters)
    factor = np.linalg.det(affine_matrix(parameters))
    for kind in (NETC, SNFH, ET, RC):
        assert ml(source, label, kind) == pytest.approx(factor * ml(source, source.label, kind), rel=0.08), (
            kind
        )
    assert (label > 0).sum() == pytest.approx(factor * (source.label > 0).sum(), rel=0.02)


def test_deform_never_folds_and_keeps_what_there_was(source: LabelMap) -> None:
    """A fold would turn anatomy inside out."""
    policy = DeformPolicy()
    for parameters, label in _outputs(policy, source, None, 6):
        displacement, spacing = policy.warp(source, parameters)
        assert jacobian_determinant(displacement, spacing).min() > 0
        assert set(np.unique(label)) == set(np.unique(source.label))
        assert (label[source.label.shape[0] // 2] > 0).any()
    with pytest.raises(CannotVaryError, match="changes volumes"):
        policy.warp(source, KEPT | {"amplitude_mm": 40.0, "smoothness_mm": 15.0})


def test_deform_refuses_a_head_that_would_leave_the_image(source: LabelMap) -> None:
    """Cut heads would come into the data set unnoticed."""
    with pytest.raises(CannotVaryError, match="leaves the image"):
        DeformPolicy().apply(source, None, KEPT | {"scale": [1.5, 1.0, 1.0]})


def test_a_head_cut_by_the_image_may_be_deformed(source: LabelMap) -> None:
    """Thick-slice scans end inside the head: they would have no variants."""
    cut = replace(source, label=np.ascontiguousarray(source.label[:, :, 20:36]))
    label = DeformPolicy().apply(cut, None, KEPT | {"scale": [0.95, 0.95, 0.95]})
    assert (label[..., 0] > 0).any() and (label[..., -1] > 0).any()


def test_the_exponential_of_a_field_is_undone_by_that_of_its_negative() -> None:
    """Scaling and squaring with a wrong sign or unit would not be invertible."""
    noise, spacing = coarse_noise((40, 40, 30), (3, 3, 3), smoothness_mm=25, seed=3, channels=3)
    there, back = exponential(4 * noise, spacing), exponential(-4 * noise, spacing)
    inner = (slice(None), *[slice(4, -4)] * 3)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in noise.shape[1:]], indexing="ij"))
    from scipy import ndimage

    at = index + there / spacing.reshape(3, 1, 1, 1)
    returned = there + np.stack([ndimage.map_coordinates(part, at, order=1, mode="nearest") for part in back])
    assert np.abs(returned[inner]).max() < 0.1 * np.abs(there[inner]).max()


def test_noise_has_unit_variance_and_its_smoothness_in_mm() -> None:
    """Amplitudes in mm would mean nothing, or something else on every grid."""
    for voxel_mm in ((2.0, 2.0, 2.0), (1.0, 2.0, 5.0)):
        shape = tuple(int(160 / mm) for mm in voxel_mm)
        fields = smooth_noise(shape, voxel_mm, smoothness_mm=6, seed=1, channels=4)
        assert fields.std() == pytest.approx(1, abs=0.15)
        step = int(12 / voxel_mm[0])  # correlation at 12 mm is exp(-12^2 / (4 * 6^2))
        correlation = (fields[:, step:] * fields[:, :-step]).mean() / (fields**2).mean()
        assert correlation == pytest.approx(np.exp(-1), abs=0.12)
