"""Synthesis inside somebody's segmentation training: a new or edited case on the fly, nothing written to disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.transforms import MapTransform, Randomizable
from scipy import ndimage
from torch import nn

from ..errors import GliomaGenError
from ..labels import HEAD
from ..randomness import numpy_generator
from .maps import CannotVaryError, LabelMap, Labels, Policy


class SynthesizeScand(MapTransform, Randomizable):
    """Replaces a prepared case by a synthetic one, or repaints its lesion, with a probability.

    Put it behind the loading and before cropping: it takes whole volumes of the grid the weights know. The label map
    is varied by a policy; then the generator makes

    - ``whole``: all of the scan, from the new label map alone; or
    - ``lesion``: the new lesion, what changed, and a margin; every other voxel stays the source's own. It needs a
      policy that leaves the head in place (``EditPolicy``, ``TransplantPolicy``).

    ``data['synthesis']`` then tells what was done, as one line of JSON (empty where the case was left alone).

    Args:
        keys: The scan, (C, X, Y, Z) in [0, 1].
        label_key: The prepared label map, (1, X, Y, Z).
        network: The generator's network with its weights; stays on its device.
        inferer: A ``SynthesisInferer``; its own seed is replaced by the drawn one through the case's id.
        policies: The policies and their weights.
        donors: Label maps a policy may take a lesion from: of the training patients only.
        prob: Share of cases that are replaced.
        repaint: ``whole`` or ``lesion``.
        margin_mm: Around the lesion, with ``lesion``.
        voxel_mm: Of label maps without an affine.
        check: Says why a label map is not acceptable, or None.
        max_tries: Draws before the case is left as it is.

    Raises:
        GliomaGenError: An option is not one of those, or a policy needs donors and there are none.
    """

    def __init__(
        self,
        *,
        keys: str,
        label_key: str = "label",
        network: nn.Module,
        inferer: Inferer,
        policies: Sequence[tuple[Policy, float]],
        donors: Sequence[LabelMap] = (),
        prob: float = 0.5,
        repaint: str = "lesion",
        margin_mm: float = 4.0,
        voxel_mm: tuple[float, float, float] = (1.25, 1.25, 1.25),
        check: Callable[[LabelMap, Labels, Policy], str | None] | None = None,
        max_tries: int = 10,
    ) -> None:
        super().__init__(keys)
        if repaint not in ("whole", "lesion"):
            raise GliomaGenError(f"repaint '{repaint}' is not known; choose whole or lesion")
        if not donors and any(policy.needs_donor for policy, _ in policies):
            raise GliomaGenError(
                "donors: a policy takes lesions of other patients; give label maps, or leave it out"
            )
        self.label_key = label_key
        self.network = network
        self.inferer = inferer
        self.policies = [policy for policy, _ in policies]
        self.shares = np.array([weight for _, weight in policies], float)
        self.shares /= self.shares.sum()
        self.donors = list(donors)
        self.prob = prob
        self.repaint = repaint
        self.margin_mm = margin_mm
        self.voxel_mm = voxel_mm
        self.check = check
        self.max_tries = max_tries
        self.drawn: int | None = None

    def randomize(self, data: Any = None) -> None:
        """Draws whether, and the number that everything of this case follows from."""
        chosen = self.R.rand() < self.prob
        number = int(self.R.randint(2**31 - 1))
        self.drawn = number if chosen else None

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Returns the case, synthesized or as it was."""
        self.randomize()
        case = {**data, "synthesis": ""}
        if self.drawn is None:
            return case
        key = self.first_key(case)
        source = self._source(case)
        found = self._vary(source, self.drawn)
        if found is None:
            return case
        label, record = found
        image = self._paint(case[key], source, label, f"on-the-fly-{self.drawn}")
        case[key] = _like(case[key], image)
        case[self.label_key] = _like(case[self.label_key], torch.from_numpy(label)[None])
        case["synthesis"] = json.dumps({**record, "seed": self.drawn, "repaint": self.repaint})
        return case

    def _source(self, case: Mapping[Hashable, Any]) -> LabelMap:
        label = case[self.label_key]
        mm = self.voxel_mm
        if isinstance(label, MetaTensor):
            mm = (float(label.pixdim[0]), float(label.pixdim[1]), float(label.pixdim[2]))
        array = np.asarray(label)[0].round().astype(np.uint8)
        return LabelMap(
            case=str(case.get("case", "")), patient=str(case.get("patient", "")), label=array, voxel_mm=mm
        )

    def _vary(self, source: LabelMap, number: int) -> tuple[Labels, dict[str, Any]] | None:
        """Draws a new label map; None if no draw works out on this source."""
        rng = numpy_generator(number, "vary")
        donors = [d for d in self.donors if d.patient != source.patient] if self.donors else []
        for _ in range(self.max_tries):
            policy = self.policies[int(rng.choice(len(self.policies), p=self.shares))]
            donor = donors[int(rng.integers(len(donors)))] if policy.needs_donor and donors else None
            if policy.needs_donor and donor is None:
                continue
            try:
                parameters = policy.draw(source, donor, rng)
                label = policy.apply(source, donor, parameters)
            except CannotVaryError:
                continue
            if self.check is None or self.check(source, label, policy) is None:
                record = {"policy": type(policy).__name__, "parameters": parameters}
                return label, record | ({"donor": donor.case} if donor else {})
        return None

    def _paint(self, image: Any, source: LabelMap, label: Labels, case_id: str) -> torch.Tensor:
        """Makes the scan of a label map, (C, X, Y, Z)."""
        device = next(self.network.parameters()).device
        known: dict[str, torch.Tensor] = {}
        if self.repaint == "lesion":
            if ((label > 0) != (source.label > 0)).any():
                raise GliomaGenError(
                    "repaint 'lesion': the policy moves the head; use EditPolicy or TransplantPolicy, or repaint 'whole'"
                )
            scan = torch.as_tensor(image).as_subclass(torch.Tensor).float()
            hidden = _within_mm((label > HEAD) | (label != source.label), self.margin_mm, source.voxel_mm)
            where = torch.from_numpy(~hidden).expand(scan.shape)
            known = {"voxels": scan[None].to(device), "voxels_known": where[None].to(device)}
        inputs = torch.from_numpy(label)[None, None].to(device)
        made: torch.Tensor = self.inferer(inputs, self.network, case_ids=[case_id], **known)
        return made[0].cpu()


def _within_mm(mask: Any, distance_mm: float, voxel_mm: Sequence[float]) -> Any:
    """The mask and all within a distance of it."""
    if not mask.any():
        return mask
    return ndimage.distance_transform_edt(~mask, sampling=voxel_mm) <= distance_mm


def _like(old: Any, new: torch.Tensor) -> Any:
    """The new values in the container and dtype of the old ones."""
    if isinstance(old, torch.Tensor):
        new = new.to(old.dtype)
        return MetaTensor(new, meta=dict(old.meta)) if isinstance(old, MetaTensor) else new
    return new.numpy().astype(np.asarray(old).dtype)
