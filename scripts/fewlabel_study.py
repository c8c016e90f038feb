"""The published few-label experiment, split by patient: tables of ``bundle/docs/fewlabel.md``, figures of each patient beside it.

python scripts/fewlabel_study.py COHORT --weights WEIGHTS [--name NAME] [--methods M ...] [--counts N ...] [--seeds S ...]
  [--work FOLDER] [--page FILE]

COHORT: prepared; slices of its training section are labelled, slices of its validation section are the test. WEIGHTS: of the 2-D
generator, trained with ``unlabelled.yaml`` on none of the test patients. NAME: of the tables on the page. A method is trained on
N slices, drawn by a seed. Rerunning continues; figures of the same inputs that stand beside the page are not made again.

The page's phantoms: ``simulating`` with ``--patients 200 --spatial_size "[64,72,56]" --voxel_mm 3.0 --seed 8``, ``preparing`` with
``--spatial_size "[64,64,48]" --voxel_mm "[3.0,3.0,3.0]"``; WEIGHTS: ``models/unlabelled.pt``, which saw 200 others.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from completion.figures import Figures
from fewlabel.arms import FIXED, OURS, Arms, found_by
from fewlabel.baselines import NNUNET, nnunet, quick
from fewlabel.page import write_page
from fewlabel.pool import draw, slices_of
from fewlabel.scores import bearing, patient_scores, regions_of
from gliomagen import BUNDLE_ROOT
from gliomagen.cohort.datalist import datalist, read_cohort
from gliomagen.provenance import read_card, refuse_training_patients
from gliomagen.volume import read_volume

METHODS = [*OURS, "quick", "nnU-Net"]
QUICK_STEPS = 2000


def main() -> None:
    """Trains, scores, writes the page."""
    options = _options()
    card = read_card(options.weights)
    contrasts = card["geometry"]["contrasts"]
    test = slices_of(options.cohort, "validation", contrasts)
    refuse_training_patients(test, [options.weights])
    pool = [sample for some in slices_of(options.cohort, "training", contrasts).values() for sample in some]
    wanted = [sample for some in test.values() for sample in some]
    label = read_volume(datalist(options.cohort, "validation", contrasts)[0]["label"]).to_ras()
    voxel_mm = np.linalg.norm(label.affine[:3, :3], axis=0).tolist()
    regions = regions_of([*pool, *wanted])
    print(f"{len(pool)} slices to label, {len(wanted)} of {len(test)} patients to test on", flush=True)
    figures = Figures(options.page.with_suffix(".jsonl"), options.name)
    arms = Arms(options.weights, threads=options.threads)
    rows: dict[tuple[str, int, int], list[dict[str, Any]]] = {}
    for count in [number or len(pool) for number in options.counts]:
        for seed in options.seeds if count < len(pool) else options.seeds[:1]:
            labelled = draw(pool, count, seed)
            for method in options.methods:

                def scored(
                    method: str = method, labelled: Any = labelled, seed: int = seed
                ) -> list[dict[str, Any]]:
                    began = time.monotonic()
                    work = options.work.absolute() / f"{method} {len(labelled)} {seed}"
                    told = (options.cohort, labelled, test, contrasts, work)
                    if method == "quick":
                        found = quick(*told, seed=seed, max_steps=QUICK_STEPS)
                    elif method == "nnU-Net":
                        found = nnunet(*told, seed=seed)
                    else:
                        found = found_by(OURS[method](arms, labelled, seed), labelled, wanted)
                    seconds = time.monotonic() - began
                    print(f"{method}, {len(labelled)} slices, seed {seed}: {seconds:.0f} s", flush=True)
                    return [{"seconds": seconds, **patient_scores(test, found, voxel_mm, regions)}]

                inputs = {
                    "cohort": read_cohort(options.cohort).sha256,
                    "weights": card["sha256"] if method in OURS else None,
                    "labelled": [sample.name for sample in labelled],
                    "test": [sample.name for sample in wanted],
                    "budget": FIXED if method in OURS else QUICK_STEPS if method == "quick" else NNUNET,
                }
                name = f"{method}, {count}, {seed}"
                rows[method, count, seed] = figures.of(name, inputs, partial(scored))
    write_page(
        *(options.page, options.name, rows, bearing(test, regions)),
        pool=len(pool),
        command=_command(options),
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--name", default="phantoms", help="of the tables on the page")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument(
        "--counts",
        type=int,
        nargs="+",
        default=[10, 20, 30, 40, 50, 0],
        help="slices; 0: all, with the first seed",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--work", type=Path, default=Path("fewlabel_study"))
    parser.add_argument("--page", type=Path, default=Path(BUNDLE_ROOT) / "docs" / "fewlabel.md")
    parser.add_argument("--threads", type=int, default=None)
    options: argparse.Namespace = parser.parse_args()
    return options


def _command(options: argparse.Namespace) -> str:
    name = "" if options.name == "phantoms" else f' --name "{options.name}"'
    return f"python scripts/fewlabel_study.py COHORT --weights WEIGHTS{name}"


if __name__ == "__main__":
    main()
