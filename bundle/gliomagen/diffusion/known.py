"""What is known of a scan on the sampling path: every clean estimate is made to agree with it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .basis import Basis

Denoise = Callable[[Tensor, Tensor], Tensor]
_AT_ONCE = 2**19
"""Coefficients that are taken to voxels and back in one go: what stays in a CPU's cache."""


class KeepKnown:
    """Puts known voxels into clean estimates, so that the path ends on them.

    A basis changes blocks of voxels, each for itself. A block that is known as a whole is replaced by its
    coefficients; only those that known and unknown voxels share, few of all, are taken back to voxels and forth.

    Args:
        basis: Basis of the estimates.
        known: (B, 1 or C, *S), which voxels are known.
        given: (B, C, *S) their values, read only there; or (B, C, 1 …), one for all.
    """

    def __init__(self, basis: Basis, known: Tensor, given: Tensor) -> None:
        self.basis = basis
        contrasts, dims = given.shape[1], known.ndim - 2
        self._block = (2 if basis.factor > 1 else 1,) * dims
        share = basis(known.float())[:, : known.shape[1]] * basis.factor**-0.5  # of a block's voxels
        least = 0.5 / basis.factor
        self._whole = (share > 1 - least).all(1, keepdim=True)  # (B, 1, *S')
        self._shared = ((share > least).any(1, keepdim=True) & ~self._whole)[:, 0]  # (B, *S')
        alike = given.shape[2:].numel() == 1
        self._given = basis(given.expand(-1, -1, *self._block) if alike else given)  # (B, Cw, *S' or 1 …)
        coefficients = self._given.expand(-1, -1, *share.shape[2:])
        self._shared_given = self._voxels(coefficients)
        self._shared_known = self._voxels(basis(known.float().expand(-1, contrasts, *known.shape[2:]))) > 0.5

    def _voxels(self, coefficients: Tensor) -> Tensor:
        """Returns the voxels of the shared blocks, (N, C, 2, 2, 2), of coefficients (B, Cw, *S')."""
        some = coefficients.movedim(1, -1)[self._shared]  # (N, Cw)
        return self.basis.inverse(some.reshape(*some.shape, *[1] * len(self._block)))

    def __call__(self, clean: Tensor) -> Tensor:
        """Returns (B, Cw, *S') that agree with what is known."""
        voxels = torch.where(self._shared_known, self._shared_given, self._voxels(clean))
        clean = torch.where(self._whole, self._given, clean)
        clean.movedim(1, -1)[self._shared] = self.basis(voxels).flatten(1)
        return clean


def keeping(basis: Basis, known: Tensor, given: Tensor, denoise: Denoise) -> Denoise:
    """Returns a denoiser whose estimates agree with known voxels; see :class:`KeepKnown`."""
    if not known.any():
        return denoise
    keep = KeepKnown(basis, known, given)
    return lambda z, t: keep(denoise(z, t))


def cut_off(basis: Basis, low: Tensor, high: Tensor, denoise: Denoise) -> Denoise:
    """Returns a denoiser whose estimates lie between black and white, as scans do.

    Args:
        basis: Basis of the estimates, which changes blocks of voxels, each for itself.
        low: Black, (B, C, 1 …).
        high: White, likewise.
        denoise: A denoiser. Its estimates, (B, Cw, *S'), are changed in place.
    """
    contrasts, dims = low.shape[1], low.ndim - 2
    channels = contrasts * basis.factor
    one = torch.eye(channels, device=low.device).reshape(channels, channels, *[1] * dims)
    block = basis.inverse(one).flatten(2).movedim(0, 2)  # (C, voxels of a block, Cw)
    to_voxels = block.reshape(channels, channels)
    low, high = (side.flatten(1).repeat_interleave(basis.factor, 1)[..., None] for side in (low, high))

    def within(z: Tensor, t: Tensor) -> Tensor:
        clean = denoise(z, t)
        flat = clean.flatten(2)
        for some in flat.split(max(1, _AT_ONCE // channels), dim=2):
            some.copy_(to_voxels.T @ (to_voxels @ some).clamp(low, high))
        return flat.reshape(clean.shape)

    return within
