"""Edits that move a border: a sub-region grows or shrinks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from ..labels import ET, HEAD, LESION, NETC, RC, SNFH
from .fields import smooth_noise
from .maps import CannotVaryError, LabelMap, Labels, Parameters
from .resampling import sample, settle, voxel_indices
from .shapes import (
    Field,
    Mask,
    box_within_mm,
    components,
    depth_mm,
    names_of,
    nearest_label,
    signed_distance_mm,
    specks,
)

Range = tuple[float, float]
OUTER = (SNFH, LESION)
"""Sub-regions whose outer border is moved into or out of the head; those of INNER push what lies around."""
INNER = (NETC, RC)
_SPECK_MM3 = 30.0
_MAIN_PART = 0.2  # of the volume of a region's largest part
_NORMAL_MM = 2.0  # smoothing of the distance whose gradient says where outward is


class Move:
    """Moves the border of one sub-region outward (``grow``) or inward (``shrink``).

    The new border is a level set of the distance to the old one, at a drawn distance modulated by smooth noise, so
    that it is no offset copy. What happens around depends on the region:

    - oedema (SNFH), or a lesion of unknown kind: takes from the head, or gives back to it; it keeps off the head's
      border where the lesion did before.
    - enhancing tumour: takes oedema and head, with a halo of oedema where it grew beyond; gives back to what is
      around the core.
    - necrosis (NETC) and cavity (RC): push outward, or draw inward, what lies around, so that a rim of enhancement
      stays a rim; the push fades with the distance. Necrosis does not grow into a cavity.

    Args:
        outward: Grow, or shrink.
        mm: Range of the distance.
        shares: How often each sub-region is taken, where the source has it.
        roughness: Standard deviation of the noise, relative to the distance.
        smoothness_mm: Range of its smoothness.
        margin_mm: How near oedema comes to the head's border, where it did not before.
        least_ml: A smaller sub-region is not edited.
    """

    def __init__(
        self,
        *,
        outward: bool,
        mm: Range,
        shares: Mapping[str, float] | None = None,
        roughness: float = 0.5,
        smoothness_mm: Range = (5.0, 10.0),
        margin_mm: float = 2.0,
        least_ml: float = 0.1,
    ) -> None:
        self.outward = outward
        self.mm = mm
        self.shares = dict(shares or {"SNFH": 0.35, "NETC": 0.25, "ET": 0.2, "RC": 0.2, "lesion": 1.0})
        self.roughness = roughness
        self.smoothness_mm = smoothness_mm
        self.margin_mm = margin_mm
        self.least_ml = least_ml

    def draw(self, current: LabelMap, rng: np.random.Generator) -> Parameters:
        """Draws a sub-region and a distance.

        Raises:
            CannotVaryError: No sub-region is large enough.
        """
        least = max(1000 * self.least_ml / float(np.prod(current.voxel_mm)), 4)
        counts = np.bincount(current.label.ravel(), minlength=LESION + 1)
        there = [
            kind
            for kind in (*OUTER, ET, *INNER)
            if counts[kind] >= least and self.shares.get(names_of([kind]))
        ]
        if not there:
            raise CannotVaryError("no sub-region is large enough to grow or shrink")
        weights = np.array([self.shares[names_of([kind])] for kind in there])
        kind = int(rng.choice(there, p=weights / weights.sum()))
        high = self.mm[1]
        box = box_within_mm(current.label == kind, 0, current.voxel_mm)
        thickness = -float(signed_distance_mm(current.label[box] == kind, current.voxel_mm).min())
        if not self.outward:  # or nothing of it would be left
            high = min(high, 0.6 * thickness)
        elif kind not in OUTER:  # or a thin rim would become a ball
            high = min(high, 1.5 * thickness)
        mm = float(rng.uniform(min(self.mm[0], high), high))
        return {
            "label": kind,
            "mm": mm if self.outward else -mm,
            "roughness": self.roughness,
            "smoothness_mm": float(rng.uniform(*self.smoothness_mm)),
            "margin_mm": self.margin_mm,
            "field_seed": int(rng.integers(2**31)),
        }

    def apply(self, current: LabelMap, parameters: Mapping[str, Any]) -> Labels:
        """Moves the border.

        Raises:
            CannotVaryError: The sub-region is not there, or vanishes.
        """
        kind, mm = parameters["label"], parameters["mm"]
        box = box_within_mm(current.label > HEAD, 3 * abs(mm) + 6, current.voxel_mm)
        label = current.label[box]
        if not (label == kind).any():
            raise CannotVaryError(f"there is no {names_of([kind])} to edit")
        noise = smooth_noise(
            label.shape,
            current.voxel_mm,
            smoothness_mm=parameters["smoothness_mm"],
            seed=parameters["field_seed"],
        )[0]
        # (X, Y, Z) mm; within a factor, so that a border neither turns back nor runs away
        reach: Field = mm * np.clip(1 + parameters["roughness"] * noise, 0, 2.2)
        if kind in OUTER:
            new = move_outer(label, reach, current.voxel_mm, kind=kind, margin_mm=parameters["margin_mm"])
        elif kind == ET:
            new = _move_enhancement(label, reach, current.voxel_mm, margin_mm=parameters["margin_mm"])
        else:
            new = push(label, reach, current.voxel_mm, kind=kind)
        if not (new == kind).any():
            raise CannotVaryError(f"lost {names_of([kind])}")
        result = current.label.copy()
        result[box] = new
        return result


def room_for_oedema(label: Labels, voxel_mm: tuple[float, float, float], margin_mm: float) -> Mask:
    """Returns where oedema may come: in the head, off its border except beside what reached it before."""
    margin_mm = max(margin_mm, max(voxel_mm)) if margin_mm > 0 else 0.0
    shallow = depth_mm(label > 0, voxel_mm) < margin_mm
    beside = signed_distance_mm((label > HEAD) & shallow, voxel_mm) < margin_mm
    room: Mask = (label > 0) & (~shallow | beside)
    return room


def move_outer(
    label: Labels, reach: Field, voxel_mm: tuple[float, float, float], *, kind: int = SNFH, margin_mm: float
) -> Labels:
    """Moves the lesion's outer border where it is of ``kind``: outward into the head, or inward, by ``reach`` mm."""
    lesion = label > HEAD
    result = label.copy()
    if (reach > 0).any():
        # From that kind alone, so that a core that lies bare stays so.
        grown = signed_distance_mm(label == kind, voxel_mm) < reach
        result[grown & (label == HEAD) & room_for_oedema(label, voxel_mm, margin_mm)] = kind
        return result
    # Outside the head nothing lies that it could give way to: the border there stays.
    from_head = signed_distance_mm(label == HEAD, voxel_mm)
    result[lesion & (label == kind) & (from_head < -reach)] = HEAD
    dust = specks(result == kind, _SPECK_MM3, voxel_mm) & ~specks(label == kind, _SPECK_MM3, voxel_mm)
    result[dust] = HEAD
    return result


