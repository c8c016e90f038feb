"""A head with a tumour, and guidance of it by networks that have learnt nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gliomagen.diffusion.basis import HaarBasis
from gliomagen.diffusion.network import HaarUNet
from gliomagen.diffusion.process import RectifiedFlow
from gliomagen.growth.guidance import BurdenGuidance
from gliomagen.growth.patients import Seen
from gliomagen.volume import Volume

CONTRASTS = ["t1c", "t2f"]


class Bright(nn.Module):
    """Reads as tumour what is brighter than the head in the last contrast, less surely of noisier scans."""

    def forward(self, noisy: Tensor, time: Tensor) -> Tensor:
        """Returns logits of shares and the log variance."""
        share = 0.6 * (noisy[:, 1:2] - 8)
        told = (0.01 + (time / 1000) ** 4).log().reshape(-1, *[1] * (share.ndim - 1))
        return torch.cat([share, told.expand_as(share)], 1)


def scan() -> Seen:
    """A cube of tumour in a cube of head."""
    labels = np.zeros((16, 16, 16), np.uint8)
    labels[2:14, 2:14, 2:14] = 1
    labels[5:10, 5:10, 5:10] = 3
    rng = np.random.default_rng(0)
    bright = np.where(labels == 3, 0.9, np.where(labels, 0.4, 0)) + 0.05 * rng.standard_normal(
        labels.shape
    ) * (labels > 0)
    image = bright.clip(0, 1).astype(np.float32)
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    images = {"t1c": (0.5 * image).astype(np.float32), "t2f": image}
    return Seen(
        case="one", images=images, labels=labels, affine=affine, original=Volume(data=labels, affine=affine)
    )


def guidance(dims: int = 3, **options: Any) -> BurdenGuidance:
    """Of a generator that has learnt nothing, with a regressor that is sure."""
    torch.manual_seed(0)
    bands = 2**dims
    network = HaarUNet(
        spatial_dims=dims,
        noisy_channels=2 * bands,
        condition_channels=10 * bands,
        out_channels=4 * bands,
        channels=[8, 32],
        contrasts=2,
    )
    told: dict[str, Any] = {
        "network": network,
        "regressor": Bright(),
        "basis": HaarBasis(spatial_dims=dims),
        "contrasts": CONTRASTS,
        "spatial_dims": dims,
    }
    process = RectifiedFlow(detail_rms=[0.3, 0.2, 0.2, 0.14, 0.2, 0.14, 0.14, 0.1][:bands])
    return BurdenGuidance(**{**told, "process": process, "free": 0.0, **options})
