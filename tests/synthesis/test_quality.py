"""If the run over a data set were wrong, the high-quality subset would be a list of the wrong cases."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from acceptance_heads import CONTRASTS, VOXEL_MM, fitted, head, nearest_greys
from helpers import CONFIGS, bundle_run
from monai.bundle import ConfigParser

from gliomagen.errors import GliomaGenError
from gliomagen.files import file_sha256, write_json
from gliomagen.labels import CONVENTIONS, HEAD, LABEL_NAMES
from gliomagen.provenance import CardWriter, patient_hash
from gliomagen.scans import Scan, ScanFiles, read_scan, synthetic_scans, with_head
from gliomagen.synthesis.damage import Case, damaged
from gliomagen.synthesis.quality import Acceptance, AcceptanceRun
from gliomagen.volume import Volume, read_volume, write_volume

AFFINE = np.diag([*VOXEL_MM, 1.0])


def scan(case: Case, name: str = "case") -> Scan:
    files = ScanFiles(case=name, patient="", images=(Path("a.nii.gz"),), label=Path("b.nii.gz"))
    return Scan(files=files, volume=case.volume, label=case.label, voxel_mm=VOXEL_MM)


def write_nnunet(folder: Path, cases: Mapping[str, Case], *, keep_head: bool = False) -> Path:
    """Writes an nnU-Net data set as ``synthesizing`` does."""
    convention = CONVENTIONS["prepared" if keep_head else "brats2024"]
    for name, case in cases.items():
        for i, grey in enumerate(case.volume):
            write_volume(folder / f"imagesTr/{name}_{i:04d}.nii.gz", Volume(data=grey, affine=AFFINE))
        label = convention.from_prepared(case.label)
        write_volume(folder / f"labelsTr/{name}.nii.gz", Volume(data=label, affine=AFFINE))
    labels = {"background": 0, **({"head": 1} if keep_head else {})}
    write_json(folder / "dataset.json", {"labels": labels})
    return folder


def write_cohort(folder: Path, *, training: int, validation: int) -> Path:
    """Writes a prepared cohort of the tests' heads."""
    entries = []
    for seed in range(training + validation):
        name, case = f"P{seed:03d}-100", head(seed)
        entry = {"case": name, "patient": f"P{seed:03d}", "label": f"{name}/{name}-seg.nii.gz"}
        write_volume(folder / entry["label"], Volume(data=case.label, affine=AFFINE))
        for contrast, grey in zip(CONTRASTS, case.volume, strict=True):
            entry[contrast] = f"{name}/{name}-{contrast}.nii.gz"
            write_volume(folder / entry[contrast], Volume(data=grey, affine=AFFINE))
        entries.append(entry)
    content: dict[str, Any] = {
        "format": "gliomagen-cohort",
        "format_version": 1,
        "contrasts": list(CONTRASTS),
        "labels": {str(k): v for k, v in LABEL_NAMES.items()},
        "spatial_size": [32, 32, 24],
        "voxel_mm": list(VOXEL_MM),
        "training": entries[:training],
        "validation": entries[training:],
    }
    write_json(folder / "cohort.json", content)
    return folder


