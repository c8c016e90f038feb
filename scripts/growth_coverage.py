"""Are forecasts of burden as sure as they say? Simulated patients of known parameters: tables and a figure of ``bundle/docs/forecast.md``.

python scripts/growth_coverage.py [--patients 400] [--published 100] [--seeds 0 1 2] [--rows FILE] [--page FILE]

Each patient's last measurement is forecast from those before it, with the priors of ``forecast.yaml``. A third of the patients grow by
each law, which the forecaster is not told. Besides, so many patients of the published model's own law, exponential with one course,
are forecast by the published fit too, with its faults and without. Rerunning continues: rows are kept, and belong to their settings.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.bundle import ConfigParser

from gliomagen import BUNDLE_ROOT
from gliomagen.files import content_sha256
from gliomagen.growth.burden import Array, BurdenModel
from gliomagen.growth.fitting import Measured, Prior
from gliomagen.growth.forecast import BAND, BurdenForecaster
from growth.coverage_page import LAWS, Example, Row, write_coverage
from growth.published_fit import VARIANTS, published_bands
from growth.simulated import SimulatedPatient, simulated_patient

_REFITS = 40
"""Of the published bootstrap (30 to 50)."""


def main() -> None:
    """Simulates, forecasts, writes page and figure."""
    options = _options()
    config = ConfigParser.load_config_file(Path(BUNDLE_ROOT) / "configs" / "forecast.yaml")
    study = _Study(config)
    rows = []
    for seed in options.seeds:
        for part, count in (("laws", options.patients), ("published", options.published)):
            rows += study.rows(options.rows, part, seed, count)
    command = "python scripts/growth_coverage.py"
    write_coverage(options.page, rows, command=command, example=study.example(options.seeds[0]))


class _Study:
    """Args: config: Of ``forecasting``."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.priors = {name: Prior(**told) for name, told in config["priors"].items()}
        self.smallest, self.draws = config["smallest_mm3"], config["draws"]
        self.settings = content_sha256([config["priors"], self.smallest, self.draws, _REFITS])[:12]

    def rows(self, file: Path, part: str, seed: int, count: int) -> list[Row]:
        """Returns the rows of a part and seed; those missing are made and appended."""
        told = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
        known = {
            (row["part"], row["seed"], row["number"]): row for row in told if row["settings"] == self.settings
        }
        make = self._of_laws if part == "laws" else self._of_published
        found = []
        for number in range(count):
            row = known.get((part, seed, number))
            if row is None:
                row = {"part": part, "seed": seed, "number": number, "settings": self.settings}
                row |= make(seed, number)
                with file.open("a") as lines:
                    lines.write(json.dumps(row) + "\n")
            found.append(row)
        return found

    def _forecaster(self, law: str, seed: int) -> BurdenForecaster:
        return BurdenForecaster(
            priors=self.priors, law=law, draws=self.draws, smallest_mm3=self.smallest, seed=seed
        )

    def _of_laws(self, seed: int, number: int) -> Row:
        law = LAWS[number % len(LAWS)]
        patient = simulated_patient(seed, number, law=law, priors=self.priors)
        known, day = patient.known(), patient.measured.days[-1]
        forecast = self._forecaster("auto", number)(known, day)
        found = forecast.law
        same = self._forecaster(law, number)(known, day)
        (told,) = same.laws
        return {
            "law": law,
            "found": found,
            "courses": len(patient.measured.courses),
            "visits": len(known.days),
            "measured": _placed(forecast.measured, patient.measured.burden[-1]),
            "law_told": _placed(same.measured, patient.measured.burden[-1]),
            "parameters": {
                name: {"prior": math.exp(told.fit.centre[k])}
                | _placed(told.values[:, k], patient.values[name])
                for k, name in enumerate(told.fit.names)
            },
        }

    def _of_published(self, seed: int, number: int) -> Row:
        patient, known = self._published(seed, number)
        day, came = patient.measured.days[-1], patient.burden[-1]
        row = {"ours": _placed(self._burdens(known, [day], number)[:, 0], came)}
        for name, faults in VARIANTS.items():
            draws = published_bands(known, [day], refits=_REFITS, seed=number, **faults)[:, 0]
            row[name] = _placed(draws, came)
        return row

    def example(self, seed: int, number: int = 0) -> Example:
        """Returns a patient's burden over time and the bands of both fits.

        Args:
            seed: Of the study.
            number: Of the patient of the published law.
        """
        patient, known = self._published(seed, number)
        days: Array = np.linspace(0, patient.measured.days[-1], 100)
        model = BurdenModel(law="exponential", courses=known.courses)
        values = np.array([[patient.values[name] for name in model.parameters]])
        return Example(
            days=days,
            burden=model.burden(values, days)[0],
            measured=patient.measured,
            ours=np.quantile(self._burdens(known, days, number), BAND, axis=0),
            published=np.quantile(
                published_bands(known, days, refits=_REFITS, seed=number, **VARIANTS["published"]),
                BAND,
                axis=0,
            ),
        )

    def _published(self, seed: int, number: int) -> tuple[SimulatedPatient, Measured]:
        # The published fit knows neither a course before the first visit nor two of them.
        patient = simulated_patient(
            *(seed, f"published {number}"),
            law="exponential",
            priors=self.priors,
            courses=(1, 1),
            earliest=0.0,
        )
        return patient, patient.known()

    def _burdens(self, known: Measured, days: Sequence[float] | Array, seed: int) -> Array:
        """Returns burdens without measurement error, (N, T), mm³."""
        return self._forecaster("exponential", seed)(known, days[-1]).burdens(days)


def _placed(draws: Array, truth: float) -> dict[str, float]:
    low, median, high = np.quantile(draws, BAND)
    told = {"true": truth, "low": low, "median": median, "high": high, "below": np.mean(draws < truth)}
    return {name: float(f"{value:.5g}") for name, value in told.items()}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--patients", type=int, default=400, help="of each seed")
    parser.add_argument("--published", type=int, default=100, help="besides, of the published law")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    docs = Path(BUNDLE_ROOT) / "docs"
    parser.add_argument("--rows", type=Path, default=Path("growth_coverage.jsonl"))
    parser.add_argument("--page", type=Path, default=docs / "forecast.md")
    options: argparse.Namespace = parser.parse_args()
    return options


if __name__ == "__main__":
    main()
