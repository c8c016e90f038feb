"""Training the segmenter as a user does, and asking it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import CONFIGS, bundle_run
from monai.bundle import ConfigParser

from gliomagen.cohort.split import half_of
from gliomagen.errors import GliomaGenError
from gliomagen.labels import CONTRASTS
from gliomagen.provenance import patient_hash, read_card
from gliomagen.segmenter.predict import Segmenter


@pytest.fixture(scope="module")
def run(tiny_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("segmenter")
    options = {"dataset_dir": tiny_cohort, "output_dir": folder, "num_workers": 0, "checkpoint_interval": 1}
    done = bundle_run("training", "segmenter.yaml", max_steps=2, sample_interval=2, half=1, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def network() -> torch.nn.Module:
    parser = ConfigParser()
    parser.read_config(CONFIGS / "segmenter.yaml")
    built: torch.nn.Module = parser.get_parsed_content("network_def")
    return built


def test_a_run_leaves_weights_scores_and_the_patients_it_saw(run: Path, tiny_cohort: Path) -> None:
    entries = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    scores = next(entry for entry in entries if "validation_loss" in entry)
    assert {"dice", "dice_ET", "dice_SNFH"} <= set(scores)
    training = json.loads((tiny_cohort / "cohort.json").read_text())["training"]
    half = [entry["patient"] for entry in half_of(training, 1)]
    assert read_card(run / "model.pt")["training_patients"] == sorted(patient_hash(p) for p in half)


def test_the_halves_share_no_patient_and_lose_none() -> None:
    """Two segmenters, one to select and one to evaluate, must not know the same patients."""
    entries = [{"patient": f"P{i // 2}", "case": i} for i in range(40)]
    first, second = half_of(entries, 0), half_of(entries, 1)
    assert not {e["patient"] for e in first} & {e["patient"] for e in second}
    assert len(first) + len(second) == 40 and half_of(entries, None) == entries
    with pytest.raises(GliomaGenError, match="choose 0, 1"):
        half_of(entries, 2)


def test_the_weights_segment_a_scan_of_any_size(run: Path) -> None:
    segmenter = Segmenter(network=network(), weights=run / "model.pt", contrasts=CONTRASTS)
    scan = np.random.default_rng(0).random((4, 17, 16, 20))
    label = segmenter(scan)
    assert label.shape == (17, 16, 20) and label.dtype == np.uint8 and label.max() <= 5
    assert np.array_equal(label, segmenter(scan))


def test_other_contrasts_are_refused(run: Path) -> None:
    with pytest.raises(GliomaGenError, match="segments the contrasts"):
        Segmenter(network=network(), weights=run / "model.pt", contrasts=CONTRASTS[::-1])
