"""Scans before and after guidance beside each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import pyplot

from gliomagen.files import written_whole
from gliomagen.growth.spread import BURDEN
from gliomagen.pictures import radiological

matplotlib.use("Agg")
MOST = 6


@dataclass(frozen=True)
class Shown:
    """A scan and what became of it: contrasts (C, X, Y, Z) in [0, 1], label maps (X, Y, Z)."""

    case: str
    wanted: float
    original: np.ndarray
    written: np.ndarray
    labels: np.ndarray
    before: np.ndarray
    after: np.ndarray


def write_pictures(path: Path, shown: list[Shown], *, channels: tuple[int, ...] = (0, 2)) -> None:
    """Writes a row per patient: the last scan, then the scans of each burden, tumour outlined as the judge reads it."""
    cases = list(dict.fromkeys(one.case for one in shown))[:MOST]
    changes = list(dict.fromkeys(one.wanted for one in shown))
    columns = len(channels) * (1 + len(changes))
    figure, axes = pyplot.subplots(
        len(cases), columns, figsize=(2.2 * columns, 2.7 * len(cases)), squeeze=False
    )
    for row, case in zip(axes, cases, strict=True):
        own = [one for one in shown if one.case == case]
        height = int(np.isin(own[0].labels, BURDEN).sum((0, 1)).argmax())
        views = [("last scan", own[0].original, own[0].before)]
        views += [(f"burden ×{one.wanted:g}", one.written, one.after) for one in own]
        for k, (title, image, labels) in enumerate(views):
            tumour = radiological(np.isin(labels, BURDEN)[..., height].astype(float))
            for j, channel in enumerate(channels):
                axis = row[k * len(channels) + j]
                axis.imshow(radiological(image[channel, ..., height]), cmap="gray", vmin=0, vmax=1)
                axis.set_title(title if j == 0 else "", fontsize=9, loc="left")
                if tumour.any():
                    axis.contour(tumour, [0.5], colors="tab:red", linewidths=0.8)
    for axis in axes.flat:
        axis.set_axis_off()
    figure.tight_layout(pad=0.3)
    with written_whole(path) as beside:
        figure.savefig(beside, dpi=70, format="png", pil_kwargs={"optimize": True})
    pyplot.close(figure)
