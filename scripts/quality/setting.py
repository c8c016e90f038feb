"""The two experiments: whole volumes of phantoms, and slices of real scans."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from gliomagen.cohort.datalist import datalist
from gliomagen.labels import CONTRASTS
from gliomagen.randomness import numpy_generator

from .runs import HERE, Entry, once, run, side_by_side, write_cohort

FEW = 10
"""Patients of the low-data setting."""


@dataclass(frozen=True, kw_only=True)
class Patients:
    """Who takes part; nobody is in two of the groups, unless it says so.

    Attributes:
        training: To learn from.
        held_out: Real scans to compare with and to test segmenters on.
        asked: Whose label maps scans are made of to be compared with those; where patients are few, the held-out ones
            themselves: then a generator may come nearer to them than other real scans do.
        like: A cohort like theirs.
    """

    training: list[Entry]
    held_out: list[Entry]
    asked: list[Entry]
    like: Path


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What differs between the experiments.

    Attributes:
        name: Of the experiment.
        contrasts: C.
        generator: Overlays of ``train.yaml`` and ``synthesize.yaml``.
        reference: Options of the reference's training.
        segmenter: Overlays of ``segmenter.yaml``.
        segments: Options that build the segmenter for scoring.
        tissues: Labels that Dice is the mean of.
        policies: Options of ``augmenting``.
        judging: Overlays of ``evaluate.yaml``.
        own_features: Judged by the network that comes along, and by the second extractor; or by the latter alone.
        source: Finds all patients.
    """

    name: str
    source: Callable[[Path, int], Patients]
    contrasts: tuple[str, ...] = CONTRASTS
    generator: tuple[str, ...] = ()
    reference: dict[str, Any] = field(default_factory=dict)
    segmenter: tuple[str, ...] = ()
    segments: dict[str, Any] = field(default_factory=dict)
    tissues: tuple[str, ...] = ("NETC", "SNFH", "ET", "RC")
    policies: dict[str, Any] = field(default_factory=dict)
    judging: tuple[Path, ...] = ()
    own_features: bool = True


def phantoms(patients: int, held_out: int) -> Setting:
    """Returns the experiment on phantoms."""

    def source(work: Path, jobs: int) -> Patients:
        def make(name: str, count: int, seed: int) -> None:
            folder = work / "patients" / name

            def go() -> dict[str, Any]:
                run(
                    "simulating",
                    ["phantoms"],
                    folder / "log",
                    output_dir=str(folder / "challenge"),
                    patients=count,
                    spatial_size=[64, 72, 56],
                    voxel_mm=3.0,
                    seed=seed,
                )
                run(
                    "preparing",
                    ["prepare"],
                    folder / "log",
                    dataset_dir=str(folder / "challenge"),
                    output_dir=str(folder / "cohort"),
                    spatial_size=[64, 64, 48],
                    voxel_mm=[3.0, 3.0, 3.0],
                    validation_fraction=0.0,
                )
                return {}

            once(folder, go, {"patients": count, "seed": seed})

        groups = {"training": (patients, 11), "held out": (held_out, 12), "asked": (held_out, 13)}
        side_by_side({name: partial(make, name, *what) for name, what in groups.items()}, jobs)
        cohorts = [work / "patients" / name / "cohort" for name in groups]
        training, rest, asked = (datalist(cohort, "training") for cohort in cohorts)
        return Patients(training=training, held_out=rest, asked=asked, like=cohorts[0])

    return Setting(name="phantoms", source=source)


def slices(scans: Path, held_out: int) -> Setting:
    """Returns the experiment on thick slices of real scans with one class of lesion (TCGA-LGG; Buda et al. 2019)."""
    contrasts = ("t1c", "t1n", "t2f")

    def source(work: Path, jobs: int) -> Patients:
        folder = work / "patients"

        def go() -> dict[str, Any]:
            run(
                "preparing",
                ["prepare"],
                folder / "log",
                dataset_dir=str(scans),
                output_dir=str(folder / "cohort"),
                contrasts=list(contrasts),
                head="whole_head",
                spatial_size=[128, 128, None],
                voxel_mm=[None, None, None],
                validation_fraction=0.0,
            )
            return {}

        once(folder, go)
        cases = datalist(folder / "cohort", "training", contrasts)
        order = numpy_generator(0, "held out").permutation(len(cases))
        mixed = [cases[index] for index in order]
        rest = mixed[:held_out]
        return Patients(training=mixed[held_out:], held_out=rest, asked=rest, like=folder / "cohort")

    return Setting(
        name="real slices",
        source=source,
        contrasts=contrasts,
        generator=("slices",),
        reference={"batch_size": 8, "accumulation": 1},  # as many slices a step as ours
        segmenter=("segmenter_slices",),
        segments={"spatial_dims": 2, "channels": [32, 64, 128, 192]},
        tissues=("SNFH",),
        policies={"weights": {"deform": 0.5, "transplant": 0.5}},  # others make labels that these scans lack
        judging=(HERE / "slices.yaml",),
        own_features=False,
    )


def learning(cohort: Path) -> Path:
    """Returns the cohort as generators are given it."""
    return cohort.with_name(f"{cohort.name}, learning")


def make_cohorts(setting: Setting, full: Path, few: Path, asked: Path, jobs: int) -> None:
    """Makes the cohort of all patients, that of ten with the same held-out ones, and that of those asked for."""
    who = setting.source(full.parent, jobs)
    contrasts = setting.contrasts
    first = sorted({entry["patient"] for entry in who.training})[:FEW]
    for folder, cases in ((full, who.training), (few, [e for e in who.training if e["patient"] in first])):
        write_cohort(folder, who.like, training=cases, validation=who.held_out, contrasts=contrasts)
        # Generators look at a few held-out scans at the end of their training, and the time of that is not theirs.
        some = who.held_out[:4]
        write_cohort(learning(folder), who.like, training=cases, validation=some, contrasts=contrasts)
    write_cohort(asked, who.like, training=[], validation=who.asked, contrasts=contrasts)
