"""The machine a workflow runs on: device, precision, threads, rank."""

from __future__ import annotations

import hashlib
import logging
import os
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import nn

from .errors import GliomaGenError

logger = logging.getLogger(__name__)
GIB = 2**30


def resolve_device(name: str) -> torch.device:
    """Returns the device of the option ``device``: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Under ``torchrun``, ``cuda`` is this rank's own card.

    Raises:
        GliomaGenError: CUDA is asked for and absent, or the name is not a device's.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise GliomaGenError(f"device '{name}' is not known; choose auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise GliomaGenError("device 'cuda' is asked for, but this machine has none; pass --device cpu")
        if device.index is None:
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    return device


def available_bytes(device: torch.device) -> int:
    """Returns the memory of a card, or of this machine (its control group's, where that is less)."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    told = limit.read_text().strip() if limit.is_file() else "max"
    return machine if told == "max" else min(machine, int(told))


def study_devices(name: str, jobs: int) -> list[str]:
    """Returns where trainings run side by side: the number of each card, or ``cpu``, ``jobs`` times.

    Args:
        name: ``auto``, ``cpu`` or ``cuda``.
        jobs: Trainings at a time on a CPU.

    Raises:
        GliomaGenError: CUDA is asked for and absent, the name is another, or there are no jobs.
    """
    if name not in ("auto", "cpu", "cuda") or isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
        raise GliomaGenError(
            f"device '{name}', jobs {jobs}: give auto, cpu or cuda, and a whole number above 0"
        )
    if resolve_device(name).type == "cpu":
        return ["cpu"] * jobs
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    return shown.split(",") if shown else [str(number) for number in range(torch.cuda.device_count())]


def resolve_precision(name: str, device: torch.device) -> str:
    """Returns ``bf16`` or ``fp32`` for the option ``precision``: ``auto``, ``bf16`` or ``fp32``.

    ``auto`` takes bfloat16 where the hardware has it and its 3-D convolution agrees with float32: some library
    versions are silently wrong.

    Raises:
        GliomaGenError: The name is not a precision's, or bf16 is asked for and gives wrong results.
    """
    if name not in ("auto", "bf16", "fp32"):
        raise GliomaGenError(f"precision '{name}' is not known; choose auto, bf16 or fp32")
    if name == "fp32" or (name == "auto" and not _has_bf16(device)):
        return "fp32"
    error = bf16_error(device)
    if error < 0.02:
        return "bf16"
    if name == "bf16":
        raise GliomaGenError(
            f"bf16 convolution is wrong on this machine (relative error {error:.2g}); use fp32"
        )
    logger.warning("bf16 convolution is wrong on this machine (relative error %.2g); using fp32", error)
    return "fp32"


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    flags = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(flags.get("avx512_bf16") or flags.get("amx_bf16"))


def bf16_error(device: torch.device, layout: torch.memory_format = torch.contiguous_format) -> float:
    """Returns the relative error of a 3-D convolution and its gradient in bfloat16 against float32.

    Args:
        device: Where.
        layout: Of the kernel in memory.
    """
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 32, 12, 12, 12, generator=generator).to(device)
    kernel = (torch.randn(32, 32, 3, 3, 3, generator=generator) / 30).to(device)
    results = []
    for dtype in (torch.float32, torch.bfloat16):
        x = image.detach().to(dtype, copy=True).requires_grad_()
        y = nn.functional.conv3d(x, kernel.to(dtype).contiguous(memory_format=layout), padding=1)
        y.float().square().mean().backward()
        assert x.grad is not None
        results.append(torch.cat([y.detach().float().flatten(), x.grad.float().flatten() * 1e4]))
    return float((results[1] - results[0]).norm() / results[0].norm())


def lay_out(network: nn.Module, device: torch.device, precision: str) -> nn.Module:
    """Returns a network that is only to predict with its 3-D convolutions laid out channels last, where that is faster.

    So it is in bf16 on CPUs with matrix units (AMX), by a third; in fp32 it is slower.
    """
    flags = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    fast = device.type == "cpu" and precision == "bf16" and flags.get("amx_bf16")
    if fast and any(value.ndim == 5 for value in network.parameters()):
        if bf16_error(device, torch.channels_last_3d) < 0.02:
            network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return network


def layout_of(network: nn.Module) -> torch.memory_format:
    """Returns how a network's 3-D convolutions lie in memory; its input is best laid out likewise."""
    for value in network.parameters():
        if value.ndim == 5 and not value.is_contiguous():
            return torch.channels_last_3d
    return torch.contiguous_format


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """Returns the context the network runs in: bfloat16 where ``precision`` is ``bf16``, else float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")  # type: ignore[return-value]


def device_name(device: torch.device) -> str:
    """Returns what a device is called in records of cost: the card's name, or the number of CPU threads."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    threads = torch.get_num_threads()
    return f"{device.type.upper()}, {threads} thread{'s' if threads > 1 else ''}"


def set_threads(count: int | None) -> int:
    """Fixes the number of CPU threads, on which bit-equality depends; None keeps what there is. Returns it."""
    if count:
        torch.set_num_threads(count)
    return torch.get_num_threads()


def rank() -> int:
    """Returns this process's number under ``torchrun``, else 0."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """Returns the number of processes under ``torchrun``, else 1."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def refuse_company(workflow: str) -> None:
    """Refuses ``torchrun`` for a workflow that is not made for several processes: each would do the whole of it.

    Raises:
        GliomaGenError: There are several.
    """
    if world_size() > 1:
        raise GliomaGenError(f"{workflow} runs as one process: start it without torchrun")


def is_mine(case: str) -> bool:
    """Tells whether this process takes a case: by the hash of its name, so that none need know of another."""
    return int(hashlib.sha256(case.encode()).hexdigest()[:8], 16) % world_size() == rank()
