"""Real and synthetic in one data set: the arm is what its name says, and its validation stays honest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from helpers import CONFIGS, bundle_run, write_prepared_cohort, write_synthetic
from monai.bundle import ConfigParser

from gliomagen.cohort.datalist import datalist
from gliomagen.cohort.split import some_of
from gliomagen.errors import GliomaGenError
from gliomagen.export.arms import ARMS, count_of, foreign_patients, real_cases, synthetic_cases
from gliomagen.export.mixing import Mixture
from gliomagen.files import read_json, write_json
from gliomagen.labels import CONTRASTS
from gliomagen.provenance import patient_hash
from gliomagen.volume import read_volume

TRAINED = [f"BraTS-GLI-{90000 + i}" for i in range(6)]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prepared_cohort(tmp_path_factory.mktemp("real"), training=6, validation=2)


def mixture(cohort: Path, out: Path, sets: list[Path], arm: str | dict[str, Any], **options: Any) -> Mixture:
    return Mixture(
        training=datalist(cohort, "training"),
        validation=datalist(cohort, "validation"),
        synthetic_dirs=sets,
        output_dir=out,
        dataset_id=options.pop("dataset_id", 601),
        arm=arm,
        contrasts=CONTRASTS,
        **options,
    )


def split_of(folder: Path) -> dict[str, list[str]]:
    fold: dict[str, list[str]] = json.loads((folder / "splits_final.json").read_text())[0]
    return fold


def test_the_published_counts_come_out_for_the_published_cohort() -> None:
    counts = {name: (count_of(arm.real, 1235), count_of(arm.synthetic, 1235)) for name, arm in ARMS.items()}
    assert counts == {
        "real": (1235, 0),
        "real+1x": (1235, 1062),
        "real+2x": (1235, 2124),
        "real+hq": (1235, 598),
        "half+hq": (617, 598),
        "hq-only": (0, 598),
        "half": (617, 0),
    }


def test_no_child_of_a_validation_patient_trains(cohort: Path, tmp_path: Path) -> None:
    made = write_synthetic(tmp_path, seen=TRAINED)
    folder = mixture(cohort, tmp_path, [made], "real+1x").write()
    assert folder.name == "Dataset601_real_plus_1x"
    split = split_of(folder)
    assert split["val"] == ["BraTS-GLI-90006-100", "BraTS-GLI-90007-100"] and len(split["train"]) == 6 + 5
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    training = [line for line in lines if line["case"] in split["train"]]
    assert not {"BraTS-GLI-90006", "BraTS-GLI-90007"} & {
        p for line in training for p in line.get("parents", [])
    }
    with pytest.raises(GliomaGenError, match="without 2 children of validation patients"):
        mixture(cohort, tmp_path, [made], "real+2x", dataset_id=602).write()


def test_an_arm_of_one_data_set_among_several(cohort: Path, tmp_path: Path) -> None:
    """Ways of making scans are compared on the same label maps, one data set each."""
    sets = [write_synthetic(tmp_path, seen=TRAINED, number=number) for number in (501, 502)]
    arm = {"real": 2, "synthetic": 3, "of": sets[1].name}
    folder = mixture(cohort, tmp_path, sets, arm).write()
    made = [case for case in split_of(folder)["train"] if case.startswith("made")]
    assert len(made) == 3 and all(case.startswith("made502") for case in made)
    with pytest.raises(GliomaGenError, match="no data set Dataset999_None among"):
        mixture(cohort, tmp_path, sets, {**arm, "of": "Dataset999_None"})


def test_a_child_with_a_validating_donor_does_not_train_either() -> None:
    records = [
        {"case": "a", "source_patient": "P1", "donor_patient": "V"},
        {"case": "b", "source_patient": "P1"},
    ]
    chosen = synthetic_cases(records, 1, 0, forbidden={"V"}, preferred={"P1"})
    assert [record["case"] for record in chosen] == ["b"]


def test_nnunet_takes_the_data_set_as_it_stands(cohort: Path, tmp_path: Path) -> None:
    from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity

    made = write_synthetic(tmp_path, seen=TRAINED)
    folder = mixture(cohort, tmp_path, [made], "real+hq", preprocessed_dir=tmp_path / "pre").write()
    verify_dataset_integrity(str(folder), num_processes=1)
    case = "BraTS-GLI-90000-100"
    assert set(np.unique(read_volume(folder / "labelsTr" / f"{case}.nii.gz").data)) <= {0, 1, 2, 3, 4}
    real = read_volume(cohort / case / f"{case}-t2f.nii.gz")
    assert np.array_equal(read_volume(folder / "imagesTr" / f"{case}_0002.nii.gz").data, real.data)
    split = json.loads((tmp_path / "pre" / folder.name / "splits_final.json").read_text())[0]
    accepted = {name for name in split["train"] if name.startswith("made")}
    assert accepted and accepted <= {f"made-{i:03d}-s0" for i in range(0, 8, 2)}


@pytest.mark.parametrize(
    ("arm", "seen", "name"),
    [
        ("real+hq", TRAINED, "real_plus_hq"),
        ("real+hq", [*TRAINED, "BraTS-GLI-12345"], "transfer-real_plus_hq"),
        ("half+hq", TRAINED, "transfer-half_plus_hq"),
        ("hq-only", TRAINED, "hq-only"),
        ("half", TRAINED, "half"),
    ],
)
def test_an_arm_that_knows_other_patients_says_so(
    cohort: Path, tmp_path: Path, arm: str, seen: list[str], name: str
) -> None:
    """Half of the real scans and a generator trained on all of them is not a study with half the data."""
    made = write_synthetic(tmp_path, seen=seen)
    folder = mixture(cohort, tmp_path, [made], arm).write()
    assert folder.name == f"Dataset601_{name}"
    assert bool(json.loads((folder / "mix.json").read_text())["transfer"]) == name.startswith("transfer")
    arm_size = len([c for c in split_of(folder)["train"] if c.startswith("BraTS")])
    assert arm_size == {"real+hq": 6, "half+hq": 3, "hq-only": 0, "half": 3}[arm]


def test_half_with_a_generator_of_that_half_is_named_so(cohort: Path, tmp_path: Path) -> None:
    """The study that half+hq claims can be made: the arm's list of patients drives every step before it."""
    half = mixture(cohort, tmp_path, [], "half").write() / "mix.json"
    own = [entry["patient"] for entry in some_of(datalist(cohort, "training"), patients=half)]
    assert len(own) == 3
    made = write_synthetic(tmp_path, seen=own, sources=own)
    folder = mixture(cohort, tmp_path, [made], "half+hq", dataset_id=602).write()
    assert folder.name == "Dataset602_half_plus_hq"
    assert {case for case in split_of(folder)["train"] if case.startswith("BraTS")} == {
        f"{p}-100" for p in own
    }


