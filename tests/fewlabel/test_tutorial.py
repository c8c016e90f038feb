"""The tutorial's cells run as they stand: a newcomer's first hour must not end in a traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from helpers import ROOT


@pytest.mark.slow
def test_few_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    matplotlib.use("Agg")
    monkeypatch.setenv("TUTORIAL_STEPS", "20")
    monkeypatch.setenv("TUTORIAL_FOLDER", str(tmp_path / "few-labels"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "bundle"))
    cells = json.loads((ROOT / "tutorials" / "few_labels.ipynb").read_text(encoding="utf-8"))["cells"]
    space: dict[str, Any] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec"), space)
    told = capsys.readouterr().out
    assert "3 cases with a label map, 13 without" in told and "label next: ['BraTS-GLI-" in told
    assert len(space["dice"]) >= 10 and space["told"]["learnt"]["choice"]
    assert sum(space["dice"].values()) / len(space["dice"]) > 0.4, "greys alone reach that"
