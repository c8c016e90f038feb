"""Copies of training patients are found, whatever was done to hide them; strangers are left alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from gliomagen.cohort.phantom import phantom_case
from gliomagen.evaluation.copies import nearest
from gliomagen.evaluation.disguises import DISGUISES, with_lesion_of
from gliomagen.evaluation.fingerprint import HEAD_NAME, fingerprint, unexplained
from gliomagen.evaluation.privacy import authenticity, judge, seeds_alike, suspicion
from gliomagen.evaluation.score import Scores
from gliomagen.labels import CONTRASTS
from gliomagen.scans import Scan, ScanFiles

VOXEL_MM = 4.0
TRAINING, HELD_OUT, FRESH = range(0, 16), range(16, 28), range(28, 35)


@dataclass
class Kept:
    """What stands for a measured scan, its arrays in memory."""

    case: str
    patient: str
    mask_case: str
    arrays: dict[str, Any]

    @property
    def group(self) -> str:
        return self.patient

    def array(self, name: str) -> Any:
        return self.arrays[name]


def phantom(patient: int) -> Scan:
    made = phantom_case(patient=patient, spatial_size=(48, 54, 42), voxel_mm=VOXEL_MM)
    head = made.labels > 0
    volume = np.stack([made.images[name] for name in CONTRASTS]).astype(np.float32)
    top = np.percentile(volume[:, head], 99.5, axis=1)
    volume = np.where(head, np.clip(volume / top[:, None, None, None], 0, 1), 0).astype(np.float32)
    files = ScanFiles(case=f"P{patient}", patient=f"P{patient}", images=(Path("x"),), label=Path("y"))
    return Scan(files=files, volume=volume, label=made.labels, voxel_mm=(VOXEL_MM,) * 3)


@pytest.fixture(scope="module")
def scans() -> dict[int, Scan]:
    return {patient: phantom(patient) for patient in (*TRAINING, *HELD_OUT, *FRESH)}


def kept(scans: Sequence[Scan]) -> list[Kept]:
    return [
        Kept(scan.files.case, scan.files.patient, scan.files.mask_case or scan.files.case, fingerprint(scan))
        for scan in scans
    ]


@pytest.fixture(scope="module")
def training(scans: dict[int, Scan]) -> list[Kept]:
    return kept([scans[k] for k in TRAINING])


@pytest.fixture(scope="module")
def held_out(scans: dict[int, Scan]) -> list[Kept]:
    return kept([scans[k] for k in HELD_OUT])


@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_copied_patient_is_found(
    disguise: str, scans: dict[int, Scan], training: list[Kept], held_out: list[Kept]
) -> None:
    limits = suspicion(nearest(held_out, training))
    found = nearest(kept([DISGUISES[disguise](scans[k]) for k in TRAINING]), training)
    assert limits(found).all()
    assert found.head_index.tolist() == list(range(len(training)))


def test_a_lesion_copied_into_another_head_is_found(
    scans: dict[int, Scan], training: list[Kept], held_out: list[Kept]
) -> None:
    limits = suspicion(nearest(held_out, training))
    rng = np.random.default_rng(0)
    pasted = {k: with_lesion_of(scans[k], scans[FRESH[k % len(FRESH)]], rng) for k in TRAINING}
    sources = [k for k, scan in pasted.items() if scan is not None]
    copied = [scan for scan in pasted.values() if scan is not None]
    found = nearest(kept(copied), training)
    hit = found.lesion > limits.lesion
    assert len(sources) >= 6 and hit.mean() >= 0.8
    assert (found.lesion_index[hit] == np.array(sources)[hit]).all()


def test_strangers_are_left_alone(scans: dict[int, Scan], training: list[Kept], held_out: list[Kept]) -> None:
    """An alarm that rings for everybody is no alarm."""
    limits = suspicion(nearest(held_out, training))
    assert limits(nearest(kept([scans[k] for k in FRESH]), training)).sum() <= 1
    with pytest.raises(ValueError, match="at least"):
        suspicion(nearest(held_out[:3], training))


def test_sharing_a_label_map_is_no_copy(
    scans: dict[int, Scan], training: list[Kept], held_out: list[Kept]
) -> None:
    """Synthetic scans of training label maps share their outline with the patient; that alone is not suspect."""
    limits = suspicion(nearest(held_out, training))
    painted = []
    rng = np.random.default_rng(0)
    for k in list(TRAINING)[:8]:
        scan = scans[k]
        greys = rng.random((4, 6)).astype(np.float32)[:, scan.label]
        field = ndimage.gaussian_filter(rng.standard_normal(scan.volume.shape), (0, 3, 3, 3)) * 2
        volume = np.where(scan.label > 0, np.clip(greys + field, 0, 1), 0).astype(np.float32)
        painted.append(replace(scan, volume=volume))
    assert not limits(nearest(kept(painted), training)).any()


def test_the_record_names_the_pair(
    scans: dict[int, Scan], training: list[Kept], held_out: list[Kept]
) -> None:
    """One copy among four: the list says which case and whom it resembles, and the number is a quarter."""
    synthetic = [*kept([scans[k] for k in list(FRESH)[:3]]), replace(training[4], case="made", patient="")]
    scores = Scores()
    record = judge(scores, real=held_out, training=training, synthetic=synthetic, features_known=False)  # type: ignore[arg-type]
    assert record is not None
    assert [(entry["case"], entry["resembles"]) for entry in record["suspected"]] == [("made", "P4")]
    assert scores.found[0].name == "suspected copies" and scores.found[0].estimate.value == 0.25
    few = Scores()
    assert judge(few, real=held_out[:2], training=training, synthetic=synthetic, features_known=False) is None  # type: ignore[arg-type]
    assert "at least" in few.left_out[0].why


def test_a_generator_that_ignores_the_seed_shows(scans: dict[int, Scan], training: list[Kept]) -> None:
    same = [replace(training[k], mask_case=f"M{k}") for k in (0, 0, 1, 1)]
    alike = seeds_alike(same, np.zeros_like(training[0].array(HEAD_NAME), np.float32))  # type: ignore[arg-type]
    assert alike["pairs"] == 2 and alike["same_mask"] > 0.99 > alike["other_mask"]


def test_authenticity_by_hand() -> None:
    """Training at 0, 1, 10: 0.1 crowds 0 (whose neighbour is 1 away), 14 does not crowd 10 ... but 19.5 is far."""
    training = np.array([[0.0], [1.0], [10.0]])
    assert authenticity(np.array([[0.1]]), training) == 0
    assert authenticity(np.array([[0.1], [20.0]]), training) == 0.5


def test_what_the_label_map_explains_is_taken_off(scans: dict[int, Scan]) -> None:
    scan = scans[0]
    rest = unexplained(scan.volume, scan.label)
    for number in np.unique(scan.label[scan.label > 0]):
        assert np.abs(rest[:, scan.label == number].mean(1)).max() < 1e-4
    assert not rest[:, scan.label == 0].any()
