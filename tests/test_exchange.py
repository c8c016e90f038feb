"""Weights in the forms that hubs keep, and the bundle on its way to one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from helpers import ROOT, bundle_run
from monai.bundle import push_to_hf_hub
from test_inferring import SMALL, contents, write_weights

from gliomagen.errors import GliomaGenError
from gliomagen.exchange import convert_weights
from gliomagen.provenance import read_card
from gliomagen.weights import read_state

MODEL = ROOT / "bundle" / "models" / "model.pt"


def test_there_and_back_is_the_same(tmp_path: Path) -> None:
    """Tensors bit for bit, and the card: weights without it say nothing of whose scans they know."""
    other = convert_weights(MODEL, tmp_path / "a", form="safetensors")
    back = convert_weights(other, tmp_path / "b", form="pt")
    first, second, third = read_state(MODEL), read_state(other), read_state(back)
    assert first.keys() == second.keys() == third.keys()
    assert all(
        torch.equal(first[name], second[name]) and torch.equal(first[name], third[name]) for name in first
    )
    cards = [read_card(path) for path in (MODEL, other, back)]
    own = ("weights", "sha256", "converted_from")
    plain = [{key: value for key, value in card.items() if key not in own} for card in cards]
    assert plain[0] == plain[1] == plain[2]
    assert (
        cards[1]["converted_from"] == cards[0]["sha256"] and cards[2]["converted_from"] == cards[1]["sha256"]
    )


@pytest.mark.slow
def test_workflows_take_either(tiny_cohort: Path, tmp_path: Path) -> None:
    weights = write_weights(tmp_path / "model.pt", spatial_size=[16, 16, 16], voxel_mm=[3.0, 3.0, 3.0])
    done = bundle_run("converting", "convert.yaml", weights=weights, output_dir=tmp_path / "hub")
    assert done.returncode == 0 and str(tmp_path / "hub" / "model.safetensors") in done.stdout
    for name, path in (("a", weights), ("b", tmp_path / "hub" / "model.safetensors")):
        options = {"dataset_dir": tiny_cohort, "weights": path, "steps": 1, "threads": 1, **SMALL}
        done = bundle_run("inferring", "inference.yaml", output_dir=tmp_path / name, **options)
        assert done.returncode == 0, done.stdout + done.stderr
    a, b = contents(tmp_path / "a"), contents(tmp_path / "b")
    assert len(a) == 8 and a.keys() == b.keys() and all((a[name] == b[name]).all() for name in a)


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GliomaGenError, match="form 'onnx' is not known"):
        convert_weights(MODEL, tmp_path, form="onnx")
    shutil.copy(MODEL, tmp_path)
    with pytest.raises(GliomaGenError, match="the card of the weights belongs beside them"):
        convert_weights(tmp_path / "model.pt", tmp_path / "out", form="safetensors")
    shutil.copy(MODEL.with_suffix(".json"), tmp_path)
    with pytest.raises(GliomaGenError, match="would replace that of"):
        convert_weights(tmp_path / "model.pt", tmp_path, form="safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"not tensors")
    with pytest.raises(GliomaGenError, match="not readable as weights"):
        read_state(tmp_path / "bad.safetensors")
    assert not (tmp_path / "out").exists()


class DryRun:
    """Stands for the hub: keeps what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, token: str | None = None) -> DryRun:
        return self

    def create_repo(self, **options: Any) -> None:
        self.asked.append(("create", options))

    def upload_folder(self, **options: Any) -> str:
        files = {str(f.relative_to(options["folder_path"])) for f in Path(options["folder_path"]).rglob("*")}
        self.asked.append(("upload", options | {"files": files}))
        return "https://huggingface.co/" + str(options["repo_id"])

    def create_tag(self, **options: Any) -> None:
        self.asked.append(("tag", options))


def test_what_would_go_to_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The unpacked archive with a model card of the licence; nothing of anybody's machine."""
    import zipfile

    import package

    zipfile.ZipFile(package.pack(package.BUNDLE, tmp_path)).extractall(tmp_path / "models")
    hub = DryRun()
    monkeypatch.setattr(huggingface_hub, "HfApi", hub)
    name, version = package.NAME, json.loads((ROOT / "bundle/configs/metadata.json").read_text())["version"]
    push_to_hf_hub(
        repo=f"somebody/{name}", name=name, bundle_dir=str(tmp_path / "models"), version=version, private=True
    )
    (_, created), (_, uploaded), (_, tagged) = hub.asked
    assert created["private"] is True and tagged["tag"] == version
    assert {"README.md", "models/model.pt", "models/model.json", "configs/inference.json"} <= uploaded[
        "files"
    ]
    card = (tmp_path / "models" / name / "README.md").read_text()
    assert card.startswith("---") and "apache-2.0" in card.split("---")[1]
