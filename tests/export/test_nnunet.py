"""A data set that days of sampling went into: whole, the same whoever wrote it, and never lost to the next command."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_writing import AFFINE, CARD, SETTINGS, label_of, make_writer, started, write_masks, write_set

from gliomagen.errors import GliomaGenError
from gliomagen.export.background import BackgroundWriter
from gliomagen.export.nnunet import NnunetWriter, voxel_sha256
from gliomagen.labels import CONTRASTS, LABEL_NAMES, LESION
from gliomagen.machine import is_mine
from gliomagen.randomness import numpy_generator
from gliomagen.volume import read_volume

COUNT = 3


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return write_masks(tmp_path_factory.mktemp("masks"), COUNT)


@pytest.fixture(scope="module")
def whole(masks: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set written without disturbance. Read only."""
    return write_set(tmp_path_factory.mktemp("whole"), masks).folder


def voxels(folder: Path) -> dict[str, str]:
    """Hash of every image's voxels, by name."""
    return {str(f.relative_to(folder)): voxel_sha256(read_volume(f).data) for f in folder.rglob("*.nii.gz")}


def times(folder: Path) -> dict[str, int]:
    """When each file was written."""
    return {str(f.relative_to(folder)): f.stat().st_mtime_ns for f in folder.rglob("*") if f.is_file()}


def texts(folder: Path) -> dict[str, str]:
    """Content of every file that is no image, by name; what the cases took is another each time."""
    return {
        str(f.relative_to(folder)): f.read_text()
        for f in folder.rglob("*")
        if f.is_file() and f.suffix != ".gz" and f.name != "seconds.jsonl"
    }


def test_a_data_set_is_what_nnunet_reads(whole: Path) -> None:
    """Channels in the house's order, the challenge's label numbers, image and label map on one grid."""
    content = json.loads((whole / "dataset.json").read_text())
    assert list(content["channel_names"].values()) == list(CONTRASTS)
    assert list(content["labels"].values()) == [0, 1, 2, 3, 4] and content["numTraining"] == 2 * COUNT
    assert {f.name for f in whole.iterdir()} == {
        *("imagesTr", "labelsTr", "cases", "dataset.json", "manifest.jsonl", "synthesis.json", "README.md"),
        "seconds.jsonl",
    }
    assert len(list((whole / "imagesTr").iterdir())) == 8 * COUNT
    for label in (whole / "labelsTr").iterdir():
        case = label.name.removesuffix(".nii.gz")
        stored = read_volume(label)
        np.testing.assert_array_equal(stored.data, np.maximum(label_of(case[:-3]), 1) - 1)
        for channel in range(4):
            image = read_volume(whole / "imagesTr" / f"{case}_{channel:04d}.nii.gz")
            assert np.allclose(image.affine, stored.affine) and image.data.dtype == np.float32
            drawn = numpy_generator(0, case).random((4, *image.data.shape), np.float32)[channel]
            np.testing.assert_array_equal(image.data, drawn)


def test_the_manifest_says_what_made_a_case(whole: Path, masks: list[dict[str, Any]]) -> None:
    lines = [json.loads(line) for line in (whole / "manifest.jsonl").read_text().splitlines()]
    assert [line["case"] for line in lines] == sorted(f"{m['case']}-s{k}" for m in masks for k in (0, 1))
    found = voxels(whole)
    for line in lines:
        assert line.items() >= {**SETTINGS, "synthetic": True, "labels": "challenge"}.items()
        assert line["mask"] == f"{line['mask_case']}-seg.nii.gz" and line["network_calls"] == 2
        assert line["source_case"] == line["mask_case"] and line["source_patient"] == line["case"][:-7]
        assert line["outputs"] == {name: found[name] for name in line["outputs"]}
        assert len(line["outputs"]) == 5


def test_labels_with_the_head(tmp_path: Path, masks: list[dict[str, Any]]) -> None:
    folder = write_set(tmp_path, masks[:1], labels="prepared", seeds_per_mask=1).folder
    labels = json.loads((folder / "dataset.json").read_text())["labels"]
    assert labels["head"] == 1 and list(labels.values()) == list(range(6))
    case = masks[0]["case"]
    np.testing.assert_array_equal(read_volume(folder / f"labelsTr/{case}-s0.nii.gz").data, label_of(case))


def test_a_lesion_of_unknown_kind(tmp_path: Path) -> None:
    """It has no number in the challenge; with the head kept it is one label more."""
    label = label_of("a")
    label[label > 1] = LESION
    volumes = np.zeros((4, *label.shape), np.float32)
    with pytest.raises(
        GliomaGenError, match=r"m\.nii.*no number for lesion of unknown kind; pass --labels prepared"
    ):
        make_writer(tmp_path).write("a", volumes, label, AFFINE, {"mask": "m.nii.gz"})
    assert not list(tmp_path.rglob("*.nii.gz"))
    writer = make_writer(tmp_path, labels="prepared", dataset_id=502)
    facts = {"source_patient": "a", "mask_sha256": "", "network_calls": 1}
    writer.write("a", volumes, label, AFFINE, facts)
    assert writer.complete()
    assert json.loads((writer.folder / "dataset.json").read_text())["labels"][LABEL_NAMES[LESION]] == LESION


