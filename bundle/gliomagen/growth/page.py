"""What people read of forecasts: a page per patient, and one that leads to them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, select_autoescape

from ..files import written_whole
from .figure import RESEARCH
from .scores import BASELINES

PICTURE = "forecast.png"
PAGE = "index.html"
_QUANTILES = ("0.05", "0.5", "0.95")
_SCORES = {
    "dice": "Dice",
    "hd95_mm": "HD95 (mm)",
    "brier": "Brier score × 1000",
    "volume_error": "volume error",
}
_NAMES = {
    "forecast": "forecast",
    "no_change": "no change",
    "isotropic": "the same burden, grown alike in all directions",
}
_PARAMETERS = {
    **{
        "start": "burden at the first visit (mm³)",
        "rate": "growth (per day)",
        "capacity": "most it can become (mm³)",
    },
    **{"survival": "share that a course leaves", "decay": "decay of what died (per day)"},
    **{
        "delay": "days until it shrinks",
        "slope": "slope of that turn (per day)",
        "error": "error of a measurement",
    },
}


class Link(NamedTuple):
    """Text that leads somewhere."""

    text: str
    link: str


@dataclass(frozen=True)
class Table:
    """Of a page."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str | Link]]
    note: str = ""


def write_pages(folder: Path, told: Mapping[str, Mapping[str, Any]], refused: Mapping[str, str]) -> Path:
    """Writes ``<patient>/index.html`` beside each picture, and ``index.html``.

    Args:
        folder: Has a folder per patient.
        told: Content of ``forecast.json`` by patient.
        refused: Why others could not be forecast.

    Returns:
        ``index.html``, which is written last.
    """
    for patient, facts in told.items():
        _write(
            folder / patient / PAGE,
            f"Forecast of {patient}",
            _lead(facts),
            _tables(facts),
            facts["notes"],
            PICTURE,
        )
    rows = [
        [Link(patient, f"{patient}/{PAGE}"), facts["forecast_date"], *_burdens(facts), *_main_scores(facts)]
        for patient, facts in told.items()
    ]
    head = [
        "patient",
        "forecast for",
        "last (ml)",
        "forecast (ml), 90 %",
        "came (ml)",
        "Dice",
        "Brier score × 1000",
    ]
    lines = [f"{patient}: not forecast: {why}" for patient, why in refused.items()]
    _write(folder / PAGE, "Forecasts of growth", "", [Table("Patients", head, rows)], lines, None)
    return folder / PAGE


def _write(
    path: Path, title: str, lead: str, tables: Sequence[Table], lines: Sequence[str], picture: str | None
) -> None:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=select_autoescape(default=True),
        trim_blocks=True,
    )
    page = environment.get_template("page.html.j2").render(
        title=title,
        research=RESEARCH,
        lead=lead,
        tables=tables,
        lines=lines,
        picture=picture,
        up=picture is not None,
    )
    with written_whole(path) as beside:
        beside.write_text(page, encoding="utf-8")


def _lead(facts: Mapping[str, Any]) -> str:
    known = len(facts["visits"])
    laws = ", ".join(f"{law} ({share:.0%})" for law, share in facts["growth_laws"].items())
    return (
        f"Tumour on {facts['forecast_date']}, forecast from {known} {'visit' if known == 1 else 'visits'}, the last of them "
        f"{facts['last_case']} on {facts['visits'][-1]['date']}. Growth law: {laws}."
    )


def _tables(facts: Mapping[str, Any]) -> list[Table]:
    last, forecast, came = _burdens(facts)
    burden = Table("Burden", ["last (ml)", "forecast (ml), 90 %", "came (ml)"], [[last, forecast, came]])
    tables = [burden]
    if scores := facts.get("scores"):
        rows = [
            [_NAMES[name], *(_score(key, scores[name].get(key)) for key in _SCORES)]
            for name in ("forecast", *BASELINES)
        ]
        tables.append(Table("Scores", ["", *_SCORES.values()], rows))
    rows = [
        [
            _PARAMETERS.get(name, name),
            *(_number(values[one]) for one in (_QUANTILES[1], _QUANTILES[0], _QUANTILES[2])),
        ]
        for name, values in facts["parameters"].items()
    ]
    tables.append(Table(f"Parameters ({facts['growth_law']} growth)", ["", "median", "5 %", "95 %"], rows))
    visits = [[one["case"], one["date"], f"{one['burden_mm3'] / 1000:.2f}"] for one in facts["visits"]]
    courses = ", ".join(f"{day:.0f}" for day in facts["courses_days"])
    note = f"Radiotherapy began on day {courses} from the first." if courses else ""
    return [*tables, Table("Visits", ["case", "date", "burden (ml)"], visits, note), *_guided(facts)]


def _guided(facts: Mapping[str, Any]) -> list[Table]:
    """Returns how near guidance came, where it made the samples."""
    rows = [
        [str(number), f"{one['change_wanted']:.2f}", f"{one['change_read']:.2f}"]
        for number, one in enumerate(facts["samples"])
        if "change_read" in one
    ]
    note = "Burden over that of the last scan, as wanted and as the segmenter reads it."
    return [Table("Samples by guidance", ["sample", "wanted", "read"], rows, note)] if rows else []


def _burdens(facts: Mapping[str, Any]) -> list[str]:
    low, median, high = (facts["burden_mm3"][one] / 1000 for one in _QUANTILES)
    true = facts.get("scores", {}).get("burden", {}).get("true_mm3")
    came = "" if true is None else f"{true / 1000:.1f}"
    return [
        f"{facts['visits'][-1]['burden_mm3'] / 1000:.1f}",
        f"{median:.1f} ({low:.1f} to {high:.1f})",
        came,
    ]


def _main_scores(facts: Mapping[str, Any]) -> list[str]:
    scores = facts.get("scores", {}).get("forecast", {})
    return [_score(name, scores.get(name)) for name in ("dice", "brier")]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _score(name: str, value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return ""
    return {
        "dice": f"{value:.3f}",
        "hd95_mm": f"{value:.1f}",
        "brier": f"{1000 * value:.2f}",
        "volume_error": f"{value:+.0%}",
    }[name]
