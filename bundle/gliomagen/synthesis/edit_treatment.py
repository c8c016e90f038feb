"""Edits that treatment leaves: a resection cavity with its rim, and response to therapy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import ndimage

from ..labels import ET, HEAD, NETC, RC, SNFH
from .edit_borders import move_outer, room_for_oedema
from .fields import smooth_noise
from .maps import CannotVaryError, LabelMap, Labels, Parameters
from .shapes import (
    CORE,
    Field,
    Mask,
    box_within_mm,
    components,
    largest_part,
    nearest_label,
    signed_distance_mm,
    specks,
)

Range = tuple[float, float]
_SPECK_MM3 = 30.0
_SMOOTH_MM = 2.0  # of a cavity's wall


class Cavity:
    """Opens a resection cavity where the largest tumour core is, or enlarges the one that is there.

    The surgeon takes out a drawn share of the core, from one side (what is left of it stays as residual tumour), and
    a little around it. On the wall of the cavity enhancement is left or grows again: a rim of varying thickness on a
    drawn share of the wall. The rest of the wall is oedema.

    Args:
        extent: Range of the share of the core that is taken out; at 1 or more all of it.
        beyond_mm: Range of how far the cavity reaches beyond the core taken out.
        rim_mm: Range of the rim's mean thickness.
        rim_share: Range of the share of the wall that has a rim.
        halo_mm: Range of the thickness of oedema around the cavity, where the source has none.
        margin_mm: How near that oedema comes to the head's border.
        least_ml: A smaller cavity is none; where the core is smaller, the inner part of the oedema is taken out.
    """

    def __init__(
        self,
        *,
        extent: Range = (0.6, 1.2),
        beyond_mm: Range = (-0.5, 3.0),
        rim_mm: Range = (1.5, 3.5),
        rim_share: Range = (0.2, 1.0),
        halo_mm: Range = (1.0, 5.0),
        margin_mm: float = 2.0,
        least_ml: float = 0.5,
    ) -> None:
        self.extent = extent
        self.beyond_mm = beyond_mm
        self.rim_mm = rim_mm
        self.rim_share = rim_share
        self.halo_mm = halo_mm
        self.margin_mm = margin_mm
        self.least_ml = least_ml

    def draw(self, current: LabelMap, rng: np.random.Generator) -> Parameters:
        """Draws what is taken out, and the rim.

        Raises:
            CannotVaryError: The source has none of the four tumour labels.
        """
        if not np.isin(current.label, (*CORE, SNFH)).any():
            raise CannotVaryError("there is no tumour core to take out")
        direction = rng.standard_normal(3)
        return {
            "extent": min(float(rng.uniform(*self.extent)), 1.0),
            "direction": (direction / np.linalg.norm(direction)).tolist(),
            "beyond_mm": float(rng.uniform(*self.beyond_mm)),
            "rim_mm": float(rng.uniform(*self.rim_mm)),
            "rim_share": float(rng.uniform(*self.rim_share)),
            "halo_mm": float(rng.uniform(*self.halo_mm)),
            "margin_mm": self.margin_mm,
            "least_ml": self.least_ml,
            "field_seed": int(rng.integers(2**31)),
        }

    def apply(self, current: LabelMap, parameters: Mapping[str, Any]) -> Labels:
        """Takes out, and leaves a rim.

        Raises:
            CannotVaryError: The cavity would be too small.
        """
        voxel_mm = current.voxel_mm
        room = max(parameters["beyond_mm"], 0) + 2 * (parameters["rim_mm"] + parameters["halo_mm"]) + 8
        box = box_within_mm(current.label > HEAD, room, voxel_mm)
        label = current.label[box]
        noise = smooth_noise(
            label.shape, voxel_mm, smoothness_mm=6.0, seed=parameters["field_seed"], channels=3
        )  # (3, X, Y, Z)
        least = 1000 * parameters["least_ml"] / float(np.prod(voxel_mm))

        target = _target(label, voxel_mm, least)
        residual = _residual(target & (label != RC), parameters, noise[0], voxel_mm)
        cavity = self._cavity(label, target & ~residual, residual, parameters, noise[1], voxel_mm)
        if cavity.sum() < max(least, 4) or cavity.sum() <= (label == RC).sum():
            raise CannotVaryError("the cavity would be too small")

        distance = signed_distance_mm(cavity, voxel_mm)
        new = label.copy()
        left_over = target & ~residual & ~cavity & np.isin(label, (ET, NETC))
        scraps = np.isin(label, (ET, NETC)) & ~residual & (distance < parameters["rim_mm"] + 2)
        new[left_over | scraps] = SNFH
        # At least one voxel thick, whatever the voxels.
        one_voxel = max(voxel_mm)
        thickness = np.maximum(parameters["rim_mm"] * np.clip(1 + 0.5 * noise[2], 0.4, 2), one_voxel)
        wall = (distance > 0) & (distance < thickness) & (label > 0)
        rim = wall & _highest_share(noise[0], wall, parameters["rim_share"])
        halo = distance < thickness + np.maximum(parameters["halo_mm"] * (1 + 0.5 * noise[1]), 0)
        new[halo & (new == HEAD) & room_for_oedema(label, voxel_mm, parameters["margin_mm"])] = SNFH
        new[wall & (new == HEAD) & ~rim] = SNFH
        new[rim & (new != RC)] = ET
        new[cavity] = RC
        for kind in (ET, NETC):
            dust = specks(new == kind, _SPECK_MM3, voxel_mm) & (distance < room)
            new[dust] = SNFH
        result = current.label.copy()
        result[box] = new
        return result

    def _cavity(
        self,
        label: Labels,
        taken: Mask,
        residual: Mask,
        parameters: Mapping[str, Any],
        noise: Field,
        voxel_mm: tuple[float, float, float],
    ) -> Mask:
        """What is taken out, with a smooth wall, a little around it, and any cavity that was there."""
        distance = ndimage.gaussian_filter(
            signed_distance_mm(taken | (label == RC) & _touching(taken, label == RC), voxel_mm),
            [_SMOOTH_MM / length for length in voxel_mm],
        )
        cavity = (distance < parameters["beyond_mm"] + 0.6 * noise) & (label > 0) & ~residual
        if not cavity.any():
            raise CannotVaryError("the cavity would be too small")
        filled: Mask = ndimage.binary_fill_holes(
            largest_part(cavity | (label == RC) & _touching(cavity, label == RC))
        )
        return filled & ~residual & (label > 0)


class Response:
    """Removes enhancement, as treatment does: it becomes necrosis or oedema, or is gone; oedema recedes with it.

    Beside a cavity enhancement becomes oedema, since a cavity's wall is no necrosis.

    Args:
        share: Range of the share of the enhancement that is removed; at 1 or more all of it.
        becomes: How often it becomes what: ``necrosis``, ``oedema`` or ``gone`` (what is nearest around).
        oedema_mm: Range of how far oedema recedes.
        smoothness_mm: Of the pattern of partial response.
        least_ml: Less enhancement is not worth an edit.
    """

    def __init__(
        self,
        *,
        share: Range = (0.6, 1.4),
        becomes: Mapping[str, float] | None = None,
        oedema_mm: Range = (0.0, 4.0),
        smoothness_mm: float = 8.0,
        least_ml: float = 0.1,
    ) -> None:
        self.share = share
        self.becomes = dict(becomes or {"necrosis": 0.35, "oedema": 0.3, "gone": 0.35})
        self.oedema_mm = oedema_mm
        self.smoothness_mm = smoothness_mm
        self.least_ml = least_ml

    def draw(self, current: LabelMap, rng: np.random.Generator) -> Parameters:
        """Draws how much responds, and how.

        Raises:
            CannotVaryError: There is no enhancement.
        """
        if (current.label == ET).sum() < max(1000 * self.least_ml / float(np.prod(current.voxel_mm)), 3):
            raise CannotVaryError("there is no enhancement that could respond")
        kinds = sorted(self.becomes)
        weights = np.array([self.becomes[kind] for kind in kinds])
        return {
            "share": min(float(rng.uniform(*self.share)), 1.0),
            "becomes": str(rng.choice(kinds, p=weights / weights.sum())),
            "oedema_mm": float(rng.uniform(*self.oedema_mm)),
            "smoothness_mm": self.smoothness_mm,
            "field_seed": int(rng.integers(2**31)),
        }

    def apply(self, current: LabelMap, parameters: Mapping[str, Any]) -> Labels:
        """Removes enhancement."""
        voxel_mm = current.voxel_mm
        box = box_within_mm(current.label > HEAD, 6, voxel_mm)
        label = current.label[box]
        noise = smooth_noise(
            label.shape,
            voxel_mm,
            smoothness_mm=parameters["smoothness_mm"],
            seed=parameters["field_seed"],
            channels=2,
        )
        enhancing = label == ET
        removed = enhancing & _highest_share(noise[0], enhancing, parameters["share"])
        removed |= specks(enhancing & ~removed, 2 * _SPECK_MM3, voxel_mm)
        new = label.copy()
        # Flecks and shells of necrosis in and around the enhancement go with it: its outline would remain as dots.
        flecks = _thin(label == NETC, voxel_mm) & (signed_distance_mm(removed, voxel_mm) < 3.0)
        new[flecks] = ET
        removed |= flecks
        around = (new > 0) & ~enhancing & ~flecks
        if parameters["becomes"] == "necrosis":
            new[removed] = NETC
            new[removed & (signed_distance_mm(label == RC, voxel_mm) < 4.0)] = SNFH
            new[specks(new == NETC, _SPECK_MM3, voxel_mm) & removed] = SNFH
        elif parameters["becomes"] == "oedema":
            new[removed] = SNFH
        else:
            new[removed] = nearest_label(label, around, voxel_mm)[removed]
        if parameters["oedema_mm"] > 0:
            reach: Field = -parameters["oedema_mm"] * np.clip(1 + 0.4 * noise[1], 0, 2.2)
            new = move_outer(new, reach, voxel_mm, margin_mm=0.0)
        if not (new > HEAD).any():
            raise CannotVaryError("nothing of the lesion is left")
        result = current.label.copy()
        result[box] = new
        return result


def _thin(mask: Mask, voxel_mm: tuple[float, float, float]) -> Mask:
    """The voxels of a mask that belong to no part of it that is some millimetres thick."""
    solid = signed_distance_mm(mask, voxel_mm) < -1.0
    near = signed_distance_mm(solid, voxel_mm) < 2.0
    result: Mask = mask & (~near | specks(mask, 4 * _SPECK_MM3, voxel_mm))
    return result


def _target(label: Labels, voxel_mm: tuple[float, float, float], least: float) -> Mask:
    """The part of the core that is operated on; without a core of some size, the inner part of the oedema."""
    parts, counts = components(np.isin(label, CORE))
    if len(counts) > 1 and counts[1:].max() >= least:
        target: Mask = parts == 1 + counts[1:].argmax()
        return target
    lesion = largest_part(label > HEAD)
    depth = -signed_distance_mm(lesion, voxel_mm)
    return largest_part(lesion & (depth > 0.4 * depth.max()))


def _residual(
    core: Mask, parameters: Mapping[str, Any], noise: Field, voxel_mm: tuple[float, float, float]
) -> Mask:
    """The part of the core that is left: on one side, behind a wavy border."""
    if parameters["extent"] >= 1 or not core.any():
        return np.zeros_like(core)
    along = sum(
        (np.arange(n, dtype=np.float32) * length * part).reshape([-1 if k == axis else 1 for k in range(3)])
        for axis, (n, length, part) in enumerate(
            zip(core.shape, voxel_mm, parameters["direction"], strict=True)
        )
    )
    return largest_part(core & _highest_share(along + 2.0 * noise, core, 1 - parameters["extent"]))


def _highest_share(values: Field, where: Mask, share: float) -> Mask:
    """The voxels whose values are among the highest share of those of a mask."""
    if share >= 1 or not where.any():
        return np.ones_like(where)
    result: Mask = values > np.quantile(values[where], 1 - share)
    return result


def _touching(mask: Mask, others: Mask) -> Mask:
    """The connected parts of ``others`` that touch or overlap a mask."""
    parts, counts = components(others)
    touched = np.zeros(len(counts), bool)
    touched[np.unique(parts[ndimage.binary_dilation(mask, np.ones((3, 3, 3)))])] = True
    touched[0] = False
    result: Mask = touched[parts]
    return result
