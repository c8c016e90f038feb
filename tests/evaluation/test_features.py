"""Features say what a scan looks like, not where it lies or how large its margin is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ROOT
from monai.bundle import ConfigParser
from torch import nn

from gliomagen.errors import GliomaGenError
from gliomagen.evaluation.features import ALL, VOLUME, EncoderFeatures, ScriptedFeatures
from gliomagen.evaluation.texture import texture
from gliomagen.labels import CONTRASTS


@pytest.fixture(scope="module")
def encoder() -> EncoderFeatures:
    config = ConfigParser(ConfigParser.load_config_file(ROOT / "bundle" / "configs" / "evaluate.yaml"))
    config["precision"] = "fp32"
    found: EncoderFeatures = config.get_parsed_content("encoder")
    return found


def scan(at: int) -> np.ndarray:
    """A head of 24 voxels in a volume of 48, from voxel ``at`` on."""
    volume = np.zeros((4, 48, 48, 48), np.float32)
    inside = np.random.default_rng(0).random((4, 24, 24, 24)).astype(np.float32) * 0.9 + 0.1
    volume[:, at : at + 24, 8:32, 8:32] = inside
    return volume


def test_where_the_head_lies_does_not_matter(encoder: EncoderFeatures) -> None:
    one, other = encoder(scan(8)), encoder(scan(16))
    np.testing.assert_allclose(one[ALL][VOLUME], other[ALL][VOLUME], rtol=2e-3, atol=2e-4)
    a, b = (texture(volume, (volume > 0).any(0), CONTRASTS) for volume in (scan(8), scan(16)))
    np.testing.assert_allclose(a[ALL], b[ALL], rtol=1e-3, atol=1e-4)


def test_every_contrast_is_seen_by_itself(encoder: EncoderFeatures) -> None:
    """Changing one contrast changes its own features and those of all together, and no other's."""
    volume = scan(8)
    changed = volume.copy()
    changed[2] = np.where(volume[2] > 0, 1.1 - volume[2], 0)
    one, other = encoder(volume), encoder(changed)
    for name in (*CONTRASTS, ALL):
        same = np.array_equal(one[name][VOLUME], other[name][VOLUME])
        assert same == (name not in ("t2f", ALL)), name


def test_texture_tells_grain_from_folds() -> None:
    """Noise shows in the finest band, a blurred scan lacks it, brightness touches neither."""
    rng = np.random.default_rng(0)
    head = np.ones((32, 32, 32), bool)
    smooth = np.indices(head.shape)[0] / 64 + 0.2
    volume = np.stack([smooth, smooth + 0.02 * rng.standard_normal(head.shape)]).astype(np.float32)
    found = texture(volume, head, ["t1c", "t1n"])
    finest = 7  # after mean, deviation and five percentiles
    assert found["t1n"][finest] > found["t1c"][finest] + 1
    brighter = texture(volume + np.float32(0.1), head, ["t1c", "t1n"])
    assert brighter["t1n"][finest] == pytest.approx(found["t1n"][finest], abs=1e-3)
    assert brighter["t1n"][0] == pytest.approx(found["t1n"][0] + 0.1, abs=1e-4)
    assert np.isfinite(texture(np.zeros_like(volume), ~head, ["t1c", "t1n"])[ALL]).all()


def test_a_volume_extractor_sees_each_contrast(tmp_path: Path) -> None:
    """MedicalNet's networks take one channel of a volume resized to their size."""

    class Extractor(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat(
                [x.mean((2, 3, 4)), x.amax((2, 3, 4)), torch.full_like(x[:, :, 0, 0, 0], x.shape[-1])], 1
            )

    path = tmp_path / "medicalnet.pt"
    torch.jit.script(Extractor()).save(str(path))
    volume = np.stack([np.full((20, 18, 16), grey, np.float32) for grey in (0.2, 0.4, 0.6, 0.8)])
    options = {"path": path, "contrasts": CONTRASTS, "dims": 3, "channels": 1, "size": (12, 12, 12)}
    found = ScriptedFeatures(**options, mean=0.2, deviation=0.5)(volume)
    for name, grey in zip(CONTRASTS, (0.2, 0.4, 0.6, 0.8), strict=True):
        np.testing.assert_allclose(found[name][VOLUME], [[(grey - 0.2) / 0.5] * 2 + [12]], rtol=1e-5)
    slices = ScriptedFeatures(**{**options, "dims": 2, "size": None}, planes=["axial"])
    assert slices.settings != ScriptedFeatures(**{**options, "dims": 2, "size": None}).settings
    with pytest.raises(GliomaGenError, match="planes"):
        ScriptedFeatures(**options, planes=["oblique"])
    with pytest.raises(GliomaGenError, match="choose 2"):
        ScriptedFeatures(**{**options, "dims": 4})
    (tmp_path / "text.pt").write_text("no network", encoding="utf-8")
    with pytest.raises(GliomaGenError, match="not TorchScript"):
        ScriptedFeatures(**{**options, "path": tmp_path / "text.pt"})
