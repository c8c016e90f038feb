"""What a segmenter gains: trained on real, synthetic or both, tested on held-out real scans."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.bundle import ConfigParser

from gliomagen.cohort.datalist import datalist
from gliomagen.evaluation.comparison import Table, gain_of, mean_of, share_of
from gliomagen.evaluation.intervals import Estimate
from gliomagen.evaluation.segmentation import score_case
from gliomagen.files import write_json
from gliomagen.scans import read_scan, real_scans

from .runs import ROOT, Entry, once, run, write_cohort
from .setting import Setting


def arm(real: Sequence[Entry], synthetic: Sequence[Entry]) -> list[Entry]:
    """Returns an arm's training cases; in a mixture real ones are repeated until they are half of it."""
    if not real or not synthetic:
        return [*real, *synthetic]
    return [*[entry for _ in range(max(1, len(synthetic) // len(real))) for entry in real], *synthetic]


def train_segmenter(
    setting: Setting,
    cohort: Path,
    cases: Sequence[Entry],
    folder: Path,
    *,
    seed: int,
    max_steps: int,
    made_of: str,
) -> None:
    """Trains a segmenter on an arm's cases and scores it on the cohort's validation section.

    Args:
        setting: The experiment.
        cohort: Whose validation section is the test.
        cases: To train on.
        folder: Where; the arm's cohort is shared by its seeds.
        seed: Of this training.
        max_steps: The same for every arm.
        made_of: The stamp of the synthetic data set among the cases.
    """

    def make() -> dict[str, Any]:
        contrasts = list(setting.contrasts)
        test = datalist(cohort, "validation", contrasts=contrasts)
        own = write_cohort(
            folder.parent / "cohort", cohort, training=cases, validation=test[:1], contrasts=contrasts
        )
        run(
            "training",
            ["segmenter", *setting.segmenter],
            folder / "training.log",
            dataset_dir=str(own),
            output_dir=str(folder / "run"),
            cache_dir=str(folder.parent / "cache"),
            max_steps=max_steps,
            decay_from=400,
            checkpoint_interval=200,
            sample_interval=10**6,
            num_workers=1,
            seed=seed,
            contrasts=contrasts,
        )
        scores = score(folder / "run" / "model.pt", test, contrasts, **setting.segments)
        write_json(folder / "scores.json", scores)
        return {"cases": len(cases)}

    once(folder, make, {"seed": seed, "steps": max_steps, "made of": made_of})


def score(
    weights: Path, test: Sequence[Entry], contrasts: Sequence[str], **options: Any
) -> dict[str, dict[str, dict[str, float]]]:
    """Returns Dice, false alarm and Dice by the published rule, by case and region of a segmenter."""
    config = ConfigParser(ConfigParser.load_config_file(ROOT / "bundle" / "configs" / "evaluate.yaml"))
    config.update({"features": str(weights), "contrasts": list(contrasts), **options})
    segment = config.get_parsed_content("segment")
    found = {}
    for files in real_scans(test, contrasts):
        scan = read_scan(files)
        scores = score_case(segment(scan.volume), scan.label, voxel_mm=scan.voxel_mm)
        found[files.case] = {
            region: {name: values[name] for name in ("dice", "false_alarm", "poster_dice")}
            for region, values in scores.items()
        }
    return found


def table_of(name: str, folders: Sequence[Path], regions: Sequence[str]) -> Table:
    """Returns the mean of a score over regions of each seed and patient, (seeds, patients); NaN where none bears it."""
    tables = []
    for folder in folders:
        scores = json.loads((folder / "scores.json").read_text())
        rows = [[case[region][name] for region in regions] for _, case in sorted(scores.items())]
        table = np.array(rows, float)
        there = np.isfinite(table)
        count = there.sum(1)
        total = np.where(there, table, 0).sum(1)
        tables.append(np.where(count > 0, total / np.maximum(count, 1), np.nan))
    return np.stack(tables)


def summary(
    found: Mapping[str, Sequence[Path]], regions: Sequence[str], base: str
) -> dict[str, dict[str, Estimate]]:
    """Returns each arm's mean Dice, its share of and gain over the base arm's, the share by the published rule, and false alarms."""
    tables = {name: table_of("dice", folders, regions) for name, folders in found.items()}
    published = {name: table_of("poster_dice", folders, regions) for name, folders in found.items()}
    return {
        name: {
            "dice": mean_of(table),
            "share": share_of(table, tables[base]),
            "gain": gain_of(table, tables[base]),
            "published share": share_of(published[name], published[base]),
            "false alarms": mean_of(table_of("false_alarm", found[name], regions)),
        }
        for name, table in tables.items()
    }
