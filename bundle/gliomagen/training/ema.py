"""Exponential moving average of the weights, as a function of the optimiser step."""

from __future__ import annotations

import copy

import torch
from torch import nn


class EMA:
    """Keeps averaged weights of a network; update it once an optimiser step.

    The decay at step s is min(decay, (1 + s) / (10 + s)): no warm-up state to forget on resume.

    Args:
        network: The unwrapped network.
        decay: Final decay.

    Attributes:
        network: The averaged copy, in evaluation mode.
    """

    def __init__(self, network: nn.Module, *, decay: float) -> None:
        self.decay = decay
        self.network = copy.deepcopy(network).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, network: nn.Module, *, step: int) -> None:
        """Moves the average toward ``network`` after optimiser step number ``step`` (from 1)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        mine, new = self.network.state_dict(), network.state_dict()
        floating = [name for name, value in mine.items() if value.is_floating_point()]
        torch._foreach_lerp_([mine[n] for n in floating], [new[n] for n in floating], 1 - decay)
        for name in mine.keys() - set(floating):
            mine[name].copy_(new[name])
