"""A cohort of label maps: the same whoever makes it and however often it is killed, and no bad one in it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import bundle_run, run_environment, write_prepared_cohort

from gliomagen.cohort.datalist import mask_datalist
from gliomagen.errors import GliomaGenError
from gliomagen.labels import ET, HEAD, SNFH
from gliomagen.synthesis.augmentation import Augmentation, finishing
from gliomagen.synthesis.checks import LabelMapChecks
from gliomagen.synthesis.deform import DeformPolicy
from gliomagen.synthesis.edit import EditPolicy
from gliomagen.synthesis.maps import CannotVaryError, LabelMap, Labels, Parameters
from gliomagen.synthesis.transplant import TransplantPolicy
from gliomagen.synthesis.variation import Variation
from gliomagen.volume import Volume, read_volume, write_volume

SIZE = (24, 24, 24)


class Placed:
    """Puts a ball of enhancing tumour somewhere; some draws leave the head."""

    needs_donor = False
    keeps_near = False

    def draw(self, source: LabelMap, donor: LabelMap | None, rng: np.random.Generator) -> Parameters:
        return {"centre": [int(v) for v in rng.integers(4, 20, 3)], "radius": float(rng.uniform(1, 4))}

    def apply(self, source: LabelMap, donor: LabelMap | None, parameters: Mapping[str, Any]) -> Labels:
        grid = np.stack(np.indices(source.label.shape)) - np.reshape(parameters["centre"], (3, 1, 1, 1))
        ball = (grid**2).sum(0) <= parameters["radius"] ** 2
        if (ball & (source.label == 0)).any():
            raise CannotVaryError("leaves the head")
        label = np.where(source.label > HEAD, HEAD, source.label).astype(np.uint8)
        label[ball] = ET
        return label


class Borrowed(Placed):
    needs_donor = True

    def apply(self, source: LabelMap, donor: LabelMap | None, parameters: Mapping[str, Any]) -> Labels:
        assert donor is not None and donor.patient != source.patient
        return super().apply(source, donor, parameters)


def write_sources(folder: Path, count: int) -> list[dict[str, Any]]:
    entries = []
    for i in range(count):
        label = np.zeros(SIZE, np.uint8)
        label[3:21, 3:21, 3:21] = HEAD
        label[8:12, 8 + i : 12 + i, 8:12] = SNFH
        path = folder / f"P{i}" / f"P{i}-seg.nii.gz"
        write_volume(path, Volume(data=label, affine=np.diag([2.0, 2.0, 2.0, 1.0])))
        entries.append({"case": f"P{i}", "patient": f"P{i}", "label": str(path)})
    return entries


def augmentation(entries: list[dict[str, Any]], out: Path, **options: Any) -> Augmentation:
    known = {
        "count": 8,
        "num_workers": 0,
        **{k: options.pop(k) for k in ("count", "num_workers") if k in options},
    }
    options = {"policies": {"placed": Placed(), "borrowed": Borrowed()}, **options}
    variation = Variation(
        sources=entries,
        weights=options.pop("weights", {"placed": 0.5, "borrowed": 0.5}),
        check=options.pop("check", LabelMapChecks()),
        **options,
    )
    return Augmentation(variation=variation, output_dir=out, **known)


def shipped() -> dict[str, Any]:
    """The policies a user has, six label maps."""
    policies = {"deform": DeformPolicy(), "transplant": TransplantPolicy(), "edit": EditPolicy()}
    return {"policies": policies, "weights": dict.fromkeys(policies, 1), "count": 6}


def label_maps(folder: Path) -> dict[str, np.ndarray]:
    return {p.name: read_volume(p).data for p in sorted(folder.rglob("*-seg.nii.gz"))}


@pytest.fixture
def entries(tmp_path: Path) -> list[dict[str, Any]]:
    return write_sources(tmp_path / "sources", 3)


def test_a_rerun_makes_what_is_missing_and_nothing_else(
    entries: list[dict[str, Any]], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert augmentation(entries, out).run()
    whole = label_maps(out)
    assert len(whole) == 8 and json.loads((out / "augment.json").read_text())["made"] == 8
    lost = sorted(out.glob("*/*.json"))[3]
    lost.unlink()  # as if killed between label map and record
    kept = {p: p.stat().st_mtime_ns for p in out.rglob("*.json") if p.parent != out}
    assert augmentation(entries, out).run() and lost.is_file()
    assert all(p.stat().st_mtime_ns == at for p, at in kept.items())
    again = label_maps(out)
    assert all(np.array_equal(again[name], whole[name]) for name in whole)


def test_two_processes_make_what_one_makes(
    entries: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    augmentation(entries, tmp_path / "one").run()
    monkeypatch.setenv("WORLD_SIZE", "2")
    finished = []
    for process in ("0", "1"):
        monkeypatch.setenv("RANK", process)
        finished.append(augmentation(entries, tmp_path / "two").run())
    assert finished == [False, True]  # the last one sums up
    one, two = label_maps(tmp_path / "one"), label_maps(tmp_path / "two")
    assert one.keys() == two.keys() and all(np.array_equal(one[k], two[k]) for k in one)
    assert (tmp_path / "one" / "augment.json").read_bytes() == (
        tmp_path / "two" / "augment.json"
    ).read_bytes()


def test_a_record_names_every_parent(entries: list[dict[str, Any]], tmp_path: Path) -> None:
    """Else a child of a validation patient could train."""
    augmentation(entries, tmp_path / "out", weights={"borrowed": 1}).run()
    for path in (tmp_path / "out").glob("P*/*.json"):
        record = json.loads(path.read_text())
        assert record["synthetic"] and record["source_patient"] != record["donor_patient"]
        assert record["case"].startswith(record["source_case"])


def test_variants_go_source_by_source_and_a_rejected_one_is_missing(
    entries: list[dict[str, Any]], tmp_path: Path
) -> None:
    options = {"variants": 2, "max_tries": 1, "weights": {"placed": 1}}
    augmentation(entries, tmp_path / "out", check=lambda *_: "never", **options).run()
    summary = json.loads((tmp_path / "out" / "augment.json").read_text())
    assert (summary["made"], summary["rejected"]) == (0, 6)
    assert sum(summary["rejected_draws"].values()) == 6
    assert summary["rejected_cases"][:3] == ["P0-v00000", "P0-v00001", "P1-v00002"]


def test_other_settings_in_the_same_folder_are_refused(entries: list[dict[str, Any]], tmp_path: Path) -> None:
    augmentation(entries, tmp_path / "out", count=1).run()
    before = label_maps(tmp_path / "out")
    with pytest.raises(GliomaGenError, match="seed is 0 there and 1 here; choose another output_dir"):
        augmentation(entries, tmp_path / "out", count=1, seed=1).run()
    assert label_maps(tmp_path / "out").keys() == before.keys()
    assert augmentation(entries, tmp_path / "out", count=3).run()  # more of the same is welcome


@pytest.mark.parametrize(
    ("fill", "message"),
    [({"to": 9, "where": 1}, "not prepared ones"), ({"to": 0, "where": HEAD}, "has no head")],
)
def test_a_label_map_that_cannot_be_used_is_named(
    entries: list[dict[str, Any]], tmp_path: Path, fill: dict[str, int], message: str
) -> None:
    path = Path(entries[0]["label"])
    label = read_volume(path).data.copy()
    label[label == fill["where"]] = fill["to"]
    write_volume(path, Volume(data=label, affine=np.eye(4)))
    with pytest.raises(GliomaGenError, match=message) as told:
        augmentation(entries[:1], tmp_path / "out", weights={"placed": 1}).run()
    assert str(path) in str(told.value) and not label_maps(tmp_path / "out")


def test_wrong_options_are_refused_before_anything_is_made(
    entries: list[dict[str, Any]], tmp_path: Path
) -> None:
    for options, message in (
        ({"weights": {"nothing": 1}}, "are not policies"),
        ({"weights": {"placed": 0}}, "no policy is left"),
        ({"count": None}, "count None: must be a whole number"),
        ({"count": 0}, "count 0: must be a whole number"),
        ({"variants": -1}, "variants -1: must be a whole number"),
    ):
        with pytest.raises(GliomaGenError, match=message):
            augmentation(entries, tmp_path / "out", **options)
    with pytest.raises(GliomaGenError, match="no policy is left"):  # nobody to take a lesion from
        augmentation(entries[:1], tmp_path / "out", weights={"borrowed": 1})
    assert not (tmp_path / "out").exists()


KILLED = """
import os, signal, sys
from pathlib import Path
import test_augmentation as tests

