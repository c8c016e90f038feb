"""A trained segmenter as a function: scan in, labels out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..errors import GliomaGenError
from ..provenance import read_card
from ..weights import load_weights
from .inferer import SegmentationInferer


class Segmenter:
    """Segments one scan at a time.

    Args:
        network: The network, as ``network_def`` of ``segmenter.yaml`` makes it.
        weights: Its weights, with their card beside.
        contrasts: Those of the scans; the weights' own, in the same order, or they are refused.
        device: Where to run.
        precision: ``bf16`` or ``fp32``.
        mirror: Average with the mirrored scan.

    Attributes:
        card: The weights' card.

    Raises:
        GliomaGenError: The weights do not fit the network or the contrasts.
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        weights: str | Path,
        contrasts: Sequence[str],
        device: torch.device | str = "cpu",
        precision: str = "fp32",
        mirror: bool = False,
    ) -> None:
        self.card: dict[str, Any] = read_card(weights)
        trained = list(self.card["geometry"]["contrasts"])
        if trained != list(contrasts):
            raise GliomaGenError(
                f"{weights}: segments the contrasts {trained}, not {list(contrasts)}; train one for these"
            )
        self.device = torch.device(device)
        self.network = load_weights(network, weights).to(self.device).eval()
        self.inferer = SegmentationInferer(precision=precision, mirror=mirror)

    @torch.inference_mode()
    def __call__(self, volumes: NDArray[Any]) -> NDArray[np.uint8]:
        """Returns prepared labels, (X, Y, Z).

        Args:
            volumes: Scan in [0, 1], (C, X, Y, Z), at about the voxel size of the training. Sizes that are not
                multiples of 8 are padded with background.
        """
        size = volumes.shape[1:]
        padding = [(0, 0), *((0, -length % 8) for length in size)]
        padded = np.pad(np.asarray(volumes, np.float32), padding)
        logits = self.inferer(torch.from_numpy(padded)[None].to(self.device), self.network)
        label = logits[0].argmax(0).to(torch.uint8).cpu().numpy()
        return np.ascontiguousarray(label[tuple(slice(length) for length in size)])
