"""Synthesis inside somebody's training: real voxels stay real, and a seed gives the same case again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.networks.nets import DiffusionModelUNet

from gliomagen.diffusion.basis import HaarBasis
from gliomagen.diffusion.inferer import SynthesisInferer
from gliomagen.diffusion.process import RectifiedFlow
from gliomagen.errors import GliomaGenError
from gliomagen.labels import ET, HEAD
from gliomagen.synthesis.maps import CannotVaryError, LabelMap, Labels, Parameters
from gliomagen.synthesis.transform import SynthesizeScand


class Moved:
    """Moves the lesion, or with ``head`` everything, by a drawn step."""

    needs_donor = False
    keeps_near = False

    def __init__(self, *, head: bool = False, possible: bool = True) -> None:
        self.head = head
        self.possible = possible

    def draw(self, source: LabelMap, donor: LabelMap | None, rng: np.random.Generator) -> Parameters:
        return {"by": int(rng.integers(2, 4))}

    def apply(self, source: LabelMap, donor: LabelMap | None, parameters: Mapping[str, Any]) -> Labels:
        if not self.possible:
            raise CannotVaryError("no")
        if self.head:
            return np.roll(source.label, parameters["by"], 0)
        label = np.where(source.label > HEAD, HEAD, source.label).astype(np.uint8)
        label[np.roll(source.label == ET, parameters["by"], 2)] = ET
        return label


class FromDonor(Moved):
    needs_donor = True


@pytest.fixture(scope="module")
def network() -> DiffusionModelUNet:
    torch.manual_seed(0)
    net = DiffusionModelUNet(
        spatial_dims=3,
        in_channels=18 * 8,
        out_channels=32,
        channels=[8, 8],
        attention_levels=[False, False],
        num_res_blocks=1,
        num_head_channels=8,
        norm_num_groups=4,
    )
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return net.eval()


def make(network: DiffusionModelUNet, seed: int = 0, **options: Any) -> SynthesizeScand:
    inferer = SynthesisInferer(basis=HaarBasis(spatial_dims=3), process=RectifiedFlow(), steps=1)
    options = {"policies": [(Moved(), 1.0)], "prob": 1.0, "margin_mm": 3.0, **options}
    return SynthesizeScand(keys="image", network=network, inferer=inferer, **options).set_random_state(seed)


@pytest.fixture
def case() -> dict[str, Any]:
    label = torch.zeros(1, 32, 32, 32, dtype=torch.uint8)
    label[:, 4:28, 4:28, 4:28] = HEAD
    label[:, 12:16, 12:16, 12:16] = ET
    torch.manual_seed(1)
    affine = torch.diag(torch.tensor([3.0, 3.0, 3.0, 1.0]))
    return {
        "case": "a",
        "patient": "p",
        "image": MetaTensor(torch.rand(4, 32, 32, 32) * (label > 0), affine=affine),
        "label": MetaTensor(label, affine=affine),
    }


def test_a_repainted_lesion_leaves_the_rest_of_the_scan_alone(
    network: DiffusionModelUNet, case: dict[str, Any]
) -> None:
    made = make(network)(case)
    new, old = np.asarray(made["label"])[0], np.asarray(case["label"])[0]
    changed = (np.asarray(made["image"]) != np.asarray(case["image"])).any(0)
    assert (new != old).any() and changed[new == ET].any() and changed[(new != old) & (new == HEAD)].any()
    near = np.zeros_like(changed)
    touched = np.argwhere((new == ET) | (new != old))
    low, high = touched.min(0) - 1, touched.max(0) + 2  # a margin of one voxel of 3 mm
    near[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    assert not changed[~near].any()
    assert isinstance(made["image"], MetaTensor) and made["label"].dtype == torch.uint8
    assert torch.equal(made["image"].affine, case["image"].affine)


def test_a_whole_scan_is_made_where_the_head_moves(network: DiffusionModelUNet, case: dict[str, Any]) -> None:
    made = make(network, policies=[(Moved(head=True), 1.0)], repaint="whole")(case)
    label = np.asarray(made["label"])[0]
    assert (np.asarray(made["image"])[:, label == 0] == 0).all() and (
        label != np.asarray(case["label"])[0]
    ).any()
    with pytest.raises(GliomaGenError, match="moves the head"):
        make(network, policies=[(Moved(head=True), 1.0)])(case)


def test_a_seed_gives_the_case_again_and_says_how(network: DiffusionModelUNet, case: dict[str, Any]) -> None:
    first, again, other = (make(network, seed)(case) for seed in (0, 0, 5))
    assert torch.equal(first["image"], again["image"]) and first["synthesis"] == again["synthesis"]
    assert not torch.equal(first["image"], other["image"])
    assert json.loads(first["synthesis"])["policy"] == "Moved"


def test_what_cannot_be_made_leaves_the_case_as_it_was(
    network: DiffusionModelUNet, case: dict[str, Any]
) -> None:
    for transform in (
        make(network, prob=0.0),
        make(network, policies=[(Moved(possible=False), 1.0)]),
        make(network, check=lambda source, label, policy: "too small"),
    ):
        made = transform(case)
        assert made["synthesis"] == "" and made["image"] is case["image"] and made["label"] is case["label"]


def test_a_lesion_never_comes_from_the_same_patient(
    network: DiffusionModelUNet, case: dict[str, Any]
) -> None:
    label = np.asarray(case["label"])[0]
    same = LabelMap(case="b", patient="p", label=label, voxel_mm=(3.0, 3.0, 3.0))
    other = LabelMap(case="c", patient="q", label=label, voxel_mm=(3.0, 3.0, 3.0))
    assert make(network, policies=[(FromDonor(), 1.0)], donors=[same])(case)["synthesis"] == ""
    made = make(network, policies=[(FromDonor(), 1.0)], donors=[same, other])(case)
    assert json.loads(made["synthesis"])["donor"] == "c"
    with pytest.raises(GliomaGenError, match="donors"):
        make(network, policies=[(FromDonor(), 1.0)])
