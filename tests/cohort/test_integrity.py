"""Each fault that real data sets have is found and named, rejects its own case at most, and hides no other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from gliomagen.cohort.preparation import Preparation
from gliomagen.files import read_json
from gliomagen.volume import Volume, read_volume, write_volume

ILL, WELL = "BraTS-GLI-00001-100", "BraTS-GLI-00002-100"
Challenge = Path


def scan(folder: Path, name: str, case: str = ILL) -> Path:
    return folder / case / f"{case}-{name}.nii.gz"


def change(folder: Path, name: str, edit: Callable[[Any], Any], shift_mm: float = 0.0) -> None:
    """Rewrites one scan of the ill case with other voxels, or at another place."""
    volume = read_volume(scan(folder, name))
    affine = volume.affine.copy()
    affine[0, 3] += shift_mm
    write_volume(scan(folder, name), Volume(data=edit(volume.data), affine=affine))


def with_value(value: float) -> Callable[[Any], Any]:
    def edit(data: Any) -> Any:
        data = data.astype(np.float32)
        data[12, 12, 12] = value
        return data

    return edit


def flip_bit(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0x10
    path.write_bytes(bytes(content))


def half_truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def outside_head(share: float) -> Callable[[Any], Any]:
    """Puts that share of the lesion into the corners, where no head is."""

    def edit(label: Any) -> Any:
        count = int(share * (label > 0).sum() / (1 - share))
        x, y, z = np.unravel_index(np.arange(count), (2, *label.shape[1:]))
        label[x, y, z] = 2
        return label

    return edit


def save(path: Path, data: Any, affine: Any, **codes: Any) -> None:
    image = nib.Nifti1Image(data, affine, dtype=data.dtype)
    for name, value in codes.items():
        getattr(image, f"set_{name}")(*value)
    nib.save(image, path)


def big_endian(folder: Path, name: str) -> None:
    volume = read_volume(scan(folder, name))
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    nib.save(nib.Nifti1Image(volume.data, volume.affine, header), scan(folder, name))
    assert nib.load(scan(folder, name)).header.endianness == ">"


def int64_labels(folder: Path) -> None:
    volume = read_volume(scan(folder, "seg"))
    save(scan(folder, "seg"), volume.data.astype(np.int64), volume.affine)


def qform_apart(folder: Path) -> None:
    volume = read_volume(scan(folder, "t1c"))
    moved = volume.affine.copy()
    moved[:3, 3] += 4
    save(scan(folder, "t1c"), volume.data, volume.affine, sform=(volume.affine, 1), qform=(moved, 1))


def no_geometry(folder: Path) -> None:
    for name in ("t1c", "t1n", "t2f", "t2w", "seg"):
        volume = read_volume(scan(folder, name))
        save(scan(folder, name), volume.data, None)


def tilted(folder: Path) -> None:
    angle = np.radians(12)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    for name in ("t1c", "t1n", "t2f", "t2w", "seg"):
        volume = read_volume(scan(folder, name))
        write_volume(scan(folder, name), Volume(data=volume.data, affine=turn @ volume.affine))


def uncompressed(folder: Path, *, keep: bool = False) -> None:
    path = scan(folder, "t2w")
    write_volume(path.with_suffix(""), read_volume(path))
    if not keep:
        path.unlink()


def hollow(folder: Path) -> None:
    """A resection cavity that is 0 in every contrast, deep in the head."""
    cavity = read_volume(scan(folder, "seg")).data > 0
    for name in ("t1c", "t1n", "t2f", "t2w"):
        change(folder, name, lambda data: np.where(cavity, 0, data).astype(np.int16))


def run(preparation: Callable[..., Preparation], folder: Path, **options: Any) -> dict[str, Any]:
    preparation(folder, folder.parent / "cohort", **options).run()
    content: dict[str, Any] = read_json(folder.parent / "cohort" / "cohort.json")
    return content


def kept(cohort: dict[str, Any]) -> dict[str, Any]:
    return {entry["case"]: entry for entry in cohort["training"] + cohort["validation"]}


ERRORS: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "a contrast is missing": (lambda f: scan(f, "t1n").unlink(), "missing_contrast", ""),
    "the label map is missing": (lambda f: scan(f, "seg").unlink(), "missing_label", ""),
    "a file is empty": (lambda f: scan(f, "t1c").write_bytes(b""), "unreadable", "t1c"),
    "a file is not NIfTI": (
        lambda f: scan(f, "t1c").write_bytes(b"<html>not found</html>"),
        "unreadable",
        "t1c",
    ),
    "a download was cut": (lambda f: half_truncate(scan(f, "t2f")), "unreadable", "t2f"),
    "a bit of the voxels flipped": (lambda f: flip_bit(scan(f, "t2f"), 2000), "unreadable", "t2f"),
    "the checksum is wrong": (lambda f: flip_bit(scan(f, "t2f"), -6), "unreadable", "t2f"),
    "a link leads nowhere": (
        lambda f: (scan(f, "t2f").unlink(), scan(f, "t2f").symlink_to("gone.nii.gz")),
        "unreadable",
        "t2f",
    ),
    "one shape differs": (lambda f: change(f, "t2w", lambda d: d[:, :, :-1]), "shape", "t2w"),
    "the mask's shape differs": (lambda f: change(f, "seg", lambda d: d[1:]), "shape", "seg"),
    "one affine differs": (lambda f: change(f, "t1n", lambda d: d, shift_mm=0.01), "affine", "t1n"),
    "the first affine differs": (lambda f: change(f, "t1c", lambda d: d, shift_mm=-3), "affine", "t1c"),
    "a NaN": (lambda f: change(f, "t1c", with_value(np.nan)), "not_finite", "t1c"),
    "an infinity": (lambda f: change(f, "t1c", with_value(np.inf)), "not_finite", "t1c"),
    "a NaN in the mask": (lambda f: change(f, "seg", with_value(np.nan)), "not_finite", "seg"),
    "a constant contrast": (lambda f: change(f, "t2f", lambda d: np.full_like(d, 7)), "constant", "t2f"),
    "an empty contrast": (lambda f: change(f, "t2f", np.zeros_like), "constant", "t2f"),
    "a foreign label": (lambda f: change(f, "seg", with_value(7)), "labels_unknown", "seg"),
    "a negative label": (lambda f: change(f, "seg", with_value(-1)), "labels_unknown", "seg"),
    "an interpolated mask": (lambda f: change(f, "seg", with_value(1.5)), "labels_not_whole", "seg"),
    "another patient's mask": (lambda f: change(f, "seg", outside_head(0.08)), "lesion_outside", "seg"),
    "one contrast twice": (
        lambda f: scan(f, "t1n").write_bytes(scan(f, "t1c").read_bytes()),
        "same_contrast",
        "t1n",
    ),
    "a 4-D scan": (lambda f: change(f, "t1c", lambda d: np.stack([d, d], -1)), "dimensions", "t1c"),
    "a 2-D scan": (lambda f: change(f, "t1c", lambda d: d[:, :, 12]), "dimensions", "t1c"),
}

WARNINGS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a complete responder": (lambda f: change(f, "seg", np.zeros_like), "empty_mask"),
    "a little lesion outside": (lambda f: change(f, "seg", outside_head(0.03)), "lesion_outside"),
    "a cavity without signal": (hollow, "lesion_outside"),
    "negative intensities": (lambda f: change(f, "t1c", with_value(-12)), "negative"),
    "qform apart from sform": (qform_apart, "qform_sform"),
    "neither qform nor sform": (no_geometry, "no_geometry"),
    "tilted axes": (tilted, "oblique"),
    "big-endian": (lambda f: big_endian(f, "t1c"), "odd_storage"),
    "labels as int64": (int64_labels, "odd_storage"),
    "labels as float": (lambda f: change(f, "seg", lambda d: d.astype(np.float64)), "odd_storage"),
    "not compressed": (uncompressed, "odd_storage"),
    "one channel of 4-D": (lambda f: change(f, "t1c", lambda d: d[..., None]), "odd_storage"),
    "compressed and not": (lambda f: uncompressed(f, keep=True), "stored_twice"),
}


@pytest.mark.parametrize("fault", ERRORS)
def test_an_error_is_named_with_its_file_and_rejects_its_case_alone(
    fault: str, challenge: Challenge, preparation: Callable[..., Preparation]
) -> None:
    corrupt, code, name = ERRORS[fault]
    corrupt(challenge)
    cohort = run(preparation, challenge)
    assert list(kept(cohort)) == [WELL]
    assert kept(cohort)[WELL]["findings"] == []
    (rejected,) = cohort["rejected"]
    errors = [finding for finding in rejected["findings"] if finding["level"] == "error"]
    assert rejected["case"] == ILL
    assert [finding["code"] for finding in errors] == [code]
    assert errors[0]["file"] == (f"{ILL}/{ILL}-{name}.nii.gz" if name else "")
    assert not (challenge.parent / "cohort" / ILL).exists()
    assert code in (challenge.parent / "cohort" / "integrity.md").read_text()


@pytest.mark.parametrize("oddity", WARNINGS)
def test_a_warning_is_named_and_keeps_its_case(
    oddity: str, challenge: Challenge, preparation: Callable[..., Preparation]
) -> None:
    alter, code = WARNINGS[oddity]
    alter(challenge)
    cohort = run(preparation, challenge)
    assert sorted(kept(cohort)) == [ILL, WELL]
    assert cohort["rejected"] == []
    findings = kept(cohort)[ILL]["findings"]
    assert {(finding["level"], finding["code"]) for finding in findings} == {("warning", code)}
    assert kept(cohort)[WELL]["findings"] == []


def test_all_faults_of_a_case_are_found_at_once(
    challenge: Challenge, preparation: Callable[..., Preparation]
) -> None:
    """Or a user mends one and runs again, for each."""
    scan(challenge, "t1n").unlink()
    half_truncate(scan(challenge, "t2f"))
    change(challenge, "t1c", with_value(np.nan), shift_mm=2)
    change(challenge, "seg", with_value(9))
    (rejected,) = run(preparation, challenge)["rejected"]
    codes = {finding["code"] for finding in rejected["findings"] if finding["level"] == "error"}
    assert codes == {"missing_contrast", "unreadable", "not_finite", "affine", "labels_unknown"}


def test_sound_scans_in_any_axis_order_are_said_nothing_about(
    challenge: Challenge, preparation: Callable[..., Preparation]
) -> None:
    for name in ("t1c", "t1n", "t2f", "t2w", "seg"):
        volume = read_volume(scan(challenge, name))
        turned = volume.affine[:, [2, 0, 1, 3]]
        write_volume(
            scan(challenge, name),
            Volume(data=np.ascontiguousarray(volume.data.transpose(2, 0, 1)), affine=turned),
        )
    cohort = run(preparation, challenge)
    assert [entry["findings"] for entry in kept(cohort).values()] == [[], []]
    assert kept(cohort)[ILL]["geometry"]["source_orientation"] == "SLP"


@pytest.mark.parametrize("stored", ["the same", "turned, as float64"])
def test_a_scan_under_two_names_rejects_the_later_case_however_it_is_stored(
    stored: str, challenge: Challenge, preparation: Callable[..., Preparation]
) -> None:
    """A patient under two names would stand on both sides of the split."""
    volume = read_volume(scan(challenge, "t2f", ILL))
    if stored != "the same":
        flip = np.diag([1.0, -1.0, 1.0, 1.0])
        flip[1, 3] = volume.data.shape[1] - 1
        volume = Volume(data=volume.data[:, ::-1].astype(np.float64), affine=volume.affine @ flip)
    for name in ("t1c", "t1n", "t2f", "t2w", "seg"):
        original = read_volume(scan(challenge, name, WELL))
        data = volume.data if name == "t2f" else original.data
        if stored != "the same" and name != "t2f":
            data = original.data[:, ::-1]
        write_volume(scan(challenge, name, WELL), Volume(data=data, affine=volume.affine))
    cohort = run(preparation, challenge)
    assert list(kept(cohort)) == [ILL]
    (rejected,) = cohort["rejected"]
    assert rejected["case"] == WELL
    assert [(f["code"], f["message"]) for f in rejected["findings"]] == [
        ("duplicate", f"t2f has the same voxels as a scan of {ILL}")
    ]


def test_a_duplicate_of_a_case_that_is_rejected_anyway_is_kept(
    challenge: Challenge, preparation: Callable[..., Preparation]
) -> None:
    for name in ("t1c", "t1n", "t2f", "t2w", "seg"):
        scan(challenge, name, WELL).write_bytes(scan(challenge, name, ILL).read_bytes())
    scan(challenge, "seg", ILL).unlink()
    assert list(kept(run(preparation, challenge))) == [WELL]


def test_a_missing_contrast_can_be_allowed(
    challenge: Challenge, preparation: Callable[..., Preparation]
) -> None:
    scan(challenge, "t2w").unlink()
    entry = kept(run(preparation, challenge, allow_missing_contrasts=True))[ILL]
    assert "t2w" not in entry
    assert [(f["level"], f["code"]) for f in entry["findings"]] == [("warning", "missing_contrast")]
