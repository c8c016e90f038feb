"""What one file can have wrong by itself: storage, geometry, values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import GliomaGenError
from ..labels import CT, LabelConvention
from ..volume import Volume, read_header, read_volume
from .findings import ERROR, WARNING
from .layouts import LABEL

QFORM_TOLERANCE_MM = 0.1
"""Above the rounding of a header's quaternion, below what anybody sees."""
OBLIQUE_DEG = 5.0

Report = Callable[..., None]
"""Takes level, code, message and the key of the file."""


def read_checked(path: Path, report: Report) -> Volume | None:
    """Reads a file whole and reports how it is stored; None if it cannot be used at all."""
    try:
        header = read_header(path)
        volume = read_volume(path)
    except GliomaGenError as error:
        reason = str(error).removeprefix(f"{path}: ")
        report(ERROR, "unreadable", reason)
        return None
    kind = volume.data.dtype.kind
    if kind not in "biuf":
        report(ERROR, "unreadable", f"its voxels are {volume.data.dtype}, not plain numbers; convert it")
        return None
    if not np.isfinite(volume.affine).all() or abs(np.linalg.det(volume.affine[:3, :3])) < 1e-9:
        report(ERROR, "bad_affine", "its affine is not invertible, so it has no place in space")
        return None
    stored = header.get_data_dtype()
    odd = [
        *(["big-endian"] if header.header.endianness == ">" else []),
        *([str(stored)] if stored.kind in "iu" and stored.itemsize == 8 else []),
        *(["not compressed"] if path.suffix != ".gz" else []),
    ]
    if odd:
        report(WARNING, "odd_storage", f"stored {', '.join(odd)}; nothing is lost")
    qform, sform = header.get_qform(coded=True)[0], header.get_sform(coded=True)[0]
    if qform is None and sform is None:
        report(WARNING, "no_geometry", "has neither qform nor sform, so its place and axes are guesses")
    elif qform is not None and sform is not None:
        apart = corners_apart_mm(qform, sform, header.shape)
        if not apart <= QFORM_TOLERANCE_MM:
            report(WARNING, "qform_sform", f"qform and sform disagree by {apart:.3g} mm; the sform is used")
    axes = np.abs(volume.affine[:3, :3]) / np.linalg.norm(volume.affine[:3, :3], axis=0)
    tilt_deg = float(np.degrees(np.arccos(np.clip(axes.max(axis=0), 0, 1))).max())
    if tilt_deg > OBLIQUE_DEG:
        report(
            WARNING,
            "oblique",
            f"axes are tilted by {tilt_deg:.0f} degrees; they are taken as the nearest of RAS",
        )
    return volume


def check_contrast(key: str, volume: Volume, report: Report) -> None:
    """Reports values that are not finite, all the same or negative."""
    data: NDArray[Any] = volume.data
    if _report_not_finite(data, report, key):
        return
    if not data.size or data.min() == data.max():
        report(ERROR, "constant", f"{key} has one value everywhere", key)
    elif key != CT and (negative := int((data < 0).sum())):  # in Hounsfield units water is 0
        lowest = float(data.min())
        report(
            WARNING,
            "negative",
            f"{negative} negative voxels of {key} (lowest {lowest:.4g}) are clipped to 0",
            key,
        )


def check_labels(volume: Volume, convention: LabelConvention, report: Report) -> None:
    """Reports labels that are not finite, not whole or not of the convention."""
    data: NDArray[Any] = volume.data
    if _report_not_finite(data, report, LABEL):
        return
    if data.dtype.kind == "f":
        if broken := int((data != np.round(data)).sum()):
            report(
                ERROR,
                "labels_not_whole",
                f"{broken} voxels are not whole numbers; resample with nearest",
                LABEL,
            )
            return
        report(WARNING, "odd_storage", f"labels stored as {data.dtype}; nothing is lost", LABEL)
    if unknown := convention.unknown(data):
        shown = ", ".join(f"{value:g}" for value in unknown[:8]) + (", ..." if len(unknown) > 8 else "")
        has = ", ".join(map(str, sorted(convention.prepared)))
        report(
            ERROR, "labels_unknown", f"labels {shown} are not of '{convention.name}' (it has {has})", LABEL
        )


def _report_not_finite(data: NDArray[Any], report: Report, key: str) -> bool:
    bad = data.size - int(np.isfinite(data).sum())
    if bad:
        report(ERROR, "not_finite", f"{bad} voxels are NaN or infinite", key)
    return bool(bad)


def corners_apart_mm(one: NDArray[np.float64], other: NDArray[np.float64], shape: Sequence[int]) -> float:
    """Returns how far apart two affines place the corners of a volume at most."""
    corners = np.array([[*corner, 1] for corner in product(*((0, size - 1) for size in (*shape, 1, 1)[:3]))])
    return float(np.linalg.norm(corners @ (one - other).T, axis=1).max())
