"""What MONAI Label takes from the bundle: one tensor in, one contrast out, where the label map lies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import CONFIGS
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from test_inferring import write_weights

from gliomagen.errors import GliomaGenError
from gliomagen.labels import CONTRASTS
from gliomagen.serving.contrasts import RestoreContrastsd
from gliomagen.volume import Volume, read_volume, write_volume


def parser(weights: Path, **knobs: object) -> ConfigParser:
    """The config as Label reads it, with what a client has set."""
    config = ConfigParser()
    config.read_config([str(CONFIGS / name) for name in ("inference.yaml", "label.yaml")])
    config.update({"channels": [8, 8], "network_def#groups": 4, "network_def#head_channels": 8})
    config.update({"weights": str(weights), "device": "cpu", "precision": "fp32"})
    config.update({f"displayable_configs#{name}": value for name, value in knobs.items()})
    return config


def answer(mask: Path, weights: Path, **knobs: object) -> tuple[np.ndarray, np.ndarray]:
    """Voxels and affine of what a client gets, in the order of Label's own calls."""
    config = parser(weights, **knobs)
    item = config.get_parsed_content("preprocessing")({"image": str(mask), "device": "cpu"})
    network = config.get_parsed_content("network")
    item["pred"] = config.get_parsed_content("inferer")(item["image"][None], network)[0]
    item = config.get_parsed_content("postprocessing")(item)
    assert item["pred"].shape[0] == 1 and tuple(item["image"].meta["spatial_shape"]) == item["pred"].shape[1:]
    return np.asarray(item["pred"][0]), np.asarray(item["image"].meta["original_affine"])


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    """A lesion alone, as BraTS 2024 has it, axes to the left and back, on no grid that the weights have."""
    label = np.zeros((20, 24, 18), np.uint8)
    label[6:12, 8:14, 5:10] = 2
    label[8:10, 9:12, 6:8] = 3
    write_volume(tmp_path / "mask.nii.gz", Volume(data=label, affine=np.diag([-2.5, -2.5, 3.0, 1.0])))
    return tmp_path / "mask.nii.gz"


def test_a_contrast_lies_where_the_mask_does(mask: Path, tmp_path: Path) -> None:
    """A scan flipped or shifted against its label map is worse than none."""
    weights = write_weights(tmp_path / "model.pt", spatial_size=[16, 16, 16], voxel_mm=[3.0, 3.0, 3.0])
    there = read_volume(mask)
    first, affine = answer(mask, weights, steps=2)
    assert first.shape == there.data.shape and np.allclose(affine, there.affine) and first.std() > 0
    again, _ = answer(mask, weights, steps=2, contrast="t1c")
    assert np.array_equal(first, again), (
        "without a choice it is the first contrast; the same seed is the same scan"
    )
    other, _ = answer(mask, weights, steps=2, contrast="t2f")
    seeded, _ = answer(mask, weights, steps=2, seed=1)
    assert not np.array_equal(first, other) and not np.array_equal(first, seeded)


def test_a_prepared_mask_keeps_its_grid(tmp_path: Path) -> None:
    """Nothing is resampled then, and the label map is still a tensor beside where it is known."""
    label = np.ones((16, 16, 16), np.uint8)
    label[4:8, 4:8, 4:8] = 4
    write_volume(tmp_path / "mask.nii.gz", Volume(data=label, affine=np.diag([3.0, 3.0, 3.0, 1.0])))
    weights = write_weights(tmp_path / "model.pt", spatial_size=[16, 16, 16], voxel_mm=[3.0, 3.0, 3.0])
    scan, _ = answer(tmp_path / "mask.nii.gz", weights, steps=2, label_convention="prepared")
    assert scan.shape == (16, 16, 16) and scan.std() > 0


def test_where_labels_are_known_goes_with_them(tmp_path: Path) -> None:
    """A mask of the lesion alone says nothing of the head: else all around it would be black."""
    weights = write_weights(tmp_path / "model.pt", spatial_size=[16, 16, 16], voxel_mm=[3.0, 3.0, 3.0])
    config = parser(weights, steps=2)
    inferer, network = config.get_parsed_content("inferer"), config.get_parsed_content("network")
    label, known = torch.zeros(1, 1, 16, 16, 16), torch.zeros(1, 1, 16, 16, 16)
    label[..., 4:8], known[..., 4:8] = 3, 1
    told = inferer(label, network, labels_known=known)
    assert torch.equal(inferer(torch.cat([label, known], dim=1), network), told)
    assert not inferer(label, network)[..., :4].any() and told[..., :4].any()


def test_a_contrast_that_is_not_made_is_refused() -> None:
    with pytest.raises(GliomaGenError, match="contrast 'flair' is not made; choose among"):
        RestoreContrastsd(
            "pred", image_key="image", contrasts=CONTRASTS, contrast="flair", restore=lambda *_: _
        )  # type: ignore[arg-type,return-value]
    pick = RestoreContrastsd(
        "pred",
        image_key="image",
        contrasts=CONTRASTS,
        contrast=["t2w", "t1c"],
        restore=lambda pred, item: (pred, np.eye(4)),
    )
    item = {"image": MetaTensor(torch.zeros(2, 2, 2, 2)), "pred": torch.arange(4.0)[:, None, None, None]}
    assert pick(item)["pred"].item() == 3.0
