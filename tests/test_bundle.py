"""The bundle as MONAI and its hosts read it: what is wrong here shows only on the machine of whoever loads it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
import yaml
from helpers import CONFIGS, ROOT
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.bundle.reference_resolver import ReferenceResolver
from torch import distributed

import gliomagen
from gliomagen.labels import CONTRASTS, LABEL_NAMES
from gliomagen.provenance import CardWriter, read_card
from gliomagen.weights import load_weights

METADATA = json.loads((CONFIGS / "metadata.json").read_text(encoding="utf-8"))
FILES = sorted(CONFIGS.glob("*.yaml"))
WORKFLOWS = [file for file in FILES if "run" in yaml.safe_load(file.read_text(encoding="utf-8"))]
OVERLAYS = [file for file in FILES if file not in WORKFLOWS]
MODEL = Path(gliomagen.BUNDLE_ROOT) / "models" / "model.pt"
SMALL = {"channels": [8, 8], "network_def#groups": 4, "network_def#head_channels": 8}

COMMON = ["output_dir", "device", "seed", "num_workers"]
SYNTHESIS = ["weights", "steps", "sampler", "extrapolation", "guidance", "label_convention"]
OPTIONS = {
    "phantoms.yaml": [*COMMON, "patients", "timepoints", "spatial_size"],
    "prepare.yaml": [
        *["dataset_dir", *COMMON, "spatial_size", "voxel_mm", "label_convention"],
        *["layout", "strict", "validation_fraction", "contrasts"],
    ],
    "train.yaml": [
        *["dataset_dir", *COMMON, "max_steps", "batch_size", "learning_rate", "contrasts"],
        *["checkpoint_interval", "sample_interval", "resume"],
    ],
    "inference.yaml": ["dataset_dir", *COMMON, *SYNTHESIS, "contrasts"],
    "augment.yaml": ["dataset_dir", "output_dir", "seed", "num_workers", "section", "count", "variants"],
    "synthesize.yaml": ["dataset_dir", *COMMON, *SYNTHESIS, "contrasts", "dataset_id", "seeds_per_mask"],
    "segmenter.yaml": [
        *["dataset_dir", *COMMON, "max_steps", "batch_size", "learning_rate", "contrasts"],
        *["checkpoint_interval", "sample_interval", "resume", "half"],
    ],
    "segment.yaml": ["dataset_dir", *COMMON, "weights", "label_convention", "contrasts"],
    "accept.yaml": ["real_dir", "dataset_dir", *COMMON, "quantile", "contrasts", "thresholds"],
    "mix.yaml": ["dataset_dir", "synthetic_dirs", "output_dir", "seed", "arm", "contrasts"],
}

# MONAI's generic schema of 2024-07-25, as far as it says what a bundle must have.
_TEXT, _TEXTS = {"type": "string"}, {"type": "object", "additionalProperties": {"type": "string"}}
_TENSOR = {
    "type": "object",
    "required": ["type", "format", "num_channels", "spatial_shape", "dtype", "value_range"],
    "properties": {
        **{name: _TEXT for name in ("type", "format", "modality", "dtype")},
        "num_channels": {"type": "integer"},
        "spatial_shape": {"type": "array", "items": {"type": ["string", "integer"]}},
        "value_range": {"type": "array", "items": {"type": "number"}},
        "is_patch_data": {"type": "boolean"},
        "channel_def": _TEXTS,
    },
}
_TENSORS = {"type": "object", "additionalProperties": _TENSOR}
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2019-09/schema",
    "type": "object",
    "required": [
        *[
            "schema",
            "version",
            "monai_version",
            "pytorch_version",
            "numpy_version",
            "required_packages_version",
        ],
        *["task", "description", "authors", "copyright", "network_data_format"],
    ],
    "properties": {
        **{
            name: {"type": "string", "pattern": r"^\d+\.\d+\.\d+$"}
            for name in METADATA
            if name.endswith("_version")
        },
        **{name: _TEXT for name in ("schema", "name", "task", "description", "authors", "copyright")},
        **{
            name: _TEXT
            for name in ("data_source", "data_type", "image_classes", "label_classes", "pred_classes")
        },
        "version": {"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
        "intended_use": _TEXT,
        "required_packages_version": _TEXTS,
        "changelog": _TEXTS,
        "supported_apps": {"type": "object"},
        "eval_metrics": {"type": "object"},
        "references": {"type": "array", "items": _TEXT},
        "network_data_format": {
            "type": "object",
            "required": ["inputs", "outputs"],
            "properties": {"inputs": _TENSORS, "outputs": _TENSORS},
        },
    },
}


def raw(name: str) -> dict[str, Any]:
    """A config as it is written."""
    content: dict[str, Any] = yaml.safe_load((CONFIGS / name).read_text(encoding="utf-8"))
    return content


def header(file: Path) -> str:
    """The comment a config begins with."""
    return re.match(r"(#.*\n)*", file.read_text(encoding="utf-8"))[0]  # type: ignore[index]


def stacks() -> Iterator[list[str]]:
    """Every config alone, and every overlay on those its header names."""
    for file in WORKFLOWS:
        yield [file.name]
    for file in OVERLAYS:
        bases, _, behind = header(file).split(":")[0].partition(" behind ")
        for base in re.findall(r"\w+\.yaml", bases):
            yield [base, *re.findall(r"\w+\.yaml", behind), file.name]


def workflow(kind: str, *names: str, **overrides: Any) -> ConfigWorkflow:
    """A workflow as a host of bundles makes it."""
    return ConfigWorkflow(
        config_file=[str(CONFIGS / name) for name in names],
        workflow_type=kind,
        logging_file=False,
        **overrides,
    )


def pinned() -> dict[str, str]:
    """Versions in ``constraints.txt``, by package."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {m[1]: m[2] for line in lines if (m := re.match(r"([\w.-]+)==([\w.]+)", line))}


