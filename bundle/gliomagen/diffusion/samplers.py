"""Samplers, each for a process: ``sampler(denoise, z, times, fresh_noise) -> w``.

``denoise(z, t)`` estimates the clean coefficients, ``z`` is the noise at ``times[0]`` (B, C, *S), ``times`` (N + 1,)
falls from 1 to 0, ``fresh_noise()`` draws noise like z for those that need some. With z_t = a w + s e a step of first
order is z' = (s' / s) z + (a' - a s' / s) w' (DDIM: Song et al. 2021; for the flow, Euler). The last step ends on the
clean estimate itself, so that s = 0 is never divided by.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from ..errors import GliomaGenError
from .process import CosineDDPM, Process, RectifiedFlow

Denoise = Callable[[Tensor, Tensor], Tensor]
Sampler = Callable[[Denoise, Tensor, Tensor, Callable[[], Tensor]], Tensor]


def _full(z: Tensor, t: Tensor) -> Tensor:
    return t.to(z).expand(z.shape[0])


def _step(process: Process, z: Tensor, clean: Tensor, t: float, after: float) -> Tensor:
    signal, noise = process.scales(t)
    signal_after, noise_after = process.scales(after)
    kept = noise_after / noise
    return torch.add(clean * (signal_after - signal * kept), z, alpha=kept)


def multistep(process: Process, *, extrapolation: float) -> Sampler:
    """From the step before (Lu et al. 2022, DPM-Solver++(2M)): N steps, N denoiser calls.

    The clean estimate is carried on linearly in the logarithm of signal to noise. An ``extrapolation`` of 1 is of
    second order, 0 of first. More than 1 guides a network by its own past (Sadat et al. 2025, HiGS): the estimate of the
    step before is a worse one, and what it lacked the present one still lacks, in part.
    """

    def width(t: float, after: float) -> float:
        (signal, noise), (signal_after, noise_after) = process.scales(t), process.scales(after)
        if signal == 0:  # pure noise
            return math.inf
        return math.log(signal_after / noise_after) - math.log(signal / noise)

    def sample(denoise: Denoise, z: Tensor, times: Tensor, fresh_noise: Callable[[], Tensor]) -> Tensor:
        before: tuple[Tensor, float] | None = None
        for t, after in pairwise(times):
            clean = denoise(z, _full(z, t))
            if after == 0:
                return clean
            ahead, wide = clean, width(float(t), float(after))
            if before is not None:
                ahead = torch.lerp(before[0], clean, 1 + extrapolation * wide / (2 * before[1]))
            z = _step(process, z, ahead, float(t), float(after))
            before = clean, wide
        return z

    return sample


def heun(process: RectifiedFlow) -> Sampler:
    """Second order, trapezoidal (Karras et al. 2022, algorithm 1): N steps, 2 N - 1 denoiser calls.

    The velocity is v = (z - w') / t, dz = v dt.
    """

    def sample(denoise: Denoise, z: Tensor, times: Tensor, fresh_noise: Callable[[], Tensor]) -> Tensor:
        for t, after in pairwise(times):
            clean = denoise(z, _full(z, t))
            if after == 0:
                return clean
            slope = (z - clean) / t
            trial = z + (after - t) * slope
            slope_after = (trial - denoise(trial, _full(z, after))) / after
            z = z + (after - t) * (slope + slope_after) / 2
        return z

    return sample


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


def repainting(process: Process, *, times_each: int) -> Sampler:
    """First order, each interval walked several times, with noise added again in between (RePaint: Lugmayr et al. 2022).

    What is made then gets several chances to fit what is known, for networks that were not trained to. From the
    cleaner end s of an interval back to t: z_t = (a_t / a_s) z_s + sqrt(s_t^2 - (a_t s_s / a_s)^2) e.

    Args:
        process: The process.
        times_each: Times each interval but the last is walked: N steps, (N - 1) times_each + 1 denoiser calls.
    """

    def sample(denoise: Denoise, z: Tensor, times: Tensor, fresh_noise: Callable[[], Tensor]) -> Tensor:
        for t, after in pairwise(times):
            clean = denoise(z, _full(z, t))
            if after == 0:
                return clean
            (signal, noise), (signal_after, noise_after) = (
                process.scales(float(t)),
                process.scales(float(after)),
            )
            kept = signal / signal_after
            added = math.sqrt(max(noise**2 - (kept * noise_after) ** 2, 0.0))
            for _ in range(times_each - 1):
                back = kept * _step(process, z, clean, float(t), float(after))
                z = torch.add(back, fresh_noise(), alpha=added)
                clean = denoise(z, _full(z, t))
            z = _step(process, z, clean, float(t), float(after))
        return z

    return sample


def sampler_named(name: str, process: Process, *, extrapolation: float = 1.0, resampling: int = 1) -> Sampler:
    """Looks a sampler up; ``extrapolation`` is of ``multistep``, ``resampling`` more than 1 takes its place.

    Raises:
        GliomaGenError: There is none of that name, it does not fit the process, ``extrapolation`` is no number from 0 on
            or ``resampling`` no whole number from 1 on.
    """
    if isinstance(resampling, bool) or not isinstance(resampling, int) or resampling < 1:
        raise GliomaGenError(f"resampling '{resampling}' is not a whole number from 1 on")
    if not isinstance(extrapolation, int | float) or not 0 <= extrapolation < math.inf:
        raise GliomaGenError(f"extrapolation '{extrapolation}' is not a number from 0 on; 1 is second order")
    known: dict[str, Callable[[], Sampler]] = {
        "euler": lambda: multistep(process, extrapolation=0.0),
        "multistep": lambda: multistep(process, extrapolation=extrapolation),
    }
    if isinstance(process, RectifiedFlow):
        known["heun"] = lambda: heun(process)
    if isinstance(process, CosineDDPM):
        known["ancestral"] = lambda: ancestral(process)
    if name not in known:
        raise GliomaGenError(
            f"sampler '{name}' does not fit {type(process).__name__}; choose {', '.join(sorted(known))}"
        )
    return repainting(process, times_each=resampling) if resampling > 1 else known[name]()
