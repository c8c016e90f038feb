"""Abdominal CT phantoms: a body with four organs, in Hounsfield units, as a folder of cases.

python scripts/completion/ct_phantom.py FOLDER [--patients N] [--size X Y Z] [--voxel_mm MM] [--seed S]

Not anatomy, but what a pipeline of another body part has to take: air of -1000 around the body, fat and muscle, organs
of nearly one grey with texture, bone beyond the window, gas.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from gliomagen.randomness import numpy_generator
from gliomagen.volume import Volume, write_volume

LIVER, KIDNEY, SPLEEN, PANCREAS = 1, 2, 3, 4
HU = {LIVER: 60.0, KIDNEY: 140.0, SPLEEN: 100.0, PANCREAS: 35.0}
Array = NDArray[Any]


def ct_phantom(rng: np.random.Generator, size: tuple[int, int, int]) -> tuple[Array, Array]:
    """Returns an image in HU (int16) and its label map (uint8), axes RAS."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in size], indexing="ij"))

    def ellipsoid(centre: tuple[float, ...], radii: tuple[float, ...], shake: float = 0.04) -> Array:
        at = np.asarray(centre) + rng.normal(0, shake, 3)
        wide = np.asarray(radii) * rng.uniform(0.85, 1.15, 3)
        away: Array = (((grid - at.reshape(3, 1, 1, 1)) / wide.reshape(3, 1, 1, 1)) ** 2).sum(0)
        bumps = ndimage.gaussian_filter(rng.standard_normal(size), max(size) / 16)
        return away + bumps / bumps.std() * 0.08 < 1

    def texture(sigma: float, by: float) -> Array:
        field = ndimage.gaussian_filter(rng.standard_normal(size), sigma)
        return np.asarray(field / field.std() * by)

    body = (grid[0] / 0.85) ** 2 + (grid[1] / 0.65) ** 2 < 1
    inner = (grid[0] / 0.76) ** 2 + (grid[1] / 0.55) ** 2 < 1
    image = np.where(body, -100.0, -1000.0)  # fat
    wall = inner & ~((grid[0] / 0.68) ** 2 + (grid[1] / 0.47) ** 2 < 1)
    image[wall] = 55.0
    image[ellipsoid((0, 0.1, 0), (0.4, 0.25, 0.8)) & inner] = 20.0  # bowel
    image[ellipsoid((0.1, 0.2, 0), (0.1, 0.08, 0.2)) & inner] = -800.0  # its gas
    image[((grid[0] / 0.12) ** 2 + ((grid[1] + 0.42) / 0.12) ** 2 < 1)] = 500.0  # spine
    label = np.zeros(size, np.uint8)
    organs = (
        (SPLEEN, (-0.5, -0.1, 0.3), (0.15, 0.18, 0.3)),
        (LIVER, (0.4, 0.1, 0.35), (0.32, 0.34, 0.5)),
        (KIDNEY, (0.33, -0.3, -0.3), (0.12, 0.12, 0.3)),
        (KIDNEY, (-0.33, -0.3, -0.25), (0.12, 0.12, 0.3)),
        (PANCREAS, (-0.08, 0.02, 0.1), (0.28, 0.07, 0.12)),
    )
    for organ, centre, radii in organs:
        inside = ellipsoid(centre, radii) & inner
        label[inside] = organ
        image[inside] = HU[organ]
    image[body] += (texture(3, 8) + texture(1, 8))[body]
    return (image + rng.normal(0, 10, size)).astype(np.int16), label


def main() -> None:
    """Writes the folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--patients", type=int, default=60)
    parser.add_argument("--size", type=int, nargs=3, default=(80, 64, 48))
    parser.add_argument("--voxel_mm", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    affine = np.diag([options.voxel_mm] * 3 + [1.0])
    for number in range(options.patients):
        case = f"CT-{options.seed:02d}{number:03d}"
        image, label = ct_phantom(numpy_generator(options.seed, case), tuple(options.size))
        for name, data in (("ct", image), ("seg", label)):
            write_volume(options.folder / case / f"{case}_{name}.nii.gz", Volume(data=data, affine=affine))


if __name__ == "__main__":
    main()
