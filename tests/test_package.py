"""The archive for the Model Zoo, unpacked where nothing of this repository is: what its hosts do with it works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from helpers import CONFIGS, REAL, ROOT
from monai.bundle import ConfigParser
from test_bundle import SCHEMA

import package
from gliomagen.labels import HEAD, TUMOUR
from gliomagen.volume import Volume, read_volume, write_volume
from gliomagen.weights import load_weights

HIDE = ROOT / "tests" / "support" / "uninstalled.py"
MASK = REAL / "tcga-lgg" / "BraTS-GLI-06692-100" / "BraTS-GLI-06692-100-seg.nii.gz"

# Run where gliomagen is not installed: argument 1 is the unpacked bundle, 2 a folder to write to.
AS_HOSTS_DO = """
import sys
from pathlib import Path
import torch
from monai.bundle import ConfigParser, load, verify_metadata, verify_net_in_out
bundle, out = map(Path, sys.argv[1:])
configs, name = bundle / "configs", bundle.name
verify_metadata(meta_file=str(configs / "metadata.json"), filepath=str(out / "schema.json"))
verify_net_in_out(net_id="generator", meta_file=str(configs / "metadata.json"), config_file=str(configs / "inference.json"), device="cpu", n=2)
given = torch.load(bundle / "models" / "model.pt", weights_only=True)
label = torch.load(out / "label.pt")
for kind in ("train", "inference"):
    network = load(name, bundle_dir=str(bundle.parent), workflow_type=kind, device="cpu")
    assert isinstance(network, torch.nn.Module)
    state = network.state_dict()
    assert state.keys() == given.keys() and all(torch.equal(state[key], given[key]) for key in given)
    parser = ConfigParser()
    parser.read_config(str(configs / "inference.json"))
    parser.update({"device": "cpu", "steps": 2})
    torch.save(parser.get_parsed_content("inferer")(label, network, case_ids=["a"]), out / f"{kind}.pt")