@pytest.fixture(scope="module")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a small network, with their card."""
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    parser = ConfigParser(raw("inference.yaml"))
    parser.update(SMALL)
    torch.save(parser.get_parsed_content("network_def").state_dict(), path)
    geometry = {"spatial_size": [16, 16, 16], "voxel_mm": [3.0, 3.0, 3.0], "contrasts": list(CONTRASTS)}
    CardWriter(architecture={}, geometry=geometry, cohort_sha256="", patients=[])(path, 1)
    return path


# --- metadata ---


def test_metadata_fit_the_schema() -> None:
    jsonschema.Draft201909Validator(SCHEMA).validate(METADATA)
    assert METADATA["schema"].endswith("/meta_schema_20240725.json")


def test_metadata_name_this_version() -> None:
    assert METADATA["version"] == gliomagen.__version__
    assert METADATA["version"] in METADATA["changelog"]


def test_metadata_ask_for_the_tested_versions() -> None:
    """The zoo's machines install exactly these."""
    pins = pinned()
    asked = {
        "monai": METADATA["monai_version"],
        "torch": METADATA["pytorch_version"],
        "numpy": METADATA["numpy_version"],
        **METADATA["required_packages_version"],
    }
    assert asked == {name: pins.get(name) for name in asked}
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    needed = re.search(r"^dependencies = \[(.*?)^\]", project, re.DOTALL | re.MULTILINE)
    assert needed is not None
    assert {name.lower() for name in asked} == set(re.findall(r'^\s*"([\w-]+)', needed[1], re.MULTILINE))


def test_metadata_say_what_goes_in_and_out() -> None:
    """MONAI Label, Deploy and MONAI's own check take names, channels and their meaning from here."""
    form = METADATA["network_data_format"]
    image, pred = form["inputs"]["image"], form["outputs"]["pred"]
    assert list(form["inputs"]) == ["image"] and list(form["outputs"]) == ["pred"]
    assert image["num_channels"] == 1 and image["dtype"] == "float32"
    assert image["value_range"] == [min(LABEL_NAMES), max(LABEL_NAMES)]
    assert {int(number): name for number, name in image["channel_def"].items()} == LABEL_NAMES
    assert [pred["channel_def"][str(i)] for i in range(pred["num_channels"])] == list(CONTRASTS)
    assert pred["value_range"] == [0, 1]
    assert image["spatial_shape"] == pred["spatial_shape"] == ["16*n"] * 3


# --- configs ---


def test_the_configs_are_found() -> None:
    assert {file.name for file in WORKFLOWS} >= set(OPTIONS)
    assert len(list(stacks())) >= len(FILES)


