"""GliomaGen's own scores can be computed as they were published, to be compared with its table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gliomagen.errors import GliomaGenError
from gliomagen.evaluation.fidelity import fid, kid
from gliomagen.evaluation.inception import FEATURES, InceptionFeatures
from gliomagen.evaluation.measuring import Measurer
from gliomagen.evaluation.pairing import partners
from gliomagen.evaluation.pairs import paired_scores
from gliomagen.evaluation.published_recipe import SUBSETS, published_scores
from gliomagen.evaluation.score import Scores
from gliomagen.scans import ScanFiles
from gliomagen.torchvision_import import repair_torchvision
from gliomagen.volume import Volume, write_volume

repair_torchvision()
models = pytest.importorskip("torchvision.models", reason="torchvision is not installed")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    """Inception v3 with random weights, as a file of torchvision's would be."""
    torch.manual_seed(0)
    network = models.inception_v3(weights=None, transform_input=True, init_weights=False).eval()
    path = tmp_path_factory.mktemp("weights") / "inception_v3_google-00000000.pth"
    torch.save(network.state_dict(), path)
    return path, network


def test_features_are_those_before_the_classifier(network: tuple[Path, nn.Module]) -> None:
    """As torchvision runs it: three channels, 299 pixels, ImageNet's mean and deviation."""
    path, whole = network
    slices = np.random.default_rng(0).random((3, 24, 20)).astype(np.float32)
    seen: list[torch.Tensor] = []
    whole.avgpool.register_forward_hook(lambda module, given, output: seen.append(output.flatten(1)))
    rgb = torch.from_numpy(slices)[:, None].expand(-1, 3, -1, -1)
    rgb = nn.functional.interpolate(rgb, (299, 299), mode="bilinear", align_corners=False)
    mean = torch.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1)
    with torch.inference_mode():
        whole((rgb - mean) / deviation)
    found = InceptionFeatures(weights=path, batch=2)(slices)
    assert found.shape == (3, FEATURES)
    np.testing.assert_allclose(found, seen[0].numpy(), rtol=1e-4, atol=1e-5)


def test_missing_weights_are_one_line_that_says_how_to_get_them(
    network: tuple[Path, nn.Module], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(self: Any, **options: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(models.Inception_V3_Weights, "get_state_dict", no_network)
    with pytest.raises(GliomaGenError, match=r"inception_v3_google.*\.pth"):
        InceptionFeatures()
    torch.save({"other.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(GliomaGenError, match="torchvision's Inception"):
        InceptionFeatures(weights=tmp_path / "other.pth")


class Slices:
    """Stands for a measured scan: the vectors of its axial slices."""

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = vectors

    def array(self, name: str) -> np.ndarray:
        return self.vectors


def test_fid_is_over_all_slices_and_kid_over_disjoint_subsets() -> None:
    """Case by case or all at once, FID is the same; the subsets together hold every slice once."""
    rng = np.random.default_rng(0)
    real = [Slices(rng.normal(size=(20, 5))) for _ in range(4)]
    synthetic = [Slices(rng.normal(0.3, 1.2, size=(16, 5))) for _ in range(5)]
    a, b = (np.concatenate([scan.vectors for scan in scans]) for scans in (real, synthetic))
    scores = Scores()
    published_scores(scores, real=real, synthetic=synthetic, contrasts=["t1c"])  # type: ignore[arg-type]
    found = {score.name: score for score in scores.found}
    assert found["fid"].estimate.value == pytest.approx(fid(a, b), rel=1e-6)
    assert found["fid"].vectors == 80
    one = kid(a, b)  # subsets scatter about it
    deviation = found["kid"].estimate.high - found["kid"].estimate.value
    assert abs(found["kid"].estimate.value - one) < 2 * deviation
    few = Scores()
    published_scores(few, real=real[:1], synthetic=synthetic[:1], contrasts=["t1c"])  # type: ignore[arg-type]
    assert not few.found and str(2 * SUBSETS) in few.left_out[0].why


def test_ms_ssim_counts_empty_slices_as_published(tmp_path: Path) -> None:
    """Half of the slices are empty and agree perfectly: the published mean is flattered by them, the sound one not."""
    rng = np.random.default_rng(0)
    label = np.zeros((44, 44, 8), np.uint8)
    label[6:38, 6:38, :4] = 1
    sets = []
    for name in ("real", "made"):
        files = ScanFiles(
            case="A",
            patient="A",
            images=(tmp_path / f"{name}.nii.gz",),
            label=tmp_path / f"{name}-seg.nii.gz",
        )
        grey = np.where(label > 0, rng.random(label.shape), 0).astype(np.float32)
        write_volume(files.images[0], Volume(data=grey, affine=np.eye(4)))
        write_volume(files.label, Volume(data=label, affine=np.eye(4)))
        sets.append(files)
    measurer = Measurer(folder=tmp_path / "measured", contrasts=["t1c"])
    partner = partners([sets[0]], [sets[1]])["A"]
    measurer.measure("synthetic", sets[1], partner)
    assert measurer.known("synthetic", sets[1]) is None  # measured without the partner it is another result
    scan = measurer.known("synthetic", sets[1], partner)
    assert scan is not None
    scores = Scores()
    paired_scores(scores, [scan], contrasts=["t1c"], slices=True)
    by_recipe = {score.recipe: score for score in scores.found}
    sound, published = by_recipe["volume"].estimate.value, by_recipe["gliomagen"].estimate
    assert published.value == pytest.approx((sound + 1) / 2, abs=1e-4)
    assert by_recipe["gliomagen"].vectors == 8 and published.high > published.value
