"""The course of a phantom's treated glioma: where its foci lie, what they are made of, how they change."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .phantom_field import Float, generator
from .phantom_shape import Frame

RESPONDERS = 0.02
"""Share of patients whose lesion is gone altogether."""


@dataclass(frozen=True, kw_only=True)
class Focus:
    """One focus at one time point; a part with radius or reach 0 is absent.

    Attributes:
        centre_mm: Middle of the tumour before treatment.
        axes: (3, 3), rotation times stretch of its ellipsoid, determinant 1.
        outward: Unit vector to the nearest surface of the hemisphere.
        depth_mm: Depth of the centre below that surface.
        mass_mm: Radius of the solid or necrotic tumour.
        mass_offset_mm: Where its middle lies from ``centre_mm``.
        rim_mm: Thickness of its enhancing rim; 0 does not enhance.
        cavity_mm: Radius of the resection cavity.
        open: Whether the cavity reaches the surface.
        margin_mm: Thickness of enhancement along the cavity.
        oedema_mm: Reach of the oedema.
        rough: Irregularity of the outlines.
        blood: Whether there is old blood.
        variant: Seeds the outlines; another focus has others.
    """

    centre_mm: NDArray[np.float64]
    axes: NDArray[np.float64]
    outward: NDArray[np.float64]
    depth_mm: float
    mass_mm: float
    mass_offset_mm: NDArray[np.float64]
    rim_mm: float
    cavity_mm: float
    open: bool
    margin_mm: float
    oedema_mm: float
    rough: float
    blood: bool
    variant: int


def draw_foci(patient: int, timepoint: int, frame: Frame) -> list[Focus]:
    """Draws a patient's foci and follows them to a time point.

    Args:
        patient: Its number; the first time point and the trend depend on it alone.
        timepoint: How many steps to follow.
        frame: The head they lie in.

    Returns:
        The foci; none for a complete responder.
    """
    foci, trend, relapse = _first_foci(patient, frame)
    for step in range(1, timepoint + 1):
        change = generator(patient, "course", step)
        foci = [_advance(change, focus, trend) for focus in foci]
    return [] if relapse > 0.25 * timepoint else foci


def first_focus(patient: int, frame: Frame) -> Focus:
    """Returns a patient's main focus at the first time point, also of a responder.

    Args:
        patient: Its number.
        frame: The head it lies in.
    """
    return _first_foci(patient, frame)[0][0]


def _first_foci(patient: int, frame: Frame) -> tuple[list[Focus], float, float]:
    """Returns foci, their trend, and when they come back: four times this in time points; never gone, 0."""
    rng = generator(patient, "lesion")
    responder, relapse = rng.uniform() < RESPONDERS, rng.uniform(0, 1)
    count = 1 + int(rng.uniform() < 0.16) + int(rng.uniform() < 0.04)
    size = float(np.exp(np.clip(rng.normal(-0.06, 0.32), -0.75, 0.45)))
    trend = float(rng.normal(0.03, 0.12))
    foci = [_draw_focus(rng, frame, size * (1.0 if index == 0 else 0.55), index) for index in range(count)]
    return foci, trend, relapse * responder


def mass_effect(foci: list[Focus], frame: Frame) -> tuple[Float, Float, Float] | None:
    """Displacement in mm at the frame's lattice by which foci push tissue away, or pull it into a cavity."""
    total = [np.zeros(frame.lattice.shape, np.float32) for _ in range(3)]
    for focus in foci:
        strength = min(0.22 * focus.mass_mm + 0.10 * focus.oedema_mm, 5.0) - 0.12 * focus.cavity_mm
        width = 0.8 * max(focus.mass_mm, focus.cavity_mm) + 14.0
        away = [axis - np.float32(c) for axis, c in zip(frame.lattice.axes(), focus.centre_mm, strict=True)]
        ratio = np.sqrt(away[0] ** 2 + away[1] ** 2 + away[2] ** 2) / np.float32(width)
        gain = np.float32(1.6 * strength / width) * np.exp(-ratio * ratio)
        for part, direction in zip(total, away, strict=True):
            part += gain * direction
    return (total[0], total[1], total[2]) if foci else None


