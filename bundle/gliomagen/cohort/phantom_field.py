"""Smooth fields in millimetre space, and the regular grids they are sampled on.

A phantom is a function of position. What is smooth in it (warps, hull depths, fold patterns, noise) lives on
coarse lattices fixed in millimetres and is evaluated on any axis-aligned grid by three small matrix products, so
the same patient comes out whatever the grid, and a fine grid costs little more than its own voxels.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.floating[Any]]  # float32 throughout; the type checker cannot follow scalars' promotion

_BSPLINE_STD = (
    0.3320  # of a cubic B-spline field with unit-variance coefficients, averaged over positions, 3-D
)


def generator(number: int, purpose: str, timepoint: int = 0) -> np.random.Generator:
    """Returns the generator of one purpose of one patient, independent of every other purpose."""
    return np.random.default_rng([number, zlib.crc32(purpose.encode()), timepoint])


@dataclass(frozen=True, kw_only=True)
class Lattice:
    """A coarse regular lattice in millimetres.

    Attributes:
        origin_mm: Position of the first node.
        spacing_mm: Distance of nodes, the same on each axis.
        shape: Number of nodes per axis.
    """

    origin_mm: tuple[float, float, float]
    spacing_mm: float
    shape: tuple[int, int, int]

    def axes(self) -> list[Float]:
        """Returns the node positions per axis, shaped to broadcast."""
        result = []
        for axis in range(3):
            line = self.origin_mm[axis] + self.spacing_mm * np.arange(self.shape[axis])
            result.append(line.astype(np.float32).reshape([-1 if axis == other else 1 for other in range(3)]))
        return result


def lattice_over(low_mm: Sequence[float], high_mm: Sequence[float], spacing_mm: float) -> Lattice:
    """Returns a lattice that covers a box with the margin cubic interpolation needs."""
    origin = tuple(float(low) - 2 * spacing_mm for low in low_mm)
    shape = tuple(
        int(np.ceil((high - low) / spacing_mm)) + 5 for low, high in zip(low_mm, high_mm, strict=True)
    )
    return Lattice(origin_mm=origin, spacing_mm=spacing_mm, shape=shape)  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """The axis-aligned sample points of a (sub-)volume in millimetres.

    Attributes:
        lines: Sample positions along x, y and z.
    """

    lines: tuple[Float, Float, Float]
    _weights: dict[tuple[Lattice, bool], list[Float]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of samples per axis."""
        return tuple(len(line) for line in self.lines)  # type: ignore[return-value]

    def axes(self) -> tuple[Float, Float, Float]:
        """Returns the positions shaped to broadcast: (X, 1, 1), (1, Y, 1), (1, 1, Z)."""
        x, y, z = self.lines
        return x[:, None, None], y[None, :, None], z[None, None, :]

    def box(self, low_mm: Sequence[float], high_mm: Sequence[float]) -> tuple[slice, slice, slice]:
        """Returns the index box of the samples between two corners; it may be empty."""
        result = []
        for line, low, high in zip(self.lines, low_mm, high_mm, strict=True):
            inside = np.flatnonzero((line >= low) & (line <= high))
            result.append(slice(int(inside[0]), int(inside[-1]) + 1) if inside.size else slice(0, 0))
        return tuple(result)  # type: ignore[return-value]

    def part(self, box: tuple[slice, slice, slice]) -> Grid:
        """Returns the grid of an index box."""
        return Grid(lines=tuple(line[cut] for line, cut in zip(self.lines, box, strict=True)))  # type: ignore[arg-type]

    def evaluate(self, lattice: Lattice, values: Float, *, smooth: bool = False) -> Float:
        """Evaluates a lattice field at every sample.

        Args:
            lattice: Where ``values`` stand.
            values: One number per node.
            smooth: False passes through the values (cubic convolution), True takes them as cubic B-spline
                coefficients, which is smoother.

        Returns:
            Array of the grid's shape.
        """
        key = (lattice, smooth)
        if key not in self._weights:
            self._weights[key] = [
                _weights(line, lattice.origin_mm[axis], lattice.spacing_mm, lattice.shape[axis], smooth)
                for axis, line in enumerate(self.lines)
            ]
        along_x, along_y, along_z = self._weights[key]
        result = np.matmul(along_y, values @ along_z.T)  # (a, Y, Z)
        return np.tensordot(along_x, result, axes=1)  # (X, Y, Z)


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Smooth Gaussian noise of unit variance and one length scale.

    Attributes:
        lattice: Its nodes, about half a wavelength apart.
        values: B-spline coefficients.
    """

    lattice: Lattice
    values: Float

    def on(self, grid: Grid) -> Float:
        """Evaluates it at every sample of ``grid``."""
        return grid.evaluate(self.lattice, self.values, smooth=True)


def draw_noise(
    rng: np.random.Generator, scale_mm: float, low_mm: Sequence[float], high_mm: Sequence[float]
) -> Noise:
    """Draws noise whose bumps are about ``scale_mm`` wide over a box in millimetres."""
    lattice = lattice_over(low_mm, high_mm, scale_mm)
    values = rng.standard_normal(lattice.shape).astype(np.float32) / np.float32(_BSPLINE_STD)
    return Noise(lattice=lattice, values=values)


def ramp(distance_mm: Float, width_mm: float) -> Float:
    """Returns the share inside a surface: 0 to 1 over ``width_mm`` around distance 0 (positive inside)."""
    return np.clip(distance_mm * np.float32(1 / width_mm) + np.float32(0.5), 0, 1)


def _weights(line: Float, origin: float, spacing: float, count: int, smooth: bool) -> Float:
    """Interpolation matrix (samples, nodes) along one axis; positions beyond the lattice take its edge."""
    position = np.clip((line.astype(np.float64) - origin) / spacing, 1, count - 2 - 1e-6)
    base = np.floor(position).astype(int)
    t = position - base
    if smooth:
        parts = [
            (1 - t) ** 3 / 6,
            (3 * t**3 - 6 * t**2 + 4) / 6,
            (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6,
            t**3 / 6,
        ]
    else:  # Catmull-Rom
        parts = [
            (-(t**3) + 2 * t**2 - t) / 2,
            (3 * t**3 - 5 * t**2 + 2) / 2,
            (-3 * t**3 + 4 * t**2 + t) / 2,
            (t**3 - t**2) / 2,
        ]
    matrix = np.zeros((len(line), count), np.float32)
    rows = np.arange(len(line))
    for offset, part in zip((-1, 0, 1, 2), parts, strict=True):
        matrix[rows, base + offset] += part.astype(np.float32)
    return matrix
