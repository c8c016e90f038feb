"""Every claim of speed comes from ``scripts/benchmark.py``; here only that it measures what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT, run_environment


@pytest.mark.slow
def test_recipes_are_measured_in_turn(tmp_path: Path) -> None:
    """Two processes, one table, one JSON: both ran the size asked for, in their own precision, on the same threads."""
    output = tmp_path / "speed.json"
    command = [
        sys.executable,
        "scripts/benchmark.py",
        "generator",
        "--size",
        "16",
        "16",
        "16",
        "--threads",
        "1",
    ]
    command += ["--rounds", "1", "--repeats", "1", "--precision", "fp32", "--what", "call", "sample"]
    command += ["--steps", "50", "--against", "reference", "--output", str(output)]
    done = subprocess.run(
        command, cwd=ROOT, env=run_environment(), capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(output.read_text(encoding="utf-8"))
    ours, reference = found["call"]["ours"], found["call"]["reference"]
    assert reference["parameters"] > ours["parameters"] > 1e6
    assert reference["flops"] > 5 * ours["flops"] > 0 and ours["threads"] == reference["threads"] == 1
    assert ours["precision"] == reference["precision"] == "fp32"
    volume = found["sample"]
    assert volume["ours"]["steps"] == 50 and volume["reference"]["steps"] == 1000
    assert volume["reference"]["extrapolated_from"] == [2, 6]  # said wherever it was not waited for
    assert "| 1000 (extrapolated) |" in done.stdout
    assert min(entry["peak_bytes"] for entry in volume.values()) > 1e8


@pytest.mark.slow
def test_a_training_step_is_timed_with_its_data(tmp_path: Path) -> None:
    """A network that waits for its samples is no faster for being small."""
    output = tmp_path / "speed.json"
    command = [sys.executable, "scripts/benchmark.py", "generator", "--what", "train", "--threads", "1"]
    command += ["--size", "32", "32", "32", "--rounds", "1", "--repeats", "2", "--output", str(output)]
    done = subprocess.run(
        command, cwd=ROOT, env=run_environment(), capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    step = json.loads(output.read_text(encoding="utf-8"))["train"]["ours"]
    assert step["samples"] == 2 and 0 < step["data_wait"] < 1 and step["seconds"] > 0
