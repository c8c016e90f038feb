"""What every policy of label-map variation takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.uint8]
Parameters = dict[str, Any]
"""Plain JSON values: what was drawn, as it stands in the record of an output."""


class CannotVaryError(Exception):
    """A policy finds nothing to do on this source with this draw: redraw."""


@dataclass(frozen=True, kw_only=True)
class LabelMap:
    """A prepared label map.

    Attributes:
        case: Its name.
        patient: Whose it is.
        label: (X, Y, Z) uint8, prepared labels, RAS+.
        voxel_mm: Length of a voxel along each axis.
    """

    case: str
    patient: str
    label: Labels
    voxel_mm: tuple[float, float, float]


class Policy(Protocol):
    """One way of making a label map from another. Drawing and applying stand apart: what was drawn is recorded.

    Attributes:
        needs_donor: Whether a second label map, of another patient, is taken.
        keeps_near: Whether near copies of the source are what it means to make (the published protocol).
    """

    needs_donor: bool
    keeps_near: bool

    def draw(self, source: LabelMap, donor: LabelMap | None, rng: np.random.Generator) -> Parameters:
        """Draws parameters for one output.

        Raises:
            CannotVaryError: Nothing to do on this source.
        """
        ...

    def apply(self, source: LabelMap, donor: LabelMap | None, parameters: Mapping[str, Any]) -> Labels:
        """Makes the output, on the source's grid. A function of its arguments alone.

        Raises:
            CannotVaryError: The drawn parameters do not work out here.
        """
        ...
