"""A prepared cohort is complete, true and repeatable; nothing half-made ever looks finished."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from monai.transforms import Compose

from gliomagen.cohort import casework
from gliomagen.cohort.datalist import datalist, mask_datalist, read_cohort
from gliomagen.cohort.preparation import Preparation
from gliomagen.errors import GliomaGenError
from gliomagen.files import content_sha256, read_json, write_json
from gliomagen.labels import CONTRASTS, ET, HEAD, NETC, RC, SNFH
from gliomagen.volume import Volume, read_volume, write_volume

ROOT = Path(__file__).resolve().parents[2]
ONE, TWO = "BraTS-GLI-00001-100", "BraTS-GLI-00002-100"
Make = Callable[..., Preparation]


def made(cohort: Path) -> dict[str, int]:
    """When each prepared file was written."""
    return {
        str(path.relative_to(cohort)): path.stat().st_mtime_ns for path in sorted(cohort.glob("BraTS*/*"))
    }


def redone(before: Mapping[str, int], after: Mapping[str, int]) -> set[str]:
    return {name.split("/")[0] for name in after if after[name] != before.get(name)}


def contents(cohort: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(cohort)): path.read_bytes()
        for path in sorted(cohort.rglob("*"))
        if path.is_file()
    }


def entry(cohort: Path, case: str) -> dict[str, Any]:
    content = read_json(cohort / "cohort.json")
    (found,) = [e for e in content["training"] + content["validation"] if e["case"] == case]
    return dict(found)


class Refuse:
    """A transform that cannot do one case."""

    def __init__(self, case: str, error: Exception) -> None:
        self.case = case
        self._error = error

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        if data["case"] == self.case:
            raise self._error
        return data


@pytest.fixture
def cohort(challenge: Path, preparation: Make) -> Path:
    preparation(challenge, challenge.parent / "cohort").run()
    return challenge.parent / "cohort"


def test_prepared_scans_are_what_the_contract_says(challenge: Path, cohort: Path) -> None:
    for case in (ONE, TWO):
        label = read_volume(cohort / case / f"{case}-seg.nii.gz")
        assert label.data.dtype == np.uint8
        assert set(np.unique(label.data)) == {0, HEAD, NETC, SNFH, ET, RC}
        assert label.orientation == "RAS"
        for contrast in CONTRASTS:
            scan = read_volume(cohort / case / f"{case}-{contrast}.nii.gz")
            assert (scan.data.dtype, scan.data.shape) == (np.float32, (32, 32, 32))
            assert scan.data.min() == 0 and scan.data.max() == 1
            assert not scan.data[label.data == 0].any()
            np.testing.assert_allclose(scan.affine, label.affine)


def test_the_cohort_file_says_where_each_case_comes_from_and_where_it_went(
    challenge: Path, cohort: Path
) -> None:
    content = read_json(cohort / "cohort.json")
    assert content["contrasts"] == list(CONTRASTS)
    assert (content["spatial_size"], content["voxel_mm"]) == ([32, 32, 32], [1.5, 1.5, 1.5])
    assert content["labels"]["1"] == "head"
    assert {e["case"] for e in content["training"]} | {e["case"] for e in content["validation"]} == {ONE, TWO}
    case = entry(cohort, ONE)
    assert case["patient"] == "BraTS-GLI-00001"
    assert case["t1c"] == f"{ONE}/{ONE}-t1c.nii.gz"
    assert case["sources"]["label"]["file"] == f"{ONE}/{ONE}-seg.nii.gz"
    assert len(case["sources"]["t1c"]["sha256"]) == 64
    source = read_volume(challenge / ONE / f"{ONE}-t1c.nii.gz")
    geometry = case["geometry"]
    np.testing.assert_allclose(geometry["source_affine"], source.affine)
    assert (geometry["source_shape"], geometry["source_orientation"]) == ([24, 24, 24], "LPS")
    np.testing.assert_allclose(geometry["affine"], read_volume(cohort / case["t1c"]).affine)
    assert set(case["intensity_range"]) == set(CONTRASTS)
    assert case["cut_off"] == {"head_mm3": 0, "lesion_mm3": 0}
    # Same voxel size before and after: not one lesion voxel may be lost.
    labels = read_volume(challenge / ONE / f"{ONE}-seg.nii.gz").data
    expected = {
        name: (labels == n).sum() * 1.5**3 for n, name in ((3, "enhancing tumour"), (4, "resection cavity"))
    }
    for name, volume_mm3 in expected.items():
        assert case["lesion_mm3"][name] == pytest.approx([volume_mm3, volume_mm3])


def test_the_data_list_has_absolute_paths_and_survives_a_move(cohort: Path, tmp_path: Path) -> None:
    moved = cohort.rename(tmp_path / "elsewhere")
    entries = datalist(moved, "all", ("t1c", "t2w"))
    assert [e["case"] for e in entries] == [ONE, TWO]
    assert set(entries[0]) == {"case", "patient", "t1c", "t2w", "label"}
    assert entries[0]["t1c"] == str(moved / ONE / f"{ONE}-t1c.nii.gz")
    read = read_cohort(moved)
    assert len(read.training) == len(read.validation) == 1
    assert (read.contrasts, read.spatial_size, read.labels[HEAD]) == (CONTRASTS, (32, 32, 32), "head")
    assert read.sha256 == content_sha256(read_json(moved / "cohort.json"))
    assert [e["case"] for e in mask_datalist(moved)] == [ONE, TWO]
    assert mask_datalist(moved, section="training") == datalist(moved, "training")


def test_two_preparations_are_equal_to_the_byte(challenge: Path, cohort: Path, preparation: Make) -> None:
    again = challenge.parent / "again"
    preparation(challenge, again).run()
    assert contents(again) == contents(cohort)


def test_running_again_does_nothing_that_is_done(challenge: Path, cohort: Path, preparation: Make) -> None:
    before, described = made(cohort), (cohort / "cohort.json").read_bytes()
    for path in challenge.glob("*/*"):
        os.utime(path)  # a fresh copy of the same bytes
    preparation(challenge, cohort).run()
    assert made(cohort) == before
    assert (cohort / "cohort.json").read_bytes() == described


def test_a_changed_scan_redoes_its_case_alone(challenge: Path, cohort: Path, preparation: Make) -> None:
    before, old = made(cohort), entry(cohort, ONE)
    path = challenge / ONE / f"{ONE}-t1c.nii.gz"
    volume = read_volume(path)
    write_volume(path, Volume(data=volume.data * 2, affine=volume.affine))
    preparation(challenge, cohort).run()
    assert redone(before, made(cohort)) == {ONE}
    assert entry(cohort, ONE)["intensity_range"]["t1c"] != old["intensity_range"]["t1c"]


@pytest.mark.parametrize("changed", ["transforms", "package version"])
def test_a_changed_parameter_redoes_everything_or_the_cohort_would_mix_two(
    changed: str, challenge: Path, cohort: Path, preparation: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = made(cohort)
    options = {"percentiles": (5.0, 95.0)} if changed == "transforms" else {}
    if changed == "package version":
        monkeypatch.setattr(casework, "__version__", "999")
    preparation(challenge, cohort, **options).run()
    assert redone(before, made(cohort)) == {ONE, TWO}


def test_a_file_that_was_deleted_is_made_again(challenge: Path, cohort: Path, preparation: Make) -> None:
    before = contents(cohort)
    (cohort / ONE / f"{ONE}-t2f.nii.gz").unlink()
    preparation(challenge, cohort).run()
    assert contents(cohort) == before


def test_a_source_that_is_gone_leaves_the_cohort_and_a_new_one_joins(
    challenge: Path, cohort: Path, preparation: Make, write_case: Callable[..., None]
) -> None:
    before = made(cohort)
    (challenge / TWO).rename(challenge.parent / "away")
    write_case(challenge, "BraTS-GLI-00003-100", seed=3)
    preparation(challenge, cohort).run()
    content = read_json(cohort / "cohort.json")
    cases = {e["case"] for e in content["training"] + content["validation"]}
    assert cases == {ONE, "BraTS-GLI-00003-100"}
    assert redone(before, made(cohort)) == {"BraTS-GLI-00003-100"}


def test_a_case_that_turns_bad_loses_what_was_made_of_it(
    challenge: Path, cohort: Path, preparation: Make
) -> None:
    (challenge / ONE / f"{ONE}-t1c.nii.gz").write_bytes(b"")
    preparation(challenge, cohort).run()
    assert not (cohort / ONE).exists()
    assert [r["case"] for r in read_json(cohort / "cohort.json")["rejected"]] == [ONE]


@pytest.mark.parametrize("after", [2, 7])
def test_an_interruption_leaves_no_case_that_looks_finished(
    after: int, challenge: Path, preparation: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []

    def interrupted(path: Path, volume: Volume) -> None:
        if len(written) == after:
            raise KeyboardInterrupt
        written.append(path)
        write_volume(path, volume)

    cohort = challenge.parent / "cohort"
    monkeypatch.setattr(casework, "write_volume", interrupted)
    with pytest.raises(KeyboardInterrupt):
        preparation(challenge, cohort).run()
    assert not (cohort / "cohort.json").exists()
    finished = {path.parent.name for path in cohort.glob("*/case.json")}
    assert finished == ({ONE} if after == 7 else set())
    assert {path.parent.name for path in cohort.glob("*/*.nii.gz")} == finished
    monkeypatch.undo()
    preparation(challenge, cohort).run()
    assert len(datalist(cohort, "all")) == 2


def test_a_killed_process_is_taken_up_even_if_it_could_not_clean_up(
    challenge: Path, cohort: Path, preparation: Make
) -> None:
    whole = contents(cohort)
    for name in ("case.json", f"{ONE}-seg.nii.gz", f"{ONE}-t2w.nii.gz"):
        (cohort / ONE / name).unlink()
    (cohort / ONE / f"{ONE}-t1c.nii.gz").write_bytes(b"of an older run")
    (cohort / ONE / f".partial-{ONE}-t2w.nii.gz").write_bytes(b"half")
    (cohort / "cohort.json").unlink()
    preparation(challenge, cohort).run()
    assert contents(cohort) == whole


def test_no_list_of_an_older_run_stands_beside_cases_that_are_being_redone(
    challenge: Path, cohort: Path, preparation: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(path: Path, volume: Volume) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(casework, "write_volume", killed)
    with pytest.raises(KeyboardInterrupt):
        preparation(challenge, cohort, percentiles=(5.0, 95.0)).run()
    with pytest.raises(GliomaGenError, match=r"no cohort\.json; run preparing first, or use raw\.yaml"):
        read_cohort(cohort)


def test_a_full_disk_is_one_line_and_nothing_half_written(
    challenge: Path, preparation: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(image: Any, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(nib, "save", full)
    cohort = challenge.parent / "cohort"
    with pytest.raises(
        GliomaGenError, match=rf"{ONE}-t1c.nii.gz: cannot be written \(No space left on device\)"
    ):
        preparation(challenge, cohort).run()
    assert not list(cohort.glob("BraTS*/*"))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (GliomaGenError("no head is found"), "no head is found"),
        (ValueError("cannot\nreshape"), "a transform failed (ValueError: cannot reshape)"),
    ],
)
def test_a_case_the_transforms_refuse_does_not_stop_the_others(
    error: Exception, message: str, challenge: Path, cohort: Path, preparation: Make
) -> None:
    transforms = preparation(challenge, cohort).transforms
    refusing = Compose([Refuse(ONE, error), *transforms.transforms])
    for _ in range(2):  # running again says the same
        preparation(challenge, cohort, transforms=refusing).run()
        assert [e["case"] for e in datalist(cohort, "all")] == [TWO]
        (rejected,) = read_json(cohort / "cohort.json")["rejected"]
        assert [(f["code"], f["message"]) for f in rejected["findings"]] == [("preparation_failed", message)]
        assert not (cohort / ONE).exists()
    preparation(challenge, cohort).run()
    assert len(datalist(cohort, "all")) == 2


def test_out_of_memory_is_no_fault_of_the_case(challenge: Path, preparation: Make) -> None:
    """Or a case would be thrown out of the cohort because the machine was busy."""
    refusing = Compose([Refuse(ONE, MemoryError())])
    with pytest.raises(GliomaGenError, match=f"{ONE}: out of memory; run again with fewer num_workers"):
        preparation(challenge, challenge.parent / "cohort", transforms=refusing).run()


def test_strict_fails_but_only_after_everything_is_written(challenge: Path, preparation: Make) -> None:
    cohort = challenge.parent / "cohort"
    (challenge / ONE / f"{ONE}-t2f.nii.gz").write_bytes(b"")
    with pytest.raises(GliomaGenError) as error:
        preparation(challenge, cohort, strict=True).run()
    line = str(error.value)
    assert line.startswith(f"{challenge}: 1 of 2 cases rejected, first {ONE}, {ONE}/{ONE}-t2f.nii.gz: ")
    assert line.endswith(f"all are in {cohort / 'integrity.md'}")
    assert "\n" not in line
    assert [e["case"] for e in datalist(cohort, "all")] == [TWO]


def test_strict_does_not_mind_warnings(challenge: Path, preparation: Make) -> None:
    path = challenge / ONE / f"{ONE}-seg.nii.gz"
    volume = read_volume(path)
    write_volume(path, Volume(data=np.zeros_like(volume.data), affine=volume.affine))
    preparation(challenge, challenge.parent / "cohort", strict=True).run()
    assert len(datalist(challenge.parent / "cohort", "all")) == 2


def test_no_usable_case_fails_and_leaves_the_table_but_no_cohort(
    challenge: Path, cohort: Path, preparation: Make
) -> None:
    for path in challenge.glob("*/*-seg.nii.gz"):
        path.unlink()
    with pytest.raises(GliomaGenError, match=f"no case is usable, first {ONE}: label map is missing"):
        preparation(challenge, cohort).run()
    assert not (cohort / "cohort.json").exists()
    rows = [line for line in (cohort / "integrity.md").read_text().splitlines() if line.startswith("|")]
    assert len(rows) == 4  # header, ruler, two cases
    assert len({row.index("|", row.index("error") - 2 + 8) for row in rows[2:]}) == 1  # columns line up


def test_what_is_cut_off_is_reported(challenge: Path, preparation: Make) -> None:
    cohort = challenge.parent / "cohort"
    preparation(challenge, cohort, voxel_mm=(0.75, 0.75, 0.75)).run()
    case = entry(cohort, ONE)
    assert case["cut_off"]["head_mm3"] > 0
    assert [f["code"] for f in case["findings"]] == ["cut_off"]
    assert "cut_off" in (cohort / "integrity.md").read_text()


def test_a_given_split_may_name_a_case_that_is_rejected(
    challenge: Path, tmp_path: Path, preparation: Make
) -> None:
    write_json(tmp_path / "split.json", {"training": ["BraTS-GLI-00001"], "validation": [TWO]})
    (challenge / TWO / f"{TWO}-t2f.nii.gz").unlink()
    preparation(challenge, tmp_path / "cohort", split_file=tmp_path / "split.json").run()
    assert [e["case"] for e in datalist(tmp_path / "cohort", "training")] == [ONE]


def test_one_file_with_four_channels_is_prepared_as_four_files_are(
    challenge: Path, cohort: Path, tmp_path: Path, preparation: Make
) -> None:
    """The Decathlon's order is FLAIR, T1w, T1gd, T2w: taking ours for it would swap contrasts."""
    decathlon = tmp_path / "Task01"
    for case in (ONE, TWO):
        scans = [
            read_volume(challenge / case / f"{case}-{name}.nii.gz") for name in ("t2f", "t1n", "t1c", "t2w")
        ]
        stacked = np.stack([scan.data for scan in scans], axis=-1)
        write_volume(decathlon / "imagesTr" / f"{case}.nii.gz", Volume(data=stacked, affine=scans[0].affine))
        label = read_volume(challenge / case / f"{case}-seg.nii.gz")
        write_volume(decathlon / "labelsTr" / f"{case}.nii.gz", label)
    preparation(decathlon, tmp_path / "from_msd", layout="msd01").run()
    for name in (*CONTRASTS, "seg"):
        one, other = (
            read_volume(folder / ONE / f"{ONE}-{name}.nii.gz") for folder in (cohort, tmp_path / "from_msd")
        )
        np.testing.assert_array_equal(one.data, other.data)
    assert entry(tmp_path / "from_msd", ONE)["sources"]["t1c"]["channel"] == 2


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"output_dir": "challenge"}, "is the challenge folder itself"),
        ({"dataset_dir": None}, "must be given"),
        ({"dataset_dir": "absent"}, "no such folder"),
        ({"dataset_dir": "cohort"}, "is a prepared cohort already"),
        ({"contrasts": ("t1c", "adc")}, "must be some of"),
        ({"label_convention": "brats1999"}, "label_convention 'brats1999' is not known"),
        ({"layout": "brats2021"}, "(expected <case>/<case>_t1ce.nii.gz)"),
        ({"validation_fraction": 1.5}, "validation_fraction"),
        ({"split_file": "absent.json"}, "not found"),
    ],
)
def test_wrong_options_are_one_line_before_any_work(
    options: dict[str, Any], part: str, challenge: Path, cohort: Path, preparation: Make
) -> None:
    root = challenge.parent
    folders = {"dataset_dir": challenge, "output_dir": root / "new"}
    transforms = preparation(challenge, cohort).transforms
    for name, value in options.items():
        (folders if name in folders else options)[name] = (
            root / value if isinstance(value, str) and "dir" in name else value
        )
    rest = {name: value for name, value in options.items() if name not in folders}
    before = made(challenge)
    with pytest.raises(GliomaGenError) as error:
        preparation(folders["dataset_dir"], folders["output_dir"], transforms=transforms, **rest).run()
    assert part in str(error.value)
    assert "\n" not in str(error.value)
    assert made(challenge) == before
    assert not (root / "new").exists()


