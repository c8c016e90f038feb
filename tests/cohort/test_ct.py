"""Another body part by configuration alone: abdominal CT, one image, a window, classes with names of their own."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT, bundle_run
from monai.data import MetaTensor

from gliomagen.cohort.intensity import NormalizeContrasts
from gliomagen.errors import GliomaGenError
from gliomagen.files import read_json
from gliomagen.randomness import numpy_generator
from gliomagen.volume import Volume, read_volume, write_volume

sys.path.insert(0, str(ROOT / "scripts"))
from completion.ct_phantom import HU, ct_phantom

WINDOW = (-160.0, 240.0)


def test_a_window_means_the_same_in_every_scan() -> None:
    """HU have a unit: scaled by percentiles, a liver's grey would hang on how much fat the patient has."""
    values = np.array([-1000.0, -160.0, 40.0, 240.0, 900.0], np.float32).reshape(1, 5, 1, 1)
    label = MetaTensor(np.ones((1, 5, 1, 1), np.uint8))
    scaled = NormalizeContrasts(window=WINDOW)(MetaTensor(values), label)
    np.testing.assert_allclose(np.asarray(scaled).ravel(), [0, 0, 0.5, 1, 1])
    with pytest.raises(GliomaGenError, match="two rising"):
        NormalizeContrasts(window=(240.0, -160.0))
    with pytest.raises(GliomaGenError, match="nothing in it is between"):
        NormalizeContrasts(window=(1000.0, 2000.0))(MetaTensor(values), label)


def test_ct_with_organs_is_prepared(tmp_path: Path) -> None:
    """Body found, organs named, greys by the window; no complaint about what is normal in CT."""
    for number in range(3):
        image, label = ct_phantom(numpy_generator(0, number), (48, 48, 32))
        for name, data in (("ct", image), ("seg", label)):
            volume = Volume(data=data, affine=np.diag([6.0, 6.0, 6.0, 1.0]))
            write_volume(tmp_path / "in" / f"CT-{number}" / f"CT-{number}_{name}.nii.gz", volume)
    done = bundle_run(
        "preparing",
        "prepare.yaml",
        "ct.yaml",
        dataset_dir=tmp_path / "in",
        output_dir=tmp_path / "out",
        spatial_size="[48,48,32]",
        voxel_mm="[6.0,6.0,6.0]",
        num_workers=0,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    cohort = read_json(tmp_path / "out" / "cohort.json")
    assert cohort["contrasts"] == ["ct"]
    names = {number: cohort["labels"][str(number)] for number in range(1, 6)}
    assert names == {1: "body", 2: "liver", 3: "kidney", 4: "spleen", 5: "pancreas"}
    entries = [*cohort["training"], *cohort["validation"]]
    assert len(entries) == 3 and all(not entry["findings"] for entry in entries)
    for entry in entries:
        assert set(entry["lesion_mm3"]) == {"liver", "kidney", "spleen", "pancreas"}
        image = read_volume(tmp_path / "out" / entry["ct"]).data
        label = read_volume(tmp_path / "out" / entry["label"]).data
        for organ, hu in HU.items():
            assert image[label == organ + 1].mean() == pytest.approx((hu - WINDOW[0]) / 400, abs=0.04)
        body = (label > 0).mean()
        assert 0.3 < body < 0.6, "the body, not the air around it"
        assert (image[label == 0] == 0).all()
