"""The denoiser: what sampling saves must not change what it makes."""

from __future__ import annotations

import pytest
import torch

from gliomagen.diffusion import denoiser as denoiser_module
from gliomagen.diffusion.basis import HaarBasis
from gliomagen.diffusion.condition import make_condition
from gliomagen.diffusion.denoiser import Denoiser
from gliomagen.diffusion.network import HaarUNet
from gliomagen.diffusion.process import RectifiedFlow
from gliomagen.machine import autocast, layout_of


@pytest.mark.parametrize(
    "layout", [torch.contiguous_format, torch.channels_last_3d], ids=["rows", "channels"]
)
@pytest.mark.parametrize("guidance", [1.0, 1.5])
def test_sampling_sees_what_training_saw(
    layout: torch.memory_format, guidance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps the condition from call to call, works slab by slab, and lays voxels out otherwise."""
    torch.manual_seed(0)
    network = HaarUNet(
        spatial_dims=3, noisy_channels=32, condition_channels=112, out_channels=64, channels=[8, 32], groups=4
    )
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    label = torch.randint(0, 6, (2, 1, 16, 16, 16))
    condition = make_condition(label, num_labels=5, contrasts=4, greys=torch.full((2, 4, 2), 0.3))
    parts = {"basis": HaarBasis(spatial_dims=3), "process": RectifiedFlow(detail_rms=[0.2] * 8)}
    z, t = torch.randn(2, 32, 8, 8, 8), torch.tensor([0.9, 0.2])

    def estimate() -> torch.Tensor:
        made = Denoiser(network=network, condition=condition, guidance=guidance, **parts)
        return made(z, t).detach()

    expected = estimate()
    network.to(memory_format=layout)
    assert layout_of(network) == layout
    monkeypatch.setattr(denoiser_module, "_AT_ONCE", 32 * 8 * 8 * 3)
    monkeypatch.setattr(denoiser_module, "_VOXELS_AT_ONCE", 6 * 16 * 16)
    with torch.inference_mode():
        torch.testing.assert_close(estimate(), expected, rtol=1e-4, atol=1e-4)
        with autocast(z.device, "bf16"):
            rough = estimate()
    assert (rough - expected).norm() < 0.02 * expected.norm()
