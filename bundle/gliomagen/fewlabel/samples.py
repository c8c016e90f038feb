"""Labelled samples: slices for the 2-D network, whole scans for the 3-D one, and the classes that their labels teach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import GliomaGenError
from ..labels import LESION, TUMOUR
from ..randomness import torch_generator

IGNORED = -1
"""Target of voxels outside the head: nobody has to learn them."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A labelled scan or slice.

    Attributes:
        name: Its own; noise is drawn for it.
        case: Whose slice it is, or itself.
        image: (C, *S) float32 in [0, 1], 0 outside the head.
        label: (*S) prepared labels.
        greys: (C, 2) grey levels of the scan that a slice is of; None: its own.
        position: Relative height of a slice, NaN where not known.
    """

    name: str
    case: str
    image: Tensor
    label: Tensor
    greys: Tensor | None = None
    position: float = float("nan")


@dataclass(frozen=True, kw_only=True)
class Classes:
    """What can be told apart: class 0 is all that is no lesion, class k is ``labels[k - 1]``.

    Attributes:
        labels: Prepared labels, rising.
    """

    labels: tuple[int, ...]

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Classes:
        """Returns the classes that some labelled voxel shows.

        Raises:
            GliomaGenError: There is no lesion in any sample.
        """
        told = {int(number) for sample in samples for number in sample.label.unique()}
        labels = tuple(sorted(told & {*TUMOUR, LESION}))
        if not labels:
            names = ", ".join(sample.name for sample in samples[:3])
            raise GliomaGenError(f"{names}: no lesion is labelled; label at least one case that has one")
        return cls(labels=labels)

    @property
    def count(self) -> int:
        """K, class 0 included."""
        return 1 + len(self.labels)

    def target(self, sample: Sample) -> Tensor:
        """Returns the class of each voxel, (*S) int64, :data:`IGNORED` outside the head."""
        target = torch.zeros(sample.label.shape, dtype=torch.long)
        for k, label in enumerate(self.labels, start=1):
            target[sample.label == label] = k
        outside = (sample.label == 0) & (sample.image == 0).all(0)
        return torch.where(outside, IGNORED, target)

    def to_labels(self, target: Tensor) -> Tensor:
        """Returns prepared labels of classes, uint8; class 0 becomes 0."""
        numbers = torch.tensor([0, *self.labels], dtype=torch.uint8, device=target.device)
        return numbers[target]


def stacked(samples: Sequence[Sample]) -> tuple[Tensor, list[str], Tensor | None, Tensor]:
    """Returns images (B, C, *S), names, grey levels (B, C, 2) or None, and positions (B,) of samples of one size."""
    greys = [sample.greys for sample in samples]
    told = None if any(each is None for each in greys) else torch.stack([g for g in greys if g is not None])
    position = torch.tensor([sample.position for sample in samples])
    return torch.stack([sample.image for sample in samples]), [s.name for s in samples], told, position


def labelled_voxels(sample: Sample, classes: Classes, most: int, seed: int) -> tuple[Tensor, Tensor]:
    """Returns voxels to learn from, (N, dimensions) indices, and their classes, (N,).

    Args:
        sample: Labelled.
        classes: To tell apart.
        most: More voxels than that are drawn from.
        seed: Of that draw.
    """
    target = classes.target(sample)
    voxels = (target >= 0).nonzero()
    if len(voxels) > most:
        generator = torch_generator(seed, "voxels of", sample.name)
        voxels = voxels[torch.randperm(len(voxels), generator=generator)[:most]]
    return voxels, target[tuple(voxels.T)]


def class_weights(target: Tensor, count: int) -> Tensor:
    """Returns weights by the root of how rare each class is, (K,), mean 1 over voxels.

    The published 0.1 for background and 0.3 for each tissue say the same for one data set; a rare tissue of another one
    would be lost.

    Args:
        target: Classes, any shape; :data:`IGNORED` is left out.
        count: K.
    """
    found = torch.bincount(target[target >= 0].flatten(), minlength=count).double()
    weight = torch.where(found > 0, found.clamp(min=1).rsqrt(), 0.0)
    return (weight * found.sum() / (weight * found).sum()).float()