import gliomagen
assert Path(gliomagen.__file__).is_relative_to(bundle)
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return package.pack(package.BUNDLE, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def unpacked(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle in a zoo's folder of models."""
    models = tmp_path_factory.mktemp("zoo") / "models"
    zipfile.ZipFile(archive).extractall(models)
    (bundle,) = models.iterdir()
    return bundle


def uninstalled(*arguments: object, path: Path | None = None, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs Python on a file where gliomagen is not installed."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    env |= {"BUNDLE_PATH": str(path or ""), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HIDE), *map(str, arguments)]
    return subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, timeout=600)


def test_the_same_files_are_the_same_bytes(archive: Path, tmp_path: Path) -> None:
    """A sha256 that changes from day to day tells nobody what they have."""
    again = package.pack(package.BUNDLE, tmp_path)
    assert again.read_bytes() == archive.read_bytes()
    assert again.name == f"brats_glioma_mri_synthesis_v{package_version()}.zip"
    assert list(tmp_path.iterdir()) == [again]


def package_version() -> str:
    return str(json.loads((CONFIGS / "metadata.json").read_text())["version"])


def test_it_holds_the_bundle_and_nothing_else(archive: Path) -> None:
    entries = zipfile.ZipFile(archive).infolist()
    names = {entry.filename for entry in entries}
    assert {name.split("/")[0] for name in names} == {"brats_glioma_mri_synthesis"}
    assert not [name for name in names if "__pycache__" in name or "egg-info" in name or "/." in name]
    assert max(entry.file_size for entry in entries) < 25e6
    inside = {name.split("/", 1)[1] for name in names}
    assert {"LICENSE", "configs/metadata.json", "configs/train.json", "docs/data_license.txt"} <= inside
    assert {"gliomagen/diffusion/network.py", "models/model.pt", "models/model.json"} <= inside


def test_a_file_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "LARGEST", 10**6)
    with pytest.raises(SystemExit, match="MB, the zoo takes 1; link it"):
        package.pack(package.BUNDLE, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", package.AS_JSON)
def test_the_json_says_what_the_yaml_says(unpacked: Path, name: str) -> None:
    """``monai.bundle.load`` reads only JSON; a copy kept by hand would train another network."""
    made, written = (unpacked / "configs" / f"{name}.{kind}" for kind in ("json", "yaml"))
    assert ConfigParser.load_config_file(made) == ConfigParser.load_config_file(written)
    assert written.read_text() == (CONFIGS / f"{name}.yaml").read_text()


def test_a_host_that_reads_one_file_finds_the_overlay_in_it(tmp_path: Path) -> None:
    """MONAI Label reads ``inference.json`` and nothing else; what it did not find there it would leave out in silence."""
    (tmp_path / package.NAME).mkdir()
    (tmp_path / package.NAME / "of yesterday").write_text("")
    folder = package.unpacked(package.BUNDLE, tmp_path, ["label"])
    config = ConfigParser.load_config_file(folder / "configs" / "inference.json")
    assert config["displayable_configs"]["contrast"] == config["contrasts"]
    assert (
        config["postprocessing"]["transforms"][0]["_target_"]
        == "gliomagen.serving.contrasts.RestoreContrastsd"
    )
    assert {"$import gliomagen", "$import gliomagen.serving.contrasts"} <= set(config["imports"])
    assert "displayable_configs" not in ConfigParser.load_config_file(folder / "configs" / "train.json")
    assert not (folder / "of yesterday").exists()


def test_hosts_load_and_check_it(unpacked: Path, tmp_path: Path) -> None:
    """MONAI's loader passes over what does not fit with a line in the log, and samples noise."""
    script, schema = tmp_path / "host.py", tmp_path / "schema.json"
    script.write_text(AS_HOSTS_DO)
    schema.write_text(json.dumps(SCHEMA))
    label = torch.full((1, 1, 32, 32, 32), float(HEAD))
    label[..., 8:20, 8:20, 8:20] = TUMOUR[0]
    torch.save(label, tmp_path / "label.pt")
    done = uninstalled(script, unpacked, tmp_path, path=unpacked, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    parser = ConfigParser()
    parser.read_config(str(CONFIGS / "inference.yaml"))
    parser.update({"device": "cpu", "steps": 2})
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    network = load_weights(parser.get_parsed_content("network_def"), package.BUNDLE / "models" / "model.pt")
    here = parser.get_parsed_content("inferer")(label, network, case_ids=["a"])
    torch.set_num_threads(threads)
    for kind in ("train", "inference"):
        assert torch.equal(torch.load(tmp_path / f"{kind}.pt"), here)


@pytest.mark.slow
def test_the_zoos_unit_test_passes(unpacked: Path) -> None:
    """The file to submit with the bundle, run from a zoo's root."""
    file = ROOT / "scripts" / "zoo" / "test_brats_glioma_mri_synthesis.py"
    done = uninstalled(file, cwd=unpacked.parents[1])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Ran 2 tests" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not MASK.is_file(), reason="../shared/data has no real scan")
def test_a_real_mask_comes_out_as_from_the_repository(unpacked: Path, tmp_path: Path) -> None:
    mask = read_volume(MASK).to_ras()
    few = mask.data[::4, ::4, ::4]
    small = few[tuple(slice(0, size // 16 * 16) for size in few.shape)]
    affine = mask.affine.copy()
    affine[:3, :3] *= 4
    write_volume(tmp_path / "mask.nii.gz", Volume(data=small, affine=affine))
    arguments = ["-m", "monai.bundle", "run", "inferring", "--dataset_dir", tmp_path / "mask.nii.gz"]
    options = ["--label_convention", "brats2024", "--grid", "own", "--steps", "2", "--threads", "1"]
    made = {}
    for where, config in {
        "zoo": unpacked / "configs" / "inference.json",
        "here": CONFIGS / "inference.yaml",
    }.items():
        out = tmp_path / where
        command = [*arguments, "--config_file", config, "--output_dir", out, *options]
        done = subprocess.run(
            [sys.executable, *map(str, command)], capture_output=True, text=True, cwd=tmp_path
        )
        assert done.returncode == 0, done.stdout + done.stderr
        made[where] = {file.name: read_volume(file).data for file in out.rglob("*.nii.gz")}
    assert len(made["zoo"]) >= 4 and made["zoo"].keys() == made["here"].keys()
    for name, image in made["zoo"].items():
        assert (image == made["here"][name]).all(), name
