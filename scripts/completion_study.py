"""Measures completion on held-out patients: a page of tables, ``bundle/docs/completion.md``.

python scripts/completion_study.py COHORT [--edited FOLDER] [--regression WEIGHTS] [--work FOLDER] [--cases N]

COHORT: prepared, of patients the weights have not seen; its validation section is completed, other patients' slices come
from its training section. FOLDER: label maps that ``augmenting`` made of the validation section. WEIGHTS: made by
``training`` with ``scripts/completion/regression.yaml``. Rerunning continues.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.bundle import ConfigParser
from tqdm import tqdm

from completion.measures import (
    Completed,
    continuity,
    exact,
    mirrored_null,
    mirrored_tissue,
    read_completed,
    seams,
    similarity,
)
from completion.page import write_page
from completion.pictures import picture_tasks
from completion.settings import (
    CONFIGS,
    CONTRAST_RUNS,
    EDITED,
    REGIONS,
    REGRESSION,
    REGRESSIONS,
    SLICES,
    complete,
)
from gliomagen.cohort.datalist import datalist
from gliomagen.evaluation.features import EncoderFeatures
from gliomagen.files import content_sha256, read_json, write_json
from gliomagen.provenance import refuse_training_patients
from gliomagen.volume import read_volume

Row = dict[str, Any]
PICTURED = (
    *("label map alone", "its own middle slice", "5 of its slices", "t1c from the others"),
    *("healthy", "lesion insertion", "counterfactual"),
)


def main() -> None:
    """Completes, measures, writes the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cohort", type=Path)
    parser.add_argument(
        "--edited", type=Path, help="label maps that augmenting made of the validation section"
    )
    parser.add_argument("--regression", type=Path, help="weights of scripts/completion/regression.yaml")
    parser.add_argument("--work", type=Path, default=Path("completion_study"))
    parser.add_argument("--page", type=Path, default=CONFIGS.parent / "docs" / "completion.md")
    parser.add_argument("--threads", type=int, default=None)
    options = parser.parse_args()

    entries = {str(entry["case"]): entry for entry in datalist(options.cohort, section="validation")}
    models = CONFIGS.parent / "models"
    weights = [
        models / "model.pt",
        models / "features.pt",
        *([options.regression] if options.regression else []),
    ]
    refuse_training_patients((str(entry["patient"]) for entry in entries.values()), weights)
    runs: dict[str, dict[str, Any]] = {**SLICES, **CONTRAST_RUNS, **REGIONS}
    if not (models / "slices.pt").is_file():
        del runs["a generated slice"]
    if options.regression:
        runs |= {name: {**run, "weights": options.regression} for name, run in REGRESSIONS.items()}
    for name in EDITED:
        if options.edited:
            runs[name] = {**runs[name], "masks_dir": options.edited}
        else:
            del runs[name]
    measure = Measure(entries, features(), options.work)
    rows: dict[str, list[Row]] = {}
    for name, run in runs.items():
        folder = options.work / "completed" / name
        overlay = REGRESSION if name in REGRESSIONS else None
        complete(folder, overlay=overlay, dataset_dir=options.cohort, threads=options.threads, **run)
        rows[name] = measure(name, folder)
    write_page(options.page, rows, command=f"python scripts/completion_study.py COHORT{_asked(options)}")
    titles = [name for name in PICTURED if name in rows]
    source = next(iter(entries))
    folders = {name: options.work / "completed" / name for name in titles}
    cases = {name: _case_of(folders[name], source) for name in titles}
    picture_tasks(options.page.with_suffix(".png"), folders, cases, entries[source], titles)


def _case_of(folder: Path, source: str) -> str:
    """Returns the name that a patient's scan has in a setting: that of the edited label map, where there is one."""
    sidecars = [read_json(path) for path in sorted(folder.glob("*/*.json"))]
    return next(str(facts["case"]) for facts in sidecars if facts["source_case"] == source)


def _asked(options: argparse.Namespace) -> str:
    return "".join(f" --{name} {name.upper()}" for name in ("edited", "regression") if getattr(options, name))


def features() -> EncoderFeatures:
    """Returns the feature extractor that ships with the bundle."""
    parser = ConfigParser()
    parser.read_config(str(CONFIGS / "evaluate.yaml"))
    parser.update({"device": "cpu", "precision": "fp32"})
    parser.get_parsed_content("imports")
    found = parser.get_parsed_content("encoder")
    assert isinstance(found, EncoderFeatures)
    return found


class Measure:
    """Measures the cases of a setting, each once.

    Args:
        entries: The true scans.
        features: Of the perceptual distance.
        work: Where measurements are kept.
    """

    def __init__(
        self, entries: Mapping[str, Mapping[str, Any]], features: EncoderFeatures, work: Path
    ) -> None:
        self.entries = entries
        self.features = features
        self.work = work
        self._others: list[tuple[Any, Any]] = []

    def __call__(self, name: str, folder: Path) -> list[Row]:
        """Returns a row for each case."""
        of: dict[str, Callable[[Completed], Mapping[str, Any]]] = {
            "region": self._region,
            "scan": self._whole,
        }
        act = of["region" if name in REGIONS else "scan"]
        rows = []
        for sidecar in tqdm(sorted(folder.glob("*/*.json")), desc=name):
            facts = read_json(sidecar)
            key = content_sha256(facts)[:16]
            kept = self.work / "measured" / name / f"{facts['case']}-{key}.json"
            if not kept.is_file():
                case = read_completed(folder, facts["case"], self.entries[facts["source_case"]])
                row = {"case": facts["case"], "patient": facts["patient"], "exact": exact(case), **act(case)}
                write_json(kept, row)
            rows.append(read_json(kept))
        return rows

    def _whole(self, case: Completed) -> Mapping[str, Any]:
        given_somewhere = np.zeros(case.true_label.shape, bool)
        if not case.given.all((1, 2, 3)).any():  # slices; of whole contrasts all voxels of the others count
            inside = np.flatnonzero((case.true_label > 0).any((0, 1)))
            low, high = int(inside[0]), int(inside[-1])
            for run in SLICES.values():
                for position in run.get("position", ()):
                    given_somewhere[:, :, low + round(position * (high - low))] = True
        return {**similarity(case, given_somewhere, self.features), **continuity(case)}

    def _region(self, case: Completed) -> Mapping[str, Any]:
        row = {**seams(case), **continuity(case), "voxels": int(case.region.sum())}
        if case.facts["task"] == "healthy":
            null = mirrored_null(case, self._all_scans(str(case.facts["source_case"])))
            row |= {"mirror": mirrored_tissue(case), "mirror, others": null}
        return row

    def _all_scans(self, but: str) -> list[tuple[Any, Any]]:
        if not self._others:
            names = ("t1c", "t1n", "t2f", "t2w")
            self._others = [
                (
                    np.stack([read_volume(entry[name]).to_ras().data for name in names]),
                    read_volume(entry["label"]).to_ras().data,
                )
                for entry in self.entries.values()
            ]
        cases: Sequence[str] = list(self.entries)
        return [scan for case, scan in zip(cases, self._others, strict=True) if case != but]


if __name__ == "__main__":
    main()