def test_what_an_arm_learns_of_others_is_told() -> None:
    records = [{"case": "a", "source_patient": "P1"}]
    assert foreign_patients({"P1", "P2"}, records, {"generator": [patient_hash("P1")]}) == []
    assert foreign_patients({"P2"}, records, {}) == ["label maps go back to 1 other patients"]


def test_a_generator_that_saw_a_validation_patient_is_refused_by_name(cohort: Path, tmp_path: Path) -> None:
    made = write_synthetic(tmp_path, seen=[*TRAINED, "BraTS-GLI-90007"])
    with pytest.raises(GliomaGenError, match="trained on patient BraTS-GLI-90007"):
        mixture(cohort, tmp_path, [made], "real+1x").write()
    assert not list((tmp_path / "nnUNet_raw").glob("Dataset601*"))


@pytest.mark.parametrize(
    ("patients", "name"),
    [(TRAINED[:3], "real_plus_hq"), ([*TRAINED, "BraTS-GLI-12345"], "transfer-real_plus_hq")],
)
def test_whom_the_accepting_segmenter_saw_counts(
    cohort: Path, tmp_path: Path, patients: list[str], name: str
) -> None:
    """Who chose the cases knows patients too, and what is trained on them is told of those patients."""
    made = write_synthetic(tmp_path, seen=TRAINED, segmenter_saw=patients)
    folder = mixture(cohort, tmp_path, [made], "real+hq").write()
    assert folder.name == f"Dataset601_{name}"
    assert read_json(folder / "mix.json")["seen"] == sorted(map(patient_hash, {*TRAINED, *patients}))


