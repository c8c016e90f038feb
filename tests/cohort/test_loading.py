"""What reading a case must get right whoever wrote the files: types, axes, channels, labels."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform
from numpy.typing import NDArray

from gliomagen.cohort.loading import ConvertLabels, ConvertLabelsd, LoadVolume, LoadVolumesd
from gliomagen.errors import GliomaGenError

AFFINE = np.array([[1.0, 0, 0, -10], [0, 1.5, 0, 20], [0, 0, 2, 30], [0, 0, 0, 1]])
SHAPE = (5, 6, 7)


def save(path: Path, data: NDArray[np.generic], affine: NDArray[np.float64] = AFFINE) -> Path:
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


def ramp(dtype: str = "int16") -> NDArray[np.generic]:
    return np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(dtype)


def labels(dtype: str = "uint8") -> NDArray[np.generic]:
    return (np.arange(np.prod(SHAPE)).reshape(SHAPE) % 5).astype(dtype)


def test_contrast_is_float32_with_true_affine_and_file_name(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", ramp())
    image = LoadVolume()(path)
    assert image.shape == (1, *SHAPE) and image.dtype == torch.float32
    assert image.affine.dtype == torch.float64
    np.testing.assert_allclose(image.affine, AFFINE)
    np.testing.assert_array_equal(image[0], ramp())
    assert image.meta["filename_or_obj"] == str(path)


def test_every_axis_order_and_flip_reads_as_the_same_image(tmp_path: Path) -> None:
    """Files come in all 48 orders: a mirrored lesion would be on the wrong side."""
    original = nib.Nifti1Image(ramp(), AFFINE)
    here = axcodes2ornt("RAS")
    count = 0
    for axes in permutations(range(3)):
        for signs in product("RL", "AP", "SI"):
            turn = ornt_transform(here, axcodes2ornt([signs[axis] for axis in axes]))
            turned = original.as_reoriented(turn)
            np.testing.assert_allclose(turned.affine, AFFINE @ inv_ornt_aff(turn, SHAPE))
            image = LoadVolume()(save(tmp_path / "turned.nii", np.asarray(turned.dataobj), turned.affine))
            np.testing.assert_array_equal(image[0], ramp())
            np.testing.assert_allclose(image.affine, AFFINE, atol=1e-5)
            count += 1
    assert count == 48


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32", "float64", ">i2", ">f4"])
def test_whole_labels_are_read_from_any_storage_type(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "seg.nii.gz"
    image = nib.Nifti1Image(labels(dtype), AFFINE, dtype=np.dtype(dtype))
    if dtype.startswith(">"):
        image = nib.Nifti1Image(labels(dtype), AFFINE, nib.Nifti1Header(endianness=">"))
        image.set_data_dtype(np.dtype(dtype))
    nib.save(image, path)
    assert (nib.load(path).header.endianness == ">") == dtype.startswith(">")
    label = LoadVolume(label=True)(path)
    assert label.dtype == torch.uint8
    np.testing.assert_array_equal(label[0], labels())


def test_labels_that_are_not_whole_are_refused(tmp_path: Path) -> None:
    """Interpolated labels silently truncated would move every lesion boundary."""
    path = save(tmp_path / "seg.nii.gz", labels("float32") + np.float32(0.25))
    with pytest.raises(GliomaGenError, match=r"seg\.nii\.gz: labels are not whole numbers"):
        LoadVolume(label=True)(path)


@pytest.mark.parametrize("value", [-1, 256])
def test_labels_that_do_not_fit_are_refused_rather_than_wrapped(tmp_path: Path, value: int) -> None:
    data = labels("int16")
    data[0, 0, 0] = value
    with pytest.raises(GliomaGenError, match="not 0 to 255"):
        LoadVolume(label=True)(save(tmp_path / "seg.nii", data))


def test_voxels_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    data = ramp("float32")
    data[1, 2, 3] = np.nan  # type: ignore[call-overload]
    with pytest.raises(GliomaGenError, match=r"a\.nii: has voxels that are not finite"):
        LoadVolume()(save(tmp_path / "a.nii", data))


def test_channels_of_a_decathlon_file(tmp_path: Path) -> None:
    """MSD Task01 keeps FLAIR, T1w, T1gd, T2w in one file: a wrong channel is a wrong contrast."""
    stack = np.stack([ramp() + 1000 * k for k in range(4)], axis=-1)
    flipped = AFFINE @ np.diag([-1.0, 1, 1, 1])
    path = save(tmp_path / "BRATS_001.nii.gz", stack, flipped)
    order = {"t2f": 0, "t1n": 1, "t1c": 2, "t2w": 3}
    case = LoadVolumesd(tuple(order))({key: {"path": path, "channel": k} for key, k in order.items()})
    for key, k in order.items():
        np.testing.assert_array_equal(case[key][0], ramp()[::-1] + 1000 * k)
    for wrong, message in (({"path": path, "channel": 4}, "has no channel 4"), (path, "name the channel")):
        with pytest.raises(GliomaGenError, match=message):
            LoadVolume()(wrong)


def test_missing_key_is_an_error_unless_allowed(tmp_path: Path) -> None:
    data = {
        "t1c": save(tmp_path / "a.nii", ramp()),
        "label": save(tmp_path / "s.nii", labels()),
        "case": "P-1",
    }
    with pytest.raises(GliomaGenError, match="P-1: lacks t2w"):
        LoadVolumesd(("t1c", "t2w", "label"))(data)
    case = LoadVolumesd(("t1c", "t2w", "label"), allow_missing=True)(data)
    assert "t2w" not in case and case["t1c"].dtype == torch.float32 and case["label"].dtype == torch.uint8
    assert data["t1c"] == tmp_path / "a.nii", "the caller's dictionary is not changed"


def test_labels_are_converted_by_name_and_a_stranger_names_its_file(tmp_path: Path) -> None:
    """4 is the cavity in one challenge and enhancing tumour in another."""
    path = save(tmp_path / "seg.nii", labels())
    case = ConvertLabelsd("label", convention="brats2024")({"label": LoadVolume(label=True)(path)})
    np.testing.assert_array_equal(case["label"][0], np.array([0, 2, 3, 4, 5])[labels()])
    np.testing.assert_allclose(case["label"].affine, AFFINE)
    with pytest.raises(GliomaGenError, match=r"seg\.nii: labels \[3\] are not of the convention 'brats2021'"):
        ConvertLabels(convention="brats2021")(LoadVolume(label=True)(path))
