"""How good are the volumes for what they cost? The generator against the published recipe, for the same training time.

python scripts/quality_benchmark.py --work FOLDER [--part scans|segmenters] [--extractor FILE]
python scripts/quality_benchmark.py --work FOLDER --slices TCGA-LGG-SLICES --extractor FILE

Phantoms: 200 training patients, 48 held out, 64x64x48 at 3 mm. The part ``scans`` trains ours, our network with noise
prediction, and the reference recipe for the same time, each on one thread, and the reference with a rate that suits
so few steps for twice that time; it judges fidelity, mask faithfulness, diversity and copies of what they make of the
label maps of others beside the held-out scans. The part ``segmenters`` is what segmenters gain from ours, with the whole
cohort and with ten patients, and whether what they were trained on is copied. Everything is seeded, but for the number
of steps a machine makes in the time; rerunning continues. Writes ``bundle/docs/quality-<experiment>.json``, its picture
and its place in ``quality.md``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from gliomagen.cohort.casework import COHORT_FILE
from gliomagen.cohort.datalist import datalist
from gliomagen.errors import GliomaGenError
from quality import facts, page
from quality.downstream import arm, train_segmenter
from quality.generators import NOISE, OURS, REFERENCE, TUNED, Recipe, paint, synthesize, train, trained
from quality.judging import evaluate, second_extractor
from quality.runs import DONE, dataset_entries, once, run, side_by_side, stamp
from quality.setting import Setting, learning, make_cohorts, phantoms, slices

LADDER = (1, 2, 3, 4, 6, 8, 10, 16, 32)
OTHER_SAMPLERS = {"euler": (4, 10, 32), "heun": (2, 5)}
STEPS = 10
"""Network calls of a volume, where nothing else is said."""
REFERENCE_TIMES = {"quarter": 0.25, "half": 0.5, "equal": 1.0}
"""When the reference is looked at, in parts of the time ours had. At the end it makes scans."""
TUNED_TIMES = {**REFERENCE_TIMES, "double": 2.0}
SEEDS = (0, 1, 2)
"""Of each arm's segmenters; what the painter is worth one of them tells."""
MORE_SEEDS = (*SEEDS, 3, 4, 5)
"""Of the arms of the low-data line: segmenters of ten patients scatter so much that three cannot tell."""


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
    def full(self) -> Path:
        """The cohort."""
        return self.work / "full"

    @property
    def few(self) -> Path:
        """The cohort of ten patients, with the same held-out ones."""
        return self.work / "few"

    @property
    def asked(self) -> Path:
        """The cohort whose validation section is asked for: scans are made of its label maps."""
        return self.work / "asked"


def train_generators(plan: Plan, part: str) -> None:
    """Trains those of a part, the longest first; none but ours for longer than ours really had."""
    shared: dict[str, Any] = {"overlays": plan.setting.generator, "contrasts": list(plan.setting.contrasts)}

    def task(recipe: Recipe, minutes: dict[str, float]) -> Callable[[], None]:
        options = plan.setting.reference if recipe in (REFERENCE, TUNED) else {"augment": 0.0}
        return partial(
            train, recipe, learning(plan.full), plan.work / recipe.name, minutes, **shared, **options
        )

    tasks = {OURS.name: task(OURS, {"equal": plan.minutes})}
    if part == "segmenters":
        few, minutes = plan.work / "ours, ten patients", {"equal": plan.minutes}
        tasks[few.name] = partial(train, OURS, learning(plan.few), few, minutes, **shared, augment=0.3)
    side_by_side(tasks, plan.jobs)
    if part == "scans":
        had = round(trained(plan.work / OURS.name)["train_s"] / 60, 2)
        whens = ((TUNED, TUNED_TIMES), (REFERENCE, REFERENCE_TIMES), (NOISE, {"equal": 1.0}))
        side_by_side(
            {
                recipe.name: task(recipe, {name: part * had for name, part in times.items()})
                for recipe, times in whens
            },
            plan.jobs,
        )


def weights_of(plan: Plan, name: str, time: str = "equal") -> Path:
    """Returns the weights a training had at one of its times."""
    return plan.work / name / time / "model.pt"


def held_out_sets(plan: Plan) -> dict[str, Path]:
    """Makes the data sets that fidelity and faithfulness are judged by, of the label maps asked for."""
    sets: dict[str, Callable[[], Path]] = {}

    shared: dict[str, Any] = {"overlays": plan.setting.generator, "contrasts": list(plan.setting.contrasts)}

    def add(name: str, recipe: Recipe, steps: int, time: str = "equal") -> None:
        sets[name] = partial(
            synthesize,
            recipe,
            weights_of(plan, recipe.name, time),
            plan.asked,
            plan.work / "held-out sets" / name,
            steps=steps,
            section="validation",
            **shared,
        )

    for recipe, time in ((TUNED, "double"), (REFERENCE, "equal")):
        add(recipe.name, recipe, STEPS, time)
    for time in ("quarter", "equal"):  # is it getting better?
        add(f"{TUNED.name}, {time}", TUNED, STEPS, time)
    for steps in LADDER:
        add(f"ours {steps}", OURS, steps)
    for sampler, some in OTHER_SAMPLERS.items():
        for steps in some:
            add(f"ours {sampler} {steps}", replace(OURS, sampler=sampler), steps)
    for steps in (STEPS, 10 * STEPS):
        add(f"noise prediction {steps}", NOISE, steps)
    painted = plan.work / "held-out sets" / "painter"
    sets["painter"] = partial(paint, plan.full, plan.asked, painted, "validation", plan.setting.contrasts)
    return side_by_side(sets, plan.jobs)


