"""Samples by guidance: a segmenter's reading decides how far it goes, out of its reach the scan stays; targets as users give them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from guided_heads import guidance, scan
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from gliomagen.errors import GliomaGenError
from gliomagen.growth.guided import RegressorGrowth
from gliomagen.growth.samples import Targets


def read(image: Tensor) -> Tensor:
    """Reads as SNFH what is bright in the last contrast, as head what is not black."""
    bright = image[:, -1:]
    outside, head, tumour = 0.1 - bright, torch.full_like(bright, 0.01), 4 * (bright - 0.66)
    return torch.cat([outside, head, torch.full_like(bright, -9), tumour], 1)


def growth(tries: int) -> RegressorGrowth:
    return RegressorGrowth(guidance=guidance(), read=read, samples=1, tries=tries, tolerance=0.02)


@pytest.mark.parametrize("wanted", [0.6, 1.4])
def test_what_the_segmenter_reads_is_brought_nearer_to_what_is_wanted(wanted: float) -> None:
    first = growth(1).reached(scan(), wanted, "one").facts
    last = growth(5).reached(scan(), wanted, "one").facts
    assert first["tries"] == 1 < last["tries"] <= 5
    off = [abs(np.log(facts["change_read"] / wanted)) for facts in (first, last)]
    assert off[1] < off[0] and off[1] < 0.1


def test_beyond_its_reach_the_scan_is_the_last_one_bit_for_bit() -> None:
    last = scan()
    (sample,) = growth(2)(last, np.array([1.4]), "patient")
    assert sample.images is not None and sample.burden == pytest.approx(1.4 * 125 * 27)
    away = distance_transform_edt(last.labels != 3, sampling=last.voxel_mm)
    original = np.stack([last.images[one] for one in ("t1c", "t2f")])
    beyond = ~guidance().region(last, 1.4)
    assert away[beyond].min() > 4.0
    assert np.array_equal(sample.images[:, beyond], original[:, beyond])
    assert np.abs(sample.images - original).max() > 0.1
    assert (sample.labels == 3).sum() > (last.labels == 3).sum()
    assert set(sample.facts) == {"change_wanted", "change_read", "tries", "inversion_error"}


def test_targets_are_a_forecast_a_number_or_a_table(tmp_path: Path) -> None:
    forecast = np.array([0.9, 1.1])
    assert Targets("forecast")("one", forecast) is forecast
    assert Targets(0.5)("one", forecast).tolist() == [0.5]
    table = tmp_path / "targets.csv"
    table.write_text("patient,change\none,1.5\n")
    assert Targets(str(table))("one", forecast).tolist() == [1.5]
    with pytest.raises(GliomaGenError, match=r"targets\.csv: has no row for other"):
        Targets(str(table))("other", forecast)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("patient,burden\none,1\n", "must name patient,change"),
        ("patient,change\none,much\n", "line 2: change 'much' is not a number"),
        ("patient,change\none,-1\n", "line 2: a change of -1"),
        ("patient,change\n", "has no rows"),
    ],
)
def test_a_faulty_table_of_targets_is_named_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    table = tmp_path / "targets.csv"
    table.write_text(text)
    with pytest.raises(GliomaGenError, match=told):
        Targets(str(table))
    with pytest.raises(GliomaGenError, match="neither 'forecast' nor a number nor a file"):
        Targets(str(tmp_path / "missing.csv"))
