"""Completion tasks, by name: which voxels are given, and what the label map says of the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import GliomaGenError
from ..labels import HEAD
from .scan import Mask, Scan
from .slices import fitted_slice, on_slices, slices_at


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One scan to complete, and how.

    Attributes:
        scan: The scan.
        edited: Its label map as edited, (*S), or None.
        donor: Another scan, or None.
        contrasts: (C,) which contrasts may be given.
        axis: Array axis of slices.
        positions: Of slices, 0 to 1.
        slices: Their indices, in place of positions.
        margin_mm: By so much is a lesion widened.
    """

    scan: Scan
    contrasts: Mask
    edited: NDArray[np.uint8] | None = None
    donor: Scan | None = None
    axis: int = 2
    positions: Sequence[float] = (0.5,)
    slices: Sequence[int] | None = None
    margin_mm: float = 6.0


@dataclass(frozen=True, kw_only=True)
class Given:
    """What the generator is given.

    Attributes:
        label: (*S) what the result shows.
        voxels: (C, *S) float32, read where known.
        known: (C, *S) which voxels are given.
        region: (*S) of tasks that change a part of a scan: that part. Blending works at its edge.
        facts: For the record.
        generate: Indices of axial slices that are generated first and then given.
    """

    label: NDArray[np.uint8]
    voxels: NDArray[np.float32]
    known: Mask
    region: Mask | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    generate: Sequence[int] = ()


def widened(where: Mask, scan: Scan, margin_mm: float) -> Mask:
    """Returns a part of the head with a margin around it, which does not leave the head."""
    if not where.any():
        return where
    away = ndimage.distance_transform_edt(~where, sampling=scan.voxel_mm)
    near: Mask = (np.asarray(away) <= margin_mm) & (scan.label > 0)
    return near


def _nothing(ask: Ask) -> Given:
    """The label map alone."""
    label = ask.scan.label if ask.edited is None else ask.edited
    return Given(label=label, voxels=ask.scan.image, known=np.zeros(ask.scan.image.shape, bool))


def _slices(ask: Ask) -> Given:
    """Whole slices of the scan itself."""
    scan = ask.scan
    at = slices_at(scan, ask.axis, ask.positions, ask.slices)
    where = on_slices(scan.label.shape, ask.axis, at)
    label = scan.label
    if ask.edited is not None:  # where the edit shows, the slice is no longer true
        label, where = ask.edited, where & ~widened(ask.edited != scan.label, scan, ask.margin_mm)
    return Given(label=label, voxels=scan.image, known=_over(ask, where), facts={"slices": at})


def _donor_slices(ask: Ask) -> Given:
    """Slices of another scan at the same relative places, fitted in where both are healthy."""
    scan, donor, axis = ask.scan, ask.donor, ask.axis
    assert donor is not None
    label = scan.label if ask.edited is None else ask.edited
    own = Scan(name=scan.name, image=scan.image, here=donor.here, label=label, affine=scan.affine)
    at = slices_at(own, axis, ask.positions, ask.slices)
    theirs = slices_at(donor, axis, ask.positions, ask.slices)
    voxels = np.zeros_like(scan.image)
    where = np.zeros(label.shape, bool)
    for index, donor_index in zip(at, theirs, strict=True):
        plane, fits = fitted_slice(donor, donor_index, own, index, axis)
        np.moveaxis(voxels, axis + 1, 0)[index] = plane
        np.moveaxis(where, axis, 0)[index] = fits
    known = (ask.contrasts & donor.here).reshape(-1, *[1] * label.ndim) & where
    return Given(label=label, voxels=voxels, known=known, facts={"slices": at, "donor_slices": theirs})


