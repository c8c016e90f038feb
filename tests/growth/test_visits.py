"""Tables: a wrong date makes a wrong forecast, and nobody sees it in the map."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from gliomagen.errors import GliomaGenError
from gliomagen.growth.visits import forecast_task, read_histories

VISITS = """patient,case,date,burden_mm3
A,A-100,2020-01-01,1000
A,A-101,2020-03-01,
B,B-100,2020-02-01,0
A,A-102,2020-05-01,2500.5
"""
TREATMENTS = """patient,kind,start,end
A,radiotherapy,,2020-02-20
A,Surgery,2020-02-25,
A,chemotherapy,2020-08-01,
"""


def tables(folder: Path, visits: str = VISITS, treatments: str = TREATMENTS) -> tuple[Path, Path]:
    (folder / "visits.csv").write_text(visits)
    (folder / "treatments.csv").write_text(treatments)
    return folder / "visits.csv", folder / "treatments.csv"


def test_histories_are_what_the_tables_say(tmp_path: Path) -> None:
    first, second = read_histories(*tables(tmp_path))
    assert [visit.burden_mm3 for visit in first.visits] == [1000, None, 2500.5]
    assert first.courses() == (8.0,)  # its beginning is not told: 42 days before its end
    assert second.visits[0].burden_mm3 == 0


def test_last_visit_is_held_out_and_scores(tmp_path: Path) -> None:
    visits, _ = tables(tmp_path)
    task = forecast_task(read_histories(visits)[0], "last")
    assert [visit.case for visit in task.known.visits] == ["A-100", "A-101"]
    assert task.truth is not None and task.truth.case == "A-102"
    assert forecast_task(read_histories(visits)[0], "2020-06-01").truth is None


def test_surgery_begins_anew_and_later_treatment_is_left_out_and_both_are_said(tmp_path: Path) -> None:
    task = forecast_task(read_histories(*tables(tmp_path))[0], date(2020, 6, 1))
    assert [visit.case for visit in task.known.visits] == ["A-101", "A-102"]
    assert len(task.notes) == 2
    assert any("2020-08-01" in note for note in task.notes)
    assert task.known.courses() == (-52.0,)


@pytest.mark.parametrize(
    ("visits", "treatments", "says"),
    [
        (VISITS.replace("2020-05-01", "2020-02-01"), TREATMENTS, "line 5: 2020-02-01 is not after"),
        (VISITS.replace("2020-05-01", "1.5.2020"), TREATMENTS, "YYYY-MM-DD"),
        (VISITS.replace("A-102", "A-101"), TREATMENTS, "there twice"),
        (VISITS.replace("2500.5", "big"), TREATMENTS, "no volume"),
        (VISITS.replace("2500.5", "-1"), TREATMENTS, "no volume"),
        (VISITS.replace("case", "scan"), TREATMENTS, "column 'case' is missing"),
        ("patient,case,date\n", TREATMENTS, "no visits"),
        (VISITS, TREATMENTS.replace("A,Surg", "C,Surg"), "patient 'C' has no visit"),
        (VISITS, TREATMENTS.replace("Surgery", "prayer"), "kind 'prayer' is not known"),
        (VISITS, TREATMENTS.replace(",,2020-02-20", ",,"), "neither start nor end"),
        (VISITS, TREATMENTS.replace(",,2020-02-20", ",2020-03-20,2020-02-20"), "lies before start"),
    ],
)
def test_wrong_tables_are_told_in_one_line(tmp_path: Path, visits: str, treatments: str, says: str) -> None:
    with pytest.raises(GliomaGenError, match=says):
        read_histories(*tables(tmp_path, visits, treatments))


def test_nothing_before_the_day_is_told(tmp_path: Path) -> None:
    history = read_histories(*tables(tmp_path))[1]
    with pytest.raises(GliomaGenError, match=r"no visit (between|before)"):
        forecast_task(history, "last")
    with pytest.raises(GliomaGenError, match="forecast_date"):
        forecast_task(history, "soon")
    with pytest.raises(GliomaGenError, match="cannot be read"):
        read_histories(tmp_path / "nowhere.csv")
