"""What may come, one after the other: label maps, and scans of some."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import GliomaGenError
from ..randomness import numpy_generator
from .burden import Array
from .maps import SpreadOptions, spread_maps
from .patients import Seen
from .render import Rendering
from .spread import Labels
from .tissue import Float


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What may come.

    Attributes:
        labels: (X, Y, Z) prepared.
        burden: mm³ that was aimed at.
        images: (C, X, Y, Z) in [0, 1]; None: not made.
        facts: Of how it was made.
    """

    labels: Labels
    burden: float
    images: Float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


class Growing(Protocol):
    """Makes samples of a patient.

    Attributes:
        contrasts: Of the images.
    """

    contrasts: Sequence[str]

    def __call__(self, last: Seen, change: Array, patient: str) -> Iterator[Sample]:
        """Yields samples.

        Args:
            last: Scan that is known last.
            change: (M,) draws of the burden over that of the last scan.
            patient: Name.
        """


def growing_named(guidance: str, known: Mapping[str, Growing]) -> Growing:
    """Returns the way of that name.

    Raises:
        GliomaGenError: There is none.
    """
    if guidance not in known:
        raise GliomaGenError(f"guidance '{guidance}' is not known; choose among {list(known)}")
    return known[guidance]


def aims(change: Array, samples: int, seed: int) -> Array:
    """Returns the change of burden of each sample, (N,): one of each part of the forecast, so that few samples have its width."""
    chosen = np.quantile(change, (np.arange(samples) + 0.5) / samples)
    return np.asarray(numpy_generator(seed, "burdens").permutation(chosen))


class MaskGrowth:
    """Label maps by fronts that keep to the anatomy, see :mod:`.spread`; the generator shows them.

    Args:
        options: Of the fronts.
        samples: Label maps per patient.
        scans: As many of them become scans.
        rendering: Makes these; None: none.
        seed: Of draws.

    Raises:
        GliomaGenError: More scans than samples are wanted, or none.
    """

    def __init__(
        self, *, options: SpreadOptions, samples: int, scans: int, rendering: Rendering | None, seed: int
    ) -> None:
        if samples < 1 or not 0 <= scans <= samples:
            raise GliomaGenError(
                f"samples {samples}, scans {scans}: choose at least 1, and scans no more than samples"
            )
        self.options, self.samples, self.scans = options, samples, scans if rendering else 0
        self.rendering, self.seed = rendering, seed
        self.contrasts = rendering.contrasts if rendering else []

    def __call__(self, last: Seen, change: Array, patient: str) -> Iterator[Sample]:
        """Yields samples; see :class:`Growing`.

        Raises:
            GliomaGenError: The last scan shows no tumour, or its tissues cannot be told.
        """
        maps = spread_maps(last, aims(change, self.samples, self.seed), options=self.options, seed=self.seed)
        for number, (labels, burden) in enumerate(maps):
            images = None
            if self.rendering is not None and number < self.scans:
                images = self.rendering(last, labels, sample_name(patient, number))
            yield Sample(labels=labels, burden=burden, images=images)


def sample_name(patient: str, number: int) -> str:
    """Returns the name of a patient's sample."""
    return f"{patient}-sample-{number:02d}"


class Targets:
    """Changes of burden that are wanted, instead of those forecast.

    Args:
        wanted: ``forecast``; a number, the burden over that of the last scan; or a CSV of ``patient,change``.

    Raises:
        GliomaGenError: It is none of these.
    """

    def __init__(self, wanted: str | float) -> None:
        self.by_patient: dict[str, float] = {}
        self.constant: float | None = None
        self.source = str(wanted)
        if wanted == "forecast":
            return
        try:
            self.constant = _change(wanted, "target")
        except ValueError:
            self.by_patient = _read_targets(Path(self.source))

    def __call__(self, patient: str, forecast: Array) -> Array:
        """Returns draws of a patient's change, (M,).

        Raises:
            GliomaGenError: The table has no row of the patient.
        """
        if self.constant is not None:
            return np.array([self.constant])
        if not self.by_patient:
            return forecast
        if patient not in self.by_patient:
            raise GliomaGenError(f"{self.source}: has no row for {patient}")
        return np.array([self.by_patient[patient]])


def _read_targets(path: Path) -> dict[str, float]:
    if not path.is_file():
        raise GliomaGenError(
            f"target '{path}' is neither 'forecast' nor a number nor a file; give one of these"
        )
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        if {"patient", "change"} - set(rows.fieldnames or ()):
            raise GliomaGenError(f"{path}: the first line must name patient,change")
        found = {}
        for number, row in enumerate(rows, 2):
            try:
                found[row["patient"]] = _change(row["change"], f"{path}, line {number}")
            except (TypeError, ValueError):
                raise GliomaGenError(
                    f"{path}, line {number}: change '{row['change']}' is not a number"
                ) from None
    if not found:
        raise GliomaGenError(f"{path}: has no rows")
    return found


def _change(told: str | float, where: str) -> float:
    value = float(told)
    if not 0 < value < 100:
        raise GliomaGenError(f"{where}: a change of {value:g} times the burden; choose above 0 and below 100")
    return value
