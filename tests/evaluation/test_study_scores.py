"""The tables of a study: every column is what it says, worked by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gliomagen.evaluation.comparison import gain_of, holm, mean_of, p_of_gain, patient_table, share_of
from gliomagen.evaluation.study.scores import mean_dice, published_row, score_predictions, sound_row
from gliomagen.evaluation.study.summary import summarize
from gliomagen.evaluation.study.tables import study_tables
from gliomagen.labels import ET, HEAD, NETC, RC, SNFH
from gliomagen.segmenter.methods import Predictions
from gliomagen.volume import Volume, write_volume


def scored(folder: Path, maps: list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]) -> dict[str, Any]:
    """Scores pairs of found and true label maps, each a patient, voxels of 2 mm."""
    files, truth = {}, []
    for number, pair in enumerate(maps):
        for what, label in zip(("found", "truth"), pair, strict=True):
            volume = Volume(data=label.astype(np.uint8), affine=np.diag([2.0, 2.0, 2.0, 1.0]))
            write_volume(folder / f"{what}{number}.nii.gz", volume)
        files[f"c{number}"] = folder / f"found{number}.nii.gz"
        truth.append(
            {"case": f"c{number}", "patient": f"p{number}", "label": folder / f"truth{number}.nii.gz"}
        )
    return score_predictions(
        Predictions(files=files, label_convention="prepared", train_s=0.0, device="", budget=""),
        truth,
        "prepared",
    )


def row_of(**labels: tuple[int, int]) -> np.ndarray[Any, Any]:
    """A row of 40 voxels of head with some labels from one place to another."""
    row = np.full((40, 1, 1), HEAD)
    for name, (start, stop) in labels.items():
        row[start:stop] = {"NETC": NETC, "SNFH": SNFH, "ET": ET, "RC": RC}[name]
    return row


@pytest.fixture
def toy(tmp_path: Path) -> dict[str, Any]:
    """Two cases: ET half found with a false alarm in healthy brain; ET missed, oedema found exactly."""
    return scored(
        tmp_path,
        [
            (row_of(ET=(2, 6), SNFH=(30, 34)), row_of(ET=(4, 8))),
            (row_of(SNFH=(20, 30)), row_of(SNFH=(20, 30), ET=(2, 4))),
        ],
    )


def test_the_published_columns(toy: dict[str, Any]) -> None:
    """Voxels whose truth is tumour: ET 4 + 2 of which 2 are found, SNFH 10 of 10; other tissues are nowhere."""
    row = published_row(toy)
    # rows (truth) ET: 2 ET, 4 other; SNFH: 10 SNFH. Healthy brain taken for oedema does not count.
    assert row["accuracy"] == pytest.approx(12 / 16)
    chance = (6 * 2 + 10 * 10) / 16**2
    assert row["kappa"] == pytest.approx((12 / 16 - chance) / (1 - chance))
    assert row["F1 ET"] == pytest.approx(2 * 2 / (6 + 2)) and row["F1 SNFH"] == 1.0
    assert math.isnan(row["F1 NETC"]) and math.isnan(row["F1 RC"])
    # by case: ET 0.5 and 0; SNFH 0 (false alarm) and 1; where both sides are empty 1
    assert (row["Dice ET"], row["Dice SNFH"], row["Dice NETC"], row["Dice RC"]) == (0.25, 0.5, 1.0, 1.0)
    assert row["Dice"] == pytest.approx((0.25 + 0.5 + 1 + 1) / 4)
    # in voxels, cases with an empty side left out: ET of the first case, off by 2; SNFH of the second, exact. Every voxel
    # of a row one wide is surface: distances 2, 1, 0, 0 each way.
    assert row["ASSD"] == pytest.approx((0.75 + 0) / 2)
    assert row["HD95"] == pytest.approx((np.percentile([2, 1, 0, 0, 0, 0, 1, 2], 95) + 0) / 2)
    assert math.isnan(row["r"])  # two volumes do not make a correlation


def test_the_sound_columns(toy: dict[str, Any]) -> None:
    row = sound_row(toy)
    # all 80 voxels: right are 2 ET, 10 SNFH, and head all but 2 + 4 of the first case (34 - 2 = 30) and 28 of the second
    right = 2 + 10 + (40 - 4 - 2 - 4) + 28
    assert row["accuracy"] == pytest.approx(right / 80)
    assert row["F1 SNFH"] == pytest.approx(2 * 10 / (10 + 14)), "the false alarm counts here"
    assert row["F1 ET"] == pytest.approx(2 * 2 / (6 + 4)), "so does what is found in healthy brain"
    assert (row["Dice ET"], row["Dice SNFH"]) == (0.25, 1.0) and math.isnan(row["Dice NETC"])
    assert row["Dice"] == pytest.approx((0.25 + 1.0) / 2), "only the truth says which cases a mean is over"
    assert row["ASSD mm"] == pytest.approx(
        np.mean([np.mean([2 * 0.75, 374.0]), 0.0])
    )  # ET half found, missed
    # two cases lack NETC and RC, none ET, one SNFH, where it is found
    assert (
        row["false alarms SNFH"] == 1 and row["false alarms RC"] == 0 and math.isnan(row["false alarms ET"])
    )
    assert row["false alarms"] == pytest.approx(1 / 3)
    assert row["lesions false"] == 1


def test_pearsons_r_is_of_whole_tumours(tmp_path: Path) -> None:
    pairs = [(row_of(ET=(0, n), RC=(20, 20 + n)), row_of(SNFH=(0, 2 * n + 1))) for n in (1, 4, 7)]
    cases = scored(tmp_path, pairs)
    assert published_row(cases)["r"] == pytest.approx(1.0)
    assert cases["c1"]["found_ml"] == pytest.approx(8 * 8e-3) and cases["c1"]["truth_ml"] == pytest.approx(
        9 * 8e-3
    )


def test_a_patients_scans_are_one_patient() -> None:
    """Many visits of one patient must not outvote the others, nor narrow the interval."""
    patients = {"a1": "a", "a2": "a", "a3": "a", "b1": "b"}
    table = patient_table([{"a1": 0.9, "a2": 0.7, "a3": math.nan, "b1": 0.2}], patients)
    np.testing.assert_allclose(table, [[0.8, 0.2]])
    assert mean_of(table).value == pytest.approx(0.5)
    half = 12.706 * 0.3  # t of one degree of freedom, times the standard error of two patients
    assert (mean_of(table).low, mean_of(table).high) == pytest.approx((0.5 - half, 0.5 + half), rel=1e-3)


def test_a_gain_is_of_the_same_patients() -> None:
    """Patients differ far more than arms do; a gain that each of them has is sure all the same."""
    base = np.linspace(0.1, 0.9, 30)[None].repeat(3, 0)
    better = base + 0.02
    gain = gain_of(better, base)
    assert gain.value == pytest.approx(0.02) and gain.low == pytest.approx(0.02)
    assert mean_of(better).low < mean_of(base).value
    assert share_of(better, base).value == pytest.approx(0.52 / 0.5)
    assert p_of_gain(better, base) < 1e-4 and p_of_gain(base, base) == 1.0


def test_trainings_that_scatter_widen_the_interval() -> None:
    base = np.full((3, 40), 0.5)
    scattered = base + np.array([[-0.1], [0.0], [0.16]])
    gain = gain_of(scattered, base)
    assert gain.low < 0 < gain.value < gain.high and p_of_gain(scattered, base) > 0.05


def test_intervals_hold_what_they_promise() -> None:
    """Arms without a difference, patients and trainings that scatter: of 100 intervals 95 hold it, few p are small."""
    rng = np.random.default_rng(0)
    held = alarms = 0
    for _ in range(400):
        patients = rng.normal(0.6, 0.15, 48)
        one, other = (
            patients + rng.normal(0, 0.026, (3, 1)) + rng.normal(0, 0.05, (3, 48)) for _ in range(2)
        )
        gain = gain_of(one, other)
        held += gain.low <= 0 <= gain.high
        alarms += p_of_gain(one, other) < 0.05
    assert held == 400 - alarms and 0.93 * 400 <= held <= 0.99 * 400


def test_a_patient_counts_for_both_arms_or_for_none() -> None:
    """A false alarm in a patient without the tissue scores 0; rightly found nothing is left out, and is no gain."""
    base = np.array([[0.5, 0.6, 0.7, math.nan]])
    assert gain_of(np.array([[0.5, 0.6, 0.7, 0.0]]), base).value == pytest.approx(0)


def test_holm_by_hand() -> None:
    """Holm (1979): the smallest times 3, the next times 2, never less than the one before."""
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({"a": 0.6, "b": 0.9}) == {"a": 1.0, "b": 1.0}


def study_content(cases: dict[str, Any]) -> dict[str, Any]:
    trainings = {
        name: [{"cases": cases, "train_s": 90.0, "device": "CPU, 1 thread", "budget": "7 steps"}]
        for name in ("real", "real+1x", "3R")
    }
    arm = {
        "real": 6,
        "synthetic": 5,
        "synthetic_bytes": 2_000_000,
        "synthetic_s": 90.0,
        "real_patients": 6,
        "dataset": "d",
        "name": "n",
        "accepted": False,
    }
    return {
        "arms": {name: {**arm, "transfer": ["knows 3"] if name == "3R" else []} for name in trainings},
        "seeds": [0],
        "base": "real",
        "method": {"segmenter": "quick", "max_steps": 7},
        "validation": {"cases": 2, "patients": 2},
        "summary": summarize(trainings, "real"),
        "trainings": trainings,
    }


def test_transfer_stands_apart(toy: dict[str, Any]) -> None:
    tables = study_tables(study_content(toy))
    assert [row[0] for row in tables[0].rows] == ["real", "real+1x"]
    assert tables[1].title.startswith("Transfer") and [row[0] for row in tables[1].rows] == ["3R"]
    assert "each with 7 steps." in tables[0].note
    for table in tables:
        assert all(len(row) == len(table.head) for row in table.rows)
        assert table.latex().count(r"\\") == 1 + len(table.rows)
    assert "%" not in tables[0].latex().replace(r"\%", "")


def test_what_no_case_bears_is_left_out() -> None:
    case = {"regions": {name: {"dice": math.nan} for name in ("NETC", "SNFH", "ET", "RC")}}
    assert math.isnan(mean_dice(case))
