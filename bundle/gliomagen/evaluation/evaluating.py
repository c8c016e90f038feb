"""The run: measure every scan once, then score the sets; resumable, shared among processes, one report."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from .. import __version__
from ..errors import GliomaGenError
from ..files import content_sha256, write_json
from ..machine import is_mine, rank, world_size
from ..provenance import patient_hash
from ..randomness import numpy_generator
from ..scans import ScanFiles
from . import faithfulness, pairs, privacy, published_recipe, volume_recipe
from .features import ALL, VOLUME
from .measuring import Measured, Measurer
from .pairing import partners
from .report.build import Report
from .score import Scores

logger = logging.getLogger(__name__)

METRICS_FILE = "metrics.json"
REAL, TRAINING, SYNTHETIC = SETS = ("real", "training", "synthetic")
RECIPES = ("volume", "gliomagen", "faithfulness", "privacy")
_SAME_VOXEL = 0.05  # voxels may differ by this share
_FOREIGN = 1.5  # times larger or smaller, a network has not seen such voxels


class Evaluation:
    """Compares a synthetic set with real scans.

    Args:
        output_dir: Where ``metrics.json`` and the measurements of single scans go.
        real: Held-out real scans: no weight file used here, nor the generator, may have seen their patients.
        training: The generator's training scans: for privacy, and as the floor.
        synthetic: The synthetic scans.
        measurer: Measures a scan.
        recipes: Which of :data:`RECIPES`.
        contrasts: The channels.
        draws: Resamples for each interval.
        seed: Of resampling and of random pairs.
        facts: About the run, for the record: weights and their hashes.
        max_training: At most so many training scans are compared with, drawn at random; None: all.
        learnt_from: Hashes of the generator's patients, see :func:`~gliomagen.provenance.patient_hash`: copies are
            looked for among those training scans that are theirs. None: not known, among all.
        judge_voxel_mm: Voxels that the network that judges was trained on; where the scans' are of another order, what
            it finds says nothing of them.
        report: Builds the report; None leaves it out.

    Raises:
        GliomaGenError: A recipe is not known.
    """

    def __init__(
        self,
        *,
        output_dir: str | Path,
        real: Sequence[ScanFiles],
        training: Sequence[ScanFiles],
        synthetic: Sequence[ScanFiles],
        measurer: Measurer,
        contrasts: Sequence[str],
        recipes: Sequence[str] = RECIPES,
        draws: int = 200,
        seed: int = 0,
        facts: dict[str, Any] | None = None,
        max_training: int | None = None,
        learnt_from: Sequence[str] | None = None,
        judge_voxel_mm: Sequence[float] | None = None,
        report: Report | None = None,
    ) -> None:
        unknown = sorted(set(recipes) - set(RECIPES))
        if unknown:
            raise GliomaGenError(f"recipe '{unknown[0]}' is not known; choose among {list(RECIPES)}")
        self.output_dir = Path(output_dir)
        if max_training is not None and len(training) > max_training:
            chosen = numpy_generator(seed, "training scans").permutation(len(training))[:max_training]
            training = [training[k] for k in sorted(chosen.tolist())]
        self.sets = {REAL: list(real), TRAINING: list(training), SYNTHETIC: list(synthetic)}
        self.partners = partners(real, synthetic)
        self.measurer = measurer
        self.contrasts = tuple(contrasts)
        self.recipes = tuple(recipes)
        self.draws, self.seed = draws, seed
        self.facts = facts or {}
        self.judge_voxel_mm = judge_voxel_mm
        self.learnt_from = None if learnt_from is None else frozenset(learnt_from)
        self.report = report

    def run(self) -> dict[str, Any] | None:
        """Measures this process's scans and, after the last of all, scores and writes ``metrics.json``.

        Returns:
            The content of ``metrics.json``; None where other processes have scans to measure yet.

        Raises:
            GliomaGenError: A set is empty, a scan cannot be read, or the sets' voxels differ.
        """
        for what in (REAL, SYNTHETIC):
            if not self.sets[what]:
                raise GliomaGenError(
                    f"there are no {what} scans to evaluate; check real_dir and synthetic_dir"
                )
        self._measure()
        sets = self._measured()
        if sets is None:
            logger.info("the scans of this process are measured, others are not")
            return None
        self._require_one_voxel_size(sets)
        metrics = self._score(sets)
        write_json(self.output_dir / METRICS_FILE, metrics)
        logger.info("%s: %d scores", self.output_dir / METRICS_FILE, len(metrics["scores"]))
        if self.report is not None:
            logger.info("report: %s", self.report.build(metrics, sets, self.sets))
        return metrics

    def _measure(self) -> None:
        todo = [
            (what, files)
            for what in SETS
            for files in self.sets[what]
            if is_mine(files.case) and self.measurer.known(what, files, self._partner(what, files)) is None
        ]
        name = "measuring" if world_size() == 1 else f"measuring, process {rank() + 1} of {world_size()}"
        for what, files in tqdm(todo, desc=name, unit="scan", dynamic_ncols=True):
            judged = what != TRAINING
            self.measurer.measure(
                what,
                files,
                self._partner(what, files),
                segment=judged,
                slices=judged,
                picture=what == SYNTHETIC,
            )

    def _partner(self, what: str, files: ScanFiles) -> ScanFiles | None:
        return self.partners.get(files.case) if what == SYNTHETIC else None

    def _measured(self) -> dict[str, list[Measured]] | None:
        sets: dict[str, list[Measured]] = {}
        for what in SETS:
            found = [
                self.measurer.known(what, files, self._partner(what, files)) for files in self.sets[what]
            ]
            sets[what] = [scan for scan in found if scan is not None]
            if len(sets[what]) < len(found):
                return None
        return sets

    def _require_one_voxel_size(self, sets: dict[str, list[Measured]]) -> None:
        first = sets[REAL][0]
        for what in SETS:
            for scan in sets[what]:
                ratio = np.array(scan.facts["voxel_mm"]) / np.array(first.facts["voxel_mm"])
                if np.abs(ratio - 1).max() > _SAME_VOXEL:
                    raise GliomaGenError(
                        f"{what} case {scan.case}: voxels of {_by(scan.facts['voxel_mm'])} mm, real case {first.case} has "
                        f"{_by(first.facts['voxel_mm'])} mm; bring both sets onto one grid (preparing, with one voxel_mm)"
                    )

    def _score(self, sets: dict[str, list[Measured]]) -> dict[str, Any]:
        scores = Scores()
        content: dict[str, Any] = {}
        real, training, synthetic = (sets[what] for what in SETS)
        extractor = self.measurer.extractor
        views = _views(real[0])
        if "volume" in self.recipes:
            if extractor is None:
                scores.leave_out(volume_recipe.RECIPE, "scores of features", "no feature extractor")
            volume_recipe.volume_scores(
                scores,
                real=real,
                synthetic=synthetic,
                floor=self._shuffled(training),
                contrasts=[name for name in (ALL, *self.contrasts) if name in views],
                views=views,
                draws=self.draws,
                seed=self.seed,
            )
            pairs.paired_scores(
                scores,
                synthetic,
                contrasts=self.contrasts,
                slices="gliomagen" in self.recipes,
                seed=self.seed,
            )
            two = {what: self.sets[what] for what in (REAL, SYNTHETIC)}
            pairs.diversity(scores, two, contrasts=self.contrasts, seed=self.seed)
        if "gliomagen" in self.recipes:
            published_recipe.published_scores(
                scores, real=real, synthetic=synthetic, contrasts=self.contrasts, seed=self.seed
            )
        if foreign := self._foreign_voxels(real[0]):
            logger.warning("%s", foreign)
            scores.leave_out(faithfulness.RECIPE, "all scores", foreign)
        elif "faithfulness" in self.recipes:
            content["faithfulness"] = faithfulness.compare(
                scores, real=real, synthetic=synthetic, seed=self.seed
            )
        if "privacy" in self.recipes:
            seen = self.learnt_from
            theirs = [scan for scan in training if seen is None or patient_hash(scan.patient) in seen]
            content["privacy"] = privacy.judge(
                scores, real=real, training=theirs, synthetic=synthetic, features_known=VOLUME in views[ALL]
            )
            if content["privacy"] is not None:
                content["privacy"] |= {
                    "compared_patients": len({scan.group for scan in theirs}),
                    "generator_patients": None if seen is None else len(seen),
                }
        return {
            "format": "gliomagen-metrics",
            "format_version": 1,
            "package_version": __version__,
            "value_range": [0, 1],
            "contrasts": list(self.contrasts),
            "recipes": list(self.recipes),
            "extractor": {"name": extractor.name, "sha256": extractor.sha256} if extractor else None,
            "seed": self.seed,
            "draws": self.draws,
            "sets": {
                what: {
                    "cases": len(scans),
                    "patients": len({scan.group for scan in scans}),
                    "sha256": content_sha256([scan.facts["key"] for scan in scans]),
                }
                for what, scans in sets.items()
            },
            **self.facts,
            "scores": [score.to_json() for score in scores.found],
            "left_out": [vars(entry) for entry in scores.left_out],
            **content,
        }

    def _foreign_voxels(self, scan: Measured) -> str:
        """Says so if the network that judges does not know such voxels."""
        known, here = self.judge_voxel_mm, scan.facts["voxel_mm"]
        if known is None or not all(known) or max(np.abs(np.log(np.array(here) / known))) < np.log(_FOREIGN):
            return ""
        return (
            f"the network that judges was trained on voxels of {_by(known)} mm, the scans' are {_by(here)} mm: train "
            "features.yaml on your cohort and give it as features; scores of its features tell little"
        )

    def _shuffled(self, scans: Sequence[Measured]) -> list[Measured]:
        order = numpy_generator(self.seed, "floor").permutation(len(scans))
        return [scans[k] for k in order]


def _views(scan: Measured) -> dict[str, list[str]]:
    """The views of each contrast that were measured."""
    views: dict[str, list[str]] = {}
    with np.load(scan.path, allow_pickle=False) as content:
        for name in content.files:
            kind, *rest = name.split("/")
            if kind == "features":
                views.setdefault(rest[0], []).append(rest[1])
    return views


def _by(lengths: Sequence[float]) -> str:
    return " x ".join(f"{length:g}" for length in lengths)
