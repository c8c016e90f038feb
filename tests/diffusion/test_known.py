"""Known voxels on the way: a scan completed from what is known must not drift away from it."""

from __future__ import annotations

import pytest
import torch

from gliomagen.diffusion.basis import Basis, HaarBasis, IdentityBasis
from gliomagen.diffusion.known import KeepKnown, keeping


@pytest.mark.parametrize("alike", [True, False], ids=["one grey", "a scan"])
@pytest.mark.parametrize("channels", [1, 4], ids=["all contrasts", "some contrasts"])
@pytest.mark.parametrize(
    "basis", [HaarBasis(spatial_dims=3), HaarBasis(spatial_dims=2), IdentityBasis()], ids=["3", "2", "none"]
)
def test_estimates_agree_with_what_is_known(basis: Basis, channels: int, alike: bool) -> None:
    """Ragged masks cut through blocks of the basis: what a block shares must come out right on both sides."""
    dims = 2 if basis.factor == 4 else 3
    generator = torch.Generator().manual_seed(0)
    known = torch.rand(2, channels, *[12] * dims, generator=generator) < 0.3
    known[:, :, 2:6], known[:, :, 8:] = True, False
    given = torch.randn(2, 4, *[1 if alike else 12] * dims, generator=generator)
    clean = basis(torch.randn(2, 4, *[12] * dims, generator=generator))
    before = clean.clone()
    kept = KeepKnown(basis, known, given)(clean)
    torch.testing.assert_close(kept, basis(torch.where(known, given, basis.inverse(before))))
    assert torch.equal(clean, before)


def test_nothing_known_costs_nothing() -> None:
    def denoise(z: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return z

    nothing = torch.zeros(1, 1, 4, 4, 4, dtype=torch.bool)
    assert keeping(HaarBasis(spatial_dims=3), nothing, torch.zeros(1, 4, 1, 1, 1), denoise) is denoise
