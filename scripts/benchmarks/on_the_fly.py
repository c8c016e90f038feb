"""What ``SynthesizeScand`` costs inside a segmentation training, beside one step of the segmenter on the same case."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from monai.bundle import ConfigParser

from benchmarks.timing import side_by_side
from gliomagen import BUNDLE_ROOT
from gliomagen.cohort.datalist import datalist
from gliomagen.labels import CONTRASTS
from gliomagen.machine import autocast, resolve_device, resolve_precision
from gliomagen.segmenter.objective import SegmentationLoss
from gliomagen.synthesis.edit import EditPolicy
from gliomagen.synthesis.transform import SynthesizeScand
from gliomagen.volume import read_volume

CONFIGS = Path(BUNDLE_ROOT) / "configs"


def on_the_fly(cohort: str, rounds: int, device_name: str) -> None:
    """Prints the table of ``on-the-fly``."""
    device = resolve_device(device_name)
    precision = resolve_precision("auto", device)
    entry = datalist(cohort, "validation")[0]
    volumes = [read_volume(entry[contrast]) for contrast in CONTRASTS]
    label = read_volume(entry["label"])
    case = {
        "case": entry["case"],
        "patient": entry["patient"],
        "image": torch.from_numpy(np.stack([volume.data for volume in volumes]).astype(np.float32)),
        "label": torch.from_numpy(label.data.astype(np.uint8))[None],
    }
    voxel_mm = tuple(float(length) for length in np.linalg.norm(label.affine[:3, :3], axis=0))

    generator = ConfigParser()
    generator.read_config(CONFIGS / "inference.yaml")
    generator.update({"device": device_name})
    makers = {
        repaint: SynthesizeScand(
            keys="image",
            network=generator.get_parsed_content("network"),
            inferer=generator.get_parsed_content("inferer"),
            policies=[(EditPolicy(), 1.0)],
            prob=1.0,
            repaint=repaint,
            voxel_mm=voxel_mm,  # type: ignore[arg-type]
            max_tries=20,
        ).set_random_state(0)
        for repaint in ("whole", "lesion")
    }
    trained = ConfigParser()
    trained.read_config(CONFIGS / "segmenter.yaml")
    segmenter = trained.get_parsed_content("network_def").to(device)
    loss = SegmentationLoss()

    def step() -> None:
        with autocast(device, precision):
            logits = segmenter(case["image"][None].to(device))
        loss(logits, case["label"][None].long().to(device)).mean().backward()

    seconds = side_by_side(
        {
            "a step of the segmenter": step,
            **{name: partial(maker, case) for name, maker in makers.items()},
        },
        rounds,
    )
    yardstick = seconds["a step of the segmenter"]
    size = "x".join(str(n) for n in label.data.shape)
    print(f"{size}, {device.type} ({torch.get_num_threads()} threads), {precision}, median of {rounds}")
    print("| | seconds | steps of the segmenter |\n| --- | --- | --- |")
    for name, value in seconds.items():
        print(f"| {name} | {value:.2f} | {value / yardstick:.1f} |")
