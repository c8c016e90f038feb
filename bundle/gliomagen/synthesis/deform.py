"""Smooth deformation of head and lesion together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from ..errors import GliomaGenError
from ..labels import HEAD
from .fields import coarse_noise, exponential, jacobian_determinant, rotation
from .maps import CannotVaryError, LabelMap, Labels, Parameters
from .resampling import one_hot_lesion, sample, settle
from .shapes import Box, Field, Mask, box_of

Range = tuple[float, float]
_COARSE_MM = 4.0  # spacing at which the coordinates are worked out


class DeformPolicy:
    """Deforms head and lesion together: a smooth invertible warp, then an affine change.

    The warp is the exponential of a stationary velocity field (Arsigny et al., MICCAI 2006): Gaussian-smoothed noise,
    scaled and squared. The affine change is about the centre of the head. Labels are sampled linearly, each for
    itself, and decided so that each keeps the volume the deformation gives it.

    Args:
        amplitude_mm: Range of the velocity's standard deviation along each axis: the typical shift.
        smoothness_mm: Range of the smoothing's standard deviation: how far apart places move differently.
        rotation_deg: Largest rotation about each axis.
        scale: Range of the scale common to all axes.
        anisotropy: Largest further relative change of the scale along each axis.
        shear: Largest shear.
        flip_probability: Of mirroring left to right.
        local_volume: Range that the local change of volume under the warp must keep; its lower end is above 0, so
            that nothing folds.

    Raises:
        GliomaGenError: A range that is none.
    """

    needs_donor = False
    keeps_near = False

    def __init__(
        self,
        *,
        amplitude_mm: Range = (1.5, 4.0),
        smoothness_mm: Range = (24.0, 42.0),
        rotation_deg: float = 10.0,
        scale: Range = (0.93, 1.07),
        anisotropy: float = 0.06,
        shear: float = 0.04,
        flip_probability: float = 0.5,
        local_volume: Range = (0.3, 3.0),
    ) -> None:
        for name, (low, high) in {
            "amplitude_mm": amplitude_mm,
            "smoothness_mm": smoothness_mm,
            "scale": scale,
            "local_volume": local_volume,
        }.items():
            if not 0 < low <= high and not (name == "amplitude_mm" and 0 <= low <= high):
                raise GliomaGenError(f"{name} {[low, high]}: give the lowest and the highest value, above 0")
        self.amplitude_mm = amplitude_mm
        self.smoothness_mm = smoothness_mm
        self.rotation_deg = rotation_deg
        self.scale = scale
        self.anisotropy = anisotropy
        self.shear = shear
        self.flip_probability = flip_probability
        self.local_volume = local_volume

    def draw(self, source: LabelMap, donor: LabelMap | None, rng: np.random.Generator) -> Parameters:
        """Draws the deformation; does not look at the source."""
        del source, donor
        scale = rng.uniform(*self.scale) * (1 + rng.uniform(-self.anisotropy, self.anisotropy, 3))
        return {
            "amplitude_mm": float(rng.uniform(*self.amplitude_mm)),
            "smoothness_mm": float(rng.uniform(*self.smoothness_mm)),
            "field_seed": int(rng.integers(2**31)),
            "rotation_deg": rng.uniform(-self.rotation_deg, self.rotation_deg, 3).tolist(),
            "scale": scale.tolist(),
            "shear": rng.uniform(-self.shear, self.shear, 3).tolist(),
            "flip": bool(rng.random() < self.flip_probability),
        }

    def apply(self, source: LabelMap, donor: LabelMap | None, parameters: Mapping[str, Any]) -> Labels:
        """Deforms.

        Raises:
            CannotVaryError: The warp folds or changes volumes too much, the head leaves the image, or a label is lost.
        """
        del donor
        label, voxel_mm = source.label, np.asarray(source.voxel_mm)
        displacement, spacing = self.warp(source, parameters)
        if parameters["flip"]:
            label = np.ascontiguousarray(label[::-1])
        matrix = affine_matrix(parameters)
        head_box = box_of(label > 0, (1, 1, 1))
        corners = (
            np.array(np.meshgrid(*[(side.start, side.stop - 1) for side in head_box])).reshape(3, -1).T
            * voxel_mm
        )
        centre = corners.mean(0, dtype=np.float64)
        reached = (corners - centre) @ matrix.T + centre
        room = np.abs(displacement).max() * np.abs(matrix).max() + voxel_mm
        box: Box = tuple(  # type: ignore[assignment]
            slice(max(0, int(low)), min(n, int(high) + 2))
            for low, high, n in zip(
                (reached.min(0) - room) / voxel_mm,
                (reached.max(0) + room) / voxel_mm,
                label.shape,
                strict=True,
            )
        )
        index = _sources(box, voxel_mm, centre, np.linalg.inv(matrix), displacement, spacing)  # (X, Y, Z, 3)

        head_start = torch.tensor([side.start for side in head_box])
        inside = torch.from_numpy((label[head_box] > 0).astype(np.float32))[None]
        head: Mask = (sample(inside, index - head_start, beyond="border")[0] > 0.5).numpy()
        result = np.zeros_like(label)
        result[box] = head
        _refuse_cut_head(label, result)
        if (label > HEAD).any():
            kinds, channels, start = one_hot_lesion(label)
            at = index - torch.from_numpy(start)
            reach = ((at > -1) & (at < torch.tensor(channels.shape[1:]))).all(-1).numpy()
            part = box_of(reach)
            soft: Field = sample(channels, at[part], beyond="border").numpy()
            result[box][part] = settle(soft, head[part], kinds)
        return result

    def warp(self, source: LabelMap, parameters: Mapping[str, Any]) -> tuple[Field, NDArray[np.float64]]:
        """Makes the warp on a coarse grid over the image: displacement in mm, (3, ...), and the grid's spacing in mm.

        It says for each place of the output where it comes from (before the affine change).

        Raises:
            CannotVaryError: It folds, or changes volumes too much somewhere.
        """
        noise, spacing = coarse_noise(
            source.label.shape,
            source.voxel_mm,
            smoothness_mm=parameters["smoothness_mm"],
            seed=parameters["field_seed"],
            channels=3,
        )
        displacement = exponential(noise * np.float32(parameters["amplitude_mm"]), spacing)
        local = jacobian_determinant(displacement, spacing)
        low, high = self.local_volume
        # The output's volumes change by the inverse of what this map from the output does.
        if local.min() < 1 / high or local.max() > 1 / low:
            raise CannotVaryError("the drawn warp changes volumes too much somewhere")
        return displacement, spacing


def affine_matrix(parameters: Mapping[str, Any]) -> NDArray[np.float64]:
    """Returns the (3, 3) affine change, source to output, without the flip."""
    shear = np.eye(3)
    shear[0, 1], shear[0, 2], shear[1, 2] = parameters["shear"]
    result: NDArray[np.float64] = rotation(parameters["rotation_deg"]) @ shear @ np.diag(parameters["scale"])
    return result


def _sources(
    box: Box,
    voxel_mm: NDArray[np.float64],
    centre_mm: NDArray[np.float64],
    back: NDArray[np.floating[Any]],
    displacement_mm: Field,
    spacing_mm: NDArray[np.float64],
) -> torch.Tensor:
    """Where the voxels of a box come from, as voxel indices, (X, Y, Z, 3).

    Worked out on a coarse grid, since the warp is smooth, and interpolated: full coordinates are what costs.
    """
    shape = [side.stop - side.start for side in box]
    counts = [max(2, 1 + int(n * mm / _COARSE_MM)) for n, mm in zip(shape, voxel_mm, strict=True)]
    axes = [
        torch.linspace(side.start * mm, (side.stop - 1) * mm, n)
        for side, mm, n in zip(box, voxel_mm.tolist(), counts, strict=True)
    ]
    centre = torch.from_numpy(centre_mm).float()
    place = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1) - centre
    place = place @ torch.from_numpy(back).float().T + centre
    warp = sample(
        torch.from_numpy(displacement_mm), place / torch.from_numpy(spacing_mm).float(), beyond="border"
    )
    coarse = (place.movedim(-1, 0) + warp) / torch.from_numpy(voxel_mm).float().reshape(3, 1, 1, 1)
    fine = functional.interpolate(coarse[None], size=shape, mode="trilinear", align_corners=True)
    return fine[0].movedim(0, -1)


def _refuse_cut_head(before: Labels, after: Labels) -> None:
    """Refuses a head that reaches an end of the image which it did not reach before."""
    for axis in range(3):
        for end in (0, -1):
            if np.take(after, end, axis).any() and not np.take(before, end, axis).any():
                raise CannotVaryError("the head leaves the image")
