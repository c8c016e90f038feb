"""``python -m gliomagen``: what it says of the workflows is what they do, and what it says of a machine is so."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from helpers import CONFIGS, ROOT

from gliomagen import doctor
from gliomagen.__main__ import main, page
from gliomagen.errors import GliomaGenError
from gliomagen.workflows import Workflow, read_workflows

FLOWS = {flow.file: flow for flow in read_workflows(CONFIGS)}
OWN = [flow for flow in FLOWS.values() if flow.runs]


def content(flow: Workflow) -> dict[str, object]:
    return dict(yaml.safe_load((CONFIGS / flow.file).read_text()))


@pytest.mark.parametrize("flow", OWN, ids=lambda flow: flow.file)
def test_options_and_defaults_are_the_configs(flow: Workflow) -> None:
    """A list kept by hand goes stale with the first new option."""
    config = content(flow)
    assert len(flow.options) > 3 and {"output_dir"} <= {option.name for option in flow.options}
    for option in flow.options:
        assert option.name in config
        if not isinstance(config[option.name], dict):
            assert yaml.safe_load(option.default) == config[option.name], option.name
        else:
            assert all(str(key) in option.default for key in config[option.name])
    for run in flow.runs:
        assert run in config


@pytest.mark.parametrize("flow", FLOWS.values(), ids=lambda flow: flow.file)
def test_examples_name_what_there_is(flow: Workflow) -> None:
    """The first thing a user copies must not be refused."""
    assert flow.summary.endswith((".", "?"))
    assert flow.examples or not flow.runs
    for command in flow.examples:
        files = re.findall(r"bundle/configs/(\w+\.yaml)", command)
        known: set[str] = set()
        for name in files:
            known |= content(FLOWS[name]).keys()
        options = set(re.findall(r"--(\w+)", command.partition("--config_file")[2])) - {"config_file"}
        assert not files or options <= known, command


def test_a_page_tells_every_option() -> None:
    text = page(FLOWS["train.yaml"])
    assert "--learning_rate 0.002" in text and "--tasks mask: 0.45, none: 0.10" in text
    assert "python -m monai.bundle run training --config_file bundle/configs/train.yaml" in text
    assert "channels: [64, 128, 256]" in page(FLOWS["full.yaml"])


def test_it_is_found_by_workflow_and_by_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in FLOWS)
    assert main(["training"]) == 0
    told = capsys.readouterr().out
    assert "train.yaml: Trains the generator" in told and "segmenter.yaml: Trains" in told
    assert main(["preset_8gb.yaml"]) == 0 and "checkpointing: true" in capsys.readouterr().out
    with pytest.raises(GliomaGenError, match="'trainin' is no workflow"):
        main(["trainin"])


def test_a_typing_error_is_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gliomagen", "sampling"], capture_output=True, text=True, cwd=ROOT / "bundle"
    )
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.strip() == "'sampling' is no workflow; python -m gliomagen lists them"


def marks(findings: object) -> list[str]:
    return [finding.mark for finding in findings]  # type: ignore[attr-defined]


def test_weights_that_are_not_their_cards_are_a_problem(tmp_path: Path) -> None:
    for path in (ROOT / "bundle" / "models").iterdir():
        shutil.copy(path, tmp_path)
    assert marks(doctor.weights(tmp_path)) == ["ok"] * 3
    state = torch.load(tmp_path / "features.pt", weights_only=True)
    torch.save(state | {"more": torch.zeros(1)}, tmp_path / "features.pt")
    (tmp_path / "segmenter.pt").write_bytes(b"cut off")
    found = list(doctor.weights(tmp_path))
    assert marks(found) == ["ok", "problem", "problem"]
    assert "is not the file its card" in found[1].text and "segmenter.pt" in found[2].text


def test_a_missing_or_old_package_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["numpy>=2", "nibabel>=999", "no-such-package>=1", 'nnunetv2==0.1; extra == "nnunet"']
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: asked)
    found = [finding.text for finding in doctor.versions() if finding.mark == "problem"]
    assert any(text.startswith("nibabel") for text in found)
    assert any(text.startswith("no-such-package is missing") for text in found)
    assert not any(text.startswith("numpy") for text in found)


def test_what_does_not_fit_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    needs = {"preset_8gb": 3.0, "preset_12gb": 5.0, "preset_24gb": 12.0, "preset_80gb": 50.0}
    monkeypatch.setattr(doctor, "predicted_memory", lambda name, size: needs[name] * 2**30 * size[1] / 200)
    monkeypatch.setattr(doctor, "available_bytes", lambda device: 5.2 * 2**30)
    found = list(doctor.presets())
    assert marks(found) == ["ok", "ok", "note", "note"]
    assert "fits at the first" in found[1].text and "too large here" in found[2].text


def test_predicted_memory_is_that_of_training() -> None:
    """The README's table and the refusal of ``training`` must not disagree with it."""
    small, native = (doctor.predicted_memory("preset_8gb", size) / 2**30 for size in doctor.SIZES)
    assert (round(small, 1), round(native, 1)) == (2.7, 3.4)


def test_a_machine_is_looked_at() -> None:
    texts = [finding.text for finding in [*doctor.devices(), *doctor.room(ROOT)]]
    assert any("CPU cores" in text for text in texts) and any("bfloat16" in text for text in texts)
    assert any("free on the disk" in text for text in texts)
