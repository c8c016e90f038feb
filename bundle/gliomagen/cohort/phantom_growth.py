"""A phantom's tumour that grows: cells that divide and wander along tracts, and that radiotherapy kills.

Reaction and diffusion (Swanson et al. 2000), anisotropic as in Jbabdi et al. 2005, with tissue that dies in two stages:

    du/dt = div(D grad u) + rate u (1 - u - a - b),   da/dt = -clearance a,   db/dt = clearance (a - b)

On the first day of a course all but a share of u becomes a; the share that survives differs from place to place. D is large along
tracts of white matter, small in grey matter, and nothing in liquor and cavities. What is seen is u + a + b. A front moves at a speed of its own, so
burden is no solution of an ordinary differential equation of burden: forecasts of the ``growth`` wing are tested on a law that they
do not know.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from .phantom_anatomy import HIGH_MM, LOW_MM, Anatomy, build_anatomy
from .phantom_course import Focus, first_focus
from .phantom_field import Float, Grid, Lattice, draw_noise, generator, lattice_over
from .phantom_shape import Frame, draw_frame, draw_shape

HALF_MM = 44.0
"""Around the first focus, where the tumour can be."""
_SPACING_MM = 2.0
_LONGEST_DAYS = 2000
_SEEN = 0.16  # density at which oedema begins (Swanson et al. 2000); the core begins at a half


@dataclass(frozen=True, kw_only=True)
class GrowthLaw:
    """What a patient's tumour does; drawn for the patient.

    Attributes:
        speed_mm: A front in white matter goes, per day.
        width_mm: Square root of diffusion over rate: how blurred the front is.
        along: Diffusion along a tract, relative to the mean.
        across: And across it.
        grey: Diffusion in grey matter, relative to white.
        burden_mm3: At the first visit.
        survival: Share of cells that radiotherapy leaves.
        clearance: Of dying tissue, per day and stage.
        courses: Days after the first visit on which radiotherapy begins.
        days: Of the visits, the first 0.
    """

    speed_mm: float
    width_mm: float
    along: float
    across: float
    grey: float
    burden_mm3: float
    survival: float
    clearance: float
    courses: tuple[int, ...]
    days: tuple[int, ...]

    @property
    def rate(self) -> float:
        """Of division, per day: a front's speed is twice the root of rate times diffusion (Fisher 1937)."""
        return self.speed_mm / (2 * self.width_mm)


@dataclass(frozen=True, kw_only=True, eq=False)
class Density:
    """A tumour at one visit.

    Attributes:
        lattice: Its nodes.
        depth_mm: Depth below the surface of density a half, by the front's own profile, at the nodes; -60 where there is none.
        reach_mm: How far beyond that surface oedema goes.
        radius_mm: Of a ball of the core's volume.
    """

    lattice: Lattice
    depth_mm: Float
    reach_mm: float
    radius_mm: float


def draw_law(patient: int, visits: int) -> GrowthLaw:
    """Draws a patient's law and calendar; more visits leave the earlier ones as they are.

    Args:
        patient: Its number.
        visits: How many.
    """
    rng = generator(patient, "growth law")
    calendar = generator(patient, "visits")
    gaps = calendar.integers(35, 85, size=max(visits - 1, 0))
    treated, early = rng.uniform() < 0.6, rng.uniform() < 0.4
    course = int(-rng.integers(5, 40)) if early else int(rng.integers(5, 90))
    return GrowthLaw(
        speed_mm=float(np.exp(rng.normal(np.log(0.045), 0.35))),
        width_mm=float(rng.uniform(2.2, 3.4)),
        along=2.0,
        across=0.5,
        grey=float(rng.uniform(0.08, 0.2)),
        burden_mm3=float(np.exp(np.clip(rng.normal(np.log(14000), 0.5), np.log(4000), np.log(40000)))),
        survival=float(rng.uniform(0.05, 0.45)),
        clearance=float(np.exp(rng.normal(np.log(0.04), 0.4))),
        courses=(course,) if treated else (),
        days=(0, *np.cumsum(gaps).tolist()),
    )


@lru_cache(maxsize=2)
def grown(patient: int, visits: int) -> tuple[Density, ...]:
    """Returns a patient's tumour at each visit.

    Args:
        patient: Its number.
        visits: How many.
    """
    law, frame = draw_law(patient, visits), draw_frame(patient)
    focus = first_focus(patient, frame)
    low, high = focus.centre_mm - HALF_MM, focus.centre_mm + HALF_MM
    tissue = _Tissue(patient, frame, focus, law, lattice_over(low.tolist(), high.tolist(), _SPACING_MM))
    live = tissue.seeded()
    for _ in range(_LONGEST_DAYS):
        if tissue.volume(live) >= law.burden_mm3:
            break
        live = tissue.stepped(live, np.zeros_like(live))
    first, second = np.zeros_like(live), np.zeros_like(live)  # tissue that dies
    found = []
    for day in range(min(0, *law.courses, 0), law.days[-1] + 1):
        if day in law.days:
            found.append(tissue.density(live + first + second))
        if day in law.courses:
            left = np.clip(law.survival * tissue.hardy, 0, 1)
            first, live = first + live * (1 - left), live * left
        live = tissue.stepped(live, first + second)
        second = second + law.clearance * (first - second)
        first = first * (1 - law.clearance)
    return tuple(found)


