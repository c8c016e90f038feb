"""nnU-Net trains on the split that the study gave, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from gliomagen.errors import GliomaGenError
from gliomagen.files import write_json
from gliomagen.segmenter.nnunet import NnunetMethod


def test_a_split_that_was_changed_is_refused(tmp_path: Path) -> None:
    raw, prepared = (tmp_path / folder / "Dataset601_arm" for folder in ("nnUNet_raw", "nnUNet_preprocessed"))
    write_json(raw / "splits_final.json", [{"train": ["P1"], "val": ["P2"]}])
    write_json(prepared / "splits_final.json", [{"train": ["P1", "P2"], "val": ["P2"]}])
    write_json(prepared / "prepared.json", {"settings": {}, "name": "plans"})
    with pytest.raises(GliomaGenError, match=r"splits_final\.json: is not the data set's split; remove"):
        NnunetMethod(labels="prepared").run(
            raw, tmp_path / "run", cohort=raw, seed=0, device="cpu", log=tmp_path / "log.txt"
        )
    assert not (tmp_path / "run").exists()
