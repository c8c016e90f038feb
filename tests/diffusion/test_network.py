"""The network with its local path: MONAI's own without it, fine detail with it."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets import DiffusionModelUNet

from gliomagen.diffusion.network import DetailUNet

NOISY, GIVEN = 16, 4


def settings(dims: int) -> dict[str, object]:
    return {
        "spatial_dims": dims,
        "in_channels": NOISY + GIVEN,
        "out_channels": NOISY,
        "channels": [8, 8],
        "attention_levels": [False, False],
        "num_res_blocks": 1,
        "num_head_channels": 8,
        "norm_num_groups": 4,
    }


def inputs(dims: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, NOISY + GIVEN, *[8] * dims, generator=generator), torch.tensor([20.0, 700.0])


@pytest.mark.parametrize("dims", [2, 3])
def test_without_the_path_it_is_monais_network(dims: int) -> None:
    """Weights trained with MONAI's class, the reference recipe's among them, must load and give the same."""
    torch.manual_seed(0)
    monai_network = DiffusionModelUNet(**settings(dims)).eval()
    for parameter in monai_network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)  # the last layer starts at zero
    ours = DetailUNet(noisy_channels=NOISY, **settings(dims)).eval()
    ours.load_state_dict(monai_network.state_dict())
    assert torch.equal(ours(*inputs(dims)), monai_network(*inputs(dims)))


@pytest.mark.parametrize("dims", [2, 3])
def test_it_starts_at_zero_with_the_path(dims: int) -> None:
    """A network that does not start from nothing takes long to forget what it started with."""
    network = DetailUNet(noisy_channels=NOISY, detail_channels=12, **settings(dims))
    output = network(*inputs(dims))
    assert output.shape == (2, NOISY, *[8] * dims) and not output.any()


def test_detail_passes_where_the_first_level_is_too_narrow() -> None:
    """A clean scan shown to a network of 8 channels comes back smooth, unless its 16 bands can pass by."""

    def error(detail_channels: int) -> float:
        torch.manual_seed(0)
        network = DetailUNet(noisy_channels=NOISY, detail_channels=detail_channels, **settings(2))
        optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
        generator = torch.Generator().manual_seed(2)
        for _ in range(150):
            x = torch.randn(4, NOISY + GIVEN, 8, 8, generator=generator)
            loss = (network(x, torch.full((4,), 20.0)) - x[:, :NOISY]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss.item()

    narrow, passed = error(0), error(32)
    assert narrow > 0.4 and passed < 0.5 * narrow
