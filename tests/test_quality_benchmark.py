"""The quality benchmark from end to end, with the bundle's hours of work faked: who sees whom, for how long."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import write_prepared_cohort

import quality_benchmark as benchmark
from gliomagen.cohort.datalist import datalist, mask_datalist
from gliomagen.errors import GliomaGenError
from gliomagen.export.nnunet_form import dataset_folder
from gliomagen.files import write_json
from quality import downstream, generators, judging
from quality.setting import Patients, Setting

NUMBER = {"value": 0.5, "low": 0.4, "high": 0.6}


class FakeRuns:
    """Leaves what the bundle's workflows would leave."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, workflow: str, configs: Any, log: Path, **options: Any) -> None:
        self.seen.append((workflow, options))
        make: Callable[[Path, dict[str, Any]], None] = getattr(self, workflow)
        make(Path(options["output_dir"]), options)

    def training(self, folder: Path, options: dict[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        log = folder / "log.jsonl"
        before = log.read_text().count("seconds_per_step") if log.is_file() else 0
        lines = [{"step": n, "seconds_per_step": 0.5} for n in range(before, options["max_steps"])]
        with open(log, "a") as file:
            file.writelines(json.dumps(line) + "\n" for line in [*lines, {"validation_loss": 0.2}])
        torch.save({"weight": torch.zeros(len(lines))}, folder / "model.pt")
        write_json(folder / "model.json", {})

    def augmenting(self, folder: Path, options: dict[str, Any]) -> None:
        for number, case in enumerate(datalist(Path(options["dataset_dir"]), "training")):
            if number < options["count"]:
                name = f"{case['case']}-v"
                (folder / name).mkdir(parents=True)
                shutil.copy(case["label"], folder / name / f"{name}-seg.nii.gz")

    def synthesizing(self, folder: Path, options: dict[str, Any]) -> None:
        dataset = dataset_folder(folder, 501, "Synthetic")
        dataset.mkdir(parents=True)
        masks = mask_datalist(Path(options["dataset_dir"]), section=options["section"], contrasts=())
        calls = options["steps"]
        lines = [json.dumps({"case": mask["case"], "network_calls": calls}) for mask in masks]
        (dataset / "manifest.jsonl").write_text("\n".join(lines))

    def evaluating(self, folder: Path, options: dict[str, Any]) -> None:
        for what in ("real", "training"):
            (folder / "measured" / what).mkdir(parents=True, exist_ok=True)
        rows = [("volume", "fid", "all", "volume"), ("privacy", "suspected copies", "all", "")]
        rows += [("faithfulness", "dice", tissue, "") for tissue in ("NETC", "SNFH", "ET", "RC")]
        names = ("recipe", "name", "of", "view")
        parts = {"estimate": NUMBER, "floor": NUMBER}
        scores = [{**dict(zip(names, row, strict=True)), **parts} for row in rows]
        write_json(folder / "metrics.json", {"scores": scores})


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> benchmark.Plan:
    groups = {
        name: write_prepared_cohort(tmp_path / name, training=count, validation=1, first=first)
        for name, count, first in (("some", 12, 0), ("held out", 3, 100), ("asked", 3, 200))
    }
    training, held_out, asked = (datalist(folder, "training") for folder in groups.values())
    who = Patients(training=training, held_out=held_out, asked=asked, like=groups["some"])
    setting = Setting(name="phantoms", source=lambda work, jobs: who)
    return benchmark.Plan(
        setting=setting,
        work=tmp_path / "work",
        minutes=1.0,
        jobs=2,
        label_maps=4,
        segmenter_steps=5,
        extractor=tmp_path / "extractor.ts",
    )


SCORE = {"dice": 0.5, "false_alarm": float("nan"), "poster_dice": 0.5}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeRuns:
    fake = FakeRuns()
    for module in (benchmark, downstream, generators, judging):
        monkeypatch.setattr(module, "run", fake, raising=False)
    monkeypatch.setattr(
        downstream, "score", lambda *_, **__: {"one": dict.fromkeys(("NETC", "SNFH", "ET", "RC"), SCORE)}
    )
    monkeypatch.setattr(generators, "_parameters", lambda _: 5)
    monkeypatch.setattr(benchmark, "dataset_entries", lambda dataset, contrasts: [])
    return fake


def test_nobody_is_asked_for_who_was_learnt_from_or_compared_with(
    plan: benchmark.Plan, fake: FakeRuns
) -> None:
    """The whole part on scans: equal time for all, and no patient in two roles."""
    benchmark.make_cohorts(plan.setting, plan.full, plan.few, plan.asked, 1)
    benchmark.train_generators(plan, "scans")
    found = benchmark.measure_scans(plan)
    roles = [
        {case["patient"] for case in datalist(folder, section, contrasts=())}
        for folder, section in (
            (plan.full, "training"),
            (plan.full, "validation"),
            (plan.asked, "validation"),
        )
    ]
    assert not (roles[0] & roles[1] or roles[0] & roles[2] or roles[1] & roles[2]) and found["others"] == 3
    made = [options for workflow, options in fake.seen if workflow == "synthesizing"]
    assert {(options["dataset_dir"], options["section"]) for options in made} == {
        (str(plan.asked), "validation")
    }
    columns = found["columns"]
    had = columns["ours"]["train_s"]
    assert had == pytest.approx(60, rel=0.05)
    assert columns["noise prediction"]["train_s"] == pytest.approx(had, rel=0.05)
    assert columns["reference"]["train_s"] == pytest.approx(had, rel=0.05)
    assert columns["reference, tuned"]["train_s"] == pytest.approx(2 * had, rel=0.05)
    assert {columns[name]["calls"] for name in ("ours", "noise prediction", "reference")} == {10}
    assert len(found["ladder"]) == len(benchmark.LADDER) + 5
    assert [len(times) for times in found["reference"].values()] == [3, 4]
    assert ["dice" in at for at in found["reference"]["reference, tuned"]] == [True, False, True, True]


def test_an_arm_sees_its_own_patients_alone(plan: benchmark.Plan, fake: FakeRuns) -> None:
    """Ten patients are all that the low-data arm's generator, label maps and segmenters may know."""
    benchmark.make_cohorts(plan.setting, plan.full, plan.few, plan.asked, 1)
    benchmark.train_generators(plan, "segmenters")
    found = benchmark.measure_segmenters(plan)
    few = {case["patient"] for case in datalist(plan.few, "training")}
    assert len(few) == 10
    for workflow, options in fake.seen:
        place = str(options["output_dir"])
        if workflow in ("training", "augmenting") and ("ten patients" in place or "/few" in place):
            learnt = {
                case["patient"] for case in datalist(Path(options["dataset_dir"]), "training", contrasts=())
            }
            assert learnt <= few, place
    assert set(found["arms"]) == {"12", "10"} and set(found["copies"]) == {"12", "10"}
    assert found["train_s"]["10"] == pytest.approx(60, rel=0.05)
    steps = {options["max_steps"] for w, options in fake.seen if "segmenters" in str(options["output_dir"])}
    assert steps == {5}


def test_other_settings_are_not_passed_off_as_these(plan: benchmark.Plan, fake: FakeRuns) -> None:
    """Data sets of other weights than those that stand there now would be judged in their name."""
    benchmark.make_cohorts(plan.setting, plan.full, plan.few, plan.asked, 1)
    benchmark.train_generators(plan, "scans")
    benchmark.held_out_sets(plan)
    torch.save({"weight": torch.ones(1)}, benchmark.weights_of(plan, "ours"))
    with pytest.raises(GliomaGenError, match="remove it"):
        benchmark.held_out_sets(plan)
