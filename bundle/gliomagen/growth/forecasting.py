"""Forecasts of patients: burden, label maps, probability, scans, scores, a page each."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import GliomaGenError
from ..files import content_sha256, read_json, write_json
from ..labels import LESION, convention
from .burden import Array
from .figure import RESEARCH, SAMPLES_SHOWN, forecast_page
from .fitting import Measured
from .forecast import BurdenForecast, BurdenForecaster
from .maps import growth_direction
from .output import mean_of, save_map, write_sample
from .page import PICTURE, write_pages
from .patients import Seen, Visits, forecast_day
from .samples import Growing, Sample, Targets, sample_name
from .scores import BASELINES, Scoring
from .spread import BURDEN, burden_mm3
from .tissue import Float
from .visits import History, Task, forecast_task

logger = logging.getLogger(__name__)

DONE = "forecast.json"
_FALL = 0.6
"""Less of the burden before is not an error of measurement."""


@dataclass(frozen=True, kw_only=True)
class _Made:
    """What came of a patient's samples.

    Attributes:
        probability: (X, Y, Z) of tumour.
        first: Samples, to be looked at.
        burdens: mm³ that each was to have.
        facts: Of how each was made.
        similarity: Of each that is a scan to the true one.
    """

    probability: Float
    first: list[Sample]
    burdens: list[float]
    facts: list[dict[str, Any]]
    similarity: Sequence[Mapping[str, Any]]


class Forecasting:
    """Forecasts each patient; what is finished is left, so that a killed run goes on when run again.

    A patient whom nothing can be forecast of is named in one line, and the others go on.

    Args:
        histories: Of all patients.
        day: Of the forecast, or ``last``: each patient's last visit, from those before.
        visits: Reads scans.
        forecaster: Of burden.
        targets: Changes of burden, if others are wanted than those forecast.
        growing: Makes label maps and scans of a change.
        output_dir: A folder per patient.
        label_convention: Of the label maps written; ``binary`` where lesions are of no told kind.
        scoring: Where the truth is known.
        settings: What the results of one folder share.
    """

    def __init__(
        self,
        *,
        histories: Sequence[History],
        day: date | str,
        visits: Visits,
        forecaster: BurdenForecaster,
        targets: Targets,
        growing: Growing,
        output_dir: str | Path,
        label_convention: str,
        scoring: Scoring,
        settings: Mapping[str, Any],
    ) -> None:
        self.histories, self.day, self.visits = list(histories), day, visits
        self.forecaster, self.targets, self.growing = forecaster, targets, growing
        self.output_dir = Path(output_dir)
        self.convention = convention(label_convention)
        self.scoring = scoring
        self.settings = {"note": RESEARCH, **settings}

    def run(self) -> dict[str, Any]:
        """Forecasts; returns what ``forecasts.json`` says.

        Raises:
            GliomaGenError: Nothing could be forecast of any patient, or a folder holds results of other settings.
        """
        told, refused = {}, {}
        for history in self.histories:
            done = self.output_dir / history.patient / DONE
            if done.is_file():
                told[history.patient] = self._finished(done, history)
                continue
            try:
                told[history.patient] = self._forecast(history)
            except GliomaGenError as error:
                logger.warning("patient %s: %s", history.patient, error)
                refused[history.patient] = str(error)
        if not told:
            who, why = next(iter(refused.items()))
            raise GliomaGenError(f"no patient could be forecast; {who}: {why}")
        write_pages(self.output_dir, told, refused)
        summary = {"note": RESEARCH, "patients": list(told), "refused": refused, "scores": _means(told)}
        write_json(self.output_dir / "forecasts.json", summary)
        return summary

    def _inputs(self, history: History) -> str:
        """Returns a digest of what the tables say of a patient."""
        return content_sha256([asdict(history), self.targets.by_patient.get(history.patient)])

    def _finished(self, path: Path, history: History) -> dict[str, Any]:
        made: dict[str, Any] = read_json(path)
        if made["tables_sha256"] != self._inputs(history):
            raise GliomaGenError(
                f"{path}: was made of other visits, treatments or targets of {history.patient}; remove its folder, or choose another output_dir"
            )
        for name, value in self.settings.items():
            if made.get(name) != value:
                raise GliomaGenError(
                    f"{path}: was made with {name} {made.get(name)}, not {value}; choose another output_dir"
                )
        return made

    def _forecast(self, history: History) -> dict[str, Any]:
        task = forecast_task(history, self.day)
        last = self.visits.seen(task.known.visits[-1])
        truth = None if task.truth is None else self.visits.seen(task.truth, like=last)
        measured = self.visits.measured(task.known, last)
        notes = [*task.notes, *_doubts(measured)]
        for note in notes:
            logger.warning("patient %s: %s", history.patient, note)
        forecast = self.forecaster(measured, forecast_day(task))
        change = self.targets(history.patient, forecast.change)
        folder = self.output_dir / history.patient
        shutil.rmtree(folder / "samples", ignore_errors=True)  # of a run that was killed, with more of them
        made = self._made(folder, history.patient, last, truth, change)
        likely = made.probability >= 0.5
        for name, data in (("probability", made.probability), ("likely", likely)):
            save_map(folder / f"{name}.nii.gz", data, last)
        true_mm3 = None if truth is None else _burden_of(task, truth)
        samples = [
            (
                one.labels,
                {} if one.images is None else dict(zip(self.growing.contrasts, one.images, strict=True)),
            )
            for one in made.first
        ]
        forecast_page(
            folder / PICTURE,
            title=f"{history.patient}, {task.day}",
            forecast=forecast,
            last=last,
            probability=made.probability,
            likely=likely,
            samples=samples,
            truth=truth,
            truth_mm3=true_mm3,
        )
        facts = self._facts(history, task, last, forecast, made, notes)
        facts["scores"] = {}
        if truth is not None and true_mm3:
            facts["scores"] = self.scoring(
                last=last,
                truth=truth,
                true_mm3=true_mm3,
                probability=made.probability,
                likely=likely,
                change=change,
                measured=forecast.measured,
            )
            if made.similarity:
                facts["scores"]["similarity"] = mean_of(made.similarity)
        write_json(folder / DONE, facts)
        return facts

    def _made(self, folder: Path, patient: str, last: Seen, truth: Seen | None, change: Array) -> _Made:
        """Makes all samples, each written as it comes."""
        # Of a kind that nobody told, for which other conventions have no number.
        whole = bool((last.labels == LESION).any())
        written = convention("binary") if whole else self.convention
        seen: Float = np.zeros(last.labels.shape, np.float32)
        firsts: list[Sample] = []
        burdens, facts, similarity = [], [], []
        for number, sample in enumerate(self.growing(last, change, patient)):
            name = sample_name(patient, number)
            write_sample(folder / "samples" / name, name, sample, last, self.growing.contrasts, written)
            seen += np.isin(sample.labels, BURDEN)
            burdens.append(round(sample.burden, 1))
            facts.append(dict(sample.facts))
            firsts = firsts if len(firsts) == SAMPLES_SHOWN else [*firsts, sample]
            if truth is not None and sample.images is not None:
                similarity.append(self.scoring.similarity(last, truth, sample.images, self.growing.contrasts))
        return _Made(
            probability=np.asarray(seen / len(burdens), np.float32),
            first=firsts,
            burdens=burdens,
            facts=facts,
            similarity=similarity,
        )

    def _facts(
        self,
        history: History,
        task: Task,
        last: Seen,
        forecast: BurdenForecast,
        made: _Made,
        notes: list[str],
    ) -> dict[str, Any]:
        measured = forecast.known
        return {
            **self.settings,
            "patient": task.known.patient,
            "tables_sha256": self._inputs(history),
            "forecast_date": str(task.day),
            "last_case": last.case,
            "visits": [
                {"case": visit.case, "date": str(visit.date), "burden_mm3": burden}
                for visit, burden in zip(task.known.visits, measured.burden, strict=True)
            ],
            "courses_days": list(measured.courses),
            "notes": notes,
            "contrasts_known": sorted(last.images),
            **forecast.facts(),
            "sampled_burden_mm3": made.burdens,
            "samples": made.facts,
            **growth_direction(last, made.probability),
        }


def _doubts(measured: Measured) -> list[str]:
    """Returns what to doubt of a forecast from these measurements, a line each."""
    if len(measured.days) == 1:
        return ["one visit says nothing of growth; the forecast is that of the priors"]
    return [
        f"burden falls by {1 - burden / before:.0%} until day {day:.0f}, and no treatment is told that began before: "
        "the model knows no other cause"
        for (before, burden), day in zip(pairwise(measured.burden), measured.days[1:], strict=True)
        if burden < _FALL * before and not any(course < day for course in measured.courses)
    ]


def _burden_of(task: Task, truth: Seen) -> float:
    told = None if task.truth is None else task.truth.burden_mm3
    return burden_mm3(truth.labels, truth.voxel_mm) if told is None else told


def _means(told: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Returns means over the patients whose truth is known."""
    scored = [facts["scores"] for facts in told.values() if facts.get("scores")]
    if not scored:
        return {}
    shown = [{name: one[name] for name in ("forecast", *BASELINES)} for one in scored]
    means = {"patients": len(scored), **mean_of(shown)}
    if similar := [one["similarity"] for one in scored if "similarity" in one]:
        means["similarity"] = mean_of(similar)
    means["burden_within_90"] = float(np.mean([one["burden"]["within_90"] for one in scored]))
    return means
