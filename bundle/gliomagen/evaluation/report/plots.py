"""Plots of the report, as SVG that is legible on light and on dark paper."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ...labels import HEAD, LABEL_NAMES, TUMOUR
from ...pictures import LABEL_SHORT_NAMES
from ..features import ALL, VOLUME
from ..measuring import BINS, Measured, features

COLOURS = {"real": "#0072b2", "training": "#999999", "synthetic": "#d55e00"}
"""Told apart by the colour-blind (Okabe & Ito 2008), on white and on black."""

_INK = "#808080"
_STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "gliomagen",
    "font.size": 9,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def intensities(sets: Mapping[str, Sequence[Measured]], contrasts: Sequence[str]) -> str:
    """Distributions of grey, a panel for each label and contrast."""
    counts = {
        what: np.sum([scan.array("histogram") for scan in scans], axis=0) for what, scans in sets.items()
    }
    labels = [n for n in (HEAD, *TUMOUR) if any(table[:, n].any() for table in counts.values())]
    with rc_context(_STYLE):
        figure = Figure(figsize=(2.3 * len(contrasts), 1.35 * len(labels)), layout="constrained")
        axes = figure.subplots(len(labels), len(contrasts), squeeze=False, sharex=True)
        grey = (np.arange(BINS) + 0.5) / BINS
        for row, label in enumerate(labels):
            for column, contrast in enumerate(contrasts):
                axis = axes[row, column]
                for what, table in counts.items():
                    total = table[column, label].sum()
                    if total:
                        axis.plot(grey, table[column, label] / total, color=COLOURS[what], lw=1.3)
                axis.set_yticks([])
                if not row:
                    axis.set_title(contrast, fontsize=9, color=_INK)
                if not column:
                    axis.set_ylabel(LABEL_SHORT_NAMES[label])
        return _svg(figure)


def volumes(sets: Mapping[str, Sequence[Measured]]) -> str:
    """Volumes of each label, in mL, as boxes from quartile to quartile."""
    labels = [LABEL_NAMES[n] for n in TUMOUR]
    with rc_context(_STYLE):
        figure = Figure(figsize=(7.5, 2.6), layout="constrained")
        axis = figure.subplots()
        for place, (what, scans) in enumerate(sets.items()):
            tables = [
                [ml for scan in scans if (ml := scan.facts["volume_ml"].get(name, 0.0)) > 0]
                for name in labels
            ]
            boxes = axis.boxplot(
                [table or [np.nan] for table in tables],
                positions=[k + (place - (len(sets) - 1) / 2) * 0.28 for k in range(len(labels))],
                widths=0.22,
                showfliers=False,
                medianprops={"color": COLOURS[what], "lw": 2},
            )
            for part in ("boxes", "whiskers", "caps"):
                for line in boxes[part]:
                    line.set_color(COLOURS[what])
        axis.set_yscale("log")
        axis.set_ylabel("mL, where present")
        axis.set_xticks(range(len(labels)), [LABEL_SHORT_NAMES[n] for n in TUMOUR])
        return _svg(figure)


def feature_map(sets: Mapping[str, Sequence[Measured]]) -> str:
    """Features of whole scans along the two directions in which the real ones vary most."""
    tables = {what: features(scans, ALL, VOLUME)[0] for what, scans in sets.items() if scans}
    real = tables["real"]
    centre, spread = real.mean(0), real.std(0) + 1e-9
    directions = np.linalg.svd((real - centre) / spread, full_matrices=False)[2][:2]
    with rc_context(_STYLE):
        figure = Figure(figsize=(5.2, 3.8), layout="constrained")
        axis = figure.subplots()
        for what, table in sorted(tables.items(), key=lambda item: list(COLOURS).index(item[0]) != 1):
            points: NDArray[np.float64] = ((table - centre) / spread) @ directions.T
            axis.scatter(
                points[:, 0],
                points[:, 1],
                s=12,
                color=COLOURS[what],
                alpha=0.35 if what == "training" else 0.8,
                lw=0,
            )
        axis.set_xlabel("first principal component of the real scans")
        axis.set_ylabel("second")
        return _svg(figure)


def _svg(figure: Figure) -> str:
    FigureCanvasSVG(figure)
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]  # no XML declaration inside a page
    return text[: text.index("<metadata>")] + text[text.index("</metadata>") + len("</metadata>") :]
