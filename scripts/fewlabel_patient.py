"""A few slices of one patient labelled, the rest of that scan segmented: table of ``bundle/docs/fewlabel.md``.

python scripts/fewlabel_patient.py COHORT --weights WEIGHTS [--name NAME] [--methods M ...] [--patients N] [--slices N ...] [--page FILE]

COHORT: prepared; patients of its validation section, on whom the weights were not trained. Slices are labelled at even distances
between the ends of the lesion, as somebody would who saw the scan. Scored are all others that show some head: those between
labelled ones, and those beyond, which are unlike anything that was shown.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from completion.figures import Figures
from completion.page import replaced, table
from fewlabel.arms import FIXED, OURS, Arms, found_by
from fewlabel.pool import slices_of
from fewlabel.scores import Found
from gliomagen import BUNDLE_ROOT
from gliomagen.cohort.datalist import read_cohort
from gliomagen.evaluation.comparison import mean_of
from gliomagen.fewlabel.samples import Sample
from gliomagen.labels import HEAD
from gliomagen.provenance import read_card, refuse_training_patients

NEAREST = "nearest labelled slice, copied"
METHODS = [NEAREST, "greys", "features", "conv", "finetune", "from scratch"]
WHERE = ("between", "beyond")
FEWEST = 9
"""Slices that a lesion must show in: of fewer, nothing is left between five."""


def main() -> None:
    """Learns from each patient by itself, scores the rest of the scan, writes the table."""
    options = _options()
    card = read_card(options.weights)
    patients = slices_of(options.cohort, "validation", card["geometry"]["contrasts"], heights=None)
    refuse_training_patients(patients, [options.weights])
    chosen = {name: s for name, s in sorted(patients.items()) if len(_bearing(s)) >= FEWEST}
    chosen = dict(list(chosen.items())[: options.patients])
    figures = Figures(options.page.with_suffix(".jsonl"), options.name)
    arms = Arms(options.weights, threads=options.threads)
    rows: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for count in options.slices:
        for name, samples in chosen.items():
            places = _labelled(samples, count)
            for method in options.methods:
                inputs = {
                    "cohort": read_cohort(options.cohort).sha256,
                    "weights": None if method == NEAREST else card["sha256"],
                    "labelled": [samples[k].name for k in places],
                    "budget": FIXED,
                }
                measure = partial(_row, arms, method, samples, places)
                found = figures.of(f"{method}, {count}, {name}", inputs, measure)
                rows.setdefault((method, count), []).extend(found)
    lines = [
        [where, method, *(_shown(rows[method, count], where) for count in options.slices)]
        for where in WHERE
        for method in options.methods
    ]
    body = (
        f"`python scripts/fewlabel_patient.py COHORT --weights WEIGHTS{_named(options.name)}`\n\n{len(chosen)} patients. Dice of all lesion "
        "labels together over the voxels of the slices that were not labelled, with 95 % intervals for other patients:\n\n"
        + table(["slices", "learnt by", *(f"{count} labelled" for count in options.slices)], lines)
    )
    replaced(options.page, options.name, body)


def _row(arms: Arms, method: str, samples: Sequence[Sample], places: Sequence[int]) -> list[dict[str, Any]]:
    began = time.monotonic()
    labelled = [samples[k] for k in places]
    rest = [k for k in range(len(samples)) if k not in places]
    wanted = [samples[k] for k in rest]
    if method == NEAREST:
        found: Found = {
            samples[k].name: samples[min(places, key=lambda p: abs(p - k))].label.numpy() for k in rest
        }
    else:
        found = found_by(OURS[method](arms, labelled, 0), labelled, wanted)
    inside = {k: places[0] < k < places[-1] for k in rest}
    row: dict[str, Any] = {"seconds": time.monotonic() - began}
    for where in WHERE:
        some = [samples[k] for k in rest if inside[k] == (where == "between")]
        said, truth = (
            np.concatenate([x.ravel() > HEAD for x in each] or [np.zeros(0, bool)])
            for each in ([found[s.name] for s in some], [s.label.numpy() for s in some])
        )
        total = int(said.sum() + truth.sum())
        row[where] = 2 * int((said & truth).sum()) / total if truth.any() else None
        row[f"{where}, slices"] = len(some)
        row[f"{where}, false"] = int((said & ~truth).sum())
    print(f"{method}, {len(places)} slices of {samples[0].case}: {row}", flush=True)
    return [row]


def _bearing(samples: Sequence[Sample]) -> list[int]:
    return [k for k, sample in enumerate(samples) if (sample.label > HEAD).any()]


def _labelled(samples: Sequence[Sample], count: int) -> list[int]:
    bearing = _bearing(samples)
    at = np.linspace(0, len(bearing) - 1, count + 2)[1:-1]
    return sorted({bearing[round(k)] for k in at.tolist()})


def _shown(rows: Sequence[dict[str, Any]], where: str) -> str:
    values = np.array([[np.nan if row[where] is None else row[where] for row in rows]], float)
    if not np.isfinite(values).any():
        return "–"
    mean = mean_of(values)
    return f"{mean.value:.2f} ({mean.low:.2f} to {mean.high:.2f}), {int(np.isfinite(values).sum())} patients"


def _named(name: str) -> str:
    return "" if name == "one patient" else f' --name "{name}"'


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--name", default="one patient", help="of the table on the page")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=[NEAREST, *OURS])
    parser.add_argument("--patients", type=int, default=12)
    parser.add_argument("--slices", type=int, nargs="+", default=[1, 3, 5])
    parser.add_argument("--page", type=Path, default=Path(BUNDLE_ROOT) / "docs" / "fewlabel.md")
    parser.add_argument("--threads", type=int, default=None)
    options: argparse.Namespace = parser.parse_args()
    return options


if __name__ == "__main__":
    main()
