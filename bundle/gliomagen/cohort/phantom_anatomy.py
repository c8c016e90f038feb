"""Tissue of a phantom head on any grid: cortex, white matter, ventricles, nuclei, cerebellum, vessels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .phantom_field import Float, Grid, draw_noise, generator, ramp
from .phantom_shape import Shape, _ellipsoid

LOW_MM, HIGH_MM = (-84.0, -118.0, -74.0), (84.0, 82.0, 82.0)
_DEEP_LOW, _DEEP_HIGH = (-52.0, -92.0, -36.0), (52.0, 52.0, 46.0)  # where ventricles and nuclei lie

# Course of the lateral ventricle (x is the distance from the midline) with its radius, standard mm.
_VENTRICLE = (
    ((12.0, 34, 4, 3.2), (10.0, 25, 9, 5.6)),
    ((10.0, 25, 9, 5.6), (7.5, 8, 17, 5.6)),
    ((7.5, 8, 17, 5.6), (9.5, -10, 22, 5.2)),
    ((9.5, -10, 22, 5.2), (16, -27, 21, 5.6)),
    ((16, -27, 21, 5.6), (26, -43, 11, 7.2)),
    ((26, -43, 11, 7.2), (28, -60, 7, 4.2)),
    ((28, -60, 7, 4.2), (25, -76, 4, 1.6)),
    ((26, -43, 11, 7.2), (34, -36, 0, 3.6)),
    ((34, -36, 0, 3.6), (33, -12, -17, 2.4)),
)
_CHOROID = (((12.0, -14, 20, 1.6), (22, -40, 13, 2.8)), ((22, -40, 13, 2.8), (30, -38, 3, 1.8)))
_CAUDATE = (
    ((15.0, 20, 4, 4.5), (16.5, 10, 9, 6.0)),
    ((16.5, 10, 9, 6.0), (17.5, -4, 19, 3.6)),
    ((17.5, -4, 19, 3.6), (22, -26, 21, 2.2)),
)
_HIPPOCAMPUS = (((24.0, -8, -20, 6.5), (29, -26, -12, 5.0)), ((29, -26, -12, 5.0), (24, -36, -2, 3.5)))
_ARTERIES = (
    ((4.0, 4, -19, 1.5), (18, 8, -17, 1.5)),
    ((18, 8, -17, 1.5), (36, 4, -12, 1.3)),
    ((36, 4, -12, 1.3), (41, -8, 2, 1.1)),
    ((4.0, 4, -19, 1.5), (2.0, 22, -8, 1.2)),
    ((2.0, 22, -8, 1.2), (1.5, 40, 8, 1.0)),
    ((1.5, 40, 8, 1.0), (1.5, 22, 33, 0.9)),
    ((0.0, -42, -44, 1.8), (0.0, -11, -22, 1.8)),
    ((0.0, -11, -20, 1.4), (18, -24, -12, 1.2)),
)


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """Tissue of one patient on a grid; shares lie in [0, 1] and the first five add up to 1.

    Attributes:
        grid: The samples.
        liquor, cortex, white, nuclei, thalamus: Shares of CSF, grey, white and deep grey matter.
        vessel: Share of contrast-filled vessels and choroid plexus.
        head: Depth below the surface of the head in mm.
        hull: Depth below the hull of the nearer hemisphere in mm (negative in cerebellum and brain stem).
        side: Signed distance from the midline fissure in standard mm.
        ventricle: Distance to the lateral ventricles in mm, 30 far away.
        bridge: True where tissue continues across the midline (corpus callosum and below).
    """

    grid: Grid
    liquor: Float
    cortex: Float
    white: Float
    nuclei: Float
    thalamus: Float
    vessel: Float
    head: Float
    hull: Float
    side: Float
    ventricle: Float
    bridge: NDArray[np.bool_]


def build_anatomy(patient: int, shape: Shape, grid: Grid) -> Anatomy:
    """Samples a patient's tissue on a grid.

    Args:
        patient: Its number; sulcal width, cortical thickness and ventricle size depend on it alone.
        shape: Its shape.
        grid: Sample positions in mm.
    """
    rng = generator(patient, "anatomy")
    atrophy = float(np.clip(rng.beta(2.0, 2.6), 0.03, 0.97))
    sulcus_mm, cortex_mm = 0.25 + 1.35 * atrophy, rng.uniform(2.9, 3.7) - 0.5 * atrophy
    ventricle_mm = -1.6 + 4.2 * float(np.clip(0.6 * atrophy + 0.4 * rng.uniform(), 0, 1))

    def on(values: Float) -> Float:
        return grid.evaluate(shape.lattice, values)

    x, y, z = on(shape.x), on(shape.y), on(shape.z)
    side, head, hull = np.abs(x), on(shape.head), on(shape.cerebrum)
    width = sulcus_mm * np.clip(1 + 0.5 * draw_noise(rng, 40.0, LOW_MM, HIGH_MM).on(grid), 0.2, None)
    opening = np.clip(1.6 - 0.12 * hull, 0.55, 1.8)  # sulci are wider at the surface
    width_here = width * opening
    sheet_1, sheet_2 = np.abs(on(shape.primary)), np.abs(on(shape.secondary))
    # Depth below the nearest liquor: surface, midline fissure, sulci. Each counts down to its own floor.
    free = hull + np.float32(0.2) - 0.45 * width
    floor_1, floor_2 = on(shape.primary_depth), on(shape.secondary_depth)
    core = _midline_core(side, y, z)
    joined = 3 * (core + 1)  # no sulci where the hemispheres are joined
    medial = ramp(4 - np.abs(hull - side), 3.0)  # shallower, simpler sulci on the wall of the midline fissure
    gap_1 = np.maximum(sheet_1, hull - np.minimum(floor_1, 28 - 18 * medial))
    gap_2 = np.maximum(sheet_2 + 0.2, hull - floor_2 * (1 - medial))
    gap = (
        np.minimum(np.maximum(np.minimum(gap_1, gap_2), joined), on(shape.lateral) - 0.3 * sulcus_mm)
        - width_here
    )
    depth = np.minimum(free, gap)
    fissure = np.maximum(side - 0.3 - 0.6 * width_here, core + 1.0)
    depth = np.minimum(depth, fissure)
    thick = cortex_mm * np.clip(1 + 0.16 * draw_noise(rng, 9.0, LOW_MM, HIGH_MM).on(grid), 0.5, 1.5)
    solid, white = ramp(depth, 1.2), ramp(depth - thick, 1.4)
    # Corpus callosum and the tissue below it are no cortex.
    inner = ramp(core + 1.0, 2.0) * ramp(24 - side, 6.0)
    grey_base = 0.5 * ramp(-10 - z, 8.0) * ramp(y + 14, 8.0)  # hypothalamus and basal forebrain
    white = np.maximum(white, inner * solid * (1 - grey_base))
    liquor, cortex = 1 - solid, solid - np.minimum(white, solid)
    white = solid - cortex
    liquor, cortex, white = _hindbrain(shape, grid, side, (liquor, cortex, white), sulcus_mm, hull)
    nuclei, thalamus, vessel = (np.zeros(grid.shape, np.float32) for _ in range(3))
    ventricle = np.full(grid.shape, 30, np.float32)
    box = _deep_box(grid)
    if all(cut.stop > cut.start for cut in box):
        parts = _deep(side[box], x[box], y[box], z[box], ventricle_mm)
        stay = 1 - parts["liquor"]
        for share, name in ((nuclei, "nuclei"), (thalamus, "thalamus")):
            share[box] = parts[name] * stay * (1 - liquor[box])
        rest = stay * (1 - parts["nuclei"] - parts["thalamus"])
        grey = parts["grey"] * (1 - liquor[box])
        liquor[box] = 1 - (1 - liquor[box]) * stay
        cortex[box] = (cortex[box] * (1 - parts["grey"]) + grey * (1 - cortex[box])) * rest
        white[box] = 1 - liquor[box] - cortex[box] - nuclei[box] - thalamus[box]
        vessel[box] = parts["vessel"]
        ventricle[box] = parts["ventricle"]
    vessel = np.maximum(vessel, _surface_vessels(rng, grid, hull, side, y, z, gap_1, head))
    return Anatomy(
        grid=grid,
        liquor=liquor,
        cortex=cortex,
        white=np.clip(white, 0, 1),
        nuclei=nuclei,
        thalamus=thalamus,
        vessel=vessel,
        head=head,
        hull=hull,
        side=x,
        ventricle=ventricle,
        bridge=core > -2,
    )


def _midline_core(side: Float, y: Float, z: Float) -> Float:
    """Depth below the upper face of the corpus callosum, where the hemispheres are joined."""
    arch = np.minimum(_ellipsoid(side, y, z, (0, -6, -2), (38, 40, 32), 2.3), z + 9)
    below = _ellipsoid(side, y, z, (0, -14, -16), (20, 22, 26), 2.2)
    return np.maximum(arch, below)


def _hindbrain(  # type: ignore[no-untyped-def]
    shape: Shape, grid: Grid, side: Float, shares, sulcus_mm: float, hull: Float
) -> tuple[Float, Float, Float]:
    """Puts cerebellum and brain stem where they are deeper than the hemispheres."""
    liquor, cortex, white = shares
    cerebellum = grid.evaluate(shape.lattice, shape.cerebellum)
    stem = grid.evaluate(shape.lattice, shape.stem)
    folia = np.abs(grid.evaluate(shape.lattice, shape.folia))
    fissure = np.maximum(folia + 0.6, cerebellum - 16) - 0.35 * sulcus_mm
    depth = np.minimum(cerebellum - 0.4, fissure)
    small_solid = ramp(depth, 1.4)
    small_white = ramp(np.minimum(depth - 1.9, cerebellum - 5), 1.6)
    stem_solid = ramp(stem, 1.2)
    here = ramp(np.maximum(cerebellum, stem) - np.maximum(hull, -1.5), 1.0)
    solid = np.maximum(small_solid, stem_solid)
    tract = np.maximum(small_white, stem_solid)
    tract = np.minimum(tract, solid)
    return (
        liquor * (1 - here) + here * (1 - solid),
        cortex * (1 - here) + here * (solid - tract),
        white * (1 - here) + here * tract,
    )


def _deep_box(grid: Grid) -> tuple[slice, slice, slice]:
    return grid.box([low - 8 for low in _DEEP_LOW], [high + 8 for high in _DEEP_HIGH])


def _deep(side: Float, x: Float, y: Float, z: Float, ventricle_mm: float) -> dict[str, Float]:
    """Ventricles, nuclei, hippocampus, choroid plexus and arteries of the base, in standard coordinates."""
    stretch = 1 + 0.045 * ventricle_mm  # wide ventricles also reach further from the midline
    lateral = _tubes(side / stretch, y, z, _VENTRICLE) + np.float32(ventricle_mm * 0.75)
    lateral = np.minimum(lateral, side - np.float32(0.9))  # septum
    third = _ellipsoid(side, y, z, (0, -12, -1), (2.6 + 0.5 * ventricle_mm, 15, 11), 2.0)
    fourth = _ellipsoid(side, y, z, (0, -45, -33), (7 + 0.5 * ventricle_mm, 5 + 0.4 * ventricle_mm, 9), 2.0)
    aqueduct = (
        1.3 - np.sqrt(side**2 + (y + 33 + 0.35 * (z + 10)) ** 2) + np.minimum(0, np.minimum(-6 - z, z + 30))
    )
    liquor = ramp(np.maximum(np.maximum(lateral, third), np.maximum(fourth, aqueduct)), 1.4)
    turned = side - 0.18 * (y - 2)
    putamen = _ellipsoid(turned, y, z, (27, 2, 1), (5.6, 17, 10.5), 2.0)
    pallidum = _ellipsoid(side - 0.35 * (y + 3), y, z, (19.5, -3, 0), (4.2, 9, 7), 2.0)
    caudate = _tubes(side - np.float32(0.6 * ventricle_mm), y, z, _CAUDATE)
    nuclei = ramp(np.maximum(putamen, caudate), 1.5)
    thalamus = _ellipsoid(side + 0.35 * (y + 18), y, z, (12.0, -18, 7), (9.0, 15, 9.5), 2.2)
    deep = ramp(np.maximum(thalamus, pallidum), 2.0) * (1 - nuclei)
    grey = ramp(_tubes(side, y, z, _HIPPOCAMPUS), 1.6)
    choroid = ramp(_tubes(side, y, z, _CHOROID), 1.4) * ramp(lateral, 1.5)
    arteries = ramp(_tubes(side, y, z, _ARTERIES), 1.2)
    return {
        "liquor": liquor,
        "nuclei": nuclei,
        "thalamus": deep,
        "grey": grey,
        "vessel": np.maximum(0.55 * choroid, arteries),
        "ventricle": np.clip(-lateral, -30, 30),
    }


def _tubes(side: Float, y: Float, z: Float, course) -> Float:  # type: ignore[no-untyped-def]
    """Depth in mm inside a chain of tapered tubes, given by their end points and radii."""
    depth = np.full(np.broadcast_shapes(side.shape, y.shape, z.shape), -60, np.float32)
    for start, stop in course:
        a, step = np.array(start, np.float32), np.array(stop, np.float32) - np.array(start, np.float32)
        length = float(step[:3] @ step[:3])
        dx, dy, dz = side - a[0], y - a[1], z - a[2]
        along = np.clip((dx * step[0] + dy * step[1] + dz * step[2]) * np.float32(1 / length), 0, 1)
        dx, dy, dz = dx - along * step[0], dy - along * step[1], dz - along * step[2]
        np.maximum(depth, a[3] + along * step[3] - np.sqrt(dx * dx + dy * dy + dz * dz), out=depth)
    return depth


def _surface_vessels(  # type: ignore[no-untyped-def]
    rng: np.random.Generator,
    grid: Grid,
    hull: Float,
    side: Float,
    y: Float,
    z: Float,
    gap: Float,
    head: Float,
) -> Float:
    """Sagittal sinus, and branching vessels that run in the sulci: curves where two level sets cross."""
    shown = float(rng.uniform(0.4, 1.0))  # how much of the sinus skull stripping leaves
    sinus = ramp(2.3 - np.maximum(side, np.abs(head - 2.0)), 1.2) * (z > 0) * ramp(10 - y, 30.0)
    course = draw_noise(rng, 11.0, LOW_MM, HIGH_MM).on(grid)
    strength = np.clip(0.5 + 0.9 * draw_noise(rng, 22.0, LOW_MM, HIGH_MM).on(grid), 0, 1)
    in_sulcus = ramp(1.1 - np.maximum(gap, 0), 1.0) * (hull > -1) * (hull < 22)
    branch = ramp(0.16 - np.abs(course), 0.22) * in_sulcus * strength
    return np.maximum(shown * sinus, 0.9 * branch)
