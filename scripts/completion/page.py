"""The page of ``completion_study.py``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gliomagen.evaluation.intervals import Estimate, mean_interval
from gliomagen.files import written_whole

from .settings import ALONE, ALONE_LIKELIEST, REGIONS, SLICES, missing

Row = dict[str, Any]


def write_page(
    path: Path, experiment: str, rows: dict[str, list[Row]], contrasts: Sequence[str], *, command: str
) -> None:
    """Writes the tables between the experiment's two marks; what stands around them is kept.

    Args:
        path: The page.
        experiment: Its name.
        rows: Of each setting, a row for each case.
        contrasts: Of the scans.
        command: That made it.
    """
    tables = [
        _slices(rows),
        _contrasts(rows, contrasts),
        _regions(rows),
        _healthy(rows, contrasts),
        _steps(rows),
    ]
    body = "\n\n".join(table for table in tables if table)
    told = [row["exact"] for some in rows.values() for row in some if row["exact"] is not None]
    count = f"Voxels that a scan gave came back bit for bit in {sum(told)} of {len(told)} completed scans."
    replaced(path, experiment, f"`{command}`\n\n{count}\n\n{body}")


def replaced(path: Path, part: str, body: str) -> None:
    """Puts text between a page's two marks of a part; what stands around them is kept.

    Args:
        path: The page.
        part: Name in the marks.
        body: The text.
    """
    begin, end = f"<!-- {part} -->", f"<!-- end of {part} -->"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if begin not in text:
        text += f"\n{begin}\n{end}\n"
    head, rest = text.split(begin)
    with written_whole(path) as beside:
        beside.write_text(f"{head}{begin}\n{body}\n{end}{rest.split(end)[1]}", encoding="utf-8")


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table."""
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _shown(estimate: Estimate, digits: int) -> str:
    if not np.isfinite(estimate.value):
        return "–"
    return f"{estimate.value:.{digits}f} ({estimate.low:.{digits}f} to {estimate.high:.{digits}f})"


def _mean(rows: Sequence[Row], value: Callable[[Row], float]) -> Estimate:
    return mean_interval([value(row) for row in rows], [row["patient"] for row in rows])


def _gain(rows: Sequence[Row], base: Sequence[Row], value: Callable[[Row], float]) -> Estimate:
    before = {row["patient"]: value(row) for row in base}
    return mean_interval(
        [value(row) - before[row["patient"]] for row in rows], [row["patient"] for row in rows]
    )


def _slices(rows: dict[str, list[Row]]) -> str:
    if ALONE not in rows:
        return ""
    lines = []
    scores: dict[str, tuple[Callable[[Row], float], int]] = {
        "psnr": (lambda row: float(np.mean(row["psnr"])), 2),
        "ssim": (lambda row: float(np.mean(row["ssim"])), 3),
        "distance": (lambda row: float(row["distance"][0]), 3),
    }
    for name in SLICES:
        if name in rows:
            line = [name]
            for value, digits in scores.values():
                line.append(_shown(_mean(rows[name], value), digits))
                if name != ALONE:
                    line[-1] += f"; {_shown(_gain(rows[name], rows[ALONE], value), digits)}"
            lines.append(line)
    header = ["given beside the label map", "PSNR, dB; gain", "SSIM; gain", "feature distance; gain"]
    return (
        "## Informed slices\n\nOver the head without the slices that any of the settings is given, mean of the four "
        "contrasts; the gain over the label map alone is paired by patient.\n\n" + table(header, lines)
    )


def _contrasts(rows: dict[str, list[Row]], contrasts: Sequence[str]) -> str:
    lines = []
    for k, contrast in enumerate(contrasts):
        runs = [ALONE_LIKELIEST, missing(contrast), missing(contrast, regression=True)]
        for kind, name in zip(
            ("label map alone", "the other contrasts", "the same, regression"), runs, strict=True
        ):
            if name in rows:
                shown = [
                    _shown(_mean(rows[name], lambda row, score=score, k=k: float(row[score][k])), digits)  # type: ignore[misc]
                    for score, digits in (("psnr", 2), ("ssim", 3))
                ]
                lines.append([contrast, kind, *shown])
    return "## Missing contrasts\n\n" + table(["contrast", "given", "PSNR, dB", "SSIM"], lines)


def _regions(rows: dict[str, list[Row]]) -> str:
    lines = []
    for name in REGIONS:
        if name in rows:
            made, scan = (
                _mean(rows[name], lambda row, key=key: float(np.mean(row[key])))  # type: ignore[misc]
                for key in ("seam", "seam, scan")
            )
            lines.append([name, _shown(made, 3), _shown(scan, 3), str(len(rows[name]))])
    text = (
        "## Seams\n\nSteps between neighbouring voxels across the edge of the region that was made anew, as a multiple of "
        "those beside it, in healthy tissue; and the true scan's at the same place.\n\n"
    )
    return text + table(["task", "completed", "true scan", "cases"], lines)


def _healthy(rows: dict[str, list[Row]], contrasts: Sequence[str]) -> str:
    if "healthy" not in rows:
        return ""
    lines = []
    there = [row for row in rows["healthy"] if np.isfinite(row["mirror"]["mean"]).all()]
    for k, contrast in enumerate(contrasts):
        line = [contrast]
        for what in ("mean", "deviation"):
            line.append(_shown(_mean(there, lambda row, what=what, k=k: float(row["mirror"][what][k])), 3))  # type: ignore[misc]
            made = float(np.sqrt(np.mean([row["mirror"][what][k] ** 2 for row in there])))
            null = float(np.nanmean([row["mirror, others"][what][k] for row in there]))
            line.append(f"{made:.3f} / {null:.3f}")
        lines.append(line)
    header = [
        "contrast",
        "mean grey, difference",
        "its size / healthy sides'",
        "deviation, difference",
        "its size / healthy sides'",
    ]
    text = (
        "## Healthy tissue in a lesion's place\n\nAgainst the mirrored side of the same scan, on the scale 0 to 1; and how "
        f"unlike the same two sides are in patients who are healthy there (root mean square). {len(there)} cases.\n\n"
    )
    return text + table(header, lines)


def _steps(rows: dict[str, list[Row]]) -> str:
    lines = [
        [name, *(_shown(_mean(rows[name], lambda row, a=a: float(row["steps"][a])), 3) for a in range(3))]  # type: ignore[misc]
        for name in rows
        if not name.endswith("regression")
    ]
    text = (
        "## From slice to slice\n\nMean absolute difference of neighbouring slices inside the head, as a multiple of the "
        "true scan's.\n\n"
    )
    return text + table(["setting", "sagittal", "coronal", "axial"], lines)
