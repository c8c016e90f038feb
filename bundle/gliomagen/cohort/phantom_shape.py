"""Outer shape and folds of a phantom head on a coarse lattice: hemispheres, cerebellum, brain stem, sulci.

Positions are millimetres in a right-anterior-superior frame with its origin near the anterior commissure. Shapes
are written down for one standard head (landmarks as in the usual stereotaxic atlases) and every patient is a
smooth, asymmetric warp of it: "standard" coordinates say where a point of the patient lies in the standard head.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .phantom_field import Float, Grid, Lattice, Noise, draw_noise, generator, lattice_over

HEAD_CENTRE_MM = (0.0, -18.0, 5.0)
_LOW_MM, _HIGH_MM = (-84.0, -118.0, -74.0), (84.0, 82.0, 82.0)
_SPACING_MM = 3.0


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Lattice fields of one patient, in mm and positive inside.

    Attributes:
        lattice: Where the fields stand.
        x, y, z: Standard coordinates.
        head: Depth below the surface of the skull-stripped head.
        cerebrum: Depth below the hull of the nearer hemisphere, its medial wall included.
        cerebellum, stem: Depth inside them.
        primary, secondary: Signed distance to the nearest deep and shallow sulcus.
        lateral: Distance to the Sylvian fissure and insular cistern.
        primary_depth, secondary_depth: How deep those sulci reach below the hull.
        folia: Signed distance to the nearest cerebellar fissure.
    """

    lattice: Lattice
    x: Float
    y: Float
    z: Float
    head: Float
    cerebrum: Float
    cerebellum: Float
    stem: Float
    primary: Float
    secondary: Float
    lateral: Float
    primary_depth: Float
    secondary_depth: Float
    folia: Float


@dataclass(frozen=True, kw_only=True)
class Frame:
    """How a patient's head is warped from the standard one, before anything in it pushes.

    Attributes:
        lattice: Where the fields stand.
        head, cerebrum: Depth in the head and below the hull of the nearer hemisphere, in mm.
        standard: Standard coordinates (x, y, z).
        warps, tilt, centre, scale: What :func:`draw_shape` needs to map moved positions.
    """

    lattice: Lattice
    head: Float
    cerebrum: Float
    standard: tuple[Float, Float, Float]
    warps: tuple[Float, Float, Float]
    tilt: NDArray[np.float64]
    centre: NDArray[np.float64]
    scale: NDArray[np.float64]


def draw_frame(patient: int) -> Frame:
    """Draws size, proportions and bends of a patient's head; they depend on the patient's number alone."""
    rng = generator(patient, "frame")
    lattice = lattice_over(_LOW_MM, _HIGH_MM, _SPACING_MM)
    target = np.array([rng.uniform(135, 149), rng.uniform(165, 179), rng.uniform(119, 131)])
    tilt = rng.normal(0, 0.02, 3)  # small rotations left over by a registration
    warps = (_warp(rng, lattice), _warp(rng, lattice), _warp(rng, lattice))
    centre, scale = np.array(HEAD_CENTRE_MM), target / np.array([140.0, 174.0, 136.0])
    for _ in range(2):  # the warp changes the extent; a second pass makes it the one drawn
        head = _outline(*_standard(lattice.axes(), warps, tilt, centre, scale))[0]
        low, high = _extent(head, lattice)
        scale = scale * target / (high - low)
        centre = centre + np.array(HEAD_CENTRE_MM) - (low + high) / 2
    standard = _standard(lattice.axes(), warps, tilt, centre, scale)
    head, cerebrum = _outline(*standard)[:2]
    return Frame(
        lattice=lattice,
        head=head,
        cerebrum=cerebrum,
        standard=standard,
        warps=warps,
        tilt=tilt,
        centre=centre,
        scale=scale,
    )


