"""What is compared: methods of ``fewlabel.yaml`` and their controls, which learn from the same slices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from gliomagen import BUNDLE_ROOT
from gliomagen.fewlabel.features import Choice
from gliomagen.fewlabel.methods import FineTuneMethod, Method, VoxelMethod
from gliomagen.fewlabel.samples import Classes, Sample
from gliomagen.randomness import torch_generator

from .scores import Found

CONFIGS = Path(BUNDLE_ROOT) / "configs"
FIXED: dict[str, Any] = {
    "member_steps": 800,
    "head_steps": 400,
    "tuning_steps": 400,
    "tuning_time": 0.2,
    "batch_size": 8,
}
"""Budgets, fixed on other patients than those of the tables."""


class Arms:
    """Makes methods of one generator.

    Args:
        weights: Of the 2-D generator, trained without labels.
        threads: For each.
    """

    def __init__(self, weights: Path, *, threads: int | None = None) -> None:
        self.weights = weights
        self.choice: dict[tuple[str, ...], Choice] = {}
        if threads:
            torch.set_num_threads(threads)

    def features(self, samples: Sequence[Sample], seed: int) -> Method:
        """Every voxel by itself, from features that the search chooses."""
        return self._method("features", seed, search=True)

    def conv(self, samples: Sequence[Sample], seed: int) -> Method:
        """Convolutions on the same features."""
        return self._method("conv", seed, search=True)

    def finetune(self, samples: Sequence[Sample], seed: int) -> Method:
        """The decoder learns on."""
        return self._method("finetune", seed)

    def finetune_all(self, samples: Sequence[Sample], seed: int) -> Method:
        """All of the denoiser learns on."""
        return self._method("finetune", seed, learning="all")

    def greys(self, samples: Sequence[Sample], seed: int) -> Method:
        """Control: the same classifiers on the voxel's own greys."""
        method = self._method("features", seed)
        assert isinstance(method, VoxelMethod)
        method.features, method.intensities = None, True
        return method

    def random_features(self, samples: Sequence[Sample], seed: int) -> Method:
        """Control: the same as features, of a network that has learnt nothing."""
        return self._method("features", seed, untrained=True, search=True)

    def from_scratch(self, samples: Sequence[Sample], seed: int) -> Method:
        """Control: the same network and training as where all of it learns on, from nothing."""
        return self._method("finetune", seed, untrained=True, learning="all")

    def _method(self, name: str, seed: int, *, untrained: bool = False, **options: Any) -> Method:
        parser = ConfigParser()
        parser.read_config(str(CONFIGS / "fewlabel.yaml"))
        parser.update({"weights": str(self.weights), "seed": seed, "device": "cpu", **FIXED, **options})
        if untrained:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(torch.randint(2**31, (), generator=torch_generator(seed, "untrained"))))
                parser["network"] = parser.get_parsed_content("network_def")
        parser.get_parsed_content("imports")
        method: Method = parser.get_parsed_content(f"methods#{name}")
        assert isinstance(method, VoxelMethod | FineTuneMethod)
        return method


def found_by(method: Method, labelled: Sequence[Sample], wanted: Sequence[Sample]) -> Found:
    """Fits, predicts; returns prepared labels of each wanted slice, 0 where there is no lesion."""
    classes = Classes.of(labelled)
    method.fit(labelled, classes)
    said = method.predict(wanted)
    return {
        sample.name: classes.to_labels(prediction.classes).numpy()
        for sample, prediction in zip(wanted, said, strict=True)
    }


OURS: Mapping[str, Callable[[Arms, Sequence[Sample], int], Method]] = {
    "features": Arms.features,
    "conv": Arms.conv,
    "finetune": Arms.finetune,
    "finetune all": Arms.finetune_all,
    "greys": Arms.greys,
    "random features": Arms.random_features,
    "from scratch": Arms.from_scratch,
}
