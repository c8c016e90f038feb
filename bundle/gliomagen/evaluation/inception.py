"""Features of the published recipe: ImageNet's Inception v3 on axial slices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ..errors import GliomaGenError
from ..files import file_sha256
from ..torchvision_import import repair_torchvision
from ..weights import read_state

FEATURES = 2048
_SIZE = 299
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class InceptionFeatures:
    """Inception v3 of torchvision, before its classifier; each slice three times, resized to 299.

    Args:
        weights: ``inception_v3_google-*.pth`` of torchvision; None fetches it, where the machine can.
        batch: Slices at once.
        device: Where to run.

    Raises:
        GliomaGenError: torchvision is not installed, or there are no weights.
    """

    def __init__(
        self, *, weights: str | Path | None = None, batch: int = 16, device: torch.device | str = "cpu"
    ) -> None:
        repair_torchvision()
        try:
            from torchvision.models import Inception_V3_Weights, inception_v3
        except ImportError:
            raise GliomaGenError(
                "the recipe gliomagen needs torchvision; pip install torchvision, or leave it out of recipes"
            ) from None
        self.device, self.batch = torch.device(device), batch
        network: Any = inception_v3(weights=None, transform_input=True, init_weights=False)
        if weights is None:
            try:
                state: dict[str, Tensor] = Inception_V3_Weights.IMAGENET1K_V1.get_state_dict(progress=False)
            except OSError as error:
                raise GliomaGenError(
                    "the recipe gliomagen: Inception weights cannot be fetched here; copy torchvision's "
                    f"{Path(Inception_V3_Weights.IMAGENET1K_V1.url).name} to this machine and set inception, or leave "
                    "the recipe out"
                ) from error
            self.sha256 = str(Inception_V3_Weights.IMAGENET1K_V1.url).rsplit("-", 1)[-1].removesuffix(".pth")
        else:
            state = read_state(weights)
            self.sha256 = file_sha256(weights)
        missing = sorted(network.state_dict().keys() - state.keys())
        if missing:
            raise GliomaGenError(f"{weights}: lacks '{missing[0]}'; give torchvision's Inception v3 weights")
        network.load_state_dict(state)
        network.fc = nn.Identity()
        self.network = network.to(self.device).eval()

    @torch.inference_mode()
    def __call__(self, slices: NDArray[Any]) -> NDArray[np.float32]:
        """Returns the vectors of slices (n, H, W), (n, 2048); greys are taken as they are, clipped or not."""
        mean, deviation = (
            torch.tensor(values, device=self.device).reshape(1, 3, 1, 1) for values in (_MEAN, _DEVIATION)
        )
        parts = []
        for start in range(0, len(slices), self.batch):
            block = np.ascontiguousarray(slices[start : start + self.batch], np.float32)
            batch = torch.from_numpy(block).to(self.device)
            batch = batch[:, None].repeat(1, 3, 1, 1)
            batch = functional.interpolate(batch, (_SIZE, _SIZE), mode="bilinear", align_corners=False)
            parts.append(self.network((batch - mean) / deviation).float().cpu().numpy())
        return np.concatenate(parts) if parts else np.zeros((0, FEATURES), np.float32)
