"""The Haar basis: if it lost energy or detail, every volume would be blurred or biased."""

import pytest
import torch

from gliomagen.diffusion.basis import HaarBasis


@pytest.mark.parametrize(("dims", "shape"), [(2, (2, 3, 16, 32)), (3, (2, 4, 16, 8, 32))])
def test_orthonormal(dims: int, shape: tuple[int, ...]) -> None:
    image = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    basis = HaarBasis(spatial_dims=dims)
    bands = basis(image)
    assert bands.shape == (shape[0], shape[1] * 2**dims, *(n // 2 for n in shape[2:]))
    assert abs(bands.square().sum() / image.square().sum() - 1) < 1e-6
    assert (basis.inverse(bands) - image).abs().max() < 1e-6


def test_equals_the_matrix_by_definition() -> None:
    """Against the Haar matrix itself, so that forward and inverse cannot be wrong together."""
    image = torch.arange(8.0).reshape(1, 1, 2, 2, 2)
    pair = torch.tensor([[1.0, 1.0], [1.0, -1.0]]) / 2**0.5
    expected = torch.einsum("ai,bj,ck,ijk->abc", pair, pair, pair, image[0, 0])
    bands = HaarBasis(spatial_dims=3)(image)[
        0, :, 0, 0, 0
    ]  # band index: last axis is the most significant bit
    assert torch.allclose(bands.reshape(2, 2, 2), expected.permute(2, 1, 0), atol=1e-6)


def test_white_noise_stays_white() -> None:
    noise = torch.randn(1, 2, 64, 64, 32, generator=torch.Generator().manual_seed(1))
    bands = HaarBasis(spatial_dims=3)(noise)[0].flatten(1)
    covariance = bands @ bands.T / bands.shape[1]
    assert (covariance - torch.eye(len(bands))).abs().max() < 0.05


def test_odd_size_is_refused() -> None:
    with pytest.raises(ValueError, match="even sizes"):
        HaarBasis(spatial_dims=3)(torch.zeros(1, 1, 4, 5, 4))
