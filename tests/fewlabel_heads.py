"""Features of a small denoiser, for the tests of few-label segmentation."""

from __future__ import annotations

import torch
from helpers import CONFIGS
from monai.bundle import ConfigParser

from gliomagen.fewlabel.features import DenoiserFeatures


def features(dims: int, **options: object) -> DenoiserFeatures:
    """Of a small network with random weights."""
    parser = ConfigParser()
    parser.read_config(
        [str(CONFIGS / name) for name in ("train.yaml", *(["slices.yaml"] if dims == 2 else []))]
    )
    parser.update({"channels": [8, 8, 16], "network_def#groups": 4, "network_def#head_channels": 8})
    torch.manual_seed(0)
    network = parser.get_parsed_content("network_def")
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    told = {"choice": {time: ["up.1.0", "up.0.0"] for time in (0.1, 0.5)}, "seed": 3, **options}
    basis, process = parser.get_parsed_content("basis"), parser.get_parsed_content("process")
    return DenoiserFeatures(network=network, basis=basis, process=process, num_labels=5, **told)  # type: ignore[arg-type]
