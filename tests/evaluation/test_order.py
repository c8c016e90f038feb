"""A score is worth its name if it grows worse as scans do: with the network that comes along, on phantoms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import ROOT
from monai.bundle import ConfigParser

from gliomagen.cohort.phantom import phantom_case
from gliomagen.evaluation.damage import ANSWERS, damaged_set
from gliomagen.evaluation.evaluating import Evaluation
from gliomagen.evaluation.measuring import Measurer
from gliomagen.evaluation.pairing import pair_measures, slices_name
from gliomagen.labels import CONTRASTS
from gliomagen.scans import ScanFiles, read_scan
from gliomagen.volume import Volume, write_volume

pytestmark = pytest.mark.slow
STRENGTHS = (0.0, 0.5, 1.0)
REAL, TRAINING, FRESH = range(9000, 9010), range(9010, 9020), range(9020, 9030)
AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])


def phantoms(folder: Path, patients: range) -> list[ScanFiles]:
    found = []
    for patient in patients:
        made = phantom_case(patient=patient, spatial_size=(48, 54, 42), voxel_mm=4.0)
        head = made.labels > 0
        case = f"P{patient}"
        for name in CONTRASTS:
            grey = made.images[name]
            grey = np.where(head, np.clip(grey / np.percentile(grey[head], 99.5), 0, 1), 0)
            write_volume(
                folder / case / f"{name}.nii.gz", Volume(data=grey.astype(np.float32), affine=AFFINE)
            )
        label = folder / case / "label.nii.gz"
        write_volume(label, Volume(data=made.labels.astype(np.uint8), affine=AFFINE))
        images = tuple(folder / case / f"{name}.nii.gz" for name in CONTRASTS)
        found.append(ScanFiles(case=case, patient=case, images=images, label=label))
    return found


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("order")
    config = ConfigParser(ConfigParser.load_config_file(ROOT / "bundle" / "configs" / "evaluate.yaml"))
    config["output_dir"] = str(folder)
    config["recipes"] = ["volume"]  # without the published recipe's Inception
    sets = {
        name: phantoms(folder / name, patients)
        for name, patients in (("real", REAL), ("training", TRAINING), ("fresh", FRESH))
    }
    return {
        "folder": folder,
        "measurer": config.get_parsed_content("measurer"),
        "distance": config.get_parsed_content("encoder").distance,
        **sets,
    }


def scores(judged: dict[str, Any], name: str, synthetic: list[ScanFiles]) -> list[dict[str, Any]]:
    measurer: Measurer = judged["measurer"]
    metrics = Evaluation(
        output_dir=judged["folder"] / "scores" / name,
        real=judged["real"],
        training=judged["training"],
        synthetic=synthetic,
        measurer=measurer,
        contrasts=CONTRASTS,
        recipes=("volume", "faithfulness", "privacy"),
        draws=1,
    ).run()
    assert metrics is not None
    return list(metrics["scores"])


@pytest.mark.parametrize("kind", ANSWERS)
def test_every_score_that_should_answer_does(judged: dict[str, Any], kind: str) -> None:
    found = []
    for strength in STRENGTHS:
        made = damaged_set(
            kind, strength, judged["fresh"], training=judged["training"], folder=judged["folder"] / "damaged"
        )
        found.append(scores(judged, f"{kind} {strength}", made))
    wrong = {}
    for (recipe, name, of, view), sign in ANSWERS[kind].items():
        values = [
            score["estimate"]["value"]
            for several in found
            for score in several
            if (score["recipe"], score["of"], score["view"]) == (recipe, of, view)
            and score["name"].split(",")[0] == name
        ]
        assert len(values) == len(STRENGTHS), (recipe, name, of, view)
        steps = np.diff(values) * sign  # a share of ten scans has few values, so that some may stay
        if not ((steps >= 0).all() and steps.any()):
            wrong[recipe, name, of, view] = values
    assert not wrong


@pytest.mark.parametrize("kind", ["blur", "noise", "swapped contrasts"])
def test_scores_of_pairs_answer(judged: dict[str, Any], kind: str) -> None:
    """The feature distance of a pair grows, the MS-SSIM falls."""
    fresh = judged["fresh"][:4]
    distances, similarities = [], []
    for strength in STRENGTHS:
        made = damaged_set(
            kind, strength, fresh, training=judged["training"], folder=judged["folder"] / "damaged"
        )
        pairs = [(read_scan(spoiled), read_scan(real)) for spoiled, real in zip(made, fresh, strict=True)]
        found = [pair_measures(*pair, CONTRASTS, judged["distance"]) for pair in pairs]
        distances.append(np.mean([facts["distance"] for facts, _ in found]))
        similarities.append(np.mean([arrays[slices_name("t1c")] for _, arrays in found]))
    assert distances[0] == pytest.approx(0, abs=1e-6) and similarities[0] == pytest.approx(1, abs=1e-5)
    assert (np.diff(distances) > 0).all() and (np.diff(similarities) < 0).all()
