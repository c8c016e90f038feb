"""Every label number and contrast name, and the maps from each challenge's convention. Nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import GliomaGenError

CONTRASTS: tuple[str, ...] = ("t1c", "t1n", "t2f", "t2w")
"""Contrast order, everywhere."""

CT = "ct"
IMAGES: tuple[str, ...] = (*CONTRASTS, CT)
"""Kinds of image that a cohort may be of, in the order of its channels."""

BACKGROUND, HEAD, NETC, SNFH, ET, RC = range(6)
LESION = 6
"""A lesion voxel of unknown kind (cohorts with one lesion class)."""

TUMOUR: tuple[int, ...] = (NETC, SNFH, ET, RC)
LABEL_NAMES: dict[int, str] = {
    BACKGROUND: "background",
    HEAD: "head",
    NETC: "non-enhancing tumour core",
    SNFH: "surrounding non-enhancing FLAIR hyperintensity",
    ET: "enhancing tumour",
    RC: "resection cavity",
    LESION: "lesion of unknown kind",
}


@dataclass(frozen=True, kw_only=True)
class LabelConvention:
    """How one challenge numbers its labels.

    Attributes:
        name: What the option ``label_convention`` calls it.
        prepared: Prepared label of each of its numbers. The first number that maps to a prepared label is the
            one written when going back.
        background_includes_head: True when number 0 covers the head too, so that the head is to be found.
    """

    name: str
    prepared: Mapping[int, int]
    background_includes_head: bool = True

    def to_prepared(self, labels: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Maps this convention's numbers to prepared ones.

        Args:
            labels: Whole numbers, any shape and dtype.

        Raises:
            GliomaGenError: A number is not of this convention.
        """
        unknown = self.unknown(labels)
        if unknown:
            raise GliomaGenError(
                f"labels {unknown} are not of the convention '{self.name}' (it has {sorted(self.prepared)}); "
                f"choose label_convention among {sorted(CONVENTIONS)}"
            )
        result = np.zeros(labels.shape, np.uint8)
        for number, prepared in self.prepared.items():
            result[labels == number] = prepared
        return result

    def from_prepared(self, labels: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Maps prepared labels back; what this convention lacks is an error, the head becomes 0 where it lacks one.

        Raises:
            GliomaGenError: A label has no number in this convention.
        """
        back = {HEAD: 0} if self.background_includes_head else {}
        for number, prepared in self.prepared.items():
            back.setdefault(prepared, number)
        result = np.zeros(labels.shape, np.uint8)
        for prepared in np.unique(labels).tolist():
            if prepared not in back:
                raise GliomaGenError(
                    f"the convention '{self.name}' has no number for {LABEL_NAMES.get(prepared, prepared)}"
                )
            result[labels == prepared] = back[prepared]
        return result

    def unknown(self, labels: NDArray[np.generic]) -> list[float]:
        """Returns the values in ``labels`` that this convention does not have, sorted."""
        return sorted(set(np.unique(labels).tolist()) - set(self.prepared))


CONVENTIONS: dict[str, LabelConvention] = {
    convention.name: convention
    for convention in (
        LabelConvention(
            name="prepared", prepared={number: number for number in range(7)}, background_includes_head=False
        ),
        LabelConvention(name="brats2024", prepared={0: BACKGROUND, 1: NETC, 2: SNFH, 3: ET, 4: RC}),
        LabelConvention(name="brats2021", prepared={0: BACKGROUND, 1: NETC, 2: SNFH, 4: ET}),
        # BraTS 2023 glioma, and SSA: 4 is nothing there.
        LabelConvention(name="brats2023", prepared={0: BACKGROUND, 1: NETC, 2: SNFH, 3: ET}),
        # Medical Segmentation Decathlon Task01: 1 oedema, 2 non-enhancing core, 3 enhancing.
        LabelConvention(name="msd01", prepared={0: BACKGROUND, 1: SNFH, 2: NETC, 3: ET}),
        # BraTS-PEDs 2024: 1 enhancing, 2 non-enhancing core, 3 cystic component (part of the core), 4 oedema.
        LabelConvention(name="brats-ped", prepared={0: BACKGROUND, 1: ET, 2: NETC, 3: NETC, 4: SNFH}),
        LabelConvention(name="brats-met", prepared={0: BACKGROUND, 1: NETC, 2: SNFH, 3: ET, 4: RC}),
        # BraTS-MEN-RT: 1 gross tumour volume, whose parts are not told apart.
        LabelConvention(name="brats-men-rt", prepared={0: BACKGROUND, 1: LESION}),
        # Up to four classes of whatever kind, organs say, in a body: they take the places of the tumour's parts.
        LabelConvention(name="classes", prepared={0: BACKGROUND, 1: NETC, 2: SNFH, 3: ET, 4: RC}),
        LabelConvention(name="binary", prepared={0: BACKGROUND, 1: LESION}),
    )
}


def convention(name: str) -> LabelConvention:
    """Looks a label convention up by its name.

    Raises:
        GliomaGenError: There is none of that name.
    """
    try:
        return CONVENTIONS[name]
    except KeyError:
        raise GliomaGenError(
            f"label_convention '{name}' is not known; choose among {sorted(CONVENTIONS)}"
        ) from None
