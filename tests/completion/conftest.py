"""Scans, edited label maps and small weights for completion."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import CONFIGS
from monai.bundle import ConfigParser

from gliomagen.labels import CONTRASTS
from gliomagen.provenance import CardWriter
from gliomagen.volume import Volume, read_volume, write_volume

SMALL = {
    "channels": [8, 8],
    "slice_channels": [8, 8],
    **{f"{name}#groups": 4 for name in ("network_def", "slice_network_def")},
    **{f"{name}#head_channels": 8 for name in ("network_def", "slice_network_def")},
    **{"precision": "fp32", "device": "cpu", "num_workers": 0, "steps": 2},
}


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small random networks: ``weights`` of volumes, ``slice_weights`` of slices."""
    folder = tmp_path_factory.mktemp("weights")
    told = {"spatial_size": [16, 16, 16], "voxel_mm": [3.0, 3.0, 3.0], "contrasts": list(CONTRASTS)}
    paths = {}
    for name, network in (("weights", "network_def"), ("slice_weights", "slice_network_def")):
        parser = ConfigParser()
        parser.read_config(str(CONFIGS / "complete.yaml"))
        parser.update({**SMALL, "network_contrasts": list(CONTRASTS)})
        torch.manual_seed(0)
        module = parser.get_parsed_content(network)
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        paths[name] = folder / f"{name}.pt"
        torch.save(module.state_dict(), paths[name])
        CardWriter(architecture={}, geometry=told, cohort_sha256="", patients=["somebody"])(paths[name], 1)
    return paths


@pytest.fixture(scope="session")
def complete(
    tiny_cohort: Path, weights: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Runs ``completing`` with options; returns its output folder."""

    def run(*overlays: str, out: Path | None = None, **options: Any) -> Path:
        parser = ConfigParser()
        parser.read_config([str(CONFIGS / name) for name in ("complete.yaml", *overlays)])
        folder = out or tmp_path_factory.mktemp("out")
        paths = {name: str(path) for name, path in weights.items()}
        parser.update(
            {"dataset_dir": str(tiny_cohort), "output_dir": str(folder), **SMALL, **paths, **options}
        )
        parser.get_parsed_content("imports")
        parser.get_parsed_content("completing")
        return folder

    return run


@pytest.fixture(scope="session")
def edited(tiny_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An edited label map of each validation case, with a further lesion, as ``augmenting`` records it."""
    folder = tmp_path_factory.mktemp("edited")
    for case in ("BraTS-GLI-90006-100", "BraTS-GLI-90007-100"):
        mask = read_volume(tiny_cohort / case / f"{case}-seg.nii.gz")
        label = mask.data.copy()
        label[3:6, 7:10, 7:9] = 4
        label = np.where(mask.data > 0, label, 0)
        write_volume(folder / f"{case}-v0-seg.nii.gz", Volume(data=label, affine=mask.affine))
        record = {"source_case": case, "source_patient": case.rsplit("-", 1)[0]}
        (folder / f"{case}-v0.json").write_text(json.dumps(record))
    return folder
