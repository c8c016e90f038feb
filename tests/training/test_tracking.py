"""MLflow shows one run with every step once, however often the training was stopped."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from helpers import bundle_run
from mlflow import MlflowClient

from gliomagen.errors import GliomaGenError
from gliomagen.training.progress import RunLog
from gliomagen.training.tracking import MlflowTracker


def tracker(folder: Path, uri: str = "local") -> MlflowTracker:
    return MlflowTracker(
        uri=uri, folder=folder, experiment="test", parameters={"seed": 3, "network": "x" * 999}
    )


def client(folder: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")


def history(folder: Path, name: str, experiment: str = "test") -> list[tuple[int, float]]:
    there = client(folder)
    found = there.get_experiment_by_name(experiment)
    assert found is not None
    (run,) = there.search_runs([found.experiment_id])
    return [(point.step, point.value) for point in there.get_metric_history(run.info.run_id, name)]


def test_a_training_taken_up_again_goes_on_in_its_run(tiny_cohort: Path, tmp_path: Path) -> None:
    """Else a training killed thrice would be four runs, none of which is the training."""
    network = {"channels": "[8,8]", "network_def__groups": 4, "network_def__head_channels": 8, "steps": 1}
    each = {
        "batch_size": 1,
        "log_interval": 1,
        "checkpoint_interval": 1,
        "sample_interval": 1,
        "sample_cases": 1,
    }
    options = {**network, **each, "device": "cpu", "num_workers": 0, "mlflow": "local"}
    for steps in (2, 3):
        folders = {"dataset_dir": tiny_cohort, "output_dir": tmp_path / "run"}
        done = bundle_run("training", "train.yaml", **folders, **options, max_steps=steps)
        assert done.returncode == 0, done.stderr
    entries = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    logged = [(entry["step"], entry["loss"]) for entry in entries if "loss" in entry]
    shown = history(tmp_path / "run", "loss", "gliomagen")
    assert [step for step, _ in shown] == [step for step, _ in logged] == [1, 2, 3]
    assert [value for _, value in shown] == pytest.approx([value for _, value in logged], rel=1e-5)
    assert {step for step, _ in history(tmp_path / "run", "validation_loss", "gliomagen")} == {1, 2, 3}
    run = client(tmp_path / "run").get_run(
        json.loads((tmp_path / "run" / "mlflow.json").read_text())["run_id"]
    )
    assert run.info.status == "FINISHED" and run.info.run_name == "run" and run.data.params["seed"] == "0"


def test_steps_done_again_after_a_kill_are_there_once(tmp_path: Path) -> None:
    """A curve that goes back in time cannot be read."""
    log = RunLog(tmp_path, tracker=tracker(tmp_path))
    log.start(0)
    for step in (1, 2, 3):
        log.write(step, loss=1 / step)
    again = RunLog(tmp_path, tracker=tracker(tmp_path))  # the checkpoint was that of step 1
    again.start(1)
    for step in (2, 3, 4):
        again.write(step, loss=1 / step)
    again.close()
    assert history(tmp_path, "loss") == [(step, 1 / step) for step in (1, 2, 3, 4)]
    run = client(tmp_path).get_run(json.loads((tmp_path / "mlflow.json").read_text())["run_id"])
    assert run.data.params["seed"] == "3" and len(run.data.params["network"]) == 64, (
        "long settings by their hash"
    )


def test_a_server_lost_on_the_way_does_not_end_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = RunLog(tmp_path, tracker=tracker(tmp_path))
    log.start(0)

    def gone(*_: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(MlflowClient, "log_metric", gone)
    with caplog.at_level(logging.WARNING):
        log.write(1, loss=0.5)
    assert "step 1 is not in MLflow: no route to host" in caplog.text
    assert json.loads((tmp_path / "log.jsonl").read_text()) == {"step": 1, "loss": 0.5}


def test_an_address_where_nothing_answers_is_refused_before_the_training(tmp_path: Path) -> None:
    with pytest.raises(GliomaGenError, match=r"mlflow 'http://127\.0\.0\.1:9': .*; correct the address"):
        tracker(tmp_path, "http://127.0.0.1:9").start()
    with pytest.raises(GliomaGenError, match="mlflow 'nonsense://x'"):
        tracker(tmp_path, "nonsense://x").start()
