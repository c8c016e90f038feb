"""Label maps on another grid: smooth borders, kept volumes, nothing lost unnoticed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional

from ..labels import HEAD
from .maps import CannotVaryError, Labels
from .shapes import Box, Field, Mask, box_of, names_of

_LARGEST_BIAS = 0.4  # by how much a label that would lose volume may be preferred
_ROUNDS = 3


def sample(volume: torch.Tensor, index: torch.Tensor, *, beyond: str = "zeros") -> torch.Tensor:
    """Samples a volume linearly.

    Args:
        volume: (K, X, Y, Z) float.
        index: (A, B, C, 3) voxel indices, not whole.
        beyond: What stands outside the volume: ``zeros``, or ``border`` for the nearest voxel.

    Returns:
        (K, A, B, C).
    """
    size = torch.tensor([max(n - 1, 1) for n in volume.shape[1:]], dtype=torch.float32)
    grid = (index * (2 / size) - 1).flip(-1)  # the last axis comes first
    result: torch.Tensor = functional.grid_sample(
        volume[None], grid[None], mode="bilinear", padding_mode=beyond, align_corners=True
    )[0]
    return result


def one_hot_lesion(
    label: Labels, *, blur: Sequence[float] = (0.0, 0.0, 0.0)
) -> tuple[list[int], torch.Tensor, NDArray[np.int64]]:
    """Cuts the lesion out as one channel per label.

    Args:
        label: (X, Y, Z) prepared labels.
        blur: Standard deviation in voxels of a smoothing against aliasing, where the new grid is coarser.

    Returns:
        The labels (K), the channels (K, ...) float, and the (3,) index at which they begin. A border of zeros stands
        around the lesion, except where the image ends.

    Raises:
        CannotVaryError: There is no lesion.
    """
    box = box_of(label > HEAD, [2 + int(np.ceil(3 * sigma)) for sigma in blur])
    cut = label[box]
    kinds = [int(kind) for kind in np.unique(cut) if kind > HEAD]
    channels = np.stack([cut == kind for kind in kinds]).astype(np.float32)
    if any(blur):
        channels = ndimage.gaussian_filter(channels, (0, *blur), mode="nearest")
    return kinds, torch.from_numpy(channels), np.array([side.start for side in box])


def settle(soft: Field, head: Mask, kinds: Sequence[int]) -> Labels:
    """Decides between labels that share voxels, so that each keeps its volume.

    Plain argmax of linearly sampled labels loses what is thinner than two voxels: rims and specks. Here each label
    gets a small constant preference (at most 0.4), found so that its voxels count what its shares sum up to.

    Args:
        soft: (K, X, Y, Z) share of each lesion label in each voxel; the rest is head.
        head: (X, Y, Z), where labels may be.
        kinds: The K labels.

    Returns:
        (X, Y, Z) HEAD and lesion labels inside the head, 0 outside.

    Raises:
        CannotVaryError: A label does not come through.
    """
    result = head.astype(np.uint8)
    touched = head & (soft.sum(0) > 0.05)
    shares = soft[:, touched]  # (K, N)
    scores = np.concatenate([np.maximum(1 - shares.sum(0), 0)[None], shares])  # (1 + K, N), the head first
    expected = np.rint(shares.sum(1)).astype(int)
    bias = np.zeros((len(scores), 1), np.float32)
    for _ in range(_ROUNDS):
        for k in np.argsort(expected) + 1:  # the smallest first: they have most to lose
            others = np.delete(scores + bias, k, axis=0).max(0)
            lead = np.sort(scores[k] - others)[::-1]
            wanted = int(np.clip(expected[k - 1], 1, max(len(lead) - 1, 1)))
            if wanted < len(lead):
                # Any bias between the leads of the last one in and the first one out gives the volume: the least one.
                least = np.clip(0, -lead[wanted - 1] + 1e-6, -lead[wanted])
                bias[k] = np.clip(least, -_LARGEST_BIAS, _LARGEST_BIAS)
    values = np.array([HEAD, *kinds], np.uint8)
    result[touched] = values[(scores + bias).argmax(0)] if shares.size else HEAD
    lost = [kind for kind in kinds if not (result == kind).any()]
    if lost:
        raise CannotVaryError(f"lost {names_of(lost)}")
    return result


def voxel_indices(box: Box) -> torch.Tensor:
    """Returns the indices of a box's voxels, (X, Y, Z, 3) float."""
    axes = [torch.arange(side.start, side.stop, dtype=torch.float32) for side in box]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
