"""The label painter: the baseline that knows nothing but each label's grey. A generator has to beat it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import GliomaGenError
from ..labels import BACKGROUND, LABEL_NAMES
from ..randomness import numpy_generator

NUM_LABELS = len(LABEL_NAMES)


class LabelPainter:
    """Paints every label with its mean grey in the cohort, its scatter as noise, softly joined.

    Args:
        sigma_voxel: Standard deviation of the smoothing Gaussian in voxels; 0 leaves edges hard and noise white.
            Smoothing averages within the head only, so the outer edge keeps its brightness; it also lowers the
            noise.

    Attributes:
        mean: Mean grey, (labels, C); NaN for labels that did not occur.
        deviation: Standard deviation of the grey, (labels, C); NaN likewise.
    """

    def __init__(self, *, sigma_voxel: float = 0.7) -> None:
        self.sigma_voxel = sigma_voxel
        self.mean: NDArray[np.float64] | None = None
        self.deviation: NDArray[np.float64] | None = None

    def fit(self, cases: Iterable[tuple[NDArray[Any], NDArray[Any]]]) -> LabelPainter:
        """Learns the greys, one case in memory at a time.

        Args:
            cases: Pairs of contrasts (C, X, Y, Z) or (C, X, Y) in [0, 1] and prepared labels (X, Y, Z) or (X, Y).

        Returns:
            Itself.

        Raises:
            GliomaGenError: There are no cases.
            ValueError: An image and its label differ in shape, or cases in their number of contrasts.
        """
        count = np.zeros((NUM_LABELS, 1))
        total: NDArray[np.float64] | None = None
        squares: NDArray[np.float64] | None = None
        for image, label in cases:
            if image.shape[1:] != label.shape:
                raise ValueError(f"image {image.shape} and label {label.shape} differ in shape")
            at = label.astype(np.intp).ravel()
            greys = image.reshape(len(image), -1).astype(np.float64)  # (C, X * Y * Z)
            count += np.bincount(at, minlength=NUM_LABELS)[:, None]
            sums = _per_label(at, greys)
            more = _per_label(at, greys**2)
            total = sums if total is None else total + sums
            squares = more if squares is None else squares + more
        if total is None or squares is None:
            raise GliomaGenError("the label painter got no cases to learn from; give it a prepared cohort")
        with np.errstate(invalid="ignore"):  # 0 / 0: labels that do not occur become NaN
            self.mean = total / count
            self.deviation = np.sqrt(np.maximum(squares / count - self.mean**2, 0.0))
        return self

    def paint(
        self, label: NDArray[Any], *, seed: int, case: str = "", noise: bool = True
    ) -> NDArray[np.float32]:
        """Paints a label map.

        Args:
            label: Prepared labels, (X, Y, Z) or (X, Y).
            seed: With ``case`` it decides the noise.
            case: The case's name.
            noise: Add the scatter; False paints means only.

        Returns:
            Contrasts in [0, 1], (C, X, Y, Z) or (C, X, Y); background exactly 0.

        Raises:
            GliomaGenError: A label did not occur in the cohort it learned from.
            ValueError: It has not learned yet.
        """
        if self.mean is None or self.deviation is None:
            raise ValueError("fit the painter before painting")
        at = label.astype(np.intp)
        head = at != BACKGROUND
        unseen = [number for number in np.unique(at[head]).tolist() if np.isnan(self.mean[number]).any()]
        if unseen:
            names = ", ".join(LABEL_NAMES[number] for number in unseen)
            raise GliomaGenError(f"the label painter has not seen {names}; fit it on a cohort that has them")
        generator = numpy_generator(seed, case)
        image = np.zeros((self.mean.shape[1], *label.shape), np.float32)
        weight = np.maximum(self._smooth(head.astype(np.float32)), 1e-6)
        for channel in range(len(image)):
            grey = np.where(head, self.mean[at, channel], 0.0)
            if noise:
                scatter = self.deviation[at, channel] * generator.standard_normal(label.shape)
                grey = np.where(head, grey + scatter, 0.0)
            image[channel] = np.where(head, self._smooth(grey) / weight, 0.0)
        return image.clip(0.0, 1.0)

    def _smooth(self, field: NDArray[Any]) -> NDArray[Any]:
        if self.sigma_voxel == 0:
            return field
        return np.asarray(ndimage.gaussian_filter(field, self.sigma_voxel, mode="constant"))


def _per_label(at: NDArray[np.intp], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums values (C, N) over the voxels of each label at (N,) -> (labels, C)."""
    return np.stack([np.bincount(at, channel, NUM_LABELS).astype(np.float64) for channel in values], axis=1)
