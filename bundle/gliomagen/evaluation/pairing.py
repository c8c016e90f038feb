"""What is measured of a synthetic scan beside the real one of the same label map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..scans import Scan, ScanFiles
from .similarity import betas_that_fit, ms_ssim

Distance = Callable[[NDArray[Any], NDArray[Any]], float]
"""Perceptual distance of two scans (C, X, Y, Z)."""

PAIR = "pair"
HEAD_SLICES = "pair/head"
_SLICES = 48  # compared at once


def partners(real: Sequence[ScanFiles], synthetic: Sequence[ScanFiles]) -> dict[str, ScanFiles]:
    """Returns by synthetic case the real scan of its label map; a synthetic scan says which it was made from."""
    by_case = {files.case: files for files in real}
    return {
        files.case: by_case[files.mask_case or files.case]
        for files in synthetic
        if (files.mask_case or files.case) in by_case
    }


def slices_name(contrast: str) -> str:
    """Returns under which name the MS-SSIM of a contrast's axial slices is kept."""
    return f"pair/ms_ssim/{contrast}"


def pair_measures(
    synthetic: Scan, real: Scan, contrasts: Sequence[str], distance: Distance | None = None
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Compares a pair.

    Args:
        synthetic: The scan that is judged.
        real: The real one.
        contrasts: The channels.
        distance: Perceptual distance; None leaves it out.

    Returns:
        Facts (``real``, ``group``, ``scales``, ``distance``, or ``left_out`` with the reason), and arrays: MS-SSIM of
        each contrast's axial slices (Z,), and which of them show some of the head.
    """
    facts: dict[str, Any] = {"real": real.files.case, "group": real.files.patient or real.files.case}
    if real.volume.shape != synthetic.volume.shape:
        facts["left_out"] = f"{synthetic.volume.shape[1:]} voxels, its real scan {real.volume.shape[1:]}"
        return facts, {}
    betas = betas_that_fit(real.volume.shape[1:3])
    facts["scales"] = len(betas)
    arrays: dict[str, NDArray[Any]] = {HEAD_SLICES: (real.volume != 0).any((0, 1, 2))}
    if betas:
        for name, one, other in zip(contrasts, synthetic.volume, real.volume, strict=True):
            arrays[slices_name(name)] = _slicewise(one, other, betas)
    if distance is not None:
        facts["distance"] = distance(synthetic.volume, real.volume)
    return facts, arrays


def _slicewise(one: NDArray[Any], other: NDArray[Any], betas: Sequence[float]) -> NDArray[np.float32]:
    """MS-SSIM of each axial slice of two volumes (X, Y, Z), (Z,)."""
    a, b = (torch.from_numpy(volume).movedim(2, 0)[:, None] for volume in (one, other))  # (Z, 1, X, Y)
    values = [
        ms_ssim(a[start : start + _SLICES], b[start : start + _SLICES], betas=betas)
        for start in range(0, len(a), _SLICES)
    ]
    return np.asarray(torch.cat(values).numpy(), np.float32)
