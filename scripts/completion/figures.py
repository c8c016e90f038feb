"""Figures of each patient, kept beside the page: who reads its means can look behind them, who goes on need not repeat them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from gliomagen.files import content_sha256, written_whole

Row = dict[str, Any]


class Figures:
    """Rows of every setting of an experiment, in a file of JSON lines.

    Args:
        path: The file, of all experiments of a page.
        experiment: Name of this one.
    """

    def __init__(self, path: Path, experiment: str) -> None:
        self.path = path
        self.experiment = experiment

    def of(self, setting: str, inputs: Mapping[str, Any], measure: Callable[[], Sequence[Row]]) -> list[Row]:
        """Returns a setting's rows, measured now unless those of the same inputs are there.

        Args:
            setting: Its name.
            inputs: What the figures depend on.
            measure: Returns a row for each case.
        """
        told = {"experiment": self.experiment, "setting": setting}
        here, _ = self._split(told)
        digest = content_sha256(dict(inputs))[:16]
        if here and all(row["inputs"] == digest for row in here):
            return here
        rows = [{**told, "inputs": digest, **_rounded(row)} for row in measure()]
        with FileLock(f"{self.path}.lock"):  # of two runs at once, each keeps what the other has measured
            _, others = self._split(told)
            with written_whole(self.path) as beside:
                beside.write_text("\n".join([*others, *map(json.dumps, rows), ""]), encoding="utf-8")
        return rows

    def _split(self, told: Row) -> tuple[list[Row], list[str]]:
        """Returns the rows of a setting, and the lines of all others."""
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.is_file() else []
        rows = [json.loads(line) for line in lines]
        own = [told.items() <= row.items() for row in rows]
        return [row for row, mine in zip(rows, own, strict=True) if mine], [
            line for line, mine in zip(lines, own, strict=True) if not mine
        ]


def _rounded(value: Any) -> Any:
    """Five digits: enough for any table, and small to keep."""
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value
