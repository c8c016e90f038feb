"""What a segmenter gains from scans completed in three ways, under the same edited label maps: a table of ``bundle/docs/completion.md``.

python scripts/completion_downstream.py COHORT [--patients N] [--seeds S ...] [--max_steps N] [--jobs N] [--work FOLDER]

COHORT: prepared, of patients the weights have not seen. The label maps of N of its training patients are edited twice each;
each is completed from nothing (``base``), from the scan around the lesion (``lesion_insertion``) and from another patient's slice
(``icma``); the quick segmenter trains on the patients' scans alone, or with those of one way, and is tested on the validation section.
Rerunning continues.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

from completion.page import replaced, table
from completion.settings import CONFIGS
from gliomagen.cohort.datalist import read_cohort
from gliomagen.files import read_json
from quality.runs import run, write_cohort

MODELS = CONFIGS.parent / "models"
WAYS = {
    "base": "label map alone",
    "lesion_insertion": "lesion inserted in the scan",
    "icma": "another patient's slice",
}
EDITS = {"transplant": 0.5, "edit": 0.5}
VARIANTS = 2


def main() -> None:
    """Completes, trains, writes the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--patients", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--max_steps", type=int, default=3000, help="of each segmenter")
    parser.add_argument("--jobs", type=int, default=1, help="segmenters at a time, one core each")
    parser.add_argument("--work", type=Path, default=Path("completion_downstream"))
    parser.add_argument("--page", type=Path, default=CONFIGS.parent / "docs" / "completion.md")
    options = parser.parse_args()

    whole = read_cohort(options.cohort)
    some = sorted({str(entry["patient"]) for entry in whole.training})[: options.patients]
    cases = [entry for entry in whole.training if entry["patient"] in some]
    cohort = write_cohort(
        options.work.absolute() / "cohort", options.cohort, training=cases, validation=whole.validation
    )
    log, masks = options.work / "log.txt", options.work.absolute() / "edited"
    run(
        *("augmenting", ["augment"], log),
        dataset_dir=str(cohort),
        output_dir=str(masks),
        variants=VARIANTS,
        weights=EDITS,
        num_workers=0,
    )
    sets = {way: _completed(way, 511 + k, cohort, masks, options.work) for k, way in enumerate(WAYS)}
    synthetic = VARIANTS * len(cases)
    arms = [
        "real",
        *(
            {"real": len(cases), "synthetic": synthetic, "of": folder.name, "name": way}
            for way, folder in sets.items()
        ),
    ]
    run(
        *("studying", ["study"], log),
        real_dir=str(cohort),
        synthetic_dirs=[str(folder) for folder in sets.values()],
        output_dir=str(options.work.absolute() / "study"),
        segmenter="quick",
        labels="prepared",
        arms=arms,
        seeds=options.seeds,
        max_steps=options.max_steps,
        quick_options={"decay_from": 400},
        jobs=options.jobs,
        device="cpu",
    )
    study = read_json(options.work / "study" / "study.json")
    told = (
        f"`python scripts/completion_downstream.py COHORT --patients {options.patients} --max_steps {options.max_steps}`\n\n"
        f"{len(cases)} real scans to train on, {synthetic} made of their label maps, edited; {len(options.seeds)} trainings of "
        f"{options.max_steps} steps each; Dice on {study['validation']['patients']} patients nobody trained on, with 95 % intervals "
        "over trainings and patients. The generator knows other phantoms."
    )
    replaced(options.page, "downstream", f"{told}\n\n{_table(study, sets)}")


def _completed(way: str, number: int, cohort: Path, masks: Path, work: Path) -> Path:
    """Returns a way's data set, completed and judged."""
    name = "".join(word.capitalize() for word in way.split("_"))
    folder = work.absolute() / "nnUNet_raw" / f"Dataset{number}_{name}"
    run(
        *("completing", ["complete", "complete_nnunet"], work / "log.txt"),
        dataset_dir=str(cohort),
        masks_dir=str(masks),
        task=way,
        section="training",
        output_dir=str(work.absolute()),
        dataset_id=number,
        dataset_name=name,
        label_form="prepared",
        num_workers=0,
    )
    if not (folder / "acceptance.jsonl").is_file():
        run(
            *("accepting", ["accept"], work / "log.txt"),
            real_dir=str(cohort),
            dataset_dir=str(folder),
            label_convention="prepared",
            thresholds=str(MODELS / "acceptance.json"),
            num_workers=0,
        )
    return folder


def _table(study: dict[str, Any], sets: dict[str, Path]) -> str:
    lines = []
    for arm, row in study["summary"].items():
        dice, gain = (_shown(row[key]["mean"]) if key in row else "" for key in ("dice", "gain"))
        line = [arm if arm == "real" else f"and {WAYS[arm]} (`{arm}`)", dice, gain]
        lines.append([*line, *(_accepted(sets[arm]) if arm in sets else ("", ""))])
    return table(["trained on", "Dice", "gain", "accepted", "most frequent reasons"], lines)


def _accepted(folder: Path) -> tuple[str, str]:
    judged = [json.loads(line) for line in (folder / "acceptance.jsonl").read_text().splitlines()]
    reasons = Counter(reason.split(":")[0] for entry in judged for reason in entry["reasons"])
    told = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common(3))
    return f"{sum(entry['accepted'] for entry in judged)} of {len(judged)}", told


def _shown(estimate: dict[str, float]) -> str:
    return f"{estimate['value']:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f})"


if __name__ == "__main__":
    main()