@pytest.mark.parametrize("names", list(stacks()), ids="+".join)
def test_every_reference_leads_somewhere(names: list[str]) -> None:
    """One that leads nowhere is found only when its item is used: after hours of training, perhaps."""
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / name) for name in names])
    parser.parse()
    items = parser.ref_resolver.items
    lost = {
        f"{where}: {target}"
        for where, item in items.items()
        for target in ReferenceResolver.find_refs_in_config(item.get_config(), id=where)
        if target not in items
    }
    assert lost == set()


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_a_workflow_says_how_to_run_it(file: Path) -> None:
    """Hosts of bundles call ``run``; people call it by its name and find the command on top."""
    name = raw(file.name)["run"].removeprefix("%")
    parser = ConfigParser()
    parser.read_config(str(file))
    parser.parse()
    assert parser["run"] == parser[name] and parser["run"]
    assert parser["run"][0] == "$gliomagen.errors.print_errors_as_one_line()"
    command = f"python -m monai.bundle run {name} --config_file bundle/configs/{file.name}"
    assert command in header(file)


@pytest.mark.parametrize("file", OVERLAYS, ids=lambda file: file.name)
def test_an_overlay_says_of_what(file: Path) -> None:
    assert header(file).startswith("# Overlay of ")


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_documented_options_are_there(name: str) -> None:
    """An option that is no top-level key is taken without a word and changes nothing."""
    assert set(OPTIONS[name]) - set(raw(name)) == set()


@pytest.mark.parametrize("name", ["segment.yaml", "accept.yaml"])
def test_the_segmenter_is_the_one_that_was_trained(name: str) -> None:
    for item in ("network_def", "channels", "num_labels", "contrasts"):
        assert raw(name)[item] == raw("segmenter.yaml")[item], item


def test_inference_builds_the_network_that_training_trained() -> None:
    def without(value: Any) -> Any:
        """Leaves out what matters in training only."""
        return {k: v for k, v in value.items() if k != "checkpointing"} if isinstance(value, dict) else value

    train, inference = raw("train.yaml"), raw("inference.yaml")
    for name in (
        "network_def",
        "basis",
        "process",
        "channels",
        "blocks",
        "spatial_dims",
        "last_channels",
        "time_shift",
        "time_spread",
        "detail_rms",
        "process",
    ):
        assert without(train[name]) == inference[name], name
    for name in ("contrasts", "num_labels", "steps"):
        assert train[name] == inference[name], name


@pytest.mark.parametrize("overlay", [None, "slices.yaml", "full.yaml"])
def test_training_has_what_hosts_ask_for(overlay: str | None, tiny_cohort: Path, tmp_path: Path) -> None:
    names = ["train.yaml", *([overlay] if overlay else [])]
    flow = workflow(
        "train", *names, dataset_dir=str(tiny_cohort), output_dir=str(tmp_path / "run"), precision="fp32"
    )
    flow.initialize()
    assert flow.check_properties() == []
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("overlay", [None, "full.yaml"])
def test_inference_has_what_hosts_ask_for(
    overlay: str | None, tiny_cohort: Path, small_weights: Path, tmp_path: Path
) -> None:
    names = ["inference.yaml", *([overlay] if overlay else [])]
    options = {"dataset_dir": str(tiny_cohort), "output_dir": str(tmp_path / "out"), "precision": "fp32"}
    network = {"network": "$@network_def.to(@run_device)"} if overlay else SMALL
    flow = workflow("infer", *names, weights=str(small_weights), **options, **network)
    flow.initialize()
    assert flow.check_properties() == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_initializing_does_nothing_yet(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts initialize a bundle to look at it, without data and wherever they stand."""
    monkeypatch.chdir(tmp_path)
    kind = "infer" if file.name == "inference.yaml" else "train"
    workflow(kind, file.name, dataset_dir="absent", output_dir="made").initialize()
    assert list(tmp_path.iterdir()) == []
    assert not distributed.is_initialized()


# --- weights ---


def test_the_weights_that_come_along_fit() -> None:
    """Strictly: MONAI's own loader passes over what does not fit, and samples noise."""
    assert MODEL.is_file(), f"{MODEL}: make it with scripts/train_demonstration.sh"
    assert MODEL.stat().st_size < 25e6  # the zoo's limit for a file
    parser = ConfigParser(raw("inference.yaml"))
    network = load_weights(parser.get_parsed_content("network_def"), MODEL)
    assert all(torch.isfinite(value).all() for value in network.state_dict().values())


def test_the_weights_that_come_along_have_their_card() -> None:
    assert MODEL.is_file(), f"{MODEL}: make it with scripts/train_demonstration.sh"
    card = read_card(MODEL)  # compares the sha256
    assert "phantom" in card["data_terms"] and card["training_patients"]
    assert card["geometry"]["contrasts"] == raw("inference.yaml")["contrasts"]
    assert card["architecture"]["channels"] == raw("inference.yaml")["channels"]
