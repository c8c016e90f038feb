"""Volumes informed by a slice that was itself generated, by the 2-D network, at a height in the head.

GEM-3D's settings ``ig`` and ``igma``. Its slice generator knows the height alone; ours the label map's slice too, so that
volume and slice show one head.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor, nn

from ..diffusion.inferer import SynthesisInferer
from ..weights import load_weights


class GeneratedSlices:
    """Makes axial slices. Its weights are read when the first is wanted: most tasks want none.

    Args:
        network: The 2-D network, without weights.
        weights: Its weights.
        inferer: Samples with it.
        device: Where it runs.
    """

    def __init__(
        self, *, network: nn.Module, weights: str | Path, inferer: SynthesisInferer, device: torch.device
    ) -> None:
        self.network = network
        self.weights = weights
        self.inferer = inferer
        self.device = device
        self._ready = False

    def __call__(self, label: Tensor, heights: Tensor, case: str) -> Tensor:
        """Returns slices, (N, C, X, Y) in [0, 1], all with the same noise and grey levels.

        Args:
            label: (N, 1, X, Y) prepared labels.
            heights: (N,) relative heights in the head, 0 to 1.
            case: Named for the noise.
        """
        if not self._ready:
            self.network = load_weights(self.network, self.weights).to(self.device).eval()
            self._ready = True
        names = [f"{case}-slice"] * len(label)
        made: Tensor = self.inferer(label, self.network, case_ids=names, position=heights)
        return made


class InformedInferer(Inferer):
    """Samples volumes; where slices are to be generated first, these are given to the network as known voxels.

    Args:
        inferer: Samples volumes.
        slices: Makes slices.

    Attributes:
        network_calls: Of the volumes' network.
        precision: Of the volumes' inferer.
    """

    def __init__(self, *, inferer: SynthesisInferer, slices: GeneratedSlices) -> None:
        self.inferer = inferer
        self.slices = slices
        self.precision = inferer.precision

    @property
    def network_calls(self) -> int:
        """Forward passes of the last call."""
        return self.inferer.network_calls

    def __call__(  # type: ignore[override]
        self,
        inputs: Tensor,
        network: nn.Module,
        *args: Any,
        case_ids: Sequence[str],
        voxels: Tensor,
        voxels_known: Tensor,
        generate: Tensor | None = None,
        heights: Tensor | None = None,
        **options: Any,
    ) -> Tensor:
        """Returns the contrasts, (B, C, X, Y, Z), as :class:`.SynthesisInferer` does.

        Args:
            inputs: Label maps, (B, 1, X, Y, Z).
            network: Of the volumes.
            *args: Not used.
            case_ids: Names the noise is drawn for.
            voxels: (B, C, X, Y, Z)
            voxels_known: (B, C, X, Y, Z)
            generate: (B, N) indices of axial slices to generate first.
            heights: (B, N) their relative heights.
            **options: Of the volumes' inferer.
        """
        if generate is not None and heights is not None:
            voxels, voxels_known = voxels.clone(), voxels_known.clone()
            for volume, (case, indices, places) in enumerate(zip(case_ids, generate, heights, strict=True)):
                label = inputs[volume, :, :, :, indices].movedim(-1, 0)  # (N, 1, X, Y)
                made = self.slices(label, places, case).movedim(0, -1)  # (C, X, Y, N)
                voxels[volume, ..., indices] = made.to(voxels)
                voxels_known[volume, ..., indices] = 1
        told = {"case_ids": case_ids, "voxels": voxels, "voxels_known": voxels_known, **options}
        made_all: Tensor = self.inferer(inputs, network, **told)
        return made_all
