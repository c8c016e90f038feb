"""Shares and labels of a phantom's lesion on a grid."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..labels import ET, HEAD, NETC, RC, SNFH
from .phantom_anatomy import HIGH_MM, LOW_MM, Anatomy
from .phantom_course import Focus
from .phantom_field import Float, Noise, draw_noise, generator, ramp
from .phantom_growth import HALF_MM, Density

Box = tuple[slice, slice, slice]
RIM_MM = 3.5
"""Thickness of the enhancing rim of a tumour that has grown by itself."""


@dataclass(frozen=True, kw_only=True)
class Lesion:
    """Shares of the lesion's parts in [0, 1] inside an index box of the grid.

    Attributes:
        box: Where the arrays stand; None without a lesion.
        oedema, border, necrosis, enhancing, cavity, blood: Shares, later ones lying over earlier ones.
            ``border`` is the gliotic wall of a cavity.
        texture, cloud: Noise of fine and middle scale for the painter.
    """

    box: Box | None
    oedema: Float
    border: Float
    necrosis: Float
    enhancing: Float
    cavity: Float
    blood: Float
    texture: Float
    cloud: Float

    def label(self, anatomy: Anatomy) -> NDArray[np.uint8]:
        """Labels every sample of the grid in the prepared convention, the head included."""
        labels = (anatomy.head > 0).astype(np.uint8) * np.uint8(HEAD)
        if self.box is None:
            return labels
        part = labels[self.box]
        inside = part > 0
        for share, label in (
            (np.maximum(self.oedema, self.border), SNFH),
            (self.necrosis, NETC),
            (self.enhancing, ET),
            (self.cavity, RC),
        ):
            part[inside & (share > 0.5)] = label
        return labels


def build_lesion(patient: int, timepoint: int, foci: list[Focus], anatomy: Anatomy) -> Lesion:
    """Samples a patient's foci at one time point.

    Outlines are distances bent by noise. Oedema follows white matter: cortex and deep grey matter shorten its
    reach, liquor ends it, and it crosses the midline only where tissue does.

    Args:
        patient: Its number.
        timepoint: Which scan; outlines differ a little from scan to scan.
        foci: What :func:`draw_foci` gives.
        anatomy: The tissue they lie in.
    """
    empty = np.zeros((0, 0, 0), np.float32)
    names = ("oedema", "border", "necrosis", "enhancing", "cavity", "blood", "texture", "cloud")
    box = _bounds(foci, anatomy) if foci else None
    if box is None or any(cut.start == cut.stop for cut in box):
        return Lesion(box=None, **dict.fromkeys(names, empty))
    rng = generator(patient, "lesion outlines")
    noises = {scale: draw_noise(rng, scale, LOW_MM, HIGH_MM) for scale in (5.0, 14.0)}
    grid = anatomy.grid.part(box)
    parts = {name: np.zeros(grid.shape, np.float32) for name in names}
    parts["texture"], parts["cloud"] = noises[5.0].on(grid), noises[14.0].on(grid)
    for focus in foci:
        for name, share in _focus(patient, timepoint, focus, anatomy, box).items():
            np.maximum(parts[name], share, out=parts[name])
    return Lesion(box=box, **parts)


def build_grown_lesion(
    patient: int, timepoint: int, focus: Focus, density: Density, anatomy: Anatomy
) -> Lesion:
    """Samples a tumour that has grown by itself, beside the cavity of the focus it came from.

    Args:
        patient: Its number.
        timepoint: Which scan.
        focus: What :func:`first_focus` gives.
        density: The tumour at that scan.
        anatomy: The tissue it lies in.
    """
    half = np.full(3, HALF_MM)
    box = anatomy.grid.box((focus.centre_mm - half).tolist(), (focus.centre_mm + half).tolist())
    grid = anatomy.grid.part(box)
    # The cavity stays, the tumour is another one.
    rest = replace(focus, mass_mm=0.0, rim_mm=0.0, margin_mm=0.0, oedema_mm=0.0, blood=False)
    parts = _focus(patient, timepoint, rest, anatomy, box)
    hole = parts["cavity"]
    steady = generator(patient, "grown outlines")
    noises = {scale: draw_noise(steady, scale, LOW_MM, HIGH_MM) for scale in (5.0, 9.0, 14.0)}
    depth = grid.evaluate(density.lattice, density.depth_mm) + 0.4 * noises[5.0].on(grid)
    liquor = anatomy.liquor[box] * np.clip(1 - depth / 4, 0, 1)  # within the tumour sulci are gone
    tissue = np.minimum(anatomy.head[box], anatomy.hull[box] + 0.8)
    core = ramp(np.minimum(depth, tissue), 1.0) * (1 - liquor) * (1 - hole)
    oedema = ramp(np.minimum(depth + density.reach_mm, tissue), 2.2) * (1 - liquor) * (1 - hole)
    rim = RIM_MM * (1 + 0.4 * noises[9.0].on(grid)) * bool(focus.rim_mm)
    enhancing = core * ramp(rim - depth, 1.0) * bool(focus.rim_mm)
    return Lesion(
        box=box,
        oedema=oedema,
        border=parts["border"],
        necrosis=core,
        enhancing=enhancing,
        cavity=hole,
        blood=parts["blood"],
        texture=noises[5.0].on(grid),
        cloud=noises[14.0].on(grid),
    )


def _bounds(foci: list[Focus], anatomy: Anatomy) -> Box:
    """Index box that holds every focus with all its oedema."""
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for focus in foci:
        reach = 2.1 * max(focus.mass_mm, focus.cavity_mm) + 2.0 * focus.oedema_mm + 6
        if focus.open and focus.cavity_mm:
            reach = max(reach, focus.depth_mm + 6 + 0.8 * focus.cavity_mm + 2.0 * focus.oedema_mm + 4)
        for middle in (focus.centre_mm, focus.centre_mm + focus.mass_offset_mm):
            low, high = np.minimum(low, middle - reach), np.maximum(high, middle + reach)
    return anatomy.grid.box(low.tolist(), high.tolist())


def _focus(patient: int, timepoint: int, focus: Focus, anatomy: Anatomy, box: Box) -> dict[str, Float]:
    """Shares of one focus in its box."""
    grid = anatomy.grid.part(box)
    steady = generator(patient, f"focus {focus.variant}")
    drift = generator(patient, f"focus {focus.variant} drift", timepoint)

    def noise(scale_mm: float, changing: float) -> Float:
        fixed: Noise = draw_noise(steady, scale_mm, LOW_MM, HIGH_MM)
        moving = draw_noise(drift, scale_mm, LOW_MM, HIGH_MM)
        mixed = np.sqrt(1 - changing**2) * fixed.values + changing * moving.values
        return Noise(lattice=fixed.lattice, values=mixed.astype(np.float32)).on(grid)

    broad, middle, fine = noise(24.0, 0.15), noise(11.0, 0.2), noise(5.5, 0.25)
    rim_noise, patch_noise, blood_noise = noise(9.0, 0.3), noise(12.0, 0.3), noise(8.0, 0.2)
    head, hull, side = anatomy.head[box], anatomy.hull[box], anatomy.side[box]
    liquor, cortex = anatomy.liquor[box], anatomy.cortex[box]
    grey = anatomy.nuclei[box] + anatomy.thalamus[box]
    own_side = np.sign(_nearest(focus.centre_mm, anatomy))
    other = np.clip(-side * np.float32(own_side) + 0.5, 0, None)  # how far beyond the midline
    barrier = np.where(anatomy.bridge[box], 0.5 * other, 20 * other).astype(np.float32)
    limit = np.minimum(np.minimum(hull + 0.8, head), 40 - barrier)

    mass = _ball(focus, grid.axes(), focus.centre_mm + focus.mass_offset_mm, focus.mass_mm)
    bend = np.clip(focus.rough * (0.17 * broad + 0.13 * middle), -0.5, 0.45)
    mass = mass + focus.mass_mm * bend + 0.35 * fine
    mass = np.minimum(mass, np.minimum(limit - 2 * barrier, anatomy.ventricle[box] + 1.5))
    cavity: Float = np.full(grid.shape, -60, np.float32)
    if focus.cavity_mm:
        cavity = _ball(focus, grid.axes(), focus.centre_mm, focus.cavity_mm)
        cavity = cavity + focus.cavity_mm * np.clip(focus.rough * (0.16 * middle - 0.12 * broad), -0.5, 0.45)
        if focus.open:
            cavity = np.maximum(cavity, _track(focus, grid.axes()) + 1.2 * middle)
        cavity = np.minimum(cavity, head + 0.5 - 3 * other)
    core = np.maximum(mass, cavity)
    thick = focus.rim_mm * (1 + 0.55 * rim_noise) - 0.35 if focus.rim_mm else np.float32(-4) + 0 * mass
    solid = ramp(mass, 1.0) if focus.mass_mm else np.zeros(grid.shape, np.float32)
    enhancing = solid * ramp(thick - mass, 1.0)
    hole = ramp(cavity, 0.8)
    if focus.margin_mm:
        margin = focus.margin_mm * (0.55 + 0.9 * patch_noise)
        along = ramp(np.minimum(margin + cavity, limit), 1.0) * (1 - 0.5 * liquor)
        enhancing = np.maximum(enhancing, along * (cavity > -8))
    necrosis = solid
    oedema, border = np.zeros_like(solid), np.zeros_like(solid)
    if focus.oedema_mm:
        reach = focus.oedema_mm * np.clip(1 + 0.45 * broad + 0.25 * middle, 0.1, 2.0)
        reach = reach * (1 - 0.72 * cortex - 0.4 * grey) - 1.2 * cortex
        oedema = ramp(np.minimum(reach + core - barrier, limit), 2.2) * (1 - liquor)
        border = ramp(np.minimum(1.6 + 0.8 * rim_noise + cavity, limit), 1.4) * (1 - liquor)
    blood = np.zeros_like(solid)
    if focus.blood:
        blood = 0.8 * ramp(blood_noise * 3 - 4.2, 2.0) * ramp(3.5 - np.abs(core + 1), 2.0) * (1 - hole)
        blood = blood * np.maximum(oedema, solid)
    return {
        "oedema": oedema,
        "border": border,
        "necrosis": necrosis * (1 - hole),
        "enhancing": enhancing * (1 - hole),
        "cavity": hole,
        "blood": blood,
    }


def _nearest(position_mm: NDArray[np.float64], anatomy: Anatomy) -> float:
    """Standard x of the sample nearest to a position: which hemisphere it is in."""
    index = tuple(
        int(np.abs(line - where).argmin())
        for line, where in zip(anatomy.grid.lines, position_mm, strict=True)
    )
    return float(anatomy.side[index])


def _ball(
    focus: Focus, axes: tuple[Float, Float, Float], centre: NDArray[np.float64], radius: float
) -> Float:
    """Depth in mm below the surface of a stretched ball."""
    away = [axis - np.float32(middle) for axis, middle in zip(axes, centre, strict=True)]
    total: Float = np.float32(0)  # type: ignore[assignment]
    for row in np.linalg.inv(focus.axes).astype(np.float32):
        total = total + (row[0] * away[0] + row[1] * away[1] + row[2] * away[2]) ** 2
    return (np.float32(radius) - np.sqrt(total)).astype(np.float32)


def _track(focus: Focus, axes: tuple[Float, Float, Float]) -> Float:
    """Depth in mm inside the surgeon's way from the surface to the cavity, a funnel open to the outside."""
    way = focus.outward.astype(np.float32)
    length = np.float32(focus.depth_mm + 6)
    away = [axis - np.float32(middle) for axis, middle in zip(axes, focus.centre_mm, strict=True)]
    along = np.clip(away[0] * way[0] + away[1] * way[1] + away[2] * way[2], 0, length)
    across = np.sqrt(sum((part - along * step) ** 2 for part, step in zip(away, way, strict=True)))
    radius = focus.cavity_mm * (0.42 + 0.28 * along / length)
    return (radius - across).astype(np.float32)
