"""The generator's network: lean at the finest level, and yet all of the detail comes through."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gliomagen.diffusion.basis import HaarBasis
from gliomagen.diffusion.network import HaarUNet, LabelPaint

NOISY, GIVEN = 16, 8


def network(dims: int = 3, **options: Any) -> HaarUNet:
    torch.manual_seed(0)
    settings = {"out_channels": NOISY, "channels": [8, 8], "head_channels": 8, "groups": 4, "num_labels": 1}
    settings |= {"contrasts": NOISY // 2**dims, **options}
    return HaarUNet(spatial_dims=dims, noisy_channels=NOISY, condition_channels=GIVEN, **settings)


def inputs(dims: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, NOISY + GIVEN, *[8] * dims, generator=generator), torch.tensor([20.0, 700.0])


@pytest.mark.parametrize("dims", [2, 3])
def test_it_starts_at_zero(dims: int) -> None:
    """A network that does not start from nothing takes long to forget what it started with."""
    output = network(dims, grey_levels="fixed")(*inputs(dims))
    assert output.shape == (2, NOISY, *[8] * dims) and not output.any()


@pytest.mark.parametrize("part", ["noisy", "condition", "time", "grey levels", "far away"])
def test_everything_it_is_told_matters(part: str) -> None:
    """A path left unconnected would only show as poorer samples."""
    net = network(2, grey_levels="drawn", channels=[8, 8, 8])
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x, t = inputs(2)
    x = torch.cat([x, torch.ones(2, 2 * NOISY // 4, 8, 8)], dim=1)
    changed = x.clone()
    before = net(x, t)
    if part == "noisy":
        changed[:, 0] += 1
    elif part == "condition":
        changed[:, NOISY] += 1
    elif part == "grey levels":
        changed[:, NOISY + GIVEN] += 1
    elif part == "far away":
        changed[:, NOISY, 7, 7] += 5
    after = net(changed, t + (part == "time") * 100)
    where = (slice(None), slice(None), 0, 0) if part == "far away" else ...
    assert (after - before)[where].abs().max() > 1e-4


def test_grey_levels_come_with_the_weights() -> None:
    """They are told in further channels, and what is drawn in sampling must travel with model.pt."""
    net = network(3, grey_levels="drawn", contrasts=2)
    assert {"greys.centre", "greys.covariance"} <= net.state_dict().keys()
    x, t = inputs(3)
    assert net(torch.cat([x, torch.ones(2, 4, 8, 8, 8)], dim=1), t).shape == x[:, :NOISY].shape


@pytest.mark.parametrize("dims", [2, 3])
def test_paint_keeps_to_the_voxels_of_a_label(dims: int) -> None:
    """A rim of one voxel must get its grey, and not its neighbours, whatever block of coefficients it runs through."""
    basis = HaarBasis(spatial_dims=dims)
    labels = (torch.rand(2, 3, *[8] * dims, generator=torch.Generator().manual_seed(3)) > 0.7).float()
    greys = torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(4))
    places = [1] * dims
    image = (labels[:, :, None] * greys.reshape(2, 3, 2, *places)).sum(1)
    paint = LabelPaint(spatial_dims=dims, num_labels=3, contrasts=2)
    coefficients = basis(labels).unflatten(1, (2**dims, 3))
    told = greys.flatten(1).reshape(2, 6, *places).expand(-1, -1, *[4] * dims)
    painted = paint(paint.softened(coefficients), told)
    torch.testing.assert_close(basis.inverse(painted), image)


def test_paint_covers_what_the_network_adds() -> None:
    """Else a cavity, one grey in a scan, is grainy: noise that a network made for tissue took for detail."""
    net = network(3, grey_levels="fixed", contrasts=2, out_channels=2 * NOISY)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    torch.nn.init.zeros_(net.paint.cover)
    label = torch.zeros(1, 1, 16, 16, 16)
    label[..., :8] = 1
    x = torch.cat([torch.randn(1, NOISY, 8, 8, 8), HaarBasis(spatial_dims=3)(label)], dim=1)
    t = torch.tensor([300.0])

    def outputs() -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            return net(x, t).chunk(2, dim=1)

    estimate, missed = outputs()
    torch.nn.init.constant_(net.paint.cover, -9.0)
    covered, less = outputs()
    inside, outside = (..., slice(0, 4)), (..., slice(4, 8))
    torch.testing.assert_close(covered[outside], estimate[outside])
    torch.testing.assert_close(less[outside], missed[outside])
    net.out.weight.data[:NOISY], net.out.bias.data[:NOISY] = 0, 0  # what is left is paint alone
    torch.testing.assert_close(covered[inside], outputs()[0][inside])
    assert (less[inside] < missed[inside] - 100).all(), "and none of the noisy scan passes there"


def test_all_of_the_detail_comes_through_a_narrow_first_level() -> None:
    """A clean scan shown to a network of 8 channels must not come back smooth, though it has 16 bands."""
    net = network(2, grey_levels="fixed", last_channels=32)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(2)
    for _ in range(150):
        x = torch.randn(4, NOISY + GIVEN, 8, 8, generator=generator)
        loss = (net(x, torch.full((4,), 20.0)) - x[:, :NOISY]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2