def draw_shape(patient: int, frame: Frame, push_mm: tuple[Float, Float, Float] | None = None) -> Shape:
    """Draws the folds of a patient's head, and moves tissue aside where a lesion pushes.

    Args:
        patient: Its number, the only thing the folds depend on.
        frame: Its frame.
        push_mm: Displacement of tissue at the lattice's nodes (mass effect). The surface stays where it is.
    """
    rng = generator(patient, "folds")
    lattice, (x, y, z) = frame.lattice, frame.standard
    if push_mm is not None:
        yielding = np.clip(frame.head / 14, 0, 1)
        moved = [axis - yielding * shift for axis, shift in zip(lattice.axes(), push_mm, strict=True)]
        x, y, z = _standard(moved, frame.warps, frame.tilt, frame.centre, frame.scale)
    head, hemisphere, temporal, cerebellum, stem = _outline(x, y, z)
    primary, secondary = _folds(rng, lattice, x, y, z, hemisphere)
    deep, shallow = (lattice_values(draw_noise(rng, 20.0, _LOW_MM, _HIGH_MM), lattice) for _ in range(2))
    return Shape(
        lattice=lattice,
        x=x,
        y=y,
        z=z,
        head=head,
        cerebrum=hemisphere,
        cerebellum=cerebellum,
        stem=stem,
        primary=primary,
        secondary=secondary,
        lateral=_lateral(x, y, z, temporal),
        primary_depth=np.clip(17 + 6 * deep, 5, 30),
        secondary_depth=np.clip(8 + 5 * shallow, 0, 18),
        folia=_folia(rng, lattice, x, y, z),
    )


def lattice_values(noise: Noise, lattice: Lattice) -> Float:
    """Evaluates noise at the nodes of a lattice."""
    return noise.on(Grid(lines=tuple(axis.ravel() for axis in lattice.axes())))  # type: ignore[arg-type]


def _warp(rng: np.random.Generator, lattice: Lattice) -> Float:
    """One component of the individual displacement in mm: slow and a little faster bends."""
    slow, fast = draw_noise(rng, 55.0, _LOW_MM, _HIGH_MM), draw_noise(rng, 24.0, _LOW_MM, _HIGH_MM)
    return 2.6 * lattice_values(slow, lattice) + 0.9 * lattice_values(fast, lattice)


def _standard(axes, warps, tilt, centre, scale) -> tuple[Float, Float, Float]:  # type: ignore[no-untyped-def]
    """Maps lattice positions to standard coordinates."""
    x, y, z = (axis - np.float32(middle) for axis, middle in zip(axes, centre, strict=True))
    turned = (x - tilt[0] * y + tilt[1] * z, y + tilt[0] * x - tilt[2] * z, z - tilt[1] * x + tilt[2] * y)
    return tuple(
        (part / np.float32(factor) + warp + np.float32(middle)).astype(np.float32)
        for part, factor, warp, middle in zip(turned, scale, warps, HEAD_CENTRE_MM, strict=True)
    )  # type: ignore[return-value]


def _extent(head: Float, lattice: Lattice) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Corners of the head's bounding box in mm, between nodes by linear interpolation."""
    low, high = np.empty(3), np.empty(3)
    for axis in range(3):
        profile = head.max(axis=tuple(other for other in range(3) if other != axis))
        inside = np.flatnonzero(profile > 0)
        first, last = int(inside[0]), int(inside[-1])
        start = first - profile[first] / (profile[first] - profile[first - 1])
        stop = last + profile[last] / (profile[last] - profile[last + 1])
        low[axis] = lattice.origin_mm[axis] + lattice.spacing_mm * start
        high[axis] = lattice.origin_mm[axis] + lattice.spacing_mm * stop
    return low, high


