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


def read_segmenter_card(weights: str | Path, contrasts: Sequence[str]) -> dict[str, Any]:
    """Reads the card of a segmenter's weights, for scans of these contrasts.

    Raises:
        GliomaGenError: They were trained on other contrasts or in another order, or as for :func:`.read_card`.
    """
    card = read_card(weights)
    trained = list(card["geometry"]["contrasts"])
    if trained != list(contrasts):
        raise GliomaGenError(
            f"{weights}: segments the contrasts {trained}, not {list(contrasts)}; train one for these"
        )
    return card


class Segmenter:
    """Segments one scan at a time.

    Args:
        network: The network, as ``network_def`` of ``segmenter.yaml`` makes it.
        weights: Its weights, with their card beside.
        contrasts: Those of the scans; the weights' own, in the same order, or they are refused.
        device: Where to run.
        precision: ``bf16`` or ``fp32``.
        mirror: Average with the mirrored scan.
        window: See :class:`.SegmentationInferer`.

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
        window: Sequence[int] | None = None,
    ) -> None:
        self.card = read_segmenter_card(weights, contrasts)
        self.device = torch.device(device)
        self.network = load_weights(network, weights).to(self.device).eval()
        self.inferer = SegmentationInferer(precision=precision, mirror=mirror, window=window)

    @torch.inference_mode()
    def __call__(self, volumes: NDArray[Any]) -> NDArray[np.uint8]:
        """Returns prepared labels, (X, Y, Z).

        Args:
            volumes: Scan in [0, 1], (C, X, Y, Z), of any size, at about the voxel size of the training.
        """
        images = torch.from_numpy(np.ascontiguousarray(volumes, np.float32))[None].to(self.device)
        logits = self.inferer(images, self.network)  # (1, L, X, Y, Z)
        label: NDArray[np.uint8] = logits[0].argmax(0).to(torch.uint8).cpu().numpy()
        return label
