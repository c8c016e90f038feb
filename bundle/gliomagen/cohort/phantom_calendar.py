"""Tables of a cohort of growing phantoms: when they were scanned and treated, and what their tumours do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, timedelta
from pathlib import Path

from ..files import write_json, written_whole
from .phantom_growth import draw_law

_FIRST = date(2020, 1, 1)
_COURSE = timedelta(days=42)


def case_name(patient: int, timepoint: int) -> str:
    """Returns the challenge's name of a phantom scan."""
    return f"BraTS-GLI-{patient:05d}-{100 + timepoint:03d}"


def write_calendar(folder: Path, scans: Sequence[tuple[int, int]]) -> None:
    """Writes ``visits.csv`` and ``treatments.csv``, as ``forecasting`` takes them, and the true laws, ``growth.json``.

    Args:
        folder: Of the cohort.
        scans: Numbers of patient and time point, in order.
    """
    visits = {patient: 1 + max(time for who, time in scans if who == patient) for patient, _ in scans}
    laws = {patient: draw_law(patient, count) for patient, count in visits.items()}
    rows = [
        f"BraTS-GLI-{patient:05d},{case_name(patient, time)},{_FIRST + timedelta(days=laws[patient].days[time])},"
        for patient, time in scans
    ]
    _table(folder / "visits.csv", "patient,case,date,burden_mm3", rows)
    rows = []
    for patient, law in laws.items():
        for day in law.courses:
            start = _FIRST + timedelta(days=day)
            rows.append(f"BraTS-GLI-{patient:05d},radiotherapy,{start},{start + _COURSE}")
    _table(folder / "treatments.csv", "patient,kind,start,end", rows)
    write_json(
        folder / "growth.json", {f"BraTS-GLI-{patient:05d}": asdict(law) for patient, law in laws.items()}
    )


def _table(path: Path, header: str, rows: Sequence[str]) -> None:
    with written_whole(path) as temporary:
        temporary.write_text("\n".join([header, *rows, ""]), encoding="utf-8")
