"""The lesion of another patient in this head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import GliomaGenError
from ..labels import HEAD, LESION
from .fields import rotation
from .maps import CannotVaryError, LabelMap, Labels, Parameters
from .resampling import one_hot_lesion, sample, settle, voxel_indices
from .shapes import CORE, Box, CoarseHead, Field, Mask, depth_mm, surface_of

Range = tuple[float, float]
Points = NDArray[np.float64]  # (N, 3) mm
_POINTS = 800  # of a lesion, by which a place is judged
_STRICTER = 0.8  # the points are a sample on a coarse grid: leave room for what the voxels will say


class TransplantPolicy:
    """Takes the whole lesion of a donor, turns and scales it, and places it where it fits in this head.

    Places are tried near the donor's own (relative to the head, mirrored with the lesion) and all over the head. One
    fits if the lesion does not leave the head but for a small share that is clipped, little of its surface meets the
    head's border, and it does not cross the midline more than it did in the donor: gliomas pass from one hemisphere
    to the other along few ways, which a label map does not show. All lengths are in mm, so donor and source may have
    different voxels.

    Args:
        rotation_deg: Largest rotation about each axis.
        scale: Range of the scale of lengths.
        mirror_probability: Of mirroring left to right.
        margin_mm: A lesion surface nearer to the head's border than this, or within a voxel of it, meets it.
        contact: Range of the largest share of the lesion's surface that may meet the head's border; drawn per
            output. Lesions that touch the brain's surface are common: where the donor's does, the share is at least
            the donor's (up to the end of the range), and among the places that fit the one is taken at which the
            same part of it touches.
        clipped: Largest share of the lesion's volume that may be cut off at the head's border.
        keep_old_probability: Of keeping the source's own lesion. Where both overlap, tumour core and cavity come
            before oedema, and the new lesion before the old one.
        core_overlap: Largest share of the new core that may lie in a kept old core.
        home_share: Share of the places tried near the donor's own; the others are all over the head.
        home_sd_mm: How near.
        lowest_place: No lesion's centre lies below this share of the head's height: brain stem and cerebellum.
        crossing: Share of a lesion that may lie beyond the midline, where that of the donor was smaller.
        max_tries: Places tried for an output.

    Raises:
        GliomaGenError: A range or share that is none.
    """

    needs_donor = True
    keeps_near = False

    def __init__(
        self,
        *,
        rotation_deg: float = 30.0,
        scale: Range = (0.75, 1.25),
        mirror_probability: float = 0.5,
        margin_mm: float = 2.0,
        contact: Range = (0.0, 0.2),
        clipped: float = 0.03,
        keep_old_probability: float = 0.15,
        core_overlap: float = 0.05,
        home_share: float = 0.6,
        home_sd_mm: float = 15.0,
        lowest_place: float = 0.3,
        crossing: float = 0.05,
        max_tries: int = 400,
    ) -> None:
        if not 0 < scale[0] <= scale[1]:
            raise GliomaGenError(f"scale {list(scale)}: give the lowest and the highest factor, above 0")
        if not (0 <= contact[0] <= contact[1] <= 1 and 0 <= clipped < 1):
            raise GliomaGenError(f"contact {list(contact)}, clipped {clipped:g}: give shares from 0 to 1")
        self.rotation_deg = rotation_deg
        self.scale = scale
        self.mirror_probability = mirror_probability
        self.margin_mm = margin_mm
        self.contact = contact
        self.clipped = clipped
        self.keep_old_probability = keep_old_probability
        self.core_overlap = core_overlap
        self.home_share = home_share
        self.home_sd_mm = home_sd_mm
        self.lowest_place = lowest_place
        self.crossing = crossing
        self.max_tries = max_tries

    def draw(self, source: LabelMap, donor: LabelMap | None, rng: np.random.Generator) -> Parameters:
        """Draws rotation, scale, mirroring, whether the old lesion stays, and a place where the lesion fits.

        Raises:
            CannotVaryError: The donor has no lesion, or it fits nowhere.
        """
        donor = _checked(donor)
        lesion, surface, centre_mm = _points(donor)
        parameters: Parameters = {
            "rotation_deg": rng.uniform(-self.rotation_deg, self.rotation_deg, 3).tolist(),
            "scale": float(np.exp(rng.uniform(*np.log(self.scale)))),
            "mirror": bool(rng.random() < self.mirror_probability),
            "keep_old": bool(rng.random() < self.keep_old_probability),
            "contact": float(rng.uniform(*self.contact)),
        }
        forward = _matrix(parameters)
        head, home = CoarseHead(source.label, source.voxel_mm), CoarseHead(donor.label, donor.voxel_mm)
        places = self._places(head, home, centre_mm, parameters["mirror"], rng)  # (P, 3)

        # Where the donor's lesion met the surface of the brain, it shall meet it here: a cavity opens to the outside.
        home_depth, margin = home.depth_at(surface), self._margin_mm(head.spacing_mm)
        touching = home_depth < self._margin_mm(home.spacing_mm) + home.spacing_mm.max()
        own_contact = float((home_depth < self._margin_mm(home.spacing_mm)).mean())
        parameters["contact"] = max(parameters["contact"], min(own_contact, self.contact[1]))

        moved, moved_surface = (lesion - centre_mm) @ forward.T, (surface - centre_mm) @ forward.T
        outside = np.zeros(len(places))
        contact, crossed, overlap, met = (outside.copy() for _ in range(4))
        old_core = np.isin(source.label, CORE) if parameters["keep_old"] else None
        new_core = moved[np.isin(_values_at(donor, lesion), (*CORE, LESION))]
        for number, place in enumerate(places):
            outside[number] = (head.depth_at(place + moved) <= 0).mean()
            depth = head.depth_at(place + moved_surface)
            contact[number] = (depth < margin).mean()
            if own_contact > 0:
                met[number] = (depth[touching] < margin + head.spacing_mm.max()).mean()
            crossed[number] = _minor_share(place[0] + moved[:, 0] - head.middle_mm)
            if old_core is not None and len(new_core):
                overlap[number] = _at(old_core, place + new_core, source.voxel_mm).mean()
        own = _minor_share(lesion[:, 0] - home.middle_mm)
        fits = (
            (outside <= _STRICTER * self.clipped)
            & (contact <= _STRICTER * parameters["contact"])
            & (crossed <= max(self.crossing, own))
            & (overlap <= self.core_overlap)
        )
        if not fits.any():
            raise CannotVaryError("the donor's lesion fits nowhere in this head")
        best = places[np.where(fits, met, -1).argmax()]  # the first of equals
        return parameters | {"place_mm": [round(float(value), 3) for value in best]}

    def apply(self, source: LabelMap, donor: LabelMap | None, parameters: Mapping[str, Any]) -> Labels:
        """Places the lesion.

        Raises:
            CannotVaryError: More of it would leave the head, or meet its border, than may; or a label is lost.
        """
        donor = _checked(donor)
        _, _, centre_mm = _points(donor)
        new, box = self._placed(source, donor, centre_mm, parameters)
        old = source.label
        head: Mask = old[box] > 0
        result = np.where(old > HEAD, np.uint8(HEAD), old)
        if parameters["keep_old"]:
            result = old.copy()
            kept, fresh = old[box], new > HEAD
            is_core = np.isin(new, (*CORE, LESION))
            over = fresh & head & (is_core | ~np.isin(kept, (*CORE, LESION)))
        else:
            over = (new > HEAD) & head
        result[box][over] = new[over]
        lost = set(np.unique(new[new > HEAD]).tolist()) - set(np.unique(result).tolist())
        if lost:
            raise CannotVaryError("a label of the donor's lesion does not come through")
        return result

    def _placed(
        self, source: LabelMap, donor: LabelMap, centre_mm: Points, parameters: Mapping[str, Any]
    ) -> tuple[Labels, Box]:
        """The lesion alone on the source's grid, clipped to the head, in a box of it."""
        into, out_of = np.asarray(source.voxel_mm), np.asarray(donor.voxel_mm)
        coarser = into.mean() / (out_of * parameters["scale"])
        blur = np.where(coarser > 1, 0.5 * np.sqrt(np.maximum(coarser**2 - 1, 0)), 0.0)
        kinds, channels, start = one_hot_lesion(donor.label, blur=blur.tolist())
        forward, place = _matrix(parameters), np.asarray(parameters["place_mm"])
        corners = np.stack(np.meshgrid(*[(0, n - 1) for n in channels.shape[1:]], indexing="ij"), -1).reshape(
            -1, 3
        )
        reached = (((corners + start) * out_of - centre_mm) @ forward.T + place) / into
        room = 2 + np.ceil(self.margin_mm / into)
        low, high = np.floor(reached.min(0) - room).astype(int), np.ceil(reached.max(0) + room).astype(int)
        whole: Box = tuple(slice(int(a), int(b) + 1) for a, b in zip(low, high, strict=True))  # type: ignore[assignment]

        back = torch.from_numpy(np.linalg.inv(forward)).float()
        points = voxel_indices(whole) * torch.from_numpy(into).float() - torch.from_numpy(place).float()
        index = (points @ back.T + torch.from_numpy(centre_mm).float()) / torch.from_numpy(out_of).float()
        soft: Field = sample(channels, index - torch.from_numpy(start).float()).numpy()
        box: Box = tuple(  # type: ignore[assignment]
            slice(max(a.start, 0), min(a.stop, n)) for a, n in zip(whole, source.label.shape, strict=True)
        )
        inner = tuple(slice(b.start - a.start, b.stop - a.start) for a, b in zip(whole, box, strict=True))
        placed = settle(soft, np.ones(soft.shape[1:], bool), kinds)  # also beyond the image
        head = np.zeros(placed.shape, bool)
        head[inner] = source.label[box] > 0
        lesion = placed > HEAD
        lost = (lesion & ~head).sum() / max(lesion.sum(), 1)
        if lost > self.clipped:
            raise CannotVaryError("too much of the lesion would leave the head")
        surface = surface_of(lesion & head)
        near = depth_mm(head, source.voxel_mm)[surface] < self._margin_mm(into)
        if near.mean() > max(parameters["contact"], 1e-9):
            raise CannotVaryError("too much of the lesion's surface would meet the head's border")
        placed[~head] = 0
        return np.ascontiguousarray(placed[inner]), box

    def _margin_mm(self, spacing_mm: NDArray[np.float64]) -> float:
        """The margin on a grid: what lies in the head's outermost voxels meets its border, whatever their size."""
        return max(self.margin_mm, float(spacing_mm.max()))

    def _places(
        self, head: CoarseHead, home: CoarseHead, centre_mm: Points, mirror: bool, rng: np.random.Generator
    ) -> Points:
        """Places to try for the lesion's centre, (P, 3) mm, in the order they are preferred."""
        relative = (centre_mm - home.low_mm) / np.maximum(home.high_mm - home.low_mm, 1e-6)
        if mirror:
            relative[0] = 1 - relative[0]
        own = head.low_mm + relative * (head.high_mm - head.low_mm)
        near = own + rng.normal(0, self.home_sd_mm, (self.max_tries, 3))
        anywhere = head.places_mm[rng.integers(len(head.places_mm), size=self.max_tries)]
        places: Points = np.where(rng.random((self.max_tries, 1)) < self.home_share, near, anywhere)
        height = (places[:, 2] - head.low_mm[2]) / max(head.high_mm[2] - head.low_mm[2], 1e-6)
        places = places[(height >= min(self.lowest_place, relative[2])) & (head.depth_at(places) > 0)]
        if not len(places):
            raise CannotVaryError("no place in this head was found")
        return places


