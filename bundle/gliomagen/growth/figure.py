"""One page per patient: burden and treatment, last scan, what may come, where, and what came."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..files import written_whole
from ..pictures import radiological
from ..randomness import numpy_generator
from .burden import Array
from .forecast import BAND, BurdenForecast
from .patients import Seen
from .spread import BURDEN, Labels
from .tissue import Float

matplotlib.use("Agg")
RESEARCH = "Research use only, not for clinical decisions."
SAMPLES_SHOWN = 3
_PREFERRED = ("t2f", "t1c", "t1n", "t2w")  # all tumour is outlined


def burden_curve(
    axes: Axes, forecast: BurdenForecast, truth_mm3: float | None, *, unit: float = 1000.0
) -> None:
    """Draws measurements, courses and the band of what is to be measured, in ml.

    Args:
        axes: To draw on.
        forecast: Of the patient.
        truth_mm3: What came, if known.
        unit: mm³ of one on the axis.
    """
    measured = forecast.known
    days: Array = np.linspace(0, forecast.day, 80)
    # One error for each draw, and not for each day: the band is the same, and smooth.
    errors = forecast.errors()
    noise = numpy_generator(0, "errors").standard_normal(len(errors))
    expected = forecast.burdens(days) * np.exp(errors * noise)[:, None] / unit
    low, middle, high = np.quantile(expected, BAND, axis=0)
    axes.fill_between(days, low, high, color="tab:blue", alpha=0.2, lw=0, label="90 % of measurements")
    axes.plot(
        days,
        middle,
        color="tab:blue",
        label="median: " + ", ".join(one.fit.model.law for one in forecast.laws),
    )
    axes.plot(measured.days, np.array(measured.burden) / unit, "ko", label="measured")
    for course in measured.courses:
        axes.axvline(course, color="tab:orange", ls="--", lw=1, label="radiotherapy")
    if truth_mm3 is not None:
        axes.plot([forecast.day], [truth_mm3 / unit], "r*", ms=11, label="came")
    axes.set(xlabel="days", ylabel="burden (ml)", ylim=(0, None))
    axes.legend(fontsize=7, frameon=False)


def forecast_page(
    path: Path,
    *,
    title: str,
    forecast: BurdenForecast,
    last: Seen,
    probability: Float,
    likely: NDArray[np.bool_],
    samples: Sequence[tuple[Labels, dict[str, NDArray[np.float32]]]],
    truth: Seen | None,
    truth_mm3: float | None,
) -> None:
    """Writes the page.

    Args:
        path: PNG.
        title: The patient.
        forecast: Of the burden.
        last: Scan that is known last.
        probability: (X, Y, Z) of tumour.
        likely: (X, Y, Z) where tumour is at least as likely as not.
        samples: Up to three label maps that may come, each with its contrasts, or none.
        truth: What came.
        truth_mm3: Its burden.
    """
    contrast = next((name for name in _PREFERRED if name in last.images), None)
    height = _slice(last, probability, truth)
    figure = Figure(figsize=(13, 7), layout="constrained")
    grid = figure.add_gridspec(2, 4)
    above = [figure.add_subplot(grid[0, k]) for k in (2, 3)]
    below = [figure.add_subplot(grid[1, k]) for k in range(4)]
    burden_curve(figure.add_subplot(grid[0, :2]), forecast, truth_mm3)
    back = last.images.get(str(contrast))
    _scan(above[0], "last scan", back, last.labels, height)
    if truth is None:
        above[1].axis("off")
    else:
        _scan(above[1], "came; blue: forecast", truth.images.get(str(contrast)), truth.labels, height)
        _outline(above[1], likely, height, "tab:cyan")
    for axes in below[len(samples) : SAMPLES_SHOWN]:
        axes.axis("off")
    for axes, (labels, images) in zip(below, samples, strict=False):
        name = "may come" if images else "may come, on the last scan"
        _scan(axes, name, (images or last.images).get(str(contrast)), labels, height)
    _scan(below[-1], "probability", back, None, height)
    shown = np.ma.masked_less(_plane(probability, height), 0.02)
    drawn = below[-1].imshow(shown, cmap="inferno", vmin=0, vmax=1, alpha=0.75)
    figure.colorbar(drawn, ax=below[-1], shrink=0.7)
    figure.suptitle(f"{title}. {RESEARCH}", fontsize=9)
    with written_whole(path) as beside:
        figure.savefig(beside, dpi=110)


def _slice(last: Seen, probability: Float, truth: Seen | None) -> int:
    area = probability.sum((0, 1)) + np.isin(last.labels, BURDEN).sum((0, 1))
    if truth is not None:
        area = area + np.isin(truth.labels, BURDEN).sum((0, 1))
    return int(area.argmax())


def _plane(volume: NDArray[np.generic], height: int) -> NDArray[np.generic]:
    return radiological(volume[:, :, height])


def _scan(
    axes: Axes, name: str, image: NDArray[np.float32] | None, labels: Labels | None, height: int
) -> None:
    axes.set_title(name, fontsize=9)
    axes.axis("off")
    if image is None:
        assert labels is None or labels.ndim == 3
        image = (
            np.zeros(labels.shape, np.float32)
            if labels is not None
            else np.zeros((1, 1, height + 1), np.float32)
        )
    axes.imshow(_plane(image, height), cmap="gray", vmin=0, vmax=1)
    if labels is not None:
        _outline(axes, np.isin(labels, BURDEN), height, "yellow")


def _outline(axes: Axes, region: NDArray[np.bool_], height: int, colour: str) -> None:
    plane = _plane(region, height)
    if plane.any() and not plane.all():
        axes.contour(plane.astype(float), [0.5], colors=colour, linewidths=1)
