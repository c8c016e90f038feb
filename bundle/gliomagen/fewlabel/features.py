"""Features of scans: what blocks of the denoiser make of a scan, with some noise added, when it is told nothing.

A network that takes noise out of scans has to tell tissues apart, though nobody ever told it their names (Baranchuk et al.
2022). Its condition is the empty one: no labels, no voxels; the scan is its noisy input alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..diffusion.basis import Basis
from ..diffusion.condition import Condition, make_condition
from ..diffusion.denoiser import Denoiser
from ..diffusion.greys import fixed_greys, measure_greys, standardize
from ..diffusion.process import Process
from ..errors import GliomaGenError
from ..machine import autocast
from ..randomness import torch_generator

Choice = Mapping[float, Sequence[str]]
"""Decoder blocks by time of the noise, in (0, 1]: 0.1 is little."""


@dataclass(frozen=True, kw_only=True)
class FeatureMaps:
    """Features of one scan, each block's on its own grid: on the scan's they would not fit into memory.

    Attributes:
        maps: (F, *S') of each block and time, over the same field of view.
        shape: S, voxels of the scan.
    """

    maps: Sequence[Tensor]
    shape: tuple[int, ...]

    @property
    def width(self) -> int:
        """Features of a voxel."""
        return sum(len(each) for each in self.maps)

    def at(self, voxels: Tensor) -> Tensor:
        """Returns the features of some voxels, interpolated linearly, (N, F) float32.

        Args:
            voxels: (N, dimensions) indices.
        """
        return torch.cat(self.each(voxels), 1)

    def each(self, voxels: Tensor) -> list[Tensor]:
        """Returns the same of each map by itself."""
        size = torch.tensor(self.shape, device=voxels.device)
        places = ((2 * voxels + 1) / size - 1).flip(1).float()  # grid_sample names the last axis first
        grid = places.reshape(1, -1, *[1] * (len(self.shape) - 1), len(self.shape))
        rows = [
            functional.grid_sample(each[None].float(), grid, padding_mode="border", align_corners=False)
            for each in self.maps
        ]
        return [row.reshape(row.shape[1], -1).T for row in rows]


def block_names(network: nn.Module) -> list[str]:
    """Returns the decoder blocks that features may come of, coarsest first.

    Raises:
        GliomaGenError: The network has no decoder as ``HaarUNet`` has it.
    """
    up = getattr(network, "up", None)
    if not isinstance(up, nn.ModuleList):
        raise GliomaGenError(f"{type(network).__name__} has no decoder blocks by name; use a HaarUNet")
    levels = reversed(list(enumerate(up)))
    return [f"up.{level}.{block}" for level, stage in levels for block in range(len(list(stage.children())))]


def checked(network: nn.Module, choice: Choice) -> Choice:
    """Returns a choice.

    Raises:
        GliomaGenError: The network has no such block, or a time is not in (0, 1].
    """
    there = block_names(network)
    if not choice or not all(0 < time <= 1 for time in choice):
        raise GliomaGenError(f"times {list(choice)}: give some above 0, up to 1")
    for blocks in choice.values():
        unknown = [block for block in blocks if block not in there]
        if unknown or not blocks:
            raise GliomaGenError(f"blocks {list(unknown or blocks)}: choose among {there}")
    return {float(time): list(blocks) for time, blocks in choice.items()}


def scan_greys(image: Tensor) -> Tensor:
    """Returns the grey levels of scans over the head, (B, C, 2); those of a contrast that shows none are made up.

    Args:
        image: (B, C, *S) in [0, 1], 0 outside the head.
    """
    greys = measure_greys(image, image > 0)
    return torch.where(greys.isnan(), fixed_greys(image.shape[0], image.shape[1]).to(greys), greys)


def told_nothing(
    network: nn.Module,
    image: Tensor,
    *,
    num_labels: int,
    greys: Tensor | None = None,
    position: Tensor | None = None,
) -> tuple[Tensor, Condition]:
    """Returns scans in the network's range, (B, C, *S), and the condition that tells no label and no voxel of them.

    Args:
        network: The denoising network; says whether it is told grey levels and heights.
        image: (B, C, *S) in [0, 1].
        num_labels: L.
        greys: (B, C, 2), measured if None.
        position: (B,), not known if None.
    """
    if getattr(network, "greys", None) is None:
        told, greys = None, fixed_greys(image.shape[0], image.shape[1]).to(image)
    else:
        told = greys = scan_greys(image) if greys is None else greys.to(image)
    if getattr(network, "place_in", None) is None:
        position = None
    elif position is None:
        position = torch.full((len(image),), torch.nan)
    nothing = torch.zeros_like(image[:, :1], dtype=torch.long)
    condition = make_condition(
        nothing,
        num_labels=num_labels,
        contrasts=image.shape[1],
        labels_known=nothing,
        greys=told,
        position=None if position is None else position.to(image),
    )
    return standardize(image, greys), condition


class DenoiserFeatures:
    """Makes features of scans.

    Args:
        network: The denoising network, with its weights.
        basis: Basis the process runs in.
        process: The noising process.
        num_labels: Labels without background that the network can be told, L.
        choice: Decoder blocks, of :func:`block_names`, by time.
        draws: Noises that features are the mean of.
        seed: Of the noise, with the scan's name.
        precision: ``bf16`` or ``fp32``.

    Raises:
        GliomaGenError: There is no such block, or a time is not in (0, 1].
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        basis: Basis,
        process: Process,
        num_labels: int,
        choice: Choice,
        draws: int = 1,
        seed: int = 0,
        precision: str = "fp32",
    ) -> None:
        self.choice = checked(network, choice)
        self.network = network.eval()
        self.basis = basis
        self.process = process
        self.num_labels = num_labels
        self.draws = draws
        self.seed = seed
        self.precision = precision

    def of(self, choice: Choice) -> DenoiserFeatures:
        """Returns the same with another choice."""
        other = copy.copy(self)
        other.choice = checked(self.network, choice)
        return other

    @torch.inference_mode()
    def __call__(
        self,
        image: Tensor,
        names: Sequence[str],
        *,
        greys: Tensor | None = None,
        position: Tensor | None = None,
    ) -> list[FeatureMaps]:
        """Returns the features of scans.

        Args:
            image: (B, C, *S) in [0, 1], 0 outside the head; sizes are multiples of 16.
            names: Of the scans: what the noise is drawn for, so that it does not hang on what else is in the batch.
            greys: (B, C, 2) grey levels of the scans that slices are of; None: measured on the images.
            position: (B,) relative heights of slices, for a network that is told them; NaN where not known.
        """
        if bad := [size for size in image.shape[2:] if size % 16]:
            raise GliomaGenError(f"{names[0]}: sizes {bad} are no multiples of 16; prepare the scan first")
        clean, denoiser = self._denoiser(image, greys, position)
        found: list[Sequence[Tensor]] = []
        with autocast(image.device, self.precision):
            for time, blocks in self.choice.items():
                total: list[Tensor] | None = None
                for draw in range(self.draws):
                    made = self._activations(denoiser, clean, image, names, time, draw, blocks)
                    total = made if total is None else [a + b for a, b in zip(total, made, strict=True)]
                assert total is not None
                found += [(each / self.draws).unbind(0) for each in total]
        return [FeatureMaps(maps=maps, shape=tuple(image.shape[2:])) for maps in zip(*found, strict=True)]

    def _denoiser(
        self, image: Tensor, greys: Tensor | None, position: Tensor | None
    ) -> tuple[Tensor, Denoiser]:
        standard, condition = told_nothing(
            self.network, image, num_labels=self.num_labels, greys=greys, position=position
        )
        with autocast(image.device, self.precision):
            denoiser = Denoiser(
                network=self.network, basis=self.basis, process=self.process, condition=condition
            )
        return self.basis(standard), denoiser

    def _activations(
        self,
        denoiser: Denoiser,
        clean: Tensor,
        image: Tensor,
        names: Sequence[str],
        time: float,
        draw: int,
        blocks: Sequence[str],
    ) -> list[Tensor]:
        noise = torch.stack(
            [
                torch.randn(
                    image.shape[1:], generator=torch_generator(self.seed, "features", name, time, draw)
                )
                for name in names
            ]
        )
        t = torch.full((len(image),), time, device=image.device)
        z = self.process.add_noise(clean, self.basis(noise.to(image)), t)
        with watched(self.network, blocks) as seen:
            denoiser.output(z, t)
        return [seen[block].float() for block in blocks]


@contextmanager
def watched(network: nn.Module, blocks: Sequence[str]) -> Any:
    """Keeps what blocks put out, by name, while the context lasts."""
    seen: dict[str, Tensor] = {}

    def keeping(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            seen[name] = output

        return hook

    with ExitStack() as stack:
        for block in blocks:
            handle = network.get_submodule(block).register_forward_hook(keeping(block))
            stack.callback(handle.remove)
        yield seen
