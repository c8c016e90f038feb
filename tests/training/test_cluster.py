"""The SLURM script, with stand-ins for SLURM's two commands: what it starts, and that a requeued job goes on."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path

from helpers import ROOT, run_environment

OPTIONS = {
    "channels": "[8,8]",
    "network_def#groups": 4,
    "network_def#head_channels": 8,
    "precision": "fp32",
    "device": "cpu",
    "num_workers": 0,
    "batch_size": 1,
    "checkpoint_interval": 1,
    "log_interval": 1,
    "sample_interval": 9,
    "steps": 1,
}


def submit(tmp_path: Path, cohort: Path, steps: int) -> None:
    programs = tmp_path / "bin"
    programs.mkdir(exist_ok=True)
    for name, does in (("scontrol", 'echo "localhost"'), ("srun", 'shift; exec "$@"')):
        (programs / name).write_text(f"#!/bin/sh\n{does}\n")
        (programs / name).chmod(0o755)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    slurm = {"SLURM_JOB_NODELIST": "node1", "SLURM_JOB_NUM_NODES": "1", "SLURM_GPUS_ON_NODE": "2"}
    flags = [part for name, value in OPTIONS.items() for part in (f"--{name}", str(value))]
    script = ["bash", "scripts/cluster/train.sbatch", str(cohort), str(tmp_path / "run"), *flags]
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [*script, "--max_steps", str(steps)],
        cwd=ROOT,
        env={**run_environment(), **slurm, "SLURM_JOB_ID": "7", "PATH": path, "PORT": port},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_requeued_job_goes_on(tiny_cohort: Path, tmp_path: Path) -> None:
    """A night's work on a cluster is many short jobs."""
    submit(tmp_path, tiny_cohort, 2)
    submit(tmp_path, tiny_cohort, 3)
    entries = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries if "loss" in entry] == [1, 2, 3]
    card = json.loads((tmp_path / "run" / "model.json").read_text())
    assert card["steps"] == 3 and card["samples_per_step"] == 2, "two processes, a sample each"
