"""Generators trained for the same time, and what they make."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from gliomagen.cohort.casework import COHORT_FILE
from gliomagen.cohort.datalist import datalist, mask_datalist
from gliomagen.evaluation.painter import LabelPainter
from gliomagen.export.nnunet_form import dataset_folder
from gliomagen.labels import CONTRASTS
from gliomagen.scans import read_scan, real_scans
from gliomagen.volume import Volume, read_volume, write_volume
from gliomagen.weights import read_state

from .runs import HERE, keep_weights, once, run, stamp

COOLDOWN = 0.25
"""Share of a training over which our learning rate falls; the reference's stays, as published."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a generator is trained and sampled.

    Attributes:
        name: Of the recipe.
        train: Configurations of ``training``.
        sample: Configurations of ``synthesizing``.
        options: Of the training.
        pace_steps: Steps by which its pace is measured.
        cools: The learning rate falls at the end.
        sampler: Of ``synthesizing``.
    """

    name: str
    train: tuple[str | Path, ...]
    sample: tuple[str | Path, ...]
    options: dict[str, Any] = field(default_factory=dict)
    pace_steps: int = 40
    cools: bool = True
    sampler: str = "multistep"


OURS = Recipe(name="ours", train=("train",), sample=("synthesize",))
NOISE = Recipe(
    name="noise prediction",
    train=("train", HERE / "noise.yaml"),
    sample=("synthesize", HERE / "noise.yaml"),
)
REFERENCE = Recipe(
    name="reference",
    train=("train", "reference", "reference_train"),
    sample=("synthesize", "reference"),
    # Its own are single precision, four times as slow here, and a rate for 500 times as many steps.
    options={"precision": "auto", "steps": 4, "sample_cases": 1},
    pace_steps=4,
    cools=False,
)
TUNED = replace(
    REFERENCE, name="reference, tuned", options={**REFERENCE.options, "learning_rate": 0.0003, "warmup": 10}
)


def train(
    recipe: Recipe,
    cohort: Path,
    folder: Path,
    minutes: Mapping[str, float],
    *,
    overlays: Sequence[str] = (),
    **options: Any,
) -> None:
    """Trains for a time, and keeps the weights at each of ``minutes``.

    The pace so far tells how many steps fill the time; it is looked at again on the way, since a machine's changes.
    What it really took is in ``done.json``.

    Args:
        recipe: The recipe.
        cohort: A prepared cohort.
        folder: ``run`` of the training, and one for each of ``minutes``.
        minutes: By name, of training, without validation and pictures; rising.
        overlays: Put behind the first configuration.
        **options: Further options.
    """
    given = {**recipe.options, **options}

    def go(steps: int, cooldown: int = 0) -> None:
        if steps <= trained(folder)["steps"]:
            return
        # Validation and pictures only at the end: their time is not training.
        run(
            "training",
            [recipe.train[0], *overlays, *recipe.train[1:]],
            folder / "training.log",
            dataset_dir=str(cohort),
            output_dir=str(folder / "run"),
            cache_dir=str(cohort / "cache"),
            max_steps=steps,
            cooldown=cooldown,
            checkpoint_interval=max(recipe.pace_steps, 10),
            sample_interval=10**6,
            log_interval=1,
            num_workers=1,
            **given,
        )

    def whole(name: str, last: bool) -> dict[str, Any]:
        if trained(folder)["steps"] < recipe.pace_steps:
            go(recipe.pace_steps)
        for share in (0.35, 0.7):
            go(_steps_in(folder, share * minutes[name]))
        steps = _steps_in(folder, minutes[name])
        go(steps, round(COOLDOWN * steps) if recipe.cools and last else 0)
        keep_weights(folder / "run", folder / name)
        return {**trained(folder), "parameters": _parameters(folder / "run" / "model.pt")}

    for name, goal in minutes.items():
        settings = {"minutes": goal, "cohort": stamp(cohort / COHORT_FILE), "options": given}
        once(folder / name, partial(whole, name, name == list(minutes)[-1]), settings)


def _steps_in(folder: Path, minutes: float) -> int:
    """Returns how many steps a training will have made after some minutes, at its present pace."""
    so_far = trained(folder)
    return int(so_far["steps"] + max(0.0, 60 * minutes - so_far["train_s"]) / so_far["pace_s"])


def trained(folder: Path) -> dict[str, Any]:
    """Returns steps and seconds so far, the pace of the last hundred steps, and the last validation loss."""
    log = folder / "run" / "log.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    paces = [line["seconds_per_step"] for line in lines if "seconds_per_step" in line]
    steady = sorted(paces[2:][-100:] or paces)
    losses = [line["validation_loss"] for line in lines if "validation_loss" in line]
    return {
        "steps": len(paces),
        "train_s": sum(paces),
        "pace_s": steady[len(steady) // 2] if steady else 0.0,
        "validation_loss": losses[-1] if losses else None,
    }


def _parameters(weights: Path) -> int:
    return sum(value.numel() for value in read_state(weights).values())


def synthesize(
    recipe: Recipe,
    weights: Path,
    masks: Path,
    folder: Path,
    *,
    steps: int,
    section: str,
    overlays: Sequence[str] = (),
    **options: Any,
) -> Path:
    """Makes a data set from label maps, and notes network calls and time of a volume, with start and writing."""
    name = "Synthetic"

    manifest = dataset_folder(folder, 501, name) / "manifest.jsonl"

    def made() -> list[dict[str, Any]]:
        lines = manifest.read_text().splitlines() if manifest.is_file() else []
        return [json.loads(line) for line in lines]

    def make() -> dict[str, Any]:
        began, before = time.monotonic(), len(made())
        run(
            "synthesizing",
            [recipe.sample[0], *overlays, *recipe.sample[1:]],
            folder / "synthesizing.log",
            dataset_dir=str(masks),
            output_dir=str(folder),
            weights=str(weights),
            section=section,
            label_convention="prepared",
            labels="prepared",
            dataset_name=name,
            steps=steps,
            **{"sampler": recipe.sampler, **options},
        )
        wall, cases = time.monotonic() - began, made()
        return {
            "volumes": len(cases),
            "network_calls": cases[0]["network_calls"],
            "volume_s": wall / (len(cases) - before) if len(cases) > before else None,
        }

    settings = {"steps": steps, "sampler": recipe.sampler, "section": section, "weights": stamp(weights)}
    once(folder, make, settings)
    return dataset_folder(folder, 501, name)


def paint(
    cohort: Path, masks: Path, folder: Path, section: str, contrasts: Sequence[str] = CONTRASTS
) -> Path:
    """Paints label maps with the greys of a cohort's training scans: a folder of case folders."""
    dataset = folder / "cases"

    def make() -> dict[str, Any]:
        known = real_scans(datalist(cohort, "training", contrasts), contrasts)
        painter = LabelPainter().fit((scan.volume, scan.label) for scan in map(read_scan, known))
        entries = mask_datalist(masks, section=section, contrasts=())
        for entry in entries:
            case, mask = str(entry["case"]), read_volume(entry["label"]).to_ras()
            painted = painter.paint(mask.data, seed=0, case=case)
            for name, grey in zip(contrasts, painted, strict=True):
                volume = Volume(data=grey.astype("float32"), affine=mask.affine)
                write_volume(dataset / case / f"{case}-{name}.nii.gz", volume)
            write_volume(dataset / case / f"{case}-seg.nii.gz", mask)
        return {"volumes": len(entries)}

    once(folder, make, {"cohort": stamp(cohort / COHORT_FILE), "section": section})
    return dataset
