"""The denoiser: network, basis and process put together, with guidance and a count of network calls."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import GliomaGenError
from .basis import Basis
from .condition import Condition
from .greys import black_and_white
from .process import Process


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
        self._given = _as_seen(self._channels(condition, basis))  # (B, Cc, *S')
        self._nothing = _as_seen(self._channels(condition.empty(), basis)) if guidance != 1.0 else None

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

    @staticmethod
    def _channels(condition: Condition, basis: Basis) -> Tensor:
        channels = basis(condition.channels())
        if condition.greys is None:
            return channels
        levels = black_and_white(condition.greys).to(channels)  # the same at every position
        levels = levels.reshape(*levels.shape, *[1] * (channels.ndim - 2)).expand(-1, -1, *channels.shape[2:])
        return torch.cat([channels, levels], dim=1)

    def _estimate(self, z: Tensor, t: Tensor, given: Tensor) -> Tensor:
        return self.process.clean_from(self.output(z, t, given), z, t)

    def output(self, z: Tensor, t: Tensor, given: Tensor | None = None) -> Tensor:
        """Returns the network's raw output, (B, Cw * process.outputs, *S'), in float32."""
        self.network_calls += 1
        noisy = _as_seen(self.process.network_input(z, t))
        seen = torch.cat([noisy, _as_seen(self._given if given is None else given)], dim=1)
        output: Tensor = self.network(seen, self.process.network_time(t))
        return output.float()


def _as_seen(image: Tensor) -> Tensor:
    """The network's first convolution rounds to half precision under autocast: what is kept for it needs no more."""
    kind = image.device.type
    return image.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else image
