"""Label maps to vary: an ellipsoid head with a lesion as treated gliomas have it, and a ball of one label."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from gliomagen.labels import ET, HEAD, NETC, RC, SNFH
from gliomagen.synthesis.maps import LabelMap

Voxel = tuple[float, float, float]


def places_mm(shape: tuple[int, int, int], voxel_mm: Voxel) -> NDArray[np.float64]:
    """Returns the (3, X, Y, Z) places of voxel centres, from the middle of the image."""
    axes = [(np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(shape, voxel_mm, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"))


def head_of(shape: tuple[int, int, int], voxel_mm: Voxel) -> NDArray[np.uint8]:
    """Returns a head of 66 x 80 x 62 mm half axes."""
    x, y, z = places_mm(shape, voxel_mm)
    return ((x / 66) ** 2 + (y / 80) ** 2 + (z / 62) ** 2 < 1).astype(np.uint8) * HEAD


def glioma(
    *, centre_mm: tuple[float, float, float] = (28, 12, 8), voxel_mm: Voxel = (3, 3, 3), name: str = "A"
) -> LabelMap:
    """Returns a head with necrosis in a rim of enhancement, a cavity beside it, and oedema around both."""
    shape = tuple(int(np.ceil(size / mm)) for size, mm in zip((180, 200, 160), voxel_mm, strict=True))
    assert len(shape) == 3
    label = head_of(shape, voxel_mm)
    x, y, z = places_mm(shape, voxel_mm) - np.reshape(centre_mm, (3, 1, 1, 1))
    away = np.sqrt(x**2 + y**2 + z**2)
    beside = np.sqrt(x**2 + (y + 16) ** 2 + z**2)
    inside = label > 0
    label[inside & (np.minimum(away, beside) < 22)] = SNFH
    label[inside & (away < 13)] = ET
    label[inside & (away < 9)] = NETC
    label[inside & (beside < 8)] = RC
    return LabelMap(case=f"{name}-100", patient=name, label=label, voxel_mm=voxel_mm)


def ball(
    kind: int,
    radius_mm: float,
    *,
    voxel_mm: Voxel = (2, 2, 2),
    centre_mm: tuple[float, float, float] = (10, 0, 0),
) -> LabelMap:
    """Returns a head with a ball of one label, well inside."""
    shape = tuple(int(np.ceil(size / mm)) for size, mm in zip((180, 200, 160), voxel_mm, strict=True))
    assert len(shape) == 3
    label = head_of(shape, voxel_mm)
    away = np.linalg.norm(places_mm(shape, voxel_mm) - np.reshape(centre_mm, (3, 1, 1, 1)), axis=0)
    label[away < radius_mm] = kind
    return LabelMap(case="ball-100", patient="ball", label=label, voxel_mm=voxel_mm)


def volume_ml(source: LabelMap, label: NDArray[np.uint8], *kinds: int) -> float:
    """Returns the volume of labels in ml."""
    return float(np.isin(label, kinds).sum() * np.prod(source.voxel_mm) / 1000)


@pytest.fixture(scope="session")
def source() -> LabelMap:
    return glioma()


@pytest.fixture(scope="session")
def donor() -> LabelMap:
    return glioma(centre_mm=(-24, -30, 14), name="B")


@pytest.fixture(scope="session")
def make_ball() -> Callable[..., LabelMap]:
    return ball


@pytest.fixture(scope="session")
def make_glioma() -> Callable[..., LabelMap]:
    return glioma


@pytest.fixture(scope="session")
def ml() -> Callable[..., float]:
    return volume_ml
