"""Each challenge's own files and label numbers come out as one and the same prepared tissue."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import CONFIGS
from monai.bundle import ConfigWorkflow

from gliomagen.cohort.datalist import datalist
from gliomagen.errors import user_message
from gliomagen.labels import ET, HEAD, LESION, NETC, RC, SNFH
from gliomagen.volume import Volume, read_volume, write_volume

FOUR = ("t1c", "t1n", "t2f", "t2w")
OLD = {"t1c": "t1ce", "t1n": "t1", "t2f": "flair", "t2w": "t2"}
SIZE, MM = [32, 32, 32], [1.5, 1.5, 1.5]
# The challenge's number of each tissue that the tiny case has (1 NETC, 2 SNFH, 3 ET, 4 RC there), what each becomes,
# and the names of cases and files.
CHALLENGES = {
    "brats2021": ({1: 1, 2: 2, 3: 4, 4: 0}, {1: NETC, 2: SNFH, 4: ET}, "BraTS2021_0000{}", "_"),
    "brats2023": ({1: 1, 2: 2, 3: 3, 4: 0}, {1: NETC, 2: SNFH, 3: ET}, "BraTS-GLI-0000{}-000", "-"),
    "ssa": ({1: 1, 2: 2, 3: 3, 4: 0}, {1: NETC, 2: SNFH, 3: ET}, "BraTS-SSA-0000{}-000", "-"),
    "met": ({1: 1, 2: 2, 3: 3, 4: 4}, {1: NETC, 2: SNFH, 3: ET, 4: RC}, "BraTS-MET-0000{}-000", "-"),
    "ped": ({1: 2, 2: 4, 3: 1, 4: 3}, {2: NETC, 4: SNFH, 1: ET, 3: NETC}, "BraTS-PED-0000{}-000", "-"),
    "men_rt": ({1: 1, 2: 1, 3: 1, 4: 1}, {1: LESION}, "BraTS-MEN-RT-000{}-1", "_"),
}


def rewrite(source: Path, target: Path, challenge: str) -> list[str]:
    """Writes the cases of a BraTS 2024 folder as another challenge has them."""
    numbers, _, name, join = CHALLENGES[challenge]
    cases = []
    for count, folder in enumerate(sorted(source.iterdir()), start=1):
        case = name.format(count)
        cases.append(case)
        for contrast in ("t1c",) if challenge == "men_rt" else FOUR:
            scan = read_volume(folder / f"{folder.name}-{contrast}.nii.gz")
            told = OLD[contrast] if challenge == "brats2021" else contrast
            write_volume(target / case / f"{case}{join}{told}.nii.gz", scan)
        label = read_volume(folder / f"{folder.name}-seg.nii.gz")
        there = np.zeros_like(label.data)
        for ours, theirs in numbers.items():
            there[label.data == ours] = theirs
        told = "gtv" if challenge == "men_rt" else "seg"
        write_volume(target / case / f"{case}{join}{told}.nii.gz", Volume(data=there, affine=label.affine))
    return cases


def prepare(challenge: str, source: Path, target: Path) -> None:
    """Prepares with the challenge's overlay, as ``monai.bundle run`` does."""
    files = [str(CONFIGS / name) for name in ("prepare.yaml", f"challenge_{challenge}.yaml")]
    options = {"dataset_dir": str(source), "output_dir": str(target), "num_workers": 0}
    grid = {"spatial_size": SIZE, "voxel_mm": MM}
    flow = ConfigWorkflow(
        config_file=files, workflow_type=None, run_id="preparing", logging_file=False, **options, **grid
    )
    flow.initialize()
    flow.run()


@pytest.mark.parametrize("name", CHALLENGES)
def test_a_challenge_is_prepared_as_it_is_labelled(name: str, challenge: Path, tmp_path: Path) -> None:
    """A cavity taken for enhancing tumour, or oedema for necrosis, would train a generator of nonsense."""
    cases = rewrite(challenge, tmp_path / "theirs", name)
    prepare(name, tmp_path / "theirs", tmp_path / "cohort")
    contrasts = ["t1c"] if name == "men_rt" else list(FOUR)
    entries = [
        entry
        for section in ("training", "validation")
        for entry in datalist(tmp_path / "cohort", section, contrasts=contrasts)
    ]
    assert sorted(entry["case"] for entry in entries) == cases
    assert len({entry["patient"] for entry in entries}) == 2
    if name in ("brats2023", "met"):
        assert {entry["patient"] for entry in entries} == {case[:-4] for case in cases}, "less the time point"
    if name == "men_rt":
        assert {entry["patient"] for entry in entries} == {case[:-2] for case in cases}
    for entry in entries:
        count = cases.index(entry["case"]) + 1
        folder = sorted(challenge.iterdir())[count - 1]
        before = read_volume(folder / f"{folder.name}-seg.nii.gz").data
        after = read_volume(entry["label"]).data
        numbers, tissues, *_ = CHALLENGES[name]
        expected: dict[int, int] = {}
        for tissue in set(tissues.values()):
            ours = [own for own, theirs in numbers.items() if tissues.get(theirs) == tissue]
            expected[tissue] = int(np.isin(before, ours).sum())
        assert set(np.unique(after).tolist()) == {0, HEAD, *expected}
        for tissue, voxels in expected.items():
            assert (after == tissue).sum() == voxels, (tissue, entry["case"])


def test_a_label_of_another_year_is_refused(challenge: Path, tmp_path: Path) -> None:
    """4 is no tissue of BraTS 2023: taken for a cavity in silence, it may be last year's enhancing tumour."""
    rewrite(challenge, tmp_path / "theirs", "met")
    with pytest.raises(RuntimeError) as caught:
        prepare("brats2023", tmp_path / "theirs", tmp_path / "cohort")
    assert "labels 4 are not of 'brats2023'" in str(user_message(caught.value))
