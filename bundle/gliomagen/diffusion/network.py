"""MONAI's diffusion network, with a local path for fine detail."""

from __future__ import annotations

from typing import Any

import torch
from monai.networks.nets import DiffusionModelUNet
from monai.networks.nets.diffusion_model_unet import get_timestep_embedding
from torch import Tensor, nn
from torch.nn import functional


class DetailUNet(DiffusionModelUNet):
    """MONAI's ``DiffusionModelUNet``, to whose output a local path adds what its narrow first level cannot carry.

    Removing a little noise is a local matter, but one of full detail: every Haar coefficient has to come through,
    and a first level no wider than their number has no room for them beside what the other levels tell. So two
    convolutions see the noisy coefficients once more, beside the last features, and the time:
    output = out(h) + conv(silu(conv([h', z]) + linear(time))), h' = silu(norm(h)).

    Args:
        noisy_channels: The first so many channels of the input are the noisy coefficients.
        detail_channels: Width of the local path; 0 leaves it out, and MONAI's network as it is.
        **options: Of ``DiffusionModelUNet``.
    """

    out: Any
    estimate: nn.Module

    def __init__(self, *, noisy_channels: int, detail_channels: int = 0, **options: Any) -> None:
        super().__init__(**options)
        self.noisy_channels, self.detail_channels = noisy_channels, detail_channels
        if not detail_channels:
            return
        convolution = nn.Conv3d if options["spatial_dims"] == 3 else nn.Conv2d
        width = options["channels"][0]
        # MONAI's forward then ends with the features.
        self.estimate, self.out = self.out, nn.Identity()
        self.detail_time = nn.Linear(4 * width, detail_channels)
        self.detail_in = convolution(width + noisy_channels, detail_channels, 3, padding=1)
        self.detail_out = convolution(detail_channels, options["out_channels"], 3, padding=1)
        for parameter in self.detail_out.parameters():  # as MONAI's own last layer
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, timesteps: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Returns the output, (B, out_channels, *S).

        Args:
            x: (B, in_channels, *S)
            timesteps: (B,)
            *args: As in ``DiffusionModelUNet``.
            **kwargs: Likewise.
        """
        features: Tensor = super().forward(x, timesteps, *args, **kwargs)
        if not self.detail_channels:
            return features
        normalize, activate, convolve = self.estimate.children()
        features = activate(normalize(features))
        time = self.time_embed(get_timestep_embedding(timesteps, self.block_out_channels[0]).to(x.dtype))
        hidden = self.detail_in(torch.cat([features, x[:, : self.noisy_channels]], dim=1))
        hidden = hidden + self.detail_time(time).reshape(*hidden.shape[:2], *[1] * (hidden.ndim - 2))
        return torch.as_tensor(convolve(features) + self.detail_out(functional.silu(hidden)))
