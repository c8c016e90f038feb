"""The study: nothing is lost to a kill, nothing that validates trains, one arm's failure does not take the others."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_study import FakeMethod, make_study
from helpers import (
    ROOT,
    bundle_command,
    bundle_run,
    run_environment,
    write_prepared_cohort,
    write_synthetic,
)

from gliomagen.children import run_module
from gliomagen.errors import GliomaGenError, user_message
from gliomagen.export.mixed import read_mixed
from gliomagen.provenance import CardWriter
from gliomagen.segmenter.methods import method_named

TRAINED = [f"BraTS-GLI-{90000 + i}" for i in range(6)]
VALIDATES = "BraTS-GLI-90006"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prepared_cohort(tmp_path_factory.mktemp("real"), training=6, validation=2)


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic(tmp_path_factory.mktemp("synthetic"), seen=TRAINED, sources=TRAINED)


@pytest.fixture(scope="module")
def whole(real: Path, synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that ran without disturbance. Read only."""
    out = tmp_path_factory.mktemp("whole")
    make_study(real, synthetic, out).run()
    return out


def table_of(out: Path) -> str:
    content = json.loads((out / "study.json").read_text())
    for arm in content["arms"].values():
        del arm["dataset"]
    return json.dumps(content)


def test_what_a_study_leaves(whole: Path) -> None:
    content = json.loads((whole / "study.json").read_text())
    assert list(content["arms"]) == ["real", "real+1x", "3R"]
    mixed = content["arms"]["real+1x"]
    assert mixed["synthetic"] == 5 and mixed["synthetic_bytes"] > 0 and mixed["synthetic_s"] == 10
    assert not content["arms"]["real+1x"]["transfer"]
    case = content["trainings"]["3R"][1]["cases"][f"{VALIDATES}-100"]
    assert case["patient"] == VALIDATES and len(case["whole"]) == 5
    assert content["summary"]["3R"]["gain"]["mean"]["value"] < 0, (
        "half as many patients are worse, in this fake"
    )
    for name in (
        "study.md",
        "study.tex",
        "index.html",
        "arms.png",
        "patients.png",
        "predictions.png",
        "scaling.png",
    ):
        assert (whole / name).stat().st_size > 500, name
    page = (whole / "index.html").read_text()
    assert "real+1x" in page and "http" not in page.split("<body>")[1]


@pytest.mark.parametrize(("where", "count"), [("prepare", 1), ("predict", 3), ("train", 5)])
def test_a_killed_study_ends_with_the_same_table(
    where: str, count: int, real: Path, synthetic: Path, whole: Path, tmp_path: Path
) -> None:
    command = [
        sys.executable,
        "-m",
        "fake_study",
        str(real),
        str(synthetic),
        str(tmp_path),
        where,
        str(count),
    ]
    environment = {
        **run_environment(),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), str(ROOT / "bundle")]),
    }
    ended = subprocess.run(command, env=environment, capture_output=True, timeout=300)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert not (tmp_path / "study.json").exists()
    make_study(real, synthetic, tmp_path).run()
    assert table_of(tmp_path) == table_of(whole)


def test_what_is_done_is_not_done_again(real: Path, synthetic: Path, tmp_path: Path) -> None:
    for arms, expected in ((["real+1x"], 2), (["real", "real+1x"], 2), (["real", "real+1x", {"real": 3}], 2)):
        method = FakeMethod()
        make_study(real, synthetic, tmp_path, arms=arms, method=method).run()
        assert len(method.runs) == expected
        assert (tmp_path / "study.json").exists() == ("real" in arms), "jobs of a cluster train a part each"
    with pytest.raises(
        GliomaGenError,
        match=r"seed-0: was begun with \{'max_steps': 1\}, not \{'max_steps': 2\}; remove it, or choose another",
    ):
        make_study(real, synthetic, tmp_path, method=FakeMethod(steps=2)).run()


def test_one_arm_that_fails_is_named_and_the_others_are_finished(
    real: Path, synthetic: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        GliomaGenError, match=r"2 of 6 trainings failed; real\+1x, seed 0: .*in .*real\+1x/seed-0/log\.txt"
    ):
        make_study(
            real, synthetic, tmp_path, method=FakeMethod(fails="real+1x"), devices=["cpu", "cpu"]
        ).run()
    assert not (tmp_path / "study.json").exists()
    mended = FakeMethod()
    make_study(real, synthetic, tmp_path, method=mended).run()
    assert mended.runs == ["real+1x 0", "real+1x 1"]