def _checked(donor: LabelMap | None) -> LabelMap:
    if donor is None:
        raise ValueError("a transplant needs a donor")
    if not (donor.label > HEAD).any():
        raise CannotVaryError("the donor has no lesion")
    return donor


def _points(donor: LabelMap) -> tuple[Points, Points, Points]:
    """Points evenly taken from the lesion and from its surface, and the lesion's centre, in mm."""
    lesion = donor.label > HEAD
    box = ndimage.find_objects(lesion.astype(np.uint8))[0]
    padded = np.pad(lesion[box], 1)
    start = np.array([side.start for side in box]) - 1
    voxels = np.argwhere(padded) + start
    surface = np.argwhere(surface_of(padded)) + start
    mm = np.asarray(donor.voxel_mm)
    return (
        voxels[:: max(1, len(voxels) // _POINTS)] * mm,
        surface[:: max(1, len(surface) // _POINTS)] * mm,
        voxels.mean(0) * mm,
    )


def _matrix(parameters: Mapping[str, Any]) -> NDArray[np.float64]:
    """The (3, 3) map from the donor's lesion to the placed one: mirror, scale, then turn."""
    mirror = np.diag([-1.0 if parameters["mirror"] else 1.0, 1.0, 1.0])
    result: NDArray[np.float64] = rotation(parameters["rotation_deg"]) @ mirror * parameters["scale"]
    return result


def _minor_share(from_midline_mm: NDArray[np.float64]) -> float:
    right = float((from_midline_mm > 0).mean())
    return min(right, 1 - right)


def _at(mask: Mask, points_mm: Points, voxel_mm: tuple[float, float, float]) -> Mask:
    index = np.rint(points_mm / np.asarray(voxel_mm)).astype(int)
    inside = ((index >= 0) & (index < np.array(mask.shape))).all(-1)
    result = np.zeros(len(points_mm), bool)
    result[inside] = mask[tuple(index[inside].T)]
    return result


def _values_at(source: LabelMap, points_mm: Points) -> Labels:
    index = np.rint(points_mm / np.asarray(source.voxel_mm)).astype(int)
    result: Labels = source.label[tuple(index.T)]
    return result
