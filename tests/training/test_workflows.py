"""Every way of training, from the command line: two steps of each must end in weights that can be used."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import CONFIGS, ROOT, bundle_run, run_environment
from monai.bundle import ConfigParser
from torch import nn

from gliomagen.cohort.datalist import read_cohort
from gliomagen.labels import CONTRASTS
from gliomagen.provenance import patient_hash, read_card
from gliomagen.training.cache import CachedCases
from gliomagen.volume import Volume, write_volume
from gliomagen.weights import load_weights

STEPS = 2
NETWORK = {"channels": [8, 8], "network_def#groups": 4, "network_def#head_channels": 8}
MONAI_NETWORK = {"network_def#norm_num_groups": 4, "network_def#num_head_channels": 8}
SETTINGS = {
    "precision": "fp32",
    "device": "cpu",
    "num_workers": 0,
    "max_steps": STEPS,
    "batch_size": 1,
    "checkpoint_interval": STEPS,
    "sample_interval": STEPS,
    "log_interval": 1,
    "sample_cases": 2,
    "steps": 2,
}


def parsed(*configs: str, **options: Any) -> ConfigParser:
    """The configuration a run has, to build parts of it here."""
    parser = ConfigParser(ConfigParser.load_config_files([CONFIGS / name for name in configs]))
    parser.update({name.replace("__", "#"): value for name, value in options.items()})
    return parser


def cached(*configs: str, section: str = "train", **options: Any) -> CachedCases:
    """A run's cached cases, made here if they are not yet."""
    cases: CachedCases = parsed(*configs, **options, num_workers=0).get_parsed_content(f"{section}#cases")
    cases.fill()
    return cases


