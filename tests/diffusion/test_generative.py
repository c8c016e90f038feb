"""monai-generative's networks: weights of years of work must give the same outputs here, or be refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from generative.networks.nets import DiffusionModelUNet as GenerativeUNet
from monai.networks.nets import DiffusionModelUNet
from torch import Tensor, nn

from gliomagen.diffusion.basis import HaarBasis
from gliomagen.diffusion.inferer import SynthesisInferer
from gliomagen.diffusion.process import RectifiedFlow
from gliomagen.diffusion.weights import load_generative_weights
from gliomagen.errors import GliomaGenError
from gliomagen.weights import save_state

EQUAL = {"include_fc": False, "use_combined_linear": False}
LEVELS = (8, 16)


def settings(spatial_dims: int, channels: int = 3) -> dict[str, Any]:
    """Attention in a level and in the middle, so that every kind of layer is there."""
    return {
        "spatial_dims": spatial_dims,
        "in_channels": channels,
        "out_channels": 2,
        "attention_levels": (False, True),
        "num_res_blocks": 1,
        "num_head_channels": 8,
        "norm_num_groups": 4,
    }


def generative(**changes: Any) -> nn.Module:
    """monai-generative's network with random weights, the last layer's too, which starts at 0."""
    torch.manual_seed(0)
    network = GenerativeUNet(num_channels=LEVELS, **changes).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    return network


def inputs(spatial_dims: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, *[8] * spatial_dims, generator=generator), torch.tensor([3.0, 700.0])


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_its_weights_give_the_same_outputs(spatial_dims: int, tmp_path: Path) -> None:
    old = generative(**settings(spatial_dims))
    save_state(tmp_path / "old.pt", old)
    torch.manual_seed(2)
    new = DiffusionModelUNet(channels=LEVELS, **settings(spatial_dims), **EQUAL).eval()
    x, t = inputs(spatial_dims)
    with torch.no_grad():
        expected = old(x, t)
        assert expected.std() > 0.1 and not torch.allclose(new(x, t), expected, atol=0.1)
        load_generative_weights(new, tmp_path / "old.pt")
        assert (new(x, t) - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize(
    "flags",
    [
        {},
        {**EQUAL, "include_fc": True},
        {**EQUAL, "use_combined_linear": True},
    ],
)
def test_network_that_would_differ_silently_is_refused(flags: dict[str, bool], tmp_path: Path) -> None:
    """MONAI loads them without a word, and the outputs are others."""
    save_state(tmp_path / "old.pt", generative(**settings(2)))
    network = DiffusionModelUNet(channels=LEVELS, **settings(2), **flags)
    with pytest.raises(GliomaGenError, match=r"old\.pt.*include_fc: false, use_combined_linear: false"):
        load_generative_weights(network, tmp_path / "old.pt")


def test_weights_of_other_channels_are_refused(tmp_path: Path) -> None:
    save_state(tmp_path / "old.pt", generative(**settings(2, channels=5)))
    network = DiffusionModelUNet(channels=LEVELS, **settings(2), **EQUAL)
    with pytest.raises(GliomaGenError, match=r"old\.pt.*conv_in.*\(8, 5, 3, 3\) there and \(8, 3, 3, 3\)"):
        load_generative_weights(network, tmp_path / "old.pt")


def test_sampling_from_its_network() -> None:
    """The sampler asks nothing of a network that only MONAI's class has."""
    basis = HaarBasis(spatial_dims=3)
    options = {**settings(3, channels=(3 * 4 + 6) * basis.factor), "out_channels": 4 * basis.factor}
    inferer = SynthesisInferer(basis=basis, process=RectifiedFlow(), steps=2)
    label = torch.zeros(1, 1, 16, 16, 16)
    label[..., 4:12, 4:12, 4:12] = 1
    image = inferer(label, generative(**options), case_ids=["a"])
    assert image.shape == (1, 4, 16, 16, 16) and inferer.network_calls == 2
    assert (image[(label == 0).expand_as(image)] == 0).all() and image.std() > 0
