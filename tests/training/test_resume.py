"""Exact resume: days of training must not be lost, nor changed, by a machine that dies.

One run of 26 steps goes through undisturbed. Another is killed again and again, and must end with the same bits.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import bundle_command, run_environment

from gliomagen.provenance import read_card

STEPS, MORE_STEPS, CHECKPOINTS, SAMPLES = 24, 26, 4, 6
SETTINGS = {
    "channels": "[8,8]",
    "network_def__groups": 4,
    "network_def__head_channels": 8,
    "precision": "fp32",
    "device": "cpu",
    "num_workers": 2,
    "accumulation": 2,
    "batch_size": 1,
    "warmup": 2,
    "checkpoint_interval": CHECKPOINTS,
    "sample_interval": SAMPLES,
    "log_interval": 1,
    "sample_cases": 1,
    "steps": 1,
}


class Run:
    """One start of a training in a folder."""

    def __init__(self, folder: Path, command: list[str]) -> None:
        self.folder = folder
        self.before = finished_checkpoints(folder)
        self.output = folder.with_name(f"{folder.name}.txt")
        with open(self.output, "wb") as file:
            self.process = subprocess.Popen(
                command, env=run_environment(), stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )

    def wait(self, *, expect: int) -> Run:
        """Waits for its end, and requires this exit status."""
        status = self.process.wait(timeout=300)
        self.text = self.output.read_text(errors="replace")
        assert status == expect, self.text[-4000:]
        return self

    @property
    def resumed_at(self) -> int:
        """The step it says it resumed at, 0 if it began anew."""
        found = re.search(r"resumed at step (\d+)", self.text)
        return int(found[1]) if found else 0

    @property
    def trained(self) -> tuple[int, int]:
        """How many steps it says it made, and where it ended."""
        found = re.search(r"trained (\d+) steps, now at step (\d+)", self.text)
        assert found, self.text[-4000:]
        return int(found[1]), int(found[2])


@pytest.fixture(scope="module")
def start(tiny_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Run]]:
    """Starts a training; the prepared cases are cached once for all of them."""
    cache = tmp_path_factory.mktemp("cache")
    runs = []

    def begin(folder: Path, *killed_at: Any, **changes: Any) -> Run:
        options = {**SETTINGS, "max_steps": STEPS, "cache_dir": cache, **changes}
        command = bundle_command(
            "training", "train.yaml", dataset_dir=tiny_cohort, output_dir=folder, **options
        )
        if killed_at:
            script = str(Path(__file__).with_name("killed_run.py"))
            command = [sys.executable, script, *map(str, killed_at), *command[3:]]
        runs.append(Run(folder, command))
        return runs[-1]

    yield begin
    for run in runs:
        if run.process.poll() is None:
            os.killpg(run.process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def undisturbed(start: Callable[..., Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run to step 26; its folder holds the checkpoints of steps 24 and 26."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run = start(folder, max_steps=MORE_STEPS).wait(expect=0)
    assert run.trained == (MORE_STEPS, MORE_STEPS)
    return folder


@pytest.fixture(scope="module")
def killed(start: Callable[..., Run], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Run]]:
    """A run to step 24 that was killed five times, and each of its starts."""
    folder = tmp_path_factory.mktemp("killed")
    runs = [
        kill_from_outside(start(folder)),
        start(folder, "checkpoint", 12).wait(expect=-signal.SIGKILL),
        start(folder, "validation", 18).wait(expect=-signal.SIGKILL),
        start(folder, "weights", 24).wait(expect=-signal.SIGKILL),
        start(folder, "pictures", 24).wait(expect=-signal.SIGKILL),
        start(folder).wait(expect=0),
    ]
    return folder, runs


def kill_from_outside(run: Run) -> Run:
    """Kills a run and its workers at a random moment while it makes steps, after its first checkpoint."""
    moment = random.Random(7)
    step, delay = moment.randint(5, 6), moment.uniform(0, 0.2)
    while max(logged_steps(run.folder), default=0) < step:
        assert run.process.poll() is None, run.output.read_text(errors="replace")[-4000:]
        time.sleep(0.005)
    time.sleep(delay)
    os.killpg(run.process.pid, signal.SIGKILL)
    return run.wait(expect=-signal.SIGKILL)


def logged_steps(folder: Path) -> list[int]:
    """Steps of the log's whole lines, as they stand there."""
    path = folder / "log.jsonl"
    lines = path.read_text().splitlines() if path.is_file() else []
    return [json.loads(line)["step"] for line in lines if line.endswith("}")]


def finished_checkpoints(folder: Path) -> list[int]:
    """Steps of the checkpoints that stand as finished."""
    return sorted(int(path.stem.removeprefix("step_")) for path in folder.glob("checkpoints/step_*.json"))


def checkpoint(folder: Path, step: int) -> dict[str, Any]:
    return torch.load(folder / "checkpoints" / f"step_{step:08d}.pt", weights_only=True)


def assert_same_bits(one: Any, other: Any, where: str = "") -> None:
    """Compares nested states bit by bit."""
    assert type(one) is type(other), where
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype and torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same_bits(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), where
        for i, pair in enumerate(zip(one, other, strict=True)):
            assert_same_bits(*pair, f"{where}[{i}]")
    else:
        assert one == other, where


