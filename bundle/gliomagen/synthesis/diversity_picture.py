"""The pictures of a varied cohort: distributions beside the sources', and the label maps themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..files import written_whole
from ..labels import HEAD, TUMOUR
from ..pictures import LABEL_COLOURS, LABEL_SHORT_NAMES, radiological, representative_slice

if TYPE_CHECKING:
    from .diversity import Facts

_BEFORE, _AFTER = "#8a8a8a", "#0072b2"


def draw_diversity(
    path: str | Path,
    *,
    before: Sequence[Facts],
    after: Sequence[Facts],
    nearest: Mapping[str, NDArray[np.float64]],
) -> None:
    """Draws lesion volumes, label mix, overlap with the sources, and where lesions lie in the head.

    Args:
        path: A PNG file.
        before: Of the sources.
        after: Of the label maps made.
        nearest: Dice to the nearest lesion, two series by name: of those made, of the sources.
    """
    figure = Figure(figsize=(12, 7), dpi=100, layout="constrained")
    panels = figure.subplots(2, 3)
    _volumes(panels[0, 0], before, after)
    _labels(panels[0, 1], before, after)
    for (name, values), colour in zip(nearest.items(), (_AFTER, _BEFORE), strict=True):
        finite = values[np.isfinite(values)]
        if len(finite):
            panels[0, 2].hist(
                finite, bins=np.linspace(0, 1, 26).tolist(), density=True, alpha=0.6, color=colour, label=name
            )
    panels[0, 2].set_title("Dice of the lesion to the nearest")
    panels[0, 2].legend(frameon=False)
    for panel, (title, across, up) in zip(
        panels[1], (("axial", 0, 1), ("coronal", 0, 2), ("sagittal", 1, 2)), strict=True
    ):
        for facts, colour, size in ((after, _AFTER, 8), (before, _BEFORE, 14)):
            at = np.array([one.centroid for one in facts])
            panel.scatter(at[:, across], at[:, up], s=size, color=colour, alpha=0.6, linewidths=0)
        panel.set(title=f"lesion centre in the head, {title}", xlim=(0, 1), ylim=(0, 1))
        panel.set_xlabel(("left to right", "back to front", "")[across])
        panel.set_ylabel(("", "back to front", "bottom to top")[up])
    figure.suptitle(f"{len(after)} label maps (blue) from {len(before)} sources (grey)")
    FigureCanvasAgg(figure)
    with written_whole(path) as beside:
        figure.savefig(beside, format="png", metadata={"Software": None})


def _volumes(panel: Axes, before: Sequence[Facts], after: Sequence[Facts]) -> None:
    volumes = [[one.lesion_ml for one in facts if one.lesion_ml > 0] for facts in (before, after)]
    everything = [v for series in volumes for v in series] or [1.0]
    edges = np.geomspace(min(everything) * 0.9, max(everything) * 1.1, 25)
    for series, colour in zip(volumes, (_BEFORE, _AFTER), strict=True):
        panel.hist(series, bins=edges.tolist(), density=True, alpha=0.6, color=colour)
    panel.set(xscale="log", title="lesion volume, mL", yticks=[])


def _labels(panel: Axes, before: Sequence[Facts], after: Sequence[Facts]) -> None:
    shown = [n for n in (*TUMOUR, 6) if any(one.volumes_ml[n] for one in (*before, *after))]
    for shift, facts, colour in ((-0.2, before, _BEFORE), (0.2, after, _AFTER)):
        shares = [100 * float(np.mean([one.volumes_ml[n] > 0 for one in facts])) for n in shown]
        panel.bar(np.arange(len(shown)) + shift, shares, width=0.4, color=colour, alpha=0.8)
    panel.set_xticks(range(len(shown)), [LABEL_SHORT_NAMES[n] for n in shown])
    panel.set(title="label present, % of label maps", ylim=(0, 100))


def draw_variants(
    path: str | Path, variants: Sequence[tuple[str, NDArray[Any], NDArray[Any]]], *, per_line: int = 5
) -> None:
    """Draws label maps, each in the axial slice with most of its tumour core, its source's lesion outlined in white.

    Args:
        path: A PNG file.
        variants: Title, label map and its source's, (X, Y, Z) prepared labels on one grid, RAS+.
        per_line: Panels side by side.
    """
    lines = -(-len(variants) // per_line)
    figure = Figure(figsize=(2.4 * per_line, 2.8 * lines), dpi=100, layout="constrained", facecolor="#101010")
    panels = np.atleast_2d(figure.subplots(lines, per_line))
    for panel in panels.ravel():
        panel.axis("off")
    for panel, (title, label, source) in zip(panels.ravel(), variants, strict=False):
        at = representative_slice(label, 2)
        plane, under = radiological(label[:, :, at]), radiological(source[:, :, at])
        colours = np.zeros((*plane.shape, 3), np.float32)
        for number, colour in LABEL_COLOURS.items():
            colours[plane == number] = to_rgb(colour)
        panel.imshow(colours, interpolation="nearest")
        if (under > HEAD).any():
            panel.contour(under > HEAD, levels=[0.5], colors="white", linewidths=0.8, linestyles="dashed")
        panel.set_title(title, fontsize=7, color="#f2f2f2", parse_math=False)
    FigureCanvasAgg(figure)
    with written_whole(path) as beside:
        figure.savefig(beside, format="png", metadata={"Software": None}, facecolor="#101010")
