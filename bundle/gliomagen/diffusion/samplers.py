"""Samplers: free functions of one signature.

``sampler(denoise, z, times, fresh_noise) -> w``: ``denoise(z, t)`` estimates the clean coefficients, ``z`` is the
noise at ``times[0]`` (B, C, *S), ``times`` (N + 1,) falls from 1 to 0, ``fresh_noise()`` draws noise like z for
those that need some. The velocity is v = (z - w') / t, dz = v dt. The last step ends on the clean estimate itself,
so that t = 0 is never divided by.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from ..errors import GliomaGenError
from .process import CosineDDPM

Denoise = Callable[[Tensor, Tensor], Tensor]
Sampler = Callable[[Denoise, Tensor, Tensor, Callable[[], Tensor]], Tensor]


def _full(z: Tensor, t: Tensor) -> Tensor:
    return t.to(z).expand(z.shape[0])


def euler(denoise: Denoise, z: Tensor, times: Tensor, fresh_noise: Callable[[], Tensor]) -> Tensor:
    """First order: N steps, N denoiser calls."""
    for t, after in pairwise(times):
        clean = denoise(z, _full(z, t))
        if after == 0:
            return clean
        z = torch.lerp(clean, z, float(after / t))
    return z


def heun(denoise: Denoise, z: Tensor, times: Tensor, fresh_noise: Callable[[], Tensor]) -> Tensor:
    """Second order, trapezoidal (Karras et al. 2022, algorithm 1): N steps, 2 N - 1 denoiser calls."""
    for t, after in pairwise(times):
        clean = denoise(z, _full(z, t))
        if after == 0:
            return clean
        slope = (z - clean) / t
        trial = z + (after - t) * slope
        slope_after = (trial - denoise(trial, _full(z, after))) / after
        z = z + (after - t) * (slope + slope_after) / 2
    return z


def multistep(denoise: Denoise, z: Tensor, times: Tensor, fresh_noise: Callable[[], Tensor]) -> Tensor:
    """Second order from the step before (Lu et al. 2022, DPM-Solver++(2M)): N steps, N denoiser calls.

    The clean estimate is carried on linearly in the logarithm of signal to noise, ln (1 - t) / t.
    """
    before: Tensor | None = None
    width_before = float("inf")  # the first step comes from pure noise
    for t, after in pairwise(times):
        clean = denoise(z, _full(z, t))
        if after == 0:
            return clean
        width = float(t.logit() - after.logit())
        ahead = clean if before is None else torch.lerp(before, clean, 1 + width / (2 * width_before))
        z = torch.lerp(ahead, z, float(after / t))
        before, width_before = clean, width
    return z


def ancestral(process: CosineDDPM) -> Sampler:
    """Returns the ancestral DDPM sampler of a process (Ho et al. 2020, algorithm 2), respaced if N < T."""

    def sample(denoise: Denoise, z: Tensor, times: Tensor, fresh_noise: Callable[[], Tensor]) -> Tensor:
        signal = process.alpha_bar(times)  # (N + 1,) rising to 1
        for i, t in enumerate(times[:-1]):
            a, a_after = signal[i], signal[i + 1]
            clean = denoise(z, _full(z, t))
            if i == len(times) - 2:
                return clean
            kept = a / a_after  # alpha of this step; beta = 1 - kept
            mean = a_after.sqrt() * (1 - kept) / (1 - a) * clean + kept.sqrt() * (1 - a_after) / (1 - a) * z
            spread = ((1 - a_after) / (1 - a) * (1 - kept)).sqrt()
            z = mean.to(z) + spread.to(z) * fresh_noise()
        return z

    return sample


def sampler_named(name: str, process: object) -> Sampler:
    """Looks a sampler up.

    Raises:
        GliomaGenError: There is none of that name, or it does not fit the process.
    """
    if name == "ancestral" and isinstance(process, CosineDDPM):
        return ancestral(process)
    flow: dict[str, Sampler] = {"euler": euler, "heun": heun, "multistep": multistep}
    if name in flow and not isinstance(process, CosineDDPM):
        return flow[name]
    raise GliomaGenError(
        f"sampler '{name}' does not fit {type(process).__name__}; choose {', '.join(flow)} (flow), ancestral (DDPM)"
    )
