"""Training on several cards must be the training on one, only faster. Two processes on the CPU stand for them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from helpers import bundle_command, bundle_run, run_environment

SETTINGS = {
    "channels": "[8,8]",
    "network_def__groups": 4,
    "network_def__head_channels": 8,
    "precision": "fp32",
    "device": "cpu",
    "num_workers": 0,
    "max_steps": 3,
    "accumulation": 2,
    "warmup": 1,
    "ema_decay": 0.5,
    "checkpoint_interval": 2,
    "sample_interval": 2,
    "log_interval": 1,
    "sample_cases": 1,
    "steps": 1,
}
OVERLAID = ("train.yaml", "multi_gpu_train.yaml")
# Muon brings all directions of a gradient to one size, in half precision: rounding errors among them. Adam's eps is
# large, or it makes whole steps of the rounding errors of tiny gradients.
PLAIN = """optimizer:
  _target_: torch.optim.AdamW
  params: $@network.parameters()
  lr: "@learning_rate"
  eps: 0.01
"""


def train_both(tiny_cohort: Path, tmp_path: Path, *overlays: str, **options: object) -> None:
    """Trains with one process and batches of 2, then with two and batches of 1."""
    options = {**SETTINGS, **options, "dataset_dir": tiny_cohort, "cache_dir": tmp_path / "cache"}
    one = bundle_run(
        "training", "train.yaml", *overlays, output_dir=tmp_path / "one", batch_size=2, **options
    )
    assert one.returncode == 0, one.stdout + one.stderr
    configs = (*OVERLAID, *overlays)
    command = bundle_command("training", *configs, output_dir=tmp_path / "two", batch_size=1, **options)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", *command[1:]]
    two = subprocess.run(
        [sys.executable, *torchrun], env=run_environment(), capture_output=True, text=True, timeout=300
    )
    assert two.returncode == 0, two.stdout + two.stderr


def test_two_processes_have_the_losses_of_one(tiny_cohort: Path, tmp_path: Path) -> None:
    """The optimiser must find its weights inside what wraps the network, or it would train half of them."""
    train_both(tiny_cohort, tmp_path, max_steps=6)
    first, second = (logged(tmp_path / f) for f in ("one", "two"))
    for entry, same in zip(first, second, strict=True):
        for name in entry.keys() & {"step", "loss", "validation_loss", "sample_error"}:
            assert entry[name] == pytest.approx(same[name], rel=2e-3)


def test_two_processes_make_the_steps_of_one(tiny_cohort: Path, tmp_path: Path) -> None:
    """Two with batches of 1 end where one with batches of 2 does, and only the first of them writes."""
    (tmp_path / "plain.yaml").write_text(PLAIN)
    train_both(tiny_cohort, tmp_path, str(tmp_path / "plain.yaml"))
    states = [
        torch.load(tmp_path / f / "checkpoints/step_00000003.pt", weights_only=True) for f in ("one", "two")
    ]
    for part in ("network", "ema"):
        before = torch.load(tmp_path / "one/checkpoints/step_00000002.pt", weights_only=True)[part]
        ours, theirs = (torch.cat([value.flatten() for value in state[part].values()]) for state in states)
        moved = ours - torch.cat([value.flatten() for value in before.values()])
        assert (ours - theirs).norm() <= 1e-5 * ours.norm()
        assert (ours - theirs).norm() <= 1e-2 * moved.norm()  # what a step does is far more than what differs
    first, second = (logged(tmp_path / f) for f in ("one", "two"))
    assert [entry.keys() for entry in first] == [entry.keys() for entry in second]  # each thing once
    for entry, same in zip(first, second, strict=True):
        for name in entry.keys() & {"step", "loss", "gradient_norm", "validation_loss", "sample_error"}:
            assert entry[name] == pytest.approx(same[name], rel=1e-4)
    files = [
        sorted(p.relative_to(tmp_path / f).as_posix() for p in (tmp_path / f).rglob("*.p*"))
        for f in ("one", "two")
    ]
    assert files[0] == files[1] and len(files[0]) == 5  # two checkpoints, two pictures, the weights
    card = json.loads((tmp_path / "two/model.json").read_text())
    assert card["samples_per_step"] == 4 and card["steps"] == 3


def torchrun(folder: Path, tiny_cohort: Path, cache: Path) -> subprocess.Popen[bytes]:
    """Starts two processes that start again when one of them dies."""
    options = {**SETTINGS, "max_steps": 16, "sample_interval": 16, "batch_size": 1}
    command = bundle_command(
        "training", *OVERLAID, dataset_dir=tiny_cohort, output_dir=folder, cache_dir=cache, **options
    )
    elastic = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "--max_restarts=3"]
    with open(folder.with_suffix(".log"), "wb") as log:
        return subprocess.Popen(
            [sys.executable, *elastic, *command[1:]], env=run_environment(), stdout=log, stderr=log
        )


def test_a_killed_process_costs_nothing_but_the_steps_since_the_checkpoint(
    tiny_cohort: Path, tmp_path: Path
) -> None:
    """torchrun starts all of them again; they end where two that nobody killed do, to the bit."""
    cache = tmp_path / "cache"
    whole = torchrun(tmp_path / "whole", tiny_cohort, cache)
    assert whole.wait(timeout=300) == 0, (tmp_path / "whole.log").read_text()[-2000:]
    killed = torchrun(tmp_path / "killed", tiny_cohort, cache)
    while not list((tmp_path / "killed").glob("checkpoints/step_*.json")):
        assert killed.poll() is None, (tmp_path / "killed.log").read_text()[-2000:]
        time.sleep(0.05)
    psutil.Process(killed.pid).children()[-1].kill()
    assert killed.wait(timeout=300) == 0, (tmp_path / "killed.log").read_text()[-2000:]
    log = (tmp_path / "killed.log").read_text()
    assert "resumed at step" in log, log[-2000:]
    one, two = (
        torch.load(tmp_path / f / "checkpoints/step_00000016.pt", weights_only=True)
        for f in ("whole", "killed")
    )
    for part in ("network", "ema"):
        assert all(torch.equal(value, two[part][name]) for name, value in one[part].items())


def test_without_torchrun_it_says_so(tiny_cohort: Path, tmp_path: Path) -> None:
    options = {**SETTINGS, "dataset_dir": tiny_cohort, "output_dir": tmp_path / "run"}
    done = bundle_run("training", *OVERLAID, **options)
    assert done.returncode == 1
    assert "error: multi_gpu_train.yaml" in done.stderr and "torchrun" in done.stderr
    assert "Traceback" not in done.stderr and not list((tmp_path / "run").glob("checkpoints/*"))


def logged(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
