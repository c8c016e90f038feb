"""The picture of ``completion_study.py``: one patient, every task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from gliomagen.files import written_whole
from gliomagen.labels import CONTRASTS, HEAD
from gliomagen.pictures import radiological

from .measures import read_completed


def picture_tasks(
    path: Path,
    folders: Mapping[str, Path],
    cases: Mapping[str, str],
    entry: Mapping[str, Any],
    titles: Sequence[str],
) -> None:
    """Writes a grid: a row for each contrast, the scan, then each setting, through the scan's largest lesion.

    Args:
        path: The picture.
        folders: Output of each setting.
        cases: Name of the patient's case in each setting.
        entry: The true scan.
        titles: Which settings, in order.
    """
    shown = {title: read_completed(folders[title], cases[title], entry, CONTRASTS) for title in titles}
    first = next(iter(shown.values()))
    at = int((first.true_label > HEAD).sum((0, 1)).argmax())
    columns = [("scan", first.true, None), *((t, c.made, c.given) for t, c in shown.items())]
    figure, axes = plt.subplots(
        len(CONTRASTS), len(columns), figsize=(1.7 * len(columns), 1.8 * len(CONTRASTS) + 0.4)
    )
    for column, (title, image, given) in enumerate(columns):
        axes[0, column].set_title(title.replace(" from", "\nfrom").replace(" slice", "\nslice"), fontsize=8)
        for row, contrast in enumerate(CONTRASTS):
            axis = axes[row, column]
            axis.imshow(radiological(image[row, :, :, at]), cmap="gray", vmin=0, vmax=1)
            part = (
                None
                if given is None
                else radiological(~given[row, :, :, at] & (first.true_label[:, :, at] > 0))
            )
            if (
                part is not None and 0 < part.mean() < 0.2
            ):  # the edge of a part made anew, not of a whole slice
                axis.contour(part, levels=[0.5], colors="tab:orange", linewidths=0.6)
            axis.set_xticks([])
            axis.set_yticks([])
            if column == 0:
                axis.set_ylabel(contrast, fontsize=8)
    figure.tight_layout(pad=0.2)
    with written_whole(path) as beside:
        figure.savefig(beside, dpi=110)
    plt.close(figure)