def test_a_smuggled_child_of_a_validation_patient_is_refused_by_name(
    real: Path, synthetic: Path, tmp_path: Path
) -> None:
    study = make_study(real, synthetic, tmp_path)
    study.run()
    folder = next((tmp_path / "arms" / "real+1x" / "nnUNet_raw").iterdir())
    manifest = folder / "manifest.jsonl"
    told = manifest.read_text()
    lines = [json.loads(line) for line in told.splitlines()]
    made = next(line for line in lines if line["kind"] == "synthetic")
    for parents, said in (
        ([TRAINED[0], VALIDATES], f"{made['case']} goes back to {VALIDATES}"),
        ([], "nobody says"),
    ):
        changed = [{**line, "parents": parents} if line is made else line for line in lines]
        manifest.write_text("".join(json.dumps(line) + "\n" for line in changed))
        with pytest.raises(GliomaGenError, match=said):
            study.run()
    manifest.write_text(told)
    plan = json.loads((folder / "mix.json").read_text())
    smuggled = [{"train": [*plan["train"], plan["val"][0]], "val": plan["val"]}]
    (folder / "splits_final.json").write_text(json.dumps(smuggled))
    with pytest.raises(GliomaGenError, match=r"splits_final\.json: is not the split of mix\.json"):
        read_mixed(folder)


def test_a_generator_that_saw_a_validation_patient_is_refused_by_name(real: Path, tmp_path: Path) -> None:
    seen = write_synthetic(tmp_path / "synthetic", seen=[*TRAINED, VALIDATES], sources=TRAINED)
    with pytest.raises(GliomaGenError, match=f"was trained on patient {VALIDATES}"):
        make_study(real, seen, tmp_path / "study").run()


def test_any_weights_that_saw_a_validation_patient_are_refused_by_name(
    real: Path, synthetic: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "features.pt"
    weights.write_bytes(b"weights")
    CardWriter(architecture={}, geometry={}, cohort_sha256="", patients=[VALIDATES])(weights, 1)
    with pytest.raises(GliomaGenError, match=rf"features\.pt: was trained on patient {VALIDATES}"):
        make_study(real, synthetic, tmp_path / "study", weights=[weights]).run()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"arms": ["real", "real"]}, "'real' is there twice"),
        ({"seeds": []}, "give at least one of each"),
        ({"arms": ["real", {"reel": 3}]}, "give a name of"),
        ({"arms": ["real", {"real": -3}]}, "real must be a whole number, 0 or more, not -3"),
        ({"arms": ["real", {"real": 3, "name": "../real"}]}, "cannot be named '../real'"),
        ({"arms": [{"real": 3, "name": "real"}]}, "cannot be named 'real'"),
    ],
)
def test_wrong_use_is_one_line(options: dict, said: str, real: Path, synthetic: Path, tmp_path: Path) -> None:  # type: ignore[type-arg]
    with pytest.raises(GliomaGenError, match=said):
        make_study(real, synthetic, tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_two_processes_do_not_train_the_same(real: Path, synthetic: Path, tmp_path: Path) -> None:
    """The second would write into the first one's checkpoints."""

    def meanwhile(place: str) -> None:
        if place == "train":
            with pytest.raises(GliomaGenError, match="another process works on it"):
                make_study(real, synthetic, tmp_path, arms=["real"], seeds=[0]).run()

    make_study(real, synthetic, tmp_path, arms=["real"], seeds=[0], method=FakeMethod(at=meanwhile)).run()


def test_what_a_killed_program_started_ends_with_it(tmp_path: Path) -> None:
    """Else a training would go on unseen, and its rerun write into the same files."""
    beat = tmp_path / "beat"
    (tmp_path / "beating.py").write_text(
        "import subprocess, sys, time\n"
        "if len(sys.argv) > 2: subprocess.Popen([sys.executable, sys.argv[0], sys.argv[1]])\n"
        "while True:\n"
        "    open(sys.argv[1], 'a').write('.')\n"
        "    time.sleep(0.05)\n"
    )
    code = "import sys; from gliomagen.children import run_module; run_module('beating', sys.argv[1:], log=sys.argv[1] + '.log')"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT / "bundle")])}
    parent = subprocess.Popen([sys.executable, "-c", code, str(beat), "and a child"], env=environment)
    while not beat.exists() or beat.stat().st_size < 5:
        assert parent.poll() is None, (tmp_path / "beat.log").read_text()
        time.sleep(0.1)
    parent.kill()
    parent.wait()
    size = -1
    for _ in range(100):
        if size == (size := beat.stat().st_size):
            break
        time.sleep(0.3)
    else:
        pytest.fail("it beats still")


