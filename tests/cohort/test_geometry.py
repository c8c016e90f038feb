"""The prepared grid: places stay put, volumes stay true, nothing is interpolated or lost in silence."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from nibabel.orientations import axcodes2ornt, ornt_transform
from numpy.typing import NDArray

from gliomagen.cohort.geometry import FitGeometry, FitGeometryd, resample
from gliomagen.cohort.head import AddHeadLabeld
from gliomagen.cohort.loading import ConvertLabelsd, LoadVolumesd, affine_of, with_geometry
from gliomagen.errors import GliomaGenError
from gliomagen.labels import ET, HEAD, NETC, SNFH
from gliomagen.volume import Volume, write_volume

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "tcga-lgg" / "BraTS-GLI-06692-100"
Array = NDArray[Any]


def turned(degrees: float, axis: int) -> Array:
    a = np.deg2rad(degrees)
    i, j = [k for k in range(3) if k != axis]
    matrix = np.eye(4)
    matrix[i, i] = matrix[j, j] = np.cos(a)
    matrix[i, j], matrix[j, i] = -np.sin(a), np.sin(a)
    return matrix


def affine(voxel_mm: tuple[float, ...], origin: tuple[float, ...] = (-31.0, 12.0, 45.0)) -> Array:
    result = np.diag([*voxel_mm, 1.0])
    result[:3, 3] = origin
    return result


def world(shape: tuple[int, ...], matrix: Array) -> Array:
    """World coordinates of every voxel, (3, X, Y, Z)."""
    return np.einsum("ij,jxyz->ixyz", matrix[:3, :3], np.indices(shape)) + matrix[:3, 3].reshape(3, 1, 1, 1)


def head_in(shape: tuple[int, ...], matrix: Array, centre: Array) -> tuple[Array, Array]:
    """An image that is a known function of the world, and its label: a head of 40x48x36 mm with two lesions."""
    p = world(shape, matrix) - centre.reshape(3, 1, 1, 1)
    label = ((p / np.array([20, 24, 18]).reshape(3, 1, 1, 1)) ** 2).sum(0) < 1
    label = label.astype(np.uint8) * HEAD
    q = p - np.array([3.3, 4.1, -2.7]).reshape(3, 1, 1, 1)
    label[((q / np.array([14, 16, 13]).reshape(3, 1, 1, 1)) ** 2).sum(0) < 1] = SNFH
    label[(q**2).sum(0) < 9**2] = ET
    image = np.where(label > 0, 0.5 + 0.01 * p[0] + 0.004 * p[1] - 0.006 * p[2], 0).astype(np.float32)
    return image, label


def fitted(
    image: Array, label: Array, matrix: Array, **options: Any
) -> tuple[Array, Array, Array, dict[str, float]]:
    case = {"t1c": with_geometry(image[None], matrix), "label": with_geometry(label[None], matrix)}
    case = FitGeometryd(("t1c", "label"), **options)(case)
    assert case["t1c"].dtype == torch.float32 and case["label"].dtype == torch.uint8
    np.testing.assert_array_equal(case["t1c"].affine, case["label"].affine)
    return np.asarray(case["t1c"])[0], np.asarray(case["label"])[0], affine_of(case["t1c"]), case["cut_off"]


def centroid(mask: Array, matrix: Array) -> Array:
    return matrix[:3, :3] @ np.argwhere(mask).mean(0) + matrix[:3, 3]


def assert_lesions_kept(
    before: Array, source: Array, after: Array, target: Array, *, within: float = 0.03
) -> None:
    """Volumes within 3 %, centroids within a voxel, label by label."""
    mm3 = [abs(np.linalg.det(matrix[:3, :3])) for matrix in (source, target)]
    for number in np.unique(before[before > HEAD]):
        a, b = before == number, after == number
        assert b.sum() * mm3[1] == pytest.approx(a.sum() * mm3[0], rel=within), number
        apart = np.linalg.norm(centroid(a, source) - centroid(b, target))
        assert apart < np.linalg.norm(target[:3, :3], axis=0).min()


def test_all_48_axis_orders_prepare_to_the_same_case(tmp_path: Path) -> None:
    matrix = affine((1.0, 1.1, 1.3))
    image, label = head_in((48, 52, 36), matrix, np.array([-7.0, 41, 68]))
    pictures = {"t1c": image, "label": label}
    first: dict[Any, Any] = {}
    steps = [
        LoadVolumesd(("t1c", "label")),
        FitGeometryd("t1c", spatial_size=(32, 48, 32), voxel_mm=(1.4,) * 3),
    ]
    for axes in permutations(range(3)):
        for signs in product("RL", "AP", "SI"):
            turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt([signs[axis] for axis in axes]))
            case: dict[Any, Any] = {}
            for key, data in pictures.items():
                other = nib.Nifti1Image(data, matrix).as_reoriented(turn)
                case[key] = tmp_path / f"{key}.nii"
                write_volume(case[key], Volume(data=np.asarray(other.dataobj), affine=other.affine))
            for step in steps:
                case = step(case)
            first = first or case
            torch.testing.assert_close(case["t1c"].as_tensor(), first["t1c"].as_tensor(), atol=1e-4, rtol=0)
            assert (case["label"] != first["label"]).sum() <= 3  # voxels right on a boundary
            np.testing.assert_allclose(case["t1c"].affine, first["t1c"].affine, atol=1e-4)
    assert float(first["t1c"].max()) > 0.6


@pytest.mark.parametrize(
    "source",
    [
        affine((1.0, 1.0, 1.0)),
        affine((0.9, 1.0, 1.2)),
        turned(14, 2) @ turned(-8, 0) @ affine((1.0, 1.0, 1.2)),
    ],
)
@pytest.mark.parametrize("voxel_mm", [1.0, 1.25])
def test_the_affine_tells_the_truth(source: Array, voxel_mm: float) -> None:
    """The image is a function of the world, so each prepared voxel can be checked at the place it claims."""
    centre = (source @ [26, 28, 24, 1])[:3]
    image, label = head_in((56, 60, 50), source, centre)
    out, found, to, cut = fitted(image, label, source, spatial_size=(48, 64, 48), voxel_mm=(voxel_mm,) * 3)
    np.testing.assert_allclose(to[:3, :3], voxel_mm * np.eye(3), atol=1e-9)
    p = world(out.shape, to) - centre.reshape(3, 1, 1, 1)
    expected = 0.5 + 0.01 * p[0] + 0.004 * p[1] - 0.006 * p[2]
    inner = ((p / np.array([16, 20, 14]).reshape(3, 1, 1, 1)) ** 2).sum(
        0
    ) < 1  # away from the edge's partial volume
    np.testing.assert_allclose(out[inner], expected[inner], atol=2e-4)
    assert inner.sum() > 5000 and (out[found == 0] == 0).all()
    # voxels of 1.2 mm taken at 1.25: whether the one left out falls into the lesion is 4 % of its length
    plain = np.allclose(source[:3, :3], np.eye(3))
    assert_lesions_kept(label, source, found, to, within=0.03 if plain else 0.06)
    assert cut == {"head_mm3": 0.0, "lesion_mm3": 0.0}
    box = np.argwhere(found > 0)
    np.testing.assert_allclose((box.min(0) + box.max(0)) / 2, (np.array(out.shape) - 1) / 2, atol=1)


def test_same_voxel_size_is_cropped_and_padded_bit_for_bit() -> None:
    source = affine((1.25, 1.25, 1.25))
    rng = np.random.default_rng(0)
    image, label = head_in((40, 61, 33), source, (source @ [21, 30, 15, 1])[:3])
    image = np.where(label > 0, rng.random(label.shape), 0).astype(np.float32)
    out, found, to, _ = fitted(image, label, source, spatial_size=(64, 48, 48))
    np.testing.assert_array_equal(np.sort(out[found > 0]), np.sort(image[label > 0]))
    shift = np.linalg.inv(source) @ to
    np.testing.assert_allclose(shift[:3, 3], np.rint(shift[:3, 3]), atol=1e-9)
    x, y, z = np.argwhere(found == ET)[0]
    i, j, k = np.rint(shift @ [x, y, z, 1])[:3].astype(int)
    assert label[i, j, k] == ET and out[x, y, z] == image[i, j, k]
    # header of another writer: same grid but for float32 rounding
    again = fitted(image, label, source.astype(np.float32).astype(float) + 1e-7, spatial_size=(64, 48, 48))[0]
    np.testing.assert_array_equal(again, out)


def test_thick_slices_are_left_untouched() -> None:
    """Interpolating between slices 6 mm apart would invent anatomy; an oblique stack keeps its own directions."""
    for source in (affine((0.9, 0.9, 6.0)), turned(11, 0) @ affine((0.9, 0.9, 6.0))):
        image, label = head_in((70, 70, 9), source, (source @ [34, 36, 4, 1])[:3])
        options = {"voxel_mm": (1.2, 1.2, None), "spatial_size": (48, 48, None)}
        out, found, to, _ = fitted(image, label, source, **options)
        assert out.shape == (48, 48, 9)
        np.testing.assert_allclose(to[:3, 2], source[:3, 2])
        np.testing.assert_allclose(np.linalg.norm(to[:3, :3], axis=0), (1.2, 1.2, 6.0))
        alone = np.zeros_like(image)
        alone[..., 4] = image[..., 4]
        only = fitted(alone, label, source, **options)[0]
        np.testing.assert_array_equal(only[..., 4], out[..., 4])
        assert not only[..., [3, 5]].any(), "slices do not mix"
        assert_lesions_kept(label[..., 4:5], source, found[..., 4:5], to, within=0.06)


def test_untouched_axes_and_own_spacing() -> None:
    source = affine((0.9, 0.9, 6.0))
    image, label = head_in((64, 64, 9), source, (source @ [30, 33, 4, 1])[:3])
    out, found, to, _ = fitted(image, label, source, voxel_mm=(None,) * 3, spatial_size=(None,) * 3)
    np.testing.assert_array_equal(out, image)
    np.testing.assert_array_equal(found, label)
    np.testing.assert_allclose(to, source)
    out, found, to, _ = fitted(image, label, source, voxel_mm=(None,) * 3, spatial_size=(48, 80, None))
    assert out.shape == (48, 80, 9)
    np.testing.assert_array_equal(np.sort(out[out > 0]), np.sort(image[image > 0]))
    with pytest.raises(GliomaGenError, match="60 along axis 0 is not a multiple of 16; set it to 48 or 64"):
        fitted(image[:60], label[:60], source, voxel_mm=(None,) * 3, spatial_size=(None,) * 3)


@pytest.mark.parametrize(
    ("size", "voxel_mm", "message"),
    [
        (
            (190, 192, 144),
            (1.25,) * 3,
            "spatial_size: 190 along axis 0 is not a multiple of 16; set it to 176 or 192",
        ),
        ((192, 192, 155), (1.25,) * 3, "155 along axis 2 is not a multiple of 16; set it to 144 or 160"),
        ((10, 192, 155), (1, 1, None), "10 along axis 0 is not a multiple of 16; set it to 16"),
    ],
)
def test_sizes_the_network_cannot_halve_are_refused_at_once(size: Any, voxel_mm: Any, message: str) -> None:
    with pytest.raises(GliomaGenError, match=message):
        FitGeometry(spatial_size=size, voxel_mm=voxel_mm)


@pytest.mark.parametrize(
    "options",
    [
        {"spatial_size": [128, 128, "null"]},  # what the command line makes of [128,128,null]
        {"voxel_mm": [1.0, 1.0, "null"]},
        {"spatial_size": [128, 128, 96.5]},
        {"spatial_size": [128, 128, 0]},
        {"spatial_size": [128, 128]},
        {"spatial_size": 128},
        {"voxel_mm": "1.25"},
    ],
)
def test_what_is_no_size_is_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(GliomaGenError, match=f"^{next(iter(options))} .*give three positive .*None"):
        FitGeometry(**options)


def test_what_is_cut_off_is_counted() -> None:
    """A silent crop of a lesion would be a wrong burden later."""
    source = affine((1.0, 1.0, 1.0))
    label = np.zeros((40, 40, 40), np.uint8)
    label[5:35, 5:35, 5:35] = HEAD
    label[5:7, 10:20, 10:20] = NETC
    image = (label > 0).astype(np.float32)
    *_, cut = fitted(image, label, source, spatial_size=(16, 32, 32), voxel_mm=(1, 1, 1))
    assert cut == {"head_mm3": 14 * 30 * 30, "lesion_mm3": 2 * 10 * 10}
    _, found, _, cut = fitted(image, label, source, spatial_size=(16, 16, 16), voxel_mm=(2, 2, 2))
    assert cut == {"head_mm3": 0, "lesion_mm3": 0} and (found > 0).sum() * 8 == pytest.approx(30**3, rel=0.15)


def test_one_grid_for_all_images_of_a_case_and_a_head_are_needed() -> None:
    source = affine((1.0, 1.0, 1.0))
    image, label = head_in((48, 52, 40), source, (source @ [24, 26, 20, 1])[:3])
    tensors = {
        "label": with_geometry(label[None], source),
        "t1c": with_geometry(image[None, :, :, :-1], source),
    }
    with pytest.raises(GliomaGenError, match="not on the grid"):
        FitGeometryd("t1c")(tensors)
    shifted = with_geometry(image[None], affine((1.0, 1.0, 1.0), origin=(-31.0, 12.6, 45.0)))
    with pytest.raises(GliomaGenError, match=r"differs by 0\.6 mm"):
        FitGeometryd("t1c")({**tensors, "t1c": shifted})
    with pytest.raises(GliomaGenError, match="has no head"):
        FitGeometryd("label")({"label": with_geometry(0 * label[None], source)})
    alone = FitGeometryd("label", spatial_size=(32, 32, 32))({"label": tensors["label"]})
    assert alone["label"].shape == (1, 32, 32, 32), "a label map alone is fitted too"


def test_volumes_of_small_lesions_are_unbiased() -> None:
    """One small lesion may gain or lose a voxel, but a cohort's burden must not drift."""
    rng = np.random.default_rng(5)
    source = affine((1.0, 1.0, 1.0))
    p = np.indices((96, 96, 96))
    label = np.full((96, 96, 96), HEAD, np.uint8)
    for corner in product(range(12, 96, 24), repeat=3):
        centre = np.array(corner) + rng.uniform(-5, 5, 3)
        box = tuple(slice(c - 12, c + 12) for c in corner)
        far = ((p[(slice(None), *box)] - centre.reshape(3, 1, 1, 1)) ** 2).sum(0)
        label[box][far < 4**2] = SNFH
    _, found, _, _ = fitted(label.astype(np.float32), label, source, spatial_size=(80, 80, 80))
    assert (found == SNFH).sum() * 1.25**3 == pytest.approx((label == SNFH).sum(), rel=0.015)