def training_sets(plan: Plan) -> dict[str, Path]:
    """Makes varied label maps of each cohort's own patients, and data sets of them to train segmenters on."""
    arms = {
        "full": (plan.full, weights_of(plan, OURS.name)),
        "few": (plan.few, weights_of(plan, "ours, ten patients")),
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
            return {}

        once(masks, vary, {"label maps": plan.label_maps, "cohort": stamp(cohort / COHORT_FILE)})
        folder = plan.work / "training sets" / name
        tasks[f"ours, {name}"] = partial(
            synthesize,
            OURS,
            weights,
            masks / "masks",
            folder / "ours",
            steps=STEPS,
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
        # The painter is a yardstick only where something is asked of ours.
        what = "painter" if name == "full" else "real and painter"
        arms[f"{name}: {what}"] = arm(real if "real" in what else [], painted)
    seeds = {name: SEEDS[:1] if "painter" in name else SEEDS for name in arms}
    seeds |= dict.fromkeys(("few: real", "few: real and ours"), MORE_SEEDS)
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
    size, _, what = name.partition(": ")
    cohort = plan.full if size == "full" else plan.few
    makers = [maker for maker in ("ours", "painter") if maker in what]
    train_segmenter(
        plan.setting,
        cohort,
        cases,
        segmenter_folder(plan, name, seed),
        seed=seed,
        max_steps=plan.segmenter_steps,
        made_of="".join(stamp(plan.work / "training sets" / size / maker / DONE) for maker in makers),
    )


def own_segmenter(plan: Plan) -> dict[str, Any]:
    """Returns what names the segmenter that judges, where the one that comes along cannot: one of real scans."""
    if plan.setting.own_features:
        return {}
    name = "full: real"
    train_arm(plan, name, datalist(plan.full, "training", plan.setting.contrasts), SEEDS[0])
    return {"features": str(segmenter_folder(plan, name, SEEDS[0]) / "run" / "model.pt")}


def judge(plan: Plan, sets: dict[str, Path]) -> dict[str, dict[str, Path]]:
    """Evaluates the held-out sets, by our features and by the second extractor; returns their metrics.json."""
    second = second_extractor(plan.extractor)
    if plan.setting.own_features:
        kinds: dict[str, dict[str, Any]] = {"first": {}}
        kinds |= {"second": {**second, "recipes": ["volume"]}} if plan.extractor else {}
    else:
        kinds = {"first": {**second, **own_segmenter(plan), "extractor_planes": ["axial"]}}
    found: dict[str, dict[str, Path]] = {}
    for kind, options in kinds.items():
        names = [n for n in sets if kind == "first" or not n.startswith("ours ") or n == f"ours {STEPS}"]
        place = plan.work / "judged" / kind
        tasks = {
            name: partial(
                evaluate,
                plan.setting,
                plan.full,
                plan.work / "held-out sets" / name,
                sets[name],
                place / name,
                like=None if name == names[0] else place / names[0],
                **options,
            )
            for name in names
        }
        first = side_by_side({names[0]: tasks.pop(names[0])}, 1)
        found[kind] = {**first, **side_by_side(tasks, plan.jobs)}
    return found


def look_for_copies(plan: Plan, sets: dict[str, Path]) -> dict[str, Path]:
    """Compares what segmenters were trained on with the patients it was made from; returns the metrics.json."""
    options = {"recipes": ["privacy"], **own_segmenter(plan)}
    return side_by_side(
        {
            name: partial(
                evaluate,
                plan.setting,
                cohort,
                plan.work / "training sets" / name / "ours",
                sets[f"ours, {name}"],
                plan.work / "judged" / "copies" / name,
                like=None,
                **options,
            )
            for name, cohort in (("full", plan.full), ("few", plan.few))
        },
        plan.jobs,
    )


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
    parser.add_argument("--segmenter-steps", type=int, default=3000)
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
        make_cohorts(setting, plan.full, plan.few, plan.asked, plan.jobs)
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
    print("scans: of the label maps asked for", flush=True)
    sets = held_out_sets(plan)
    print("scans: judging", flush=True)
    return facts.scans(plan, judge(plan, sets))


def measure_segmenters(plan: Plan) -> dict[str, Any]:
    """Returns what segmenters gain."""
    print("segmenters: data sets of varied label maps", flush=True)
    sets = training_sets(plan)
    print("segmenters: training", flush=True)
    folders = train_segmenters(plan, sets)
    print("segmenters: looking for copies", flush=True)
    return facts.segmenters(plan, folders, look_for_copies(plan, sets))


PARTS: dict[str, Callable[[Plan], dict[str, Any]]] = {
    "scans": measure_scans,
    "segmenters": measure_segmenters,
}


if __name__ == "__main__":
    main()
