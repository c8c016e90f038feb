"""The generator's network: a U-Net whose finest level is lean, with sharp label edges put in by a path of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from monai.networks.blocks import SABlock
from monai.networks.layers import Conv
from monai.networks.nets.diffusion_model_unet import get_timestep_embedding
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from .greys import GreyDistribution

_COVER_SPEED = 16.0
"""Times the learning rate: what labels leave of an estimate is far from where it starts."""


def over_positions(values: Tensor, like: Tensor) -> Tensor:
    """Shapes values of each channel, (B, C), to act at every position of (B, C, *S)."""
    return values.reshape(*values.shape, *[1] * (like.ndim - 2))


class ResidualBlock(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))) * (1 + a) + b)), a and b from the time (Dhariwal & Nichol 2021, eq. 6).

    Args:
        spatial_dims: 2 or 3.
        channels: Of input and output.
        time_channels: Of the time's embedding.
        groups: Of the normalization.
    """

    def __init__(self, *, spatial_dims: int, channels: int, time_channels: int, groups: int) -> None:
        super().__init__()
        convolution = Conv[Conv.CONV, spatial_dims]
        self.norm_in = nn.GroupNorm(groups, channels)
        self.conv_in = convolution(channels, channels, 3, padding=1)
        self.norm_out = nn.GroupNorm(groups, channels)
        self.conv_out = convolution(channels, channels, 3, padding=1)
        self.time = nn.Linear(time_channels, 2 * channels)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Returns (B, C, *S).

        Args:
            x: (B, C, *S)
            time: (B, T)
        """
        scale, shift = over_positions(self.time(time), x).chunk(2, dim=1)
        hidden = self.conv_in(functional.silu(self.norm_in(x)))
        hidden = torch.addcmul(shift, self.norm_out(hidden), 1 + scale)
        result: Tensor = x + self.conv_out(functional.silu(hidden))
        return result


class Attention(nn.Module):
    """x + attention(norm(x)), every position to every other.

    Args:
        channels: Of input and output.
        head_channels: Of each head.
        groups: Of the normalization.
    """

    def __init__(self, *, channels: int, head_channels: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels)
        self.attention = SABlock(channels, channels // head_channels, use_flash_attention=True)

    def forward(self, x: Tensor) -> Tensor:
        """Returns (B, C, *S)."""
        tokens = self.norm(x).flatten(2).transpose(1, 2)  # (B, positions, C)
        return x + self.attention(tokens).transpose(1, 2).reshape(x.shape)


class LabelPaint(nn.Module):
    """Greys put where a label map says, its edges inside each Haar block kept.

    A grey named once for a block, times the label's Haar coefficients there, is the transform of that grey on that
    label's voxels. Before that a learnt kernel softens the label maps, each by its own, as the scanner does (the
    partial volume of Van Leemput et al. 2003); it starts as none.

    Where paint covers, little shows through: a cavity is one grey, and what a network made for tissue adds there is
    noise. How much of the network's own estimate a label leaves, it learns for each coefficient; it starts as all.

    Args:
        spatial_dims: 2 or 3.
        num_labels: Labels without background, L.
        contrasts: C.
    """

    def __init__(self, *, spatial_dims: int, num_labels: int, contrasts: int) -> None:
        super().__init__()
        self.num_labels, self.contrasts = num_labels, contrasts
        self.bands = 2**spatial_dims
        width = num_labels * self.bands
        self.soften = Conv[Conv.CONV, spatial_dims](width, width, 3, padding=1, groups=num_labels, bias=False)
        nn.init.dirac_(self.soften.weight, groups=num_labels)
        self.cover = nn.Parameter(torch.zeros(num_labels, self.bands * contrasts))

    def left(self, labels: Tensor) -> Tensor:
        """Returns the logarithm of what the labels leave of each coefficient, (B, bands * C, *S).

        Args:
            labels: (B, bands, L, *S) Haar coefficients of the label maps.
        """
        share = labels[:, 0].float() / math.sqrt(self.bands)  # of a block
        return torch.einsum("bl...,lk->bk...", share, _COVER_SPEED * self.cover).to(labels.dtype)

    def softened(self, labels: Tensor) -> Tensor:
        """Returns the Haar coefficients of the softened label maps, (B, L, bands, *S).

        Args:
            labels: (B, bands, L, *S) those of the label maps.
        """
        width = (self.num_labels, self.bands)
        soft: Tensor = self.soften(labels.transpose(1, 2).flatten(1, 2)).unflatten(1, width)
        return soft

    def forward(self, soft: Tensor, greys: Tensor) -> Tensor:
        """Returns the coefficients of what is painted, (B, bands * C, *S).

        Args:
            soft: (B, L, bands, *S), see :meth:`softened`.
            greys: (B, L * C, *S) of each label, position by position.
        """
        colours = greys.unflatten(1, (self.num_labels, self.contrasts)).to(soft.dtype)
        return torch.einsum("blk...,blc...->bkc...", soft, colours).flatten(1, 2)


class Prepared(NamedTuple):
    """What :class:`HaarUNet` makes of its condition.

    Attributes:
        condition: (B, first level's channels, *S)
        labels: (B, L, bands, *S) coefficients of the softened label maps.
        left: (B, noisy channels, *S) see :meth:`LabelPaint.left`.
        greys: (B, T) the grey levels' and the position's part in the time's embedding, or None.
    """

    condition: Tensor
    labels: Tensor
    left: Tensor
    greys: Tensor | None


class HaarUNet(nn.Module):
    """A U-Net for Haar coefficients, whose cost lies where the anatomy is decided.

    The finest level holds most of the positions, so it is kept lean: the condition enters by a 1x1x1 convolution,
    levels are joined by 2x2x2 convolutions of stride 2 and by sums. What a level no wider than the coefficients has
    no room for goes around it: the last convolutions see the noisy coefficients once more, since removing a little
    noise asks for all of them; and :class:`LabelPaint` puts in the edges of lesions.

    Args:
        spatial_dims: 2 or 3.
        noisy_channels: The first so many channels of the input are the noisy coefficients.
        condition_channels: The others, in Haar bands; the first of each band are the labels.
        out_channels: Of the output.
        channels: Of each level, finest first; multiples of ``groups``, the last of ``head_channels``.
        blocks: Residual blocks of each level on the way down, and on the way up; the finest has one.
        last_channels: Width of the last convolutions.
        head_channels: Of each head of the attention at the coarsest level.
        groups: Of the normalization.
        grey_levels: ``drawn``: the weights carry a distribution of them, and two more channels for each contrast tell
            those of the scan, the same at every position: they act as the time does.
        position: One more such channel tells the relative height of a slice, NaN where it is not known.
        contrasts: C.
        num_labels: Labels without background, L.
        checkpointing: Blocks keep only their input for the backward pass and are run again there: less memory, a
            third more time.

    Attributes:
        greys: The distribution, or None.
    """

    def __init__(
        self,
        *,
        spatial_dims: int,
        noisy_channels: int,
        condition_channels: int,
        out_channels: int,
        channels: Sequence[int],
        blocks: int = 2,
        last_channels: int = 64,
        head_channels: int = 32,
        groups: int = 8,
        grey_levels: str = "drawn",
        position: bool = False,
        contrasts: int = 4,
        num_labels: int = 5,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        convolution, transposed = Conv[Conv.CONV, spatial_dims], Conv[Conv.CONVTRANS, spatial_dims]
        counts = [1] + [blocks] * (len(channels) - 1)
        self.noisy_channels = noisy_channels
        self.checkpointing = checkpointing
        self.out_channels = out_channels
        self.banded = condition_channels  # grey levels come after these, and have no bands
        self.greys = GreyDistribution(contrasts) if grey_levels == "drawn" else None
        first, deepest = channels[0], channels[-1]
        self.width = first
        time_channels = 4 * first

        def block(width: int) -> ResidualBlock:
            return ResidualBlock(
                spatial_dims=spatial_dims, channels=width, time_channels=time_channels, groups=groups
            )

        self.time_in = nn.Linear(first, time_channels)
        self.time = nn.Sequential(nn.SiLU(), nn.Linear(time_channels, time_channels), nn.SiLU())
        self.grey_in = nn.Linear(2 * contrasts, time_channels) if self.greys is not None else None
        self.contrasts = contrasts
        self.place_in = nn.Linear(first, time_channels) if position else None
        self.noisy_in = convolution(noisy_channels, first, 3, padding=1)
        self.condition_in = convolution(condition_channels, first, 1)
        self.down = nn.ModuleList(
            nn.ModuleList(block(width) for _ in range(count))
            for width, count in zip(channels, counts, strict=True)
        )
        self.coarser = nn.ModuleList(
            convolution(fine, coarse, 2, stride=2) for fine, coarse in pairwise(channels)
        )
        self.attention = Attention(channels=deepest, head_channels=head_channels, groups=groups)
        self.up = nn.ModuleList(
            nn.ModuleList(block(width) for _ in range(count))
            for width, count in zip(channels, counts, strict=True)
        )
        self.finer = nn.ModuleList(
            transposed(coarse, fine, 2, stride=2) for fine, coarse in pairwise(channels)
        )
        self.norm_out = nn.GroupNorm(groups, first)
        self.last = convolution(first + noisy_channels, last_channels, 3, padding=1)
        self.noisy_time = nn.Linear(time_channels, noisy_channels)
        self.last_time = nn.Linear(time_channels, 2 * last_channels)
        self.paint = LabelPaint(spatial_dims=spatial_dims, num_labels=num_labels, contrasts=contrasts)
        self.out = convolution(last_channels, out_channels + num_labels * contrasts, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, timesteps: Tensor, *_: Any) -> Tensor:
        """Returns the output, (B, out_channels, *S).

        Args:
            x: (B, noisy, condition and grey level channels, *S), every size a multiple of 2 ** (levels - 1).
            timesteps: (B,), 0 to 1000.
            *_: Not used.
        """
        noisy, condition, levels = x.tensor_split(
            [self.noisy_channels, self.noisy_channels + self.banded], dim=1
        )
        return self.denoise(noisy, timesteps, self.prepare(condition, levels.flatten(2)[..., 0]))

    def prepare(self, condition: Tensor, levels: Tensor) -> Prepared:
        """Returns what the network makes of the condition, which stays the same from call to call.

        Args:
            condition: (B, condition_channels, *S)
            levels: (B, 2 * contrasts), black and white of each contrast, then (B, 1), the position; each only where the
                network is told it.
        """
        labels = condition.unflatten(1, (self.paint.bands, -1))[:, :, : self.paint.num_labels]
        greys = None if self.grey_in is None else self.grey_in(levels[:, : 2 * self.contrasts])
        if self.place_in is not None:
            position = levels[:, -1].float()
            place = self.place_in(get_timestep_embedding(1000 * position.nan_to_num(), self.width).to(levels))
            place = place * (~position.isnan())[:, None]
            greys = place if greys is None else greys + place
        paint = self.paint
        return Prepared(self.condition_in(condition), paint.softened(labels), paint.left(labels), greys)

    def denoise(self, noisy: Tensor, timesteps: Tensor, told: Prepared) -> Tensor:
        """Returns the output, (B, out_channels, *S).

        Args:
            noisy: (B, noisy_channels, *S)
            timesteps: (B,), 0 to 1000.
            told: The condition.
        """
        time = self.time_in(get_timestep_embedding(timesteps, self.width).to(noisy.dtype))
        time = self.time(time if told.greys is None else time + told.greys)
        hidden = self.noisy_in(noisy) + told.condition
        kept: list[Tensor] = []
        for level, stage in enumerate(self.down):
            hidden = self._through(stage, hidden, time)
            if level < len(self.coarser):
                kept.append(hidden)
                hidden = self.coarser[level](hidden)
        hidden = self.attention(hidden)
        for level, stage in reversed(list(enumerate(self.up))):
            if level < len(self.finer):
                hidden = self.finer[level](hidden) + kept.pop()
            hidden = self._through(stage, hidden, time)
        # How much the noisy coefficients tell hangs on the time.
        seen = noisy.to(hidden.dtype) * (1 + over_positions(self.noisy_time(time), noisy))
        hidden = self.last(torch.cat([functional.silu(self.norm_out(hidden)), seen], dim=1))
        scale, shift = over_positions(self.last_time(time), noisy).chunk(2, dim=1)
        hidden = functional.silu(torch.addcmul(shift, hidden, 1 + scale))
        result, greys = self.out(hidden).tensor_split([self.out_channels], dim=1)
        estimate, missed = result.tensor_split([self.noisy_channels], dim=1)
        estimate = estimate * told.left.exp() + self.paint(told.labels, greys)
        if missed.shape[1]:  # of what is made of less, less is missed
            missed = missed + 2 * told.left
        return torch.cat([estimate, missed], dim=1)

    def _through(self, stage: nn.Module, hidden: Tensor, time: Tensor) -> Tensor:
        for block in stage.children():
            if self.checkpointing and torch.is_grad_enabled():
                hidden = checkpoint(block, hidden, time, use_reentrant=False)
            else:
                hidden = block(hidden, time)
        return hidden
