"""A scan read or written in the wrong place, or damaged unnoticed, spoils everything after it."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from gliomagen.errors import GliomaGenError
from gliomagen.volume import Volume, read_volume, write_volume

OBLIQUE = np.array([[-1.2, 0.1, 0.0, 80.0], [0.1, 1.0, 0.2, -70.5], [0.0, -0.2, 2.5, -30.25], [0, 0, 0, 1]])


def noise(shape: tuple[int, ...] = (6, 7, 8), dtype: type = np.float32) -> np.ndarray:
    return (np.random.default_rng(0).random(shape) * 100).astype(dtype)


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int16])
def test_voxels_and_affine_survive_a_round_trip(tmp_path: Path, suffix: str, dtype: type) -> None:
    affine = np.diag([-1.25, 1.25, 3.0, 1.0])
    affine[:3, 3] = (90.125, -126.0, -72.5)
    write_volume(tmp_path / f"a.{suffix}", Volume(data=noise(dtype=dtype), affine=affine))
    back = read_volume(tmp_path / f"a.{suffix}")
    assert back.data.dtype == dtype
    assert np.array_equal(back.data, noise(dtype=dtype))
    np.testing.assert_allclose(back.affine, affine, rtol=0, atol=1e-6)
    assert back.voxel_mm == pytest.approx((1.25, 1.25, 3.0))
    assert back.orientation == "LAS"


def test_an_oblique_affine_survives_for_readers_of_either_form(tmp_path: Path) -> None:
    rotation, _ = np.linalg.qr(OBLIQUE[:3, :3])
    affine = OBLIQUE.copy()
    affine[:3, :3] = rotation * (1.0, 1.0, 2.5)
    write_volume(tmp_path / "a.nii.gz", Volume(data=noise(), affine=affine))
    header = nib.load(tmp_path / "a.nii.gz").header
    np.testing.assert_allclose(header.get_sform(), affine, atol=1e-5)
    np.testing.assert_allclose(header.get_qform(), affine, atol=1e-4)
    assert header["sform_code"] == header["qform_code"] == 1
    assert header.get_xyzt_units()[0] == "mm"


def test_nothing_of_the_sources_header_is_passed_on(tmp_path: Path) -> None:
    """Headers carry names and dates of patients."""
    source = nib.Nifti1Image(noise(), np.eye(4))
    source.header["descrip"] = b"DOE JANE 1960"
    source.header["aux_file"] = b"visit-2"
    source.header["db_name"] = b"hospital"
    source.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"DOE JANE"))
    nib.save(source, tmp_path / "source.nii.gz")
    write_volume(tmp_path / "copy.nii.gz", read_volume(tmp_path / "source.nii.gz"))
    assert b"DOE JANE" in gzip.decompress((tmp_path / "source.nii.gz").read_bytes())
    header = nib.load(tmp_path / "copy.nii.gz").header
    assert [bytes(header[field].tobytes()).strip(b"\0") for field in ("descrip", "aux_file", "db_name")] == [
        b""
    ] * 3
    assert not header.extensions


def test_to_ras_moves_voxels_not_places() -> None:
    volume = Volume(
        data=noise(), affine=np.array([[0, -1, 0, 5], [0, 0, 2, -3], [-1, 0, 0, 9], [0, 0, 0, 1.0]])
    )
    turned = volume.to_ras()
    assert turned.orientation == "RAS"
    for index in np.ndindex(2, 3, 2):
        world = volume.affine @ (*index, 1)
        there = np.rint(np.linalg.inv(turned.affine) @ world)[:3].astype(int)
        assert turned.data[tuple(there)] == volume.data[index]


def test_big_endian_files_become_native(tmp_path: Path) -> None:
    image = nib.Nifti1Image(noise(dtype=np.int16), np.eye(4), nib.Nifti1Header(endianness=">"))
    image.set_data_dtype(">i2")
    nib.save(image, tmp_path / "big.nii")
    assert nib.load(tmp_path / "big.nii").header.endianness == ">"
    back = read_volume(tmp_path / "big.nii")
    assert back.data.dtype.isnative
    assert np.array_equal(back.data, noise(dtype=np.int16))


def test_scaling_is_applied(tmp_path: Path) -> None:
    image = nib.Nifti1Image(noise(dtype=np.int16), np.eye(4))
    image.header.set_slope_inter(0.5, 10)
    nib.save(image, tmp_path / "scaled.nii.gz")
    back = read_volume(tmp_path / "scaled.nii.gz").data
    assert back.dtype.kind == "f"
    np.testing.assert_allclose(back, noise(dtype=np.int16) * 0.5 + 10)


def test_a_wrong_checksum_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    write_volume(path, Volume(data=noise(), affine=np.eye(4)))
    content = bytearray(path.read_bytes())
    content[-8] ^= 1  # the CRC stands in the last eight bytes
    path.write_bytes(content)
    with pytest.raises(GliomaGenError, match=r"a\.nii\.gz: truncated or damaged"):
        read_volume(path)


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
def test_a_truncated_file_is_noticed(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    write_volume(path, Volume(data=noise((16, 16, 16)), affine=np.eye(4)))
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(GliomaGenError, match="truncated or damaged"):
        read_volume(path)


def test_what_is_no_scan_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.nii.gz").write_text("not a scan")
    for name, told in (("absent.nii.gz", "not found"), ("text.nii.gz", "not readable as NIfTI")):
        with pytest.raises(GliomaGenError, match=told) as caught:
            read_volume(tmp_path / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