def log_of(folder: Path, until: int) -> dict[int, dict[str, float]]:
    """Logged values of each step, without durations; a value that stands twice fails."""
    values: dict[int, dict[str, float]] = {}
    for line in (folder / "log.jsonl").read_text().splitlines():
        entry = json.loads(line)
        step = entry.pop("step")
        kept = {k: v for k, v in entry.items() if k not in ("seconds_per_step", "data_wait")}
        already = values.setdefault(step, {})
        assert not already.keys() & kept.keys(), f"step {step} is logged twice: {line}"
        already.update(kept)
    return {step: entry for step, entry in values.items() if step <= until}


def test_each_start_goes_on_from_the_last_finished_checkpoint(killed: tuple[Path, list[Run]]) -> None:
    """A start that goes on from anywhere else would repeat or leave out work."""
    _, runs = killed
    for number, run in enumerate(runs):
        assert run.resumed_at == max(run.before, default=0), f"start {number}"
    assert runs[1].resumed_at in (4, 8)
    assert [run.resumed_at for run in runs[2:]] == [
        8,
        16,
        20,
        24,
    ]  # a half-written checkpoint or weights are none
    assert runs[-1].trained == (0, STEPS)


def test_killed_run_ends_with_the_same_bits(undisturbed: Path, killed: tuple[Path, list[Run]]) -> None:
    """Network, averaged weights, optimiser, and the weights that are handed out."""
    folder, _ = killed
    expected = checkpoint(undisturbed, STEPS)
    first_weights = checkpoint(undisturbed, MORE_STEPS)["network"]
    assert any(
        not torch.equal(value, first_weights[name]) for name, value in expected["network"].items()
    )  # it learns
    assert_same_bits(checkpoint(folder, STEPS), expected)
    assert_same_bits(torch.load(folder / "model.pt", weights_only=True), dict(expected["ema"]))
    assert read_card(folder / "model.pt")["steps"] == STEPS


def test_log_and_pictures_are_those_of_an_undisturbed_run(
    undisturbed: Path, killed: tuple[Path, list[Run]]
) -> None:
    """Each step once, the same losses; the validation and the pictures that were cut off are made up for."""
    folder, _ = killed
    log = log_of(folder, STEPS)
    assert list(log) == list(range(1, STEPS + 1))
    assert log == log_of(undisturbed, STEPS)
    for step in range(SAMPLES, STEPS + 1, SAMPLES):
        assert "validation_loss" in log[step] and "sample_error" in log[step]
        name = f"samples/step_{step:08d}.png"
        assert (folder / name).read_bytes() == (undisturbed / name).read_bytes()


def test_nothing_half_written_is_left(killed: tuple[Path, list[Run]]) -> None:
    folder, _ = killed
    assert finished_checkpoints(folder) == [20, 24]
    left = Counter(path.suffix for path in folder.glob("checkpoints/*"))
    assert left == {".pt": 2, ".json": 2}
    assert not list(folder.rglob(".partial-*"))


@pytest.fixture(scope="module")
def prolonged(
    start: Callable[..., Run], killed: tuple[Path, list[Run]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Run]:
    """The finished run with two steps more."""
    folder = tmp_path_factory.mktemp("prolonged") / "run"
    shutil.copytree(killed[0], folder)
    return folder, start(folder, max_steps=MORE_STEPS).wait(expect=0)


def test_more_steps_prolong_a_finished_run(undisturbed: Path, prolonged: tuple[Path, Run]) -> None:
    """It is as if it had been asked for so many from the start."""
    folder, run = prolonged
    assert run.resumed_at == STEPS and run.trained == (MORE_STEPS - STEPS, MORE_STEPS)
    assert_same_bits(checkpoint(folder, MORE_STEPS), checkpoint(undisturbed, MORE_STEPS))
    assert log_of(folder, MORE_STEPS) == log_of(undisturbed, MORE_STEPS)


def test_damaged_checkpoint_is_passed_over(
    start: Callable[..., Run], undisturbed: Path, prolonged: tuple[Path, Run], tmp_path: Path
) -> None:
    """One flipped bit on the disk costs the steps since the checkpoint before, not the run."""
    folder = tmp_path / "run"
    shutil.copytree(prolonged[0], folder)
    newest = folder / "checkpoints" / f"step_{MORE_STEPS:08d}.pt"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    run = start(folder, max_steps=MORE_STEPS).wait(expect=0)
    assert f"{newest.name}: damaged" in run.text and "falling back" in run.text
    assert run.resumed_at == STEPS and run.trained == (MORE_STEPS - STEPS, MORE_STEPS)
    assert_same_bits(checkpoint(folder, MORE_STEPS), checkpoint(undisturbed, MORE_STEPS))
    assert_same_bits(*(torch.load(f / "model.pt", weights_only=True) for f in (folder, undisturbed)))
    assert log_of(folder, MORE_STEPS) == log_of(undisturbed, MORE_STEPS)


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"learning_rate": 0.003}, "learning_rate[0] is 0.002 there and 0.003 here"),
        ({"seed": 1}, "seed is 0 there and 1 here"),
    ],
)
def test_another_run_is_refused(
    start: Callable[..., Run], undisturbed: Path, change: dict[str, Any], difference: str
) -> None:
    """One line that names the difference; the finished run stays as it is."""
    before = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*")}
    run = start(undisturbed, max_steps=MORE_STEPS, **change).wait(expect=1)
    (line,) = [line for line in run.text.splitlines() if line.startswith("error: ")]
    assert difference in line and "output_dir" in line
    assert "Traceback" not in run.text
    assert before == {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*")}
