"""The page of ``fewlabel_study.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

from completion.page import replaced, table
from gliomagen.evaluation.comparison import mean_of
from gliomagen.evaluation.intervals import Estimate
from gliomagen.files import written_whole

Rows = Mapping[tuple[str, int, int], Sequence[Mapping[str, Any]]]
"""A single row of scores of each method, number of slices and seed."""
BASE = "quick"
BROAD = ("WT", "TC", "ET", "SNFH")
"""Regions that have a table and a panel; the others share one table."""


def write_page(
    path: Path, name: str, rows: Rows, bears: Mapping[str, Sequence[bool]], *, pool: int, command: str
) -> None:
    """Writes tables and a figure; what stands around the experiment's marks is kept.

    Args:
        path: The page.
        name: Of the experiment.
        rows: Scores.
        bears: Of each region, which patients bear it. Only they are scored: otherwise a method that finds none where there is
            none would be scored on other patients than one that does. Those are counted apart.
        pool: Slices there are to label.
        command: That made it.
    """
    regions, patients = list(bears), len(next(iter(bears.values())))
    false = _false(rows, bears)
    rows = {key: [_borne(row[0], bears)] for key, row in rows.items()}
    methods = list(dict.fromkeys(method for method, _, _ in rows))
    counts = sorted({count for _, count, _ in rows})
    shown = [region for region in BROAD if region in regions and ("WT" in regions or region == "SNFH")][:3]
    parts = [f"`{command}`", _budget(rows, methods, pool, patients)]
    for region in shown:
        parts += [
            f"Dice, {region}; in brackets the gain over `{BASE}` on the same slices, seeds and patients:"
        ]
        parts += [_dice(rows, methods, counts, region)]
    parts += [f"HD95 (mm) of {shown[0]}:", _plain(rows, methods, counts, shown[0], "hd95", 1)]
    parts += [
        f"Dice of {shown[0]} slice by slice, as published:",
        _plain(rows, methods, counts, shown[0], "slice dice", 2),
    ]
    if false:
        parts += [
            "Found where a patient's slices show none, share of patients and draws, all numbers of slices:", false,
        ]  # fmt: skip
    drawn = [count for count in counts if count < pool] or counts
    if rest := [region for region in regions if region not in shown]:
        parts += [f"Dice by label, {drawn[-1]} slices:", _labels(rows, methods, drawn[-1], rest)]
    picture = path.with_name(f"{path.stem}-{name.replace(' ', '-')}.png")
    _draw(picture, rows, methods, drawn, shown, pool)
    parts += [f"![Dice against labelled slices]({picture.name})"]
    replaced(path, name, "\n\n".join(parts))


def scores_of(rows: Rows, method: str, count: int, region: str, score: str = "dice") -> NDArray[np.float64]:
    """Returns (seeds, patients) of a score; NaN where a patient bears none."""
    found = [some[0][region][score] for (m, n, _), some in sorted(rows.items()) if (m, n) == (method, count)]
    return np.array([[np.nan if value is None else value for value in seed] for seed in found], float)


def _borne(row: Mapping[str, Any], bears: Mapping[str, Sequence[bool]]) -> dict[str, Any]:
    """Returns a row without the scores of patients who bear none of a region."""
    scores = {
        region: {
            score: [value if there else None for value, there in zip(values, shown, strict=True)]
            for score, values in row[region].items()
        }
        for region, shown in bears.items()
    }
    return {**row, **scores}


def _false(rows: Rows, bears: Mapping[str, Sequence[bool]]) -> str:
    """Returns a table of findings in patients who bear none: there is a score where something is found."""
    without = {region: [k for k, there in enumerate(shown) if not there] for region, shown in bears.items()}
    without = {region: patients for region, patients in without.items() if patients}
    if not without:
        return ""
    lines = []
    for method in dict.fromkeys(method for method, _, _ in rows):
        own = [row[0] for (name, _, _), row in rows.items() if name == method]
        found = {
            region: [row[region]["dice"][k] is not None for row in own for k in patients]
            for region, patients in without.items()
        }
        lines.append([method, *(f"{np.mean(values):.2f}" for values in found.values())])
    return table(
        ["", *(f"{region}, {len(patients)} patients" for region, patients in without.items())], lines
    )


def _budget(rows: Rows, methods: Sequence[str], pool: int, patients: int) -> str:
    seeds = len({seed for _, _, seed in rows})
    seconds = {
        method: np.median([row[0]["seconds"] for (m, _, _), row in rows.items() if m == method])
        for method in methods
    }
    cost = ", ".join(f"{method} {value / 60:.1f}" for method, value in seconds.items())
    return (
        f"Labelled slices drawn of {pool}, {seeds} draws; {patients} test patients. Means over draws and patients with 95 % intervals "
        f"for other draws and patients. Minutes of learning and predicting, median, one core that others use too: {cost}."
    )


def _shown(estimate: Estimate, digits: int = 2, *, sign: bool = False) -> str:
    if not np.isfinite(estimate.value):
        return "–"
    value = f"{estimate.value:+.{digits}f}" if sign else f"{estimate.value:.{digits}f}"
    return f"{value} ({estimate.low:.{digits}f} to {estimate.high:.{digits}f})"


def _dice(rows: Rows, methods: Sequence[str], counts: Sequence[int], region: str) -> str:
    lines = []
    for method in methods:
        line = [method]
        for count in counts:
            own, base = (scores_of(rows, name, count, region) for name in (method, BASE))
            if not own.size:
                line.append("")
                continue
            gain = (
                f" [{_shown(mean_of(own - base), sign=True)}]"
                if own.shape == base.shape and method != BASE
                else ""
            )
            line.append(f"{_shown(mean_of(own))}{gain}")
        lines.append(line)
    return table(["trained on", *map(str, counts)], lines)


def _plain(
    rows: Rows, methods: Sequence[str], counts: Sequence[int], region: str, score: str, digits: int
) -> str:
    lines = [
        [
            method,
            *(
                _shown(mean_of(own), digits)
                if (own := scores_of(rows, method, count, region, score)).size
                else ""
                for count in counts
            ),
        ]
        for method in methods
    ]
    return table(["trained on", *map(str, counts)], lines)


def _labels(rows: Rows, methods: Sequence[str], count: int, regions: Sequence[str]) -> str:
    lines = [
        [
            method,
            *(
                _shown(mean_of(own))
                for region in regions
                if (own := scores_of(rows, method, count, region)).size
            ),
        ]
        for method in methods
    ]
    return table(["trained on", *regions], lines)


def _draw(
    path: Path, rows: Rows, methods: Sequence[str], counts: Sequence[int], regions: Sequence[str], pool: int
) -> None:
    figure, panels = plt.subplots(
        1, len(regions), figsize=(4.6 * len(regions), 4.2), layout="constrained", squeeze=False, sharey=True
    )
    for panel, region in zip(panels[0], regions, strict=True):
        for number, method in enumerate(methods):
            there = [count for count in counts if scores_of(rows, method, count, region).size]
            means = [mean_of(scores_of(rows, method, count, region)) for count in there]
            values = np.array([[m.value, m.value - m.low, m.high - m.value] for m in means])
            if not len(values):
                continue
            at = np.array(there) + 0.35 * (number - len(methods) / 2)  # intervals beside each other
            line = panel.errorbar(
                at, values[:, 0], np.nan_to_num(values[:, 1:].T), label=method, capsize=2, lw=1.2
            )[0]
            if pool not in counts and (every := scores_of(rows, method, pool, region)).size:
                panel.axhline(mean_of(every).value, color=line.get_color(), ls=":", lw=1)
        panel.set(title=region, xlabel=f"labelled slices (dotted: all {pool})", xticks=list(counts))
        panel.grid(alpha=0.3)
    panels[0, 0].set_ylabel("Dice")
    panels[0, -1].legend(fontsize=8)
    with written_whole(path) as beside:
        figure.savefig(beside, format="png", dpi=120)
    plt.close(figure)
