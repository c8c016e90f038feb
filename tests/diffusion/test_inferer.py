"""The inferer: what every user of the generator, in every host, gets for a label map."""

from typing import Any

import pytest
import torch
from monai.networks.nets import DiffusionModelUNet

from gliomagen.diffusion.basis import HaarBasis, IdentityBasis
from gliomagen.diffusion.inferer import SynthesisInferer
from gliomagen.diffusion.process import CosineDDPM, RectifiedFlow
from gliomagen.errors import GliomaGenError


def network(dims: int, *, factor: int, contrasts: int = 4) -> DiffusionModelUNet:
    torch.manual_seed(0)
    net = DiffusionModelUNet(
        spatial_dims=dims,
        in_channels=(3 * contrasts + 6) * factor,
        out_channels=contrasts * factor,
        channels=[8, 8],
        attention_levels=[False, False],
        num_res_blocks=1,
        num_head_channels=8,
        norm_num_groups=4,
    )
    for parameter in net.parameters():  # MONAI starts the last layer at zero
        torch.nn.init.normal_(parameter, std=0.1)
    return net.eval()


def inferer(dims: int = 3, **options: Any) -> SynthesisInferer:
    return SynthesisInferer(
        basis=HaarBasis(spatial_dims=dims), process=RectifiedFlow(), **{"steps": 3, **options}
    )


@pytest.fixture
def label() -> torch.Tensor:
    label = torch.zeros(2, 1, 16, 16, 32)
    label[:, :, 3:13, 3:13, 4:28] = 1
    label[1, :, 6:9, 6:9, 6:20] = 4
    return label


def test_output_is_masked_and_in_range(label: torch.Tensor) -> None:
    pred = inferer()(label, network(3, factor=8))
    assert pred.shape == (2, 4, 16, 16, 32) and pred.min() >= 0 and pred.max() <= 1
    assert (pred[(label == 0).expand_as(pred)] == 0).all() and pred.std() > 0


def test_a_case_does_not_depend_on_its_batch(label: torch.Tensor) -> None:
    """Else a rerun on fewer cards, or in another order, would give other volumes."""
    net = network(3, factor=8)
    together = inferer()(label, net, case_ids=["a", "b"])
    swapped = inferer()(label.flip(0), net, case_ids=["b", "a"]).flip(0)
    alone = torch.cat([inferer()(label[i : i + 1], net, case_ids=[case]) for i, case in enumerate("ab")])
    assert (together - swapped).abs().max() < 1e-4 and (together - alone).abs().max() < 1e-4
    assert torch.equal(alone[1:], inferer()(label[1:], net, case_ids=["b"]))


def test_seed_and_case_make_the_noise(label: torch.Tensor) -> None:
    net = network(3, factor=8)
    one = inferer()(label[:1], net, case_ids=["a"])
    assert not torch.equal(one, inferer(seed=1)(label[:1], net, case_ids=["a"]))
    assert not torch.equal(one, inferer()(label[:1], net, case_ids=["b"]))


@pytest.mark.parametrize(
    ("options", "calls"),
    [({}, 3), ({"sampler": "heun"}, 5), ({"guidance": 2.0}, 6), ({"guidance": 1.0, "steps": 1}, 1)],
)
def test_network_calls_are_counted(label: torch.Tensor, options: dict[str, Any], calls: int) -> None:
    made, net = 0, network(3, factor=8)

    def count(*_: Any) -> None:
        nonlocal made
        made += 1

    net.register_forward_hook(count)
    infer = inferer(**options)
    infer(label[:1], net)
    assert made == infer.network_calls == calls


@pytest.mark.parametrize("axis", [2, 3, 4])
def test_known_voxels_come_back_exactly(label: torch.Tensor, axis: int) -> None:
    """An odd slice cuts the blocks of the Haar basis; the promise holds all the same."""
    voxels = torch.rand(2, 4, 16, 16, 32, generator=torch.Generator().manual_seed(0))
    where = torch.zeros_like(voxels, dtype=torch.bool)
    where.movedim(axis, 0)[7] = True
    pred = inferer()(label, network(3, factor=8), voxels=voxels, voxels_known=where)
    assert torch.equal(pred[where], voxels[where]) and not torch.equal(pred, voxels)


def test_known_voxels_reach_their_surroundings(label: torch.Tensor) -> None:
    net, where = network(3, factor=8), torch.zeros(2, 4, 16, 16, 32, dtype=torch.bool)
    where[..., :16] = True
    dark, bright = (
        inferer()(label, net, voxels=torch.full(where.shape, v), voxels_known=where) for v in (0.1, 0.9)
    )
    assert not torch.allclose(dark[..., 16:], bright[..., 16:])


def test_nothing_known_keeps_the_background(label: torch.Tensor) -> None:
    pred = inferer()(label, network(3, factor=8), labels_known=torch.zeros_like(label))
    assert pred[(label == 0).expand_as(pred)].std() > 0


def test_two_dimensions_and_three_contrasts() -> None:
    label = torch.ones(1, 1, 32, 16)
    pred = inferer(2, contrasts=3)(label, network(2, factor=4, contrasts=3))
    assert pred.shape == (1, 3, 32, 16)


def test_reference_recipe(label: torch.Tensor) -> None:
    reference = SynthesisInferer(basis=IdentityBasis(), process=CosineDDPM(), sampler="ancestral", steps=4)
    pred = reference(label, network(3, factor=1), case_ids=["a", "b"])
    assert pred.shape == (2, 4, 16, 16, 32) and reference.network_calls == 4
    assert torch.equal(pred, reference(label, network(3, factor=1), case_ids=["a", "b"]))


def test_detail_of_other_bands_is_refused() -> None:
    """A 3-D setting on slices would go to the wrong contrasts without a word."""
    flow = RectifiedFlow(detail_rms=[0.3, 0.2, 0.2, 0.14, 0.2, 0.14, 0.14, 0.1])
    made = SynthesisInferer(basis=HaarBasis(spatial_dims=2), process=flow, steps=1)
    with pytest.raises(GliomaGenError, match="8 numbers for 4 bands"):
        made(torch.ones(1, 1, 16, 16), network(2, factor=4))


def test_wrong_size_is_named() -> None:
    with pytest.raises(GliomaGenError, match=r"\(16, 20, 16\) is not a multiple of 16"):
        inferer()(torch.zeros(1, 1, 16, 20, 16), network(3, factor=8))