def _outline(x: Float, y: Float, z: Float) -> tuple[Float, Float, Float, Float, Float]:
    """Depth in the head, the hemispheres, the temporal lobes, the cerebellum and the brain stem."""
    side = np.abs(x)
    # Hemispheres: an egg, narrower in front, with slightly flattened sides, cut off at the base.
    narrow = 1 - 0.13 * np.clip((y + 25) / 90, -0.35, 1) ** 2 - 0.05 * np.clip((y + 25) / 90, 0, 1)
    egg = _ellipsoid(side / narrow, y, z, (0, -18, 12), (69, 87, 65), 2.35)
    front = -25 + 0.17 * side + 0.12 * np.clip(y - 20, 0, 60)
    back = -5 - 0.27 * side + 0.08 * np.clip(-y - 60, 0, 50)
    blend = np.clip((y + 45) / 40, 0, 1)
    base = z - (back + (front - back) * blend)
    dome = _smooth_min(egg, base, 17)
    along = np.clip(y, -46, 8)
    drop = -24 + 0.20 * np.clip(-y - 6, 0, 50)  # the lobe rises towards the back
    temporal = _ellipsoid(side, y - along, z, (45, 0, drop), (21, 18, 19), 2.1)
    hull = _smooth_max(dome, temporal, 8)
    hemisphere = _smooth_min(hull, side + 1.5, 7)
    cerebellum = _smooth_max(
        _ellipsoid(side, y, z, (23, -63, -33), (30, 28, 23), 2.2),
        _ellipsoid(side, y, z, (0, -60, -29), (14, 23, 24), 2.0),
        5,
    )
    stem = _stem(x, y, z)
    brain = _smooth_max(_smooth_min(hull, side + 4, 8), _smooth_max(cerebellum, stem, 8), 17)
    head = brain + np.float32(0.4)  # the outermost liquor that skull stripping leaves
    return head, hemisphere, temporal, cerebellum, stem


def _stem(x: Float, y: Float, z: Float) -> Float:
    """Depth inside midbrain, pons and medulla: an upright tube that bends and swells with height."""
    heights = [-70, -58, -50, -43, -36, -28, -20, -13, -5, 4]
    middle = np.interp(z, heights, [-45, -42, -39, -32, -28, -26, -26, -26, -24, -20]).astype(np.float32)
    half_y = np.interp(z, heights, [6, 6.5, 7.5, 11, 13, 13, 11, 11, 10, 6]).astype(np.float32)
    half_x = np.interp(z, heights, [6.5, 7.5, 9, 14, 17, 17, 15, 16, 17, 10]).astype(np.float32)
    radius = np.sqrt((x / half_x) ** 2 + ((y - middle) / half_y) ** 2)
    return _smooth_min((1 - radius) * half_y, np.minimum(z + 62, 4 - z), 3)


def _folds(
    rng: np.random.Generator, lattice: Lattice, x: Float, y: Float, z: Float, depth: Float
) -> list[Float]:
    """Signed distances to deep and shallow sulci: level sets of band-limited noise, constant along the depth.

    The noise is read near the surface, where a ray from the hemisphere's long axis leaves it, so its level sets
    stand upright on the cortex, as sulci do, on the convexity and on the medial wall alike.
    """
    side = np.where(x < 0, -1, 1).astype(np.float32)
    ray = [x - side * 24, y - np.clip(y, -62, 30), z - 6]
    length = np.sqrt(ray[0] ** 2 + ray[1] ** 2 + ray[2] ** 2) + 1e-3
    outward = 0.9 * np.clip(depth, -4, 30) / length
    places = [
        (position + part * outward - np.float32(origin)) / np.float32(lattice.spacing_mm)
        for position, part, origin in zip((x, y, z), ray, lattice.origin_mm, strict=True)
    ]
    places[0] = places[0] + np.where(x < 0, np.float32(-2), np.float32(2))  # the hemispheres do not mirror
    result = []
    wander = [2.6 * lattice_values(draw_noise(rng, 13.0, _LOW_MM, _HIGH_MM), lattice) for _ in range(3)]
    places = [place + bend / lattice.spacing_mm for place, bend in zip(places, wander, strict=True)]
    for wavelength_mm in (rng.uniform(33, 40), rng.uniform(20, 25)):
        white = rng.standard_normal(lattice.shape).astype(np.float32)
        sigma = wavelength_mm / (2 * np.pi * 0.92) / lattice.spacing_mm
        band = ndimage.gaussian_filter(white, sigma, mode="wrap")
        band -= ndimage.gaussian_filter(white, sigma * 1.25, mode="wrap")
        band -= ndimage.gaussian_filter(band, sigma * 0.9, mode="wrap")
        pattern = ndimage.map_coordinates(band / band.std(), places, order=3, mode="wrap", prefilter=False)
        result.append(_distance_to_zero(pattern, lattice.spacing_mm, wavelength_mm))
    return result


