"""Speed and memory of a generator: ours, the published recipe, MAISI's rectified flow, in turn on one machine.

Every figure comes from a process of its own, so that its peak memory is its own; the recipes take turns, so that other
load falls on all of them. Where a volume takes too many steps to wait for, two shorter runs are timed and the line
through them is followed; the table says so.
"""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from monai.bundle import ConfigParser
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.timing import seconds_of
from gliomagen import BUNDLE_ROOT
from gliomagen.diffusion.greys import fixed_greys
from gliomagen.diffusion.objective import DenoisingInferer
from gliomagen.machine import autocast, lay_out, resolve_device, resolve_precision
from gliomagen.training.samples import NumberedDataset, StepSampler, step_loader
from gliomagen.training.trainer import split_batch

CONFIGS = Path(BUNDLE_ROOT) / "configs"
OVERLAYS: dict[str, tuple[str, ...]] = {"ours": (), "full": ("full",), "reference": ("reference",)}
"""Config overlays of each recipe."""
RECIPES = (*OVERLAYS, "maisi")
WHAT = ("call", "sample", "train")
_EXTRAPOLATED = (2, 6)  # steps that are timed where all would take too long
_MEDIANS = ("seconds", "peak_bytes", "data_wait")
_PATIENCE = 40  # steps; more are extrapolated


@dataclass(frozen=True, kw_only=True)
class Task:
    """One measurement, as a process of its own makes it.

    Attributes:
        recipe: One of :data:`RECIPES`.
        what: ``call`` of the network, ``sample`` of a volume, ``train``: a step.
        size: Voxels of the volume.
        device: ``cpu`` or ``cuda``.
        precision: ``auto``, ``bf16``, ``fp32``; ``recipe``: what the recipe says.
        threads: CPU threads; 0 leaves them.
        steps: Network calls of a volume; 0: what the recipe says.
        repeats: Timings.
        workers: Processes that draw samples for training.
    """

    recipe: str
    what: str
    size: tuple[int, int, int]
    device: str = "cpu"
    precision: str = "recipe"
    threads: int = 0
    steps: int = 0
    repeats: int = 3
    workers: int = 1