def test_an_accepting_segmenter_that_saw_a_validation_patient_is_refused_by_name(
    cohort: Path, tmp_path: Path
) -> None:
    made = write_synthetic(tmp_path, seen=TRAINED, segmenter_saw=["BraTS-GLI-90006"])
    with pytest.raises(GliomaGenError, match="trained on patient BraTS-GLI-90006"):
        mixture(cohort, tmp_path, [made], "real+hq").write()


def test_acceptance_that_does_not_say_by_whom_it_judged_is_refused(cohort: Path, tmp_path: Path) -> None:
    made = write_synthetic(tmp_path, seen=TRAINED)
    judged_by = read_json(made / "acceptance.json")
    del judged_by["segmenter_patients"]
    write_json(made / "acceptance.json", judged_by)
    with pytest.raises(GliomaGenError, match="does not say by whose scans was judged; run accepting"):
        mixture(cohort, tmp_path, [made], "real+hq").write()


def test_a_note_of_seconds_that_a_kill_cut_off_costs_that_note_alone(cohort: Path, tmp_path: Path) -> None:
    """What cases took decides nothing, so it must not keep anyone from mixing them."""
    made = write_synthetic(tmp_path, seen=TRAINED, sources=TRAINED)
    notes = (made / "seconds.jsonl").read_text().splitlines(keepends=True)
    (made / "seconds.jsonl").write_text("".join(notes[:3]) + notes[3][:12] + "".join(notes[4:]) + "3\n")
    folder = mixture(cohort, tmp_path, [made], {"synthetic": 8}).write()
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    told = [line["seconds"] for line in lines if line["kind"] == "synthetic"]
    assert told.count(2.0) == 6 and told.count(None) == 2


def test_thresholds_set_by_a_validation_patient_are_refused_by_name(cohort: Path, tmp_path: Path) -> None:
    """Accepted cases are then chosen by the scans they are judged on."""
    made = write_synthetic(
        tmp_path / "made", seen=TRAINED, sources=TRAINED, thresholds_by=("BraTS-GLI-90006",)
    )
    with pytest.raises(
        GliomaGenError, match=r"patient BraTS-GLI-90006; .*accepting with --thresholds_by 0 or 1"
    ):
        mixture(cohort, tmp_path / "out", [made], "real+hq", synthetic_count=2).write()
    mixture(cohort, tmp_path / "out", [made], "real+1x", synthetic_count=2).write()


@pytest.mark.parametrize("half", [0, 1])
def test_acceptance_can_leave_the_validation_patients_alone(half: int, cohort: Path) -> None:
    """One half of the training patients says what is usual, the other sets the thresholds."""
    config = ConfigParser(ConfigParser.load_config_file(CONFIGS / "accept.yaml"))
    config.update({"real_dir": str(cohort), "thresholds_by": half})
    usual, sets = (
        {case["patient"] for case in config.get_parsed_content(name)} for name in ("training", "validation")
    )
    assert usual | sets == set(TRAINED) and not usual & sets and usual and sets
    fits = {case["patient"] for case in some_of(datalist(cohort, "training"), half=1 - half)}
    assert usual == fits, "a segmenter of that half knows none of those who set the thresholds"


def test_a_name_of_ones_own_does_not_hide_transfer(cohort: Path, tmp_path: Path) -> None:
    made = write_synthetic(tmp_path, seen=TRAINED)
    folder = mixture(cohort, tmp_path, [made], "half+hq", dataset_name="Mine").write()
    assert folder.name == "Dataset601_transfer-Mine"
    assert json.loads((folder / "mix.json").read_text())["name"] == "transfer-half+hq"
    assert "transfer" in json.loads((folder / "dataset.json").read_text())["description"]
    card = (folder / "README.md").read_text()
    assert "`transfer-half+hq`" in card and "learnt from 3 other patients" in card


def test_manifest_and_card_say_what_is_real(cohort: Path, tmp_path: Path) -> None:
    made = write_synthetic(tmp_path, seen=TRAINED)
    folder = mixture(cohort, tmp_path, [made], "real+hq", real_terms="terms of a test").write()
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    split = split_of(folder)
    for line in lines:
        assert line["kind"] == ("synthetic" if line["case"].startswith("made") else "real")
        assert line["case"] in split["train" if line["section"] == "training" else "val"]
        assert line["origin"] == (made.name if line["kind"] == "synthetic" else "cohort")
    assert [line["case"] for line in lines] == sorted(split["train"] + split["val"])
    _, front, text = (folder / "README.md").read_text().split("---\n", 2)
    meta = yaml.safe_load(front)
    assert meta["pretty_name"] == "real_plus_hq" and "synthetic" in meta["tags"]
    assert (
        "terms of a test" in text and "| synthetic, training | 3 |" in text and "`" + "w" * 64 + "`" in text
    )
    real = mixture(cohort, tmp_path, [], "half", dataset_id=602).write()
    assert "synthetic" not in yaml.safe_load((real / "README.md").read_text().split("---\n")[1])["tags"]


