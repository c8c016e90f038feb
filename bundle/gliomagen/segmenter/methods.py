"""Segmentation methods with one interface: the quick network here, nnU-Net in :mod:`.nnunet`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from .. import BUNDLE_ROOT
from ..children import run_module
from ..errors import GliomaGenError
from ..provenance import read_card


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What a method found in the validation cases of a data set.

    Attributes:
        files: Label map of each case.
        label_convention: Its numbers.
        train_s: Seconds of training, over all runs it took.
        device: What it was trained on, as records of cost call it.
        budget: What the training had, in words.
    """

    files: Mapping[str, Path]
    label_convention: str
    train_s: float
    device: str
    budget: str


class SegmentationMethod(Protocol):
    """Learns from the training cases of an nnU-Net data set, segments the validation cases of its split."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What decides its results, beside the data and the seed; plain content."""
        ...

    def prepare(self, dataset: Path, *, cohort: Path, log: Path) -> Mapping[str, Any]:
        """Does what all seeds of a data set share; killed, it is run again.

        Args:
            dataset: ``<folder>/nnUNet_raw/DatasetNNN_Name`` that mixing made; what is prepared goes to ``<folder>``.
            cohort: A data set of all real training cases, ``<folder>/nnUNet_raw/DatasetNNN_Name`` of its own, for what
                shall be the same for all data sets.
            log: Where all it says goes.

        Returns:
            What was decided of the network and its training; plain content.
        """
        ...

    def run(
        self, dataset: Path, folder: Path, *, cohort: Path, seed: int, device: str, log: Path
    ) -> Predictions:
        """Trains and segments; run again after a kill, it goes on.

        Args:
            dataset: As in :meth:`prepare`.
            folder: Of this training.
            cohort: As in :meth:`prepare`; beside it goes what data sets share.
            seed: Of this training.
            device: ``cpu``, or the number of a card.
            log: Where all it says goes.

        Raises:
            GliomaGenError: It failed; names the log.
        """
        ...


_OURS = {
    "dataset_dir",
    "output_dir",
    "cache_dir",
    "device",
    "seed",
    "max_steps",
    "contrasts",
    "threads",
    "patients",
    "half",
    "log_interval",
    "sample_interval",
    "resume",
    "network_def",
    "load",
    "cohort",
}


@dataclass(frozen=True, kw_only=True)
class QuickMethod:
    """The network of ``segmenter.yaml``.

    Args:
        max_steps: Optimiser steps, the same for every data set.
        options: Further options of ``segmenter.yaml``, by name.
        contrasts: Channels of the data sets.
        threads: CPU threads; None leaves them.

    Raises:
        GliomaGenError: An option is none of the network's.
    """

    max_steps: int
    contrasts: Sequence[str]
    options: Mapping[str, Any] = field(default_factory=dict)
    threads: int | None = None

    def __post_init__(self) -> None:
        """Refuses options that are not the network's or its training's."""
        if taken := sorted(set(self.options) & _OURS):
            raise GliomaGenError(f"quick_options: {taken[0]} is decided by the study; leave it out")

    @property
    def settings(self) -> dict[str, Any]:
        """What decides its results."""
        return {"segmenter": "quick", "max_steps": self.max_steps, **self.options}

    def prepare(self, dataset: Path, *, cohort: Path, log: Path) -> dict[str, Any]:
        """Nothing: the first training fills the cache."""
        return {}

    def run(
        self, dataset: Path, folder: Path, *, cohort: Path, seed: int, device: str, log: Path
    ) -> Predictions:
        """See :class:`SegmentationMethod`."""
        shared = {"contrasts": list(self.contrasts), "threads": self.threads, "dataset_dir": dataset}
        self._bundle(
            "training",
            ("segmenter", "segmenter_mixed"),
            log,
            device,
            output_dir=folder / "training",
            cache_dir=cohort.parents[1] / "cache",
            max_steps=self.max_steps,
            sample_interval=self.max_steps,
            log_interval=1,
            seed=seed,
            **{**shared, **self.options},
        )
        network = {name: self.options[name] for name in ("spatial_dims", "channels") if name in self.options}
        found = folder / "found"
        self._bundle(
            "segmenting",
            ("segment", "segment_mixed"),
            log,
            device,
            weights=folder / "training" / "model.pt",
            output_dir=found,
            label_convention="prepared",
            **shared,
            **network,
        )
        files = {path.parent.name: path for path in found.glob("*/*-seg.nii.gz")}
        log_lines = (folder / "training" / "log.jsonl").read_text(encoding="utf-8").splitlines()
        train_s = sum(json.loads(line).get("seconds_per_step", 0.0) for line in log_lines)
        card = read_card(folder / "training" / "model.pt")
        budget = f"{card['steps']} steps of {card['samples_per_step']} scans, the quick network"
        return Predictions(
            files=files, label_convention="prepared", train_s=train_s, device=card["device"], budget=budget
        )

    @staticmethod
    def _bundle(workflow: str, configs: Sequence[str], log: Path, device: str, **options: Any) -> None:
        files = [str(Path(BUNDLE_ROOT) / "configs" / f"{name}.yaml") for name in configs]
        arguments = ["run", workflow, "--config_file", repr(files)]
        for name, value in options.items():
            if value is not None:  # MONAI drops a null override
                arguments += [f"--{name}", str(value) if isinstance(value, str | Path) else repr(value)]
        arguments += ["--device", "cpu" if device == "cpu" else "cuda"]
        run_module("monai.bundle", arguments, log=log, environment=card_of(device))


def card_of(device: str) -> dict[str, str]:
    """Returns the variables that show a program one card alone, or none of its cards."""
    return {"CUDA_VISIBLE_DEVICES": "" if device == "cpu" else device}


def require_predictions(found: Predictions, cases: Sequence[str], log: Path) -> None:
    """Checks that every case was segmented.

    Raises:
        GliomaGenError: One was not.
    """
    if missing := [case for case in cases if case not in found.files]:
        raise GliomaGenError(f"{missing[0]}: was not segmented; see {log}")


def method_named(name: str, methods: Mapping[str, SegmentationMethod]) -> SegmentationMethod:
    """Looks a method up.

    Raises:
        GliomaGenError: There is none of that name.
    """
    if name not in methods:
        raise GliomaGenError(f"segmenter '{name}' is not known; choose among {sorted(methods)}")
    return methods[name]
