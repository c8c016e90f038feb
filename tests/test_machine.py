"""What a machine is good for: a faster layout must not change what the network says."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gliomagen import machine
from gliomagen.errors import GliomaGenError
from gliomagen.machine import autocast, bf16_error, device_name, lay_out, refuse_company

CPU = torch.device("cpu")


def _network(dims: int) -> nn.Module:
    torch.manual_seed(0)
    convolution = nn.Conv3d if dims == 3 else nn.Conv2d
    return nn.Sequential(
        convolution(8, 32, 3, padding=1), nn.GroupNorm(8, 32), nn.SiLU(), convolution(32, 8, 1)
    )


def test_a_faster_layout_says_the_same() -> None:
    """Weights stay the same numbers, and predictions agree to half precision's rounding."""
    image = torch.randn(1, 8, 12, 12, 12, generator=torch.Generator().manual_seed(0))
    before, after = _network(3).eval(), lay_out(_network(3).eval(), CPU, "bf16")
    assert all(torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True))
    with torch.inference_mode(), autocast(CPU, "bf16"):
        expected, found = before(image).float(), after(image).float()
    assert torch.allclose(found, expected, atol=0.02 * float(expected.abs().max()))
    assert abs(bf16_error(CPU, torch.channels_last_3d) - bf16_error(CPU)) < 0.01


def test_networks_that_gain_nothing_stay_as_they_are() -> None:
    """Single precision is slower channels last, and slices have no third dimension to lay out."""
    for dims, precision in ((3, "fp32"), (2, "bf16")):
        network = lay_out(_network(dims), CPU, precision)
        assert all(parameter.is_contiguous() for parameter in network.parameters())


def test_several_processes_are_refused_where_each_would_do_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that know nothing of each other would overwrite what the others write."""
    refuse_company("mixing")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(GliomaGenError, match="mixing runs as one process"):
        refuse_company("mixing")


def test_where_trainings_run_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """One on each card the user lets us see, under its own number; else as many as asked for on the CPU."""
    assert machine.study_devices("cpu", 2) == ["cpu", "cpu"]
    for name, jobs in (("cuda:1", 1), ("cpu", 0), ("cpu", True)):
        with pytest.raises(GliomaGenError, match="give auto, cpu or cuda, and a whole number above 0"):
            machine.study_devices(name, jobs)
    monkeypatch.setattr(machine, "resolve_device", lambda name: torch.device("cuda", 0))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert machine.study_devices("auto", 1) == ["0", "1", "2"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert machine.study_devices("cuda", 1) == ["5", "7"]


def test_costs_name_what_they_were_paid_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute of a card and a minute of a thread are not the same minute."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert device_name(CPU) == "CPU, 1 thread"
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert device_name(CPU) == "CPU, 8 threads"
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"card {device.index}")
    assert device_name(torch.device("cuda", 1)) == "card 1"
