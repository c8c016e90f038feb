"""Page and figure of ``growth_coverage.py``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from completion.page import replaced, table
from gliomagen.files import written_whole
from gliomagen.growth.burden import Array, GrowthLaw
from gliomagen.growth.fitting import Measured

from .published_fit import VARIANTS

matplotlib.use("Agg")
Row = dict[str, Any]
LAWS: tuple[GrowthLaw, ...] = ("exponential", "logistic", "gompertz")
FITS = (*VARIANTS, "ours")
UNITS = {
    "start": "mm³",
    "capacity": "mm³",
    "rate": "1/day",
    "decay": "1/day",
    "delay": "days",
    "slope": "1/day",
}


@dataclass(frozen=True, kw_only=True)
class Example:
    """A patient over time.

    Attributes:
        days: (T,)
        burden: (T,) mm³, the truth.
        measured: With the last measurement, which no fit knew.
        ours: (3, T) ends and middle of our band.
        published: (3, T) of the published one.
    """

    days: Array
    burden: Array
    measured: Measured
    ours: Array
    published: Array


def write_coverage(page: Path, rows: Sequence[Row], *, command: str, example: Example) -> None:
    """Writes tables between the page's marks, and ``coverage.png`` beside the page.

    Args:
        page: Of the docs.
        rows: Of all patients.
        command: That made it.
        example: For the figure.
    """
    laws = [row for row in rows if row["part"] == "laws"]
    published = [row for row in rows if row["part"] == "published"]
    body = [f"`{command}`", _bands(laws), _parameters(laws), _faults(published), "![bands](coverage.png)"]
    replaced(page, "coverage", "\n\n".join(body))
    _figure(page.parent / "coverage.png", published, example)


def _held(places: Sequence[Row]) -> tuple[float, float, float]:
    """Returns the share of bands that hold the truth, and its 95 % interval (Wilson), in per cent."""
    held = sum(one["low"] <= one["true"] <= one["high"] for one in places)
    ends = stats.binomtest(held, len(places)).proportion_ci(method="wilson")
    return 100 * held / len(places), 100 * ends.low, 100 * ends.high


def _within(places: Sequence[Row]) -> str:
    return "{:.1f} % ({:.1f} to {:.1f})".format(*_held(places))


def _off(places: Sequence[Row], name: str = "median") -> float:
    """Returns the typical error of a value, as a factor: exp of the median of the logarithm's."""
    return float(np.exp(np.median([abs(np.log(one[name] / one["true"])) for one in places])))


def _bands(rows: Sequence[Row]) -> str:
    groups: dict[str, Callable[[Row], bool]] = {"all": lambda row: True}
    groups |= {
        f"seed {seed}": lambda row, s=seed: row["seed"] == s  # type: ignore[misc]
        for seed in sorted({r["seed"] for r in rows})
    }
    groups |= {f"{law} growth": lambda row, name=law: row["law"] == name for law in LAWS}  # type: ignore[misc]
    groups |= {f"{n} courses": lambda row, n=n: row["courses"] == n for n in (0, 1, 2)}  # type: ignore[misc]
    groups |= {f"{n} measurements": lambda row, n=n: row["visits"] == n for n in (3, 4, 5, 6)}  # type: ignore[misc]
    lines = []
    for name, belongs in groups.items():
        some = [row for row in rows if belongs(row)]
        if not some:
            continue
        cells = [name, str(len(some)), f"{100 * np.mean([row['found'] == row['law'] for row in some]):.0f} %"]
        for key in ("measured", "law_told"):
            cells += [_within([row[key] for row in some]), f"{_off([row[key] for row in some]):.2f}"]
        lines.append(cells)
    heads = [
        "patients",
        "law found",
        "90 % band holds",
        "median off by",
        "law told: band holds",
        "median off by",
    ]
    return table(["", *heads], lines)


