"""A cohort of label maps: the same whoever makes it and however often it is killed, and no bad one in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gliomagen.errors import GliomaGenError
from gliomagen.labels import ET, HEAD, SNFH
from gliomagen.synthesis.augmentation import Augmentation
from gliomagen.synthesis.checks import LabelMapChecks, dice_to_source, label_dice
from gliomagen.synthesis.diversity import DiversitySummary
from gliomagen.synthesis.maps import CannotVaryError, LabelMap, Labels, Parameters
from gliomagen.synthesis.variation import Variation
from gliomagen.volume import Volume, read_volume, write_volume

SIZE = (24, 24, 24)


class Placed:
    """Puts a ball of enhancing tumour somewhere; some draws leave the head."""

    needs_donor = False
    keeps_near = False

    def draw(self, source: LabelMap, donor: LabelMap | None, rng: np.random.Generator) -> Parameters:
        return {"centre": [int(v) for v in rng.integers(4, 20, 3)], "radius": float(rng.uniform(1, 4))}

    def apply(self, source: LabelMap, donor: LabelMap | None, parameters: Mapping[str, Any]) -> Labels:
        grid = np.stack(np.indices(source.label.shape)) - np.reshape(parameters["centre"], (3, 1, 1, 1))
        ball = (grid**2).sum(0) <= parameters["radius"] ** 2
        if (ball & (source.label == 0)).any():
            raise CannotVaryError("leaves the head")
        label = np.where(source.label > HEAD, HEAD, source.label).astype(np.uint8)
        label[ball] = ET
        return label


class Borrowed(Placed):
    needs_donor = True

    def apply(self, source: LabelMap, donor: LabelMap | None, parameters: Mapping[str, Any]) -> Labels:
        assert donor is not None and donor.patient != source.patient
        return super().apply(source, donor, parameters)


def write_sources(folder: Path, count: int) -> list[dict[str, Any]]:
    entries = []
    for i in range(count):
        label = np.zeros(SIZE, np.uint8)
        label[3:21, 3:21, 3:21] = HEAD
        label[8:12, 8 + i : 12 + i, 8:12] = SNFH
        path = folder / f"P{i}" / f"P{i}-seg.nii.gz"
        write_volume(path, Volume(data=label, affine=np.diag([2.0, 2.0, 2.0, 1.0])))
        entries.append({"case": f"P{i}", "patient": f"P{i}", "label": str(path)})
    return entries


def augmentation(entries: list[dict[str, Any]], out: Path, **options: Any) -> Augmentation:
    known = {
        "count": 8,
        "num_workers": 0,
        **{k: options.pop(k) for k in ("count", "num_workers") if k in options},
    }
    options = {"policies": {"placed": Placed(), "borrowed": Borrowed()}, **options}
    variation = Variation(
        sources=entries,
        weights=options.pop("weights", {"placed": 0.5, "borrowed": 0.5}),
        check=options.pop("check", LabelMapChecks()),
        **options,
    )
    return Augmentation(variation=variation, output_dir=out, **known)


def label_maps(folder: Path) -> dict[str, np.ndarray]:
    return {p.name: read_volume(p).data for p in sorted(folder.rglob("*-seg.nii.gz"))}


@pytest.fixture
def entries(tmp_path: Path) -> list[dict[str, Any]]:
    return write_sources(tmp_path / "sources", 3)


def test_a_rerun_makes_what_is_missing_and_nothing_else(
    entries: list[dict[str, Any]], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert augmentation(entries, out).run()
    whole = label_maps(out)
    assert len(whole) == 8 and json.loads((out / "augment.json").read_text())["made"] == 8
    lost = sorted(out.glob("*/*.json"))[3]
    lost.unlink()  # as if killed between label map and record
    kept = {p: p.stat().st_mtime_ns for p in out.rglob("*.json") if p.parent != out}
    assert augmentation(entries, out).run() and lost.is_file()
    assert all(p.stat().st_mtime_ns == at for p, at in kept.items())
    again = label_maps(out)
    assert all(np.array_equal(again[name], whole[name]) for name in whole)


def test_two_processes_make_what_one_makes(
    entries: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    augmentation(entries, tmp_path / "one").run()
    monkeypatch.setenv("WORLD_SIZE", "2")
    finished = []
    for process in ("0", "1"):
        monkeypatch.setenv("RANK", process)
        finished.append(augmentation(entries, tmp_path / "two").run())
    assert finished == [False, True]  # the last one sums up
    one, two = label_maps(tmp_path / "one"), label_maps(tmp_path / "two")
    assert one.keys() == two.keys() and all(np.array_equal(one[k], two[k]) for k in one)
    assert (tmp_path / "one" / "augment.json").read_bytes() == (
        tmp_path / "two" / "augment.json"
    ).read_bytes()


def test_a_record_names_every_parent(entries: list[dict[str, Any]], tmp_path: Path) -> None:
    """Else a child of a validation patient could train."""
    augmentation(entries, tmp_path / "out", weights={"borrowed": 1}).run()
    for path in (tmp_path / "out").glob("P*/*.json"):
        record = json.loads(path.read_text())
        assert record["synthetic"] and record["source_patient"] != record["donor_patient"]
        assert record["case"].startswith(record["source_case"])


def test_variants_go_source_by_source_and_a_rejected_one_is_missing(
    entries: list[dict[str, Any]], tmp_path: Path
) -> None:
    options = {"count": None, "variants": 2, "max_tries": 1, "weights": {"placed": 1}}
    augmentation(entries, tmp_path / "out", check=lambda *_: "never", **options).run()
    summary = json.loads((tmp_path / "out" / "augment.json").read_text())
    assert (summary["made"], summary["rejected"]) == (0, 6)
    assert sum(summary["rejected_draws"].values()) == 6
    assert summary["rejected_cases"][:3] == ["P0-v00000", "P0-v00001", "P1-v00002"]


def test_other_settings_in_the_same_folder_are_refused(entries: list[dict[str, Any]], tmp_path: Path) -> None:
    augmentation(entries, tmp_path / "out", count=1).run()
    before = label_maps(tmp_path / "out")
    with pytest.raises(GliomaGenError, match="other seed"):
        augmentation(entries, tmp_path / "out", count=1, seed=1).run()
    assert label_maps(tmp_path / "out").keys() == before.keys()
    assert augmentation(entries, tmp_path / "out", count=3).run()  # more of the same is welcome


@pytest.mark.parametrize(
    ("fill", "message"),
    [({"to": 9, "where": 1}, "not prepared ones"), ({"to": 0, "where": HEAD}, "has no head")],
)
def test_a_label_map_that_cannot_be_used_is_named(
    entries: list[dict[str, Any]], tmp_path: Path, fill: dict[str, int], message: str
) -> None:
    path = Path(entries[0]["label"])
    label = read_volume(path).data.copy()
    label[label == fill["where"]] = fill["to"]
    write_volume(path, Volume(data=label, affine=np.eye(4)))
    with pytest.raises(GliomaGenError, match=message) as told:
        augmentation(entries[:1], tmp_path / "out", weights={"placed": 1}).run()
    assert str(path) in str(told.value) and not label_maps(tmp_path / "out")


def test_wrong_options_are_refused_before_anything_is_made(
    entries: list[dict[str, Any]], tmp_path: Path
) -> None:
    for options, message in (
        ({"weights": {"nothing": 1}}, "are not policies"),
        ({"weights": {"placed": 0}}, "no policy is left"),
        ({"count": None}, "give one of the two"),
    ):
        with pytest.raises(GliomaGenError, match=message):
            augmentation(entries, tmp_path / "out", **options)
    with pytest.raises(GliomaGenError, match="no policy is left"):  # nobody to take a lesion from
        augmentation(entries[:1], tmp_path / "out", weights={"borrowed": 1})
    assert not (tmp_path / "out").exists()


def test_the_summary_tells_copies_from_new_lesions(entries: list[dict[str, Any]], tmp_path: Path) -> None:
    augmentation(entries, tmp_path / "out").run()
    DiversitySummary(sources=entries, output_dir=tmp_path / "out", pictured=2).write()
    content = json.loads((tmp_path / "out" / "diversity.json").read_text())
    assert content["label_maps"]["count"] == 8 and content["sources"]["labels"].keys() == {"SNFH"}
    assert content["dice_to_nearest_source"]["p95"] < 0.9  # other lesions, elsewhere
    for name in ("diversity.png", "variants.png", "diversity.md"):
        assert (tmp_path / "out" / name).stat().st_size > 0


# --- what a label map must be ---


def source(label: Labels) -> LabelMap:
    return LabelMap(case="a", patient="a", label=label, voxel_mm=(2.0, 2.0, 2.0))


@pytest.fixture
def good() -> Labels:
    label = np.zeros((32, 32, 32), np.uint8)
    label[3:29, 3:29, 3:29] = HEAD
    label[12:18, 12:18, 12:18] = ET
    return label


def reason_for(good: Labels, changed: Labels, **options: Any) -> str | None:
    return LabelMapChecks(**options)(source(good), changed, Placed())


def test_a_new_lesion_passes_and_a_copy_does_not(good: Labels) -> None:
    moved = np.where(good == ET, HEAD, good)
    moved[20:26, 12:18, 12:18] = ET
    assert reason_for(good, moved) is None
    assert reason_for(good, good) == "too near its source"
    assert reason_for(good, good[::-1].copy()) == "too near its source"  # mirrored is no other lesion


def test_removed_enhancement_is_no_copy(good: Labels) -> None:
    """The lesion's outline stays, its kind changes: that is a new case."""
    treated = np.where(good == ET, SNFH, good).astype(np.uint8)
    assert label_dice(treated, good) == 0 and reason_for(good, treated) is None
    assert dice_to_source(good, good) == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"erase": (slice(None),) * 3}, "no head"),
        ({"erase": (slice(None), slice(19, 22), slice(None))}, "head in pieces"),
        ({"fill": (slice(25, 26), slice(20, 21), slice(20, 22)), "label": SNFH}, "SNFH too small"),
        ({"fill": (slice(4, 28), slice(4, 28), slice(4, 24)), "label": SNFH}, "lesion too large"),
        (
            {"fill": (slice(3, 29), slice(3, 29), slice(3, 6)), "label": SNFH},
            "lesion along the head's border",
        ),
    ],
)
def test_each_flaw_is_named(good: Labels, change: dict[str, Any], reason: str) -> None:
    label = good.copy()
    if "erase" in change:
        label[change["erase"]] = 0
    else:
        label[change["fill"]] = change["label"]
    assert reason_for(good, label) == reason


def test_a_scattered_lesion_and_a_missing_label(good: Labels) -> None:
    scattered = good.copy()
    scattered[5:28:6, 5:28:6, 5:28:6] = ET
    assert reason_for(good, scattered) == "lesion in pieces"
    assert reason_for(good, good, required=(SNFH,)) == "lacks SNFH"


def test_the_published_protocol_is_left_alone(good: Labels) -> None:
    class Near(Placed):
        keeps_near = True

    assert LabelMapChecks()(source(good), good, Near()) is None
