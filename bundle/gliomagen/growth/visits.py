"""Visits and treatments of patients, from two tables."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

from ..errors import GliomaGenError

RADIOTHERAPY = ("radiotherapy", "chemoradiotherapy")
"""Kinds of treatment that kill tissue at their beginning, as the burden model knows it."""
SURGERY = "surgery"
"""Takes away what no model knows: the burden's course begins anew after it."""
OTHER = ("chemotherapy", "other")
"""Kinds that are drawn, not modelled."""
USUAL_COURSE = timedelta(days=42)
"""Of radiotherapy whose beginning is not told (Laslo et al. 2025)."""
LAST = "last"
"""For a date of forecasts: each patient's last visit, which is then the truth."""


@dataclass(frozen=True, kw_only=True)
class Visit:
    """One scan.

    Attributes:
        case: Name in the prepared cohort.
        date: Of the scan.
        burden_mm3: None: to be measured from the label map.
    """

    case: str
    date: date
    burden_mm3: float | None = None


@dataclass(frozen=True, kw_only=True)
class Treatment:
    """One course or operation.

    Attributes:
        kind: See :data:`RADIOTHERAPY`, :data:`SURGERY`, :data:`OTHER`.
        start: First day.
        end: Last day, where told.
    """

    kind: str
    start: date
    end: date | None = None


@dataclass(frozen=True, kw_only=True)
class History:
    """A patient.

    Attributes:
        patient: Name.
        visits: Rising by date.
        treatments: Rising by date.
    """

    patient: str
    visits: tuple[Visit, ...]
    treatments: tuple[Treatment, ...] = ()

    def courses(self) -> tuple[float, ...]:
        """Returns days after the first visit on which radiotherapy begins, those of one day once."""
        first = self.visits[0].date
        days = {float((t.start - first).days) for t in self.treatments if t.kind in RADIOTHERAPY}
        return tuple(sorted(days))


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is forecast of a patient.

    Attributes:
        known: What is known, and what is planned until the day.
        day: Of the forecast.
        truth: The visit on that day, if there is one.
        notes: What was left out, a line each.
    """

    known: History
    day: date
    truth: Visit | None
    notes: tuple[str, ...] = ()


def read_histories(visits: Path, treatments: Path | None = None) -> list[History]:
    """Reads patients, in the order of the table.

    Args:
        visits: CSV with ``patient,case,date`` and, if wanted, ``burden_mm3``, which may be empty; dates are YYYY-MM-DD and rise.
        treatments: CSV with ``patient,kind,start,end``; one of both dates may be empty.

    Raises:
        GliomaGenError: A table cannot be read, lacks a column or a value, names a patient without visits, or goes back in time.
    """
    found: dict[str, History] = {}
    cases: set[str] = set()
    for where, row in _rows(visits, ("patient", "case", "date")):
        patient, case = (_told(row, name, where) for name in ("patient", "case"))
        visit = Visit(case=case, date=_date(row, "date", where), burden_mm3=_burden(row, where))
        before = found[patient].visits if patient in found else ()
        if case in cases:
            raise GliomaGenError(f"{where}: case '{case}' is there twice")
        if before and visit.date <= before[-1].date:
            raise GliomaGenError(
                f"{where}: {visit.date} is not after the visit before it, {before[-1].date}; "
                "mend the date or put the rows in order"
            )
        cases.add(case)
        found[patient] = History(patient=patient, visits=(*before, visit))
    if not found:
        raise GliomaGenError(f"{visits}: no visits in it")
    for where, row in _rows(treatments, ("patient", "kind", "start", "end")) if treatments else ():
        patient = _told(row, "patient", where)
        if patient not in found:
            raise GliomaGenError(f"{where}: patient '{patient}' has no visit in {visits}")
        all_of = sorted((*found[patient].treatments, _treatment(row, where)), key=lambda one: one.start)
        found[patient] = replace(found[patient], treatments=tuple(all_of))
    return list(found.values())


def forecast_task(history: History, day: date | str) -> Task:
    """Parts what is known from what is to be forecast.

    Known is every visit before the day; a visit on the day is the truth. After an operation the course begins anew, so earlier
    visits say nothing about it.

    Args:
        history: Of one patient.
        day: Of the forecast, or :data:`LAST`.

    Raises:
        GliomaGenError: The day cannot be read, or there is no visit before it to begin with.
    """
    if day == LAST:
        when = history.visits[-1].date
    else:
        when = day if isinstance(day, date) else _iso(day, "forecast_date")
    visits = tuple(visit for visit in history.visits if visit.date < when)
    notes = [
        f"{one.kind} of {one.start} begins after {when} and is left out"
        for one in history.treatments
        if one.start > when
    ]
    treatments = tuple(one for one in history.treatments if one.start <= when)
    operations = [one.start for one in treatments if one.kind == SURGERY]
    if operations:
        after = tuple(visit for visit in visits if visit.date >= operations[-1])
        if len(after) < len(visits):
            notes.append(
                f"{len(visits) - len(after)} visits before the surgery of {operations[-1]} are left out"
            )
        visits = after
    if not visits:
        since = f"between the surgery of {operations[-1]} and" if operations else "before"
        last = (
            "; forecast_date last takes each patient's last visit for the truth: give a date"
            if day == LAST
            else ""
        )
        raise GliomaGenError(f"no visit {since} {when} to forecast from{last}")
    truth = next((visit for visit in history.visits if visit.date == when), None)
    known = replace(history, visits=visits, treatments=treatments)
    return Task(known=known, day=when, truth=truth, notes=tuple(notes))


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if missing := [name for name in columns if name not in (reader.fieldnames or ())]:
                raise GliomaGenError(
                    f"{path}: column '{missing[0]}' is missing; {', '.join(columns)} are needed"
                )
            for row in reader:
                yield f"{path} line {reader.line_num}", {k: (v or "").strip() for k, v in row.items() if k}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise GliomaGenError(f"{path}: cannot be read as a CSV table ({error})") from error


def _told(row: dict[str, str], name: str, where: str) -> str:
    if not row[name]:
        raise GliomaGenError(f"{where}: {name} is empty")
    return row[name]


def _iso(text: str, where: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise GliomaGenError(f"{where}: '{text}' is no date; write YYYY-MM-DD") from error


def _date(row: dict[str, str], name: str, where: str) -> date:
    return _iso(_told(row, name, where), where)


def _burden(row: dict[str, str], where: str) -> float | None:
    text = row.get("burden_mm3", "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise GliomaGenError(
            f"{where}: burden_mm3 '{text}' is no volume; write mm³, or nothing to measure it"
        )
    return value


def _treatment(row: dict[str, str], where: str) -> Treatment:
    kind = _told(row, "kind", where).lower()
    if kind not in (*RADIOTHERAPY, SURGERY, *OTHER):
        raise GliomaGenError(
            f"{where}: kind '{kind}' is not known; choose among {[*RADIOTHERAPY, SURGERY, *OTHER]}"
        )
    start, end = (_date(row, name, where) if row[name] else None for name in ("start", "end"))
    if start is None:
        if end is None:
            raise GliomaGenError(f"{where}: neither start nor end is told")
        start = end - USUAL_COURSE if kind in RADIOTHERAPY else end
    if end is not None and end < start:
        raise GliomaGenError(f"{where}: end {end} lies before start {start}")
    return Treatment(kind=kind, start=start, end=end)
