"""Feature vectors of a scan: from the encoder that comes along, or from any TorchScript extractor.

An extractor gives, for a scan, a table of vectors for each *view*: ``volume`` (one vector), or ``axial``, ``coronal``,
``sagittal`` (one vector a slice or slab). It does so for each contrast by itself and, where it can, for all together.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ..errors import GliomaGenError
from ..files import file_sha256
from ..machine import autocast
from ..pictures import PLANES
from ..provenance import read_card
from ..weights import load_weights

ALL = "all"
VOLUME = "volume"
Views = dict[str, NDArray[np.float32]]
"""Vectors (n, F) by view."""

_EMPTY = 0.05  # of the fullest slab: slabs with less head are left out


class Extractor(Protocol):
    """What evaluation needs to know of a feature extractor."""

    name: str
    """What it is, for the record."""
    sha256: str
    """Of its weights, for the record."""
    settings: dict[str, Any]
    """What else its vectors hang on."""

    def __call__(self, volume: NDArray[Any]) -> dict[str, Views]:
        """Returns the views of a scan (C, X, Y, Z) in [0, 1], by contrast and for ``all``."""
        ...


class EncoderFeatures:
    """Features of the encoder of a segmentation network (``features.yaml``).

    Each level's activations are averaged over the head, and their standard deviation taken: what there is, and how
    unevenly. ``volume`` averages over all of it, the planes over slabs as thick as a voxel of the coarsest level. The
    network was trained with contrasts left out at random, so a contrast by itself is a fair input.

    Args:
        network: As ``network_def`` of ``segmenter.yaml`` with ``features.yaml`` makes it.
        weights: Its weights, with their card beside.
        contrasts: Those of the scans, as trained.
        device: Where to run.
        precision: ``bf16`` or ``fp32``.

    Raises:
        GliomaGenError: The weights do not fit the network or the contrasts.
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        weights: str | Path,
        contrasts: Sequence[str],
        device: torch.device | str = "cpu",
        precision: str = "fp32",
    ) -> None:
        self.card = read_card(weights)
        trained = list(self.card["geometry"]["contrasts"])
        if trained != list(contrasts):
            raise GliomaGenError(
                f"{weights}: sees the contrasts {trained}, not {list(contrasts)}; train features.yaml on these"
            )
        self.name = "encoder"
        self.sha256 = str(self.card["sha256"])
        self.settings: dict[str, Any] = {}
        self.contrasts = tuple(contrasts)
        self.device = torch.device(device)
        self.precision = precision
        self.levels = encoder_levels(load_weights(network, weights).to(self.device).eval())
        self.multiple = 2 ** (len(self.levels) - 1)

    @torch.inference_mode()
    def __call__(self, volume: NDArray[Any]) -> dict[str, Views]:
        """Returns the views of a scan (C, X, Y, Z) in [0, 1], by contrast and for ``all``."""
        scan = torch.from_numpy(np.ascontiguousarray(volume, np.float32))[None].to(self.device)
        head = (scan != 0).any(1, keepdim=True).float()
        views = {ALL: self._views(scan, head)}
        for number, contrast in enumerate(self.contrasts):
            alone = torch.zeros_like(scan)
            alone[:, number] = scan[:, number]
            views[contrast] = self._views(alone, head)
        return views

    @torch.inference_mode()
    def distance(self, one: NDArray[Any], other: NDArray[Any]) -> float:
        """Returns the perceptual distance of two scans of one label map (Zhang et al. 2018, eq. 1, no learnt weights).

        Activations scaled to unit length over the channels at each place; mean squared difference over the head,
        mean over the levels; from 0, at most 4.

        Args:
            one: (C, X, Y, Z) in [0, 1].
            other: The same shape.
        """
        scans = torch.from_numpy(np.stack([one, other]).astype(np.float32)).to(self.device)
        head = (scans != 0).any(1).any(0)[None, None].float()
        distances = []
        for level in self._activations(scans):
            unit = functional.normalize(level, dim=1)
            weight = _average(self._padded(head), level.shape[2:])
            apart = (unit[0] - unit[1]).square().sum(0)
            distances.append(float((apart * weight[0, 0]).sum() / weight.sum().clamp(min=1e-6)))
        return sum(distances) / len(distances)

    def _padded(self, images: Tensor) -> Tensor:
        # functional.pad counts from the last axis
        ends = [end for length in reversed(images.shape[2:]) for end in (0, -length % self.multiple)]
        return functional.pad(images, ends)

    def _activations(self, scan: Tensor) -> list[Tensor]:
        levels, x = [], self._padded(scan)
        with autocast(self.device, self.precision):
            for block in self.levels:
                x = block(x)
                levels.append(x.float())
        return levels

    def _views(self, scan: Tensor, head: Tensor) -> Views:
        levels = self._activations(scan)
        head = self._padded(head)
        coarsest = levels[-1].shape[2:]
        views = {VOLUME: self._pooled(levels, head, (1, 1, 1))}
        for plane, axis in PLANES.items():
            places = tuple(length if k == axis else 1 for k, length in enumerate(coarsest))
            views[plane] = self._pooled(levels, head, places)
        return views

    def _pooled(self, levels: Sequence[Tensor], head: Tensor, places: tuple[int, ...]) -> NDArray[np.float32]:
        area = _average(head, places).flatten()  # (n,)
        parts = []
        for level in levels:
            weight = _average(head, level.shape[2:])
            total = _average(weight, places).clamp(min=1e-6)
            mean = _average(weight * level, places) / total
            square = _average(weight * level.square(), places) / total
            parts += [mean, (square - mean.square()).clamp(min=0).sqrt()]
        vectors = torch.cat(parts, dim=1)[0].flatten(1).T  # (n, F)
        kept = vectors[area > _EMPTY * area.max()]
        return np.asarray(kept.cpu().numpy(), np.float32)


