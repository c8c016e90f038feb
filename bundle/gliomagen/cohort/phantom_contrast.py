"""What a phantom looks like in each contrast: tissue intensities, texture, bias field, noise, scanner."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..labels import CONTRASTS
from .phantom_anatomy import HIGH_MM, LOW_MM, Anatomy
from .phantom_field import Float, Grid, draw_noise, generator
from .phantom_lesion import Lesion

# Mean signal of each tissue; order liquor, cortex, white, nuclei, thalamus.
_TISSUE = {
    "t1c": (0.20, 0.55, 0.68, 0.57, 0.62),
    "t1n": (0.18, 0.54, 0.72, 0.58, 0.64),
    "t2f": (0.12, 0.57, 0.48, 0.53, 0.51),
    "t2w": (1.05, 0.56, 0.42, 0.48, 0.45),
}
_VESSEL = {"t1c": 1.10, "t1n": 0.50, "t2f": 0.30, "t2w": 0.30}
# Lesion parts: oedema, enhancing tissue, necrosis, cavity, gliotic border of the cavity, old blood.
_LESION = {
    "t1c": (0.47, 1.12, 0.30, 0.19, 0.50, 0.62),
    "t1n": (0.50, 0.53, 0.32, 0.18, 0.48, 0.95),
    "t2f": (0.88, 0.78, 0.60, 0.13, 0.92, 0.50),
    "t2w": (0.82, 0.70, 0.85, 1.05, 0.80, 0.45),
}


def paint(patient: int, timepoint: int, anatomy: Anatomy, lesion: Lesion) -> dict[str, Float]:
    """Paints the noise-free contrasts of a patient on a grid.

    The patient's tissue (contrast between tissues, texture, white matter spots) is the same at every time
    point; the scanner's part of the contrast is drawn anew for each.

    Returns:
        One array per contrast, white matter of t1n about 0.7.
    """
    rng, scan = generator(patient, "tissue"), generator(patient, "scan", timepoint)
    grid = anatomy.grid
    texture = draw_noise(rng, 5.0, LOW_MM, HIGH_MM).on(grid)
    cloud = draw_noise(rng, 28.0, LOW_MM, HIGH_MM).on(grid)
    shares = (anatomy.liquor, anatomy.cortex, anatomy.white, anatomy.nuclei, anatomy.thalamus)
    spots = _white_matter_spots(rng, anatomy)
    images = {}
    for contrast in CONTRASTS:
        levels = np.array(_TISSUE[contrast]) * np.exp(rng.normal(0, 0.03, 5) + scan.normal(0, 0.025, 5))
        image = np.zeros(grid.shape, np.float32)
        for share, level in zip(shares, levels, strict=True):
            image += np.float32(level) * share
        image += np.float32({"t1c": -0.06, "t1n": -0.10, "t2f": 0.36, "t2w": 0.24}[contrast]) * spots
        image *= 1 + np.float32(0.022) * texture + np.float32(0.02) * cloud
        vessel = anatomy.vessel * np.float32(1.0 if contrast == "t1c" else 0.6)
        image += vessel * (np.float32(_VESSEL[contrast]) - image)
        images[contrast] = image
    _paint_lesion(images, lesion, scan)
    return images


def scan_effects(
    patient: int, timepoint: int, images: dict[str, Float], grid: Grid, inside: NDArray[np.bool_]
) -> dict[str, Float]:
    """Adds what a scanner adds: blur, bias field, gain, Rician noise.

    Args:
        patient: Its number.
        timepoint: Which scan.
        images: Noise-free contrasts on the output grid.
        grid: The output grid.
        inside: True inside the head.

    Returns:
        One float32 array per contrast, exactly 0 outside the head.
    """
    result = {}
    voxel_mm = abs(float(grid.lines[0][1] - grid.lines[0][0]))
    for contrast in CONTRASTS:
        rng = generator(patient, f"acquisition of {contrast}", timepoint)
        blur_mm = rng.uniform(0.3, 0.65)
        image = ndimage.gaussian_filter(images[contrast], max(blur_mm / voxel_mm, 0.32))
        bias = draw_noise(rng, 75.0, LOW_MM, HIGH_MM).on(grid)
        image = image * np.exp(np.float32(rng.uniform(0.03, 0.09)) * bias)
        gamma, gain = rng.uniform(0.88, 1.15), np.exp(rng.normal(np.log(600), 0.35))
        image = np.clip(image, 0, None) ** np.float32(gamma)
        sigma = np.float32(rng.uniform(0.006, 0.016))
        real = image + sigma * rng.standard_normal(image.shape, np.float32)
        imaginary = sigma * rng.standard_normal(image.shape, np.float32)
        image = np.sqrt(real * real + imaginary * imaginary) * np.float32(gain)
        image[~inside] = 0
        result[contrast] = image
    return result


def _white_matter_spots(rng: np.random.Generator, anatomy: Anatomy) -> Float:
    """Share of periventricular caps and small spots in the white matter; patients differ in burden."""
    grid = anatomy.grid
    burden = float(rng.beta(1.3, 2.6))
    caps = np.exp(-np.clip(anatomy.ventricle, 0, None) / np.float32(1.2 + 2.5 * burden)) * (
        0.35 + 0.6 * burden
    )
    patchy = np.clip(0.7 + 0.5 * draw_noise(rng, 14.0, LOW_MM, HIGH_MM).on(grid), 0, 1)
    spots = np.clip(draw_noise(rng, 6.0, LOW_MM, HIGH_MM).on(grid) - np.float32(3.3 - 1.0 * burden), 0, 0.6)
    deep = np.clip((anatomy.hull - 9) / 6, 0, 1)
    return anatomy.white * np.clip(caps * patchy + 1.6 * spots * deep, 0, 1)


def _paint_lesion(images: dict[str, Float], lesion: Lesion, scan: np.random.Generator) -> None:
    """Lays the lesion's parts over the tissue, each inside its own bounding box."""
    box = lesion.box
    if box is None:
        return
    texture, cloud = lesion.texture, lesion.cloud
    for contrast in CONTRASTS:
        image = images[contrast][box]
        oedema, enhancing, necrosis, cavity, border, blood = (
            np.float32(level * np.exp(scan.normal(0, 0.03))) for level in _LESION[contrast]
        )
        wave = 1 + np.float32(0.07) * texture
        image += lesion.oedema * np.clip(0.82 + 0.16 * cloud, 0.35, 1.0) * (oedema * wave - image)
        image += lesion.border * (border * wave - image)
        image += lesion.necrosis * (necrosis * (1 + 0.16 * cloud + 0.10 * texture) - image)
        uptake = np.float32(1.0) + np.float32(0.13) * cloud + np.float32(0.08) * texture
        image += lesion.enhancing * (enhancing * (uptake if contrast == "t1c" else wave) - image)
        image += lesion.cavity * (cavity * (1 + 0.04 * cloud) - image)
        image += lesion.blood * (blood * wave - image)