def _folia(rng: np.random.Generator, lattice: Lattice, x: Float, y: Float, z: Float) -> Float:
    """Signed distance to the fissures of the cerebellum, which fan out from the fourth ventricle."""
    angle = np.arctan2(z + 30, y + 44)
    bend = lattice_values(draw_noise(rng, 16.0, _LOW_MM, _HIGH_MM), lattice)
    phase = 15 * angle + 0.8 * bend + 0.004 * np.abs(x) ** 1.5
    reach = np.sqrt((y + 44) ** 2 + (z + 30) ** 2)
    return (np.sin(phase) * reach / 15).astype(np.float32)


def _lateral(x: Float, y: Float, z: Float, temporal: Float) -> Float:
    """Distance to the Sylvian fissure (upper face of the temporal lobe) and the cistern over the insula."""
    side = np.abs(x)
    above = np.clip(-(z + 25), 0, None) + np.clip(-30 - y, 0, None) * 0.8
    fissure = np.maximum(np.maximum(np.abs(temporal), 37 - side), above)
    bow = 40 - 0.009 * (y - 2) ** 2 - 0.012 * (z + 2) ** 2
    beyond = 11 * np.clip(np.sqrt(((y - 1) / 20) ** 2 + ((z + 2) / 11) ** 2) - 1, 0, None)
    insula = np.sqrt((side - bow) ** 2 + beyond**2)
    return np.minimum(fissure, insula).astype(np.float32)


def _distance_to_zero(pattern: Float, spacing_mm: float, wavelength_mm: float) -> Float:
    """First-order signed distance in mm to the zero level set of a pattern."""
    steep = sum(part**2 for part in np.gradient(pattern, spacing_mm))
    floor = (0.35 * 2 * np.pi / wavelength_mm) ** 2
    distance = pattern / np.sqrt(steep + floor)
    return np.clip(distance, -wavelength_mm / 3, wavelength_mm / 3).astype(np.float32)


def _ellipsoid(x: Float, y: Float, z: Float, centre, half, power: float) -> Float:  # type: ignore[no-untyped-def]
    """First-order depth in mm inside a superellipsoid."""
    parts = [
        np.abs(part - middle) / length + np.float32(1e-6)
        for part, middle, length in zip((x, y, z), centre, half, strict=True)
    ]
    level = sum(part**power for part in parts) ** (1 / power)
    steep = np.sqrt(
        sum((part ** (power - 1) / length) ** 2 for part, length in zip(parts, half, strict=True))
    )
    return ((1 - level) * level ** (power - 1) / np.maximum(steep, 1e-6)).clip(-60, 60).astype(np.float32)


def _smooth_min(a: Float, b: Float, width_mm: float) -> Float:
    """The smaller of two depths with the edge between them rounded over ``width_mm``."""
    mix = np.clip(width_mm - np.abs(a - b), 0, None)
    return np.minimum(a, b) - mix * mix * np.float32(0.25 / width_mm)


def _smooth_max(a: Float, b: Float, width_mm: float) -> Float:
    """The larger of two depths with the crease between them filled over ``width_mm``."""
    return -_smooth_min(-a, -b, width_mm)
