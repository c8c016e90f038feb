"""Scan in, probabilities of the labels out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.inferers import Inferer, sliding_window_inference
from torch import Tensor, nn
from torch.nn import functional

from ..errors import GliomaGenError
from ..machine import autocast

MULTIPLE = 8
"""The network halves its volume three times."""
SLICES_AT_ONCE = 16


class SegmentationInferer(Inferer):
    """Runs the segmentation network over whole volumes, over windows of them only where they are larger.

    Args:
        precision: ``bf16`` or ``fp32``.
        mirror: Average with the left-right mirrored volume (spatial axis 0, RAS+); twice the cost.
        probabilities: Return probabilities; else logits, as training takes them.
        window: Largest volume run in one piece, in voxels along each axis, multiples of 8. Larger ones are run window
            by window, overlapping by half and blended, so that memory does not grow with them; None: never.

    Raises:
        GliomaGenError: A window's size is not a multiple of 8.
    """

    def __init__(
        self,
        *,
        precision: str = "fp32",
        mirror: bool = False,
        probabilities: bool = False,
        window: Sequence[int] | None = None,
    ) -> None:
        self.precision = precision
        self.mirror = mirror
        self.probabilities = probabilities
        self.window = tuple(window) if window is not None else None
        if self.window and any(size < MULTIPLE or size % MULTIPLE for size in self.window):
            raise GliomaGenError(f"window {list(self.window)}: sizes must be multiples of {MULTIPLE}")

    def __call__(self, inputs: Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        """Returns (B, L, *S), float32.

        Args:
            inputs: Scans in [0, 1], (B, C, *S); a 2-D network takes volumes slice by slice. Sizes that are not
                multiples of 8 are padded with background.
            network: The network.
            *args: Not used.
            **kwargs: Not used.
        """
        images = torch.as_tensor(inputs).as_subclass(Tensor)  # MetaTensor slows every operation
        if images.ndim == 5 and getattr(network, "dimensions", 3) == 2:
            slices = images.movedim(-1, 1)  # (B, Z, C, X, Y)
            logits = torch.cat([self(part, network) for part in slices.flatten(0, 1).split(SLICES_AT_ONCE)])
            return logits.unflatten(0, slices.shape[:2]).movedim(1, -1)
        size = images.shape[2:]
        # functional.pad counts from the last axis
        padding = [end for length in reversed(size) for end in (0, -length % MULTIPLE)]
        images = functional.pad(images, padding)
        with autocast(images.device, self.precision):
            logits = self._run(images, network)
            if self.mirror:
                logits = (logits + self._run(images.flip(2), network).flip(2)) / 2
        for axis, length in enumerate(size, start=2):
            logits = logits.narrow(axis, 0, length)
        return logits.softmax(1) if self.probabilities else logits

    def _run(self, images: Tensor, network: nn.Module) -> Tensor:
        size = tuple(images.shape[2:])
        window = self.window and self.window[: len(size)]
        if window is None or all(a <= b for a, b in zip(size, window, strict=True)):
            output: Tensor = network(images).float()
            return output
        roi = [min(a, b) for a, b in zip(size, window, strict=True)]
        blended = sliding_window_inference(
            images, roi, 1, lambda part: network(part).float(), overlap=0.5, mode="gaussian"
        )
        assert isinstance(blended, Tensor)
        return blended
