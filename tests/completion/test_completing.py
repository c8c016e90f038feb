"""``completing`` as a user runs it: what was given comes back bit for bit, and the rest is told apart from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import bundle_run
from monai.utils.misc import first

from gliomagen.errors import user_message
from gliomagen.export.nnunet_form import read_json_lines
from gliomagen.files import read_json
from gliomagen.labels import CONTRASTS
from gliomagen.volume import Volume, read_volume, write_volume

Complete = Callable[..., Path]
CASE = "BraTS-GLI-90006-100"


def voxels(folder: Path, case: str, contrast: str) -> np.ndarray:
    return read_volume(folder / case / f"{case}-{contrast}.nii.gz").data


def require_exact(out: Path, case: str, cohort: Path, source: str = CASE) -> np.ndarray:
    """Given voxels equal the scan's bit for bit, others do not, background is 0. Returns where they were given."""
    packed = voxels(out, case, "given")
    label = voxels(out, case, "seg")
    for k, contrast in enumerate(CONTRASTS):
        scan, made = voxels(cohort, source, contrast), voxels(out, case, contrast)
        given = (packed >> k) & 1 > 0
        assert made.dtype == np.float32
        np.testing.assert_array_equal(made[given], scan[given])
        assert (made[~given & (label == 0)] == 0).all()
        inside = ~given & (label > 0)
        assert not inside.any() or (made[inside] != scan[inside]).mean() > 0.9
        assert not inside.any() or made[inside].std() > 0
    affine = read_volume(cohort / source / f"{source}-t1c.nii.gz").affine
    np.testing.assert_array_equal(read_volume(out / case / f"{case}-t1c.nii.gz").affine, affine)
    return packed


@pytest.mark.parametrize(
    "options",
    [
        {"axis": "axial", "slices": [7]},
        {"axis": "coronal", "position": [0.2, 0.5, 0.8], "contrasts": ["t2f"]},
        {"axis": "sagittal", "slices": [4, 5], "resampling": 2, "tell_voxels": False},
        {"task": "missing_contrast", "contrasts": ["t1c", "t2w"]},
        {"task": "missing_contrast", "contrasts": ["t1n"], "labels": "unknown", "grey_spread": 0.0},
        {"task": "healthy", "margin_mm": 4.0},
        {"task": "replace", "blend_mm": 3.0},
        {"task": "base"},
    ],
    ids=str,
)
def test_given_voxels_come_back_bit_for_bit(
    complete: Complete, tiny_cohort: Path, options: dict[str, Any]
) -> None:
    """Odd and even slices, whole contrasts, ragged regions: a study of a real scan's voxels must find them unchanged."""
    asked = {"task": "informed_slice", **options}
    out = complete(**asked)
    if "blend_mm" in options:  # a band that is neither given nor wholly made
        packed = voxels(out, CASE, "given") == 15
        for contrast in CONTRASTS:
            same = voxels(out, CASE, contrast) == voxels(tiny_cohort, CASE, contrast)
            assert same[packed].all() and not same[~packed & (voxels(out, CASE, "seg") > 1)].all()
        return
    packed = require_exact(out, CASE, tiny_cohort)
    facts = read_json(out / CASE / f"{CASE}.json")
    for k in range(4):
        assert facts["given_share"][k] == pytest.approx(((packed >> k) & 1).mean(), abs=1e-6)
    assert facts["synthetic"] is True and facts["source_case"] == CASE and facts["task"] == asked["task"]


def test_an_inserted_lesion_leaves_all_else_untouched(
    complete: Complete, tiny_cohort: Path, edited: Path
) -> None:
    """And the label map written says what the scan now shows."""
    out = complete(task="lesion_insertion", masks_dir=str(edited), margin_mm=3.0)
    case = f"{CASE}-v0"
    packed = require_exact(out, case, tiny_cohort)
    own = voxels(tiny_cohort, CASE, "seg")
    wanted = read_volume(edited / f"{case}-seg.nii.gz").data
    np.testing.assert_array_equal(voxels(out, case, "seg"), wanted)
    assert ((packed == 0) | (packed == 15)).all()
    assert (packed[wanted != own] == 0).all() and (packed == 15).mean() > 0.8


