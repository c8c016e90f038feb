"""Scans of a forecast: the last scan, made anew where the label map changes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import nn

from ..diffusion.blending import blended
from ..diffusion.inferer import SynthesisInferer
from ..labels import HEAD
from .patients import Seen
from .spread import Labels


class Rendering:
    """Makes scans that show a label map, with the last scan as known voxels wherever nothing changes.

    Args:
        network: The generator's.
        inferer: Samples with it.
        contrasts: Of the network. Those that the last scan lacks are made as a whole.
        device: Where it runs.
        margin_mm: Around what changes; made anew too.
        blend_mm: Of that, so much fades into the scan.
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        inferer: SynthesisInferer,
        contrasts: Sequence[str],
        device: torch.device | str = "cpu",
        margin_mm: float = 6.0,
        blend_mm: float = 6.0,
    ) -> None:
        self.network, self.inferer, self.contrasts = network, inferer, list(contrasts)
        self.device = torch.device(device)
        self.margin_mm, self.blend_mm = margin_mm, blend_mm

    def __call__(self, last: Seen, labels: Labels, name: str) -> NDArray[np.float32]:
        """Returns the contrasts, (C, X, Y, Z) in [0, 1]; voxels of the last scan away from changes come back as they are.

        Args:
            last: Scan that is known last.
            labels: (X, Y, Z) prepared, to be shown.
            name: The noise is drawn for it.
        """
        changed = labels != last.labels
        region = changed
        if changed.any():
            away = distance_transform_edt(~changed, sampling=last.voxel_mm)
            region = (away <= self.margin_mm) & (labels > 0)
        nothing = np.zeros(labels.shape, np.float32)
        image = np.stack([last.images.get(one, nothing) for one in self.contrasts])
        known = np.stack([~region if one in last.images else np.zeros_like(region) for one in self.contrasts])
        made = self.inferer(
            torch.from_numpy(labels)[None, None].to(self.device),
            self.network,
            case_ids=[name],
            voxels=torch.from_numpy(image)[None].to(self.device),
            voxels_known=torch.from_numpy(known)[None].to(self.device),
        )
        result = made[0].float().cpu().numpy()
        here = [k for k, one in enumerate(self.contrasts) if one in last.images]
        result[here] = blended(
            result[here],
            image[here],
            region,
            head=labels > 0,
            lesion=(labels > HEAD) | (last.labels > HEAD),
            voxel_mm=last.voxel_mm,
            band_mm=self.blend_mm,
        )
        return result