def test_a_program_that_fails_says_why(tmp_path: Path) -> None:
    (tmp_path / "failing.py").write_text("import sys; print('error: no disk'); sys.exit(3)")
    log = tmp_path / "log.txt"
    environment = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT / "bundle")])}
    with pytest.raises(GliomaGenError, match=rf"failing stopped \(no disk\); all it said is in {log}"):
        run_module("failing", [], log=log, environment=environment)


@pytest.mark.slow
def test_the_workflow_with_the_quick_network(real: Path, tmp_path: Path) -> None:
    """As a user runs it: a mixed arm, learnt from its nnU-Net data set, whose label maps know no head."""
    size = (32, 32, 32)
    cohort = write_prepared_cohort(tmp_path / "real", training=6, validation=2, size=size)
    made = write_synthetic(tmp_path / "synthetic", seen=[*TRAINED, "another"], sources=TRAINED, size=size)
    ran = bundle_run(
        "studying",
        "study.yaml",
        real_dir=cohort,
        synthetic_dir=made,
        output_dir=tmp_path / "study",
        device="cpu",
        segmenter="quick",
        arms=["real+1x"],
        base="real+1x",
        seeds=[3],
        max_steps=3,
        quick_options={"precision": "fp32", "channels": [8, 16], "batch_size": 1},
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    content = json.loads((tmp_path / "study" / "study.json").read_text())
    (training,) = content["trainings"]["real+1x"]
    assert len(training["cases"]) == 2 and training["train_s"] > 0 and content["method"]["max_steps"] == 3
    log = (tmp_path / "study" / "arms" / "real+1x" / "seed-3" / "training" / "log.jsonl").read_text()
    assert log.count("seconds_per_step") == 3
    card = json.loads((tmp_path / "study/arms/real+1x/seed-3/training/model.json").read_text())
    assert len(card["training_patients"]) == 7, "the generator told of one more"


def test_an_unknown_segmenter_is_one_line() -> None:
    with pytest.raises(
        GliomaGenError, match=r"segmenter 'quack' is not known; choose among \['nnunet', 'quick'\]"
    ):
        method_named("quack", {"quick": FakeMethod(), "nnunet": FakeMethod()})


def test_a_full_disk_is_one_line(real: Path, synthetic: Path, tmp_path: Path) -> None:
    def fill(place: str) -> None:
        if place == "predict":
            raise OSError(errno.ENOSPC, "No space left on device", "found.nii.gz")

    study = make_study(real, synthetic, tmp_path, method=FakeMethod(at=fill))
    with pytest.raises(OSError) as raised:
        study.run()
    assert user_message(raised.value) == (
        "found.nii.gz: no space left on the device; free some or choose another output_dir"
    )
    assert not list(tmp_path.rglob("scores.json"))
    make_study(real, synthetic, tmp_path).run()


@pytest.mark.slow
def test_the_workflow_with_nnunet_killed_and_run_again(tmp_path: Path) -> None:
    """nnU-Net itself plans, trains and predicts; killed in training, the rerun goes on from its checkpoint."""
    size = (32, 32, 32)
    cohort = write_prepared_cohort(tmp_path / "real", training=3, validation=1, size=size)
    out = tmp_path / "study"
    options = {
        "real_dir": cohort,
        "output_dir": out,
        "arms": ["real"],
        "seeds": [0],
        "device": "cpu",
        "threads": 1,
        "trainer": "nnUNetTrainer_short",
        "augmentation_processes": 0,
        "processes": 1,
    }
    environment = run_environment()
    with open(tmp_path / "first.txt", "w") as log:
        first = subprocess.Popen(
            bundle_command("studying", "study.yaml", **options),
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
        )
        results = out / "arms" / "real" / "seed-0" / "nnUNet_results"
        while not list(results.rglob("checkpoint_latest.pth")):
            assert first.poll() is None, (tmp_path / "first.txt").read_text()[-2000:]
            time.sleep(0.2)
        first.kill()
        first.wait()
    ran = bundle_run("studying", "study.yaml", **options)
    assert ran.returncode == 0, ran.stderr[-2000:]
    log_of = (out / "arms" / "real" / "seed-0" / "log.txt").read_text()
    assert log_of.count("Epoch 0") == 1 and "Epoch 1" in log_of, "the first epoch is not trained again"
    content = json.loads((out / "study.json").read_text())
    (training,) = content["trainings"]["real"]
    assert len(training["cases"]) == 1 and training["train_s"] > 0
    assert training["budget"].startswith("2 epochs of 3 iterations, batch ")
    assert content["method"] | {"segmenter": "nnunet", "trainer": "nnUNetTrainer_short"} == content["method"]
