"""Label maps of a grown or shrunken tumour: fronts that keep to the anatomy, at the level that has the wanted burden."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import skfmm
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter

from ..errors import GliomaGenError
from ..labels import ET, HEAD, LESION, NETC, RC, SNFH
from ..randomness import numpy_generator
from .tissue import Float

Labels = NDArray[np.uint8]
BURDEN = (NETC, SNFH, ET, LESION)
"""Labels that are tumour; a cavity is none."""
_NESTED = ((*BURDEN,), (NETC, ET), (NETC,))
"""Each within the one before."""
_FAR = 1e6


def burden_mm3(labels: Labels, voxel_mm: Sequence[float]) -> float:
    """Returns the volume of tumour in mm³."""
    return float(np.isin(labels, BURDEN).sum() * np.prod(voxel_mm))


class Spread:
    """Fronts of one tumour.

    Outside the tumour a voxel has the time at which a front that starts at its edge arrives (fast marching: Sethian 1996), inside it
    has minus its depth. The tumour of any burden is what lies below one level: it grows where fronts arrive first and shrinks from
    its edge. Its parts, each within the one before, keep their share of the burden and follow in the same way.

    Args:
        labels: (X, Y, Z) prepared, the last ones known.
        speed: (X, Y, Z) of a front, see :func:`.front_speed`; 0 where none goes.
        voxel_mm: Voxel size.

    Raises:
        GliomaGenError: There is no tumour.
    """

    def __init__(self, *, labels: Labels, speed: Float, voxel_mm: Sequence[float]) -> None:
        self.labels, self.voxel_mm = labels, tuple(voxel_mm)
        self.voxel_mm3 = float(np.prod(self.voxel_mm))
        self.burden = burden_mm3(labels, voxel_mm)
        if not self.burden:
            raise GliomaGenError("no tumour in the last label map: where it will come back cannot be told")
        self.speed = speed
        self.parts = [np.isin(labels, some) for some in _NESTED]

    def arrival(self, part: int, speed: Float, most_mm3: float) -> Float:
        """Returns times of arrival outside a part and minus depths inside it, (X, Y, Z), in mm of white matter.

        Args:
            part: Its number, the whole tumour first.
            speed: (X, Y, Z)
            most_mm3: Times are wanted until so much is reached.
        """
        inside = self.parts[part]
        depth = distance_transform_edt(inside, sampling=self.voxel_mm)
        result = np.full(inside.shape, _FAR, np.float32)
        result[inside] = -depth[inside]
        free = (speed > 0) | inside
        # What a front of white matter's speed would need for all the growth and more bounds what has to be looked at.
        reach = 6 * (3 * max(most_mm3, self.voxel_mm3) / (4 * np.pi)) ** (1 / 3) + 10
        box = tuple(
            slice(max(0, int(where.min() - reach / mm)), int(where.max() + reach / mm) + 2)
            for where, mm in zip(np.nonzero(inside), self.voxel_mm, strict=True)
        )
        edge = np.where(inside[box], -1.0, 1.0)
        signed = np.ma.MaskedArray(edge, ~free[box])
        times = skfmm.travel_time(
            signed, np.where(inside[box], 1.0, np.maximum(speed[box], 1e-3)), dx=self.voxel_mm
        )
        outside = free[box] & ~inside[box] & ~np.ma.getmaskarray(times)
        result[box][outside] = np.ma.getdata(times)[outside]
        return result

    def grown(self, burden: float, *, speed: Float | None = None, outline: Float | float = 0.0) -> Labels:
        """Returns the label map of a burden, in which all else stays as it is.

        Args:
            burden: mm³; what does not fit into the head is left out.
            speed: Another one than the tumour's own.
            outline: (X, Y, Z) mm by which the last outline may be off, outwards negative.
        """
        share = burden / self.burden
        speed = self.speed if speed is None else speed
        whole = self._level(0, burden, speed, self.labels != 0, outline)
        result = self.labels.copy()
        result[np.isin(result, BURDEN)] = HEAD
        outer = SNFH if not (self.labels == LESION).any() else LESION
        within = whole
        for part, label in enumerate((outer, ET, NETC)):
            volume = self.parts[part].sum() * self.voxel_mm3 * share
            if part:
                within = self._level(part, volume, speed, within, outline)
            result[within] = label
        if not (self.labels == outer).any() and (self.labels == ET).any():
            result[result == outer] = ET  # nothing lies around this tumour
        result[self.labels == RC] = RC
        return result

    def _level(
        self, part: int, volume: float, speed: Float, allowed: NDArray[np.bool_], outline: Float | float
    ) -> NDArray[np.bool_]:
        """Returns the voxels of the first so many mm³ that are reached, none of them in a cavity."""
        count = round(volume / self.voxel_mm3)
        chosen = np.zeros(self.labels.shape, bool)
        if not count or not self.parts[part].any():
            return chosen
        times = self.arrival(part, speed, volume)
        times = np.where(allowed & (self.labels != RC) & (times < _FAR), times + outline, _FAR)
        flat = times.ravel()
        order = np.argsort(flat, kind="stable")[:count]
        chosen.ravel()[order[flat[order] < _FAR]] = True
        return chosen


def smooth_noise(
    shape: Sequence[int], voxel_mm: Sequence[float], *, length_mm: float, seed: int, key: object
) -> Float:
    """Returns smooth noise of unit variance, (X, Y, Z).

    Args:
        shape: Voxels.
        voxel_mm: Voxel size.
        length_mm: Over which it changes.
        seed: Of the draw.
        key: What it is for.
    """
    white = numpy_generator(seed, "front", key).standard_normal(tuple(shape)).astype(np.float32)
    smooth = gaussian_filter(white, [length_mm / mm for mm in voxel_mm], mode="wrap")
    return np.asarray(smooth / max(float(smooth.std()), 1e-6), np.float32)
