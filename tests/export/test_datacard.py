"""The card is what a stranger on a hub reads before training on the data: it must be true, and say "synthetic"."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_writing import CARD, write_masks, write_set

from gliomagen.errors import GliomaGenError
from gliomagen.export.datacard import renew_data_card, write_data_card
from gliomagen.files import write_json


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three label maps, one of them varied from another patient's; two volumes each."""
    folder = tmp_path_factory.mktemp("made")
    masks = write_masks(folder / "masks", 3)
    parents = {"source_case": "P-1", "source_patient": "P", "donor_case": "Q-1", "donor_patient": "Q"}
    write_json(
        folder / "masks" / f"{masks[0]['case']}.json", {**parents, "policy": "transplant", "parameters": {}}
    )
    return write_set(folder, masks, licence="cc-by-4.0", mask_terms="given for this test").folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(made, tmp_path / made.name))


def parts(folder: Path) -> tuple[dict[str, Any], str]:
    """Front matter and text of the card."""
    _, front, text = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(front), text


def judge(folder: Path, **reasons: list[str]) -> None:
    lines = [
        {
            "case": case.replace("_", "-"),
            "accepted": not why,
            "score": 0.75 if not why else 0.25,
            "reasons": why,
        }
        for case, why in reasons.items()
    ]
    (folder / "acceptance.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_what_a_hub_reads(made: Path) -> None:
    front, _ = parts(made)
    assert front["license"] == "cc-by-4.0" and front["pretty_name"] == "Fake"
    assert "synthetic" in front["tags"] and front["task_categories"] == ["image-segmentation"]
    assert front["size_categories"] == ["n<1K"]


def test_what_a_person_reads(made: Path) -> None:
    """Origin, terms of the label maps and of the weights' data, counts, intended use."""
    _, text = parts(made)
    for fact in (
        "Every volume of this data set is synthetic",
        CARD["sha256"],
        "7 steps on 2 patients",
        "terms of a test",
        "given for this test",
        "| synthetic volumes | 6 |",
        "| label maps | 3 |",
        "| volumes of a label map | 2 |",
        "| patients the label maps go back to | 4 |",  # two of their own, source and donor of the third
        "1 varied from others (policy `transplant`)",
        "2 network calls a volume",
        "12 × 10 × 8",
        "2 × 2 × 3",
        "Not judged yet",
        "Intended use",
        "Not for diagnosis",
    ):
        assert str(fact) in text, fact
    assert "| 4 | resection cavity | 6 | 0.048 |" in text  # 4 voxels of 12 mm³


def test_unnamed_terms_are_said_to_be_unnamed(tmp_path: Path) -> None:
    folder = write_set(tmp_path, write_masks(tmp_path / "masks", 1)).folder
    front, text = parts(folder)
    assert front["license"] == "other" and "terms: not named" in text


def test_scores_after_acceptance(folder: Path) -> None:
    """Called again, it tells the scores; a record of a case twice rejected for one thing counts once."""
    noisy = ["noise: 9 (usually 1 to 2)", "noise: 8 (usually 1 to 2)", "sharpness: 0"]
    judge(
        folder, BraTS_GLI_00000_100_s0=[], BraTS_GLI_00000_100_s1=noisy, BraTS_GLI_00001_100_s0=["noise: 7"]
    )
    write_data_card(folder, pretty_name='A "name": with signs')
    front, text = parts(folder)
    assert front["pretty_name"] == 'A "name": with signs'
    assert "**1 of 3 accepted**, 3 not judged" in text and "median 0.25, from 0.25 to 0.75" in text
    assert "| noise | 2 |" in text and "| sharpness | 1 |" in text
    written = (folder / "README.md").stat().st_mtime_ns
    write_data_card(folder, pretty_name='A "name": with signs')
    assert (folder / "README.md").stat().st_mtime_ns == written


def test_broken_sources(folder: Path) -> None:
    judge(folder, somebody=[])
    with pytest.raises(
        GliomaGenError, match=r"acceptance.jsonl: judges somebody, which is not of this data set"
    ):
        write_data_card(folder)
    (folder / "acceptance.jsonl").write_text("{\n")
    with pytest.raises(GliomaGenError, match=r"acceptance.jsonl: line 1 is not a JSON object"):
        write_data_card(folder)
    (folder / "acceptance.jsonl").unlink()
    (folder / "manifest.jsonl").write_text('{"case": "a"}\n')
    with pytest.raises(GliomaGenError, match=r"lacks 'mask_sha256'"):
        write_data_card(folder)
    (folder / "manifest.jsonl").unlink()
    with pytest.raises(GliomaGenError, match=r"manifest.jsonl: not found"):
        write_data_card(folder)


def test_a_renewed_card_leaves_nothing_else(folder: Path, tmp_path: Path) -> None:
    before = {path.name for path in folder.iterdir()}
    (folder / "README.md").unlink()
    assert renew_data_card(folder) == folder / "README.md"
    assert {path.name for path in folder.iterdir()} == before
    assert renew_data_card(tmp_path) is None
