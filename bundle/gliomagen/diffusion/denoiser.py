"""The denoiser: network, basis and process put together, with guidance and a count of network calls."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..errors import GliomaGenError
from ..machine import layout_of
from .basis import Basis
from .condition import Condition
from .greys import black_and_white
from .process import Process

_AT_ONCE = 2**19
"""Coefficients whose clean estimate is made of the network's output in one go."""
_VOXELS_AT_ONCE = 2**20
"""Voxels whose condition is transformed in one go: whole, at full size, it would need more memory than the network."""


class Denoiser:
    """Estimates clean coefficients from noisy ones under a condition.

    With guidance s (Ho & Salimans 2022): w' = w'_none + s (w'_c - w'_none); at s = 1 one network call.

    Args:
        network: Takes (B, Cw + Cc, *S') and times (B,), gives (B, Cw * process.outputs, *S').
        basis: Transforms the condition as it does the image.
        process: Says what the network sees and what its output means.
        condition: The condition of the batch.
        guidance: s.

    Attributes:
        network_calls: Forward passes so far.

    Raises:
        GliomaGenError: The process has ``detail_rms`` of another number of bands than the basis.
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        basis: Basis,
        process: Process,
        condition: Condition,
        guidance: float = 1.0,
    ) -> None:
        told = getattr(process, "detail_rms", ())
        if told and len(told) != basis.factor:
            raise GliomaGenError(
                f"detail_rms: {len(told)} numbers for {basis.factor} bands; give one for each band, or [] for none"
            )
        self.network = network
        self.process = process
        self.guidance = guidance
        self.network_calls = 0
        self._layout = layout_of(network)
        self._given = self._told(condition, basis)
        self._nothing = self._told(condition.empty(), basis) if guidance != 1.0 else None

    def __call__(self, z: Tensor, t: Tensor) -> Tensor:
        """Returns the clean estimate w'.

        Args:
            z: (B, Cw, *S')
            t: (B,) in (0, 1]
        """
        clean = self._estimate(z, t, self._given)
        if self._nothing is not None:
            free = self._estimate(z, t, self._nothing)
            clean = free + self.guidance * (clean - free)
        return clean

    def _told(self, condition: Condition, basis: Basis) -> Any:
        """Returns the condition's channels, (B, Cc, *S'), or what the network keeps of them from call to call."""
        size, plane = condition.labels.shape[2], condition.labels[0, 0, 0].numel()
        thick = 2 * max(1, _VOXELS_AT_ONCE // (2 * plane))  # even, since a basis takes voxels by twos
        slabs = (slice(first, first + thick) for first in range(0, size, thick))
        channels = torch.cat([self._as_seen(basis(condition.channels(slab))) for slab in slabs], dim=2)
        told = [channels.new_zeros(len(channels), 0)]
        if condition.greys is not None:
            told.append(black_and_white(condition.greys).to(channels))
        if condition.position is not None:
            told.append(condition.position[:, None].to(channels))
        levels = torch.cat(told, dim=1)
        if hasattr(self.network, "prepare") and not torch.is_grad_enabled():
            return self.network.prepare(channels, levels)  # type: ignore[operator]
        everywhere = levels.reshape(*levels.shape, *[1] * (channels.ndim - 2))
        return torch.cat([channels, everywhere.expand(-1, -1, *channels.shape[2:])], dim=1)

    def _estimate(self, z: Tensor, t: Tensor, given: Any) -> Tensor:
        output = self._raw(z, t, given)
        if torch.is_grad_enabled():
            return self.process.clean_from(output.float(), z, t)
        clean = torch.empty_like(output[:, : z.shape[1]], dtype=z.dtype)
        parts = max(1, z[0].numel() // _AT_ONCE)  # so that what is in between stays in a CPU's cache
        for some, made, noisy in zip(*(x.chunk(parts, dim=2) for x in (clean, output, z)), strict=True):
            some.copy_(self.process.clean_from(made.float(), noisy, t))
        return clean

    def output(self, z: Tensor, t: Tensor) -> Tensor:
        """Returns the network's raw output, (B, Cw * process.outputs, *S'), in float32."""
        return self._raw(z, t, self._given).float()

    def _raw(self, z: Tensor, t: Tensor, given: Any) -> Tensor:
        self.network_calls += 1
        noisy, time = self._as_seen(self.process.network_input(z, t)), self.process.network_time(t)
        if isinstance(given, Tensor):
            output: Tensor = self.network(torch.cat([noisy, given], dim=1), time)
        else:
            output = self.network.denoise(noisy, time, given)  # type: ignore[operator]
        return output

    def _as_seen(self, image: Tensor) -> Tensor:
        """The network's first convolution rounds to half precision under autocast: what is kept needs no more."""
        kind = image.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else image.dtype
        return image.to(dtype=dtype, memory_format=self._layout)
