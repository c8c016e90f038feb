"""If thresholds were wrong, good volumes would be thrown away or spoiled ones trained on."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from acceptance_heads import CONTRASTS, VOXEL_MM, fitted, head, nearest_greys

from gliomagen.errors import GliomaGenError
from gliomagen.labels import HEAD
from gliomagen.provenance import patient_hash
from gliomagen.synthesis.damage import KINDS, Case, damaged
from gliomagen.synthesis.measures import measure
from gliomagen.synthesis.thresholds import Judgement, Measured, Thresholds, Usual, fit


def judged(case: Case) -> Judgement:
    measures = measure(case.volume, case.label, voxel_mm=VOXEL_MM, segment=nearest_greys)
    return fitted().judge(measures)


def scans(number: int, *, seed: int, centre: float = 0.0) -> list[Measured]:
    values = np.random.default_rng(seed).normal(centre, 1, (number, 2))
    return [
        Measured(
            case=f"{seed}-{i}",
            patient=f"{seed}-{i}",
            measures={"texture": {"a": a}, "contrast": {"b": np.exp(b)}},
        )
        for i, (a, b) in enumerate(values.tolist())
    ]


def plain_fit(reference: list[Measured], validation: list[Measured], quantile: float = 0.95) -> Thresholds:
    return fit(reference, validation, contrasts=CONTRASTS, voxel_mm=VOXEL_MM, quantile=quantile)


def test_real_like_volumes_pass() -> None:
    accepted = [judged(head(seed)).accepted for seed in range(1000, 1010)]
    assert sum(accepted) >= 9


@pytest.mark.parametrize("kind", KINDS)
def test_spoiled_volumes_are_rejected_with_reasons(kind: str) -> None:
    result = damaged(kind, head(1000), head(1001), np.random.default_rng(0))
    assert result is not None
    verdict = judged(result[0])
    assert not verdict.accepted and verdict.score < 0.5
    assert verdict.score == min(verdict.groups.values())
    assert verdict.reasons and all("(usual " in reason and ": " in reason for reason in verdict.reasons)


def test_reasons_name_measure_value_and_usual_range() -> None:
    usual = {"texture": {"t1c noise": Usual(low=-6, centre=-5, high=-4, side="both", least=1e-3, cases=99)}}
    thresholds = Thresholds(
        usual=usual,
        thresholds={"texture": 1.5},
        quantile=0.95,
        contrasts=CONTRASTS,
        voxel_mm=VOXEL_MM,
        reference_patients=[],
        validation_patients=[],
        cases={"reference": 99, "validation": 99},
        segmenter_sha256=None,
        segmenter_patients=[],
    )
    assert thresholds.judge({"texture": {"t1c noise": -2.0}}).reasons == [
        "texture: t1c noise -2 (usual -6 to -4)"
    ]
    assert thresholds.judge({"texture": {"t1c noise": -8.0}}).accepted is False  # too smooth is as odd
    at_the_threshold = thresholds.judge({"texture": {"t1c noise": -3.5}})
    assert at_the_threshold.accepted and at_the_threshold.score == 0.5
    assert thresholds.judge({"texture": {"t1c noise": -5.0}}).score == 1


def test_abnormality_has_its_own_scale_on_either_side() -> None:
    usual = Usual(low=-1, centre=0, high=10, side="both", least=1e-3, cases=99)
    assert usual.abnormality(-2) == 2 and usual.abnormality(20) == 2
    constant = Usual(low=0, centre=0, high=0, side="high", least=0.01, cases=99)
    assert constant.abnormality(0.02) == pytest.approx(2) and constant.abnormality(-1) == 0


@pytest.mark.parametrize("quantile", [0.8, 0.95])
def test_the_stated_share_of_other_real_scans_passes(quantile: float) -> None:
    thresholds = plain_fit(scans(300, seed=1), scans(300, seed=2), quantile)
    passed = np.mean([thresholds.judge(scan.measures).accepted for scan in scans(2000, seed=3)])
    assert passed == pytest.approx(quantile, abs=0.04)


def test_validation_patients_that_differ_widen_the_thresholds() -> None:
    """The reference alone does not decide: real scans of another site must pass too."""
    alike = plain_fit(scans(300, seed=1), scans(100, seed=2))
    apart = plain_fit(scans(300, seed=1), scans(100, seed=2, centre=1.5))
    assert apart.thresholds["texture"] > alike.thresholds["texture"] * 1.2


def test_few_validation_scans_are_told_of_and_all_pass(caplog: pytest.LogCaptureFixture) -> None:
    few = scans(5, seed=2)
    with caplog.at_level(logging.WARNING):
        thresholds = plain_fit(scans(300, seed=1), few)
    assert "5 validation scans do not bear the quantile 0.95" in caplog.text
    assert all(thresholds.judge(scan.measures).accepted for scan in few)


def test_a_rare_measure_does_not_count() -> None:
    reference = scans(50, seed=1)
    reference[0].measures["texture"]["rare"] = 0.0
    thresholds = plain_fit(reference, scans(50, seed=2))
    assert "rare" not in thresholds.usual["texture"]
    assert thresholds.judge({"texture": {"a": 0.0, "rare": 1e9}}).accepted


def test_too_few_scans_for_a_group_are_told_of() -> None:
    with pytest.raises(GliomaGenError, match=r"5 real training scans are too few .* lower min_cases \(20\)"):
        plain_fit(scans(5, seed=1), scans(30, seed=2))


def test_a_patient_in_both_sets_is_refused_by_name() -> None:
    with pytest.raises(GliomaGenError, match="patient 1-0 is in both sets"):
        plain_fit(scans(30, seed=1), scans(30, seed=1))


def test_no_scans_and_no_quantile_are_refused() -> None:
    with pytest.raises(GliomaGenError, match="training and validation scans"):
        plain_fit(scans(30, seed=1), [])
    with pytest.raises(GliomaGenError, match="quantile 95"):
        plain_fit(scans(30, seed=1), scans(30, seed=2), 95)


def test_nothing_measured_is_not_accepted() -> None:
    verdict = fitted().judge({})
    assert not verdict.accepted and verdict.reasons == ["nothing could be measured"]


def test_an_empty_lesion_mask_is_judged_by_what_is_left() -> None:
    """A lesion in the image that the mask does not have is seen; a healthy head is judged at all."""
    case = head(1002)
    healthy = Case(volume=case.volume, label=np.minimum(case.label, HEAD).astype(np.uint8))
    verdict = judged(healthy)
    assert verdict.groups["agreement"] < 0.5
    assert any("false lesion" in reason for reason in verdict.reasons)


def test_saved_thresholds_judge_the_same(tmp_path: Path) -> None:
    path = tmp_path / "acceptance.json"
    fitted().save(path)
    assert Thresholds.load(path) == fitted()
    content = json.loads(path.read_text())
    assert content["quantile"] == 0.95 and content["cases"] == {"reference": 30, "validation": 25}
    assert (
        content["segmenter_sha256"] == "0" * 64
        and content["segmenter_patients"] == ["1" * 16]
        and content["package_version"]
    )
    assert patient_hash("patient-500") in content["validation_patients"]
    assert "patient-500" not in path.read_text()


def test_a_file_that_holds_no_thresholds_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(GliomaGenError, match="does not hold acceptance thresholds"):
        Thresholds.load(tmp_path / "a.json")
