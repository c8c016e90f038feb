"""The study: a data set for each arm, trainings of several seeds on each, scores on the same real patients."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ... import __version__
from ...errors import GliomaGenError
from ...export.arms import arm_of
from ...export.mixed import Mixed, read_mixed
from ...export.mixing import Mixture
from ...export.nnunet_form import label_convention_of
from ...files import locked, read_json, write_json
from ...provenance import refuse_training_patients
from ...segmenter.methods import SegmentationMethod, require_predictions
from .figures import PREDICTIONS_TITLE, draw_all, draw_predictions
from .page import write_page
from .scores import score_predictions
from .summary import summarize
from .trainings import once, side_by_side

logger = logging.getLogger(__name__)
DATASET_ID = 601
STUDY_FILE = "study.json"
PREDICTIONS = "predictions"


class Study:
    """Trains and scores every arm, several times, on the same validation patients.

    Everything of an arm is in ``<output_dir>/arms/<arm>/``: its data set, what a method prepares of it, ``seed-<n>/`` with
    ``log.txt`` and ``scores.json``. What is there is not made again; killed, it goes on where it was when run again.
    Several processes may share ``output_dir``, each with other arms; the last one is given all of them, and compares.

    Args:
        training: Entries of the real cohort.
        validation: Likewise, of other patients; nobody learns from them.
        synthetic_dirs: Data sets that ``synthesizing`` made.
        output_dir: Where the study goes.
        arms: Names and counts, see :func:`....export.arms.arm_of`.
        base: The arm that others are compared with; where it is not among the arms, they are trained and not compared.
        seeds: Of each arm's trainings.
        method: Trains and segments.
        devices: ``cpu`` or numbers of cards; as many trainings at a time.
        contrasts: Channels, in order.
        labels: As the synthetic data sets: ``challenge`` or ``prepared``.
        seed: Which cases, where an arm takes a part.
        weights: Further weight files that must not know a validation patient.
        cohort_sha256: Of the cohort, for the record.

    Raises:
        GliomaGenError: There is no arm or seed, or two of one name.
    """

    def __init__(
        self,
        *,
        training: Sequence[Mapping[str, Any]],
        validation: Sequence[Mapping[str, Any]],
        synthetic_dirs: Sequence[str | Path],
        output_dir: str | Path,
        arms: Sequence[str | Mapping[str, Any]],
        seeds: Sequence[int],
        method: SegmentationMethod,
        devices: Sequence[str],
        contrasts: Sequence[str],
        base: str = "real",
        labels: str = "challenge",
        seed: int = 0,
        weights: Sequence[str | Path] = (),
        cohort_sha256: str | None = None,
    ) -> None:
        self.arms = [(arm_of(told)[0], told) for told in arms]
        names = [name for name, _ in self.arms]
        if not names or not seeds or len(set(seeds)) < len(seeds):
            raise GliomaGenError("arms, seeds: give at least one of each, and no seed twice")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise GliomaGenError(f"arms: '{twice[0]}' is there twice; give one of them a name of its own")
        self.validation = list(validation)
        self.output_dir = Path(output_dir).absolute()
        self.base, self.seeds, self.method, self.devices = base, list(seeds), method, list(devices)
        self.contrasts, self.labels = tuple(contrasts), labels
        self.weights = list(weights)
        self.mix = partial(
            Mixture,
            training=training,
            validation=validation,
            synthetic_dirs=synthetic_dirs,
            dataset_id=DATASET_ID,
            contrasts=contrasts,
            labels=labels,
            seed=seed,
            cohort_sha256=cohort_sha256,
        )

    def run(self) -> dict[str, Any]:
        """Runs what is not done, and writes ``study.json``; returns its content, or nothing where none are compared.

        Raises:
            GliomaGenError: A validation patient was seen, a data set cannot be made, or trainings failed: the others are
                finished first, and the first log is named.
        """
        refuse_training_patients({entry["patient"] for entry in self.validation}, self.weights)
        data = {name: self._dataset(self._folder(name), name, told) for name, told in self.arms}
        cohort = self._dataset(self.output_dir / "cohort", "cohort", "real").path
        jobs: dict[str, Callable[[str], None]] = {
            f"{name}, seed {seed}": partial(self._train, name, mixed, seed, cohort)
            for seed in self.seeds
            for name, mixed in data.items()
        }
        logger.info("%d trainings on %s", len(jobs), ", ".join(self.devices))
        failed = side_by_side(jobs, self.devices)
        if failed:
            name, error = next(iter(failed.items()))
            raise GliomaGenError(
                f"{len(failed)} of {len(jobs)} trainings failed; {name}: {error}. Run again when it is mended"
            ) from error
        if self.base not in data:
            logger.info("'%s' is not among the arms: they are trained, and compared when it is", self.base)
            return {}
        content = self._content(data)
        budgets = {training["budget"] for some in content["trainings"].values() for training in some}
        if len(budgets) > 1:
            raise GliomaGenError(
                f"{self.output_dir}: trainings had unequal budgets {sorted(budgets)}; remove some"
            )
        write_json(self.output_dir / STUDY_FILE, content)
        pictures = draw_all(content, self.output_dir)
        convention = content["trainings"][self.base][0]["label_convention"]
        draw_predictions(
            content,
            next(iter(data.values())).validation,
            lambda arm, case: self._folder(arm) / f"seed-{self.seeds[0]}" / PREDICTIONS / f"{case}.nii.gz",
            (label_convention_of(self.labels), convention),
            self.output_dir / "predictions.png",
        )
        write_page(content, [*pictures, ("predictions.png", PREDICTIONS_TITLE)], self.output_dir)
        return content

    def _folder(self, name: str) -> Path:
        return self.output_dir / "arms" / name

    def _dataset(self, folder: Path, name: str, told: str | Mapping[str, Any]) -> Mixed:
        """Builds an arm's data set, and looks itself whether what trains knows anyone who validates."""
        mixture = self.mix(arm=told, dataset_name=name.replace("+", "_plus_"), output_dir=folder)
        with locked(folder):  # other processes may build it too
            mixed = read_mixed(mixture.write())
        if mixed.plan["val"] != sorted(entry["case"] for entry in self.validation):
            raise GliomaGenError(f"{mixed.path}: validates by other cases than the cohort; remove it")
        return mixed

    def _train(self, name: str, mixed: Mixed, seed: int, cohort: Path, device: str) -> None:
        arm, folder = self._folder(name), self._folder(name) / f"seed-{seed}"
        settings = {**self.method.settings, "seed": seed, "data": mixed.sha256}

        def make() -> dict[str, Any]:
            plan = self.method.prepare(mixed.path, cohort=cohort, log=arm / "prepare.txt")
            log = folder / "log.txt"
            found = self.method.run(mixed.path, folder, cohort=cohort, seed=seed, device=device, log=log)
            require_predictions(found, mixed.plan["val"], log)
            cases = score_predictions(found, mixed.validation, label_convention_of(self.labels))
            self._keep(found.files, folder / PREDICTIONS)
            cost = {"budget": found.budget, "device": found.device, "train_s": found.train_s}
            facts = {"arm": name, "seed": seed, "plan": plan, "label_convention": found.label_convention}
            return _plain({**facts, **cost, "cases": cases})

        once(folder, "scores.json", settings, make)

    @staticmethod
    def _keep(files: Mapping[str, Path], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for case, path in files.items():
            shutil.copyfile(path, folder / f"{case}.nii.gz")

    def _content(self, data: Mapping[str, Mixed]) -> dict[str, Any]:
        trainings = {
            name: [read_json(self._folder(name) / f"seed-{seed}" / "scores.json") for seed in self.seeds]
            for name in data
        }
        return {
            "package_version": __version__,
            "method": dict(self.method.settings),
            "contrasts": list(self.contrasts),
            "seeds": self.seeds,
            "base": self.base,
            "validation": {
                "cases": len(self.validation),
                "patients": len({entry["patient"] for entry in self.validation}),
            },
            "arms": {
                name: {**_facts(mixed), "accepted": arm_of(told)[1].accepted}
                for (name, told), mixed in zip(self.arms, data.values(), strict=True)
            },
            "summary": _plain(summarize(trainings, self.base)),
            "trainings": trainings,
        }


def _facts(mixed: Mixed) -> dict[str, Any]:
    synthetic = [entry for entry in mixed.training if entry["kind"] == "synthetic"]
    contrasts = mixed.plan["contrasts"]
    seconds = [entry["seconds"] for entry in synthetic]
    made = sum(Path(entry[name]).stat().st_size for entry in synthetic for name in (*contrasts, "label"))
    return {
        "name": mixed.name,
        "transfer": mixed.plan["transfer"],
        "real": mixed.plan["real"],
        "real_patients": len(mixed.plan["patients"]),
        "synthetic": mixed.plan["synthetic"],
        "synthetic_bytes": made,
        "synthetic_s": None if None in seconds else float(sum(seconds)),
        "dataset": str(mixed.path),
    }


def _plain(content: Any) -> Any:
    """Returns content that is JSON: what is not a number becomes null."""
    if isinstance(content, Mapping):
        return {key: _plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content
