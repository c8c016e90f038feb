"""A score, and everything that has to be known to compare it with another."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from .intervals import Estimate


@dataclass(frozen=True, kw_only=True)
class Score:
    """One number of an evaluation.

    Attributes:
        recipe: How it was computed; numbers of different recipes cannot be compared.
        name: Which.
        of: What it is of: a contrast, a region, ``all``.
        view: ``volume``, ``planes``, ``slices`` or empty.
        estimate: Value and interval.
        better: ``lower``, ``higher``, or empty where neither is good by itself.
        floor: The same number for real against real scans, where there is one: what a perfect generator would get.
        real: Number of real cases.
        synthetic: Number of synthetic cases.
        vectors: Number of vectors, slices or pairs on the smaller side.
        note: One line on what it says, if the name does not.
    """

    recipe: str
    name: str
    of: str
    estimate: Estimate
    view: str = ""
    better: str = ""
    floor: Estimate | None = None
    real: int = 0
    synthetic: int = 0
    vectors: int = 0
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Returns plain content."""
        content = asdict(self)
        content["estimate"] = self.estimate.to_json()
        content["floor"] = self.floor.to_json() if self.floor else None
        return content


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A score that could not be computed.

    Attributes:
        recipe: How it would have been computed.
        name: Which.
        why: One line for the user.
    """

    recipe: str
    name: str
    why: str


@dataclass
class Scores:
    """What an evaluation found, and what it could not.

    Attributes:
        found: The scores.
        left_out: Those that could not be computed, with reasons.
    """

    found: list[Score] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)

    def leave_out(self, recipe: str, name: str, why: str) -> None:
        """Notes that a score could not be computed."""
        self.left_out.append(LeftOut(recipe=recipe, name=name, why=why))
