"""What made a file: weights' cards, hashed patient ids, manifest entries."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from . import __version__
from .errors import GliomaGenError
from .files import file_sha256, read_json, write_json

DATA_TERMS_UNKNOWN = "terms of the training data apply; name them before passing these weights on"


def patient_hash(patient: str) -> str:
    """Returns the id under which a training patient stands in a weights' card: sha256 of its name, 16 digits."""
    return hashlib.sha256(patient.encode()).hexdigest()[:16]


def card_path(weights: str | Path) -> Path:
    """Returns where the card of a weight file stands: beside it, ``model.pt`` -> ``model.json``."""
    return Path(weights).with_suffix(".json")


class CardWriter:
    """Writes the card of a weight file beside it.

    Args:
        architecture: What the network was built from.
        geometry: ``spatial_size``, ``voxel_mm`` and ``contrasts`` it was trained at.
        cohort_sha256: Hash of the training cohort.
        patients: Names of the training patients; only their hashes are stored.
        seen: Hashes of further patients, of whom other weights told: those behind synthetic cases.
        data_terms: Licence terms of the training data.
        more: Further plain entries.
    """

    def __init__(
        self,
        *,
        architecture: dict[str, Any],
        geometry: dict[str, Any],
        cohort_sha256: str,
        patients: Iterable[str],
        seen: Iterable[str] = (),
        data_terms: str | None = None,
        more: dict[str, Any] | None = None,
    ) -> None:
        self.content = {
            "package_version": __version__,
            "licence": "Apache-2.0",
            "data_terms": data_terms or DATA_TERMS_UNKNOWN,
            "architecture": architecture,
            "geometry": geometry,
            "cohort_sha256": cohort_sha256,
            "training_patients": sorted({*map(patient_hash, patients), *seen}),
            **(more or {}),
        }

    def __call__(self, weights: str | Path, steps: int) -> None:
        """Writes the card of ``weights``, finished after ``steps`` optimiser steps."""
        facts = {"weights": Path(weights).name, "sha256": file_sha256(weights), "steps": steps}
        write_json(card_path(weights), {**facts, **self.content})


def read_card(weights: str | Path) -> dict[str, Any]:
    """Reads the card of a weight file and checks that it belongs to it.

    Raises:
        GliomaGenError: Weights or card are missing, or the weights are not those it was written for.
    """
    if not Path(weights).is_file():
        raise GliomaGenError(f"{weights}: no weights there; train first, or set the option weights")
    if not card_path(weights).is_file():
        raise GliomaGenError(
            f"{card_path(weights)}: not found; the card of the weights belongs beside them, copy both"
        )
    card: dict[str, Any] = read_json(card_path(weights))
    if card.get("sha256") != file_sha256(weights):
        raise GliomaGenError(f"{weights}: is not the file its card {card_path(weights).name} was written for")
    return card


def refuse_training_patients(patients: Iterable[str], weights: Iterable[str | Path]) -> None:
    """Refuses an evaluation on patients that one of the weight files was trained on.

    Raises:
        GliomaGenError: Names the first such patient and weight file.
    """
    patients = sorted(set(patients))
    for path in weights:
        refuse_seen(patients, read_card(path)["training_patients"], path)


def refuse_seen(patients: Iterable[str], seen: Iterable[str], where: str | Path) -> None:
    """Refuses patients of whom something was learnt already.

    Args:
        patients: Names.
        seen: Hashes, see :func:`patient_hash`.
        where: What learnt from them, named in the error.

    Raises:
        GliomaGenError: Names the first such patient.
    """
    hashes = set(seen)
    for patient in patients:
        if patient_hash(patient) in hashes:
            raise GliomaGenError(
                f"{where}: was trained on patient {patient}; evaluate on patients it has not seen"
            )
