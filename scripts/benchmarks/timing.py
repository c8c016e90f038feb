"""Times, each beside a yardstick measured in turn with it, so that other load falls on both."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median

import torch


def seconds_of(task: Callable[[], object]) -> float:
    """Runs a task once and returns how long it took, the device's work included."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    task()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def side_by_side(tasks: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Runs every task in turn, ``rounds`` times after one that does not count; median seconds of each."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for number in range(rounds + 1):
        for name, task in tasks.items():
            took = seconds_of(task)
            if number:
                seconds[name].append(took)
    return {name: median(times) for name, times in seconds.items()}