calls, replace = 0, os.replace

def dying(one, other):
    global calls
    calls += 1
    if calls == 7:  # settings; label map, record; label map, record; label map: now its record
        os.kill(os.getpid(), signal.SIGKILL)
    replace(one, other)

os.replace = dying
tests.augmentation({entries!r}, Path({out!r}), **tests.shipped()).run()
"""


def test_a_killed_run_is_taken_up_where_it_was(entries: list[dict[str, Any]], tmp_path: Path) -> None:
    """Killed between a label map and its record: what was finished stays as it is, this one is made again."""
    out = tmp_path / "out"
    script = KILLED.format(entries=entries, out=str(out))
    path = f"import sys; sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1])]}\n"
    killed = subprocess.run([sys.executable, "-c", path + script], env=run_environment(), capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    records = sorted(out.glob("P*/P*.json"))
    assert len(records) == 2 and len(label_maps(out)) == 3 and len(list(out.rglob(".partial-*"))) == 1
    finished = [*records, *(record.with_name(f"{record.stem}-seg.nii.gz") for record in records)]
    made_at = {path: path.stat().st_mtime_ns for path in finished}
    assert augmentation(entries, out, **shipped()).run()
    assert all(p.stat().st_mtime_ns == at for p, at in made_at.items())
    assert not list(out.rglob(".partial-*")) and not list(out.glob(".summary*"))
    augmentation(entries, tmp_path / "whole", **shipped()).run()
    one, other = label_maps(out), label_maps(tmp_path / "whole")
    assert one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def test_workers_change_nothing(entries: list[dict[str, Any]], tmp_path: Path) -> None:
    """The policies as shipped, in this process and in two others."""
    for workers in (0, 2):
        assert augmentation(entries, tmp_path / str(workers), num_workers=workers, **shipped()).run()
    one, two = label_maps(tmp_path / "0"), label_maps(tmp_path / "2")
    assert one and one.keys() == two.keys() and all(np.array_equal(one[k], two[k]) for k in one)
    assert (tmp_path / "0" / "augment.json").read_bytes() == (tmp_path / "2" / "augment.json").read_bytes()


def test_two_processes_that_finish_at_the_same_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both sum up; the file is whole whoever is last."""
    with finishing(tmp_path) as first:
        (first / "a.json").write_text("{}")
        monkeypatch.setenv("RANK", "1")
        with finishing(tmp_path) as second:
            (second / "a.json").write_text("{}")
        assert (tmp_path / "a.json").read_text() == "{}"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_no_child_has_a_parent_in_validation(tmp_path: Path) -> None:
    """Else every study on the validation patients would be worth nothing."""
    cohort = write_prepared_cohort(tmp_path / "cohort", training=3, validation=3)
    sources = mask_datalist(cohort, section="training", contrasts=[])
    augmentation(sources, tmp_path / "out", weights={"borrowed": 1}, check=lambda *_: None).run()
    content = json.loads((cohort / "cohort.json").read_text())
    training = {entry["patient"] for entry in content["training"]}
    parents = [
        set(c["parents"]) for c in json.loads((tmp_path / "out" / "augment.json").read_text())["cases"]
    ]
    assert parents and all(len(both) == 2 and both <= training for both in parents)