@pytest.fixture(scope="module")
def cache_dir(tiny_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tiny cohort's cases, cached once for all runs."""
    folder = str(tmp_path_factory.mktemp("cache"))
    for section in ("train", "validate"):
        cached("train.yaml", section=section, dataset_dir=str(tiny_cohort), cache_dir=folder)
    return folder


def check_run(folder: Path, *configs: str, network: dict[str, Any], patients: set[str]) -> dict[str, Any]:
    """Checks what a training leaves, and returns the weights' card."""
    built: nn.Module = parsed(*configs, **network).get_parsed_content("network_def")
    load_weights(built, folder / "model.pt")  # strictly
    card = read_card(folder / "model.pt")  # its sha256 is that of the weights
    assert card["steps"] == STEPS and card["licence"] and card["data_terms"]
    assert card["training_patients"] == sorted(map(patient_hash, patients)) and patients
    assert not any(patient in json.dumps(card) for patient in patients)  # names go nowhere
    assert card["geometry"]["contrasts"] == list(CONTRASTS)
    assert card["geometry"]["spatial_size"] == [16, 16, 16] and card["geometry"]["voxel_mm"] == [3, 3, 3]
    picture = folder / "samples" / f"step_{STEPS:08d}.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    entries = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries if "loss" in entry] == list(range(1, STEPS + 1))
    last = {name: value for entry in entries for name, value in entry.items()}
    assert all(math.isfinite(value) for entry in entries for value in entry.values())
    assert last["loss"] > 0 and last["validation_loss"] > 0 and last["sample_error"] > 0
    return card


@pytest.mark.parametrize(
    ("overlays", "network", "spatial_dims", "basis"),
    [
        (["slices.yaml"], NETWORK, 2, "HaarBasis"),
        (["full.yaml"], NETWORK, 3, "HaarBasis"),
        (["generative.yaml"], {**MONAI_NETWORK, "channels": [8, 8]}, 3, "HaarBasis"),
        (
            ["reference.yaml", "reference_train.yaml"],
            {**MONAI_NETWORK, "channels": [8, 8, 8]},
            3,
            "IdentityBasis",
        ),
    ],
)
def test_overlay(
    overlays: list[str],
    network: dict[str, Any],
    spatial_dims: int,
    basis: str,
    tiny_cohort: Path,
    cache_dir: str,
    tmp_path: Path,
) -> None:
    configs = ["train.yaml", *overlays]
    done = bundle_run(
        "training",
        *configs,
        dataset_dir=tiny_cohort,
        output_dir=tmp_path,
        cache_dir=cache_dir,
        **SETTINGS,
        **network,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    cohort = read_cohort(tiny_cohort)
    patients = {entry["patient"] for entry in cohort.training}
    card = check_run(tmp_path, *configs, network=network, patients=patients)
    assert card["architecture"]["spatial_dims"] == spatial_dims and card["architecture"]["basis"] == basis
    name = "HaarUNet" if network is NETWORK else "DiffusionModelUNet"
    assert card["architecture"]["network"] == name and card["cohort_sha256"] == cohort.sha256
    accumulation = 2 if "reference_train.yaml" in overlays else 1
    assert card["samples_per_step"] == SETTINGS["batch_size"] * accumulation


def test_going_on_from_weights(tiny_cohort: Path, cache_dir: str, tmp_path: Path) -> None:
    """Weights that were trained on others' scans go on with ours; the card names both, or a study would be fooled."""
    options = {**SETTINGS, **NETWORK, "dataset_dir": tiny_cohort, "cache_dir": cache_dir}
    first = {"output_dir": tmp_path / "first", "max_steps": 1, "checkpoint_interval": 1, "sample_interval": 1}
    done = bundle_run("training", "train.yaml", **{**options, **first})
    assert done.returncode == 0, done.stdout + done.stderr
    card_file = tmp_path / "first" / "model.json"
    before = {**json.loads(card_file.read_text()), "training_patients": [patient_hash("somebody else")]}
    card_file.write_text(json.dumps(before))
    more = {"output_dir": tmp_path / "more", "start_weights": tmp_path / "first" / "model.pt"}
    done = bundle_run("training", "train.yaml", **{**options, **more, "learning_rate": 0.0})
    assert done.returncode == 0, done.stdout + done.stderr
    card = read_card(tmp_path / "more" / "model.pt")
    own = {patient_hash(entry["patient"]) for entry in read_cohort(tiny_cohort).training}
    assert set(card["training_patients"]) == own | {patient_hash("somebody else")}
    assert card["started_from"] == before["sha256"]
    weights = [torch.load(tmp_path / name / "model.pt", weights_only=True) for name in ("first", "more")]
    assert all(torch.equal(weights[0][name], value) for name, value in weights[1].items())


def test_from_inside_the_bundle(tiny_cohort: Path, cache_dir: str, tmp_path: Path) -> None:
    """As the zoo's users start it, with relative paths; two workers fill the cache, with the same content."""
    options = {
        **SETTINGS,
        **NETWORK,
        "dataset_dir": tiny_cohort,
        "output_dir": tmp_path / "run",
        "num_workers": 2,
    }
    flags = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    command = ["-m", "monai.bundle", "run", "training", "--config_file", "configs/train.yaml", *flags]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT / "bundle",
        env=run_environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    patients = {entry["patient"] for entry in read_cohort(tiny_cohort).training}
    check_run(tmp_path / "run", "train.yaml", network=NETWORK, patients=patients)
    ours, theirs = (
        cached("train.yaml", dataset_dir=str(tiny_cohort), cache_dir=str(folder))
        for folder in (cache_dir, tmp_path / "run" / "cache")
    )
    assert_same_cases(ours, theirs)


@pytest.fixture(scope="module")
def challenge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six patients in BraTS 2024's layout: 24x22x20 at 2 mm, axes L-P-S, labels of 2024."""
    folder = tmp_path_factory.mktemp("challenge")
    affine = np.diag([-2.0, -2.0, 2.0, 1.0])
    affine[:3, 3] = (20, 15, -10)
    for number in range(6):
        rng, case = np.random.default_rng(number), f"BraTS-GLI-{number:05}-100"
        grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in (24, 22, 20)], indexing="ij"))
        head = (grid**2).sum(0) < 0.8
        label = np.zeros(head.shape, np.uint8)
        for kind in (1, 2, 3, 4):
            label[((grid - rng.uniform(-0.3, 0.3, 3).reshape(3, 1, 1, 1)) ** 2).sum(0) < 0.05] = kind
        write_volume(folder / case / f"{case}-seg.nii.gz", Volume(data=label, affine=affine))
        for contrast in CONTRASTS:
            scan = np.where(head, 300 + 100 * label.astype(int) + rng.integers(1, 200, head.shape), 0)
            volume = Volume(data=scan.astype(np.int16), affine=affine)
            write_volume(folder / case / f"{case}-{contrast}.nii.gz", volume)
    return folder


