"""Noising processes and samplers: errors here would show as noise or a bias in every synthetic volume."""

from typing import Any

import pytest
import torch
from monai.networks.schedulers import DDPMScheduler

from gliomagen.diffusion.basis import HaarBasis
from gliomagen.diffusion.process import CosineDDPM, RectifiedFlow
from gliomagen.diffusion.samplers import ancestral, sampler_named
from gliomagen.errors import GliomaGenError


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_flow_ends_are_data_and_noise() -> None:
    flow = RectifiedFlow()
    clean, noise = torch.randn(2, 2, 3, 4, 4, 4, generator=_generator()).unbind(0)
    assert torch.equal(flow.add_noise(clean, noise, torch.zeros(2)), clean)
    assert torch.equal(flow.add_noise(clean, noise, torch.ones(2)), noise)


def test_flow_times_cover_where_sampling_starts() -> None:
    times = RectifiedFlow(shift=3).draw_times(20000, _generator())
    assert 0 < times.min() and times.max() == 1
    assert 0.015 < (times == 1).float().mean() < 0.03
    assert times.median() > RectifiedFlow(shift=1).draw_times(20000, _generator()).median() + 0.1


def test_spread_reaches_texture_and_anatomy() -> None:
    """Times near 0 decide fine texture, near 1 the large anatomy: a sampler that skips either leaves it out."""
    narrow, wide = RectifiedFlow(shift=4), RectifiedFlow(shift=4, spread=1.8)
    for low, high in (
        (narrow.grid(10)[1:-1], wide.grid(10)[1:-1]),
        (narrow.draw_times(20000, _generator()), wide.draw_times(20000, _generator())),
    ):
        assert (high < 0.1).float().mean() > (low < 0.1).float().mean()
        assert (high > 0.97).float().mean() > (low > 0.97).float().mean()
    assert wide.grid(10)[5] == pytest.approx(0.8)


def test_detail_that_the_network_misses_passes_by_it() -> None:
    """The estimate is better than the network's and than the noisy image's own, and exact where nothing is noise."""
    flow = RectifiedFlow(detail_rms=[0.3, 0.1])  # of two bands with two contrasts each
    clean, noise, miss = torch.randn(3, 1, 4, 64, 64, generator=_generator()).unbind(0)
    size = torch.tensor([0.3, 0.3, 0.1, 0.1])
    missed = 0 * clean  # a = 0: s = detail_rms, but in the first band
    missed[:, :2] = 30
    output = torch.cat([clean + size[:, None, None] * miss, missed], 1)
    for time in (0.05, 0.15, 0.3):
        t = torch.tensor([time])
        z = flow.add_noise(clean, noise, t)
        error = (flow.clean_from(output, z, t) - clean)[0].square().mean((1, 2)).sqrt()
        told = size**-2 + ((1 - time) / time) ** 2  # two independent witnesses: precisions add
        assert torch.allclose(error, told**-0.5, rtol=0.05)
        residual = flow.residual(output, clean, noise, t)[0].square().mean((1, 2)).sqrt()
        assert torch.allclose(residual, error / time, rtol=1e-4)
    assert torch.equal(flow.clean_from(output, noise, torch.ones(1)), output[:, :4])
    sure = torch.cat([clean, 0 * clean - 30], 1)  # where it says that it misses nothing, no noise passes
    assert torch.allclose(flow.clean_from(sure, noise, torch.full((1,), 0.1)), clean, atol=1e-4)
    assert torch.allclose(flow.clean_from(output, clean, torch.full((1,), 1e-6)), clean, atol=1e-4)


@pytest.mark.parametrize(
    "process", [RectifiedFlow(shift=3), RectifiedFlow(shift=3, spread=1.8), CosineDDPM()]
)
def test_grid_falls_from_noise_to_clean(process: RectifiedFlow | CosineDDPM) -> None:
    grid = process.grid(7)
    assert grid[0] == 1 and grid[-1] == 0 and len(grid) == 8 and (grid.diff() < 0).all()


def test_flow_residual_is_the_velocity_error() -> None:
    flow = RectifiedFlow()
    clean, noise, guess = torch.randn(3, 2, 3, 4, 4, generator=_generator()).unbind(0)
    t = torch.tensor([0.3, 0.8])
    z, column = flow.add_noise(clean, noise, t), t.reshape(2, 1, 1, 1)
    velocity_error = (z - flow.clean_from(guess, z, t)) / column - (noise - clean)
    assert torch.allclose(flow.residual(guess, clean, noise, t), -velocity_error, atol=1e-5)


def test_flow_residual_is_bounded_near_clean() -> None:
    one = torch.ones(1, 1, 2, 2)
    assert RectifiedFlow().residual(one, 0 * one, one, torch.tensor([1e-6])).max() <= 20.001


def test_network_input_has_unit_size() -> None:
    flow = RectifiedFlow(data_rms=0.7)
    clean, noise = torch.randn(2, 1, 1, 64, 64, generator=_generator()).unbind(0)
    for time in (0.1, 0.5, 0.9):
        t = torch.tensor([time])
        seen = flow.network_input(flow.add_noise(0.7 * clean, noise, t), t)
        assert abs(seen.std() - 1) < 0.05


