"""Measures completion on held-out patients: tables of ``bundle/docs/completion.md``, figures of each patient beside it.

python scripts/completion_study.py COHORT [--edited FOLDER] [--regression WEIGHTS] [--name NAME] [--weights WEIGHTS]
  [--overlay CONFIG] [--work FOLDER]

COHORT: prepared, of patients the weights have not seen; its validation section is completed, other patients' slices come
from its training section. FOLDER: label maps that ``augmenting`` made of the validation section. WEIGHTS of regression: made by
``training`` with ``scripts/completion/regression.yaml``. NAME: of the tables on the page. CONFIG: slices.yaml for the 2-D
network. Rerunning continues; a setting whose figures stand beside the page, of the same inputs, is not measured again.
``scripts/completion_study.sh`` does all of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from completion.figures import Figures
from completion.measure import Measure
from completion.page import write_page
from completion.pictures import picture_tasks
from completion.settings import (
    ALONE_LIKELIEST,
    CONFIGS,
    EDITED,
    LIKELIEST,
    REGIONS,
    REGRESSION,
    SLICES,
    complete,
    contrast_runs,
)
from gliomagen.cohort.datalist import datalist, read_cohort
from gliomagen.files import file_sha256, read_json
from gliomagen.provenance import read_card, refuse_training_patients

MODELS = CONFIGS.parent / "models"
PICTURED = (
    *("label map alone", "its own middle slice", "5 of its slices", "t1c from the others"),
    *("healthy", "lesion insertion", "counterfactual"),
)


def main() -> None:
    """Completes, measures, writes the page."""
    options = _options()
    card = read_card(options.weights)
    contrasts = card["geometry"]["contrasts"]
    volumes = not any(overlay.name == "slices.yaml" for overlay in options.overlay)
    entries = {
        str(entry["case"]): entry
        for entry in datalist(options.cohort, section="validation", contrasts=contrasts)
    }
    judges = [MODELS / "features.pt"] if volumes else []
    weights = [options.weights, *judges, *([options.regression] if options.regression else [])]
    refuse_training_patients((str(entry["patient"]) for entry in entries.values()), weights)
    measure = Measure(entries, contrasts, options.work, perceptual=volumes)
    figures = Figures(options.page.with_suffix(".jsonl"), options.name)
    rows: dict[str, list[dict[str, Any]]] = {}
    for name, (overlays, run) in _runs(options, contrasts, volumes).items():
        folder = options.work / "completed" / name
        asked = partial(
            complete, folder, overlays=overlays, dataset_dir=options.cohort, threads=options.threads
        )

        def measured(
            name: str = name,
            folder: Path = folder,
            asked: Callable[..., None] = asked,
            run: Mapping[str, Any] = run,
        ) -> list[dict[str, Any]]:
            asked(**run)
            return measure(name, folder)

        rows[name] = figures.of(name, _inputs(options.cohort, overlays, run), measured)
    write_page(options.page, options.name, rows, contrasts, command=_command(options))
    titles = [name for name in PICTURED if (options.work / "completed" / name).is_dir()]
    if volumes and len(titles) == len(PICTURED):
        source = next(iter(entries))
        folders = {name: options.work / "completed" / name for name in titles}
        cases = {name: _case_of(folders[name], source) for name in titles}
        picture_tasks(options.page.with_suffix(".png"), folders, cases, entries[source], titles)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cohort", type=Path)
    parser.add_argument(
        "--edited", type=Path, help="label maps that augmenting made of the validation section"
    )
    parser.add_argument("--regression", type=Path, help="weights of scripts/completion/regression.yaml")
    parser.add_argument("--name", default="phantoms", help="of the tables on the page")
    parser.add_argument("--weights", type=Path, default=MODELS / "model.pt")
    parser.add_argument("--overlay", type=Path, action="append", default=[], help="of complete.yaml")
    parser.add_argument("--work", type=Path, default=Path("completion_study"))
    parser.add_argument("--page", type=Path, default=CONFIGS.parent / "docs" / "completion.md")
    parser.add_argument("--threads", type=int, default=None)
    options: argparse.Namespace = parser.parse_args()
    return options


def _runs(
    options: argparse.Namespace, contrasts: list[str], volumes: bool
) -> dict[str, tuple[list[Path], dict[str, Any]]]:
    """Returns overlays and options of each setting."""
    plain: dict[str, dict[str, Any]] = dict(SLICES) if volumes else {}
    if not (MODELS / "slices.pt").is_file():
        plain.pop("a generated slice", None)
    plain |= {ALONE_LIKELIEST: {"task": "base", **LIKELIEST}, **contrast_runs(contrasts), **REGIONS}
    for name in EDITED:
        if options.edited:
            plain[name] = {**plain[name], "masks_dir": options.edited}
        else:
            del plain[name]
    runs = {
        name: (options.overlay, {"contrasts": contrasts, "weights": options.weights, **run})
        for name, run in plain.items()
    }
    if options.regression:
        for name, run in contrast_runs(contrasts, regression=True).items():
            runs[name] = ([*options.overlay, REGRESSION], {**run, "weights": options.regression})
    return runs


def _inputs(cohort: Path, overlays: list[Path], run: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a setting's figures depend on."""
    told = {**run, "weights": file_sha256(run["weights"]), "overlays": [path.name for path in overlays]}
    if "masks_dir" in run:
        told["masks_dir"] = {
            path.name: file_sha256(path) for path in sorted(run["masks_dir"].glob("*/*.nii.gz"))
        }
    return {"cohort": read_cohort(cohort).sha256, **told}


def _case_of(folder: Path, source: str) -> str:
    """Returns the name that a patient's scan has in a setting: that of the edited label map, where there is one."""
    sidecars = [read_json(path) for path in sorted(folder.glob("*/*.json"))]
    return next(str(facts["case"]) for facts in sidecars if facts["source_case"] == source)


def _command(options: argparse.Namespace) -> str:
    asked = [f"--{name} {name.upper()}" for name in ("edited", "regression") if getattr(options, name)]
    if options.name != "phantoms":
        asked += [f'--name "{options.name}"', "--weights WEIGHTS"]
    asked += [f"--overlay {overlay.name}" for overlay in options.overlay]
    return " ".join(["python scripts/completion_study.py COHORT", *asked])


if __name__ == "__main__":
    main()
