"""Scans are cut off at black and white: what lies beyond is learnt and made so."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gliomagen.diffusion.basis import HaarBasis
from gliomagen.diffusion.inferer import SynthesisInferer
from gliomagen.diffusion.known import cut_off
from gliomagen.diffusion.objective import DenoisingInferer, PrepareDenoising
from gliomagen.diffusion.process import CosineDDPM, Process, RectifiedFlow

SIZE = (16, 16, 16)
BLACK, GREY, WHITE = 0, 5, 10


def batch() -> dict[str, Tensor]:
    """A scan that is black, grey and white, under much noise."""
    image = torch.full((1, 4, *SIZE), 0.5)
    image[:, :, :4], image[:, :, 8:] = 0.0, 1.0
    generator = torch.Generator().manual_seed(0)
    return {
        "image": image,
        "label": torch.ones(1, 1, *SIZE),
        "labels_known": torch.ones(1, 1, *SIZE, dtype=torch.bool),
        "voxels_known": torch.zeros(1, 4, *SIZE, dtype=torch.bool),
        "noise": torch.randn(1, 4, *SIZE, generator=generator),
        "time": torch.tensor([0.9]),
    }


class Estimates(nn.Module):
    """Estimates the same grey everywhere, whatever it sees."""

    def __init__(self, grey: float) -> None:
        super().__init__()
        self.grey = nn.Parameter(torch.tensor(grey))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        image = self.grey.expand(len(x), 4, *(2 * n for n in x.shape[2:]))
        return HaarBasis(spatial_dims=3)(image)


def residual(network: nn.Module, process: Process) -> Tensor:
    image, _, _, told = PrepareDenoising()(batch(), "cpu")
    inferer = DenoisingInferer(basis=HaarBasis(spatial_dims=3), process=process)
    return inferer(image, network, **told)[0, 0, :, 0, 0]


@pytest.mark.parametrize(("grey", "none", "some"), [(1.5, WHITE, BLACK), (-1.5, BLACK, WHITE)])
def test_beyond_where_a_scan_is_cut_off_nothing_is_wrong(grey: float, none: int, some: int) -> None:
    """Else a network misses white to both sides, and enhancing tissue is darker than in any scan."""
    network = Estimates(grey)
    error = residual(network, RectifiedFlow())
    assert error[none] == 0 and error[GREY] != 0 and error[some] != 0
    assert residual(network, RectifiedFlow(censored=False))[none] != 0
    error[none].backward()
    assert network.grey.grad == 0


def test_between_black_and_white_every_error_counts() -> None:
    errors = [residual(Estimates(0.3), RectifiedFlow(censored=censored)) for censored in (True, False)]
    assert torch.equal(*errors) and (errors[0] != 0).all()


def test_an_error_of_noise_counts_everywhere() -> None:
    assert (residual(Estimates(9.0), CosineDDPM()) != 0).all()


def test_estimates_are_cut_off_at_black_and_white() -> None:
    basis = HaarBasis(spatial_dims=3)
    image = 3 * torch.randn(2, 4, *SIZE, generator=torch.Generator().manual_seed(1))
    low, high = (
        torch.tensor([side, 2 * side]).reshape(2, 1, 1, 1, 1).expand(2, 4, 1, 1, 1) for side in (-1.0, 1.0)
    )
    cut = cut_off(basis, low, high, lambda z, t: z.clone())(basis(image), torch.ones(2))
    assert torch.allclose(basis.inverse(cut), image.clamp(low, high), atol=1e-5)


def test_a_sample_is_as_black_as_a_scan() -> None:
    """Acceptance counts what is exactly black inside the head."""
    inferer = SynthesisInferer(basis=HaarBasis(spatial_dims=3), process=RectifiedFlow(), steps=2)
    assert (inferer(torch.ones(1, 1, *SIZE), Estimates(-9.0)) == 0).all()


def test_samples_follow_estimates_that_are_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A path toward what no scan shows leads where the network has never been."""
    seen: list[float] = []

    class Watched(Estimates):
        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            seen.append(float(HaarBasis(spatial_dims=3).inverse(x[:, :32].float()).mean()))
            return super().forward(x, t)

    def sample(**options: Any) -> Tensor:
        seen.clear()
        process = RectifiedFlow(data_rms=1.0, **options)
        inferer = SynthesisInferer(basis=HaarBasis(spatial_dims=3), process=process, steps=4)
        return inferer(torch.ones(1, 1, *SIZE), Watched(9.0))

    assert (sample() == 1).all() and max(seen) < 1.1
    sample(censored=False)
    assert max(seen) > 2
