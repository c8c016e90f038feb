"""Which cases make a training configuration: the published six by name, and the control they lacked."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ..errors import GliomaGenError
from ..provenance import patient_hash

_PUBLISHED = 1235  # real training cases of GliomaGen (Renner 2025)


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A training configuration.

    Attributes:
        real: Real cases: a fraction is a part of the real training cases there are, a whole number is a count.
        synthetic: Synthetic ones, likewise.
        accepted: Whether the synthetic ones are of the accepted subset.
        seed: Says which cases, where the arm takes a part; None leaves it to others.
        of: Name of the data set that synthetic cases are of; None: of all.
    """

    real: Fraction | int
    synthetic: Fraction | int = Fraction(0)
    accepted: bool = False
    seed: int | None = None
    of: str | None = None


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


_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*")  # of a folder
_COUNTED = {"real", "synthetic", "accepted_only", "seed", "of", "name"}


def arm_of(told: str | Mapping[str, Any]) -> tuple[str, Arm]:
    """Returns an arm with its name, by one of :data:`ARMS`, or counted: ``{real: 10, synthetic: 50}``.

    Args:
        told: A name; or ``real`` and ``synthetic`` (cases), ``accepted_only``, ``seed``, ``of`` (which synthetic data set,
            where there are several) and ``name``, each of which may be left out. A counted arm is named as in ``10R+50S``, ``10R+50HQS`` where only accepted cases count.

    Raises:
        GliomaGenError: There is no such arm, or a number is none.
    """
    if isinstance(told, str):
        return told, arm_named(told)
    if not isinstance(told, Mapping) or not told or set(told) - _COUNTED:
        raise GliomaGenError(f"arm {told!r}: give a name of {list(ARMS)}, or some of {sorted(_COUNTED)}")
    counts = {key: told.get(key, 0) for key in ("real", "synthetic")}
    for key, count in (*counts.items(), ("seed", told.get("seed") or 0)):
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise GliomaGenError(f"arm {dict(told)}: {key} must be a whole number, 0 or more, not {count!r}")
    accepted, seed = bool(told.get("accepted_only", False)), told.get("seed")
    parts = [f"{counts['real']}R"] if counts["real"] or not counts["synthetic"] else []
    parts += [f"{counts['synthetic']}{'HQS' if accepted else 'S'}"] if counts["synthetic"] else []
    of = told.get("of")
    name = "+".join(parts) + (f"-of-{of}" if of else "") + (f"-seed{seed}" if seed is not None else "")
    name = str(told.get("name", name))
    if not _NAME.fullmatch(name) or name in ARMS:
        raise GliomaGenError(
            f"arm {dict(told)}: cannot be named '{name}'; give letters, digits, +, -, _ and ., and none of {list(ARMS)}"
        )
    return name, Arm(**counts, accepted=accepted, seed=seed, of=of)


def count_of(share: Fraction | int, cases: int) -> int:
    """Returns a share of ``cases``, rounded: for 1235 cases exactly what was published. A whole number is a count."""
    return share if isinstance(share, int) else round(share * cases)


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
            + "; synthesize more, or let it take fewer"
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
