"""Scan in, probabilities of the labels out."""

from __future__ import annotations

from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor, nn

from ..errors import GliomaGenError
from ..machine import autocast


class SegmentationInferer(Inferer):
    """Runs the segmentation network over whole volumes.

    Args:
        precision: ``bf16`` or ``fp32``.
        mirror: Average with the left-right mirrored volume (spatial axis 0, RAS+); twice the cost.
        probabilities: Return probabilities; else logits, as training takes them.
    """

    def __init__(self, *, precision: str = "fp32", mirror: bool = False, probabilities: bool = False) -> None:
        self.precision = precision
        self.mirror = mirror
        self.probabilities = probabilities

    def __call__(self, inputs: Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        """Returns (B, L, *S), float32.

        Args:
            inputs: Scans in [0, 1], (B, C, *S); sizes are multiples of 8.
            network: The network.
            *args: Not used.
            **kwargs: Not used.

        Raises:
            GliomaGenError: A size is not a multiple of 8.
        """
        bad = [size for size in inputs.shape[2:] if size % 8]
        if bad:
            raise GliomaGenError(
                f"volume size {tuple(inputs.shape[2:])} is not a multiple of 8; fit the geometry first"
            )
        images = torch.as_tensor(inputs).as_subclass(Tensor)  # MetaTensor slows every operation
        with autocast(images.device, self.precision):
            logits = network(images).float()
            if self.mirror:
                logits = (logits + network(images.flip(2)).float().flip(2)) / 2
        return logits.softmax(1) if self.probabilities else logits
