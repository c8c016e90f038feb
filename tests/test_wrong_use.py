"""Wrong use, as a person makes it: one line must say what is wrong and what to do, and nothing half-made may stay."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import CONFIGS, ROOT, bundle_command, run_environment
from monai.bundle import ConfigParser

from gliomagen.labels import CONTRASTS
from gliomagen.provenance import CardWriter
from gliomagen.volume import Volume, write_volume

NETWORK = {"channels": "[8,8]", "network_def__groups": 4, "network_def__head_channels": 8}
AFFINE = np.diag([-3.0, -3.0, 3.0, 1.0])
CASE = "BraTS-GLI-00001-100"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a small network, with their card."""
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    parser = ConfigParser(ConfigParser.load_config_file(CONFIGS / "inference.yaml"))
    parser.update({name.replace("__", "#"): value for name, value in NETWORK.items()} | {"channels": [8, 8]})
    torch.manual_seed(0)
    network = parser.get_parsed_content("network_def")
    # The last layer starts at zero, and every voxel would be the same.
    torch.nn.init.normal_(network.out.weight, std=0.05)
    torch.save(network.state_dict(), path)
    geometry = {"spatial_size": [16, 16, 16], "voxel_mm": [3.0, 3.0, 3.0], "contrasts": list(CONTRASTS)}
    CardWriter(architecture={}, geometry=geometry, cohort_sha256="", patients=[])(path, 1)
    return path


@pytest.fixture(scope="module")
def challenge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A challenge folder of one case with all four tumour labels."""
    folder, rng = tmp_path_factory.mktemp("challenge"), np.random.default_rng(0)
    head = np.zeros((24, 24, 24), bool)
    head[3:21, 3:21, 3:21] = True
    seg = np.zeros(head.shape, np.uint8)
    for number in (1, 2, 3, 4):
        seg[4 + 3 * number : 7 + 3 * number, 8:14, 8:14] = number
    write_volume(folder / CASE / f"{CASE}-seg.nii.gz", Volume(data=seg, affine=AFFINE))
    for contrast in CONTRASTS:
        scan = (rng.uniform(100, 200, head.shape) * head).astype(np.float32)
        write_volume(folder / CASE / f"{CASE}-{contrast}.nii.gz", Volume(data=scan, affine=AFFINE))
    return folder


def write_mask(folder: Path, *, size: int, lesion: int) -> Path:
    """Writes a label map with a head and a lesion, alone in its folder."""
    label = np.zeros((size,) * 3, np.uint8)
    label[3:-3, 3:-3, 3:-3] = 1
    label[6:9, 6:9, 6:9] = lesion
    write_volume(folder / "case-seg.nii.gz", Volume(data=label, affine=AFFINE))
    return folder


def refused(run_id: str, config: str, *, under: Sequence[str] = (), **options: Any) -> str:
    """Runs a workflow that must fail as a user's error does, and returns its one line."""
    command = [*under, *bundle_command(run_id, config, **options)]
    ended = subprocess.run(
        command, cwd=ROOT, env=run_environment(), capture_output=True, text=True, timeout=600
    )
    told = ended.stdout + ended.stderr
    lines = [line for line in told.splitlines() if line.startswith("error: ")]
    assert ended.returncode != 0, told
    assert len(lines) == 1 and "Traceback" not in told, told
    return lines[0]


def left_in(folder: Path) -> set[str]:
    """Files below a folder, but for the report that preparing writes of what it refused."""
    return {file.name for file in folder.rglob("*") if file.is_file()} - {"integrity.md", f"{CASE}.json"}