def spoiled(kind: str) -> Case:
    result = damaged(kind, head(1000), head(1001), np.random.default_rng(0))
    assert result is not None
    return result[0]


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of two good cases and two bad ones, heads kept."""
    cases = {
        "good_1": head(1002),
        "good_0": head(1000),
        "blurred": spoiled("blur of one voxel"),
        "shifted": spoiled("shift of two voxels"),
    }
    return write_nnunet(tmp_path_factory.mktemp("nnunet") / "Dataset500_Glioma", cases, keep_head=True)


@pytest.fixture(scope="module")
def thresholds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("thresholds") / "acceptance.json"
    fitted().save(path)
    return path


def run(dataset_dir: Path, thresholds: Path, **options: Any) -> list[dict[str, Any]]:
    settings = {"label_convention": "prepared", "segmenter_card": {"sha256": "0" * 64}, **options}
    return AcceptanceRun(
        dataset_dir=dataset_dir, thresholds=thresholds, segment=nearest_greys, **settings
    ).run()


def test_accepted_and_rejected_are_both_kept_with_reasons(
    synthetic: Path, thresholds: Path, tmp_path: Path
) -> None:
    records = run(synthetic, thresholds, output_dir=tmp_path)
    assert [record["case"] for record in records] == ["blurred", "good_0", "good_1", "shifted"]
    assert [record["accepted"] for record in records] == [False, True, True, False]
    assert all(bool(record["reasons"]) != record["accepted"] for record in records)
    assert any(reason.startswith("texture: ") for reason in records[0]["reasons"])
    assert any("signal outside" in reason for reason in records[3]["reasons"])
    lines = (tmp_path / "acceptance.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == records
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == ["acceptance.json", "acceptance.jsonl", "acceptance.md", "acceptance.png"]
    page = (tmp_path / "acceptance.md").read_text()
    assert "| accepted | 2 |" in page and "| rejected | 2 |" in page and "| rejected by texture |" in page


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_workers_change_nothing(synthetic: Path, thresholds: Path, tmp_path: Path) -> None:
    alone = run(synthetic, thresholds, output_dir=tmp_path / "a")
    assert run(synthetic, thresholds, output_dir=tmp_path / "b", num_workers=2) == alone


def test_a_failure_leaves_no_list_behind(thresholds: Path, tmp_path: Path) -> None:
    """Half a list would look like a small data set."""
    folder = write_nnunet(tmp_path / "set", {"a": head(1000), "b": head(1002)}, keep_head=True)
    (folder / "imagesTr/b_0002.nii.gz").write_bytes(b"broken")
    with pytest.raises(GliomaGenError, match=r"b_0002\.nii\.gz"):
        run(folder, thresholds)
    assert not [path.name for path in folder.iterdir() if "acceptance" in path.name]


def test_a_challenges_labels_get_their_head_from_the_volume(tmp_path: Path) -> None:
    case = head(1000)
    folder = write_nnunet(tmp_path, {"a": case})
    found = read_scan(synthetic_scans(folder, label_convention="brats2024")[0])
    assert np.array_equal(found.label, case.label)
    assert np.array_equal(found.volume, case.volume) and found.voxel_mm == pytest.approx(VOXEL_MM)


def test_masks_with_the_head_are_taken_instead(tmp_path: Path) -> None:
    """Only they know that a shifted volume is shifted."""
    moved = spoiled("shift of two voxels")
    folder = write_nnunet(tmp_path / "set", {"a": moved})
    write_volume(tmp_path / "masks/a.nii.gz", Volume(data=moved.label, affine=AFFINE))
    masks = [{"case": "a", "label": str(tmp_path / "masks/a.nii.gz")}]
    found = read_scan(synthetic_scans(folder, masks=masks)[0])
    assert np.array_equal(found.label, moved.label)
    assert not np.array_equal(read_scan(synthetic_scans(folder)[0]).label, moved.label)


def test_several_volumes_of_one_mask_find_it_by_the_manifest(tmp_path: Path) -> None:
    case = head(1000)
    folder = write_nnunet(tmp_path / "set", {"a_s0": case, "a_s1": case})
    write_volume(tmp_path / "a.nii.gz", Volume(data=case.label, affine=AFFINE))
    masks = [{"case": "a", "label": str(tmp_path / "a.nii.gz")}]
    with pytest.raises(GliomaGenError, match="case a_s0: masks_dir has no label map a_s0"):
        synthetic_scans(folder, masks=masks)
    lines = [json.dumps({"case": f"a_s{i}", "mask_case": "a"}) + "\n" for i in range(2)]
    (folder / "manifest.jsonl").write_text("".join(lines))
    assert [files.label.name for files in synthetic_scans(folder, masks=masks)] == ["a.nii.gz"] * 2


def test_case_folders_are_found_too(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path, training=1, validation=1)
    found = synthetic_scans(cohort, label_convention="prepared")
    assert [files.case for files in found] == ["P000-100", "P001-100"]
    assert np.array_equal(read_scan(found[0]).volume, head(0).volume)


def test_a_hole_in_the_volume_belongs_to_the_head() -> None:
    case = head(1000)
    volume = case.volume.copy()
    volume[:, 15:17, 15:17, 12] = 0
    lesion = np.where(case.label > HEAD, case.label, 0).astype(np.uint8)
    assert np.array_equal(with_head(volume, lesion), case.label)


def test_greys_that_are_not_finite_are_rejected_not_a_crash(thresholds: Path, tmp_path: Path) -> None:
    case = head(1000)
    volume = case.volume.copy()
    volume[0, 16, 16, 12] = np.nan
    cases = {"a": Case(volume=volume, label=case.label)}
    records = run(write_nnunet(tmp_path, cases, keep_head=True), thresholds)
    assert records[0]["reasons"] == ["greys that are not finite"] and records[0]["score"] == 0


def test_other_voxels_are_refused_for_sharpness_cannot_be_compared() -> None:
    accept = Acceptance(thresholds=fitted(), segment=nearest_greys)
    with pytest.raises(GliomaGenError, match="voxels of 1 x 1 x 1 mm, the real scans have 3 x 3 x 3 mm"):
        accept(replace(scan(head(1000)), voxel_mm=(1.0, 1.0, 1.0)))


def test_thresholds_are_used_with_their_own_segmenter_only(synthetic: Path, thresholds: Path) -> None:
    with pytest.raises(GliomaGenError, match="another segmenter"):
        run(synthetic, thresholds, segmenter_card={"sha256": "1" * 64})
    with pytest.raises(GliomaGenError, match="fitted with a segmenter"):
        Acceptance(thresholds=fitted())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "labelsTr/a.nii.gz").unlink(), r"labelsTr/a\.nii\.gz: not found"),
        (lambda f: (f / "imagesTr/a_0003.nii.gz").unlink(), r"a_0003\.nii\.gz: not found"),
        (
            lambda f: write_json(f / "dataset.json", {"labels": {"background": 0}}),
            "label_convention brats2024",
        ),
    ],
)
def test_a_broken_data_set_is_refused_by_name(tmp_path: Path, spoil: Any, message: str) -> None:
    folder = write_nnunet(tmp_path, {"a": head(1000)}, keep_head=True)
    spoil(folder)
    with pytest.raises(GliomaGenError, match=message):
        synthetic_scans(folder, label_convention="prepared")


def test_an_empty_folder_and_raw_greys_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GliomaGenError, match="holds neither"):
        synthetic_scans(tmp_path)
    folder = write_nnunet(tmp_path / "raw", {"a": head(1000)}, keep_head=True)
    grey = read_volume(folder / "imagesTr/a_0000.nii.gz")
    write_volume(folder / "imagesTr/a_0000.nii.gz", Volume(data=grey.data * 900, affine=AFFINE))
    with pytest.raises(GliomaGenError, match="not 0 to 1"):
        read_scan(synthetic_scans(folder, label_convention="prepared")[0])


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("cohort"), training=20, validation=10)


def write_segmenter(path: Path, patients: list[str]) -> Path:
    """Writes an untrained segmenter of the config's shape, with a card."""
    parser = ConfigParser(ConfigParser.load_config_file(CONFIGS / "accept.yaml"))
    torch.manual_seed(0)
    torch.save(parser.get_parsed_content("network_def").state_dict(), path)
    geometry = {"spatial_size": [32, 32, 24], "voxel_mm": list(VOXEL_MM), "contrasts": list(CONTRASTS)}
    CardWriter(architecture={}, geometry=geometry, cohort_sha256="", patients=patients)(path, 1)
    return path