def _generated_slices(ask: Ask) -> Given:
    """Slices that the 2-D network makes of the label map's."""
    if ask.axis != 2:
        raise GliomaGenError("generated slices are axial; leave --axis out")
    label = ask.scan.label if ask.edited is None else ask.edited
    at = slices_at(ask.scan, ask.axis, ask.positions, ask.slices)
    nothing = np.zeros(ask.scan.image.shape, bool)
    return Given(
        label=label, voxels=ask.scan.image, known=nothing, facts={"generated_slices": at}, generate=at
    )


def _contrasts(ask: Ask) -> Given:
    """Some contrasts, whole."""
    return Given(
        label=ask.scan.label, voxels=ask.scan.image, known=_over(ask, np.ones(ask.scan.label.shape, bool))
    )


def _all_but(ask: Ask, label: NDArray[np.uint8], region: Mask) -> Given:
    return Given(label=label, voxels=ask.scan.image, known=_over(ask, ~region), region=region)


def _insertion(ask: Ask) -> Given:
    """All but the edited map's lesion with a margin; the scan's own lesion stays wherever that does not reach."""
    scan = ask.scan
    edited = scan.label if ask.edited is None else ask.edited
    new = (edited > HEAD) & (edited != scan.label) if ask.edited is not None else edited > HEAD
    region = widened(new, scan, ask.margin_mm)
    # A lesion that the edit moved is still there in the scan: outside the region the map must say so.
    return _all_but(ask, np.where(region & (edited > HEAD), edited, scan.label).astype(np.uint8), region)


def _replacement(ask: Ask) -> Given:
    """All but the scan's lesion and the edited map's, with a margin."""
    label = ask.scan.label if ask.edited is None else ask.edited
    return _all_but(ask, label, widened((ask.scan.label > HEAD) | (label > HEAD), ask.scan, ask.margin_mm))


def _counterfactual(ask: Ask) -> Given:
    """All but what the edit changed, with a margin."""
    label = ask.scan.label if ask.edited is None else ask.edited
    return _all_but(ask, label, widened(label != ask.scan.label, ask.scan, ask.margin_mm))


def _healthy(ask: Ask) -> Given:
    """All but the lesion with a margin, which is to be healthy tissue."""
    region = widened(ask.scan.label > HEAD, ask.scan, ask.margin_mm)
    return _all_but(ask, np.minimum(ask.scan.label, HEAD).astype(np.uint8), region)


def _over(ask: Ask, where: Mask) -> Mask:
    """(*S) to (C, *S), in the contrasts that are there and may be given."""
    chosen: Mask = (ask.contrasts & ask.scan.here).reshape(-1, *[1] * where.ndim) & where
    return chosen


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task.

    Attributes:
        given: What it gives.
        edits: ``needed``, ``taken`` or ``refused``: an edited label map.
        donor: ``none``; ``other``: another patient, drawn for each case; ``shared``: one for all cases.
        contrasts: Which contrasts have to be there: ``asked`` ones, or ``none``.
    """

    given: Callable[[Ask], Given]
    edits: str = "refused"
    donor: str = "none"
    contrasts: str = "asked"


TASKS: dict[str, Task] = {
    "informed_slice": Task(given=_slices, edits="taken"),
    "missing_contrast": Task(given=_contrasts),
    "lesion_insertion": Task(given=_insertion, edits="taken"),
    "replace": Task(given=_replacement, edits="taken"),
    "healthy": Task(given=_healthy),
    "counterfactual": Task(given=_counterfactual, edits="needed"),
    "harmonize": Task(given=_donor_slices, edits="taken", donor="shared", contrasts="none"),
    # The settings of GEM-3D, by its names.
    "base": Task(given=_nothing, edits="taken", contrasts="none"),
    "test": Task(given=_slices),
    "ic": Task(given=_donor_slices, donor="other", contrasts="none"),
    "icma": Task(given=_donor_slices, edits="needed", donor="other", contrasts="none"),
    "ig": Task(given=_generated_slices, contrasts="none"),
    "igma": Task(given=_generated_slices, edits="needed", contrasts="none"),
}
