"""Cases are preprocessed once for all data sets of a study, and never taken for others."""

from __future__ import annotations

from pathlib import Path

import pytest

from gliomagen.errors import GliomaGenError
from gliomagen.files import link, read_json, write_json
from gliomagen.segmenter.preprocessed import PreprocessedCases


def dataset(folder: Path, cases: dict[str, str]) -> Path:
    """A raw data set of one contrast, with what its files hold."""
    raw = folder / "nnUNet_raw" / "Dataset601_some"
    for case, holds in cases.items():
        for name in (f"imagesTr/{case}_0000.nii.gz", f"labelsTr/{case}.nii.gz"):
            (raw / name).parent.mkdir(parents=True, exist_ok=True)
            (raw / name).write_text(holds)
    write_json(raw / "dataset.json", {"numTraining": len(cases)})
    return raw


class Preprocessing:
    """Stands for nnU-Net: notes what it was given, and can stop after some cases."""

    def __init__(self) -> None:
        self.given: list[list[str]] = []
        self.leaves_out = ""

    def __call__(self, part: Path) -> Path:
        labels = sorted((part / "labelsTr").iterdir())
        self.given.append([path.name.removesuffix(".nii.gz") for path in labels])
        assert read_json(part / "dataset.json")["numTraining"] == len(labels)
        made = part.parents[1] / "made" / "plans_3d"
        made.mkdir(parents=True)
        for case in self.given[-1]:
            if case != self.leaves_out:
                for name in (f"{case}.b2nd", f"{case}_seg.b2nd", f"{case}.pkl"):
                    (made / name).write_text((part / f"imagesTr/{case}_0000.nii.gz").read_text())
        return made


def test_a_case_of_several_data_sets_is_preprocessed_once(tmp_path: Path) -> None:
    shared, nnunet = PreprocessedCases(tmp_path / "shared", "plan"), Preprocessing()
    first = dataset(tmp_path / "a", {"P1": "one", "P10": "ten"})
    shared.link(first, ["P1", "P10"], tmp_path / "made a", nnunet)
    second = dataset(tmp_path / "b", {"P2": "two"})
    for name in ("imagesTr/P1_0000.nii.gz", "labelsTr/P1.nii.gz"):
        link(first / name, second / name)
    shared.link(second, ["P1", "P2"], tmp_path / "made b", nnunet)
    assert nnunet.given == [["P1", "P10"], ["P2"]]
    files = {
        str(path.relative_to(tmp_path / "made b")): path.read_text()
        for path in (tmp_path / "made b").rglob("*.*")
    }
    assert files == {
        "plans_3d/P1.b2nd": "one",
        "plans_3d/P1_seg.b2nd": "one",
        "plans_3d/P1.pkl": "one",
        "plans_3d/P2.b2nd": "two",
        "plans_3d/P2_seg.b2nd": "two",
        "plans_3d/P2.pkl": "two",
        "gt_segmentations/P1.nii.gz": "one",
        "gt_segmentations/P2.nii.gz": "two",
    }
    assert (tmp_path / "made a/plans_3d/P1.pkl").samefile(tmp_path / "made b/plans_3d/P1.pkl")


def test_other_scans_or_plans_are_preprocessed_anew(tmp_path: Path) -> None:
    shared, nnunet = PreprocessedCases(tmp_path / "shared", "plan"), Preprocessing()
    shared.link(dataset(tmp_path / "a", {"P1": "one"}), ["P1"], tmp_path / "made a", nnunet)
    changed = dataset(tmp_path / "b", {"P1": "another"})
    shared.link(changed, ["P1"], tmp_path / "made b", nnunet)
    other = PreprocessedCases(tmp_path / "shared", "other plan")
    other.link(changed, ["P1"], tmp_path / "made c", nnunet)
    assert len(nnunet.given) == 3
    assert (tmp_path / "made b/plans_3d/P1.pkl").read_text() == "another"


def test_what_failed_half_way_is_made_again(tmp_path: Path) -> None:
    shared, nnunet = PreprocessedCases(tmp_path / "shared", "plan"), Preprocessing()
    raw = dataset(tmp_path / "a", {"P1": "one", "P2": "two"})
    nnunet.leaves_out = "P2"
    with pytest.raises(GliomaGenError, match="nnU-Net made nothing of P2"):
        shared.link(raw, ["P1", "P2"], tmp_path / "made", nnunet)
    nnunet.leaves_out = ""
    shared.link(raw, ["P1", "P2"], tmp_path / "made", nnunet)
    assert nnunet.given == [["P1", "P2"], ["P2"]]
