"""Files of a forecast, each of which says what it is for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..labels import LabelConvention
from ..volume import Volume, write_volume
from .figure import RESEARCH
from .patients import Seen
from .samples import Sample


def save_map(path: Path, data: NDArray[Any], last: Seen) -> None:
    """Writes voxels as NIfTI in the last scan's own geometry.

    Args:
        path: The file.
        data: (X, Y, Z), axes RAS.
        last: Scan that is known last.
    """
    volume = Volume(data=data, affine=last.affine).oriented_like(last.original.affine)
    write_volume(path, Volume(data=volume.data, affine=last.original.affine), about=RESEARCH)


def write_sample(
    folder: Path, name: str, sample: Sample, last: Seen, contrasts: Sequence[str], written: LabelConvention
) -> None:
    """Writes a sample's label map, its contrasts if it has any, and how much they differ from the last scan.

    Args:
        folder: Where.
        name: Files begin with it.
        sample: What may come.
        last: Scan that is known last.
        contrasts: Of the images.
        written: Numbers of the label map.
    """
    save_map(folder / f"{name}-seg.nii.gz", written.from_prepared(sample.labels), last)
    if sample.images is None:
        return
    for contrast, image in zip(contrasts, sample.images, strict=True):
        save_map(folder / f"{name}-{contrast}.nii.gz", image, last)
    apart = [
        np.abs(image - last.images[contrast])
        for contrast, image in zip(contrasts, sample.images, strict=True)
        if contrast in last.images
    ]
    if apart:
        save_map(folder / f"{name}-difference.nii.gz", np.stack(apart).mean(0), last)


def mean_of(some: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the mean of nested numbers of like names; what is not a number is left out of it."""
    found: dict[str, Any] = {}
    for name in dict.fromkeys(name for one in some for name in one):
        values = [one[name] for one in some if name in one]
        if isinstance(values[0], Mapping):
            found[name] = mean_of(values)
        else:
            found[name] = float(np.nanmean(values))
    return found
