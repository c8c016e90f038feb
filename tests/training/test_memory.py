"""How much memory a training takes must be told before it has prepared data for hours, and told rightly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import CONFIGS, bundle_run
from monai.bundle import ConfigParser

from gliomagen.errors import GliomaGenError
from gliomagen.training import memory

PRESETS = ("preset_8gb.yaml", "preset_12gb.yaml", "preset_24gb.yaml", "preset_80gb.yaml")
SIZES = ((192, 192, 144), (192, 224, 160))


def predicted(
    *overlays: str, size: tuple[int, ...] = (64, 64, 64), batch_size: int | None = None, **options: Any
) -> float:
    config = ConfigParser(ConfigParser.load_config_files([CONFIGS / n for n in ("train.yaml", *overlays)]))
    config.update({"run_precision": "bf16", "run_device": torch.device("cpu"), **options})
    return memory.predicted_bytes(
        config.get_parsed_content("network_def"),
        config.get_parsed_content("prepare_batch"),
        config.get_parsed_content("train#inferer"),
        config.get_parsed_content("loss"),
        contrasts=4,
        spatial_size=size,
        batch_size=batch_size or int(config["batch_size"]),
    )


def test_what_is_predicted_from_small_volumes_is_what_a_larger_one_keeps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small = predicted(size=(96, 64, 64), batch_size=1, channels=[32, 32])
    monkeypatch.setattr(memory, "_PROBES", (48, 80))
    assert small == pytest.approx(predicted(size=(96, 64, 64), batch_size=1, channels=[32, 32]), rel=0.03)


def test_batch_and_checkpointing_count() -> None:
    one, two = (predicted(batch_size=n, channels=[32, 32]) for n in (1, 2))
    assert 1.8 < two / one < 2
    assert predicted(batch_size=1, channels=[32, 32], checkpointing=True) < 0.8 * one


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_leave_room_on_their_cards(preset: str) -> None:
    """A GPU's libraries keep more than a CPU's, and drivers and pictures need some: a third is left."""
    card = float(preset.removeprefix("preset_").removesuffix("gb.yaml"))
    for size in SIZES:
        assert predicted("full.yaml", preset, size=size) < 0.67 * card * 2**30


def test_a_training_that_cannot_fit_is_refused_before_anything_is_prepared(
    tiny_cohort: Path, tmp_path: Path
) -> None:
    done = bundle_run(
        "training",
        "train.yaml",
        dataset_dir=tiny_cohort,
        output_dir=tmp_path / "run",
        precision="fp32",
        memory_gb=0.01,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode != 0 and len(lines) == 1
    assert "GiB of cpu memory, there are 0.0; take a smaller preset" in lines[0]
    assert not (tmp_path / "run").exists()


def test_no_more_is_there_than_the_control_group_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_file", lambda self: True)
    monkeypatch.setattr(Path, "read_text", lambda self: "1000000\n")
    assert memory.available_bytes(torch.device("cpu")) == 1_000_000
    with pytest.raises(GliomaGenError, match="training needs about"):
        memory.require_memory(2e6, torch.device("cpu"))
