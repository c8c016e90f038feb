"""Pictures to judge by: real beside synthetic, every contrast, the mask drawn over both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from .errors import GliomaGenError
from .files import written_whole
from .labels import CONTRASTS, ET, HEAD, LESION, NETC, RC, SNFH

LABEL_COLOURS: dict[int, str] = {
    HEAD: "#454545",
    NETC: "#d55e00",
    SNFH: "#009e73",
    ET: "#f0e442",
    RC: "#56b4e9",
    LESION: "#cc79a7",
}
"""Colour of each prepared label in every picture and report; told apart by the colour-blind too (Okabe & Ito 2008)."""

LABEL_SHORT_NAMES: dict[int, str] = {
    HEAD: "head",
    NETC: "NETC",
    SNFH: "SNFH",
    ET: "ET",
    RC: "RC",
    LESION: "lesion",
}

PLANES: dict[str, int] = {"sagittal": 0, "coronal": 1, "axial": 2}
"""The axis of a RAS+ array that a plane stands on."""

_PAPER, _INK, _FAINT = "#101010", "#f2f2f2", "#a8a8a8"
_DPI = 100
_GAP, _LINE, _ROW_NAMES = 4, 20, 34  # pixels: between panels, per line of text, beside the panels


@dataclass(frozen=True, kw_only=True)
class PictureRow:
    """One case of a picture.

    Attributes:
        title: Stands over the case.
        label: Prepared labels, RAS+, (X, Y, Z) or (X, Y).
        volumes: What to show side by side, in this order, by the name to show: (C, X, Y, Z) or (C, X, Y), RAS+,
            grey in [0, 1].
        contrasts: Names of the C channels.
        voxel_mm: Edge lengths of a voxel, one per axis.
        slice_index: The slice to show; None shows the one with the most tumour core, else tumour, else head.
    """

    title: str
    label: NDArray[Any]
    volumes: Mapping[str, NDArray[Any]]
    contrasts: Sequence[str] = CONTRASTS
    voxel_mm: Sequence[float] = field(default=(1.0, 1.0, 1.0))
    slice_index: int | None = None

    def __post_init__(self) -> None:
        """Raises ValueError where the arrays do not fit together."""
        if self.label.ndim not in (2, 3):
            raise ValueError(f"{self.title}: label must be (X, Y, Z) or (X, Y), got {self.label.shape}")
        if not self.volumes:
            raise ValueError(f"{self.title}: no volumes to show")
        for name, volume in self.volumes.items():
            if volume.shape != (len(self.contrasts), *self.label.shape):
                raise ValueError(
                    f"{self.title}: '{name}' has shape {volume.shape}, expected "
                    f"{(len(self.contrasts), *self.label.shape)} (contrasts, then the label's)"
                )


@dataclass(frozen=True, kw_only=True)
class _Cut:
    """One case, cut to what is drawn; everything turned to screen rows and columns."""

    title: str
    label: NDArray[Any]  # (H, W)
    greys: dict[str, NDArray[Any]]  # (C, H, W)
    pixel_mm: tuple[float, float]  # height, width
    left: str  # which side of the patient is on the left

    @property
    def size_mm(self) -> tuple[float, float]:
        height, width = self.label.shape
        return height * self.pixel_mm[0], width * self.pixel_mm[1]


def representative_slice(label: NDArray[Any], axis: int) -> int:
    """Returns the index along ``axis`` with the most tumour core, else the most tumour, else the most head.

    Args:
        label: Prepared labels, (X, Y, Z).
        axis: The axis to search along.
    """
    others = tuple(k for k in range(label.ndim) if k != axis)
    for kinds in ((NETC, ET, RC), (NETC, ET, RC, SNFH, LESION)):
        areas = np.isin(label, kinds).sum(axis=others)
        if areas.any():
            return int(areas.argmax())
    return int((label > 0).sum(axis=others).argmax())


def radiological(plane: NDArray[Any]) -> NDArray[Any]:
    """Turns the last two axes of a RAS+ slice to a screen's rows and columns, as radiologists look at it.

    Axial: front up, the patient's right on the left. Coronal: top up, right on the left. Sagittal: top up, front
    on the left.
    """
    return np.swapaxes(plane, -2, -1)[..., ::-1, ::-1]


def picture_grid(
    path: str | Path,
    cases: Sequence[PictureRow],
    *,
    plane: str = "axial",
    overlay: bool = True,
    cases_per_line: int = 3,
    panel_px: int = 190,
) -> None:
    """Draws cases as a PNG: over each its mask, below it one row per contrast and one column per volume.

    A letter left of the mask says which side of the patient is there. All panels show grey values 0 to 1 in the
    same window, so brightness can be compared. The bytes depend on the arguments and the library versions only.

    Args:
        path: The PNG to write.
        cases: What to show; all with the same contrasts and volume names.
        plane: ``axial``, ``coronal`` or ``sagittal``; two-dimensional cases are shown as they are.
        overlay: Draw the mask's contours on every volume.
        cases_per_line: Cases side by side before the next line begins.
        panel_px: Width of a panel in pixels.

    Raises:
        GliomaGenError: Nothing to draw, an unknown plane, or the file cannot be written.
        ValueError: The cases differ in contrasts or volume names.
    """
    if not cases:
        raise GliomaGenError(f"{path}: there are no cases to draw")
    if plane not in PLANES:
        raise GliomaGenError(f"plane '{plane}' is not known; choose among {sorted(PLANES)}")
    names, contrasts = list(cases[0].volumes), list(cases[0].contrasts)
    if any(list(case.volumes) != names or list(case.contrasts) != contrasts for case in cases):
        raise ValueError("all cases of a picture need the same contrasts and volume names")
    cuts = [_cut(case, PLANES[plane]) for case in cases]

    width = panel_px
    height = max(round(panel_px * cut.size_mm[0] / cut.size_mm[1]) for cut in cuts)
    block_width = len(names) * (width + _GAP) + 2 * _GAP
    block_height = 2 * _LINE + (len(contrasts) + 1) * (height + _GAP) + 2 * _GAP
    columns = min(cases_per_line, len(cuts))
    lines = -(-len(cuts) // columns)
    page = _Page(
        width=_ROW_NAMES + columns * block_width + _GAP, height=lines * block_height + 2 * _LINE + _GAP
    )

    for number, cut in enumerate(cuts):
        left = _ROW_NAMES + number % columns * block_width
        top = number // columns * block_height + _GAP
        middle = left + (block_width - 2 * _GAP) / 2
        page.write(cut.title, middle, top + _LINE / 2, strong=True)
        _draw_mask(page.panel(middle - width / 2, top + _LINE, width, height), cut)
        page.write(cut.left, middle - width / 2 - 8, top + _LINE + height / 2)
        top += 2 * _LINE + height + _GAP
        for column, name in enumerate(names):
            x = left + column * (width + _GAP)
            page.write(name, x + width / 2, top - _LINE / 2)
            for row, contrast in enumerate(contrasts):
                y = top + row * (height + _GAP)
                _draw_grey(page.panel(x, y, width, height), cut, cut.greys[name][row], overlay=overlay)
                if x == _ROW_NAMES:
                    page.write(contrast, _ROW_NAMES / 2, y + height / 2, turned=True)
    present = [label for label in LABEL_COLOURS if any((cut.label == label).any() for cut in cuts)]
    page.legend(present)
    page.save(path)


class _Page:
    """A dark figure measured in pixels from its top left corner."""

    def __init__(self, *, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor=_PAPER)

    def panel(self, left: float, top: float, width: float, height: float) -> Axes:
        rectangle = (
            left / self.width,
            1 - (top + height) / self.height,
            width / self.width,
            height / self.height,
        )
        axes = self.figure.add_axes(rectangle)
        axes.set_facecolor("black")
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_visible(False)
        return axes

    def write(self, text: str, x: float, y: float, *, strong: bool = False, turned: bool = False) -> None:
        self.figure.text(
            x / self.width,
            1 - y / self.height,
            text,
            ha="center",
            va="center",
            rotation=90 if turned else 0,
            fontsize=9 if strong else 8,
            color=_INK if strong else _FAINT,
            parse_math=False,
        )

    def legend(self, labels: Sequence[int]) -> None:
        self.figure.legend(
            handles=[Patch(color=LABEL_COLOURS[label], label=LABEL_SHORT_NAMES[label]) for label in labels],
            loc="lower center",
            ncols=max(len(labels), 1),
            frameon=False,
            fontsize=8,
            labelcolor=_INK,
            handlelength=1.0,
            columnspacing=1.2,
            borderaxespad=0.5,
        )

    def save(self, path: str | Path) -> None:
        FigureCanvasAgg(self.figure)
        with written_whole(path) as beside:  # matplotlib's version is left out of the file
            self.figure.savefig(beside, format="png", dpi=_DPI, facecolor=_PAPER, metadata={"Software": None})


def _cut(case: PictureRow, axis: int) -> _Cut:
    """Takes the slice, cuts it to the head and whatever the volumes show outside of it, and turns it."""
    label = np.asarray(case.label)
    volumes = {name: np.asarray(volume, np.float32) for name, volume in case.volumes.items()}
    mm = [float(value) for value in case.voxel_mm[: label.ndim]]
    if label.ndim == 3:
        at = representative_slice(label, axis) if case.slice_index is None else case.slice_index
        label = np.take(label, at, axis)
        volumes = {name: np.take(volume, at, axis + 1) for name, volume in volumes.items()}
        del mm[axis]
    shown = (label > 0) | np.any([(volume > 0).any(axis=0) for volume in volumes.values()], axis=0)
    window = _window(shown)
    return _Cut(
        title=case.title,
        label=radiological(label[window]),
        greys={name: radiological(volume[(slice(None), *window)]) for name, volume in volumes.items()},
        pixel_mm=(mm[1], mm[0]),
        left="A" if case.label.ndim == 3 and axis == PLANES["sagittal"] else "R",
    )


def _window(shown: NDArray[np.bool_], margin: int = 2) -> tuple[slice, slice]:
    """Returns the smallest window around ``shown`` with a margin; all of it where nothing is shown."""
    window = []
    for axis in (0, 1):
        along = np.flatnonzero(shown.any(axis=1 - axis))
        first, last = (along[0], along[-1]) if len(along) else (0, shown.shape[axis] - 1)
        window.append(slice(max(int(first) - margin, 0), int(last) + margin + 1))
    return window[0], window[1]


def _draw_mask(axes: Axes, cut: _Cut) -> None:
    colours = np.zeros((*cut.label.shape, 3), np.float32)  # (H, W, 3)
    for label, colour in LABEL_COLOURS.items():
        colours[cut.label == label] = to_rgb(colour)
    axes.imshow(colours, interpolation="nearest", aspect=cut.pixel_mm[0] / cut.pixel_mm[1])


def _draw_grey(axes: Axes, cut: _Cut, grey: NDArray[Any], *, overlay: bool) -> None:
    axes.imshow(
        grey,
        cmap="gray",
        vmin=0,
        vmax=1,
        interpolation="bilinear",
        aspect=cut.pixel_mm[0] / cut.pixel_mm[1],
    )
    if not overlay:
        return
    axes.autoscale(False)
    for label, colour in LABEL_COLOURS.items():
        where = cut.label == label
        # A border of nothing closes contours at the edge; matplotlib cannot draw what is not there.
        if label != HEAD and where.any():
            padded = np.pad(where, 1).astype(np.float32)
            rows, columns = np.arange(-1, where.shape[0] + 1), np.arange(-1, where.shape[1] + 1)
            axes.contour(columns, rows, padded, levels=[0.5], colors=[colour], linewidths=0.7)