def test_downsampling_does_not_alias() -> None:
    """A checkerboard below the new voxel size must become grey, not a coarse pattern of full contrast."""
    stripes = np.zeros((64, 8, 8), np.float32)
    stripes[::2] = 1
    out = resample(
        stripes,
        np.eye(4),
        target_affine=np.diag([2.8, 1, 1, 1]),
        target_shape=(22, 8, 8),
        nearest=False,
    )
    assert np.ptp(out[2:-2]) < 0.2 and out[2:-2].mean() == pytest.approx(0.5, abs=0.02)


def test_results_go_back_to_the_native_grid_and_its_axes() -> None:
    """Outputs are pasted beside the patient's own files: LPS, shifted, other voxels."""
    native = np.array([[-1.0, 0, 0, 30], [0, 0, -1.2, 40], [0, 1.1, 0, 10], [0, 0, 0, 1]])
    centre = (native @ [27, 25, 26, 1])[:3]
    image, label = head_in((56, 52, 54), native, centre)
    out, found, to, _ = fitted(image, label, native, spatial_size=(48, 64, 48), voxel_mm=(1.25,) * 3)
    back = resample(out, to, target_affine=native, target_shape=label.shape, nearest=False)
    labels = resample(found, to, target_affine=native, target_shape=label.shape, nearest=True)
    assert back.shape == label.shape and back.dtype == np.float32 and labels.dtype == np.uint8
    assert_lesions_kept(label, native, labels, native, within=0.06)  # there and back
    lesion = label == ET  # away from the edge of the head
    np.testing.assert_allclose(back[lesion], image[lesion], atol=2e-3)
    # onto its own voxels in other axes: the very same values
    flipped = native @ np.array([[-1.0, 0, 0, 55], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    mirrored = resample(image, native, target_affine=flipped, target_shape=(56, 54, 52), nearest=False)
    np.testing.assert_allclose(mirrored, image[::-1].transpose(0, 2, 1), atol=1e-6)


@pytest.mark.skipif(not REAL.is_dir(), reason="../shared/data has no real scan")
def test_real_case_keeps_lesion_volumes_and_places_at_the_default_geometry() -> None:
    case: dict[Any, Any] = {key: REAL / f"{REAL.name}-{key}.nii.gz" for key in ("t2f", "t2w")}
    case["label"] = REAL / f"{REAL.name}-seg.nii.gz"
    case = ConvertLabelsd("label", convention="brats2024")(LoadVolumesd(tuple(case))(case))
    case = AddHeadLabeld(("t2f", "t2w"))(case)
    after = FitGeometryd("t2f")(case)
    assert after["t2f"].shape == (1, 192, 192, 144) and after["cut_off"] == {
        "head_mm3": 0.0,
        "lesion_mm3": 0.0,
    }
    assert_lesions_kept(
        np.asarray(case["label"])[0],
        affine_of(case["label"]),
        np.asarray(after["label"])[0],
        affine_of(after["label"]),
    )
