"""What the trainings of a study amount to: a row of each arm, what it gains, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..comparison import Table, gain_of, holm, mean_of, p_of_gain, patient_table
from .scores import TISSUES, CaseScores, mean_dice, published_row, sound_row

Training = Mapping[str, Any]
"""Content of ``scores.json``."""


def summarize(trainings: Mapping[str, Sequence[Training]], base: str) -> dict[str, dict[str, Any]]:
    """Returns by arm what the tables show.

    Args:
        trainings: Of each arm, one a seed.
        base: The arm that others are compared with.

    Returns:
        By arm ``published`` and ``sound``, rows as in :mod:`.scores`, the mean over seeds; ``dice``: the mean Dice with its
        interval, and of each tissue; ``train_s``: of one training. Of all but the base also ``gain``, likewise, ``p``, and
        ``p_holm``, corrected for the number of arms.
    """
    numbers = {name: [numbers_of(training["cases"]) for training in some] for name, some in trainings.items()}
    tables = {name: _tables(some) for name, some in numbers.items()}
    rows: dict[str, dict[str, Any]] = {}
    for name, some in numbers.items():
        rows[name] = {
            "published": _mean_row([published_row(cases) for cases in some]),
            "sound": _mean_row([sound_row(cases) for cases in some]),
            "dice": {of: mean_of(table).to_json() for of, table in tables[name].items()},
            "train_s": float(np.mean([training["train_s"] for training in trainings[name]])),
        }
    others = [name for name in tables if name != base]
    p = {name: p_of_gain(tables[name]["mean"], tables[base]["mean"]) for name in others}
    corrected = holm(p)
    for name in others:
        gains = {of: gain_of(table, tables[base][of]).to_json() for of, table in tables[name].items()}
        rows[name] |= {"gain": gains, "p": p[name], "p_holm": corrected[name]}
    return rows


def _tables(some: Sequence[Mapping[str, CaseScores]]) -> dict[str, Table]:
    patients = {case: str(scores["patient"]) for case, scores in some[0].items()}

    def table(score: Callable[[CaseScores], float]) -> Table:
        return patient_table([{case: score(cases[case]) for case in cases} for cases in some], patients)

    found = {"mean": table(mean_dice)}
    for tissue in TISSUES:
        found[tissue] = table(lambda case, tissue=tissue: case["regions"][tissue]["dice"])  # type: ignore[misc]
    return found


def _mean_row(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    table = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return {
        name: float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
        for name, values in table.items()
    }


def numbers_of(content: Any) -> Any:
    """Turns the null of plain content back into what it was, no number."""
    if isinstance(content, Mapping):
        return {key: numbers_of(value) for key, value in content.items()}
    if isinstance(content, list):
        return [numbers_of(value) for value in content]
    return float("nan") if content is None else content