def measure(task: Task) -> dict[str, Any]:
    """Makes one measurement in this process."""
    if task.threads:
        torch.set_num_threads(task.threads)
    make = _maisi if task.recipe == "maisi" else _bundle
    found = make(task)
    device = resolve_device(task.device)
    if device.type == "cuda":
        found["peak_bytes"] = torch.cuda.max_memory_allocated()
    else:
        found["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return found | {"threads": torch.get_num_threads()}


def _parsed(task: Task, *more: str) -> ConfigParser:
    parser = ConfigParser()
    names = ("inference", *more, *OVERLAYS[task.recipe])
    parser.read_config([str(CONFIGS / f"{name}.yaml") for name in names])
    return parser


def _precision(task: Task, recipe: str, device: torch.device) -> str:
    return str(resolve_precision(recipe if task.precision == "recipe" else task.precision, device))


def _bundle(task: Task) -> dict[str, Any]:
    """Measures a recipe of the bundle, with random weights: time and memory do not depend on them."""
    torch.manual_seed(0)
    device = resolve_device(task.device)
    if task.what == "train":
        return _training(task, device)
    config = _parsed(task)
    precision = _precision(task, str(config["precision"]), device)
    network = lay_out(config.get_parsed_content("network_def").to(device).eval(), device, precision)
    inferer = config.get_parsed_content("inferer")
    inferer.precision = precision
    label = _label(task.size).to(device)
    found: dict[str, Any] = {"precision": precision, "parameters": _parameters(network)}

    def sample(steps: int) -> Callable[[], object]:
        def run() -> None:
            inferer.steps = steps
            inferer(label, network, case_ids=["benchmark"])

        return run

    if task.what == "call":
        call = _step(network, sample(1))
        return found | _call(call, device, precision, task.repeats)
    steps = task.steps or int(config["steps"])
    return found | _volume(sample, steps, task.repeats)


def _step(network: nn.Module, sample: Callable[[], object]) -> Callable[[], object]:
    """Returns what sampling calls at each step; ours keeps what it makes of the condition from call to call."""

    class _Told(Exception):
        pass

    def tell(*args: Any) -> None:
        raise _Told(*args)

    name = "denoise" if hasattr(network, "denoise") else "forward"
    call = getattr(network, name)
    setattr(network, name, tell)
    try:
        sample()
    except _Told as told:
        return partial(call, *told.args)
    raise AssertionError("sampling calls no network")


def _call(call: Callable[[], object], device: torch.device, precision: str, repeats: int) -> dict[str, Any]:
    def run() -> None:
        with torch.inference_mode(), autocast(device, precision):
            call()

    with FlopCounterMode(display=False) as counter:
        run()
    return {
        "flops": counter.get_total_flops(),
        "seconds": median(seconds_of(run) for _ in range(repeats)),
    }


def _volume(sample: Callable[[int], Callable[[], object]], steps: int, repeats: int) -> dict[str, Any]:
    if steps <= _PATIENCE:
        sample(1)()
        return {"steps": steps, "seconds": median(seconds_of(sample(steps)) for _ in range(repeats))}
    few, more = _EXTRAPOLATED
    sample(1)()
    short, long = (
        median(seconds_of(sample(count)) for _ in range(max(1, repeats - 1))) for count in (few, more)
    )
    each = (long - short) / (more - few)
    return {"steps": steps, "seconds": short + each * (steps - few), "extrapolated_from": [few, more]}


def _training(task: Task, device: torch.device) -> dict[str, Any]:
    config = ConfigParser()
    names = ["train", *OVERLAYS[task.recipe], *(["reference_train"] if task.recipe == "reference" else [])]
    config.read_config([str(CONFIGS / f"{name}.yaml") for name in names])
    precision = _precision(task, str(config["precision"]), device)
    config["device"] = task.device
    network: nn.Module = config.get_parsed_content("network").train()
    optimizer = config.get_parsed_content("optimizer")
    process, basis = (config.get_parsed_content(name) for name in ("process", "basis"))
    prepare, loss = (config.get_parsed_content(name) for name in ("prepare_batch", "loss"))
    denoise = DenoisingInferer(basis=basis, process=process, precision=precision)
    batch_size, accumulation = int(config["batch_size"]), int(config["accumulation"])
    samples = batch_size * accumulation
    cases = [_case(task.size, len(config["contrasts"])) for _ in range(2)]
    dataset = NumberedDataset(data=cases, transform=config.get_parsed_content("train#preprocessing"))
    sampler = StepSampler(samples_per_step=samples, stop_step=10**6)
    on_card = device.type == "cuda"
    batches = iter(step_loader(dataset, sampler, num_workers=task.workers, pin_memory=on_card))
    waits: list[float] = []

    def step() -> None:
        began = time.perf_counter()
        batch = next(batches)
        waits.append(time.perf_counter() - began)
        for part in split_batch(batch, accumulation):
            image, weight, _, arguments = prepare(part, device, True)
            residual = denoise(image, network, **arguments)
            (loss(residual, weight).mean() / accumulation).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    step()
    seconds = [seconds_of(step) for _ in range(task.repeats)]
    return {
        "precision": precision,
        "parameters": _parameters(network),
        "seconds": median(seconds),
        "samples": samples,
        "data_wait": sum(waits[1:]) / sum(seconds),
    }


def _case(size: Sequence[int], contrasts: int) -> dict[str, Any]:
    """A case as the cache gives it."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand((contrasts, *size), generator=generator)
    label = _label(size)[0].to(torch.uint8)
    return {
        "case": "benchmark",
        "image": (image * (label > 0)).half().numpy(),
        "label": label.numpy(),
        "greys": fixed_greys(1, contrasts)[0].numpy(),
    }


def _maisi(task: Task) -> dict[str, Any]:
    """MAISI's rectified flow as MONAI has it: one contrast, in the latents of its autoencoder, 30 steps."""
    from monai.apps.generation.maisi.networks.autoencoderkl_maisi import AutoencoderKlMaisi
    from monai.apps.generation.maisi.networks.diffusion_model_unet_maisi import DiffusionModelUNetMaisi

    torch.manual_seed(0)
    device = resolve_device(task.device)
    precision = _precision(task, "auto", device)
    network = DiffusionModelUNetMaisi(
        spatial_dims=3,
        in_channels=4,
        out_channels=4,
        num_channels=[64, 128, 256, 512],
        attention_levels=[False, False, True, True],
        num_head_channels=[0, 0, 32, 32],
        num_res_blocks=2,
        use_flash_attention=device.type == "cuda",  # MONAI has it for GPUs only
        include_spacing_input=True,
    )
    network = lay_out(network.to(device).eval(), device, precision)
    latent = torch.randn(1, 4, *_maisi_latents(task.size), device=device)
    spacing = torch.ones(1, 3, device=device)
    at = torch.full((1,), 500.0, device=device)
    found: dict[str, Any] = {"precision": precision, "parameters": _parameters(network), "contrasts": 1}
    if task.what == "train":
        raise SystemExit("maisi: training is not measured; its two stages and its data are others")
    if task.what == "call":
        call = partial(network, latent, timesteps=at, spacing_tensor=spacing)
        return found | _call(call, device, precision, task.repeats)
    decoder = AutoencoderKlMaisi(
        spatial_dims=3,
        in_channels=1,
        out_channels=1,
        latent_channels=4,
        num_channels=[64, 128, 256],
        num_res_blocks=[2, 2, 2],
        norm_num_groups=32,
        norm_eps=1e-6,
        attention_levels=[False, False, False],
        with_encoder_nonlocal_attn=False,
        with_decoder_nonlocal_attn=False,
        use_checkpointing=False,
        use_convtranspose=False,
        norm_float16=False,
        num_splits=1,
        dim_split=1,
    )
    decoder = lay_out(decoder.to(device).eval(), device, precision)

    def sample(steps: int) -> Callable[[], object]:
        def run() -> None:
            z: Tensor = latent
            with torch.inference_mode(), autocast(device, precision):
                for _ in range(steps):
                    z = z - network(x=z, timesteps=at, spacing_tensor=spacing) / steps
                decoder.decode_stage_2_outputs(z.float())

        return run

    return found | _volume(sample, task.steps or 30, task.repeats)


def _maisi_latents(size: tuple[int, int, int]) -> tuple[int, ...]:
    """Returns the size of its latents, a quarter of the volume's; of another shape, but as many, where need be."""
    for shape in (size, (size[0], size[1] * 3 // 2, size[2] * 2 // 3)):
        if all(n % 32 == 0 for n in shape) and math.prod(shape) == math.prod(size):
            return tuple(n // 4 for n in shape)
    raise SystemExit(f"maisi: takes volumes of multiples of 32 voxels, which {size} cannot be brought to")


def _label(size: Sequence[int]) -> Tensor:
    """A head with a lesion, (1, 1, *size): only its size matters to the time."""
    label = torch.zeros(1, 1, *size)
    box = tuple(slice(n // 6, n - n // 6) for n in size)
    label[(0, 0, *box)] = 1
    label[(0, 0, *(slice(n // 2, n // 2 + n // 8) for n in size))] = 4
    return label


def _parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def in_turn(tasks: dict[str, Task], rounds: int) -> dict[str, dict[str, Any]]:
    """Measures tasks in processes of their own, in turn; seconds and peak are medians over the rounds."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in tasks}
    for _ in range(rounds):
        for name, task in tasks.items():
            command = [sys.executable, str(Path(__file__).parents[1] / "benchmark.py"), "child"]
            done = subprocess.run([*command, json.dumps(asdict(task))], capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{name}: {done.stderr.strip().splitlines()[-1]}")
            found[name].append(json.loads(done.stdout.strip().splitlines()[-1]))
    return {
        name: results[0] | {key: median(r[key] for r in results) for key in _MEDIANS if key in results[0]}
        for name, results in found.items()
    }
