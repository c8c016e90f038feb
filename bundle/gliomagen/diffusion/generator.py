"""The generator as one module, for hosts and checks that know no inferer."""

from __future__ import annotations

from monai.inferers import Inferer
from torch import Tensor, nn


class Generator(nn.Module):
    """Label map in, contrasts out.

    Args:
        network: The denoising network.
        inferer: What samples with it.
    """

    def __init__(self, *, network: nn.Module, inferer: Inferer) -> None:
        super().__init__()
        self.network = network
        self.inferer = inferer

    def forward(self, image: Tensor) -> Tensor:
        """Returns the contrasts, (B, C, *S) float32 in [0, 1].

        Args:
            image: Prepared label maps, (B, 1, *S), whole numbers in any dtype. Sizes are multiples of 16.
        """
        return self.inferer(image, self.network)
