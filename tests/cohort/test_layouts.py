"""Files are paired by name, in every layout; a wrong folder is told from what it holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from gliomagen.cohort.datalist import mask_datalist, raw_datalist
from gliomagen.cohort.layouts import Source, find_cases, find_layout, patient_of
from gliomagen.errors import GliomaGenError


def touch(folder: Path, names: Sequence[str]) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def four(case: str, names: Sequence[str], join: str = "-", suffix: str = ".nii.gz") -> list[str]:
    return [f"{case}/{case}{join}{name}{suffix}" for name in names]


BRATS2024 = ("t1c", "t1n", "t2f", "t2w", "seg")


def test_brats2024_cases_are_paired_by_name_whatever_the_order_and_patients_lose_the_time_point(
    tmp_path: Path,
) -> None:
    # Written in an order that pairing by position would get wrong.
    second = four("BraTS-GLI-00002-101", BRATS2024[::-1])
    first = four("BraTS-GLI-00002-100", ("t2w", "t1c", "seg", "t2f", "t1n"))
    touch(tmp_path, second + first)
    cases = find_cases(tmp_path).cases
    assert [(case.case, case.patient) for case in cases] == [
        ("BraTS-GLI-00002-100", "BraTS-GLI-00002"),
        ("BraTS-GLI-00002-101", "BraTS-GLI-00002"),
    ]
    for case in cases:
        names = {key: source.path.name for key, source in case.sources.items()}
        assert names == {
            ("label" if name == "seg" else name): f"{case.case}-{name}.nii.gz" for name in BRATS2024
        }


def test_brats2021_names_become_ours(tmp_path: Path) -> None:
    touch(tmp_path, four("BraTS2021_00000", ("t1ce", "t1", "flair", "t2", "seg"), join="_"))
    (case,) = find_cases(tmp_path, "brats2021").cases
    assert {key: source.path.name.split("_")[-1] for key, source in case.sources.items()} == {
        "t1c": "t1ce.nii.gz",
        "t1n": "t1.nii.gz",
        "t2f": "flair.nii.gz",
        "t2w": "t2.nii.gz",
        "label": "seg.nii.gz",
    }
    assert case.patient == "BraTS2021_00000"


def test_msd01_contrasts_are_channels_of_one_file_in_the_decathlons_order(tmp_path: Path) -> None:
    touch(tmp_path, ["imagesTr/BRATS_001.nii.gz", "labelsTr/BRATS_001.nii.gz", "imagesTr/._BRATS_001.nii.gz"])
    (case,) = find_cases(tmp_path, "msd01").cases  # the hidden file is none
    image = tmp_path / "imagesTr/BRATS_001.nii.gz"
    assert {key: case.sources[key] for key in ("t2f", "t1n", "t1c", "t2w")} == {
        key: Source(path=image, channel=channel) for channel, key in enumerate(("t2f", "t1n", "t1c", "t2w"))
    }
    assert case.data(("t1c",)) == {
        "case": "BRATS_001",
        "patient": "BRATS_001",
        "t1c": {"path": str(image), "channel": 2},
        "label": str(tmp_path / "labelsTr/BRATS_001.nii.gz"),
    }


def test_a_pattern_with_contrast_names_reads_any_folder(tmp_path: Path) -> None:
    touch(tmp_path, ["T1GD/a.nii.gz", "T1/a.nii.gz", "mask/a.nii.gz", "T1/b.nii.gz"])
    names = {"t1c": "T1GD", "t1n": "T1", "seg": "mask"}
    cases = find_cases(
        tmp_path, "{contrast}/{case}.nii.gz", contrasts=("t1c", "t1n"), contrast_names=names
    ).cases
    assert [sorted(case.sources) for case in cases] == [["label", "t1c", "t1n"], ["t1n"]]


def test_the_case_in_folder_and_file_must_agree(tmp_path: Path) -> None:
    """A file put into the wrong patient's folder must not become that patient's scan."""
    touch(tmp_path, [*four("a", BRATS2024[1:]), "a/b-t1c.nii.gz"])
    (case,) = find_cases(tmp_path).cases
    assert case.case == "a"
    assert "t1c" not in case.sources


def test_uncompressed_files_count_hidden_and_partial_ones_do_not(tmp_path: Path) -> None:
    touch(tmp_path, [*four("a", BRATS2024, suffix=".nii"), "a/a-t1c.nii.gz", ".b/.b-t1c.nii.gz"])
    touch(tmp_path, ["a/.partial-a-t1c.nii.gz", ".DS_Store"])
    (case,) = find_cases(tmp_path).cases
    assert case.sources["t1c"].path.name == "a-t1c.nii.gz"
    assert [path.name for path in case.ignored] == ["a-t1c.nii"]
    assert case.sources["label"].path.name == "a-seg.nii"


def test_incomplete_cases_and_folders_without_a_scan_are_not_lost_silently(tmp_path: Path) -> None:
    touch(tmp_path, [*four("a", BRATS2024), "b/b-t2w.nii.gz", "c/readme.txt"])
    found = find_cases(tmp_path)
    assert [case.case for case in found.cases] == ["a", "b"]
    assert found.empty_folders == ("c",)


def test_a_folder_one_level_up_is_refused_with_what_was_looked_for_and_what_is_there(tmp_path: Path) -> None:
    touch(tmp_path, [f"training/{name}" for name in four("BraTS-GLI-00002-100", BRATS2024)])
    with pytest.raises(GliomaGenError) as error:
        find_cases(tmp_path)
    assert str(error.value) == (
        f"{tmp_path}: no case found for layout 'brats2024' (expected <case>/<case>-t1c.nii.gz); first entries there: "
        "training; first scan below it: training/BraTS-GLI-00002-100/BraTS-GLI-00002-100-seg.nii.gz"
    )


@pytest.mark.parametrize(
    ("attempt", "part"),
    [
        (lambda folder: find_cases(folder / "absent"), "no such folder"),
        (lambda folder: find_cases(folder), "first entries there: nothing"),
        (lambda folder: find_layout("brats1999"), "choose among ['brats2021', 'brats2024', 'msd01']"),
        (lambda folder: find_layout("{case}/{case}.nii.gz"), "fields {case} and {contrast}"),
        (lambda folder: find_layout("{case}/{contrast}.mha"), "ends in .nii or .nii.gz"),
        (lambda folder: find_layout("brats2024", {"flair": "t2f"}), "['flair'] are not contrasts"),
        (lambda folder: patient_of("a", "a"), "exactly one group"),
        (lambda folder: patient_of("a", "(b"), "not a regular expression"),
        (lambda folder: patient_of("a", "(b)"), "does not match the case 'a'"),
    ],
)
def test_wrong_options_are_one_line(attempt: Callable[[Path], object], part: str, tmp_path: Path) -> None:
    with pytest.raises(GliomaGenError) as error:
        attempt(tmp_path)
    assert part in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("case", "pattern", "patient"),
    [
        ("BraTS-GLI-02096-103", None, "BraTS-GLI-02096"),
        ("BraTS-MET-00001-000", None, "BraTS-MET-00001"),
        ("TCGA-CS-4941", None, "TCGA-CS-4941"),
        ("BraTS2021_00000", None, "BraTS2021_00000"),
        ("sub-07_ses-2", r"(sub-\d+)_ses-\d+", "sub-07"),
    ],
)
def test_time_points_of_one_patient_are_known_as_such(case: str, pattern: str | None, patient: str) -> None:
    assert patient_of(case, pattern) == patient


def test_raw_data_lists_split_patients_as_preparing_does_and_refuse_incomplete_cases(tmp_path: Path) -> None:
    cases = [f"BraTS-GLI-{patient:05}-{time}" for patient in range(20) for time in (100, 101)]
    touch(tmp_path, [name for case in cases for name in four(case, BRATS2024)])
    parts = {
        section: raw_datalist(tmp_path, section=section, validation_fraction=0.3)
        for section in ("training", "validation", "all")
    }
    patients = {section: {entry["patient"] for entry in entries} for section, entries in parts.items()}
    assert patients["validation"]
    assert not patients["training"] & patients["validation"]
    assert [entry["case"] for entry in parts["all"]] == cases
    assert Path(parts["all"][0]["t1c"]).is_absolute()
    (tmp_path / cases[3] / f"{cases[3]}-t2w.nii.gz").unlink()
    with pytest.raises(GliomaGenError, match=f"{cases[3]} has no t2w"):
        raw_datalist(tmp_path, section="all")
    assert len(raw_datalist(tmp_path, section="all", allow_missing=True)) == len(cases)


def test_label_maps_are_found_as_a_file_in_a_folder_and_in_case_folders(tmp_path: Path) -> None:
    single = touch(tmp_path / "one", ["x-seg.nii.gz"]) / "x-seg.nii.gz"
    assert mask_datalist(single) == [{"case": "x", "patient": "x", "label": str(single)}]
    flat = touch(tmp_path / "flat", ["b.nii.gz", "a.nii.gz", "notes.txt", ".hidden.nii.gz"])
    assert [entry["case"] for entry in mask_datalist(flat)] == ["a", "b"]
    one_case = touch(tmp_path / "case", ["x-seg.nii.gz", "x-t1c.nii.gz"])
    assert mask_datalist(one_case) == [
        {
            "case": "x",
            "patient": "x",
            "t1c": str(one_case / "x-t1c.nii.gz"),
            "label": str(one_case / "x-seg.nii.gz"),
        }
    ]
    folders = touch(tmp_path / "folders", [*four("p", BRATS2024), "q/q-seg.nii.gz"])
    entries = mask_datalist(folders)
    assert [sorted(entry) for entry in entries] == [
        ["case", "label", "patient", "t1c", "t1n", "t2f", "t2w"],
        ["case", "label", "patient"],
    ]


def test_label_maps_that_are_ambiguous_or_missing_are_one_line(tmp_path: Path) -> None:
    twice = touch(tmp_path / "twice", ["x-seg.nii.gz", "x-seg.nii"])
    with pytest.raises(GliomaGenError, match="second label map of x"):
        mask_datalist(twice)
    without = touch(tmp_path / "without", [*four("p", BRATS2024), "q/q-t1c.nii.gz"])
    with pytest.raises(GliomaGenError, match="case q has no label map"):
        mask_datalist(without)
    with pytest.raises(GliomaGenError, match="not found"):
        mask_datalist(tmp_path / "absent")
