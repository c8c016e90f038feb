"""Synthesis from label maps as a user runs it: what comes out must lie on the mask, and be the same when run again."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from helpers import CONFIGS, bundle_run, write_prepared_cohort
from monai.bundle import ConfigParser

from gliomagen.files import file_sha256
from gliomagen.labels import CONTRASTS
from gliomagen.provenance import CardWriter
from gliomagen.volume import Volume, read_volume, write_volume

SMALL = {
    "channels": "[8,8]",
    "network_def__groups": 4,
    "network_def__head_channels": 8,
    "precision": "fp32",
}


def write_weights(path: Path, *overlays: str, **geometry: object) -> Path:
    """Writes a small random network's weights, with a card."""
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / name) for name in ("inference.yaml", *overlays)])
    parser.update({"channels": [8, 8], "network_def#groups": 4, "network_def#head_channels": 8})
    torch.manual_seed(0)
    network = parser.get_parsed_content("network_def")
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    torch.save(network.state_dict(), path)
    told = {"contrasts": list(CONTRASTS), **geometry}
    CardWriter(architecture={}, geometry=told, cohort_sha256="", patients=["somebody"])(path, 1)
    return path


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 16x16x16 voxels at 3 mm."""
    folder = tmp_path_factory.mktemp("weights")
    return write_weights(folder / "model.pt", spatial_size=[16, 16, 16], voxel_mm=[3.0, 3.0, 3.0])


def contents(folder: Path) -> dict[str, np.ndarray]:
    """Voxels of every NIfTI file below a folder."""
    return {str(f.relative_to(folder)): read_volume(f).data for f in sorted(folder.rglob("*.nii.gz"))}


def test_prepared_masks(tiny_cohort: Path, weights: Path, tmp_path: Path) -> None:
    """Same grid as the mask, background exactly 0, provenance beside; a rerun does nothing, or gives the same bits."""
    options = {"dataset_dir": tiny_cohort, "weights": weights, "steps": 2, **SMALL}
    done = bundle_run("inferring", "inference.yaml", output_dir=tmp_path / "a", **options)
    assert done.returncode == 0, done.stdout + done.stderr
    for case in ("BraTS-GLI-90006-100", "BraTS-GLI-90007-100"):
        mask = read_volume(tiny_cohort / case / f"{case}-seg.nii.gz")
        for contrast in CONTRASTS:
            image = read_volume(tmp_path / "a" / case / f"{case}-{contrast}.nii.gz")
            assert image.data.shape == mask.data.shape and np.allclose(image.affine, mask.affine)
            assert (image.data[mask.data == 0] == 0).all() and image.data.std() > 0
            assert 0 <= image.data.min() and image.data.max() <= 1
        facts = json.loads((tmp_path / "a" / case / f"{case}.json").read_text())
        assert facts["synthetic"] is True and facts["weights_sha256"] == file_sha256(weights)
        assert facts["network_calls"] == 2 and facts["seed"] == 0 and facts["mask"] == f"{case}-seg.nii.gz"
    times = {f: f.stat().st_mtime_ns for f in (tmp_path / "a").rglob("*.nii.gz")}
    (tmp_path / "a" / case / f"{case}.json").unlink()  # as if killed before the last case was finished
    assert bundle_run("inferring", "inference.yaml", output_dir=tmp_path / "a", **options).returncode == 0
    changed = {f.parent.name for f, time in times.items() if f.stat().st_mtime_ns != time}
    assert changed == {case}
    one = tiny_cohort / case / f"{case}-seg.nii.gz"  # the case alone, from its file
    done = bundle_run(
        "inferring", "inference.yaml", output_dir=tmp_path / "b", **{**options, "dataset_dir": one}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    first, alone = contents(tmp_path / "a" / case), contents(tmp_path / "b" / case)
    assert first.keys() == alone.keys() and all(np.array_equal(first[k], alone[k]) for k in first)
    refused = bundle_run("inferring", "inference.yaml", output_dir=tmp_path / "a", **{**options, "seed": 1})
    assert refused.returncode != 0 and "was made with seed 0, not 1" in refused.stderr


def test_slices_make_a_volume(tmp_path: Path) -> None:
    """Thick slices of any number and distance, from the 2-D network; the mask's grid stays as it is."""
    weights = write_weights(
        tmp_path / "model.pt", "slices.yaml", spatial_size=[16, 16, None], voxel_mm=[2.0, 2.0, None]
    )
    label = np.zeros((16, 16, 5), np.uint8)
    label[3:13, 3:13, 1:] = 1
    label[6:9, 6:9, 2:4] = 4
    mask = Volume(data=label, affine=np.diag([2.0, 2.0, 6.5, 1.0]))
    write_volume(tmp_path / "in" / "case-seg.nii.gz", mask)
    done = bundle_run(
        "inferring",
        "inference.yaml",
        "slices.yaml",
        dataset_dir=tmp_path / "in",
        output_dir=tmp_path / "out",
        weights=weights,
        steps=2,
        **SMALL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    image = read_volume(tmp_path / "out" / "case" / "case-t1c.nii.gz")
    assert image.data.shape == label.shape and np.allclose(image.affine, mask.affine)
    assert (image.data[label == 0] == 0).all() and image.data[label > 0].std() > 0
    assert json.loads((tmp_path / "out" / "case" / "case.json").read_text())["network_calls"] == 2


def test_challenge_masks_on_their_own_grid(weights: Path, tmp_path: Path) -> None:
    """A challenge's folder, turned axes, 1 mm, sizes the network cannot take: the result still lies on its mask."""
    case, rng = "BraTS-GLI-00001-100", np.random.default_rng(0)
    affine = np.array([[-1.5, 0, 0, 20], [0, -1.5, 0, 15], [0, 0, 1.5, -10], [0, 0, 0, 1.0]])
    seg = np.zeros((30, 26, 22), np.uint8)
    seg[12:16, 10:14, 9:12] = 3
    brain = np.zeros(seg.shape, bool)
    brain[4:26, 4:22, 3:19] = True
    write_volume(tmp_path / "in" / case / f"{case}-seg.nii.gz", Volume(data=seg, affine=affine))
    for contrast in CONTRASTS:
        scan = (rng.uniform(100, 200, seg.shape) * brain).astype(np.float32)
        write_volume(tmp_path / "in" / case / f"{case}-{contrast}.nii.gz", Volume(data=scan, affine=affine))
    options = {"weights": weights, "steps": 1, "label_convention": "brats2024", **SMALL}
    done = bundle_run(
        "inferring", "inference.yaml", dataset_dir=tmp_path / "in", output_dir=tmp_path / "out", **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    image = nib.load(tmp_path / "out" / case / f"{case}-t1c.nii.gz")
    assert image.shape == seg.shape and np.allclose(image.affine, affine)
    data = np.asarray(image.dataobj)
    assert (data[~brain] == 0).all() and (data[brain] > 0).mean() > 0.5


def test_unconditional_and_lesion_only(weights: Path, tmp_path: Path) -> None:
    """Without a mask, samples on the weights' grid; with a lesion alone, the generator makes the head."""
    options = {"weights": weights, "steps": 1, **SMALL}
    done = bundle_run("inferring", "inference.yaml", output_dir=tmp_path / "none", unconditional=2, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = (
        read_volume(tmp_path / "none" / f"unconditional-00{i}" / f"unconditional-00{i}-t1c.nii.gz")
        for i in (0, 1)
    )
    assert first.data.shape == (16, 16, 16) and first.voxel_mm == (3, 3, 3)
    assert not np.array_equal(first.data, second.data)
    label = np.zeros((16, 16, 16), np.uint8)
    label[6:9, 6:9, 6:9] = 1
    write_volume(tmp_path / "m" / "x-seg.nii.gz", Volume(data=label, affine=np.diag([3.0, 3, 3, 1])))
    done = bundle_run(
        "inferring",
        "inference.yaml",
        dataset_dir=tmp_path / "m",
        output_dir=tmp_path / "o",
        label_convention="binary",
        **options,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (read_volume(tmp_path / "o" / "x" / "x-t1c.nii.gz").data[label == 0] > 0).any()


def test_slices_at_stated_heights(tmp_path: Path) -> None:
    """Slices without a mask, at the heights asked for: the same height is the same slice, another one is another."""
    slices = write_weights(
        tmp_path / "slices.pt", "slices.yaml", spatial_size=[16, 16, None], voxel_mm=[3.0, 3.0, None]
    )
    options = {"weights": slices, "steps": 1, "unconditional": 1, **SMALL}
    done = bundle_run(
        "inferring",
        "inference.yaml",
        "slices.yaml",
        output_dir=tmp_path / "o",
        heights="[0.2,0.8,0.2]",
        **options,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    made = read_volume(tmp_path / "o" / "unconditional-000" / "unconditional-000-t1c.nii.gz").data
    assert made.shape == (16, 16, 3)
    low, high, low_again = np.moveaxis(made, -1, 0)
    assert np.abs(low - low_again).max() < 1e-5 < 1e-3 < np.abs(low - high).max()


@pytest.mark.parametrize(
    ("overlays", "heights", "said"),
    [
        ((), "[0.5]", "slices.yaml"),
        (("slices.yaml",), "[50]", "0 to 1"),
        (("slices.yaml",), None, "--heights"),
    ],
)
def test_heights_that_cannot_be(
    overlays: tuple[str, ...], heights: str | None, said: str, tmp_path: Path
) -> None:
    """Heights for a network of volumes, as slice numbers, or none where nothing else tells how many slices."""
    weights = write_weights(
        tmp_path / "w.pt", *overlays, spatial_size=[16, 16, None], voxel_mm=[3.0, 3.0, None]
    )
    options = {} if heights is None else {"heights": heights}
    done = bundle_run(
        "inferring",
        "inference.yaml",
        *overlays,
        output_dir=tmp_path / "o",
        weights=weights,
        unconditional=1,
        steps=1,
        **options,
        **SMALL,
    )
    assert done.returncode == 1 and said in done.stderr.strip().splitlines()[-1], done.stderr
    assert not any((tmp_path / "o").rglob("*.nii.gz"))


def test_a_cohort_of_another_size(weights: Path, tmp_path: Path) -> None:
    """The network is convolutional: a prepared mask of another size, a multiple of 16, keeps its own grid."""
    cohort = write_prepared_cohort(tmp_path / "cohort", training=1, validation=1, size=(32, 16, 16))
    options = {"weights": weights, "steps": 1, "section": "all", **SMALL}
    assert (
        bundle_run(
            "inferring", "inference.yaml", dataset_dir=cohort, output_dir=tmp_path / "o", **options
        ).returncode
        == 0
    )
    assert len(contents(tmp_path / "o")) == 8 and all(
        v.shape == (32, 16, 16) for v in contents(tmp_path / "o").values()
    )
