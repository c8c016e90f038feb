"""Labelling as a user runs it: label maps on the scans' own grid, scores of what was not shown, nothing lost by a kill."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import CONFIGS, bundle_run, write_prepared_cohort
from monai.bundle import ConfigParser

from gliomagen.files import read_json, write_json
from gliomagen.labels import CONTRASTS
from gliomagen.provenance import CardWriter
from gliomagen.volume import read_volume

NETWORK = {"channels": [8, 16], "network_def#groups": 4, "network_def#head_channels": 8}
SMALL: dict[str, Any] = {
    "channels": "[8,16]",
    "network_def__groups": 4,
    "network_def__head_channels": 8,
    "blocks": "['up.1.1','up.0.0']",
    "members": "[[32],[32,16]]",
    "member_steps": 150,
    "tuning_steps": 4,
    "precision": "fp32",
    "label_convention": "prepared",
}


def write_weights(path: Path, *overlays: str) -> Path:
    """Of a small random generator."""
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / name) for name in ("fewlabel.yaml", *overlays)])
    parser.update({**NETWORK, "contrasts": list(CONTRASTS)})
    torch.manual_seed(0)
    network = parser.get_parsed_content("network_def")
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    torch.save(network.state_dict(), path)
    geometry = {"contrasts": list(CONTRASTS), "spatial_size": [16, 16, 16], "voxel_mm": [3.0, 3.0, 3.0]}
    CardWriter(architecture={}, geometry=geometry, cohort_sha256="", patients=["somebody"])(path, 1)
    return path


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prepared_cohort(tmp_path_factory.mktemp("few"), training=4, validation=1, size=(32, 32, 16))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "slices.pt")


def test_the_rest_of_a_cohort(cohort: Path, weights: Path, tmp_path: Path) -> None:
    """Two cases teach; the others are found, scored and ranked; a rerun says the same, of what is missing only."""
    labelled = ["BraTS-GLI-90000-100", "BraTS-GLI-90001-100"]
    run = {
        "dataset_dir": cohort,
        "labelled": labelled,
        "weights": weights,
        "output_dir": tmp_path / "o",
        "search": True,
        "search_times": [0.05, 0.4],
        **SMALL,
    }
    done = bundle_run("labelling", "fewlabel.yaml", **run)
    assert done.returncode == 0, done.stdout + done.stderr
    told = read_json(tmp_path / "o" / "fewlabel.json")
    assert set(told["learnt"]["choice"]) <= {"0.05", "0.4"} and len(told["learnt"]["search"]) >= 2 * 4
    others = [f"BraTS-GLI-9000{i}-100" for i in (2, 3, 4)]
    assert sorted(told["scores"]) == others == sorted(row["case"] for row in told["label_next"])
    assert [row["disagreement"] for row in told["label_next"]] == sorted(
        (row["disagreement"] for row in told["label_next"]), reverse=True
    )
    for case in others:
        found = read_volume(tmp_path / "o" / case / f"{case}-seg.nii.gz")
        doubt = read_volume(tmp_path / "o" / case / f"{case}-uncertainty.nii.gz").data
        truth = read_volume(cohort / case / f"{case}-seg.nii.gz")
        assert found.data.shape == truth.data.shape and np.allclose(found.affine, truth.affine)
        assert (found.data[truth.data == 0] == 0).all() and 0 <= doubt.min() and doubt.max() <= 1
        assert told["scores"][case]["ET"]["dice"] > 0.5, "greys alone tell this tissue"
        wrong, right = found.data != truth.data * (truth.data > 1), found.data == truth.data
        assert doubt[wrong].mean() > doubt[right & (truth.data > 1)].mean()
    first = {p: p.read_bytes() for p in (tmp_path / "o").rglob("*.nii.gz")}
    (tmp_path / "o" / others[0] / f"{others[0]}.json").unlink()
    again = bundle_run("labelling", "fewlabel.yaml", **run)
    assert again.returncode == 0 and read_json(tmp_path / "o" / "fewlabel.json") == told
    images = {p: read_volume(p).data for p in first}
    assert all(p.read_bytes() == first[p] for p in images)


def test_the_rest_of_a_patient(cohort: Path, weights: Path, tmp_path: Path) -> None:
    """Some slices of one patient are labelled; the others are scored, those that were shown are not."""
    case, slices = "BraTS-GLI-90002-100", [5, 8, 11]
    done = bundle_run(
        "labelling",
        "fewlabel.yaml",
        dataset_dir=cohort,
        labelled=json.dumps({case: slices}),
        section="training",
        weights=weights,
        output_dir=tmp_path / "o",
        **SMALL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "one labelled case" in done.stdout + done.stderr
    sidecar = read_json(tmp_path / "o" / case / f"{case}.json")
    assert sidecar["labelled_slices"] == slices and sidecar["scores"]["WT"]["dice"] > 0.4
    found = read_volume(tmp_path / "o" / case / f"{case}-seg.nii.gz").data
    truth = read_volume(cohort / case / f"{case}-seg.nii.gz").data
    rest = [z for z in range(16) if z not in slices]
    found, truth = (np.isin(labels[..., rest], (2, 3, 4)) for labels in (found, truth))
    dice = 2 * (found & truth).sum() / (found.sum() + truth.sum())
    assert sidecar["scores"]["WT"]["dice"] == pytest.approx(dice, abs=1e-6)


@pytest.mark.parametrize(("overlays", "method"), [(("fewlabel_volumes.yaml",), "features"), ((), "finetune")])
def test_other_ways(overlays: tuple[str, ...], method: str, cohort: Path, tmp_path: Path) -> None:
    """Volumes at once, and fine-tuning: files for every case that was not labelled."""
    done = bundle_run(
        "labelling",
        "fewlabel.yaml",
        *overlays,
        dataset_dir=cohort,
        labelled=["BraTS-GLI-90000-100", "BraTS-GLI-90001-100"],
        weights=write_weights(tmp_path / "w.pt", *overlays),
        method=method,
        output_dir=tmp_path / "o",
        **SMALL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((tmp_path / "o").glob("*/*-seg.nii.gz"))) == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"labelled": ["nobody"]}, "nobody not in the cohort"),
        ({"labelled": []}, "name at least one case"),
        ({"labelled": '{"BraTS-GLI-90000-100": [99]}'}, "slices [99] are not in it; it has 0 to 15"),
        ({"labelled": '{"BraTS-GLI-90000-100": [0]}'}, "no lesion is labelled"),
        ({"blocks": "['up.7.0']"}, "choose among ['up.1.0'"),
        ({"method": "magic"}, "choose among ['conv', 'features', 'finetune']"),
    ],
)
def test_wrong_use_is_one_line(
    options: dict[str, Any], said: str, cohort: Path, weights: Path, tmp_path: Path
) -> None:
    run = {"dataset_dir": cohort, "labelled": ["BraTS-GLI-90000-100"], "weights": weights, **SMALL, **options}
    done = bundle_run("labelling", "fewlabel.yaml", output_dir=tmp_path / "o", **run)
    assert done.returncode == 1 and said in done.stderr.strip().splitlines()[-1], done.stderr
    assert not list(tmp_path.rglob("*.nii.gz"))


def test_a_missing_contrast_is_made_of_the_others(weights: Path, tmp_path: Path) -> None:
    """The generator knows how: from known voxels; and every file says that it did."""
    cohort = write_prepared_cohort(tmp_path / "c", training=2, validation=0, size=(32, 32, 16))
    content = read_json(cohort / "cohort.json")
    del content["training"][1]["t2w"]
    write_json(cohort / "cohort.json", content)
    run = {"dataset_dir": cohort, "labelled": ["BraTS-GLI-90000-100"], "weights": weights, **SMALL}
    done = bundle_run("labelling", "fewlabel.yaml", output_dir=tmp_path / "o", **run, fill_steps=2)
    assert done.returncode == 0, done.stdout + done.stderr
    case = "BraTS-GLI-90001-100"
    assert f"case {case}: t2w not there, made of t1c, t1n, t2f" in done.stdout + done.stderr
    assert read_json(tmp_path / "o" / case / f"{case}.json")["made_contrasts"] == ["t2w"]