def _parameters(rows: Sequence[Row]) -> str:
    lines = []
    for name in ("start", "rate", "capacity", "survival", "decay", "delay", "slope", "error"):
        places = [row["parameters"][name] for row in rows if name in row["parameters"]]
        title = f"{name}, {UNITS[name]}" if name in UNITS else name
        off = f"{_off(places):.2f}", f"{_off(places, 'prior'):.2f}"
        lines.append([title, str(len(places)), _within(places), *off])
    return table(
        ["parameter (law told)", "patients", "90 % band holds", "median off by", "prior off by"], lines
    )


def _faults(rows: Sequence[Row]) -> str:
    lines = []
    for name in FITS:
        places = [row[name] for row in rows]
        above, below = (
            np.mean([one["true"] > one["high"] for one in places]),
            np.mean([one["true"] < one["low"] for one in places]),
        )
        width = np.exp(np.median([np.log(one["high"] / max(one["low"], 1e-9)) for one in places]))
        lines.append(
            [
                name,
                _within(places),
                f"{100 * above:.0f} %",
                f"{100 * below:.0f} %",
                f"{_off(places):.2f}",
                f"{width:.2f}",
            ]
        )
    heads = ["90 % band holds", "truth above", "truth below", "median off by", "band's width, high over low"]
    return table([f"{len(rows)} patients", *heads], lines)


def _figure(path: Path, rows: Sequence[Row], example: Example) -> None:
    figure = Figure(figsize=(13, 4.2), layout="constrained")
    curve, bars, histogram = figure.subplots(1, 3)
    _curve(curve, example)
    for k, name in enumerate(FITS):
        places = [row[name] for row in rows]
        held, low, high = _held(places)
        colour = "tab:blue" if name == "ours" else "tab:red"
        bars.plot([low, high], [k, k], color=colour)
        bars.plot(held, k, "o", color=colour)
    bars.axvspan(85, 95, color="0.9", zorder=0)
    bars.axvline(90, color="0.6", lw=1)
    bars.set_yticks(range(len(FITS)), FITS)
    bars.set(xlim=(0, 100), xlabel="90 % band holds the burden that came (%)", ylim=(len(FITS) - 0.5, -0.5))
    edges: Array = np.linspace(0, 1, 11)
    for name, colour in (("published", "tab:red"), ("ours", "tab:blue")):
        histogram.hist(
            *([row[name]["below"] for row in rows], edges),
            weights=np.full(len(rows), 100 / len(rows)),
            histtype="step",
            color=colour,
            label=name,
            lw=1.8,
        )
    histogram.axhline(10, color="0.6", lw=1)
    histogram.set(xlabel="where the truth lies among the draws", ylabel="patients (%)")
    histogram.legend(frameon=False)
    for axes, title in zip(
        (curve, bars, histogram), ("one patient", "coverage", "calibrated is flat"), strict=True
    ):
        axes.set_title(title, fontsize=10)
    with written_whole(path) as beside:
        figure.savefig(beside, format="png", dpi=110)


def _curve(axes: Axes, example: Example) -> None:
    for band, colour, name in (
        (example.published, "tab:red", "published"),
        (example.ours, "tab:blue", "ours"),
    ):
        axes.fill_between(
            example.days,
            band[0] / 1000,
            band[2] / 1000,
            color=colour,
            alpha=0.25,
            lw=0,
            label=f"{name}, 90 %",
        )
        axes.plot(example.days, band[1] / 1000, color=colour, lw=1)
    axes.plot(example.days, example.burden / 1000, color="black", lw=1, ls=":", label="truth")
    measured = example.measured
    axes.plot(measured.days[:-1], np.array(measured.burden[:-1]) / 1000, "ko", ms=4, label="measured")
    axes.axvline(measured.courses[0], color="tab:orange", lw=1, ls="--", label="radiotherapy")
    axes.set(xlabel="days", ylabel="burden (ml)", ylim=(0, None))
    axes.legend(frameon=False, fontsize=8)
