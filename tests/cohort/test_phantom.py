"""Phantoms: whoever has no challenge data trains, demonstrates and measures on them."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from gliomagen.cohort.phantom import PhantomCase, PhantomCohort, phantom_case
from gliomagen.cohort.phantom_anatomy import Anatomy, build_anatomy
from gliomagen.cohort.phantom_course import draw_foci, mass_effect
from gliomagen.cohort.phantom_field import Grid
from gliomagen.cohort.phantom_shape import draw_frame, draw_shape
from gliomagen.errors import GliomaGenError
from gliomagen.labels import CONTRASTS, ET, HEAD, NETC, RC, SNFH, TUMOUR
from gliomagen.volume import read_volume

SIZE, VOXEL_MM = (64, 72, 56), 3.0
PATIENTS = (0, 1, 2, 3, 5, 10)
CONFIG = Path(__file__).parents[2] / "bundle" / "configs" / "phantoms.yaml"


@cache
def case(patient: int, timepoint: int = 0) -> PhantomCase:
    return phantom_case(patient=patient, timepoint=timepoint, spatial_size=SIZE, voxel_mm=VOXEL_MM)


@cache
def slab(patient: int) -> tuple[PhantomCase, Anatomy]:
    """A slab through the middle of a head, fine enough for pure tissue, and its tissue at the voxel centres."""
    scan = phantom_case(patient=patient, spatial_size=(120, 40, 80), voxel_mm=1.25)
    lines = [
        (scan.affine[axis, 3] + scan.affine[axis, axis] * np.arange(length)).astype(np.float32)
        for axis, length in enumerate(scan.labels.shape)
    ]
    frame = draw_frame(patient)
    push = mass_effect(draw_foci(patient, 0, frame), frame)
    return scan, build_anatomy(patient, draw_shape(patient, frame, push), Grid(lines=tuple(lines)))


def correlation(one: PhantomCase, other: PhantomCase, contrast: str) -> float:
    both = (one.labels == HEAD) & (other.labels == HEAD)
    return float(np.corrcoef(one.images[contrast][both], other.images[contrast][both])[0, 1])


def test_same_number_gives_the_same_bytes() -> None:
    again = phantom_case(patient=1, spatial_size=SIZE, voxel_mm=VOXEL_MM)
    assert np.array_equal(again.labels, case(1).labels)
    assert all(np.array_equal(again.images[name], case(1).images[name]) for name in CONTRASTS)


def test_another_grid_shows_the_same_patient() -> None:
    other = phantom_case(patient=1, spatial_size=(72, 82, 62), voxel_mm=2.6)
    volumes = [
        [np.count_nonzero(scan.labels == label) * size_mm**3 / 1000 for label in (HEAD, SNFH, RC)]
        for scan, size_mm in ((case(1), VOXEL_MM), (other, 2.6))
    ]
    assert volumes[1] == pytest.approx(volumes[0], rel=0.12)
    lesions = [
        scan.affine[:3, :3] @ np.argwhere(scan.labels > HEAD).mean(0) + scan.affine[:3, 3]
        for scan in (case(1), other)
    ]
    assert np.abs(lesions[0] - lesions[1]).max() < 2.0


def test_patients_differ_in_anatomy_and_lesion() -> None:
    assert correlation(case(0), case(1), "t1n") < 0.7
    assert not np.array_equal(case(0).labels > HEAD, case(1).labels > HEAD)


@pytest.mark.parametrize("patient", PATIENTS[:3])
def test_tissues_have_the_signs_of_mri(patient: int) -> None:
    scan, anatomy = slab(patient)
    normal = (scan.labels == HEAD) & (anatomy.vessel < 0.05) & (anatomy.head > 3)
    white, grey, liquor = (
        {name: np.median(image[normal & (share > 0.97)]) for name, image in scan.images.items()}
        for share in (anatomy.white, anatomy.cortex, anatomy.liquor)
    )
    for contrast in ("t1n", "t1c"):
        assert white[contrast] > grey[contrast] > liquor[contrast]
    assert liquor["t2w"] > grey["t2w"] > white["t2w"]
    assert grey["t2f"] > white["t2f"] > liquor["t2f"]


def test_lesion_parts_have_the_signs_of_mri() -> None:
    def ratio(label: int, contrast: str) -> float:
        """Median signal over that of white matter, the bright quarter of a head in t1 and the dark one in t2."""
        white = 75 if contrast.startswith("t1") else 25
        parts = []
        for scan in map(case, PATIENTS):
            image = scan.images[contrast]
            parts.append(image[scan.labels == label] / np.percentile(image[scan.labels == HEAD], white))
        return float(np.median(np.concatenate(parts)))

    assert ratio(ET, "t1c") > 1.15 and ratio(ET, "t1c") > 1.3 * ratio(ET, "t1n")
    assert ratio(SNFH, "t2f") > 1.3 and ratio(SNFH, "t2w") > 1.3 and ratio(SNFH, "t1n") < 0.95
    assert ratio(NETC, "t1n") < 0.8 and ratio(NETC, "t1c") < 0.85
    assert ratio(RC, "t2f") < 0.6 and ratio(RC, "t2w") > 1.5 and ratio(RC, "t1n") < 0.6


def test_every_label_occurs_and_is_absent_somewhere() -> None:
    present = np.array([[(case(patient).labels == label).any() for label in TUMOUR] for patient in PATIENTS])
    assert present.any(0).all()
    assert not present.all()


def test_heads_have_human_size_and_fit_the_default_field() -> None:
    for patient in PATIENTS:
        inside = np.argwhere(case(patient).labels > 0)
        extent_mm = (inside.max(0) - inside.min(0) + 1) * VOXEL_MM
        assert np.all(extent_mm <= np.array([192, 192, 144]))
        assert np.all(extent_mm >= np.array([129, 159, 112]))


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_painting_each_label_with_its_mean_loses(contrast: str) -> None:
    shares = []
    for patient in PATIENTS:
        image, labels = case(patient).images[contrast].astype(float), case(patient).labels
        rest = image.copy()
        for label in np.unique(labels):
            rest[labels == label] -= image[labels == label].mean()
        shares.append(rest[labels > 0].var() / image[labels > 0].var())
    assert np.mean(shares) > 0.5


def test_time_points_share_anatomy_and_the_lesion_moves_on() -> None:
    first, second = case(10), case(10, 1)
    overlap = np.count_nonzero((first.labels > 0) & (second.labels > 0))
    assert 2 * overlap / (np.count_nonzero(first.labels) + np.count_nonzero(second.labels)) > 0.98
    assert correlation(first, second, "t1n") > 0.9
    lesions = [scan.labels > HEAD for scan in (first, second)]
    assert not np.array_equal(*lesions)
    assert 2 * (lesions[0] & lesions[1]).sum() / (lesions[0].sum() + lesions[1].sum()) > 0.5


def test_background_is_exactly_zero_and_the_head_is_not() -> None:
    for patient in PATIENTS:
        labels = case(patient).labels
        for image in case(patient).images.values():
            assert not image[labels == 0].any()
            assert np.count_nonzero(image[labels == HEAD] == 0) < 0.01 * np.count_nonzero(labels == HEAD)


def test_cohort_is_laid_out_as_the_challenge(tmp_path: Path) -> None:
    PhantomCohort(output_dir=str(tmp_path), patients=1, spatial_size=SIZE, voxel_mm=VOXEL_MM, seed=2).run()
    folder = tmp_path / "BraTS-GLI-02000-100"
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted(f"{folder.name}-{part}.nii.gz" for part in (*CONTRASTS, "seg"))
    seg = read_volume(folder / f"{folder.name}-seg.nii.gz")
    assert seg.data.dtype == np.uint8 and set(np.unique(seg.data)) <= {0, 1, 2, 3, 4}
    for contrast in CONTRASTS:
        path = folder / f"{folder.name}-{contrast}.nii.gz"
        volume = read_volume(path)
        assert volume.data.dtype == np.int16 and volume.data.shape == SIZE and volume.orientation == "LPS"
        assert volume.voxel_mm == pytest.approx((VOXEL_MM,) * 3)
        assert np.array_equal(volume.affine, seg.affine)
        assert int(nib.load(path).header["sform_code"]) == 1


def test_rerun_keeps_what_is_complete_and_refuses_other_parameters(tmp_path: Path) -> None:
    options = {"output_dir": str(tmp_path), "patients": 2, "spatial_size": SIZE, "voxel_mm": VOXEL_MM}
    PhantomCohort(**options).run()
    files = sorted(tmp_path.glob("*/*.nii.gz"))
    before = {path: path.stat().st_mtime_ns for path in files}
    lost = files[0]
    lost_bytes = nib.load(lost).get_fdata()
    lost.unlink()
    PhantomCohort(**options).run()
    untouched = [path for path in files if path.parent != lost.parent]
    assert untouched and all(path.stat().st_mtime_ns == before[path] for path in untouched)
    assert np.array_equal(nib.load(lost).get_fdata(), lost_bytes)
    with pytest.raises(GliomaGenError, match=r"voxel_mm 3\.0, not 2\.0"):
        PhantomCohort(**{**options, "voxel_mm": 2.0}).run()


@pytest.mark.parametrize(
    "wrong", [{"patients": 1001}, {"patients": 0}, {"seed": 100}, {"timepoints": 901}, {"voxel_mm": 0.0}]
)
def test_options_that_make_no_challenge_name_are_refused(tmp_path: Path, wrong: dict[str, float]) -> None:
    with pytest.raises(GliomaGenError, match=next(iter(wrong))):
        PhantomCohort(**{"output_dir": str(tmp_path), "patients": 1, **wrong})
    assert not any(tmp_path.iterdir())


def test_bundle_config_makes_the_same_cohort_in_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from monai.bundle import ConfigWorkflow

    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # the config replaces it
    workflow = ConfigWorkflow(
        config_file=str(CONFIG),
        meta_file=None,
        logging_file=False,
        init_id="initialize",
        run_id="simulating",
        output_dir=str(tmp_path),
        patients=2,
        spatial_size=list(SIZE),
        voxel_mm=VOXEL_MM,
    )
    workflow.initialize()
    workflow.run()
    for patient in (0, 1):
        name = f"BraTS-GLI-{patient:05d}-100"
        written = read_volume(tmp_path / name / f"{name}-t1c.nii.gz")
        assert np.array_equal(written.data, case(patient).images["t1c"])
