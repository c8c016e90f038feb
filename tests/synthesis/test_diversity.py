"""How much is new: a summary that took copies for new lesions would sell a cohort for more than it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gliomagen.files import write_json
from gliomagen.labels import ET, HEAD, RC, SNFH
from gliomagen.synthesis import diversity, lesion_facts
from gliomagen.synthesis.augmentation import summary_of
from gliomagen.synthesis.diversity import DiversitySummary
from gliomagen.synthesis.lesion_facts import Facts, facts_of, mean_mix, nearest_dice
from gliomagen.volume import Volume, write_volume

Box = tuple[slice, slice, slice]


def box(x: int, y: int, z: int, size: int = 8) -> Box:
    return slice(x, x + size), slice(y, y + size), slice(z, z + size)


def write_map(folder: Path, case: str, lesions: dict[int, Box], shift: int = 0) -> dict[str, Any]:
    """A head of 40 voxels of 2 mm with boxes of labels, all of it moved."""
    label = np.zeros((52, 52, 52), np.uint8)
    label[4:44, 4:44, 4:44] = HEAD
    for number, where in lesions.items():
        label[where] = number
    path = folder / case / f"{case}-seg.nii.gz"
    moved = np.roll(label, shift, (0, 1, 2))
    write_volume(path, Volume(data=moved, affine=np.diag([2.0, 2.0, 2.0, 1.0])))
    return {"case": case, "patient": case, "label": str(path)}


def test_facts_are_in_the_heads_own_frame_and_in_ml(tmp_path: Path) -> None:
    """Else the same lesion in a head that stands elsewhere in the image would count as new."""
    lesions = {SNFH: box(10, 12, 14), ET: box(12, 14, 16, 4)}
    one, other = (facts_of(write_map(tmp_path, f"m{k}", lesions, shift=k)) for k in (0, 5))
    assert one.volumes_ml[ET] == pytest.approx(4**3 * 8e-3)
    assert one.lesion_ml == pytest.approx(8**3 * 8e-3)
    np.testing.assert_allclose(one.centroid, [10 / 40, 12 / 40, 14 / 40], atol=1e-6)
    np.testing.assert_allclose(one.centroid, other.centroid)
    assert nearest_dice([one], [other])[0] == 1
    assert mean_mix([one]) == pytest.approx({2: 0, SNFH: 7 / 8, ET: 1 / 8, RC: 0, 6: 0})


def test_the_smallest_lesion_has_an_outline_and_none_has_none(tmp_path: Path) -> None:
    speck, none = (
        facts_of(write_map(tmp_path, name, lesions))
        for name, lesions in (("speck", {ET: box(20, 20, 20, 1)}), ("none", {}))
    )
    assert speck.outline.any() and not none.outline.any()
    np.testing.assert_array_equal(nearest_dice([speck, none], [speck]), [1, np.nan])


def test_nearest_is_the_same_in_chunks_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    masks = rng.random((11, np.prod(lesion_facts.COARSE))) < rng.uniform(0.02, 0.5, (11, 1))
    masks[4] = False
    facts = [
        Facts(case=str(k), volumes_ml={}, centroid=np.zeros(3), outline=np.packbits(m))
        for k, m in enumerate(masks)
    ]
    monkeypatch.setattr(lesion_facts, "_CHUNK", 3)
    found = nearest_dice(facts[2:9], facts, excluding_self=True)
    for k, dice in zip(range(2, 9), found, strict=True):
        others = [
            2 * (masks[k] & m).sum() / (masks[k].sum() + m.sum()) for j, m in enumerate(masks) if j != k
        ]
        assert np.isnan(dice) if k == 4 else dice == pytest.approx(max(others), abs=1e-6)


def test_the_summary_tells_copies_from_new_lesions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    here, there, elsewhere = box(8, 8, 8), box(30, 8, 8), box(20, 30, 20)
    sources = [write_map(tmp_path / "sources", "a", {ET: here}), write_map(tmp_path / "sources", "b", {})]
    made = {
        "a-v0": {ET: here},
        "a-v1": {ET: there},
        "a-v2": {ET: there},
        "b-v3": {SNFH: elsewhere},
        "b-v4": {},
    }
    records = []
    for case, lesions in made.items():
        write_map(out, case, lesions)
        record = {
            "case": case,
            "accepted": True,
            "source_case": case[0],
            "source_patient": case[0],
            "donor_patient": None,
            "policy": "p",
            "source_dice": 0.5,
            "rejected_draws": {"p: lesion in pieces": 2},
        }
        write_json(out / case / f"{case}.json", record)
        records.append(record)
    write_json(out / "augment.json", summary_of(records))
    DiversitySummary(sources=sources, output_dir=out, pictured=2).write()
    content = json.loads((out / "diversity.json").read_text())
    assert content["label_maps"]["count"] == 5 and content["label_maps"]["without_lesion"] == 1
    assert content["distinct_share"] == 0.5  # of four lesions, two are the same
    assert content["dice_to_nearest_source"]["p95"] > 0.8 and content["dice_to_nearest_source"]["p5"] == 0
    assert content["label_maps"]["labels"]["ET"]["share"] == 0.6
    page = (out / "diversity.md").read_text()
    assert "50.0 % are distinct" in page and "p: lesion in pieces (10)" in page
    for name in ("diversity.png", "variants.png"):
        assert (out / name).stat().st_size > 0
    monkeypatch.setattr(diversity, "draw_diversity", lambda *_, **__: None)
    monkeypatch.setattr(diversity, "draw_variants", lambda *_: None)
    DiversitySummary(sources=sources, output_dir=out, compared=2).write()
    assert json.loads((out / "diversity.json").read_text())["compared"] == 2
