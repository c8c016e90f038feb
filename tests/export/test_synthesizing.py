"""From label maps to a data set that nnU-Net takes, as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from fake_writing import write_masks, write_set
from helpers import CONFIGS, bundle_command, bundle_run, run_environment, write_prepared_cohort
from monai.bundle import ConfigParser

from gliomagen.cohort.loading import with_geometry
from gliomagen.errors import GliomaGenError
from gliomagen.export.synthesizing import CheckMaskd, parents_of, with_seeds
from gliomagen.files import file_sha256, write_json
from gliomagen.labels import CONTRASTS, LESION
from gliomagen.provenance import CardWriter
from gliomagen.volume import Volume, read_volume, write_volume

SMALL = {"channels": "[8,8]", "network_def__groups": 4, "network_def__head_channels": 8}
AFFINE = np.diag([-3.0, -3.0, 3.0, 1.0])  # LPS: the network sees it turned
PARENTS = {"source_case": "A-100", "source_patient": "A", "donor_case": "B-100", "donor_patient": "B"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random network's weights, with a card: 16x16x16 at 3 mm."""
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    parser = ConfigParser(ConfigParser.load_config_file(CONFIGS / "synthesize.yaml"))
    parser.update({name.replace("__", "#"): value for name, value in SMALL.items()} | {"channels": [8, 8]})
    torch.manual_seed(0)
    network = parser.get_parsed_content("network_def")
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    torch.save(network.state_dict(), path)
    geometry = {"spatial_size": [16, 16, 16], "voxel_mm": [3.0, 3.0, 3.0], "contrasts": list(CONTRASTS)}
    CardWriter(architecture={}, geometry=geometry, cohort_sha256="", patients=["somebody"])(path, 1)
    return path


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three prepared label maps in one folder, one with the record of its making."""
    folder = tmp_path_factory.mktemp("masks")
    cohort = write_prepared_cohort(folder / "cohort", training=3, validation=0)
    for number in range(3):
        case = f"BraTS-GLI-9000{number}-100"
        data = read_volume(cohort / case / f"{case}-seg.nii.gz").data
        write_volume(folder / "maps" / f"{case}-seg.nii.gz", Volume(data=data, affine=AFFINE))
    made = {**PARENTS, "policy": "transplant", "parameters": {"shift_mm": [1, 2, 3]}}
    write_json(folder / "maps" / "BraTS-GLI-90000-100.json", made)
    return folder / "maps"


@pytest.fixture(scope="module")
def options(masks: Path, weights: Path) -> dict[str, Any]:
    fixed = {"steps": 1, "seeds_per_mask": 2, "precision": "fp32", "device": "cpu", "num_workers": 0}
    return {"dataset_dir": masks, "weights": weights, **fixed, **SMALL}


@pytest.fixture(scope="module")
def made(options: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set of one process."""
    out = tmp_path_factory.mktemp("out")
    done = bundle_run("synthesizing", "synthesize.yaml", output_dir=out, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "synthesizing: 100%" in done.stderr and "6/6" in done.stderr
    return out / "nnUNet_raw" / "Dataset501_SyntheticGlioma"


def voxels(folder: Path) -> dict[str, np.ndarray]:
    return {str(f.relative_to(folder)): read_volume(f).data for f in sorted(folder.rglob("*.nii.gz"))}


def the_same(one: Path, other: Path) -> bool:
    ours, theirs = voxels(one), voxels(other)
    return (
        len(ours) == 30 and ours.keys() == theirs.keys() and all((ours[k] == theirs[k]).all() for k in ours)
    )


def test_nnunet_finds_nothing_wrong(made: Path, tmp_path: Path) -> None:
    """Its own check, on a set in the challenge's labels and on one with the head kept."""
    kept = write_set(tmp_path, write_masks(tmp_path / "masks", 2), labels="prepared").folder
    check = (
        "import sys\n"
        "from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity\n"
        "if __name__ == '__main__':\n"
        "    for folder in sys.argv[1:]:\n"
        "        verify_dataset_integrity(folder, 1)\n"
    )
    places = {name: str(tmp_path / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    done = subprocess.run(
        [sys.executable, "-c", check, str(made), str(kept)],
        env={**run_environment(), **places},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("verify_dataset_integrity Done") == 2
    assert "Error" not in done.stdout and "Warning" not in done.stdout


def test_volumes_lie_on_their_label_maps(made: Path, masks: Path) -> None:
    """Grid and orientation of the given map, background exactly 0; the seeds of a map differ."""
    for number in range(3):
        case = f"BraTS-GLI-9000{number}-100"
        mask = read_volume(masks / f"{case}-seg.nii.gz")
        for seed in (0, 1):
            label = read_volume(made / f"labelsTr/{case}-s{seed}.nii.gz")
            np.testing.assert_array_equal(label.data, np.maximum(mask.data, 1) - 1)
            assert np.allclose(label.affine, AFFINE)
            for channel in range(4):
                image = read_volume(made / f"imagesTr/{case}-s{seed}_{channel:04d}.nii.gz")
                assert np.allclose(image.affine, AFFINE) and image.data.dtype == np.float32
                assert (image.data[mask.data == 0] == 0).all() and image.data.std() > 0
    images = voxels(made)
    first, second = (images[f"imagesTr/{case}-s{seed}_0000.nii.gz"] for seed in (0, 1))
    assert not np.array_equal(first, second)


def test_the_manifest_names_parents_and_weights(made: Path, masks: Path, weights: Path) -> None:
    lines = [json.loads(line) for line in (made / "manifest.jsonl").read_text().splitlines()]
    assert len(lines) == 6
    for line in lines:
        assert line["weights_sha256"] == file_sha256(weights) and line["synthetic"] is True
        assert line["mask_sha256"] == file_sha256(masks / line["mask"])
        assert (line["seed"], line["sampler"], line["steps"], line["network_calls"]) == (0, "multistep", 1, 1)
    assert (
        lines[0].items() >= {**PARENTS, "policy": "transplant", "parameters": {"shift_mm": [1, 2, 3]}}.items()
    )
    assert (
        lines[2]["source_case"] == "BraTS-GLI-90001-100" and lines[2]["source_patient"] == "BraTS-GLI-90001"
    )
    assert json.loads((made / "synthesis.json").read_text())["weights"]["training_patients"]


def test_two_processes_make_the_volumes_of_one(made: Path, options: dict[str, Any], tmp_path: Path) -> None:
    command = bundle_command("synthesizing", "synthesize.yaml", output_dir=tmp_path, **options)
    runs = [
        subprocess.Popen(
            command,
            env={**run_environment(), "RANK": str(rank), "WORLD_SIZE": "2"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in (0, 1)
    ]
    for rank, run in enumerate(runs):
        output, _ = run.communicate(timeout=600)
        assert run.returncode == 0, output
        assert f"process {rank + 1} of 2" in output
    folder = tmp_path / "nnUNet_raw" / made.name
    assert the_same(folder, made)
    assert (folder / "manifest.jsonl").read_text() == (made / "manifest.jsonl").read_text()


@pytest.mark.slow
def test_torchrun(made: Path, options: dict[str, Any], tmp_path: Path) -> None:
    command = bundle_command("synthesizing", "synthesize.yaml", output_dir=tmp_path, **options)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", *command[1:]]
    done = subprocess.run(
        [sys.executable, *torchrun], env=run_environment(), capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert the_same(tmp_path / "nnUNet_raw" / made.name, made)


def test_a_label_map_without_a_head_is_one_line(options: dict[str, Any], tmp_path: Path) -> None:
    label = np.zeros((16, 16, 16), np.uint8)
    label[4:8, 4:8, 4:8] = 4
    write_volume(tmp_path / "maps" / "x-seg.nii.gz", Volume(data=label, affine=AFFINE))
    out = tmp_path / "out"
    done = bundle_run(
        "synthesizing", "synthesize.yaml", **{**options, "dataset_dir": tmp_path / "maps", "output_dir": out}
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "x-seg.nii.gz: has no head" in errors[0]
    assert not out.exists()


def checked(label: np.ndarray, *, labels: str = "challenge", known: int = 1, **more: Any) -> None:
    case = with_geometry(label[None], AFFINE, meta={"filename_or_obj": "x.nii.gz"})
    data = {"image": case, "labels_known": np.full((1, *label.shape), known, np.uint8)}
    CheckMaskd("image", labels=labels, **more)(data)


def test_label_maps_that_cannot_be_used_are_named_before_sampling() -> None:
    label = np.ones((8, 8, 8), np.uint8)
    label[:2] = 3
    checked(label)
    checked(label, labels="prepared")
    with pytest.raises(
        GliomaGenError, match=r"x\.nii\.gz: its lesion fills 25% of the head, more than .* \(20%\)"
    ):
        checked(label, max_lesion=0.2)
    label[:5] = 3
    with pytest.raises(GliomaGenError, match=r"its lesion fills 62% of the head"):
        checked(label)
    checked(label, known=0)  # how large the head will be is not known
    label[:] = 0
    with pytest.raises(GliomaGenError, match="has no head"):
        checked(label)
    label[:2] = 3
    checked(label, known=0)
    with pytest.raises(GliomaGenError, match="has no head"):
        checked(label, known=0, labels="prepared")
    label[2:] = 1
    label[0] = LESION
    with pytest.raises(GliomaGenError, match="no number for lesion of unknown kind; pass --labels prepared"):
        checked(label)
    checked(label, labels="prepared")


def test_parents(tmp_path: Path) -> None:
    """A record that is not of a variation is passed over; one without the patient is refused: no one could split."""
    assert parents_of(tmp_path / "a-seg.nii.gz", "a", "p")["source_patient"] == "p"
    write_json(tmp_path / "a.json", {"case": "a", "seed": 0})
    assert parents_of(tmp_path / "a-seg.nii.gz", "a", "p")["source_case"] == "a"
    write_json(tmp_path / "a.json", {"source_case": "b"})
    with pytest.raises(GliomaGenError, match=r"a\.json: names the source case but not its source_patient"):
        parents_of(tmp_path / "a-seg.nii.gz", "a", "p")
    write_json(tmp_path / "a.json", {**PARENTS, "donor_patient": None})
    with pytest.raises(GliomaGenError, match="donor_patient"):
        parents_of(tmp_path / "a-seg.nii.gz", "a", "p")


def test_seeds_are_names() -> None:
    entries = with_seeds(
        [{"case": "a", "image": "f"}], masks=[{"case": "a", "patient": "p"}], seeds_per_mask=2
    )
    assert [entry["case"] for entry in entries] == ["a-s0", "a-s1"]
    assert all(entry["mask_case"] == "a" and entry["patient"] == "p" for entry in entries)


def test_synthesis_runs_the_network_and_process_of_inference() -> None:
    """One config differs from the other only in what becomes of the volumes."""
    ours, theirs = (
        yaml.safe_load((CONFIGS / name).read_text(encoding="utf-8"))
        for name in ("synthesize.yaml", "inference.yaml")
    )
    for name in (
        *(
            "network_def",
            "basis",
            "process",
            "run_device",
            "network",
            "card",
            "inferer",
            "evaluator",
            "dataloader",
        ),
        *(
            "weights",
            "steps",
            "sampler",
            "extrapolation",
            "guidance",
            "contrasts",
            "num_labels",
            "spatial_dims",
            "channels",
        ),
        *(
            "blocks",
            "time_shift",
            "time_spread",
            "detail_rms",
            "grid",
            "precision",
            "seed",
            "label_convention",
            "layout",
            "head",
        ),
    ):
        assert ours[name] == theirs[name], name
    asked = ("AddMissingMaskd", "StateHeightsd")  # what a user asks of one run: no mask, heights of slices
    shared = [step for step in theirs["preprocessing"]["transforms"] if not step["_target_"].endswith(asked)]
    assert [
        step for step in ours["preprocessing"]["transforms"] if "CheckMaskd" not in step["_target_"]
    ] == shared
    kept = {name: value for name, value in theirs["writer"]["settings"].items() if name != "heights"}
    assert ours["writer"]["settings"].items() >= kept.items()


def test_documented_options_are_there() -> None:
    options = yaml.safe_load((CONFIGS / "synthesize.yaml").read_text(encoding="utf-8"))
    asked = (
        "dataset_dir",
        "output_dir",
        "device",
        "seed",
        "num_workers",
        "weights",
        "steps",
        "sampler",
        "extrapolation",
        "guidance",
    )
    ours = ("label_convention", "dataset_id", "dataset_name", "labels", "seeds_per_mask", "grid")
    assert set(asked + ours) <= options.keys()