def test_a_data_list_that_cannot_be_had_is_one_line(challenge: Path, cohort: Path) -> None:
    with pytest.raises(GliomaGenError) as error:
        datalist(cohort, "training", ("t1c", "adc"))
    assert str(error.value) == (
        f"{cohort}: has the contrasts ['t1c', 't1n', 't2f', 't2w'], asked for ['t1c', 'adc']; change the option contrasts"
    )
    with pytest.raises(GliomaGenError, match="section 'test' is not known"):
        datalist(cohort, "test")
    with pytest.raises(GliomaGenError, match=r"no cohort\.json; run preparing first, or use raw\.yaml"):
        datalist(challenge)
    (cohort / ONE / f"{ONE}-t2w.nii.gz").unlink()
    with pytest.raises(GliomaGenError, match=r"listed in cohort\.json but not there; run preparing again"):
        datalist(cohort, "all")
    content = read_json(cohort / "cohort.json")
    write_json(cohort / "cohort.json", {**content, "format_version": 2})
    with pytest.raises(GliomaGenError, match="format version 2, this package reads 1"):
        read_cohort(cohort)


def test_ranks_share_the_config_s_work_and_worker_processes_change_no_byte(
    challenge: Path, cohort: Path, write_case: Callable[..., None], preparation: Make
) -> None:
    """As ``torchrun`` starts them: one from the root, one from inside the bundle with processes of its own."""
    for number in (6, 7):  # cases 1 and 2 fall to rank 0, these to rank 1
        write_case(challenge, f"BraTS-GLI-{number:05}-100", seed=number)
    shared = challenge.parent / "shared"

    def start(config: str, cwd: Path, rank: int, num_workers: int) -> subprocess.Popen[str]:
        options = {
            "config_file": config,
            "dataset_dir": str(challenge),
            "output_dir": str(shared),
            "spatial_size": [32, 32, 32],
            "voxel_mm": [1.5, 1.5, 1.5],
            "num_workers": num_workers,
        }
        # The guard matters: worker processes import the main script again.
        script = challenge.parent / f"run-{rank}.py"
        script.write_text(
            "from monai.bundle import run\nif __name__ == '__main__':\n"
            f"    run(run_id='preparing', **{options!r})\n"
        )
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.Popen(
            [sys.executable, str(script)],
            cwd=cwd,
            env={**clean, "OMP_NUM_THREADS": "1", "RANK": str(rank), "WORLD_SIZE": "2"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    runs = [
        start("bundle/configs/prepare.yaml", ROOT, rank=0, num_workers=0),
        start("configs/prepare.yaml", ROOT / "bundle", rank=1, num_workers=2),
    ]
    try:
        for run in runs:
            output, _ = run.communicate(timeout=120)
            assert run.returncode == 0, output
            assert ("preparing: 100%" in output) == (run is runs[0])  # only rank 0 shows its own progress
            assert ("2/2" in output) == (run is runs[0])
    finally:
        for run in runs:
            run.kill()
    preparation(challenge, cohort).run()
    assert len(datalist(shared, "all")) == 4
    assert contents(shared) == contents(cohort)