@pytest.mark.parametrize(
    ("run_id", "config", "advice"),
    [
        (
            "preparing",
            "prepare.yaml",
            "no case found for layout 'brats2024' (expected <case>/<case>-t1c.nii.gz)",
        ),
        (
            "training",
            "train.yaml",
            "no cohort.json; run preparing first, or use raw.yaml for a challenge folder",
        ),
        ("inferring", "inference.yaml", "no case found"),
    ],
)
def test_no_data_in_the_folder(run_id: str, config: str, advice: str, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    options = {"weights": weights, **NETWORK} if run_id == "inferring" else {}
    line = refused(run_id, config, dataset_dir=tmp_path / "data", output_dir=tmp_path / "out", **options)
    assert f"{tmp_path / 'data'}: " in line and advice in line
    assert not (tmp_path / "out").exists()


def test_no_weights(tmp_path: Path) -> None:
    mask = write_mask(tmp_path / "data", size=16, lesion=4)
    options = {"dataset_dir": mask, "output_dir": tmp_path / "out", "weights": tmp_path / "model.pt"}
    line = refused("inferring", "inference.yaml", **options)
    assert f"{tmp_path / 'model.pt'}: no weights there; train first, or set the option weights" in line
    assert not (tmp_path / "out").exists()


def test_weights_of_another_network(weights: Path, tmp_path: Path) -> None:
    mask = write_mask(tmp_path / "data", size=16, lesion=4)
    options = {**NETWORK, "channels": "[8,16]", "dataset_dir": mask, "output_dir": tmp_path / "out"}
    line = refused("inferring", "inference.yaml", weights=weights, **options)
    assert f"{weights}: does not fit the configured network: '" in line
    assert "Pass the overlay it was trained with" in line
    assert not (tmp_path / "out").exists()


def test_a_label_the_convention_does_not_have(weights: Path, tmp_path: Path) -> None:
    """Found in a data worker, whose error comes as text."""
    mask = write_mask(tmp_path / "data", size=16, lesion=7)
    options = {"weights": weights, "label_convention": "brats2024", **NETWORK}
    line = refused("inferring", "inference.yaml", dataset_dir=mask, output_dir=tmp_path / "out", **options)
    assert f"{mask / 'case-seg.nii.gz'}: labels [7] are not of the convention 'brats2024'" in line
    assert "choose label_convention among" in line
    assert left_in(tmp_path / "out") == set()


def test_a_cohort_of_another_convention(challenge: Path, tmp_path: Path) -> None:
    options = {"dataset_dir": challenge, "output_dir": tmp_path / "out", "num_workers": 0}
    line = refused("preparing", "prepare.yaml", label_convention="binary", **options)
    assert f"{CASE}-seg.nii.gz: labels 2, 3, 4 are not of 'binary' (it has 0, 1)" in line
    assert f"all are in {tmp_path / 'out' / 'integrity.md'}" in line
    assert left_in(tmp_path / "out") == set()


def test_a_mask_of_a_size_the_network_cannot_halve(weights: Path, tmp_path: Path) -> None:
    mask = write_mask(tmp_path / "data", size=20, lesion=4)
    options = {"weights": weights, "grid": "own", **NETWORK}
    line = refused("inferring", "inference.yaml", dataset_dir=mask, output_dir=tmp_path / "out", **options)
    assert f"{mask / 'case-seg.nii.gz'}: volume size (20, 20, 20) is not a multiple of 16" in line
    assert "pass --grid weights" in line
    assert left_in(tmp_path / "out") == set()


@pytest.mark.parametrize(
    ("sizes", "advice"),
    [
        ("[60,64,48]", "spatial_size: 60 along axis 0 is not a multiple of 16; set it to 48 or 64"),
        ("[64,64,null]", "spatial_size [64, 64, 'null']: give three positive whole numbers"),
    ],
)
def test_a_cohort_of_a_size_the_network_cannot_halve(
    sizes: str, advice: str, challenge: Path, tmp_path: Path
) -> None:
    options = {"dataset_dir": challenge, "output_dir": tmp_path / "out", "spatial_size": sizes}
    assert advice in refused("preparing", "prepare.yaml", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_where_there_is_none(tiny_cohort: Path, tmp_path: Path) -> None:
    """Said before the cohort is cached, which may take an hour."""
    options = {"dataset_dir": tiny_cohort, "output_dir": tmp_path / "out", "device": "cuda"}
    line = refused("training", "train.yaml", **options)
    assert "device 'cuda' is asked for, but this machine has none; pass --device cpu" in line
    assert not (tmp_path / "out").exists()


def cramped(folder: Path, *, disk_kib: int, file_kib: int) -> list[str]:
    """The start of a command line that gives the rest of it a small disk at ``folder``.

    Where nobody may mount one, files may not grow instead. ``folder.txt`` beside it lists what was left there.
    """
    folder.mkdir()
    mount = ["unshare", "--user", "--map-root-user", "--mount"]
    limit = 'mount -t tmpfs -o size="$2"k tmpfs "$1"'
    if subprocess.run([*mount, "sh", "-c", limit, "sh", folder, "64"], capture_output=True).returncode:
        mount, limit = [], 'ulimit -f "$3"'
    script = f'{limit} && folder=$1 && shift 3; "$@"; status=$?; find "$folder" -type f >"$folder.txt"; exit $status'
    return [
        *mount,
        "sh",
        "-c",
        script,
        "sh",
        str(folder),
        str(disk_kib),
        str(2 * file_kib),
    ]  # blocks of 512 bytes


@pytest.mark.skipif(shutil.which("unshare") is None, reason="no way to make a small disk here")
@pytest.mark.parametrize(
    ("run_id", "config", "disk_kib", "file_kib"),
    [
        # There is room for some of a case's contrasts, and for the cache but not for the weights.
        ("inferring", "inference.yaml", 24, 2),
        ("training", "train.yaml", 320, 64),
    ],
)
def test_no_space_left(
    run_id: str, config: str, disk_kib: int, file_kib: int, tiny_cohort: Path, weights: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    options = {"dataset_dir": tiny_cohort, "output_dir": disk / "out", "precision": "fp32", **NETWORK}
    options |= {"weights": weights, "steps": 1} if run_id == "inferring" else {"max_steps": 1}
    options |= {"num_workers": 0}  # what workers share would be limited too
    line = refused(run_id, config, under=cramped(disk, disk_kib=disk_kib, file_kib=file_kib), **options)
    assert f"{disk / 'out'}/" in line and "free space" in line
    left = (tmp_path / "disk.txt").read_text().split()
    assert not [name for name in left if ".partial-" in name or name.endswith((".nii.gz", ".pt"))]