def _average(images: Tensor, size: Sequence[int]) -> Tensor:
    x, y, z = size
    return functional.adaptive_avg_pool3d(images, (x, y, z))


def encoder_levels(network: nn.Module) -> list[nn.Module]:
    """Returns the blocks of the way down of MONAI's ``UNet``, fine to coarse.

    Raises:
        GliomaGenError: The network is not built so.
    """
    levels: list[nn.Module] = []
    block = getattr(network, "model", None)
    while isinstance(block, nn.Sequential):
        levels.append(block[0])
        block = getattr(block[1], "submodule", None)
    if block is None or not levels:
        raise GliomaGenError(
            f"{type(network).__name__}: has no encoder known here; features.yaml uses MONAI's UNet"
        )
    return [*levels, block]


class ScriptedFeatures:
    """Features of a TorchScript file: RadImageNet, MedicalNet, or any other.

    A 2-D extractor takes slices (B, channels, H, W) of each contrast in three planes, a 3-D one whole contrasts
    (1, channels, X, Y, Z); the contrast is repeated over the channels. Its output is (B, F), or maps (B, F, ...)
    that are averaged.

    Args:
        path: The file.
        contrasts: Those of the scans.
        dims: 2 or 3.
        channels: It takes so many.
        size: Slices or volumes are resized to this (bilinear), if given.
        planes: Slices of these; thick slices are fit to be looked at in the plane they were taken in alone.
        mean: Taken off each channel, after scaling to [0, 1].
        deviation: What each channel is divided by.
        central: Share of the slices of each plane that are taken, around the middle of the head.
        batch: Slices at once.
        device: Where to run.

    Raises:
        GliomaGenError: The file cannot be read as TorchScript.
    """

    def __init__(
        self,
        *,
        path: str | Path,
        contrasts: Sequence[str],
        dims: int = 2,
        channels: int = 3,
        size: Sequence[int] | None = None,
        planes: Sequence[str] = tuple(PLANES),
        mean: float | Sequence[float] = 0.0,
        deviation: float | Sequence[float] = 1.0,
        central: float = 0.4,
        batch: int = 16,
        device: torch.device | str = "cpu",
    ) -> None:
        if dims not in (2, 3):
            raise GliomaGenError(f"extractor dims {dims}: choose 2 (slices) or 3 (volumes)")
        if not planes or not set(planes) <= set(PLANES):
            raise GliomaGenError(f"extractor planes {list(planes)}: choose among {sorted(PLANES)}")
        if not Path(path).is_file():
            raise GliomaGenError(f"{path}: no extractor there; give a TorchScript file")
        self.device = torch.device(device)
        try:
            self.network = torch.jit.load(str(path), map_location=self.device).eval()
        except RuntimeError as error:
            raise GliomaGenError(
                f"{path}: not TorchScript ({str(error).strip().splitlines()[0][:100]}); export it with torch.jit"
            ) from error
        self.path = Path(path)
        self.name, self.sha256 = self.path.name, file_sha256(path)
        self.contrasts, self.dims, self.channels = tuple(contrasts), dims, channels
        self.size = tuple(size) if size else None
        self.planes = {plane: axis for plane, axis in PLANES.items() if plane in planes}
        self.mean, self.deviation = mean, deviation
        self.central, self.batch = central, batch
        self.features: int | None = None
        self.settings = {
            "dims": dims,
            "channels": channels,
            "size": self.size,
            "planes": list(self.planes),
            "mean": mean,
            "deviation": deviation,
            "central": central,
        }

    @torch.inference_mode()
    def __call__(self, volume: NDArray[Any]) -> dict[str, Views]:
        """Returns the views of a scan (C, X, Y, Z) in [0, 1], by contrast.

        Raises:
            GliomaGenError: The extractor fails on it, or returns another shape.
        """
        scan = torch.from_numpy(np.ascontiguousarray(volume, np.float32)).to(self.device)
        views: dict[str, Views] = {}
        for number, contrast in enumerate(self.contrasts):
            if self.dims == 3:
                views[contrast] = {VOLUME: self._vectors(scan[number][None, None])}
                continue
            views[contrast] = {}
            for plane, axis in self.planes.items():
                slices = scan[number].movedim(axis, 0)  # (n, H, W)
                views[contrast][plane] = self._vectors(
                    self._middle(slices, scan.movedim(axis + 1, 1))[:, None]
                )
        return views

    def _middle(self, slices: Tensor, scan: Tensor) -> Tensor:
        there = torch.nonzero((scan != 0).flatten(2).any(2).any(0)).flatten()
        if not len(there):
            return slices[:0]
        first, last = int(there[0]), int(there[-1])
        half = max(1, round((last - first + 1) * self.central / 2))
        middle = (first + last + 1) // 2
        return slices[max(middle - half, 0) : middle + half]

    def _vectors(self, images: Tensor) -> NDArray[np.float32]:
        parts = []
        for start in range(0, len(images), self.batch):
            batch = images[start : start + self.batch]
            if self.size:
                mode = "bilinear" if self.dims == 2 else "trilinear"
                batch = functional.interpolate(batch, self.size, mode=mode, align_corners=False)
            batch = batch.repeat(1, self.channels, *[1] * self.dims)
            shape = (1, -1, *[1] * self.dims)
            mean = torch.as_tensor(self.mean, dtype=torch.float32, device=self.device).reshape(shape)
            deviation = torch.as_tensor(self.deviation, dtype=torch.float32, device=self.device).reshape(
                shape
            )
            parts.append(self._run((batch - mean) / deviation))
        if not parts:
            return np.zeros((0, self.features or 0), np.float32)
        return np.concatenate(parts)

    def _run(self, batch: Tensor) -> NDArray[np.float32]:
        try:
            output = self.network(batch)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1][:120]
            raise GliomaGenError(
                f"{self.path}: fails on input {tuple(batch.shape)} ({reason}); check extractor dims, channels, size"
            ) from error
        if not isinstance(output, Tensor) or output.ndim < 2 or len(output) != len(batch):
            shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise GliomaGenError(
                f"{self.path}: returns {shape} for input {tuple(batch.shape)}; an extractor must return (B, F) or maps "
                "(B, F, ...)"
            )
        vectors = output.float().flatten(2).mean(2) if output.ndim > 2 else output.float()
        if self.features is not None and vectors.shape[1] != self.features:
            raise GliomaGenError(
                f"{self.path}: returns {vectors.shape[1]} features after {self.features}; an extractor must return "
                "(B, F) with one F, set the extractor's size"
            )
        self.features = int(vectors.shape[1])
        return np.asarray(vectors.cpu().numpy(), np.float32)
