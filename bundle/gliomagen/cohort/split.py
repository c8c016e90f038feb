"""Training and validation: whole patients, by a hash or as given."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import GliomaGenError
from ..files import read_json

TRAINING, VALIDATION = SECTIONS = ("training", "validation")
UNLABELLED = "unlabelled"
ALL_PATIENTS = "all"


def split_cases(
    patients: Mapping[str, str],
    *,
    validation_fraction: float = 0.2,
    seed: int = 0,
    split_file: str | Path | None = None,
) -> dict[str, str]:
    """Assigns every case to ``training`` or ``validation``, all cases of a patient to the same.

    Each patient has a number in [0, 1) hashed from the seed and its name; it validates if the number is below
    ``validation_fraction``. So a patient's side depends on nobody else: a cohort that grows never moves a patient
    over, which would make weights already trained unusable for evaluation. The price is that the fraction is met
    only on average; who needs exact counts gives a ``split_file``. Only where one side would be empty, the patient
    nearest the threshold goes there; a single patient trains.

    Args:
        patients: Patient of each case.
        validation_fraction: Share of the patients that validate, in [0, 1).
        seed: Another seed, another split.
        split_file: JSON ``{"training": [...], "validation": [...]}`` that names patients or cases, used instead.

    Returns:
        ``training`` or ``validation`` for each case.

    Raises:
        GliomaGenError: The fraction is not in [0, 1), or the split file does not fit the cases.
    """
    if split_file:
        return _given_split(patients, Path(split_file))
    if not 0 <= validation_fraction < 1:
        raise GliomaGenError(f"validation_fraction {validation_fraction}: must be at least 0 and below 1")
    ranked = sorted((_number(seed, patient), patient) for patient in set(patients.values()))
    validating = {patient for number, patient in ranked if number < validation_fraction}
    if validating and len(validating) == len(ranked):
        validating.remove(ranked[-1][1])
    elif not validating and len(ranked) >= 2 and validation_fraction > 0:
        validating = {ranked[0][1]}
    return {case: VALIDATION if patients[case] in validating else TRAINING for case in sorted(patients)}


def some_of(
    entries: Sequence[dict[str, Any]], *, half: int | str = ALL_PATIENTS, patients: str | Path | None = None
) -> list[dict[str, Any]]:
    """Returns the entries of some patients; all of them if neither is given.

    Args:
        entries: With ``patient``.
        half: 0 or 1: one half of the patients, by a hash; or ``all``.
        patients: JSON list of patients, or an object that has one as ``patients``, as mixing writes.

    Raises:
        GliomaGenError: The half is neither, the file is not such, it names a patient that is not there, or nobody
            is left.
    """
    if half not in (ALL_PATIENTS, 0, 1):
        raise GliomaGenError(f"half {half} is not known; choose 0, 1 or {ALL_PATIENTS}")
    chosen = list(entries)
    if patients is not None:
        named = _named_patients(Path(patients))
        if missing := sorted(named - {entry["patient"] for entry in entries}):
            raise GliomaGenError(
                f"{patients}: patient '{missing[0]}' is not among the training patients; remove it"
            )
        chosen = [entry for entry in chosen if entry["patient"] in named]
    if half != ALL_PATIENTS:
        chosen = [entry for entry in chosen if (_number("half", entry["patient"]) < 0.5) == (half == 0)]
    if entries and not chosen:
        raise GliomaGenError(
            f"half {half} and patients {patients} leave none of {len(entries)} cases; choose other patients"
        )
    return chosen


def _named_patients(path: Path) -> set[str]:
    content = read_json(path)
    names = content.get("patients") if isinstance(content, dict) else content
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise GliomaGenError(f'{path}: must be a list of patients, or have one as "patients"')
    return set(names)


def _number(seed: int | str, patient: str) -> float:
    return int(hashlib.sha256(f"{seed}:{patient}".encode()).hexdigest()[:13], 16) / 16**13


def _given_split(patients: Mapping[str, str], path: Path) -> dict[str, str]:
    content = read_json(path)
    if not isinstance(content, dict) or set(content) != set(SECTIONS):
        raise GliomaGenError(f'{path}: must be {{"training": [...], "validation": [...]}}')
    cases_of: dict[str, list[str]] = {}
    for case, patient in patients.items():
        cases_of.setdefault(patient, []).append(case)
    side: dict[str, str] = {}
    for section in SECTIONS:
        names = content[section]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise GliomaGenError(f"{path}: '{section}' must be a list of patients or cases")
        for name in names:
            cases = cases_of.get(name) or ([name] if name in patients else None)
            if cases is None:
                raise GliomaGenError(
                    f"{path}: '{name}' is neither a patient nor a case of this folder; remove it"
                )
            for case in cases:
                if case in side:
                    raise GliomaGenError(f"{path}: '{name}' is named twice; name it once")
                side[case] = section
    unnamed = sorted(set(patients) - set(side))
    if unnamed:
        raise GliomaGenError(f"{path}: '{unnamed[0]}' is on neither side; add it to training or validation")
    for patient, cases in cases_of.items():
        if len({side[case] for case in cases}) > 1:
            raise GliomaGenError(f"{path}: patient '{patient}' is on both sides; put all its cases on one")
    return {case: side[case] for case in sorted(patients)}
