"""Edits of a lesion where it stands: growth, shrinkage, surgery, satellites, response to treatment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from ..errors import GliomaGenError
from ..labels import HEAD, LESION
from .edit_borders import Move
from .edit_satellites import Satellites
from .edit_treatment import Cavity, Response
from .maps import CannotVaryError, LabelMap, Labels, Parameters

GROW_MM, SHRINK_MM = (1.5, 5.0), (1.0, 3.5)


class Edit(Protocol):
    """One kind of edit: drawn on a label map, then applied to it."""

    def draw(self, current: LabelMap, rng: np.random.Generator) -> Parameters:
        """Draws plain JSON values."""
        ...

    def apply(self, current: LabelMap, parameters: Mapping[str, Any]) -> Labels:
        """Makes the edited labels."""
        ...


class EditPolicy:
    """Edits the lesion of the source, once or several times; the head stays as it is.

    The kinds are ``respond`` (enhancement is removed), ``cavity`` (a resection cavity is opened or enlarged),
    ``shrink`` and ``grow`` (of one sub-region), ``satellite`` (small lesions are added); in this order where there
    are several, each drawn on what the one before left. Sub-regions keep their order: enhancement, necrosis and
    cavity make the core, oedema lies around it, everything in the head. A lesion of unknown kind can grow, shrink and
    have satellites.

    Args:
        shares: How often each kind is taken; 0 leaves it out.
        edits_per_output: Fewest and most.
        options: Of each kind, as its class takes them (``mm``, ``rim_mm``, ...): see ``edit_borders``,
            ``edit_treatment`` and ``edit_satellites``.

    Raises:
        GliomaGenError: A kind that is none, no share above 0, or an option that is none.
    """

    needs_donor = False
    keeps_near = False
    order = ("respond", "cavity", "shrink", "grow", "satellite")

    def __init__(
        self,
        *,
        shares: Mapping[str, float] | None = None,
        edits_per_output: tuple[int, int] = (1, 3),
        options: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        shares = dict(
            shares or {"grow": 0.3, "shrink": 0.15, "cavity": 0.25, "satellite": 0.15, "respond": 0.15}
        )
        options = dict(options or {})
        for name in (*shares, *options):
            if name not in self.order:
                raise GliomaGenError(f"edit '{name}' is not known; choose among {sorted(self.order)}")
        self.shares = {name: float(shares[name]) for name in self.order if shares.get(name, 0) > 0}
        if not self.shares or not 1 <= edits_per_output[0] <= edits_per_output[1]:
            raise GliomaGenError(
                "shares, edits_per_output: give at least one edit a share, and at least one edit"
            )
        self.edits_per_output = edits_per_output
        self.options = options
        try:
            self.edits = {name: _edit(name, options.get(name, {})) for name in self.shares}
        except TypeError as error:
            raise GliomaGenError(f"options: {error}; see the documentation of the edits") from error

    def draw(self, source: LabelMap, donor: LabelMap | None, rng: np.random.Generator) -> Parameters:
        """Draws the edits, each on what the one before left.

        Raises:
            CannotVaryError: The source has no lesion, or nothing that the drawn edits could change.
        """
        del donor
        if not (source.label > HEAD).any():
            raise CannotVaryError("there is no lesion to edit")
        unknown_kind = (source.label == LESION).any()  # of which no core is known, to resect or to treat
        names = [name for name in self.shares if not (unknown_kind and name in ("respond", "cavity"))]
        if not names:
            raise CannotVaryError("none of the edits is one of a lesion of unknown kind")
        weights = np.array([self.shares[name] for name in names])
        count = min(int(rng.integers(self.edits_per_output[0], self.edits_per_output[1] + 1)), len(names))
        chosen = rng.choice(names, size=count, replace=False, p=weights / weights.sum())
        current, edits = source, []
        for name in sorted(chosen.tolist(), key=self.order.index):
            parameters = self.edits[name].draw(current, rng)
            edits.append({"edit": name, **parameters})
            if len(edits) < count:
                current = replace(current, label=self.edits[name].apply(current, parameters))
        return {"edits": edits}

    def apply(self, source: LabelMap, donor: LabelMap | None, parameters: Mapping[str, Any]) -> Labels:
        """Edits.

        Raises:
            CannotVaryError: An edit does not work out, or changes nothing.
        """
        del donor
        current = source
        for edit in parameters["edits"]:
            label = self.edits[edit["edit"]].apply(current, edit)
            if np.array_equal(label, current.label):
                raise CannotVaryError(f"the edit '{edit['edit']}' changes nothing")
            current = replace(current, label=label)
        return current.label


def _edit(name: str, options: Mapping[str, Any]) -> Edit:
    if name in ("grow", "shrink"):
        grow = name == "grow"
        return Move(**{"outward": grow, "mm": GROW_MM if grow else SHRINK_MM, **options})
    kinds: dict[str, type[Cavity] | type[Response] | type[Satellites]] = {
        "cavity": Cavity,
        "respond": Response,
        "satellite": Satellites,
    }
    return kinds[name](**options)
