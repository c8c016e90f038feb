"""How good are the volumes for what they cost? The generator against the published recipe, for the same training time.

python scripts/quality_benchmark.py --work FOLDER [--part scans|segmenters] [--extractor FILE]
python scripts/quality_benchmark.py --work FOLDER --slices TCGA-LGG-SLICES --extractor FILE

Phantoms: 200 training patients, 48 held out, 64x64x48 at 3 mm. The part ``scans`` trains ours, our network with noise
prediction, and the reference recipe for the same time, each on one thread, the reference also for twice as long, and
judges fidelity, mask faithfulness, diversity and copies of what they make of held-out label maps. The part
``segmenters`` is what segmenters gain from ours, with the whole cohort and with ten patients. Everything is seeded;
rerunning continues. Writes ``bundle/docs/quality-<experiment>.json``, its picture and its place in ``quality.md``.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from gliomagen.cohort.datalist import datalist
from gliomagen.errors import GliomaGenError
from quality import facts, page
from quality.downstream import arm, train_segmenter
from quality.generators import NOISE, OURS, REFERENCE, Recipe, paint, synthesize, train
from quality.runs import dataset_entries, once, run, side_by_side
from quality.setting import Setting, learning, make_cohorts, phantoms, slices

LADDER = (1, 2, 3, 4, 6, 8, 10, 16, 32)
OTHER_SAMPLERS = {"euler": (4, 10, 32), "heun": (2, 5)}
REFERENCE_STEPS = 4
"""Of its 1000 sampling steps, so that it can be afforded."""
REFERENCE_TIMES = (0.25, 0.5, 1, 2)
"""Of the time all are trained for: when the reference is looked at. At the last two it also makes scans."""
SEEDS = (0, 1, 2)
"""Of each arm's segmenters; what the painter is worth one of them tells."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is run.

    Attributes:
        setting: The experiment.
        work: Where everything goes.
        minutes: Of each training.
        jobs: Runs at a time, of one thread each.
        label_maps: Varied ones, for the data sets that segmenters are trained on.
        segmenter_steps: Of every arm.
        extractor: A second feature extractor, TorchScript, or None.
    """

    setting: Setting
    work: Path
    minutes: float
    jobs: int
    label_maps: int
    segmenter_steps: int
    extractor: Path | None

    @property
    def reference_minutes(self) -> list[float]:
        """Times at which the reference is looked at; of the last two it also makes scans."""
        return [part * self.minutes for part in REFERENCE_TIMES]

    @property
    def reference_steps(self) -> int:
        """Of the reference's sampling."""
        return REFERENCE_STEPS

    @property
    def full(self) -> Path:
        """The cohort."""
        return self.work / "full"

    @property
    def few(self) -> Path:
        """The cohort of ten patients, with the same held-out ones."""
        return self.work / "few"


def train_generators(plan: Plan, part: str) -> None:
    """Trains those of a part; the longest first."""
    tasks: dict[str, Callable[[], None]] = {}
    shared: dict[str, Any] = {"overlays": plan.setting.generator, "contrasts": list(plan.setting.contrasts)}
    for recipe in (REFERENCE, OURS, NOISE) if part == "scans" else (OURS,):
        minutes = plan.reference_minutes if recipe is REFERENCE else [plan.minutes]
        options = plan.setting.reference if recipe is REFERENCE else {"augment": 0.0}
        tasks[recipe.name] = partial(
            train, recipe, learning(plan.full), plan.work / recipe.name, minutes, **shared, **options
        )
    if part == "segmenters":
        few = plan.work / "ours, ten patients"
        tasks[few.name] = partial(
            train, OURS, learning(plan.few), few, [plan.minutes / 2], **shared, augment=0.3
        )
    side_by_side(tasks, plan.jobs)


def weights_of(plan: Plan, name: str, minutes: float) -> Path:
    """Returns the weights a training had after some minutes."""
    return plan.work / name / f"{minutes:g}" / "model.pt"


