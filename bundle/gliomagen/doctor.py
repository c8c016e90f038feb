"""``python -m gliomagen doctor``: will it run here, how fast, and what fits; in plain words."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from packaging.requirements import Requirement

from . import BUNDLE_ROOT
from .errors import GliomaGenError
from .machine import GIB, available_bytes, bf16_error, device_name, resolve_device, resolve_precision
from .provenance import read_card
from .weights import read_state

SIZES = ((192, 192, 144), (192, 224, 160))
"""Of a training sample: the default, and the native size."""
_PRESETS = ("preset_8gb", "preset_12gb", "preset_24gb", "preset_80gb")
_LEAST_SHARED = GIB
_LEAST_DISK = 20 * GIB


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that was looked at.

    Attributes:
        mark: ``ok``, ``note`` (slower or smaller than it could be), or ``problem``.
        text: What, and what to do.
    """

    mark: str
    text: str

    def __str__(self) -> str:
        """As it is printed."""
        return f"{self.mark:<8}{self.text}"


def diagnose() -> list[Finding]:
    """Looks at versions, devices, precision, memory, disk and weights; takes half a minute."""
    return [*versions(), *devices(), *room(Path.cwd()), *weights(Path(BUNDLE_ROOT) / "models"), *presets()]


def versions() -> Iterator[Finding]:
    """What is installed, beside what the package asks for; extras are only named."""
    try:
        asked = [Requirement(line) for line in metadata.requires("gliomagen") or ()]
    except metadata.PackageNotFoundError:
        yield Finding(
            mark="note", text="gliomagen is not installed, but found by its path; versions not checked"
        )
        return
    wrong = []
    for requirement in asked:
        extra = requirement.marker is not None and not requirement.marker.evaluate({"extra": ""})
        there = _version(requirement.name)
        if there is None and not extra:
            wrong.append(f"{requirement.name} is missing (needs {requirement.specifier})")
        elif there is not None and not requirement.specifier.contains(there, prereleases=True):
            wrong.append(f"{requirement.name} {there} (needs {requirement.specifier})")
    said = ", ".join(f"{name} {_version(name)}" for name in ("torch", "monai", "numpy"))
    yield Finding(mark="ok", text=f"Python {platform.python_version()}, {said}")
    for line in wrong:
        yield Finding(mark="problem", text=f"{line}: pip install -c constraints.txt -e .")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def devices() -> Iterator[Finding]:
    """Cards and cores, and whether bfloat16 is right on them."""
    device = resolve_device("auto")
    if device.type == "cuda":
        for number in range(torch.cuda.device_count()):
            facts = torch.cuda.get_device_properties(number)
            yield Finding(mark="ok", text=f"GPU {number}: {facts.name}, {facts.total_memory / GIB:.0f} GiB")
    else:
        yield Finding(
            mark="note", text="no GPU that this torch can use: training a study's network takes one"
        )
    cores, memory = len(os.sched_getaffinity(0)), available_bytes(torch.device("cpu"))
    yield Finding(mark="ok", text=f"{cores} CPU cores, {memory / GIB:.0f} GiB memory")
    error = bf16_error(device)
    if resolve_precision("auto", device) == "bf16":
        yield Finding(
            mark="ok", text=f"bfloat16 on {device_name(device)}: relative error {error:.4f}, is used"
        )
    elif error < 0.02:
        yield Finding(
            mark="note", text=f"bfloat16: {device_name(device)} has no units for it, float32 is used"
        )
    else:
        yield Finding(
            mark="problem", text=f"bfloat16 is wrong here (relative error {error:.2g}): update torch"
        )


def room(folder: Path) -> Iterator[Finding]:
    """Disk, and the shared memory that data workers send samples through."""
    free = shutil.disk_usage(folder).free
    mark = "ok" if free > _LEAST_DISK else "note"
    yield Finding(mark=mark, text=f"{free / GIB:.0f} GiB free on the disk of {folder}")
    shared = Path("/dev/shm")
    if shared.is_dir() and (free := shutil.disk_usage(shared).free) < _LEAST_SHARED:
        told = f"only {free / GIB:.2f} GiB of shared memory are free: pass --num_workers 0, or start the container"
        yield Finding(mark="problem", text=f"{told} with --shm-size=8g")


def weights(folder: Path) -> Iterator[Finding]:
    """The weights that come along: there, readable, and those of their cards."""
    for path in (folder / name for name in ("model.pt", "features.pt", "segmenter.pt")):
        try:
            read_card(path)  # which looks at the hash
            read_state(path)
        except GliomaGenError as error:
            yield Finding(mark="problem", text=str(error))
        else:
            yield Finding(mark="ok", text=f"{path.name}: readable, and its card's")


def presets() -> Iterator[Finding]:
    """What each preset is predicted to take in training, beside what this device has."""
    there = available_bytes(resolve_device("auto"))
    sizes = " / ".join("×".join(map(str, size)) for size in SIZES)
    for name in _PRESETS:
        needs = [predicted_memory(name, size) for size in SIZES]
        fits = (
            "fits" if max(needs) <= there else "fits at the first" if needs[0] <= there else "too large here"
        )
        told = " / ".join(f"{need / GIB:.1f}" for need in needs)
        text = f"training at {sizes} with full.yaml and {name}.yaml: {told} GiB, {fits}"
        yield Finding(mark="ok" if needs[0] <= there else "note", text=text)


def predicted_memory(preset: str, spatial_size: Sequence[int]) -> float:
    """Returns the bytes that training is predicted to take with ``full.yaml`` and a preset."""
    folder = Path(BUNDLE_ROOT) / "configs"
    parser = ConfigParser()
    parser.read_config([str(folder / f"{part}.yaml") for part in ("train", "full", preset)])
    parser.update({"device": "cpu", "needed#spatial_size": list(spatial_size)})
    needed: Any = parser.get_parsed_content("needed")
    return float(needed)