def test_two_processes_write_what_one_does(whole: Path, tmp_path: Path, masks: list[dict[str, Any]]) -> None:
    """Side by side, without knowing of each other; whichever is last completes the set."""
    cases = [f"{m['case']}-s{k}" for m in masks for k in (0, 1)]
    run = [
        started(output_dir=tmp_path, masks=masks, environment={"RANK": str(r), "WORLD_SIZE": "2"})
        for r in (0, 1)
    ]
    for process in run:
        process.join(300)
        assert process.exitcode == 0
    folder = tmp_path / "nnUNet_raw" / "Dataset501_Fake"
    assert voxels(folder) == voxels(whole) and texts(folder) == texts(whole)
    assert len(cases) == 2 * COUNT


def test_a_process_alone_does_its_share_and_does_not_complete(
    tmp_path: Path, masks: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    shares = []
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        folder = write_set(tmp_path, masks).folder
        shares.append({f.stem for f in (folder / "cases").iterdir()})
        assert (folder / "dataset.json").exists() == (rank == "0")
    assert shares[0] < shares[1] and shares[0]
    monkeypatch.setenv("RANK", "1")
    assert all(is_mine(case) for case in shares[0])


@pytest.mark.parametrize("threads", [0, 2])
def test_killed_ten_times(whole: Path, tmp_path: Path, masks: list[dict[str, Any]], threads: int) -> None:
    """At random moments: nothing half-made is seen, what is finished stays, and the end is the undisturbed set."""
    arguments: dict[str, Any] = {"masks": masks, "threads": threads}
    count_file = tmp_path / "count"
    counting = started(output_dir=tmp_path / "counted", count_file=count_file, **arguments)
    counting.join(300)
    moments = int(count_file.read_text())
    assert moments > 20 * COUNT
    folder = tmp_path / "set" / "nnUNet_raw" / "Dataset501_Fake"
    draw = numpy_generator(threads, "moments")
    finished: dict[str, int] = {}
    died = 0
    for _ in range(10):
        left = moments * (1 - len(finished) / (12 * COUNT))  # about so many moments has this run
        run = started(
            output_dir=tmp_path / "set", die_at=int(draw.integers(0, max(2, 0.5 * left))), **arguments
        )
        run.join(300)
        died += run.exitcode == -9
        if not folder.exists():
            continue
        found = voxels(folder / "imagesTr") | voxels(folder / "labelsTr")  # reads them to the checksum
        assert all(name.endswith(".nii.gz") and not name.startswith(".") for name in found)
        in_place = [f for place in ("imagesTr", "labelsTr") for f in (folder / place).glob("*")]
        assert len(in_place) == len(found)
        now = times(folder)
        assert all(now[name] == time for name, time in finished.items())
        for path in (folder / "cases").glob("*"):
            for name, sha256 in json.loads(path.read_text())["outputs"].items():
                assert found[Path(name).name] == sha256
                finished[name] = now[name]
    assert died >= 8 and finished
    run = started(output_dir=tmp_path / "set", **arguments)
    run.join(300)
    assert run.exitcode == 0
    assert voxels(folder) == voxels(whole) and texts(folder) == texts(whole)
    now = times(folder)
    assert all(now[name] == time for name, time in finished.items())
    again = started(output_dir=tmp_path / "set", **arguments)
    again.join(300)
    assert again.exitcode == 0 and times(folder) == now


def test_what_a_kill_left_of_a_label_map_that_is_gone_is_removed(
    tmp_path: Path, masks: list[dict[str, Any]]
) -> None:
    """Images without a label map make nnU-Net stop."""
    folder = write_set(tmp_path, masks, threads=0).folder
    case = f"{masks[0]['case']}-s0"
    (folder / "cases" / f"{case}.json").unlink()
    (folder / f"labelsTr/{case}.nii.gz").unlink()  # killed when the images were moved, the label map was not
    (folder / ".working" / case).mkdir(parents=True)
    write_set(tmp_path, masks[1:], threads=0)
    assert not list(folder.rglob(f"*{case}*")) and not (folder / ".working").exists()
    assert json.loads((folder / "dataset.json").read_text())["numTraining"] == 2 * COUNT - 1


def test_more_seeds_add_to_the_set(tmp_path: Path, masks: list[dict[str, Any]]) -> None:
    folder = write_set(tmp_path, masks, seeds_per_mask=1).folder
    before = times(folder)
    write_set(tmp_path, masks, seeds_per_mask=2)
    after = times(folder)
    assert all(after[name] == before[name] for name in before if name.endswith(".nii.gz"))
    assert json.loads((folder / "dataset.json").read_text())["numTraining"] == 2 * COUNT
    lost = folder / "imagesTr" / f"{masks[0]['case']}-s1_0002.nii.gz"
    kept = voxels(folder)
    lost.unlink()  # by mistake: that case alone is made again
    write_set(tmp_path, masks, seeds_per_mask=2)
    assert voxels(folder) == kept
    changed = {name for name, time in times(folder).items() if after.get(name) != time}
    assert all(f"{masks[0]['case']}-s1" in name for name in changed - {"seconds.jsonl"})


def test_an_error_of_a_thread_is_raised_where_the_work_is(
    tmp_path: Path, masks: list[dict[str, Any]]
) -> None:
    """A full disk must stop the sampling, not be noticed at its end."""
    background, given = BackgroundWriter(threads=1), 0

    def full() -> None:
        raise GliomaGenError("no room")

    with pytest.raises(GliomaGenError, match="no room"):
        for given in range(100):  # noqa: B007
            background(full)
    assert given < 5  # the number waiting is bounded
    background.close()
    let_go = threading.Event()
    background(lambda: let_go.wait() and full())
    let_go.set()
    with pytest.raises(GliomaGenError, match="no room"):
        background.close()
    (tmp_path / "nnUNet_raw").write_text("a file where the folder should be")
    with pytest.raises(GliomaGenError, match=r"Dataset501_Fake: cannot be made"):
        write_set(tmp_path, masks)


def change_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def other_settings(**values: Any) -> dict[str, Any]:
    return {"settings": {**SETTINGS, **values}, "card": {**CARD, "sha256": values.get("weights_sha256", "")}}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset_name": "Other"}, "Dataset501_Fake: has the id 501 already"),
        (other_settings(weights_sha256="v" * 64), "synthesis.json: was made with weights_sha256 w.*, not v"),
        (other_settings(seed=1), "synthesis.json: was made with seed 0, not 1"),
        ({"labels": "prepared"}, "was made with labels challenge, not prepared"),
        ({"contrasts": CONTRASTS[:2]}, "was made with contrasts"),
        ({"labels": "brats"}, "labels 'brats' is not known; choose among"),
        ({"dataset_id": 0}, "dataset_id 0: nnU-Net takes whole numbers from 1 to 999"),
        ({"dataset_id": 1000}, "dataset_id 1000"),
        ({"dataset_id": "501"}, "dataset_id '501'"),
        ({"dataset_name": "a/b", "dataset_id": 502}, "dataset_name 'a/b'"),
        ({"seeds_per_mask": 0}, "seeds_per_mask 0: must be a whole number"),
    ],
)
def test_wrong_options(
    whole: Path, masks: list[dict[str, Any]], options: dict[str, Any], message: str
) -> None:
    refused(whole, masks, message, **options)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda f: change_json(next((f / "cases").iterdir()), seed=3),
            r"cases/.*json: was made with seed 3, not 0",
        ),
        (lambda f: (f / "synthesis.json").unlink(), "was not made by synthesizing"),
        (lambda f: (f / "synthesis.json").write_text("{}"), "is not one of ours"),
        (lambda f: (f / "synthesis.json").write_text("{"), "not readable as JSON"),
        (lambda f: next((f / "cases").iterdir()).write_text("[]"), "is not the record of"),
        (lambda f: (f / "imagesTr/my own_0000.nii.gz").write_bytes(b""), "my own_0000.*belongs to no case"),
        (lambda f: (f / "labelsTr/mine.nii.gz").write_bytes(b""), "mine.*belongs to no case"),
        (
            lambda f: (f / "manifest.jsonl").write_text('{"weights_sha256": "x"}\n'),
            "manifest.jsonl: was made with",
        ),
        (lambda f: (f / "manifest.jsonl").write_text("nothing\n"), "line 1 is not a JSON object"),
    ],
)
def test_a_folder_with_other_content(
    tmp_path: Path, masks: list[dict[str, Any]], spoil: Any, message: str
) -> None:
    folder = write_set(tmp_path, masks[:1], threads=0).folder
    spoil(folder)
    refused(folder, masks[:1], message)


def test_another_label_map_under_the_same_name(tmp_path: Path, masks: list[dict[str, Any]]) -> None:
    folder = write_set(tmp_path / "out", masks[:1]).folder
    refused(folder, [{**masks[1], "case": masks[0]["case"]}], "is not the label map that .* was made from")


def test_somebody_elses_folder(tmp_path: Path, masks: list[dict[str, Any]]) -> None:
    folder = tmp_path / "nnUNet_raw" / "Dataset501_Fake"
    (folder / "imagesTr").mkdir(parents=True)
    refused(folder, masks, "exists and was not made by synthesizing")


def refused(folder: Path, masks: list[dict[str, Any]], message: str, **options: Any) -> None:
    """Expects one line, and that nothing is touched."""
    before = times(folder.parent)
    with pytest.raises(GliomaGenError, match=message) as caught:
        write_set(folder.parent.parent, masks, **options)
    assert "\n" not in str(caught.value)
    assert times(folder.parent) == before


def test_making_a_writer_touches_nothing(tmp_path: Path) -> None:
    """Hosts of bundles make every part only to look at it."""
    writer: NnunetWriter = make_writer(tmp_path / "out")
    assert writer.pending([]) == [] and not writer.complete()
    assert list(tmp_path.iterdir()) == []
