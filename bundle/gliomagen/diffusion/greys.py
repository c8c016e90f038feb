"""Grey levels: what differs from scan to scan apart from the anatomy. The network works on standardized scans.

Every contrast of every scan has its own brightness and range. To a network that makes whole scans these few numbers
are a hundredth of the error: it learns them last, and its samples all look alike. So they are taken out first, as
segmentation networks do (z-scores inside the head), told to the network, and drawn from what training scans have.

The grey levels of a scan are (C, 2): mean and standard deviation of each contrast, in [0, 1], over healthy tissue.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.transforms import MapTransform
from torch import Tensor, nn

from ..labels import HEAD

HEAD_SPREAD = 0.4
"""Standard deviation of healthy tissue in the network's range; black then lies near -1."""
FEWEST_VOXELS = 64


def measure_greys(image: Tensor, where: Tensor) -> Tensor:
    """Returns the grey levels, (B, C, 2); NaN where fewer than 64 voxels tell.

    Args:
        image: (B, C, *S) in [0, 1].
        where: (B, 1, *S) or (B, C, *S), which voxels tell.
    """
    flat = image.flatten(2).double()
    told = where.expand(image.shape).flatten(2).double()
    count = told.sum(2)
    mean = (flat * told).sum(2) / count
    spread = (((flat - mean[..., None]).square() * told).sum(2) / count).sqrt().clamp(min=0.02)
    greys = torch.stack([mean, spread], 2).float()
    return torch.where((count < FEWEST_VOXELS)[..., None], torch.nan, greys)


def fixed_greys(samples: int, contrasts: int, data_range: tuple[float, float] = (-1.0, 1.0)) -> Tensor:
    """Returns grey levels that take [0, 1] to ``data_range``, (B, C, 2), for a network that is not told them."""
    low, high = data_range
    return torch.tensor([-low, HEAD_SPREAD]).div(high - low).expand(samples, contrasts, 2)


def _parts(greys: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """(B, C, 2) to (offset, scale), each (B, C, 1 …), with image = offset + scale * network grey."""
    shape = (*greys.shape[:2], *[1] * (like.ndim - 2))
    mean, spread = greys.to(like).unbind(2)
    return mean.reshape(shape), spread.reshape(shape) / HEAD_SPREAD


def standardize(image: Tensor, greys: Tensor) -> Tensor:
    """Brings images in [0, 1] to the network's range, (B, C, *S)."""
    offset, scale = _parts(greys, image)
    return (image - offset) / scale


def restore(image: Tensor, greys: Tensor) -> Tensor:
    """Undoes :func:`standardize`."""
    offset, scale = _parts(greys, image)
    return offset + scale * image


def black_and_white(greys: Tensor) -> Tensor:
    """Returns where 0 and 1 lie in the network's range, (B, 2 C): how the network is told the grey levels."""
    mean, spread = greys.unbind(2)
    return torch.cat([-mean, 1 - mean], 1) * HEAD_SPREAD / spread.repeat(1, 2)


class MeasureGreysd(MapTransform):
    """Adds ``greys`` (C, 2), the grey levels of a scan over its healthy tissue (or all of the head, if need be).

    Args:
        keys: The image, (C, *S) in [0, 1].
        label_key: The prepared label map, (1, *S).
    """

    def __init__(self, *, keys: str, label_key: str = "label") -> None:
        super().__init__(keys)
        self.label_key = label_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Adds the grey levels to a case."""
        image = torch.as_tensor(np.asarray(data[self.first_key(data)]))[None]
        label = torch.as_tensor(np.asarray(data[self.label_key]))[None]
        greys = measure_greys(image, label == HEAD)
        for where in (label > 0, torch.ones_like(label)):
            greys = torch.where(greys.isnan(), measure_greys(image, where), greys)
        return {**data, "greys": greys[0].numpy()}


class GreyDistribution(nn.Module):
    """A normal distribution of means and log standard deviations: buffers, so that the weights carry it.

    Args:
        contrasts: C.
    """

    centre: Tensor
    covariance: Tensor

    def __init__(self, contrasts: int) -> None:
        super().__init__()
        self.register_buffer("centre", self._coordinates(fixed_greys(1, contrasts))[0])
        self.register_buffer("covariance", torch.zeros(2 * contrasts, 2 * contrasts))

    @staticmethod
    def _coordinates(greys: Tensor) -> Tensor:
        """(N, C, 2) to (N, 2 C)."""
        return torch.cat([greys[..., 0], greys[..., 1].log()], -1)

    def fit(self, greys: Tensor) -> None:
        """Takes the distribution from the training scans' grey levels, (N, C, 2)."""
        told = self._coordinates(greys.double())
        away = told - told.mean(0)
        self.centre.copy_(told.mean(0))
        self.covariance.copy_(away.T @ away / max(len(told) - 1, 1))

    def draw(self, normal: Tensor, known: Tensor) -> Tensor:
        """Draws grey levels, (B, C, 2), of the unknown contrasts given the known ones.

        The conditional normal distribution (e.g. Bishop 2006, eq. 2.96). Draws stay within 2.5 standard deviations along
        each of its axes, means in 0.02 to 0.98, deviations in 0.02 to 0.5; what is known is taken as it is.

        Args:
            normal: Standard normal numbers, (B, 2 C).
            known: (B, C, 2) grey levels, NaN where not known.
        """
        centre, covariance = self.centre.double().cpu(), self.covariance.double().cpu()
        drawn = []
        for noise, given in zip(normal.double().cpu(), self._coordinates(known.double().cpu()), strict=True):
            free = given.isnan()
            told = ~free
            gain = covariance[free][:, told] @ torch.linalg.pinv(covariance[told][:, told], hermitian=True)
            mean = centre[free] + gain @ (given - centre)[told]
            rest = covariance[free][:, free] - gain @ covariance[told][:, free]
            size, axes = torch.linalg.eigh(rest)
            root = axes * size.clamp(min=0).sqrt()
            given = given.clone()
            given[free] = mean + root @ noise[: len(mean)].clamp(-2.5, 2.5)
            half = len(given) // 2  # means, then logarithms of deviations
            low = given.new_tensor([0.02] * half + [math.log(0.02)] * half)
            high = given.new_tensor([0.98] * half + [math.log(0.5)] * half)
            drawn.append(torch.where(free, given.clamp(low, high), given))
        mean, spread = torch.stack(drawn).chunk(2, dim=1)
        return torch.stack([mean, spread.exp()], 2).to(normal)


def learn_greys(cases: Any, *networks: nn.Module) -> None:
    """Fits the grey levels of the training cases into networks that draw them.

    Args:
        cases: A sequence of cases with ``greys`` (C, 2).
        networks: With a :class:`GreyDistribution` as ``greys``, or without one.
    """
    wanting = [d for d in (getattr(n, "greys", None) for n in networks) if isinstance(d, GreyDistribution)]
    if wanting:
        greys = torch.stack([torch.as_tensor(np.array(cases[i]["greys"])) for i in range(len(cases))])
        for distribution in wanting:
            distribution.fit(greys)
