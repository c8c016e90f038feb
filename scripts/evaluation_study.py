"""Puts the evaluation itself to the test, and measures generators with it: a page of tables.

python scripts/evaluation_study.py COHORT HELDOUT FRESH [--synthetic NAME=DATASET ...] [--work FOLDER]

Prepared cohorts of different patients: COHORT's training section is what a generator learnt from, HELDOUT are the real
scans to compare with, FRESH stand for a faultless generator. Each DATASET was made by ``synthesizing`` from the label
maps of FRESH. Three parts: the sets side by side; the scores of FRESH under growing damage; copies of training scans
in disguise. Rerunning continues. Writes ``bundle/docs/evaluation.md``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from monai.bundle import ConfigParser
from tqdm import tqdm

from gliomagen import BUNDLE_ROOT, __version__
from gliomagen.cohort.datalist import datalist, read_cohort
from gliomagen.evaluation.copies import Nearest, nearest
from gliomagen.evaluation.damage import ANSWERS, LATE, STRENGTHS, Key, damaged_set, write_scan
from gliomagen.evaluation.disguises import DISGUISES, with_lesion_of
from gliomagen.evaluation.evaluating import Evaluation
from gliomagen.evaluation.fingerprint import fingerprint
from gliomagen.evaluation.measuring import Measurer
from gliomagen.evaluation.painter import LabelPainter
from gliomagen.evaluation.privacy import suspicion
from gliomagen.evaluation.report.texts import interval, number
from gliomagen.files import written_whole
from gliomagen.labels import CONTRASTS
from gliomagen.provenance import read_card, refuse_training_patients
from gliomagen.randomness import numpy_generator
from gliomagen.scans import Scan, ScanFiles, read_scan, real_scans, synthetic_scans

CONFIG = Path(BUNDLE_ROOT) / "configs" / "evaluate.yaml"
RECIPES = ("volume", "faithfulness", "privacy")
SHOWN: dict[str, Key] = {
    "FID": ("volume", "fid", "all", "volume"),
    "KID": ("volume", "kid", "all", "volume"),
    "FID, texture": ("volume", "fid", "all", "texture"),
    "KID, texture": ("volume", "kid", "all", "texture"),
    "FID, planes": ("volume", "fid", "all", "planes"),
    "precision, texture": ("volume", "precision", "all", "texture"),
    "coverage, texture": ("volume", "coverage", "all", "texture"),
    "precision": ("volume", "precision", "all", "volume"),
    "recall": ("volume", "recall", "all", "volume"),
    "density": ("volume", "density", "all", "volume"),
    "coverage": ("volume", "coverage", "all", "volume"),
    "MS-SSIM between samples": ("volume", "ms_ssim between samples", "all", "slices"),
    **{
        f"Dice {region}": ("faithfulness", "dice", region, "")
        for region in ("WT", "NETC", "SNFH", "ET", "RC")
    },
    "HD95 WT, mm": ("faithfulness", "hd95_mm", "WT", ""),
    "lesion-wise Dice WT": ("faithfulness", "lesion_dice", "WT", ""),
    "suspected copies": ("privacy", "suspected copies", "all", ""),
    "authenticity": ("privacy", "authenticity", "all", ""),
}


@dataclass(frozen=True, kw_only=True)
class Study:
    """What all parts share.

    Attributes:
        real: Held-out scans.
        training: What a generator learnt from.
        fresh: Scans nobody trained on.
        measurer: Measures a scan once.
        work: Where everything goes.
    """

    real: Sequence[ScanFiles]
    training: Sequence[ScanFiles]
    fresh: Sequence[ScanFiles]
    measurer: Measurer
    work: Path

    def scores(self, name: str, synthetic: Sequence[ScanFiles], draws: int) -> list[dict[str, Any]]:
        """Evaluates a set."""
        metrics = Evaluation(
            output_dir=self.work / "scores" / name.replace(" ", "-"),
            real=self.real,
            training=self.training,
            synthetic=synthetic,
            measurer=self.measurer,
            contrasts=CONTRASTS,
            recipes=RECIPES,
            draws=draws,
        ).run()
        assert metrics is not None
        return list(metrics["scores"])


def picked(scores: Iterable[dict[str, Any]], key: Key) -> dict[str, Any]:
    """Finds a score; the number of scales at the end of a name does not matter."""
    recipe, name, of, view = key
    for score in scores:
        if (score["recipe"], score["of"], score["view"]) == (recipe, of, view) and (
            score["name"] == name or score["name"].startswith(f"{name},")
        ):
            return score
    raise KeyError(key)


def painted(study: Study, masks: Sequence[ScanFiles]) -> list[ScanFiles]:
    """Paints label maps with the greys of the training scans."""
    painter = LabelPainter().fit((scan.volume, scan.label) for scan in map(read_scan, study.training))

    def paint(scan: Scan) -> Scan:
        return replace(scan, volume=painter.paint(scan.label, seed=0, case=scan.files.case))

    return [
        write_scan(files, study.work / "painted", f"{files.case}-painted", paint)
        for files in tqdm(masks, desc="label painter", dynamic_ncols=True)
    ]


def side_by_side(study: Study, sets: dict[str, Sequence[ScanFiles]]) -> list[str]:
    """Evaluates the sets, one beside the other."""
    found = {name: study.scores(name, scans, draws=200) for name, scans in sets.items()}
    lines = ["| | " + " | ".join(sets) + " | real against real |", "| --- |" + " --- |" * (len(sets) + 1)]
    for label, key in SHOWN.items():
        scores = [picked(scores, key) for scores in found.values()]
        percent = label == "suspected copies"
        cells = [_cell(score["estimate"], percent=percent) for score in scores]
        floor = scores[0]["floor"]
        lines.append(
            f"| {label} | " + " | ".join([*cells, _cell(floor, percent=percent) if floor else ""]) + " |"
        )
    return lines


def _cell(estimate: dict[str, Any], *, percent: bool = False) -> str:
    ends = interval(estimate, percent=percent)
    return number(estimate["value"], percent=percent) + (f" ({ends})" if ends else "")


def under_damage(study: Study) -> list[str]:
    """Evaluates the fresh scans under growing damage; a score that should answer and does not is marked."""
    lines = [
        "| damage | score | " + " | ".join(f"{strength:g}" for strength in STRENGTHS) + " | in order |",
        "| --- | --- |" + " --- |" * (len(STRENGTHS) + 1),
    ]
    for kind, answers in ANSWERS.items():
        found = []
        for strength in STRENGTHS:
            options: dict[str, Any] = {"training": study.training, "folder": study.work / "damaged"}
            scans = damaged_set(kind, strength, study.fresh, **options)
            found.append(study.scores(f"{kind} {strength:g}", scans, draws=1))
        for key, sign in (answers | LATE.get(kind, {})).items():
            values = [picked(scores, key)["estimate"]["value"] for scores in found]
            _, name, of, view = key
            title = f"{name} {of}" + (f" ({view})" if view else "")
            steps = np.diff(values) * sign
            order = "yes" if (steps >= 0).all() and steps.any() else "**no**"
            order = order if key in answers else "late"
            lines.append(f"| {kind} | {title} | " + " | ".join(map(number, values)) + f" | {order} |")
    return lines


@dataclass(frozen=True, kw_only=True)
class InMemory:
    """Stands for a measured scan, with its fingerprint at hand."""

    case: str
    group: str
    arrays: dict[str, Any]

    def array(self, name: str) -> Any:
        """Returns an array of the fingerprint."""
        return self.arrays[name]


def known(scans: Iterable[Scan]) -> list[Any]:
    """Takes the fingerprints of scans."""
    return [InMemory(case=s.files.case, group=s.files.patient, arrays=dict(fingerprint(s))) for s in scans]


def in_disguise(study: Study, copies: int) -> list[str]:
    """Hands in copies of training scans, in disguise."""
    training = known(map(read_scan, tqdm(study.training, desc="fingerprints", dynamic_ncols=True)))
    limits = suspicion(nearest(known(map(read_scan, study.real)), training))

    def line(name: str, found: Nearest, sources: Sequence[int] | None, index: Any) -> str:
        suspected = limits(found)
        cells = [name, len(suspected), f"{100 * suspected.mean():.1f} %"]
        right = "" if sources is None else f"{100 * (index == np.array(sources)).mean():.1f} %"
        return "| " + " | ".join(map(str, [*cells, right])) + " |"

    lines = ["| handed in | scans | suspected | ascribed to the right patient |", "| --- | --- | --- | --- |"]
    originals = [read_scan(files) for files in study.training[:copies]]
    for name, disguise in DISGUISES.items():
        found = nearest(known(map(disguise, originals)), training)
        lines.append(line(f"copies, {name}", found, range(len(originals)), found.head_index))
    hosts = [read_scan(files) for files in study.fresh]
    pasted = [
        with_lesion_of(scan, hosts[k % len(hosts)], numpy_generator(0, "paste", k))
        for k, scan in enumerate(originals)
    ]
    found = nearest(known(scan for scan in pasted if scan is not None), training)
    sources = [k for k, scan in enumerate(pasted) if scan is not None]
    lines.append(line("lesions of training scans in fresh heads", found, sources, found.lesion_index))
    lines.append(line("fresh scans", nearest(known(hosts), training), None, None))
    return lines


def page(study: Study, parts: dict[str, list[str]], facts: dict[str, Any]) -> str:
    """Puts the page together."""
    return "\n".join(
        [
            "# Is the evaluation to be trusted, and what does it say?",
            "",
            f"Measured by `python scripts/evaluation_study.py COHORT HELDOUT FRESH{facts['options']}` on phantoms of "
            f"{facts['size']} voxels, package {__version__}. {len(study.real)} held-out scans stand for the real ones "
            f"(sha256 of their cohort {facts['heldout'][:12]}…), {len(study.training)} for the training scans "
            f"({facts['cohort'][:12]}…), {len(study.fresh)} of yet other patients for a faultless generator "
            f"({facts['fresh'][:12]}…). The network that judges (`models/features.pt`, sha256 {facts['features'][:12]}…) "
            "has seen none of them. What each score is: the report of `evaluating` says it, at its end.",
            "",
            "## Side by side",
            "",
            "Fresh scans are what a faultless generator would make. The label painter gives each label its mean grey and "
            "noise. 95 % intervals by resampling patients. *Real against real*: as many training scans in place of the "
            "synthetic ones; for Dice the real scans' own; for suspected copies the share of strangers expected.",
            "",
            *parts["sets"],
            "",
            "## Under growing damage",
            "",
            "The fresh scans, damaged (`gliomagen/evaluation/damage.py`): blur and noise spoil every scan, up to a standard "
            "deviation of 2 voxels and of 0.2 of the range of greys; the others spoil the share of scans that stands above. "
            "Swapped: t1c and t2f. Wrong masks: the next patient's lesion. Collapse: one scan again and again. *In order*: "
            "no step of damage moves the score the wrong way, and all of them together move it. *Late*: recall, whose neighbourhoods widen as a set thins "
            "out; to collapse it answers at the end.",
            "",
            *parts["damage"],
            "",
            "## Copies of training scans",
            "",
            *parts["copies"],
            "",
        ]
    )


def main() -> None:
    """Runs the study."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("cohort", "heldout", "fresh"):
        parser.add_argument(name)
    parser.add_argument("--synthetic", action="append", default=[], metavar="NAME=DATASET")
    parser.add_argument("--work", default="evaluation-study")
    parser.add_argument("--scans", type=int, default=80, help="of HELDOUT, of FRESH, and copied")
    parser.add_argument("--training", type=int, default=250, help="scans of COHORT")
    parser.add_argument("--output", default=str(Path(BUNDLE_ROOT) / "docs" / "evaluation.md"))
    options = parser.parse_args()

    cohorts = {name: read_cohort(getattr(options, name)) for name in ("cohort", "heldout", "fresh")}
    work = Path(options.work)
    config = ConfigParser(ConfigParser.load_config_file(CONFIG))
    config["output_dir"] = str(work)
    config["recipes"] = list(RECIPES)
    entries = {name: datalist(getattr(options, name), "all") for name in ("heldout", "fresh")}
    features = config.get_parsed_content("features")
    refuse_training_patients([entry["patient"] for part in entries.values() for entry in part], [features])
    study = Study(
        real=real_scans(entries["heldout"])[: options.scans],
        training=real_scans(datalist(options.cohort, "training"))[: options.training],
        fresh=real_scans(entries["fresh"])[: options.scans],
        measurer=config.get_parsed_content("measurer"),
        work=work,
    )
    cases = {files.case: files for files in study.fresh}
    sets: dict[str, Sequence[ScanFiles]] = {"fresh scans": study.fresh}
    for given in options.synthetic:
        name, _, folder = given.partition("=")
        masks = [{"case": case, "label": files.label} for case, files in cases.items()]
        sets[name] = synthetic_scans(folder, masks=masks)
    sets["label painter"] = painted(study, study.fresh)
    parts = {
        "sets": side_by_side(study, sets),
        "damage": under_damage(study),
        "copies": in_disguise(study, options.scans),
    }
    facts: dict[str, Any] = {name: cohort.sha256 for name, cohort in cohorts.items()}
    facts |= {
        "options": "".join(
            f" --synthetic '{given.partition('=')[0]}=DATASET'" for given in options.synthetic
        ),
        "features": read_card(features)["sha256"],
        "size": "×".join(map(str, read_scan(study.real[0]).label.shape)),
    }
    with written_whole(options.output) as beside:
        beside.write_text(page(study, parts, facts), encoding="utf-8")
    print(Path(options.output).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
