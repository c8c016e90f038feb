"""Growing phantoms: whoever forecasts tests it on tumours whose law is known, and is not the forecaster's own."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gliomagen.cohort.phantom import PhantomCohort, phantom_case
from gliomagen.cohort.phantom_course import first_focus
from gliomagen.cohort.phantom_field import lattice_over
from gliomagen.cohort.phantom_growth import GrowthLaw, _Tissue, draw_law, grown
from gliomagen.cohort.phantom_shape import draw_frame
from gliomagen.errors import GliomaGenError
from gliomagen.labels import ET, NETC, RC, SNFH

UNTREATED, TREATED = 4, 5
SIZE, VOXEL_MM = (64, 72, 56), 3.0


def volume(patient: int, visits: int) -> list[float]:
    return [float((one.depth_mm > -one.reach_mm).sum() * 8) for one in grown(patient, visits)]


def test_tumour_grows_from_visit_to_visit_and_more_visits_change_no_earlier_one() -> None:
    two, three = volume(UNTREATED, 2), volume(UNTREATED, 3)
    assert two == three[:2]
    assert three[0] < three[1] < three[2]
    assert draw_law(UNTREATED, 2).days == draw_law(UNTREATED, 3).days[:2]


def test_radiotherapy_takes_cells_away(monkeypatch: pytest.MonkeyPatch) -> None:
    law = draw_law(TREATED, 2)
    assert law.courses
    treated = volume(TREATED, 2)
    grown.cache_clear()
    monkeypatch.setattr(
        "gliomagen.cohort.phantom_growth.draw_law", lambda *_: replace(law, courses=(), days=(0, 90))
    )
    untreated = volume(TREATED, 2)
    grown.cache_clear()
    assert treated[1] / treated[0] < 0.9 * untreated[1] / untreated[0]


def test_front_goes_at_the_speed_of_its_law_and_further_along_tracts() -> None:
    """In white matter without borders a plane front moves at twice the root of rate times diffusion (Fisher 1937)."""
    law = GrowthLaw(
        speed_mm=0.5, width_mm=3.0, along=1.0, across=1.0, grey=0.1, burden_mm3=4000, survival=1, clearance=0.1,
        courses=(), days=(0,),
    )  # fmt: skip
    frame = draw_frame(0)
    lattice = lattice_over((-50.0, -50.0, -4.0), (50.0, 50.0, 4.0), 2.0)
    reached = {}
    for along, across in ((1.0, 1.0), (2.0, 0.5)):
        tissue = _Tissue(0, frame, first_focus(0, frame), replace(law, along=along, across=across), lattice)
        # White matter everywhere, tracts along y.
        shape = lattice.shape
        tissue.space = np.ones(shape, np.float32)
        rate = law.rate * law.width_mm**2
        tissue.own = [
            np.full(shape, rate * (along if axis == 1 else across), np.float32) for axis in range(3)
        ]
        tissue.mixed = {key: np.zeros(shape, np.float32) for key in tissue.mixed}
        speeds = []
        for axis in (0, 1):
            places = 2.0 * np.arange(shape[axis])
            profile = 1 / (1 + np.exp(places - 15))
            live = np.broadcast_to(np.expand_dims(profile, [k for k in range(3) if k != axis]), shape).astype(
                np.float32
            )
            where = []
            for day in range(121):
                if day in (30, 120):
                    line = live.mean(tuple(k for k in range(3) if k != axis))
                    where.append(np.interp(-0.5, -line, places))
                live = tissue.stepped(live, np.zeros(shape, np.float32))
            speeds.append((where[1] - where[0]) / 90)
        reached[along] = speeds
    # A front that has not gone far yet is slower by three halves of its width over the time (Bramson 1983).
    speed = 0.5 - 1.5 * 3.0 * np.log(120 / 30) / 90
    assert reached[1.0] == pytest.approx([speed, speed], rel=0.12)
    assert reached[2.0] == pytest.approx([speed * 0.5**0.5, speed * 2**0.5], rel=0.15)


def test_scan_shows_the_grown_tumour_and_its_cavity_stays() -> None:
    first, last = (
        phantom_case(patient=0, timepoint=k, spatial_size=SIZE, voxel_mm=VOXEL_MM, course="growth")
        for k in (0, 3)
    )
    tumour = [np.isin(case.labels, (NETC, SNFH, ET)) for case in (first, last)]
    assert tumour[1].sum() > 1.3 * tumour[0].sum()
    cavity = [case.labels == RC for case in (first, last)]
    assert cavity[0].any() and 2 * (cavity[0] & cavity[1]).sum() > 1.8 * min(c.sum() for c in cavity)
    enhancing = [case.images["t1c"][case.labels == ET].mean() for case in (first, last)]
    oedema = [case.images["t1c"][case.labels == SNFH].mean() for case in (first, last)]
    assert all(rim > 1.2 * around for rim, around in zip(enhancing, oedema, strict=True))


def test_cohort_comes_with_its_calendar_and_its_laws(tmp_path: Path) -> None:
    PhantomCohort(
        output_dir=str(tmp_path),
        patients=2,
        timepoints=2,
        spatial_size=(32, 36, 28),
        voxel_mm=6.0,
        course="growth",
    ).run()
    with (tmp_path / "visits.csv").open() as file:
        visits = list(csv.DictReader(file))
    assert [(tmp_path / row["case"] / f"{row['case']}-seg.nii.gz").is_file() for row in visits] == [True] * 4
    assert visits[0]["date"] < visits[1]["date"]
    laws = json.loads((tmp_path / "growth.json").read_text())
    with (tmp_path / "treatments.csv").open() as file:
        treated = {row["patient"] for row in csv.DictReader(file)}
    assert treated == {patient for patient, law in laws.items() if law["courses"]}
    with pytest.raises(GliomaGenError, match="course"):
        PhantomCohort(
            output_dir=str(tmp_path), patients=2, timepoints=2, spatial_size=(32, 36, 28), voxel_mm=6.0
        ).run()
