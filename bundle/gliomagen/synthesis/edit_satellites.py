"""The edit that adds satellites: small lesions near but apart from the main one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..labels import ET, HEAD, LESION, NETC, SNFH
from .fields import smooth_noise
from .maps import CannotVaryError, LabelMap, Labels, Parameters
from .shapes import CoarseHead, Mask, positions_mm, signed_distance_mm

Range = tuple[float, float]


class Satellites:
    """Adds one to three satellites in the brain: enhancing, some with a necrotic centre, most with a halo of oedema.

    In a source whose lesion is of unknown kind they are of unknown kind, too.

    Args:
        count: Fewest and most.
        radius_mm: Range of the radius of the enhancing part; never below 1.2 voxels.
        centre_probability: Of a necrotic centre, where the radius is at least ``centre_from_mm``.
        centre_from_mm: See there.
        halo_probability: Of a halo of oedema.
        halo_mm: Range of the halo's thickness.
        gap_mm: Range of the distance between the satellite (with halo) and the lesion.
        margin_mm: Distance between the satellite and the head's border, at least.
    """

    def __init__(
        self,
        *,
        count: tuple[int, int] = (1, 3),
        radius_mm: Range = (2.5, 6.0),
        centre_probability: float = 0.5,
        centre_from_mm: float = 4.5,
        halo_probability: float = 0.8,
        halo_mm: Range = (1.5, 5.0),
        gap_mm: Range = (2.0, 18.0),
        margin_mm: float = 3.0,
    ) -> None:
        self.count = count
        self.radius_mm = radius_mm
        self.centre_probability = centre_probability
        self.centre_from_mm = centre_from_mm
        self.halo_probability = halo_probability
        self.halo_mm = halo_mm
        self.gap_mm = gap_mm
        self.margin_mm = margin_mm

    def draw(self, current: LabelMap, rng: np.random.Generator) -> Parameters:
        """Draws number, sizes and places.

        Raises:
            CannotVaryError: There is no lesion, or no room beside it.
        """
        if not (current.label > HEAD).any():
            raise CannotVaryError("there is no lesion to add a satellite to")
        head = CoarseHead(current.label, current.voxel_mm)
        places, distance = head.places_mm, head.lesion_distance_mm()
        depth = head.depth_at(places)
        lesion_mm = np.argwhere(head.lesion)[:, 0].mean() - 1
        same_side = (places[:, 0] > head.middle_mm) == (lesion_mm * head.spacing_mm[0] > head.middle_mm)
        unknown_kind = (current.label == LESION).any()
        satellites: list[dict[str, Any]] = []
        for _ in range(int(rng.integers(self.count[0], self.count[1] + 1))):
            radius = max(float(rng.uniform(*self.radius_mm)), 1.2 * max(current.voxel_mm))
            halo = float(rng.uniform(*self.halo_mm)) if rng.random() < self.halo_probability else 0.0
            centre = float(rng.uniform(0.35, 0.65)) if rng.random() < self.centre_probability else 0.0
            if radius < max(self.centre_from_mm, 2 * max(current.voxel_mm)):
                centre = 0.0
            if unknown_kind:
                halo = centre = 0.0
            outer = radius + halo + max(head.spacing_mm) / 2
            fits = (
                same_side
                & (depth > outer + self.margin_mm)
                & (distance > outer + self.gap_mm[0])
                & (distance < outer + self.gap_mm[1])
            )
            for other in satellites:
                apart = np.linalg.norm(places - np.array(other["place_mm"]), axis=1)
                fits &= apart > outer + other["radius_mm"] + other["halo_mm"] + self.gap_mm[0]
            if not fits.any():
                break
            place = places[fits][int(rng.integers(fits.sum()))] + rng.uniform(-0.4, 0.4, 3) * head.spacing_mm
            satellites.append(
                {"place_mm": place.tolist(), "radius_mm": radius, "halo_mm": halo, "centre_share": centre}
            )
        if not satellites:
            raise CannotVaryError("there is no room for a satellite")
        return {"satellites": satellites, "field_seed": int(rng.integers(2**31))}

    def apply(self, current: LabelMap, parameters: Mapping[str, Any]) -> Labels:
        """Adds the satellites.

        Raises:
            CannotVaryError: One of them meets the lesion or the head's border.
        """
        result = current.label.copy()
        for number, satellite in enumerate(parameters["satellites"]):
            self._add(result, current, satellite, parameters["field_seed"] + number)
        return result

    def _add(self, result: Labels, current: LabelMap, satellite: Mapping[str, Any], seed: int) -> None:
        place, voxel_mm = np.array(satellite["place_mm"]), np.array(current.voxel_mm)
        radius, halo = satellite["radius_mm"], satellite["halo_mm"]
        reach = 1.6 * (radius + halo) + voxel_mm
        box = tuple(
            slice(max(0, int(low)), min(n, int(high) + 2))
            for low, high, n in zip(
                (place - reach) / voxel_mm, (place + reach) / voxel_mm, result.shape, strict=True
            )
        )
        x, y, z = positions_mm(box, current.voxel_mm)  # type: ignore[arg-type]
        away = np.sqrt((x - place[0]) ** 2 + (y - place[1]) ** 2 + (z - place[2]) ** 2)
        noise = smooth_noise(away.shape, current.voxel_mm, smoothness_mm=radius, seed=seed, channels=2)
        rough = 0.18 * min(1, radius / (3 * float(voxel_mm.max())))  # a few voxels have no shape to vary
        shape = away * (1 + rough * np.clip(noise[0], -2, 2))
        tumour: Mask = shape < radius
        around: Mask = shape < radius + halo * (1 + 0.3 * np.clip(noise[1], -2, 2))
        label = result[box]
        # Apart from the lesion: not even at a corner.
        near = signed_distance_mm(current.label[box] > HEAD, current.voxel_mm) <= 1.5 * max(current.voxel_mm)
        if not tumour.any() or (tumour & ((label != HEAD) | near)).any():
            raise CannotVaryError("a satellite meets the lesion or the head's border")
        around &= (label == HEAD) & ~near
        if (current.label == LESION).any():
            label[tumour] = LESION
            return
        if halo:
            label[around] = SNFH
        label[tumour] = ET
        label[shape < radius * satellite["centre_share"]] = NETC
