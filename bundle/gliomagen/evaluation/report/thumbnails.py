"""Small pictures of cases: four contrasts in a row, the real scan above the synthetic one, the label map outlined."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from ...labels import HEAD
from ...pictures import LABEL_COLOURS, PLANES, radiological, representative_slice
from ...scans import Scan

PANEL = 128
"""Pixels along a panel's edge; two thousand cases must stay below 50 MB."""

_QUALITY = 78
_GAP = 2


def thumbnail(scans: Sequence[Scan], *, plane: str = "axial") -> bytes:
    """Draws scans one above the other, at the slice with the most tumour core of the last.

    Args:
        scans: Real and synthetic of one label map, or one alone.
        plane: Which.

    Returns:
        The content of a WebP file.
    """
    axis = PLANES[plane]
    at = representative_slice(scans[-1].label, axis)
    rows = [_row(scan, axis, min(at, scan.label.shape[axis] - 1)) for scan in scans]
    gap = np.zeros((_GAP, rows[0].shape[1], 3), np.uint8)
    parts = [rows[0]]
    for row in rows[1:]:
        parts += [gap, row]
    content = BytesIO()
    Image.fromarray(np.concatenate(parts)).save(content, format="WEBP", quality=_QUALITY, method=4)
    return content.getvalue()


def _row(scan: Scan, axis: int, at: int) -> NDArray[np.uint8]:
    label = radiological(np.take(scan.label, at, axis))
    outline = _outline(label)
    panels: list[NDArray[np.generic]] = []
    for number, grey in enumerate(scan.volume):
        panel = _fitted(radiological(np.take(grey, at, axis)), order=1)
        rgb = np.repeat(panel[..., None], 3, axis=2)
        if number:  # one contrast stays clean
            for value in np.unique(outline[outline > 0]):
                rgb[outline == value] = to_rgb(LABEL_COLOURS[int(value)])
        panels += [rgb, np.zeros((PANEL, _GAP, 3))]
    return (np.concatenate(panels[:-1], axis=1).clip(0, 1) * 255).astype(np.uint8)


def _outline(label: NDArray[np.uint8]) -> NDArray[np.uint8]:
    large = _fitted(label, order=0).astype(np.uint8)
    edge = np.zeros_like(large)
    for value in np.unique(large[large > HEAD]):
        mask = large == value
        edge[mask & ~ndimage.binary_erosion(mask)] = value
    return edge


def _fitted(plane: NDArray[np.generic], *, order: int) -> NDArray[np.float32]:
    """Scales a plane to fill the panel, its shape kept, centred."""
    scale = PANEL / max(plane.shape)
    mode = Image.Resampling.BILINEAR if order else Image.Resampling.NEAREST
    size = (max(1, round(plane.shape[1] * scale)), max(1, round(plane.shape[0] * scale)))
    image = np.asarray(Image.fromarray(np.asarray(plane, np.float32)).resize(size, mode), np.float32)
    panel = np.zeros((PANEL, PANEL), np.float32)
    top, left = (PANEL - image.shape[0]) // 2, (PANEL - image.shape[1]) // 2
    panel[top : top + image.shape[0], left : left + image.shape[1]] = image
    return panel
