"""What is measured of a completed scan, beside the true one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gliomagen.evaluation.continuity import seam, slice_steps
from gliomagen.evaluation.features import EncoderFeatures
from gliomagen.evaluation.similarity import psnr, ssim
from gliomagen.files import read_json
from gliomagen.labels import HEAD
from gliomagen.volume import read_volume

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Completed:
    """A completed scan and the true one.

    Attributes:
        made: (C, *S)
        true: (C, *S)
        given: (C, *S)
        label: (*S) of what was made.
        true_label: (*S) of the scan.
        facts: The sidecar.
    """

    made: Array
    true: Array
    given: NDArray[np.bool_]
    label: Array
    true_label: Array
    facts: Mapping[str, Any]

    @property
    def region(self) -> NDArray[np.bool_]:
        """Head voxels made anew in every contrast, (*S)."""
        region: NDArray[np.bool_] = ~self.given.any(0) & (self.label > 0)
        return region


def read_scan(entry: Mapping[str, Any], contrasts: Sequence[str]) -> tuple[Array, Array]:
    """Returns a scan's contrasts, (C, *S), and its label map, (*S)."""
    image = np.stack([read_volume(entry[contrast]).to_ras().data for contrast in contrasts])
    return image, read_volume(entry["label"]).to_ras().data


def read_completed(folder: Path, case: str, entry: Mapping[str, Any], contrasts: Sequence[str]) -> Completed:
    """Reads a case of ``completing``.

    Args:
        folder: Its output.
        case: Name of the case.
        entry: Of the true scan.
        contrasts: Of both.
    """

    def image(name: str) -> Array:
        return read_volume(folder / case / f"{case}-{name}.nii.gz").to_ras().data

    packed = image("given")
    true, true_label = read_scan(entry, contrasts)
    return Completed(
        made=np.stack([image(contrast) for contrast in contrasts]),
        true=true,
        given=np.stack([(packed >> k) & 1 > 0 for k in range(len(contrasts))]),
        label=image("seg"),
        true_label=true_label,
        facts=read_json(folder / case / f"{case}.json"),
    )


def exact(case: Completed) -> bool | None:
    """Whether all that the scan gave came back bit for bit; None where another scan gave."""
    if "donor_case" in case.facts:
        return None
    return bool(np.array_equal(case.made[case.given], case.true[case.given]))


def similarity(
    case: Completed, left_out: NDArray[np.bool_], features: EncoderFeatures | None
) -> dict[str, list[float]]:
    """Returns PSNR in dB and SSIM of each contrast, and the perceptual distance of all, over the head.

    Args:
        case: The case.
        left_out: (*S) voxels that do not count, the same in every setting: slices that one of them was given.
        features: Of the perceptual distance, for which these voxels are the true ones; None: without it.
    """
    where = torch.from_numpy((case.true_label > 0) & ~left_out)
    made, true = torch.from_numpy(case.made), torch.from_numpy(case.true)
    row = {"psnr": psnr(made, true, where).tolist(), "ssim": ssim(made, true, where).tolist()}
    if features is not None:
        row["distance"] = [features.distance(np.where(left_out, case.true, case.made), case.true)]
    return row


def continuity(case: Completed) -> dict[str, list[float]]:
    """Returns steps between slices along each axis as multiples of the true scan's, mean of the contrasts' ratios."""
    inside = case.true_label > 0
    made, true = slice_steps(case.made, inside), slice_steps(case.true, inside)
    return {"steps": (made / true).mean(0).tolist()}


def seams(case: Completed) -> dict[str, list[float]]:
    """Returns the seam of the region made anew, for each contrast, and the true scan's at the same place."""
    healthy = (case.label == HEAD) & (case.true_label == HEAD)
    return {
        "seam": seam(case.made, case.region, healthy).tolist(),
        "seam, scan": seam(case.true, case.region, healthy).tolist(),
    }


def mirrored_tissue(case: Completed) -> dict[str, list[float]]:
    """Returns mean and deviation in a region made healthy, less those of the mirrored side, for each contrast.

    Only voxels count whose mirror image, left to right through the middle of the head, is healthy head and was given.
    """
    middle = np.flatnonzero((case.true_label > 0).any((1, 2)))
    shift = int(middle[0] + middle[-1]) - (len(case.true_label) - 1)

    def mirror(image: Array) -> Array:
        return np.roll(np.flip(image, axis=-3), shift, axis=-3)

    other_side = mirror((case.true_label == HEAD) & ~case.region)
    where = case.region & other_side
    nothing = [float("nan")] * len(case.made)
    if where.sum() < 64:
        return {"mean": nothing, "deviation": nothing}
    made, beyond = case.made[:, where], mirror(case.true)[:, where]
    return {
        "mean": (made.mean(1) - beyond.mean(1)).tolist(),
        "deviation": (made.std(1) - beyond.std(1)).tolist(),
    }


def mirrored_null(case: Completed, others: list[tuple[Array, Array]]) -> dict[str, list[float]]:
    """Returns the same of other patients' scans, in whom the region is healthy: how unlike two healthy sides are.

    Args:
        case: Whose region it is.
        others: True scans and label maps of other patients; those on another grid are left out.
    """
    means, deviations = [], []
    for true, label in others:
        if label.shape != case.region.shape:
            continue
        healthy = np.where(case.region & (label != HEAD), 0, label)
        region_only = np.where(case.region & (label == HEAD), False, True)[None].repeat(len(case.made), 0)
        found = mirrored_tissue(
            Completed(made=true, true=true, given=region_only, label=healthy, true_label=label, facts={})
        )
        means.append(found["mean"])
        deviations.append(found["deviation"])
    return {"mean": _rms(means, len(case.made)), "deviation": _rms(deviations, len(case.made))}


def _rms(rows: list[list[float]], contrasts: int) -> list[float]:
    there = [row for row in rows if np.isfinite(row).all()]
    return np.sqrt(np.square(there).mean(0)).tolist() if there else [float("nan")] * contrasts