@pytest.mark.parametrize(("sampler", "calls"), [("euler", 10), ("heun", 19), ("multistep", 10)])
@pytest.mark.parametrize("extrapolation", [1.0, 1.4])
def test_samplers_recover_the_data_and_count_their_calls(
    sampler: str, calls: int, extrapolation: float
) -> None:
    """With a perfect denoiser of a single datum every sampler must end on it, with the promised number of calls."""
    datum, count = torch.randn(1, 2, 4, 4, generator=_generator()), 0

    def denoise(z: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        nonlocal count
        count += 1
        return datum

    noise = torch.randn(1, 2, 4, 4, generator=_generator(1))
    flow = RectifiedFlow()
    sample = sampler_named(sampler, flow, extrapolation=extrapolation)
    result = sample(denoise, noise, flow.grid(10), lambda: noise)
    assert torch.allclose(result, datum, atol=1e-5) and count == calls


@pytest.mark.parametrize("sampler", ["heun", "multistep"])
@pytest.mark.parametrize("process", [RectifiedFlow(), CosineDDPM(clip=None)])
def test_second_order_is_nearer_than_euler(sampler: str, process: RectifiedFlow | CosineDDPM) -> None:
    """On a Gaussian, where the exact path is known, it must be much nearer to it at the same number of steps."""
    if sampler == "heun" and isinstance(process, CosineDDPM):
        pytest.skip("Heun is for the flow")
    spread = 0.5
    z = torch.randn(1, 1, 512, generator=_generator(), dtype=torch.float64)

    def denoise(z: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        signal, noise = process.scales(float(t))
        return z * signal * spread**2 / (signal**2 * spread**2 + noise**2)  # E[w | z_t]

    grid = process.grid(20)
    exact = spread * z
    made = [sampler_named(name, process)(denoise, z, grid, lambda: z) for name in ("euler", sampler)]
    errors = [float((result - exact).abs().mean()) for result in made]
    assert errors[1] < errors[0] / 4


def test_extrapolation_gives_back_contrast() -> None:
    """A network that has not learnt all makes estimates too flat, and folds fade."""
    flow, spread, too_flat = RectifiedFlow(), 0.5, 0.45
    z = torch.randn(1, 1, 512, generator=_generator(), dtype=torch.float64)

    def denoise(z: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        signal, noise = flow.scales(float(t))
        return z * signal * too_flat**2 / (signal**2 * too_flat**2 + noise**2)

    samplers = [sampler_named("multistep", flow, extrapolation=far) for far in (0.0, 1.0, 1.4)]
    made = [sample(denoise, z, flow.grid(10), lambda: z) for sample in samplers]
    assert torch.equal(made[0], sampler_named("euler", flow)(denoise, z, flow.grid(10), lambda: z))
    errors = [float((result - spread * z).abs().mean()) for result in made]
    assert errors[2] < errors[1] < errors[0]


@pytest.mark.parametrize("extrapolation", ["far", -1.0, float("nan"), float("inf")])
def test_a_wrong_extrapolation_is_one_line(extrapolation: Any) -> None:
    with pytest.raises(GliomaGenError, match="is not a number from 0 on"):
        sampler_named("multistep", RectifiedFlow(), extrapolation=extrapolation)


def test_noise_that_is_named_a_little_wrong_does_no_harm() -> None:
    """From pure noise a hundredth of error would show the network images hundreds of times too bright."""
    basis, generator = HaarBasis(spatial_dims=2), _generator()
    datum = basis(torch.rand(1, 2, 32, 32, generator=generator))
    start = torch.randn(1, 8, 16, 16, generator=generator)
    sizes = {}
    for clip in (None, (-0.5, 1.5)):
        process, seen = CosineDDPM(clip=clip, basis=basis), []

        def denoise(
            z: torch.Tensor, t: torch.Tensor, process: CosineDDPM = process, seen: list[float] = seen
        ) -> torch.Tensor:
            signal, noise = process.scales(float(t))
            seen.append(float(z.square().mean().sqrt()))
            named = (z - signal * datum) / noise + 0.01 * torch.randn(z.shape, generator=generator)
            return process.clean_from(named, z, t).float()

        sampler_named("multistep", process)(denoise, start, process.grid(10), lambda: start)
        sizes[clip] = max(seen)
    assert sizes[-0.5, 1.5] < 2 and sizes[None] > 20


def test_ddpm_tables_are_those_of_monai() -> None:
    schedule = DDPMScheduler(num_train_timesteps=1000, schedule="cosine")
    clean, noise = torch.randn(2, 3, 1, 8, 8, generator=_generator()).unbind(0)
    steps = torch.tensor([0, 400, 999])
    expected = schedule.add_noise(clean, noise, steps)
    assert torch.allclose(
        CosineDDPM().add_noise(clean, noise, (steps + 1) / 1000).float(), expected, atol=1e-5
    )
    assert torch.equal(CosineDDPM().network_time((steps + 1) / 1000).long(), steps)


def test_ancestral_sampling_gives_the_data_distribution() -> None:
    """With the exact denoiser of a Gaussian, the 1000-step sampler must give that Gaussian's spread."""
    process, spread = CosineDDPM(clip=None), 0.3
    generator = _generator()

    def denoise(z: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        a = process.alpha_bar(t).reshape(-1, 1, 1)
        return (z * a.sqrt() * spread**2 / (a * spread**2 + 1 - a)).float()

    z = torch.randn(1, 1, 20000, generator=generator)
    draw = lambda: torch.randn(1, 1, 20000, generator=generator)  # noqa: E731
    result = ancestral(process)(denoise, z, process.grid(1000), draw)
    assert abs(result.std() - spread) < 0.03 * spread


def test_wrong_sampler_is_named() -> None:
    with pytest.raises(GliomaGenError, match="heun"):
        sampler_named("ancestral", RectifiedFlow())
