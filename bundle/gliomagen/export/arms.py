"""Which cases make a training configuration: the published six by name, and the control they lacked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ..errors import GliomaGenError
from ..provenance import patient_hash

_PUBLISHED = 1235  # real training cases of GliomaGen (Renner 2025)


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A training configuration, in parts of the real training cases.

    Attributes:
        real: Real cases.
        synthetic: Synthetic ones.
        accepted: Whether the synthetic ones are of the accepted subset.
    """

    real: Fraction
    synthetic: Fraction = Fraction(0)
    accepted: bool = False


ARMS: dict[str, Arm] = {
    "real": Arm(real=Fraction(1)),
    "real+1x": Arm(real=Fraction(1), synthetic=Fraction(1062, _PUBLISHED)),
    "real+2x": Arm(real=Fraction(1), synthetic=Fraction(2124, _PUBLISHED)),
    "real+hq": Arm(real=Fraction(1), synthetic=Fraction(598, _PUBLISHED), accepted=True),
    "half+hq": Arm(real=Fraction(617, _PUBLISHED), synthetic=Fraction(598, _PUBLISHED), accepted=True),
    "hq-only": Arm(real=Fraction(0), synthetic=Fraction(598, _PUBLISHED), accepted=True),
    "half": Arm(real=Fraction(617, _PUBLISHED)),
}
"""1235 R, + 1062 S, + 2124 S, + 598 HQS, 617 R + 598 HQS, 598 HQS; and 617 R alone. Scaled with the cohort."""


def arm_named(name: str) -> Arm:
    """Looks a configuration up.

    Raises:
        GliomaGenError: There is none of that name.
    """
    try:
        return ARMS[name]
    except KeyError:
        raise GliomaGenError(f"arm '{name}' is not known; choose among {list(ARMS)}") from None


def count_of(share: Fraction, cases: int) -> int:
    """Returns a share of ``cases``, rounded: for 1235 cases exactly what was published."""
    return round(share * cases)


def real_cases(entries: Sequence[Mapping[str, Any]], count: int, seed: int) -> list[dict[str, Any]]:
    """Returns at most ``count`` cases, whole patients, in a seeded order of the patients.

    The same patients stand first for every count, so that arms share them.
    """
    of_patient: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        of_patient.setdefault(entry["patient"], []).append(dict(entry))
    chosen: list[dict[str, Any]] = []
    for patient in sorted(of_patient, key=lambda name: _order(seed, name)):
        if len(chosen) + len(of_patient[patient]) <= count:
            chosen += of_patient[patient]
    return sorted(chosen, key=lambda entry: str(entry["case"]))


def synthetic_cases(
    records: Sequence[Mapping[str, Any]], count: int, seed: int, *, forbidden: set[str], preferred: set[str]
) -> list[dict[str, Any]]:
    """Returns ``count`` synthetic cases in a seeded order, none of them a child of a forbidden patient.

    Args:
        records: Of the manifests.
        count: How many.
        seed: Of the order.
        forbidden: Patients of the validation.
        preferred: Patients of the arm; their children are taken first.

    Raises:
        GliomaGenError: There are too few.
    """
    usable = [dict(record) for record in records if not parents(record) & forbidden]
    if len(usable) < count:
        left_out = len(records) - len(usable)
        raise GliomaGenError(
            f"synthetic_dirs: the arm takes {count} synthetic cases, there are {len(usable)}"
            + (f" (without {left_out} children of validation patients)" if left_out else "")
            + "; synthesize more, or set synthetic_count"
        )
    usable.sort(key=lambda record: (not parents(record) <= preferred, _order(seed, record["case"])))
    return sorted(usable[:count], key=lambda record: str(record["case"]))


def parents(record: Mapping[str, Any]) -> set[str]:
    """Returns the patients whose label maps a synthetic case goes back to."""
    return {record[key] for key in ("source_patient", "donor_patient") if record.get(key)}


def foreign_patients(
    own: set[str], records: Sequence[Mapping[str, Any]], seen: Mapping[str, Sequence[str]]
) -> list[str]:
    """Says through what an arm learns of real patients that are not its own.

    Args:
        own: Real training patients of the arm.
        records: Its synthetic cases.
        seen: What made or chose them, by name, to the hashed patients it learnt from.

    Returns:
        A line each; empty where the arm is what its name says.
    """
    hashes = {patient_hash(patient) for patient in own}
    lines = []
    if others := set().union(*(parents(record) for record in records), set()) - own:
        lines.append(f"label maps go back to {len(others)} other patients")
    for name, patients in seen.items():
        if strangers := set(patients) - hashes:
            lines.append(f"{name} learnt from {len(strangers)} other patients")
    return lines


def _order(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()
