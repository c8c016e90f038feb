"""The figures of a study: arms with intervals, scaling, patients one by one, confusion, volumes, example predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ...files import written_whole
from ...labels import HEAD, convention
from ...pictures import PictureRow, picture_grid, representative_slice
from ...volume import read_volume
from ..confusion import WHOLE
from .scores import TISSUES, mean_dice
from .summary import numbers_of

Content = Mapping[str, Any]
PREDICTIONS_TITLE = (
    "Example predictions: the worst, the median and the best patient of the base arm, first training"
)
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999", "#000000")
"""Told apart by the colour-blind (Okabe & Ito 2008)."""


def draw_all(content: Content, folder: Path) -> list[tuple[str, str]]:
    """Draws all figures a study has the numbers for.

    Args:
        content: Of ``study.json``.
        folder: Where they go.

    Returns:
        File name and title of each.
    """
    drawn = []
    for name, title, draw in (
        ("arms", "Dice of each arm, by tissue; bars: 95 %, for other patients and other trainings", _arms),
        ("scaling", "Dice against the number of synthetic cases", _scaling),
        ("patients", "Patients one by one, mean over trainings", _patients),
        ("confusion", "What voxels of each tissue were taken for, in parts of the row", _confusion),
        ("volumes", "Tumour volume found, against the truth", _volumes),
    ):
        figure = draw(content)
        if figure is not None:
            FigureCanvasAgg(figure)
            with written_whole(folder / f"{name}.png") as beside:
                figure.savefig(beside, format="png", dpi=130, metadata={"Software": None})
            drawn.append((f"{name}.png", title))
    return drawn


def _arms(content: Content) -> Figure:
    arms = list(content["summary"])
    figure = Figure(figsize=(2 + 1.1 * len(arms), 4), layout="constrained")
    axis = figure.subplots()
    regions = ("mean", *TISSUES)
    for place, region in enumerate(regions):
        found = [content["summary"][arm]["dice"][region] for arm in arms]
        values = np.array([_nan(one["value"]) for one in found])
        ends = np.array(
            [[_nan(one["value"]) - _nan(one["low"]), _nan(one["high"]) - _nan(one["value"])] for one in found]
        )
        at = np.arange(len(arms)) + (place - 2) * 0.16
        axis.bar(
            at,
            values,
            0.15,
            yerr=np.nan_to_num(ends.T),
            color=_COLOURS[place],
            label=region,
            error_kw={"lw": 0.8},
        )
    axis.set_xticks(range(len(arms)), [_label(content, arm) for arm in arms])
    axis.set_ylabel("Dice")
    figure.legend(ncols=len(regions), frameon=False, loc="outside upper center", fontsize=8)
    return figure


def _label(content: Content, arm: str) -> str:
    facts = content["arms"][arm]
    return f"{arm}\n{facts['real']} R + {facts['synthetic']} S" + ("\ntransfer" if facts["transfer"] else "")


def _scaling(content: Content) -> Figure | None:
    by_real: dict[str, list[tuple[int, Mapping[str, float], float]]] = {}
    for arm, facts in content["arms"].items():
        found = content["summary"][arm]
        point = (facts["synthetic"], found["dice"]["mean"], facts["synthetic_bytes"] / 1e9)
        kind = f"{facts['real']} real" + (", accepted only" if facts["accepted"] else "")
        by_real.setdefault(kind + (", transfer" if facts["transfer"] else ""), []).append(point)
    if not any(len({point[0] for point in points}) > 1 for points in by_real.values()):
        return None
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    cases, bytes_ = figure.subplots(1, 2, sharey=True)
    for colour, (real, points) in zip(_COLOURS * 9, sorted(by_real.items()), strict=False):
        points.sort(key=lambda point: point[0])
        values = [_nan(point[1]["value"]) for point in points]
        ends = [[v - _nan(p[1]["low"]) for v, p in zip(values, points, strict=True)]]
        ends += [[_nan(p[1]["high"]) - v for v, p in zip(values, points, strict=True)]]
        for axis, at in ((cases, [p[0] for p in points]), (bytes_, [p[2] for p in points])):
            axis.errorbar(at, values, np.nan_to_num(ends), color=colour, marker="o", capsize=3, label=real)
    cases.set(xlabel="synthetic cases", ylabel="Dice, mean over tissues")
    bytes_.set(xlabel="synthetic data, GB")
    cases.legend(frameon=False)
    return figure


def _patients(content: Content) -> Figure | None:
    base, others = content["base"], [arm for arm in content["summary"] if arm != content["base"]]
    if not others:
        return None
    figure = Figure(figsize=(3 * min(4, len(others)), 3.2 * -(-len(others) // 4)), layout="constrained")
    panels = figure.subplots(
        -(-len(others) // 4), min(4, len(others)), squeeze=False, sharex=True, sharey=True
    )
    for axis in panels.flat[len(others) :]:
        axis.set_axis_off()
    of_base = _by_patient(content, base)
    for axis, arm in zip(panels.flat, others, strict=False):
        own = _by_patient(content, arm)
        both = [(of_base[name], own[name]) for name in of_base if name in own]
        axis.plot([0, 1], [0, 1], color="#999999", lw=0.8)
        axis.scatter(
            *np.array(both).reshape(-1, 2).T,
            s=14,
            color=[_COLOURS[1] if b < a else _COLOURS[0] for a, b in both],
        )
        better = sum(b > a for a, b in both)
        axis.set(
            title=f"{arm}: {better} of {len(both)} better",
            xlabel=f"Dice, {base}",
            ylabel="Dice",
            aspect="equal",
        )
    return figure


def _by_patient(content: Content, arm: str) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for training in content["trainings"][arm]:
        for case in training["cases"].values():
            found.setdefault(case["patient"], []).append(mean_dice(numbers_of(case)))
    return {name: float(np.nanmean(values)) for name, values in found.items() if np.isfinite(values).any()}


def _confusion(content: Content) -> Figure:
    arms = list(content["trainings"])
    across = min(4, len(arms))
    figure = Figure(figsize=(3 * across, 3.1 * -(-len(arms) // across)), layout="constrained")
    panels = figure.subplots(-(-len(arms) // across), across, squeeze=False)
    for axis in panels.flat[len(arms) :]:
        axis.set_axis_off()
    names = ("other", *TISSUES)
    for axis, arm in zip(panels.flat, arms, strict=False):
        cases = [case for training in content["trainings"][arm] for case in training["cases"].values()]
        counts = np.sum([case[WHOLE] for case in cases], axis=0)
        share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        axis.imshow(share, vmin=0, vmax=1, cmap="Blues")
        for (row, column), value in np.ndenumerate(share):
            axis.text(
                column,
                row,
                f"{value:.2f}",
                ha="center",
                va="center",
                fontsize=7,
                color="w" if value > 0.5 else "k",
            )
        axis.set_xticks(range(len(names)), names, fontsize=7)
        axis.set_yticks(range(len(names)), names, fontsize=7)
        axis.set(title=arm, xlabel="found", ylabel="truth")
    return figure


def _volumes(content: Content) -> Figure:
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    axis = figure.subplots()
    largest = 0.0
    for colour, (arm, trainings) in zip(_COLOURS * 9, content["trainings"].items(), strict=False):
        cases = list(trainings[0]["cases"].values())
        truth, found = ([case[key] for case in cases] for key in ("truth_ml", "found_ml"))
        r = content["summary"][arm]["sound"]["r"]
        axis.scatter(truth, found, s=10, color=colour, label=f"{arm}, r = {_nan(r):.3f}")
        largest = max(largest, *truth, *found)
    axis.plot([0, largest], [0, largest], color="#999999", lw=0.8)
    axis.set(xlabel="truth, mL", ylabel="found, mL", aspect="equal")
    axis.legend(frameon=False, fontsize=7)
    return figure


def draw_predictions(
    content: Content,
    entries: Sequence[Mapping[str, Any]],
    prediction: Callable[[str, str], Path],
    numbers: tuple[str, str],
    path: Path,
) -> None:
    """Draws what each arm finds in three patients, over the truth: the median one of the base arm, the worst and the best.

    Args:
        content: Of ``study.json``.
        entries: Validation cases, with contrasts and label.
        prediction: Returns where an arm's label map of a case is.
        numbers: Label conventions of truth and predictions.
        path: The picture.
    """
    base = content["trainings"][content["base"]][0]["cases"]
    dice = {name: mean_dice(numbers_of(case)) for name, case in base.items()}
    ranked = sorted((name for name in dice if np.isfinite(dice[name])), key=lambda name: (dice[name], name))
    if not ranked:
        return
    chosen = dict.fromkeys([ranked[0], ranked[len(ranked) // 2], ranked[-1]])
    by_case = {entry["case"]: entry for entry in entries}
    contrasts = [name for name in ("t1c", "t2f") if name in content["contrasts"]] or list(
        content["contrasts"]
    )[:2]
    rows = []
    for name in chosen:
        entry = by_case[name]
        truth = read_volume(entry["label"]).to_ras()
        scan = np.stack([read_volume(entry[contrast]).to_ras().data for contrast in contrasts])
        head = np.where((scan != 0).any(0), HEAD, 0).astype(np.uint8)
        for what in ("truth", *content["trainings"]):
            path_of = Path(entry["label"]) if what == "truth" else prediction(what, name)
            stored = read_volume(path_of).to_ras().data
            label = convention(numbers[what != "truth"]).to_prepared(stored)
            if what == "truth":
                at = representative_slice(label, 2)
            shown = np.where(label > HEAD, label, head)
            rows.append(
                PictureRow(
                    title=what if what != "truth" else f"{name}: truth",
                    label=shown,
                    volumes={"": scan},
                    contrasts=contrasts,
                    voxel_mm=truth.voxel_mm,
                    slice_index=at,
                )
            )
    picture_grid(path, rows, cases_per_line=1 + len(content["trainings"]), panel_px=150)


def _nan(value: float | None) -> float:
    return float("nan") if value is None else value