def held_out_sets(plan: Plan) -> dict[str, Path]:
    """Makes the data sets from held-out label maps that fidelity and faithfulness are judged by."""
    sets: dict[str, Callable[[], Path]] = {}

    shared: dict[str, Any] = {"overlays": plan.setting.generator, "contrasts": list(plan.setting.contrasts)}

    def add(name: str, recipe: Recipe, weights: Path, steps: int) -> None:
        folder = plan.work / "held-out sets" / name
        sets[name] = partial(
            synthesize, recipe, weights, plan.full, folder, steps=steps, section="validation", **shared
        )

    for minutes in plan.reference_minutes[:-3:-1]:
        add(f"reference {minutes:g}", REFERENCE, weights_of(plan, "reference", minutes), REFERENCE_STEPS)
    ours, noise = (weights_of(plan, recipe.name, plan.minutes) for recipe in (OURS, NOISE))
    for steps in LADDER:
        add(f"ours {steps}", OURS, ours, steps)
    for sampler, some in OTHER_SAMPLERS.items():
        for steps in some:
            add(f"ours {sampler} {steps}", replace(OURS, sampler=sampler), ours, steps)
    for steps in (10, 100):
        add(f"noise prediction {steps}", NOISE, noise, steps)
    painted = plan.work / "held-out sets" / "painter"
    sets["painter"] = partial(paint, plan.full, plan.full, painted, "validation", plan.setting.contrasts)
    return side_by_side(sets, plan.jobs)


def training_sets(plan: Plan) -> dict[str, Path]:
    """Makes varied label maps of each cohort's own patients, and data sets of them to train segmenters on."""
    arms = {
        "full": (plan.full, weights_of(plan, OURS.name, plan.minutes)),
        "few": (plan.few, weights_of(plan, "ours, ten patients", plan.minutes / 2)),
    }
    tasks: dict[str, Callable[[], Path]] = {}
    for name, (cohort, weights) in arms.items():
        masks = plan.work / "label maps" / name

        def vary(cohort: Path = cohort, masks: Path = masks) -> dict[str, Any]:
            run(
                "augmenting",
                ["augment"],
                masks / "augmenting.log",
                dataset_dir=str(cohort),
                output_dir=str(masks / "masks"),
                count=plan.label_maps,
                num_workers=0,
                **plan.setting.policies,
            )
            return {"label maps": plan.label_maps}

        once(masks, vary)
        folder = plan.work / "training sets" / name
        tasks[f"ours, {name}"] = partial(
            synthesize,
            OURS,
            weights,
            masks / "masks",
            folder / "ours",
            steps=10,
            section="all",
            overlays=plan.setting.generator,
            contrasts=list(plan.setting.contrasts),
        )
        tasks[f"painter, {name}"] = partial(
            paint, cohort, masks / "masks", folder / "painter", "all", plan.setting.contrasts
        )
    return side_by_side(tasks, plan.jobs)


def train_segmenters(plan: Plan, sets: dict[str, Path]) -> dict[str, list[Path]]:
    """Trains every arm's segmenters, and returns their folders."""
    arms = {}
    for name, cohort in (("full", plan.full), ("few", plan.few)):
        contrasts = plan.setting.contrasts
        real = datalist(cohort, "training", contrasts)
        ours, painted = (
            dataset_entries(sets[f"{maker}, {name}"], contrasts) for maker in ("ours", "painter")
        )
        arms[f"{name}: real"] = arm(real, [])
        arms[f"{name}: ours"] = arm([], ours)
        arms[f"{name}: real and ours"] = arm(real, ours)
        arms[f"{name}: painter"] = arm([], painted)
        arms[f"{name}: real and painter"] = arm(real, painted)
    seeds = {name: SEEDS[:1] if "painter" in name else SEEDS for name in arms}
    side_by_side(
        {
            f"{name}, seed {seed}": partial(train_arm, plan, name, cases, seed)
            for name, cases in arms.items()
            for seed in seeds[name]
        },
        plan.jobs,
    )
    return {name: [segmenter_folder(plan, name, seed) for seed in seeds[name]] for name in arms}


def segmenter_folder(plan: Plan, name: str, seed: int) -> Path:
    """Returns where an arm's segmenter is."""
    return plan.work / "segmenters" / name.replace(":", "") / f"{seed}"


def train_arm(plan: Plan, name: str, cases: list[dict[str, Any]], seed: int) -> None:
    """Trains one segmenter of an arm."""
    cohort = plan.full if name.startswith("full") else plan.few
    folder = segmenter_folder(plan, name, seed)
    train_segmenter(plan.setting, cohort, cases, folder, seed=seed, max_steps=plan.segmenter_steps)


