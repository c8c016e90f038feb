"""What the generator is told: labels, where labels are known, known voxels, where voxels are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..labels import LESION, TUMOUR


@dataclass(frozen=True, kw_only=True)
class Condition:
    """The condition of a batch. A background voxel that is given has label channels 0 and ``labels_known`` 1.

    Attributes:
        labels: (B, L, *S) share of each label, background left out; 0 where not known.
        labels_known: (B, 1, *S) 1 where the label is given.
        voxels: (B, C, *S) given intensities in the network's range; 0 where not known.
        voxels_known: (B, C, *S) 1 where the intensity is given, contrast by contrast.
        greys: (B, C, 2) the scan's grey levels, if the network is told them.
        position: (B,) relative height of a slice in the head, 0 to 1, NaN where not known; if the network is told it.
    """

    labels: Tensor
    labels_known: Tensor
    voxels: Tensor
    voxels_known: Tensor
    greys: Tensor | None = None
    position: Tensor | None = None

    def channels(self, where: slice = slice(None)) -> Tensor:
        """Returns all of it side by side, (B, L + 1 + 2 C, *S), or some positions of the first axis of S."""
        parts = (self.labels, self.labels_known, self.voxels, self.voxels_known)
        return torch.cat([part[:, :, where] for part in parts], dim=1)

    def empty(self) -> Condition:
        """Returns the condition that gives nothing but grey levels and position, of the same shape: the unconditional model."""
        return replace(
            self,
            labels=torch.zeros_like(self.labels),
            labels_known=torch.zeros_like(self.labels_known),
            voxels=torch.zeros_like(self.voxels),
            voxels_known=torch.zeros_like(self.voxels_known),
        )


def one_hot(
    label: Tensor, *, num_labels: int, unknown_kind: int = LESION, shared: Sequence[int] = TUMOUR
) -> Tensor:
    """Returns the share of each label, background left out.

    Args:
        label: (B, 1, *S) whole numbers 0 to ``num_labels``, or ``unknown_kind``.
        num_labels: Labels without background, L.
        unknown_kind: The number of a lesion of unknown kind, shared equally among ``shared``.
        shared: Labels that a lesion of unknown kind may be.

    Returns:
        (B, L, *S) float32
    """
    numbers = torch.arange(1, num_labels + 1, device=label.device)
    shares = (label == numbers.reshape(1, -1, *[1] * (label.ndim - 2))).float()
    unknown = label == unknown_kind
    if unknown_kind > num_labels and unknown.any():
        index = torch.tensor([number - 1 for number in shared], device=label.device)
        shares[:, index] += unknown.float() / len(shared)
    return shares


def make_condition(
    label: Tensor,
    *,
    num_labels: int,
    contrasts: int,
    labels_known: Tensor | None = None,
    voxels: Tensor | None = None,
    voxels_known: Tensor | None = None,
    greys: Tensor | None = None,
    position: Tensor | None = None,
) -> Condition:
    """Builds a condition from a label map and what is known.

    Args:
        label: (B, 1, *S) prepared labels.
        num_labels: Labels without background, L.
        contrasts: C.
        labels_known: (B, 1, *S) where the label is given; everywhere if None.
        voxels: (B, C, *S) intensities in the network's range; read only where known.
        voxels_known: (B, C, *S) where they are given; nowhere if None.
        greys: (B, C, 2) the scan's grey levels, if the network is told them.
        position: (B,) see :class:`Condition`.
    """
    shares = one_hot(label, num_labels=num_labels)
    known = torch.ones_like(shares[:, :1]) if labels_known is None else labels_known.to(shares)
    if voxels is None or voxels_known is None:
        voxels = voxels_known = shares.new_zeros(shares.shape[0], contrasts, *shares.shape[2:])
    where = voxels_known.to(shares)
    return Condition(
        labels=shares * known,
        labels_known=known,
        voxels=torch.where(where > 0, voxels.to(shares), 0),  # not a product: the unknown may be NaN
        voxels_known=where,
        greys=greys,
        position=position,
    )