def test_a_single_patient_has_no_donor_and_is_told(
    entries: list[dict[str, Any]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    augmentation(entries[:1], tmp_path / "out", count=2).run()
    assert "borrowed: left out, there is one patient only" in caplog.text
    summary = json.loads((tmp_path / "out" / "augment.json").read_text())
    assert summary["policies"] == {"placed": 2}


def test_a_case_without_lesion_is_a_source(entries: list[dict[str, Any]], tmp_path: Path) -> None:
    """A complete responder's head can take another's lesion."""
    path = Path(entries[0]["label"])
    label = np.minimum(read_volume(path).data, HEAD).astype(np.uint8)
    write_volume(path, Volume(data=label, affine=np.diag([2.0, 2.0, 2.0, 1.0])))
    options: dict[str, Any] = {"policies": {"t": TransplantPolicy()}, "weights": {"t": 1}, "max_tries": 40}
    augmentation(entries, tmp_path / "out", variants=1, **options).run()
    record = json.loads((tmp_path / "out" / "P0-v00000" / "P0-v00000.json").read_text())
    assert record["accepted"] and (label_maps(tmp_path / "out")["P0-v00000-seg.nii.gz"] > HEAD).any()


@pytest.mark.slow
def test_the_workflow_of_one_label_map(entries: list[dict[str, Any]], tmp_path: Path) -> None:
    """Variants of a single real case are what a user tries first."""
    out = tmp_path / "out"
    options = {"dataset_dir": entries[0]["label"], "output_dir": out, "variants": 4, "num_workers": 0}
    done = bundle_run("augmenting", "augment.yaml", **options)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "transplant: left out" in done.stdout + done.stderr
    made = mask_datalist(out, contrasts=[])
    assert [entry["case"] for entry in made] == sorted(f"P0-v{k:05d}" for k in range(4))
    assert np.allclose(read_volume(made[0]["label"]).affine, np.diag([2.0, 2.0, 2.0, 1.0]))
    assert (out / "diversity.png").is_file() and (out / "variants.png").is_file()
    refused = bundle_run("augmenting", "augment.yaml", **{**options, "seed": 1})
    assert refused.returncode != 0 and "seed is 0 there and 1 here" in refused.stderr.splitlines()[-1]