def test_raw_folder_gives_the_samples_of_a_prepared_one(challenge: Path, tmp_path: Path) -> None:
    """Training on a challenge folder as it is must be training on what preparing makes of it."""
    geometry = {"spatial_size": [16, 16, 16], "voxel_mm": [3.0, 3.0, 3.0], "validation_fraction": 0.4}
    options = {**geometry, "dataset_dir": challenge, "label_convention": "brats2024"}
    raw = bundle_run(
        "training", "train.yaml", "raw.yaml", output_dir=tmp_path / "run", **options, **SETTINGS, **NETWORK
    )
    assert raw.returncode == 0, raw.stdout + raw.stderr
    made = bundle_run("preparing", "prepare.yaml", output_dir=tmp_path / "cohort", num_workers=0, **options)
    assert made.returncode == 0, made.stdout + made.stderr
    patients = {entry["patient"] for entry in read_cohort(tmp_path / "cohort").training}
    check_run(tmp_path / "run", "train.yaml", "raw.yaml", network=NETWORK, patients=patients)
    for section in ("train", "validate"):
        from_raw = cached(
            *("train.yaml", "raw.yaml"),
            section=section,
            **{**options, "dataset_dir": str(challenge), "cache_dir": str(tmp_path / "run" / "cache")},
        )
        from_prepared = cached(
            "train.yaml",
            section=section,
            dataset_dir=str(tmp_path / "cohort"),
            cache_dir=str(tmp_path / "prepared"),
        )
        assert_same_cases(from_raw, from_prepared)
        assert {5, 4, 3, 2, 1, 0} == set(np.unique([case["label"] for case in from_raw]))


def test_learning_without_labels(challenge: Path, tmp_path: Path) -> None:
    """Scans that nobody labelled are prepared and learnt from; labels that are there are not looked at, or the features
    of a few-label study would owe something to them."""
    shutil.copytree(challenge, tmp_path / "challenge")
    for number in (0, 1, 2):
        case = f"BraTS-GLI-{number:05}-100"
        (tmp_path / "challenge" / case / f"{case}-seg.nii.gz").unlink()
    made = bundle_run(
        *("preparing", "prepare.yaml"),
        dataset_dir=tmp_path / "challenge",
        output_dir=tmp_path / "cohort",
        num_workers=0,
        allow_missing_labels=True,
        spatial_size=[16, 16, 16],
        voxel_mm=[3.0, 3.0, 3.0],
        validation_fraction=0.5,
        seed=3,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    cohort = read_cohort(tmp_path / "cohort")
    assert len(cohort.unlabelled) == 3 and len(cohort.section("all")) == 3, "labelled ones are apart"
    assert all("label" not in entry and entry["head"].endswith("-head.nii.gz") for entry in cohort.unlabelled)
    held_out = {entry["patient"] for entry in cohort.validation}
    held_out |= {entry["patient"] for entry in cohort.unlabelled if entry["section"] == "validation"}
    assert 0 < len(held_out) < 6

    overlays = ["train.yaml", "slices.yaml", "unlabelled.yaml"]
    options = {"dataset_dir": str(tmp_path / "cohort"), "cache_dir": str(tmp_path / "cache")}
    done = bundle_run("training", *overlays, output_dir=tmp_path / "run", **options, **SETTINGS, **NETWORK)
    assert done.returncode == 0, done.stdout + done.stderr
    patients = {f"BraTS-GLI-{number:05}" for number in range(6)} - held_out
    assert set(read_card(tmp_path / "run" / "model.pt")["training_patients"]) == set(
        map(patient_hash, patients)
    )
    for case in cached(*overlays, **options):
        assert set(np.unique(case["label"])) == {0, 1}
    for case in cached("train.yaml", "slices.yaml", **options):
        assert set(np.unique(case["label"])) > {0, 1}, "with labels it is another cache"


def test_regressor_of_burden(tiny_cohort: Path, cache_dir: str, tmp_path: Path) -> None:
    """It learns to read a noisy scan's burden: its error is in the log, and goes down."""
    network = {"channels": [8, 8], "network_def#norm_num_groups": 4, "network_def#num_head_channels": 8}
    steps = {"max_steps": 30, "checkpoint_interval": 30, "sample_interval": 1, "warmup": 1}
    done = bundle_run(
        "training",
        "train.yaml",
        "regressor.yaml",
        dataset_dir=tiny_cohort,
        cache_dir=cache_dir,
        output_dir=tmp_path / "run",
        **{**SETTINGS, **network, **steps},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    entries = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    errors = [entry["burden_error"] for entry in entries if "burden_error" in entry]
    assert errors[-1] < errors[0]
    assert read_card(tmp_path / "run" / "model.pt")["steps"] == 30


def assert_same_cases(one: CachedCases, other: CachedCases) -> None:
    """The same cases in the same order, bit by bit."""
    assert [case["case"] for case in one] == [case["case"] for case in other] and len(one) > 0
    assert [case["patient"] for case in one] == [case["patient"] for case in other]
    for mine, theirs in zip(one, other, strict=True):
        for key in ("image", "label"):
            assert mine[key].dtype == theirs[key].dtype
            assert np.array_equal(mine[key], theirs[key]), (mine["case"], key)
