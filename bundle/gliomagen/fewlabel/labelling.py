"""A few labelled cases in, label maps of all the others out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import GliomaGenError
from ..export.cases import CaseWriter
from ..files import read_json, write_json
from ..labels import LABEL_NAMES, TUMOUR, convention
from .cases import Case, Fill, read_case
from .methods import Method
from .samples import Classes, Sample

logger = logging.getLogger(__name__)

SUMMARY_FILE, LEARNT_FILE = "fewlabel.json", "learnt.json"
Score = Callable[..., Mapping[str, Mapping[str, float]]]
"""``score(found, truth, voxel_mm=…)`` of two prepared label maps, by region."""


def labelled_slices(told: Sequence[str] | Mapping[str, Sequence[int] | None]) -> dict[str, list[int] | None]:
    """Returns which slices of each labelled case are labelled; None: all of them.

    Args:
        told: Names of cases, or slices (axial, lowest first) by case.

    Raises:
        GliomaGenError: There is none.
    """
    pairs = told.items() if isinstance(told, Mapping) else [(name, None) for name in told]
    found = {str(name): None if slices is None else [int(z) for z in slices] for name, slices in pairs}
    if not found or any(slices == [] for slices in found.values()):
        raise GliomaGenError(f"labelled {told}: name at least one case, and of slices at least one of each")
    return found


class Labelling:
    """Learns from labelled cases, and writes label map and uncertainty of every other case.

    A case of which only some slices are labelled is segmented too. Killed, it goes on where it was when run again: the
    training is repeated, and says the same.

    Args:
        entries: Data list of the cohort; those labelled need ``label``, and whatever else has one is scored.
        labelled: See :func:`labelled_slices`.
        contrasts: Of the network, in order.
        spatial_dims: Of the network.
        method: How.
        writer: Of cases, whose only volume is the uncertainty.
        label_convention: Of the files written.
        score: Of a result, where truth is there.
        fill: Makes contrasts that a scan lacks.

    Raises:
        GliomaGenError: A labelled case is not in the cohort, or slices are named for a 3-D network.
    """

    def __init__(
        self,
        *,
        entries: Sequence[Mapping[str, Any]],
        labelled: Sequence[str] | Mapping[str, Sequence[int] | None],
        contrasts: Sequence[str],
        spatial_dims: int,
        method: Method,
        writer: CaseWriter,
        label_convention: str,
        score: Score,
        fill: Fill | None = None,
    ) -> None:
        self.entries = {str(entry["case"]): entry for entry in entries}
        self.labelled = labelled_slices(labelled)
        if unknown := sorted(set(self.labelled) - set(self.entries)):
            raise GliomaGenError(f"labelled: {', '.join(unknown)} not in the cohort; name cases of it")
        if spatial_dims == 3 and any(slices is not None for slices in self.labelled.values()):
            raise GliomaGenError(
                "labelled: single slices teach the 2-D network; add slices.yaml, or name whole cases"
            )
        self.contrasts = list(contrasts)
        self.spatial_dims = spatial_dims
        self.method = method
        self.writer = writer
        self.convention = convention(label_convention)
        self.score = score
        self.fill = fill

    def run(self) -> dict[str, Any]:
        """Labels what is not labelled yet; returns what ``fewlabel.json`` says."""
        names = [name for name in self.entries if self.labelled.get(name, []) is not None]
        pending = self.writer.pending([{"case": name} for name in names])
        if pending:
            classes = self._learn()
            for entry in pending:
                self._label(self._case(entry["case"]), classes)
        return self._summary(names)

    def _case(self, name: str) -> Case:
        entry = self.entries[name]
        return read_case(entry, self.contrasts, labelled="label" in entry, fill=self.fill)

    def _learn(self) -> Classes:
        samples: list[Sample] = []
        for name, slices in self.labelled.items():
            case = self._case(name)
            if case.label is None:
                raise GliomaGenError(f"case {name}: has no label map; name cases that are labelled")
            samples += case.samples(self.spatial_dims, slices)
        classes = Classes.of(samples)
        absent = [LABEL_NAMES[label] for label in TUMOUR if label not in classes.labels]
        if absent:
            logger.warning("no labelled voxel of %s: it will not be found", ", ".join(absent))
        if len(self.labelled) == 1:
            logger.warning("one labelled case: other patients' scans may look unlike anything learnt")
        logger.info("learning from %d labelled samples of %d cases", len(samples), len(self.labelled))
        self.method.fit(samples, classes)
        write_json(self._learnt, self.method.facts())
        return classes

    @property
    def _learnt(self) -> Path:
        return Path(self.writer.output_dir) / LEARNT_FILE

    def _label(self, case: Case, classes: Classes) -> None:
        shape = case.image.shape[1:]
        found = np.zeros(shape, np.uint8)
        doubt, apart = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        samples = case.samples(self.spatial_dims)
        for sample, prediction in zip(samples, self.method.predict(samples), strict=True):
            where: Any = ... if self.spatial_dims == 3 else (..., int(sample.name.rsplit("-", 1)[1]))
            found[where] = classes.to_labels(prediction.classes).numpy()
            doubt[where], apart[where] = prediction.uncertainty.numpy(), prediction.disagreement.numpy()
        facts: dict[str, Any] = {
            "made_contrasts": list(case.made),
            "uncertainty": _over_lesion(doubt, found),
            "disagreement": _over_head(apart, case),
            "labelled_slices": self.labelled.get(case.name),
        }
        if case.label is not None:
            truth, label = case.label.numpy(), found
            if (own := self.labelled.get(case.name)) is not None:  # what was shown is not scored
                rest = [z for z in range(shape[-1]) if z not in own]
                truth, label = truth[..., rest], found[..., rest]
            voxel_mm = tuple(np.linalg.norm(case.affine[:3, :3], axis=0).tolist())
            facts["scores"] = _plain(self.score(label, np.where(truth > 0, truth, 0), voxel_mm=voxel_mm))
        self._write(case, found, doubt, facts)

    def _write(
        self, case: Case, found: NDArray[np.uint8], doubt: NDArray[np.float32], facts: dict[str, Any]
    ) -> None:
        try:
            numbers = self.convention.from_prepared(found)
        except GliomaGenError as error:
            raise GliomaGenError(f"case {case.name}: {error}; choose another label_convention") from None
        facts |= {"torch": torch.__version__, "threads": torch.get_num_threads()}
        self.writer.write(case.name, doubt[None], case.affine, facts, masks={"seg": numbers})

    def _summary(self, names: Sequence[str]) -> dict[str, Any]:
        told = {
            name: read_json(self.writer.sidecar(name))
            for name in names
            if self.writer.sidecar(name).is_file()
        }
        ranked = sorted(told, key=lambda name: -told[name]["disagreement"])
        content = {
            **self.writer.settings,
            "labelled": self.labelled,
            "learnt": read_json(self._learnt) if self._learnt.is_file() else {},
            "label_next": [{"case": name, "disagreement": told[name]["disagreement"]} for name in ranked],
            "scores": {name: facts["scores"] for name, facts in told.items() if "scores" in facts},
        }
        write_json(Path(self.writer.output_dir) / SUMMARY_FILE, content)
        return content


def _over_lesion(doubt: NDArray[np.float32], found: NDArray[np.uint8]) -> float:
    return float(doubt[found > 0].mean()) if (found > 0).any() else 0.0


def _over_head(apart: NDArray[np.float32], case: Case) -> float:
    """Mean disagreement over the head: how much a label of this case would teach."""
    head = (case.image > 0).any(0).numpy()
    return float(apart[head].mean()) if head.any() else 0.0


def _plain(scores: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float | None]]:
    """What a case cannot bear becomes null."""
    return {
        region: {name: float(value) if np.isfinite(value) else None for name, value in values.items()}
        for region, values in scores.items()
    }
