"""The published protocol of label-map variation, as it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import GliomaGenError
from .maps import CannotVaryError, LabelMap, Labels, Parameters
from .shapes import box_of, names_of


class PublishedPolicy:
    """The protocol of GliomaGen (Renner 2025, poster): a left-right flip and one scale near 1.

    In this order: (1) with probability 0.5 flip left to right (axis 0 of a RAS+ array); (2) scale the whole mask by
    one factor, uniform in [0.98, 1.02], nearest neighbour, about the centre of the array; (2) is drawn again until
    the head lies inside the image. A mask that lost one of its source's labels is rejected.

    To follow the protocol, make two outputs of each source and let a rejected one be missing, not redrawn: published
    are 2 variants of 1235 masks = 2470, of which 346 were rejected and 2124 used. How many a cohort loses depends on
    its smallest labels: at a scale below 1 a single voxel may be skipped.

    Args:
        flip_probability: Of the left-right flip.
        scale: Lowest and highest scale.
        max_tries: Draws of the scale before the source is given up.

    Raises:
        GliomaGenError: A range that is none.
    """

    needs_donor = False
    keeps_near = True

    def __init__(
        self,
        *,
        flip_probability: float = 0.5,
        scale: tuple[float, float] = (0.98, 1.02),
        max_tries: int = 100,
    ) -> None:
        if not 0 < scale[0] <= scale[1]:
            raise GliomaGenError(f"scale {list(scale)}: give the lowest and the highest factor, above 0")
        self.flip_probability = flip_probability
        self.scale = scale
        self.max_tries = max_tries

    def draw(self, source: LabelMap, donor: LabelMap | None, rng: np.random.Generator) -> Parameters:
        """Draws whether to flip, and a scale at which the head stays inside the image.

        Raises:
            CannotVaryError: No such scale in ``max_tries``.
        """
        del donor
        flip = bool(rng.random() < self.flip_probability)
        for tried in range(1, self.max_tries + 1):
            scale = float(rng.uniform(*self.scale))
            if _stays_inside(source.label, scale):
                return {"flip": flip, "scale": scale, "tries": tried}
        raise CannotVaryError("the head leaves the image at every scale drawn")

    def apply(self, source: LabelMap, donor: LabelMap | None, parameters: Mapping[str, Any]) -> Labels:
        """Flips and scales.

        Raises:
            CannotVaryError: A label of the source was lost: "lost NETC".
        """
        del donor
        label = source.label[::-1] if parameters["flip"] else source.label
        places = [_sources(size, parameters["scale"]) for size in label.shape]
        within = [at.clip(0, size - 1) for at, size in zip(places, label.shape, strict=True)]
        result = label[np.ix_(*within)]
        for axis, (at, size) in enumerate(zip(places, label.shape, strict=True)):
            np.moveaxis(result, axis, 0)[(at < 0) | (at >= size)] = 0
        lost = set(np.unique(source.label).tolist()) - set(np.unique(result).tolist()) - {0}
        if lost:
            raise CannotVaryError(f"lost {names_of(lost)}")
        return result


def _sources(size: int, scale: float) -> NDArray[np.int64]:
    """The source index of each output index along one axis: scaling about the centre is separable."""
    centre = (size - 1) / 2
    return np.rint(centre + (np.arange(size) - centre) / scale).astype(np.int64)


def _stays_inside(label: Labels, scale: float) -> bool:
    """Whether the head, scaled about the centre, ends within the voxel centres of the image."""
    if scale <= 1:
        return True
    for size, side in zip(label.shape, box_of(label > 0), strict=True):
        centre = (size - 1) / 2
        if centre + (side.start - centre) * scale < 0 or centre + (side.stop - 1 - centre) * scale > size - 1:
            return False
    return True