def test_a_run_goes_on_and_refuses_other_settings(complete: Complete, tmp_path: Path) -> None:
    """A killed run makes only what is missing; slices of another place are not mixed in unseen."""
    options = {"task": "informed_slice", "slices": [6], "out": tmp_path}
    complete(**options)
    files = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.nii.gz")}
    before = voxels(tmp_path, CASE, "t2f")
    (tmp_path / CASE / f"{CASE}.json").unlink()
    complete(**options)
    assert {f.parent.name for f, time in files.items() if f.stat().st_mtime_ns != time} == {CASE}
    np.testing.assert_array_equal(voxels(tmp_path, CASE, "t2f"), before)
    with pytest.raises(Exception, match="pending") as refused:  # MONAI's, ours is its cause
        complete(**{**options, "slices": [7]})
    assert "was made with slices_asked [6], not [7]" in str(user_message(refused.value))


def test_slices_of_another_patient_and_generated_ones(
    complete: Complete, tiny_cohort: Path, edited: Path
) -> None:
    """GEM-3D's settings; the record names the other patient, so that it can be kept out of test data."""
    ic = complete(task="ic", position="drawn", style="slice")
    facts = read_json(ic / CASE / f"{CASE}.json")
    cohort = read_json(tiny_cohort / "cohort.json")
    training = {entry["patient"] for entry in cohort["training"]}
    assert facts["donor_patient"] in training and len(facts["donor_slices"]) == 1
    assert (voxels(ic, CASE, "seg")[voxels(ic, CASE, "given") > 0] == 1).all()
    shared = complete(task="harmonize", style="greys", donor_case="BraTS-GLI-90000-100")
    assert not voxels(shared, CASE, "given").any()
    plain = complete(task="base")
    assert not np.array_equal(voxels(shared, CASE, "t1c"), voxels(plain, CASE, "t1c"))
    generated = complete(task="igma", masks_dir=str(edited), slices=[8])
    case = f"{CASE}-v0"
    assert read_json(generated / case / f"{case}.json")["generated_slices"] == [8]
    assert not voxels(generated, case, "given").any(), "nothing of it is a scan's"
    assert not np.array_equal(
        voxels(generated, case, "t1c")[:, :, 8],
        voxels(complete(task="igma", masks_dir=str(edited), slices=[3]), case, "t1c")[:, :, 8],
    )


def test_completed_scans_become_a_data_set_that_names_both_parents(
    complete: Complete, edited: Path, tiny_cohort: Path
) -> None:
    """A child of a validation patient's slice is a child of that patient."""
    options = {"section": "validation", "donors": "training", "masks_dir": str(edited)}
    out = complete("complete_nnunet.yaml", task="icma", **options)
    folder = out / "nnUNet_raw" / "Dataset511_CompletedGlioma"
    records = read_json_lines(folder / "manifest.jsonl")
    assert [record["case"] for record in records] == [f"BraTS-GLI-9000{i}-100-v0" for i in (6, 7)]
    for record in records:
        assert record["source_patient"] == record["source_case"].rsplit("-", 1)[0]
        assert record["donor_patient"] and record["donor_patient"] != record["source_patient"]
    label = first((folder / "labelsTr").glob("*.nii.gz"))
    assert read_volume(label).data.max() == 4 and (folder / "README.md").is_file()
    assert json.loads((folder / "dataset.json").read_text())["numTraining"] == 2


def test_mistakes_are_one_line(tiny_cohort: Path, weights: dict[str, Path], tmp_path: Path) -> None:
    """What is wrong and what to do, from the command line, and no file is left."""
    mask = read_volume(tiny_cohort / CASE / f"{CASE}-seg.nii.gz")
    label = mask.data.copy()
    label[0, 0, 0] = 4
    write_volume(tmp_path / "masks" / f"{CASE}-seg.nii.gz", Volume(data=label, affine=mask.affine))
    done = bundle_run(
        "completing",
        "complete.yaml",
        dataset_dir=tiny_cohort,
        output_dir=tmp_path / "out",
        weights=weights["weights"],
        task="counterfactual",
        masks_dir=tmp_path / "masks",
        channels="[8,8]",
        network_def__groups=4,
        network_def__head_channels=8,
    )
    assert done.returncode != 0
    assert "1 lesion voxels lie outside the head" in done.stderr.strip().splitlines()[-1]
    assert not list(tmp_path.glob("out/**/*.nii.gz"))