def accepting(cohort: Path, synthetic: Path, out: Path, segmenter: Path) -> subprocess.CompletedProcess[str]:
    return bundle_run(
        "accepting",
        "accept.yaml",
        real_dir=cohort,
        dataset_dir=synthetic,
        output_dir=out,
        segmenter=segmenter,
        label_convention="prepared",
        num_workers=0,
        quantile=0.9,
        min_cases=10,
        device="cpu",
    )


@pytest.mark.slow
def test_the_workflow_fits_on_a_cohort_and_judges_a_data_set(
    cohort: Path, synthetic: Path, tmp_path: Path
) -> None:
    """What a user types."""
    segmenter, out = write_segmenter(tmp_path / "segmenter.pt", ["P000"]), tmp_path / "out"
    done = accepting(cohort, synthetic, out, segmenter)
    assert done.returncode == 0, done.stderr[-2000:]
    records = [json.loads(line) for line in (out / "acceptance.jsonl").read_text().splitlines()]
    verdicts = {record["case"]: record["accepted"] for record in records}
    assert not verdicts["blurred"] and not verdicts["shifted"]
    assert set(records[0]["groups"]) == {"agreement", "background", "contrast", "field", "texture"}
    content = json.loads((out / "acceptance.json").read_text())
    assert content["cases"] == {"reference": 20, "validation": 10}
    assert content["segmenter_sha256"] == file_sha256(segmenter)
    assert content["segmenter_patients"] == [patient_hash("P000")]
    assert (out / "acceptance.md").is_file() and (out / "acceptance.png").is_file()


@pytest.mark.slow
def test_a_segmenter_that_knows_a_validation_patient_is_refused_by_name(
    cohort: Path, synthetic: Path, tmp_path: Path
) -> None:
    segmenter = write_segmenter(tmp_path / "segmenter.pt", ["P000", "P021"])
    done = accepting(cohort, synthetic, tmp_path / "out", segmenter)
    assert done.returncode != 0
    assert "was trained on patient P021" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
