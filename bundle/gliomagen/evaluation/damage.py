"""Damage of growing strength, and how every score must answer to it: the trial that a metric has to pass.

At strength 0 a set stays as it is. ``blur`` and ``noise`` spoil every scan by as much as the strength says; the others
spoil a share of the scans as large as the strength, and whatever is spoiled stays so at greater strengths.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..labels import CONTRASTS, HEAD
from ..randomness import numpy_generator
from ..scans import Scan, ScanFiles, read_scan
from ..volume import Volume, write_volume

STRENGTHS = (0.0, 0.25, 0.5, 1.0)
BLUR_VOXELS = 2.0
"""Standard deviation at strength 1."""
NOISE = 0.2
"""Standard deviation at strength 1, of the range of greys."""
SWAPPED = ("t1c", "t2f")

Key = tuple[str, str, str, str]
"""Recipe, name, of, view of a score."""


def _fidelity(view: str, *contrasts: str) -> dict[Key, int]:
    return {("volume", name, of, view): 1 for name in ("fid", "kid") for of in contrasts}


_TEXTURE = _fidelity("texture", "all", *CONTRASTS) | {("volume", "precision", "all", "texture"): -1}
ANSWERS: dict[str, dict[Key, int]] = {
    "blur": _fidelity("volume", "all") | _fidelity("planes", "all") | _TEXTURE,
    "noise": _TEXTURE,
    "swapped contrasts": _fidelity("volume", "all")
    | _fidelity("texture", "all")
    | {("volume", "precision", "all", "texture"): -1},
    "wrong masks": {
        ("faithfulness", "dice", "WT", ""): -1,
        ("faithfulness", "lesion_dice", "WT", ""): -1,
        ("faithfulness", "hd95_mm", "WT", ""): 1,
        ("faithfulness", "assd_mm", "WT", ""): 1,
    },
    "mode collapse": _fidelity("volume", "all")
    | _fidelity("texture", "all")
    | {("volume", "coverage", "all", view): -1 for view in ("volume", "texture")}
    | {("volume", "ms_ssim between samples", "all", "slices"): 1},
    "copies of training scans": {
        ("privacy", "suspected copies", "all", ""): 1,
        ("privacy", "authenticity", "all", ""): -1,
    },
}
"""By kind of damage: the scores that must answer, 1 if they rise with it and -1 if they fall."""
LATE: dict[str, dict[Key, int]] = {
    "mode collapse": {("volume", "recall", "all", view): -1 for view in ("volume", "texture")}
}
"""Scores that answer only to the strongest damage: recall, whose neighbourhoods widen as a set thins out (Naeem et al.
2020, section 3.1, whence coverage)."""


def damaged_set(
    kind: str,
    strength: float,
    scans: Sequence[ScanFiles],
    *,
    training: Sequence[ScanFiles],
    folder: str | Path,
    seed: int = 0,
) -> list[ScanFiles]:
    """Makes a damaged set; only scans that change are written.

    Args:
        kind: A key of :data:`ANSWERS`.
        strength: From 0 to 1.
        scans: The set, of prepared label maps.
        training: What is copied, for ``copies of training scans``.
        folder: Where changed scans go; those that are there are taken as they are.
        seed: Of the noise, and of who is spoiled.

    Returns:
        As many scans, in the same order.
    """
    order = numpy_generator(seed, "damage", kind).permutation(len(scans)).tolist()
    every = kind in _OF_SCANS
    spoiled = set(order[: round(strength * len(scans))]) if not every else set(order if strength else [])
    result = list(scans)
    for number in sorted(spoiled):
        files, other = scans[number], scans[(number + 1) % len(scans)]
        if kind == "mode collapse":
            result[number] = scans[order[0]]
        elif kind == "copies of training scans":
            result[number] = training[number % len(training)]
        else:
            share = strength if every else 1.0
            case = f"{files.case}-{kind.replace(' ', '-')}-{round(100 * share)}"
            result[number] = write_scan(files, folder, case, partial(_CHANGES[kind], other, share, seed))
    return result


def write_scan(files: ScanFiles, folder: str | Path, case: str, change: Callable[[Scan], Scan]) -> ScanFiles:
    """Writes a changed scan with its prepared label map; one that is there already is taken as it is.

    Args:
        files: The scan.
        folder: Where the case's folder goes.
        case: What it is called from now on.
        change: Makes the changed scan.
    """
    at = Path(folder) / case
    images = tuple(at / f"{number}.nii.gz" for number in range(len(files.images)))
    made = replace(files, case=case, mask_case="", images=images, label=at / "label.nii.gz")
    if not made.label.is_file():  # written last
        scan = change(read_scan(files))
        affine = np.diag([*scan.voxel_mm, 1.0])
        for path, grey in zip(images, scan.volume, strict=True):
            write_volume(path, Volume(data=grey.astype(np.float32), affine=affine))
        write_volume(made.label, Volume(data=scan.label, affine=affine))
    return made


def _blurred(other: ScanFiles, strength: float, seed: int, scan: Scan) -> Scan:
    sigma = BLUR_VOXELS * strength
    head = scan.label > 0
    weight = np.maximum(ndimage.gaussian_filter(head.astype(np.float32), sigma), 1e-3)
    soft = [ndimage.gaussian_filter(grey, sigma) / weight for grey in scan.volume]
    return replace(scan, volume=_inside(np.stack(soft), head))


def _noisy(other: ScanFiles, strength: float, seed: int, scan: Scan) -> Scan:
    # one realisation for all strengths, so that only the strength differs
    rng = numpy_generator(seed, "noise", scan.files.case)
    noise = rng.standard_normal(scan.volume.shape, np.float32)
    return replace(scan, volume=_inside(scan.volume + NOISE * strength * noise, scan.label > 0))


def _inside(volume: NDArray[np.float32], head: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Greys of the head stay above 0: an emptied voxel would give the damage away."""
    return np.where(head, np.clip(volume, 1e-3, 1), 0).astype(np.float32)


def _swapped(other: ScanFiles, strength: float, seed: int, scan: Scan) -> Scan:
    first, second = (CONTRASTS.index(name) for name in SWAPPED)
    volume = scan.volume.copy()
    volume[[first, second]] = volume[[second, first]]
    return replace(scan, volume=volume)


def _relabelled(other: ScanFiles, strength: float, seed: int, scan: Scan) -> Scan:
    """Gives the scan the lesion labels of another, as far as they lie in its head."""
    lesion = read_scan(other).label
    label = np.where(scan.label > 0, np.where(lesion > HEAD, lesion, HEAD), 0)
    return replace(scan, label=label.astype(np.uint8))


_CHANGES: dict[str, Callable[[ScanFiles, float, int, Scan], Scan]] = {
    "blur": _blurred,
    "noise": _noisy,
    "swapped contrasts": _swapped,
    "wrong masks": _relabelled,
}
_OF_SCANS = ("blur", "noise")  # every scan by the strength, rather than a share of them
