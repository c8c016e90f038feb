"""The pictures of a varied cohort: distributions beside the sources', and the label maps themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..files import written_whole
from ..labels import HEAD
from ..pictures import LABEL_COLOURS, LABEL_SHORT_NAMES, radiological, representative_slice
from .lesion_facts import KINDS, Facts, mean_mix

_BEFORE, _AFTER = "#8a8a8a", "#0072b2"


def draw_diversity(
    path: str | Path,
    *,
    before: Sequence[Facts],
    after: Sequence[Facts],
    nearest: Mapping[str, NDArray[np.float64]],
) -> None:
    """Draws lesion volumes, labels, overlap with the sources, and where lesions lie in the head.

    Args:
        path: A PNG file.
        before: Of the sources.
        after: Of the label maps made.
        nearest: Dice to the nearest lesion, two series by name: of those made, of the sources.
    """
    figure = Figure(figsize=(15, 7.5), dpi=100, layout="constrained")
    panels = figure.subplots(2, 4)
    shown = [n for n in KINDS if any(one.volumes_ml[n] for one in (*before, *after))]
    names = [LABEL_SHORT_NAMES[n] for n in shown]
    _volumes(panels[0, 0], before, after)
    _label_volumes(panels[0, 1], before, after, shown)
    shares = [
        [100 * float(np.mean([f.volumes_ml[n] > 0 for f in facts])) for n in shown]
        for facts in (before, after)
    ]
    _bars(panels[0, 2], names, shares, "label present, % of label maps")
    mixes = [[100 * mean_mix(facts)[n] for n in shown] for facts in (before, after)]
    _bars(panels[0, 3], names, mixes, "mean share of the lesion, %")
    for (name, values), colour in zip(nearest.items(), (_AFTER, _BEFORE), strict=True):
        finite = values[np.isfinite(values)]
        _shares(panels[1, 0], finite, np.linspace(0, 1, 26), colour, name)
    panels[1, 0].set(title="lesion's Dice to the nearest", ylabel="% of lesions")
    panels[1, 0].legend(frameon=False)
    for panel, (title, across, up) in zip(
        panels[1, 1:], (("axial", 0, 1), ("coronal", 0, 2), ("sagittal", 1, 2)), strict=True
    ):
        for facts, colour in ((before, _BEFORE), (after, _AFTER)):
            at = np.array([one.centroid for one in facts])
            panel.scatter(at[:, across], at[:, up], s=10, color=colour, alpha=0.5, linewidths=0)
        panel.set(title=f"lesion centre in the head, {title}", xlim=(0, 1), ylim=(0, 1))
        panel.set_xlabel(("left to right", "back to front", "")[across])
        panel.set_ylabel(("", "back to front", "bottom to top")[up])
    figure.suptitle(f"{len(after)} label maps (blue) from {len(before)} sources (grey)")
    FigureCanvasAgg(figure)
    with written_whole(path) as beside:
        figure.savefig(beside, format="png", metadata={"Software": None})


def _volumes(panel: Axes, before: Sequence[Facts], after: Sequence[Facts]) -> None:
    volumes = [np.array([one.lesion_ml for one in facts if one.lesion_ml > 0]) for facts in (before, after)]
    everything = np.concatenate(volumes)
    edges = (
        np.geomspace(everything.min() * 0.9, everything.max() * 1.1, 25)
        if len(everything)
        else np.arange(1, 3)
    )
    for series, colour in zip(volumes, (_BEFORE, _AFTER), strict=True):
        _shares(panel, series, edges, colour)
    panel.set(xscale="log", title="lesion volume, mL", ylabel="% of lesions")


def _shares(
    panel: Axes, series: NDArray[Any], edges: NDArray[Any], colour: str, name: str | None = None
) -> None:
    """A histogram in per cent of the series: two series of different lengths compare."""
    weights = np.full(len(series), 100 / max(len(series), 1))
    panel.hist(series, bins=edges.tolist(), weights=weights, alpha=0.6, color=colour, label=name)


def _label_volumes(
    panel: Axes, before: Sequence[Facts], after: Sequence[Facts], shown: Sequence[int]
) -> None:
    for shift, facts, colour in ((-0.2, before, _BEFORE), (0.2, after, _AFTER)):
        series = [[one.volumes_ml[n] for one in facts if one.volumes_ml[n] > 0] for n in shown]
        panel.boxplot(
            series,
            positions=[at + shift for at in range(len(shown))],
            widths=0.35,
            whis=(5, 95),
            showfliers=False,
            patch_artist=True,
            boxprops={"facecolor": colour, "alpha": 0.8},
            medianprops={"color": "black"},
        )
    panel.set_xticks(range(len(shown)), [LABEL_SHORT_NAMES[n] for n in shown])
    panel.set(yscale="log", title="volume where present, mL (5 to 95 %)")


def _bars(panel: Axes, names: Sequence[str], shares: Sequence[Sequence[float]], title: str) -> None:
    for shift, values, colour in zip((-0.2, 0.2), shares, (_BEFORE, _AFTER), strict=True):
        panel.bar(np.arange(len(names)) + shift, values, width=0.4, color=colour, alpha=0.8)
    panel.set_xticks(range(len(names)), names)
    panel.set(title=title, ylim=(0, 100))


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
        shown = np.ix_(*[np.flatnonzero((label > 0).any(axis=axes)) for axes in ((1, 2), (0, 2))])
        plane, under = (radiological(np.pad(m[:, :, at][shown], 1)) for m in (label, source))
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