class _Tissue:
    """Where the cells of one tumour can go, on a lattice, a day at a time."""

    def __init__(self, patient: int, frame: Frame, focus: Focus, law: GrowthLaw, lattice: Lattice) -> None:
        self.focus, self.law, self.lattice = focus, law, lattice
        grid = Grid(lines=tuple(np.asarray(axis).ravel() for axis in lattice.axes()))  # type: ignore[arg-type]
        anatomy = build_anatomy(patient, draw_shape(patient, frame), grid)
        self.away = np.sqrt(sum((a - c) ** 2 for a, c in zip(grid.axes(), self._middle(), strict=True)))
        hole = np.sqrt(sum((a - c) ** 2 for a, c in zip(grid.axes(), focus.centre_mm, strict=True)))
        open_to = (anatomy.head > 0) & (hole > focus.cavity_mm) & (anatomy.hull > -1.0)
        self.space = np.asarray((1 - anatomy.liquor) * open_to, np.float32)
        white = np.clip(anatomy.white, 0, 1) * self.space
        across = law.rate * law.width_mm**2 * (white + law.grey * (self.space - white))  # mm²/day
        tract = _tracts(anatomy)
        whole = [law.across + (law.along - law.across) * e * e for e in tract]
        self.own = [np.asarray(across * (share * white + (1 - white)), np.float32) for share in whole]
        self.mixed = {
            (i, j): np.asarray(across * white * (law.along - law.across) * tract[i] * tract[j], np.float32)
            for i in range(3)
            for j in range(3)
            if i != j
        }
        noise = draw_noise(generator(patient, "hardy"), 18.0, LOW_MM, HIGH_MM).on(grid)
        self.hardy = np.exp(0.5 * noise).astype(np.float32)

    def _middle(self) -> NDArray[np.float64]:
        return self.focus.centre_mm + self.focus.mass_offset_mm

    def seeded(self) -> Float:
        """Returns a ball of cells, smaller than the tumour at the beginning."""
        radius = 0.8 * (3 * self.law.burden_mm3 / (4 * np.pi)) ** (1 / 3) - 2 * self.law.width_mm
        depth = (max(radius, 2.0) - self.away) / self.law.width_mm
        return np.asarray(self.space / (1 + np.exp(-np.clip(depth, -30, 30))), np.float32)

    def stepped(self, live: Float, dying: Float) -> Float:
        """Returns living cells a day later."""
        mm = self.lattice.spacing_mm
        change = self.law.rate * live * (1 - live - dying)
        slopes = np.gradient(live, mm)
        for axis in range(3):
            low, high = (
                tuple(cut if k == axis else slice(None) for k in range(3))
                for cut in (slice(None, -1), slice(1, None))
            )
            own = self.own[axis]
            # The harmonic mean lets nothing through where one side is liquor.
            between = 2 * own[low] * own[high] / np.maximum(own[low] + own[high], 1e-9)
            flow = between * (live[high] - live[low]) / mm**2
            change[low] += flow
            change[high] -= flow
            sideways = sum(self.mixed[axis, k] * slopes[k] for k in range(3) if k != axis)
            change += np.gradient(sideways, mm, axis=axis) * self.space
        return np.asarray(np.clip(live + change, 0, 1), np.float32)

    def volume(self, seen: Float) -> float:
        """Returns the mm³ in which a tumour is seen."""
        return float(((seen > _SEEN) & (self.space > 0.5)).sum() * self.lattice.spacing_mm**3)

    def density(self, seen: Float) -> Density:
        """Returns what a scan needs to know."""
        width = self.law.width_mm
        share = np.clip(seen / np.maximum(self.space, 0.2), 1e-6, 1 - 1e-4)
        depth = np.clip(width * np.log(share / (1 - share)), -30, 60).astype(np.float32)
        core = ((depth > 0) & (self.space > 0.5)).sum() * self.lattice.spacing_mm**3
        return Density(
            lattice=self.lattice,
            depth_mm=depth,
            reach_mm=float(-width * np.log(_SEEN / (1 - _SEEN))),
            radius_mm=float((3 * core / (4 * np.pi)) ** (1 / 3)),
        )


def _tracts(anatomy: Anatomy) -> list[Float]:
    """Returns the direction of tracts, three components: front to back below the hull, from side to side in the corpus callosum."""
    spacing = [float(line[1] - line[0]) for line in anatomy.grid.lines]
    normal = np.stack(np.gradient(gaussian_filter(anatomy.hull, 2.0), *spacing))
    normal /= np.maximum(np.sqrt((normal**2).sum(0)), 1e-6)
    way = np.stack(
        [-normal[1] * normal[0], 1 - normal[1] ** 2, -normal[1] * normal[2]]
    )  # along y, within the hull's sheet
    bridge = anatomy.bridge & (np.abs(anatomy.side) < 18)
    way[:, bridge] = np.array([1, 0, 0])[:, None]
    way /= np.maximum(np.sqrt((way**2).sum(0)), 1e-6)
    return [np.asarray(part, np.float32) for part in way]
