"""Muon beside AdamW: one optimiser to the trainer, exact when resumed."""

from __future__ import annotations

import copy

import torch
from torch import nn

from gliomagen.training.muon import MuonAdamW


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.ModuleDict(
        {
            "down": nn.Conv2d(4, 8, 3, padding=1),
            "up": nn.Conv2d(8, 8, 3, padding=1),
            "out": nn.Conv2d(8, 4, 1),
        }
    )


def steps(net: nn.Module, optimizer: MuonAdamW, first: int, last: int) -> float:
    for step in range(first, last):
        x = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(step))
        loss = (
            net["out"](torch.relu(net["up"](torch.relu(net["down"](x))))) - x.flip(2)[:, :, :, :].roll(1, 3)
        ).square()
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
    return float(loss.mean())


def test_each_weight_is_one_optimisers_and_moves() -> None:
    """A weight in neither group would stay as it was drawn, and nobody would see why samples are poor."""
    net = network()
    optimizer = MuonAdamW(net, lr=0.01, hidden=("down", "up"))
    before = copy.deepcopy(net.state_dict())
    steps(net, optimizer, 0, 3)
    assert all((net.state_dict()[name] != value).any() for name, value in before.items())
    hidden = sum(p.numel() for p in optimizer.muon.param_groups[0]["params"])
    assert hidden == net["down"].weight.numel() + net["up"].weight.numel()


def test_a_hidden_weight_moves_in_all_its_directions_alike() -> None:
    """What Muon is for: the step of a matrix has singular values of one size."""
    net = network()
    optimizer = MuonAdamW(net, lr=0.01, hidden=("down", "up"), weight_decay=0.0)
    before = net["up"].weight.detach().clone()
    steps(net, optimizer, 0, 1)
    sizes = torch.linalg.svdvals((net["up"].weight - before).flatten(1))
    assert sizes.max() / sizes.min() < 3


def test_resumed_it_goes_on_to_the_bit() -> None:
    net = network()
    optimizer = MuonAdamW(net, lr=0.01, hidden=("down", "up"))
    steps(net, optimizer, 0, 4)
    state, weights = copy.deepcopy(optimizer.state_dict()), copy.deepcopy(net.state_dict())
    steps(net, optimizer, 4, 8)
    other = network()
    other.load_state_dict(weights)
    resumed = MuonAdamW(other, lr=0.01, hidden=("down", "up"))
    resumed.load_state_dict(state)
    for group in resumed.param_groups:
        assert group["lr"] == 0.01
    steps(other, resumed, 4, 8)
    assert all(
        torch.equal(a, b) for a, b in zip(net.state_dict().values(), other.state_dict().values(), strict=True)
    )
