"""Forecasts of patients whose follow-up is known, beside both baselines: a table of ``bundle/docs/forecast.md``.

python scripts/growth_study.py COHORT VISITS [--treatments CSV] [--name NAME] [--skip N] [--ahead N] [--work FOLDER] [--page FILE]
  [--set OPTION=VALUE …]

COHORT: prepared. Each patient's last visit is forecast from those before it, or from those at least N visits before (``--ahead``).
NAME: of the table on the page. So many patients, the first of the table, on whom options were chosen, are left out (``--skip``).
OPTION: of ``forecast.yaml``. Rerunning continues.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from completion.page import replaced, table
from gliomagen import BUNDLE_ROOT
from gliomagen.evaluation.intervals import mean_interval
from gliomagen.files import read_json
from quality.runs import run

METHODS = {
    "forecast": "forecast",
    "isotropic": "the same burden, grown alike in all directions",
    "no_change": "no change",
}
SCORES = {
    "dice": ("Dice", 1.0, 3),
    "hd95_mm": ("HD95 (mm)", 1.0, 2),
    "brier": ("Brier score × 1000, in the head", 1000.0, 2),
}


def main() -> None:
    """Forecasts, scores, writes the table."""
    options = _options()
    header, *rows = options.visits.read_text(encoding="utf-8").splitlines()
    every: dict[str, list[str]] = {}
    for row in rows:  # of each patient by date
        every.setdefault(row.split(",")[0], []).append(row)
    patients = dict(list(every.items())[options.skip :])
    options.work.mkdir(parents=True, exist_ok=True)
    visits = (options.work / "visits.csv").absolute()
    kept = [row for own in patients.values() for row in [*own[: -options.ahead], own[-1]]]
    visits.write_text("\n".join([header, *kept, ""]))
    told: dict[str, object] = dict(pair.split("=", 1) for pair in options.set)
    treatments = options.work.absolute() / "treatments.csv"
    if options.treatments:
        rows = options.treatments.read_text(encoding="utf-8").splitlines()
        kept = [row for row in rows[1:] if row.split(",")[0] in patients]
        treatments.write_text("\n".join([rows[0], *kept, ""]))
        told["treatments"] = str(treatments)
    output = options.work.absolute() / "forecasts"
    run(
        *("forecasting", ["forecast"], options.work / "forecast.log"),
        dataset_dir=str(options.cohort.absolute()),
        visits=str(visits),
        output_dir=str(output),
        forecast_date="last",
        **{"scans": 0, **told},
    )
    summary = read_json(output / "forecasts.json")
    facts = {name: read_json(output / name / "forecast.json") for name in summary["patients"]}
    scored = {name: one["scores"] for name, one in facts.items() if one["scores"]}
    replaced(options.page, options.name, "\n\n".join(_page(scored, summary["refused"], options)))


def _page(
    scored: dict[str, dict[str, Any]], refused: dict[str, str], options: argparse.Namespace
) -> list[str]:
    names = list(scored)

    def shown(value: Callable[[dict[str, Any]], float], digits: int, *, sign: bool = False) -> str:
        estimate = mean_interval([value(scored[name]) for name in names], names)
        plus = "+" if sign else ""
        return f"{estimate.value:{plus}.{digits}f} ({estimate.low:{plus}.{digits}f} to {estimate.high:{plus}.{digits}f})"

    lines = []
    for method, title in METHODS.items():
        cells = [title]
        for score, (_, scale, digits) in SCORES.items():
            cells.append(shown(lambda one, s=score, k=scale, m=method: k * one[m][s], digits))  # type: ignore[misc]
            if method != "forecast":
                cells[-1] += "; forecast " + shown(
                    lambda one, s=score, k=scale, m=method: k * (one["forecast"][s] - one[m][s]),
                    digits,
                    sign=True,  # type: ignore[misc]
                )
        lines.append(cells)
    within = np.mean([one["burden"]["within_90"] for one in scored.values()])
    error = np.median([abs(one["burden"]["log_error"]) for one in scored.values()])
    bins: dict[int, list[dict[str, float]]] = {}
    for one in scored.values():
        for row in one["calibration"]:
            bins.setdefault(int(np.digitize(row["said"], (1e-6, 0.2, 0.4, 0.6, 0.8, 0.999))), []).append(row)
    command = (
        f"python scripts/growth_study.py COHORT VISITS{' --treatments CSV' if options.treatments else ''}"
    )
    told = "".join(
        f" --{name} {value}"
        for name, value, usual in (("skip", options.skip, 0), ("ahead", options.ahead, 1))
        if value != usual
    ) + "".join(f" --set {pair}" for pair in options.set)
    return [
        f"`{command}{told}`: {len(scored)} patients; mean and 95 % interval over patients, in each baseline's row also what the "
        "forecast has more or less on the same patients.",
        table(["", *(title for title, _, _ in SCORES.values())], lines),
        f"Burden: the median is off by {100 * (np.exp(error) - 1):.0f} % (median over patients), the 90 % band holds "
        f"{100 * within:.0f} % of the burdens that came.",
        *_similarity(scored, shown),
        "Calibration (voxels of all heads, by the probability that was said):",
        table(
            ["said", *(f"{_pooled(bins[k], 'said'):.2f}" for k in sorted(bins))],
            [
                ["came", *(f"{_pooled(bins[k], 'came'):.2f}" for k in sorted(bins))],
                ["voxels", *(str(sum(int(row["voxels"]) for row in bins[k])) for k in sorted(bins))],
            ],
        ),
        *(
            [f"Not forecast: {'; '.join(f'{name}: {why}' for name, why in refused.items())}."]
            if refused
            else []
        ),
    ]


def _similarity(scored: dict[str, dict[str, Any]], shown: Callable[..., str]) -> list[str]:
    """Returns a table of how like the true scan those are that were made, where any were."""
    if not all("similarity" in one for one in scored.values()):
        return []
    lines = [
        [
            METHODS[method],
            *(
                shown(lambda one, m=method, p=place, k=key: one["similarity"][m][p][k], digits)  # type: ignore[misc]
                for place in ("inside", "outside")
                for key, digits in (("psnr_db", 1), ("ssim", 3))
            ),
        ]
        for method in ("forecast", "no_change")
    ]
    heads = [f"{key}, {place} the lesion" for place in ("inside", "outside") for key in ("PSNR (dB)", "SSIM")]
    return ["Likeness to the scan that came:", table(["", *heads], lines)]


def _pooled(rows: Sequence[dict[str, float]], name: str) -> float:
    return float(np.average([row[name] for row in rows], weights=[row["voxels"] for row in rows]))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cohort", type=Path)
    parser.add_argument("visits", type=Path)
    parser.add_argument("--treatments", type=Path)
    parser.add_argument("--name", default="phantoms", help="of the table on the page")
    parser.add_argument("--skip", type=int, default=0)
    parser.add_argument("--ahead", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path("growth_study"))
    parser.add_argument("--page", type=Path, default=Path(BUNDLE_ROOT) / "docs" / "forecast.md")
    parser.add_argument("--set", nargs="*", default=[], metavar="OPTION=VALUE")
    options: argparse.Namespace = parser.parse_args()
    return options


if __name__ == "__main__":
    main()
