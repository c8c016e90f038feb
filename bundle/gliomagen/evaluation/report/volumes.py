"""Chosen cases for the 3-D view, as scripts: a page opened from disk may load scripts, but nothing else."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ...files import written_whole
from ...scans import Scan

LEAST_MM = 2.0
"""Volumes are brought to voxels of at least this size: enough to look at, small enough to ship."""


def viewer_script(path: Path, case: str, scans: dict[str, Scan], contrasts: Sequence[str]) -> None:
    """Writes a script that hands a case's volumes to the page.

    Args:
        path: The script.
        case: Its name.
        scans: By set, ``synthetic`` and, where there is one, ``real``.
        contrasts: The channels.
    """
    volumes = {}
    for what, scan in scans.items():
        factors = [min(1.0, length / LEAST_MM) for length in scan.voxel_mm]
        affine = np.diag([*(np.array(scan.voxel_mm) / factors), 1.0])
        for number, name in enumerate(contrasts):
            grey = _resized(scan.volume[number], factors, order=1)
            volumes[f"{what}/{name}"] = _encoded((grey.clip(0, 1) * 255).astype(np.uint8), affine)
        label = _resized(scan.label, factors, order=0).astype(np.uint8)
        volumes[f"{what}/label"] = _encoded(np.where(label > 1, label - 1, 0).astype(np.uint8), affine)
    content = f"gliomagen.receive({json.dumps(case)}, {json.dumps(volumes)});\n"
    with written_whole(path) as beside:
        beside.write_text(content, encoding="utf-8")


def _resized(volume: NDArray[np.generic], factors: Sequence[float], *, order: int) -> NDArray[np.generic]:
    if all(factor == 1 for factor in factors):
        return volume
    return np.asarray(ndimage.zoom(volume, factors, order=order))


def _encoded(volume: NDArray[np.uint8], affine: NDArray[np.float64]) -> str:
    """Returns a gzipped NIfTI as base64; the same bytes for the same volume."""
    image = nib.Nifti1Image(volume, affine)
    image.header.set_xyzt_units("mm")
    return base64.b64encode(gzip.compress(image.to_bytes(), compresslevel=9, mtime=0)).decode("ascii")
