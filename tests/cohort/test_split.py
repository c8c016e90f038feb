"""A patient is on one side only, and stays there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gliomagen.cohort.split import some_of, split_cases
from gliomagen.errors import GliomaGenError
from gliomagen.files import write_json


def cohort(patients: int, times: int = 3) -> dict[str, str]:
    return {f"P{i:04}-{t}": f"P{i:04}" for i in range(patients) for t in range(times)}


def sides(split: dict[str, str], cases: dict[str, str]) -> dict[str, set[str]]:
    result: dict[str, set[str]] = {"training": set(), "validation": set()}
    for case, side in split.items():
        result[side].add(cases[case])
    return result


def test_no_patient_is_on_both_sides_or_every_score_would_be_too_good() -> None:
    cases = cohort(60)
    split = split_cases(cases, validation_fraction=0.3)
    parts = sides(split, cases)
    assert set(split) == set(cases)
    assert parts["training"] | parts["validation"] == set(cases.values())
    assert not parts["training"] & parts["validation"]


def test_the_fraction_is_met_on_average_and_the_seed_decides() -> None:
    cases = cohort(1000, times=1)
    splits = [split_cases(cases, validation_fraction=0.2, seed=seed) for seed in range(3)]
    for split in splits:
        assert 0.16 < list(split.values()).count("validation") / len(split) < 0.24
    assert splits[0] != splits[1] != splits[2]
    assert splits[0] == split_cases(cases, validation_fraction=0.2, seed=0)


def test_the_order_of_the_cases_does_not_matter() -> None:
    cases = cohort(30)
    assert split_cases(dict(reversed(cases.items()))) == split_cases(cases)


def test_a_new_patient_moves_nobody_over_or_trained_weights_could_not_be_evaluated() -> None:
    few, many = cohort(40), cohort(80)
    assert split_cases(many).items() >= split_cases(few).items()


@pytest.mark.parametrize("patients", [2, 3, 5])
@pytest.mark.parametrize("fraction", [0.01, 0.5, 0.99])
def test_neither_side_is_empty_where_there_are_two_patients(patients: int, fraction: float) -> None:
    cases = cohort(patients)
    for seed in range(20):
        assert all(sides(split_cases(cases, validation_fraction=fraction, seed=seed), cases).values())


def test_no_fraction_or_a_single_patient_only_trains() -> None:
    assert set(split_cases(cohort(10), validation_fraction=0).values()) == {"training"}
    for seed in range(20):
        assert set(split_cases(cohort(1), validation_fraction=0.9, seed=seed).values()) == {"training"}


def test_a_given_split_of_patients_and_cases_is_honoured(tmp_path: Path) -> None:
    cases = cohort(3, times=2)
    path = tmp_path / "split.json"
    write_json(path, {"training": ["P0000", "P0002-0", "P0002-1"], "validation": ["P0001"]})
    parts = sides(split_cases(cases, validation_fraction=0.9, seed=5, split_file=path), cases)
    assert parts == {"training": {"P0000", "P0002"}, "validation": {"P0001"}}


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (
            {"training": ["P0000", "P0001", "P0009"], "validation": []},
            "'P0009' is neither a patient nor a case",
        ),
        ({"training": ["P0000", "P0001"], "validation": ["P0001"]}, "'P0001' is named twice"),
        ({"training": ["P0000", "P0000-1"], "validation": ["P0001"]}, "'P0000-1' is named twice"),
        ({"training": ["P0000", "P0001-0"], "validation": ["P0001-1"]}, "patient 'P0001' is on both sides"),
        ({"training": ["P0000"], "validation": []}, "'P0001-0' is on neither side"),
        ({"train": ["P0000"], "validation": ["P0001"]}, "must be"),
        ({"training": "P0000", "validation": ["P0001"]}, "must be a list"),
        ([], "must be"),
    ],
)
def test_a_given_split_that_does_not_fit_is_refused(content: Any, part: str, tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    write_json(path, content)
    with pytest.raises(GliomaGenError) as error:
        split_cases(cohort(2, times=2), split_file=path)
    assert str(error.value).startswith(f"{path}: ")
    assert part in str(error.value)


@pytest.mark.parametrize("fraction", [-0.1, 1, 20])
def test_a_fraction_that_cannot_be_meant_is_refused(fraction: float) -> None:
    with pytest.raises(GliomaGenError, match="validation_fraction"):
        split_cases(cohort(3), validation_fraction=fraction)


def test_a_list_of_patients_chooses_all_their_cases_and_no_others(tmp_path: Path) -> None:
    entries = [{"patient": f"P{i // 2}", "case": i} for i in range(8)]
    for content in (["P1", "P3"], {"patients": ["P1", "P3"]}):
        write_json(tmp_path / "some.json", content)
        assert [e["case"] for e in some_of(entries, patients=tmp_path / "some.json")] == [2, 3, 6, 7]
    for content, message in (
        (["P1", "P9"], "'P9' is not among"),
        ([], "must be a list"),
        ({"names": ["P1"]}, "must be a list"),
    ):
        write_json(tmp_path / "wrong.json", content)
        with pytest.raises(GliomaGenError, match=message):
            some_of(entries, patients=tmp_path / "wrong.json")