def _move_enhancement(
    label: Labels, reach: Field, voxel_mm: tuple[float, float, float], *, margin_mm: float
) -> Labels:
    result = label.copy()
    if (reach > 0).any():
        room = room_for_oedema(label, voxel_mm, margin_mm)
        new = (signed_distance_mm(label == ET, voxel_mm) < reach) & np.isin(label, (HEAD, SNFH)) & room
        result[new] = ET
        if (label == SNFH).any():
            halo = signed_distance_mm(new & (label == HEAD), voxel_mm) < max(margin_mm, max(voxel_mm))
            result[halo & (result == HEAD) & room] = SNFH
        return result
    core = np.isin(label, (NETC, ET, RC))
    given = (label == ET) & (signed_distance_mm(core, voxel_mm) > reach)
    result[given] = nearest_label(label, ~core & (label > 0), voxel_mm)[given]
    dust = specks(result == ET, _SPECK_MM3, voxel_mm) & ~specks(label == ET, _SPECK_MM3, voxel_mm)
    result[dust] = nearest_label(result, (result > 0) & (result != ET), voxel_mm)[dust]
    return result


def push(label: Labels, reach: Field, voxel_mm: tuple[float, float, float], *, kind: int) -> Labels:
    """Grows or shrinks a region by ``reach`` mm and takes along what lies around it.

    Only its larger parts move: scattered specks would swell into one another. Each voxel takes the label that lay
    ``reach`` nearer to the region (or farther from it), along the normal of its border; less and less so with the
    distance, down to nothing.
    """
    head = label > 0
    parts, counts = components(label == kind)
    counts[0] = 0
    region: Mask = (counts >= _MAIN_PART * counts.max())[parts] & (label == kind)
    distance = signed_distance_mm(region, voxel_mm)
    smooth = ndimage.gaussian_filter(distance, [_NORMAL_MM / length for length in voxel_mm])
    normal = np.stack([np.gradient(smooth, length, axis=axis) for axis, length in enumerate(voxel_mm)])
    normal /= np.maximum(np.linalg.norm(normal, axis=0), 1e-3)
    size = np.abs(reach)
    # Over three times the reach: slower would fold.
    fade = np.clip(1 - (np.abs(distance) - size) / (2 * size + 2), 0, 1)
    whole = tuple(slice(0, n) for n in label.shape)
    shift = np.moveaxis(normal * (reach * fade), 0, -1) / np.asarray(voxel_mm)
    index = voxel_indices(whole) - torch.from_numpy(shift.astype(np.float32))  # type: ignore[arg-type]
    others = [int(k) for k in np.unique(label[~region]) if k > HEAD]
    around = label
    if others:
        # What is inside is no label of the surroundings: where it moves away, the nearest of them comes in.
        outside = nearest_label(label, head & ~region, voxel_mm)
        shares = torch.from_numpy(np.stack([outside == k for k in others]).astype(np.float32))
        around = settle(sample(shares, index, beyond="border").numpy(), head, others)
    else:
        around = np.where(region, np.uint8(HEAD), label)
    new_region = (distance < reach) & head
    if kind == NETC:
        new_region &= label != RC
    result: Labels = np.where(new_region, np.uint8(kind), around)
    # Far away nothing moves; and what was there is not to be resampled.
    still = (fade == 0) & ~new_region & ~region
    result[still] = label[still]
    if (reach > 0).any():  # what grows loses none of its own, specks included
        result[label == kind] = kind
    return result