def _draw_focus(rng: np.random.Generator, frame: Frame, size: float, variant: int) -> Focus:
    """Draws one focus at the first time point."""
    centre, outward, depth = _place(rng, frame)
    rotation, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    stretch = np.exp(rng.normal(0, 0.16, 3) + np.array([0.0, 0.05, 0.0]))
    stretch /= np.prod(stretch) ** (1 / 3)
    resected = rng.uniform() < 0.76
    enhancing = rng.uniform() < 0.90
    solid = rng.uniform() < (0.86 if resected else 0.94)
    cavity_mm = float(rng.uniform(8, 17)) * size * resected
    mass_mm = float(rng.uniform(6, 12) if resected else rng.uniform(9, 19)) * size * solid
    direction = rng.standard_normal(3)
    direction /= np.linalg.norm(direction)
    style = rng.uniform()
    thick = (
        rng.uniform(1.4, 2.4) if style < 0.25 else (0.45 * mass_mm if style < 0.5 else rng.uniform(2.2, 4.0))
    )
    return Focus(
        centre_mm=centre,
        axes=rotation @ np.diag(stretch) @ rotation.T,
        outward=outward,
        depth_mm=depth,
        mass_mm=mass_mm,
        mass_offset_mm=direction * (cavity_mm * 0.95 + 0.25 * mass_mm) * resected,
        rim_mm=float(thick + 0.9) * enhancing,
        cavity_mm=cavity_mm,
        open=bool(rng.uniform() < 0.6 and depth < 26),
        margin_mm=float(rng.uniform(1.6, 3.8)) * (enhancing and resected and rng.uniform() < 0.85),
        oedema_mm=float(min(rng.gamma(2.6, 3.7), 17.0) + 2.0) * size**0.5 * (rng.uniform() < 0.96),
        rough=float(rng.uniform(0.7, 1.35)),
        blood=bool(rng.uniform() < 0.3),
        variant=variant,
    )


def _advance(rng: np.random.Generator, focus: Focus, trend: float) -> Focus:
    """Follows a focus to the next time point: growth or response, oedema, surgery, new enhancement."""
    grow = trend + rng.normal(0, 0.08)
    surgery, renewed, thick = rng.uniform() < 0.22, rng.uniform() < 0.18, float(rng.uniform(1.8, 3.0))
    mass_mm = focus.mass_mm * float(np.exp(grow))
    mass_mm = mass_mm if mass_mm > 3.0 else 0.0
    oedema_mm = float(np.clip(focus.oedema_mm * np.exp(1.3 * grow + rng.normal(0, 0.18)), 0, 30))
    focus = replace(
        focus,
        mass_mm=min(mass_mm, 26.0),
        oedema_mm=oedema_mm,
        cavity_mm=focus.cavity_mm * float(np.exp(rng.normal(-0.03, 0.03))),
        margin_mm=focus.margin_mm * float(np.exp(grow + rng.normal(0, 0.15))),
    )
    if surgery and not focus.cavity_mm and focus.mass_mm > 7:
        way = rng.standard_normal(3)
        way /= np.linalg.norm(way)
        rest = 0.45 * focus.mass_mm
        return replace(
            focus,
            cavity_mm=0.85 * focus.mass_mm,
            margin_mm=thick if focus.rim_mm else 0.0,
            mass_mm=rest,
            mass_offset_mm=way * 0.9 * focus.mass_mm,
        )
    if renewed and not focus.rim_mm:
        return replace(focus, rim_mm=thick, mass_mm=max(focus.mass_mm, 5.0))
    return focus


def _place(rng: np.random.Generator, frame: Frame) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Draws a place in the white matter of a hemisphere; returns it, the way to the surface and its depth."""
    x, y, z = frame.standard
    side = np.abs(x)
    depth = frame.cerebrum
    middle = ((side - 14) / 17) ** 2 + ((y + 8) / 36) ** 2 + ((z - 8) / 20) ** 2 > 1  # nuclei and ventricles
    possible = (depth > 9) & (depth < 27) & (side > 12) & (z > -24) & middle & ~((y < -40) & (z < -4))
    nodes = np.argwhere(possible)
    node = nodes[int(rng.uniform() * len(nodes))]
    lattice = frame.lattice
    centre = np.array(lattice.origin_mm) + lattice.spacing_mm * (node + rng.uniform(-0.5, 0.5, 3))
    around = tuple(slice(index - 2, index + 3) for index in node)
    slope = np.array([np.gradient(depth[around], axis=axis)[2, 2, 2] for axis in range(3)], np.float64)
    outward = -slope / max(float(np.linalg.norm(slope)), 1e-6)
    return centre, outward, float(depth[tuple(node)])