def judge(plan: Plan, sets: dict[str, Path]) -> dict[str, dict[str, Path]]:
    """Evaluates the held-out sets, by our features and by the second extractor; returns their metrics.json."""
    segmenter = segmenter_folder(plan, "full: real", SEEDS[0]) / "run" / "model.pt"
    if (
        not plan.setting.own_features
    ):  # there, one that was trained on the training patients measures faithfulness
        real = datalist(plan.full, "training", plan.setting.contrasts)
        train_arm(plan, "full: real", real, SEEDS[0])

    def evaluate(dataset: Path, folder: Path, like: Path | None, **options: Any) -> None:
        def go() -> dict[str, Any]:
            if like:  # what real scans measure does not depend on the synthetic ones
                for what in ("real", "training"):
                    shutil.copytree(like / "measured" / what, folder / "measured" / what, dirs_exist_ok=True)
            run(
                "evaluating",
                ["evaluate", *plan.setting.judging],
                folder / "evaluating.log",
                real_dir=str(plan.full),
                synthetic_dir=str(dataset),
                output_dir=str(folder),
                label_convention="prepared",
                weights="",
                report=False,
                contrasts=list(plan.setting.contrasts),
                **plan.setting.segments,
                **options,
            )
            return {}

        once(folder, go)

    found: dict[str, dict[str, Path]] = {}
    second: dict[str, Any] = {
        "extractor": str(plan.extractor),
        "extractor_size": [128, 128],
        "extractor_mean": 0.498,
        "extractor_deviation": 0.502,
    }
    if plan.setting.own_features:
        kinds: dict[str, dict[str, Any]] = {"first": {}}
        kinds |= {"second": {**second, "recipes": ["volume"]}} if plan.extractor else {}
    else:
        kinds = {"first": {**second, "features": str(segmenter), "extractor_planes": ["axial"]}}
    for kind, options in kinds.items():
        names = [n for n in sets if kind == "first" or not n.startswith("ours ") or n == "ours 10"]
        places = {n: plan.work / "judged" / kind / n for n in names}
        first, *others = names
        side_by_side({first: partial(evaluate, sets[first], places[first], None, **options)}, 1)
        side_by_side(
            {n: partial(evaluate, sets[n], places[n], places[first], **options) for n in others}, plan.jobs
        )
        found[kind] = {n: place / "metrics.json" for n, place in places.items()}
    return found


def main() -> None:
    """Runs what is not done yet, and writes the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--part", choices=["scans", "segmenters"], help="or both")
    parser.add_argument("--slices", type=Path, help="real thick slices, in place of phantoms")
    parser.add_argument("--patients", type=int, default=200, help="phantoms to train on")
    parser.add_argument("--held-out", type=int, help="patients; 48 phantoms, or 19 of the real ones")
    parser.add_argument("--minutes", type=float, default=30.0, help="of each generator's training")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, of one thread each")
    parser.add_argument("--label-maps", type=int, default=200, help="in each training set")
    parser.add_argument("--segmenter-steps", type=int, default=1500)
    parser.add_argument(
        "--extractor", type=Path, help="a second one, TorchScript, of slices in three channels"
    )
    given = vars(parser.parse_args())
    scans, patients, held_out, part = (given.pop(name) for name in ("slices", "patients", "held_out", "part"))
    setting = slices(scans, held_out or 19) if scans else phantoms(patients, held_out or 48)
    plan = Plan(setting=setting, **{**given, "work": given["work"].absolute()})
    options = f" --minutes {plan.minutes:g}" + (" --slices FOLDER" if scans else "")
    options += " --extractor FILE" if plan.extractor else ""
    try:
        if not setting.own_features and not plan.extractor:
            raise GliomaGenError(
                "--slices: give an --extractor too; the network that judges knows phantoms alone"
            )
        print("cohorts", flush=True)
        make_cohorts(setting, plan.full, plan.few, plan.jobs)
        for name, measure in PARTS.items():
            if part in (None, name):
                print(f"{name}: generators", flush=True)
                train_generators(plan, name)
                found = facts.record(setting.name, name, measure(plan))
                print(page.write(setting.name, found, options))
    except GliomaGenError as error:
        sys.exit(f"error: {error}")


def measure_scans(plan: Plan) -> dict[str, Any]:
    """Returns what the generators' scans are worth."""
    print("scans: of held-out label maps", flush=True)
    sets = held_out_sets(plan)
    print("scans: judging", flush=True)
    return facts.scans(plan, judge(plan, sets))


def measure_segmenters(plan: Plan) -> dict[str, Any]:
    """Returns what segmenters gain."""
    print("segmenters: data sets of varied label maps", flush=True)
    sets = training_sets(plan)
    print("segmenters: training", flush=True)
    return facts.segmenters(plan, train_segmenters(plan, sets))


PARTS: dict[str, Callable[[Plan], dict[str, Any]]] = {
    "scans": measure_scans,
    "segmenters": measure_segmenters,
}


if __name__ == "__main__":
    main()
