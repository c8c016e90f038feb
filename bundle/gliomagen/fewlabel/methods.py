"""Ways to segment from a few labelled samples, with one interface: ``fit`` on samples, ``predict`` others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from ..errors import GliomaGenError
from .features import Choice, DenoiserFeatures, FeatureMaps
from .finetuning import FineTuning
from .prediction import Prediction, vote
from .samples import Classes, Sample, labelled_voxels, stacked
from .search import Search
from .voxelwise import VoxelEnsemble

_ROWS_AT_ONCE = 2**16
"""Voxels whose features are interpolated in one go: all of a volume's would not fit into memory."""


class Method(Protocol):
    """Learns from labelled samples, predicts others."""

    def fit(self, samples: Sequence[Sample], classes: Classes) -> None:
        """Learns."""
        ...

    def predict(self, samples: Sequence[Sample]) -> list[Prediction]:
        """Returns what it finds in samples of one size; their labels are not looked at. Outside the head that is class 0."""
        ...

    def facts(self) -> dict[str, Any]:
        """Returns what fitting decided, plain content."""
        ...


class VoxelMethod:
    """Every voxel by itself, from its features.

    Args:
        ensemble: Of classifiers.
        features: Of the denoiser; None: the intensities alone, as a comparison.
        intensities: The scan's own voxel is a feature too: decoder blocks have half of its resolution.
        most_voxels: Rows to learn from, in all; more are drawn from.
        search: Chooses blocks and times first, in place of those that the features have; None: it does not.
        seed: Of that draw.
        at_once: Samples whose features are made together.
    """

    def __init__(
        self,
        *,
        ensemble: VoxelEnsemble,
        features: DenoiserFeatures | None,
        intensities: bool = True,
        most_voxels: int = 200_000,
        search: Search | None = None,
        seed: int = 0,
        at_once: int = 16,
    ) -> None:
        self.ensemble = ensemble
        self.features = features
        self.intensities = intensities or features is None
        self.most_voxels = most_voxels
        self.search = search
        self.seed = seed
        self.at_once = at_once

    def fit(self, samples: Sequence[Sample], classes: Classes) -> None:
        """Learns from every labelled voxel, or from as many as allowed."""
        if self.search and self.features:
            choice = self.search.choose(self.features, samples, classes, intensities=self.intensities)
            self.features = self.features.of(choice)
        most = max(1, self.most_voxels // len(samples))
        rows, found = [], []
        for sample, maps in self._mapped(samples):
            voxels, target = labelled_voxels(sample, classes, most, self.seed)
            rows.append(self._rows(sample, maps, voxels))
            found.append(target)
        self.ensemble.fit(torch.cat(rows), torch.cat(found).to(rows[0].device), classes.count)

    def predict(self, samples: Sequence[Sample]) -> list[Prediction]:
        """Returns what the ensemble votes for."""
        return [self._predicted(sample, maps) for sample, maps in self._mapped(samples)]

    def facts(self) -> dict[str, Any]:
        """Returns blocks by time, and what the search tried."""
        told = {} if self.features is None else {"choice": _plain(self.features.choice)}
        return {**told, **({"search": self.search.scores} if self.search else {})}

    def _mapped(self, samples: Sequence[Sample]) -> Iterator[tuple[Sample, FeatureMaps | None]]:
        if self.features is None:
            yield from ((sample, None) for sample in samples)
            return
        for first in range(0, len(samples), self.at_once):
            some = samples[first : first + self.at_once]
            image, names, greys, position = stacked(some)
            yield from zip(some, self.features(image, names, greys=greys, position=position), strict=True)

    def _rows(self, sample: Sample, maps: FeatureMaps | None, voxels: Tensor) -> Tensor:
        parts = [] if maps is None else [maps.at(voxels.to(maps.maps[0].device))]
        if self.intensities:
            own = sample.image[(slice(None), *voxels.T)].T
            parts.append(own.to(parts[0]) if parts else own)
        return torch.cat(parts, 1)

    def _predicted(self, sample: Sample, maps: FeatureMaps | None) -> Prediction:
        voxels = (sample.image > 0).any(0).nonzero()
        shape = sample.image.shape[1:]
        found = torch.zeros(shape, dtype=torch.long)
        doubt, apart = torch.zeros(shape), torch.zeros(shape)
        for some in voxels.split(_ROWS_AT_ONCE):
            said = vote(self.ensemble.probabilities(self._rows(sample, maps, some)))
            for image, values in zip((found, doubt, apart), said, strict=True):
                image[tuple(some.T)] = values.to(image.device, image.dtype)
        return Prediction(classes=found, uncertainty=doubt, disagreement=apart)


class FineTuneMethod:
    """The denoiser, fine-tuned.

    Args:
        tuning: How.
        features: Of the denoiser, for the search.
        search: Chooses blocks and times first, in place of those that tuning has; None: it does not.
        device: Where it runs.
        at_once: Samples that are predicted together.
    """

    def __init__(
        self,
        *,
        tuning: FineTuning,
        features: DenoiserFeatures | None = None,
        search: Search | None = None,
        device: torch.device | str = "cpu",
        at_once: int = 16,
    ) -> None:
        self.tuning = tuning
        self.features = features
        self.search = search
        self.device = torch.device(device)
        self.at_once = at_once

    def fit(self, samples: Sequence[Sample], classes: Classes) -> None:
        """Trains."""
        if self.search and self.features:
            self.tuning.choice = self.search.choose(self.features, samples, classes, intensities=True)
        self.tuning.fit(samples, classes)

    def predict(self, samples: Sequence[Sample]) -> list[Prediction]:
        """Returns what the copies and their mirror images vote for."""
        found = []
        for first in range(0, len(samples), self.at_once):
            some = samples[first : first + self.at_once]
            image, names, greys, position = stacked(some)
            said = self.tuning.probabilities(image.to(self.device), names, greys=greys, position=position)
            for sample, members in zip(some, said.unbind(1), strict=True):  # (M, K, *S)
                head = (sample.image > 0).any(0)
                parts = vote(members.flatten(2).transpose(1, 2).cpu())
                classes, doubt, apart = (part.reshape(head.shape) * head for part in parts)
                found.append(Prediction(classes=classes, uncertainty=doubt, disagreement=apart))
        return found

    def facts(self) -> dict[str, Any]:
        """Returns blocks by time, and what the search tried."""
        told = {"choice": _plain(self.tuning.choice)}
        return {**told, **({"search": self.search.scores} if self.search else {})}


def _plain(choice: Choice) -> dict[str, list[str]]:
    return {str(time): list(blocks) for time, blocks in choice.items()}


def method_named(name: str, methods: Mapping[str, Method]) -> Method:
    """Looks a method up.

    Raises:
        GliomaGenError: There is none of that name.
    """
    if name not in methods:
        raise GliomaGenError(f"method '{name}' is not known; choose among {sorted(methods)}")
    return methods[name]