def test_several_data_sets_and_a_split_that_is_there(cohort: Path, tmp_path: Path) -> None:
    """Run again it says the same; somebody's own split in nnU-Net's folder is not written over."""
    sets = [write_synthetic(tmp_path, seen=TRAINED, number=n) for n in (501, 502, 503)]
    options: dict[str, Any] = {"preprocessed_dir": tmp_path / "pre", "synthetic_count": 18}
    folder = mixture(cohort, tmp_path, sets, "real+2x", **options).write()
    assert len({json.loads(li).get("origin") for li in (folder / "manifest.jsonl").open()}) == 4
    assert mixture(cohort, tmp_path, sets[::-1], "real+2x", **options).write() == folder
    split = tmp_path / "pre" / folder.name / "splits_final.json"
    split.write_text("[]")
    with pytest.raises(GliomaGenError, match="is another split"):
        mixture(cohort, tmp_path, sets, "real+2x", **options).write()
    assert split.read_text() == "[]"


def test_arms_share_their_patients_and_never_split_one() -> None:
    entries = [{"case": f"P{i // 3}-{i % 3}", "patient": f"P{i // 3}"} for i in range(30)]
    small, large = real_cases(entries, 10, 0), real_cases(entries, 20, 0)
    assert len(small) == 9 and len(large) == 18
    assert {e["case"] for e in small} < {e["case"] for e in large}
    assert {e["patient"] for e in real_cases(entries, 9, 1)} != {e["patient"] for e in small}


def test_a_rerun_changes_nothing_and_other_content_is_refused(cohort: Path, tmp_path: Path) -> None:
    folder = mixture(cohort, tmp_path, [], "half").write()
    times = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    assert mixture(cohort, tmp_path, [], "half").write() == folder
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == times
    with pytest.raises(GliomaGenError, match="with other content"):
        mixture(cohort, tmp_path, [], "half", seed=3, real_count=2).write()
    with pytest.raises(GliomaGenError, match="has the id 601 already"):
        mixture(cohort, tmp_path, [], "real").write()


def test_wrong_use_is_one_line_and_leaves_nothing(cohort: Path, tmp_path: Path) -> None:
    made = write_synthetic(tmp_path, seen=TRAINED, size=(16, 16, 32))
    before = sorted((tmp_path / "nnUNet_raw").iterdir())
    for options, message in (
        ({"arm": "real+1x"}, "synthesize on the cohort's grid"),
        ({"arm": "real+1x", "labels": "prepared"}, "set labels alike"),
        ({"arm": "everything"}, "choose among"),
        ({"arm": "real+1x", "sets": [tmp_path]}, "has no manifest.jsonl"),
        ({"arm": "real+1x", "sets": [made, made]}, "is there twice"),
        ({"arm": "real", "real_count": 7}, "takes 7 real cases, the cohort has 6 to train on"),
        ({"arm": "real", "real_count": 0}, "no case is left"),
        ({"arm": "real", "synthetic_count": -1}, "synthetic_count -1: must be a whole number"),
    ):
        with pytest.raises(GliomaGenError, match=message):
            mixture(cohort, tmp_path, **{"sets": [made], **options}).write()
    (made / "acceptance.jsonl").unlink()
    with pytest.raises(GliomaGenError, match="run accepting"):
        mixture(cohort, tmp_path, [made], "real+hq").write()
    assert sorted((tmp_path / "nnUNet_raw").iterdir()) == before


def test_the_workflow_as_a_user_runs_it(cohort: Path, tmp_path: Path) -> None:
    done = bundle_run("mixing", "mix.yaml", dataset_dir=cohort, output_dir=tmp_path, arm="half")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(split_of(tmp_path / "nnUNet_raw" / "Dataset601_half")["train"]) == 3
