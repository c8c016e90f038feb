"""Forecasts of patients: burden, label maps, probability, scans, scores, a page each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import GliomaGenError
from ..files import read_json, write_json
from ..labels import LESION, convention
from ..volume import Volume, write_volume
from .figure import RESEARCH, forecast_page
from .forecast import BurdenForecast, BurdenForecaster
from .maps import GrowthMaps, SpreadOptions, brier_score, calibration, growth_direction, growth_maps
from .patients import Seen, Visits, forecast_day
from .render import Rendering
from .spread import BURDEN, Labels, burden_mm3
from .visits import History, Task, forecast_task

logger = logging.getLogger(__name__)

Score = Callable[..., Mapping[str, Mapping[str, Any]]]
REGION = {"tumour": BURDEN}
BINS = (0.0, 0.2, 0.4, 0.6, 0.8, 0.999)
DONE = "forecast.json"


class Forecasting:
    """Forecasts each patient; what is finished is left, so that a killed run goes on when run again.

    A patient whom nothing can be forecast of is named in one line, and the others go on.

    Args:
        histories: Of all patients.
        day: Of the forecast, or ``last``: each patient's last visit, from those before.
        visits: Reads scans.
        forecaster: Of burden.
        spreading: Of label maps.
        samples: Label maps per patient.
        scans: As many of them become scans.
        rendering: Makes these; None: none.
        output_dir: A folder per patient.
        label_convention: Of the label maps written; ``binary`` where lesions are of no told kind.
        score: Of a label map against the truth, see :func:`.score_case`.
        settings: What the results of one folder share.
        seed: Of all draws.
    """

    def __init__(
        self,
        *,
        histories: Sequence[History],
        day: date | str,
        visits: Visits,
        forecaster: BurdenForecaster,
        spreading: SpreadOptions,
        samples: int,
        scans: int,
        rendering: Rendering | None,
        output_dir: str | Path,
        label_convention: str,
        score: Score,
        settings: Mapping[str, Any],
        seed: int,
    ) -> None:
        if samples < 1 or not 0 <= scans <= samples:
            raise GliomaGenError(
                f"samples {samples}, scans {scans}: choose at least 1, and scans no more than samples"
            )
        self.histories, self.day, self.visits = list(histories), day, visits
        self.forecaster, self.spreading, self.rendering = forecaster, spreading, rendering
        self.samples, self.scans, self.seed = samples, scans, seed
        self.output_dir = Path(output_dir)
        self.convention = convention(label_convention)
        self.score = score
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
                told[history.patient] = self._finished(done)
                continue
            try:
                told[history.patient] = self._forecast(history)
            except GliomaGenError as error:
                logger.warning("patient %s: %s", history.patient, error)
                refused[history.patient] = str(error)
        if not told:
            who, why = next(iter(refused.items()))
            raise GliomaGenError(f"no patient could be forecast; {who}: {why}")
        summary = {"note": RESEARCH, "patients": list(told), "refused": refused, "scores": _means(told)}
        write_json(self.output_dir / "forecasts.json", summary)
        return summary

    def _finished(self, path: Path) -> dict[str, Any]:
        made: dict[str, Any] = read_json(path)
        for name, value in self.settings.items():
            if made.get(name) != value:
                raise GliomaGenError(
                    f"{path}: was made with {name} {made.get(name)}, not {value}; choose another output_dir"
                )
        return made

    def _forecast(self, history: History) -> dict[str, Any]:
        task = forecast_task(history, self.day)
        for note in task.notes:
            logger.warning("patient %s: %s", history.patient, note)
        last = self.visits.seen(task.known.visits[-1])
        truth = None if task.truth is None else self.visits.seen(task.truth, like=last)
        measured = self.visits.measured(task.known, last)
        if len(measured.days) == 1:
            logger.warning(
                "patient %s: one visit says nothing of growth; the forecast is that of the priors",
                history.patient,
            )
        forecast = self.forecaster(measured, forecast_day(task))
        maps = growth_maps(
            last, forecast.change, samples=self.samples, options=self.spreading, seed=self.seed
        )
        folder = self.output_dir / history.patient
        images = self._write(folder, history.patient, last, maps)
        true_burden = _burden_of(task, truth)
        forecast_page(
            folder / "forecast.png",
            title=f"{history.patient}, {task.day}",
            forecast=forecast,
            last=last,
            probability=maps.probability,
            likely=maps.likely,
            sample=(maps.samples[0], images),
            truth=truth,
            truth_mm3=true_burden,
        )
        facts = {
            **self._facts(task, last, forecast, maps),
            "scores": self._scores(maps, truth, forecast, true_burden),
        }
        write_json(folder / DONE, facts)
        return facts

    def _write(
        self, folder: Path, patient: str, last: Seen, maps: GrowthMaps
    ) -> dict[str, NDArray[np.float32]]:
        """Writes probability, label maps and scans; returns the first scan's contrasts."""
        self._save(folder / "probability.nii.gz", maps.probability, last)
        self._save(folder / "likely.nii.gz", maps.likely, last)
        whole = bool(
            (last.labels == LESION).any()
        )  # of a kind that nobody told, for which other conventions have no number
        written = convention("binary") if whole else self.convention
        first: dict[str, NDArray[np.float32]] = {}
        for number, labels in enumerate(maps.samples):
            name = f"{patient}-sample-{number:02d}"
            self._save(folder / "samples" / name / f"{name}-seg.nii.gz", written.from_prepared(labels), last)
            if self.rendering is None or number >= self.scans:
                continue
            made = self.rendering(last, labels, name)
            images = dict(zip(self.rendering.contrasts, made, strict=True))
            for contrast, image in images.items():
                self._save(folder / "samples" / name / f"{name}-{contrast}.nii.gz", image, last)
            first = first or images
        return first

    def _save(self, path: Path, data: NDArray[Any], last: Seen) -> None:
        volume = Volume(data=data, affine=last.affine).oriented_like(last.original.affine)
        write_volume(path, Volume(data=volume.data, affine=last.original.affine))

    def _facts(self, task: Task, last: Seen, forecast: BurdenForecast, maps: GrowthMaps) -> dict[str, Any]:
        measured = forecast.fit.measured
        return {
            **self.settings,
            "patient": task.known.patient,
            "forecast_date": str(task.day),
            "last_case": last.case,
            "visits": [
                {"case": visit.case, "date": str(visit.date), "burden_mm3": burden}
                for visit, burden in zip(task.known.visits, measured.burden, strict=True)
            ],
            "courses_days": list(measured.courses),
            "notes": list(task.notes),
            "contrasts_known": sorted(last.images),
            **forecast.facts(),
            "sampled_burden_mm3": [round(float(burden), 1) for burden in maps.burdens],
            **growth_direction(last, maps.probability),
        }

    def _scores(
        self, maps: GrowthMaps, truth: Seen | None, forecast: BurdenForecast, true_burden: float | None
    ) -> dict[str, Any]:
        """Returns scores of the forecast and of both baselines, or nothing where the truth is not known."""
        if truth is None or not true_burden:
            return {}
        alone = {
            name: np.isin(labels, BURDEN)
            for name, labels in (("no_change", maps.no_change), ("isotropic", maps.isotropic))
        }
        methods: dict[str, tuple[NDArray[np.float32], NDArray[np.bool_]]] = {
            "forecast": (maps.probability, maps.likely),
            **{name: (region.astype(np.float32), region) for name, region in alone.items()},
        }
        wanted = _as_region(truth.labels)
        found: dict[str, Any] = {}
        for name, (probability, region) in methods.items():
            labels = np.where(region, BURDEN[0], 0).astype(np.uint8)
            scores = self.score(labels, wanted, voxel_mm=truth.voxel_mm, regions=REGION)["tumour"]
            found[name] = {
                "dice": float(scores["dice"]),
                "hd95_mm": float(scores["hd95_mm"]),
                "brier": brier_score(probability, truth.labels),
                "volume_error": float(np.log(max(burden_mm3(labels, truth.voxel_mm), 1.0) / true_burden)),
            }
        low, middle, high = np.quantile(forecast.measured, (0.05, 0.5, 0.95))
        found["burden"] = {
            "true_mm3": true_burden,
            "log_error": float(np.log(middle / true_burden)),
            "within_90": bool(low <= true_burden <= high),
        }
        found["calibration"] = calibration(maps.probability, truth.labels, BINS)
        return found


def _burden_of(task: Task, truth: Seen | None) -> float | None:
    if task.truth is None or truth is None:
        return None
    told = task.truth.burden_mm3
    return burden_mm3(truth.labels, truth.voxel_mm) if told is None else told


def _as_region(labels: Labels) -> Labels:
    return np.where(np.isin(labels, BURDEN), BURDEN[0], 0).astype(np.uint8)


def _means(told: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Returns means over the patients whose truth is known."""
    scored = [facts["scores"] for facts in told.values() if facts.get("scores")]
    if not scored:
        return {}
    means: dict[str, Any] = {"patients": len(scored)}
    for method in ("forecast", "no_change", "isotropic"):
        means[method] = {
            name: float(np.nanmean([one[method][name] for one in scored]))
            for name in ("dice", "hd95_mm", "brier")
        }
    means["burden_within_90"] = float(np.mean([one["burden"]["within_90"] for one in scored]))
    return means
