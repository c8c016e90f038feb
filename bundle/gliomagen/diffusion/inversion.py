"""A scan to the noise it comes from, and back: the flow's equation walked in either direction."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

Denoise = Callable[[Tensor, Tensor], Tensor]


def flow_times(first: float, last: float, steps: int) -> Tensor:
    """Returns times from ``first`` to ``last``, both within (0, 1), evenly spread in the logarithm of noise to signal, (steps + 1,)."""
    begin, end = (math.log(t / (1 - t)) for t in (first, last))
    return torch.linspace(begin, end, steps + 1, dtype=torch.float64).sigmoid().float()


def flow_step(denoise: Denoise, z: Tensor, t: Tensor, after: Tensor) -> Tensor:
    """Returns z at ``after``, by Heun's rule: two denoiser calls. The same rule goes toward noise and away from it.

    dz = v dt with v = (z - w') / t. It is of second order either way, so that what goes one way comes back.

    Args:
        denoise: Gives clean estimates.
        z: (B, Cw, *S') at ``t``.
        t: (), above 0.
        after: (), above 0.
    """
    here, there = (one.to(z).expand(len(z)) for one in (t, after))
    slope = (z - denoise(z, here)) / t
    trial = z + (after - t) * slope
    slope_after = (trial - denoise(trial, there)) / after
    return z + (after - t) * (slope + slope_after) / 2


def walked(denoise: Denoise, z: Tensor, times: Tensor) -> list[Tensor]:
    """Returns z at each of ``times``, (B, Cw, *S'), the first as it is given."""
    path = [z]
    for t, after in pairwise(times):
        path.append(flow_step(denoise, path[-1], t, after))
    return path
