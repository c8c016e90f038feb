"""Forecasting as a user runs it: two visits and a table in, maps, scans, scores and a page out; wrong input loses nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from gliomagen.cohort.phantom import PhantomCohort
from gliomagen.errors import GliomaGenError
from gliomagen.files import read_json
from gliomagen.growth.figure import forecast_page as page
from gliomagen.volume import Volume, read_volume, write_volume

CONFIGS = Path(__file__).parents[2] / "bundle" / "configs"
DRAWS = {"draws": 40, "samples": 3, "scans": 0, "fit": "bootstrap", "threads": None}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two patients of four visits, one of them treated, prepared."""
    folder = tmp_path_factory.mktemp("growing")
    PhantomCohort(
        output_dir=str(folder / "raw"),
        patients=2,
        timepoints=3,
        spatial_size=(32, 36, 28),
        voxel_mm=6.0,
        course="growth",
        seed=3,
    ).run()
    parser = ConfigParser(ConfigParser.load_config_file(CONFIGS / "prepare.yaml"))
    parser.update(
        {
            "dataset_dir": str(folder / "raw"),
            "output_dir": str(folder / "cohort"),
            "voxel_mm": [6.0, 6.0, 6.0],
            "spatial_size": [32, 32, 32],
            "validation_fraction": 0,
            "num_workers": 0,
        }
    )
    parser.get_parsed_content("imports")
    parser.get_parsed_content("preparing")
    return folder


def forecast(cohort: Path, output: Path, **options: object) -> dict[str, object]:
    parser = ConfigParser(ConfigParser.load_config_file(CONFIGS / "forecast.yaml"))
    told = {
        "dataset_dir": str(cohort / "cohort"),
        "output_dir": str(output),
        "visits": str(cohort / "raw" / "visits.csv"),
    }
    parser.update({**told, "treatments": str(cohort / "raw" / "treatments.csv"), **DRAWS, **options})
    parser.get_parsed_content("imports")
    result: dict[str, object] = parser.get_parsed_content("forecasting_run").run()
    return result


def test_forecast_is_written_scored_and_left_when_run_again(cohort: Path, tmp_path: Path) -> None:
    summary = forecast(cohort, tmp_path)
    patients = summary["patients"]
    assert len(patients) == 2  # type: ignore[arg-type]
    for patient in patients:  # type: ignore[attr-defined]
        folder = tmp_path / patient
        told = read_json(folder / "forecast.json")
        last = read_volume(next((cohort / "cohort").rglob(f"{told['last_case']}-seg.nii.gz")))
        probability = read_volume(folder / "probability.nii.gz")
        np.testing.assert_allclose(probability.affine, last.affine, atol=1e-4)
        assert probability.data.shape == last.data.shape
        assert 0 < probability.data.max() <= 1
        assert not probability.data[np.asarray(last.data) == 0].any()
        assert set(told["scores"]) == {"forecast", "no_change", "isotropic", "burden", "calibration"}
        assert told["burden_mm3"]["0.05"] < told["burden_mm3"]["0.5"] < told["burden_mm3"]["0.95"]
        assert "not for clinical decisions" in told["note"]
        for path in (folder / "probability.nii.gz", next((folder / "samples").rglob("*-seg.nii.gz"))):
            assert "not for clinical decisions" in str(nibabel.load(path).header["descrip"])  # type: ignore[attr-defined]
        assert (folder / "forecast.png").stat().st_size > 20_000
        assert len(list((folder / "samples").rglob("*-seg.nii.gz"))) == 3
        page = (folder / "index.html").read_text()
        true = f"{told['scores']['burden']['true_mm3'] / 1000:.1f}"
        for said in (
            "not for clinical decisions",
            'src="forecast.png"',
            f"<td>{true}</td>",
            told["last_case"],
        ):
            assert said in page
        assert f'<a href="{patient}/index.html">{patient}</a>' in (tmp_path / "index.html").read_text()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nii.gz")}
    assert forecast(cohort, tmp_path) == summary
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nii.gz")} == before
    with pytest.raises(GliomaGenError, match="choose another output_dir"):
        forecast(cohort, tmp_path, seed=1)
    table = tmp_path / "visits.csv"
    table.write_text((cohort / "raw" / "visits.csv").read_text().replace("-01-01", "-01-02"))
    with pytest.raises(GliomaGenError, match="other visits"):  # and no stale forecast
        forecast(cohort, tmp_path, visits=str(table))


def test_killed_run_goes_on_and_says_the_same(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = forecast(cohort, tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        calls = []

        def interrupted(*args: object, **told: object) -> None:
            calls.append(args)
            if len(calls) == 2:
                raise KeyboardInterrupt
            page(*args, **told)  # type: ignore[arg-type]

        patch.setattr("gliomagen.growth.forecasting.forecast_page", interrupted)
        forecast(cohort, tmp_path / "killed")
    assert len(list((tmp_path / "killed").rglob("forecast.json"))) == 1
    assert forecast(cohort, tmp_path / "killed") == whole
    for path in (tmp_path / "whole").rglob("*.nii.gz"):
        other = tmp_path / "killed" / path.relative_to(tmp_path / "whole")
        assert np.array_equal(read_volume(path).data, read_volume(other).data)


def test_scans_keep_the_last_one_wherever_nothing_changes(cohort: Path, tmp_path: Path) -> None:
    """With a generator of any quality: here one that has learnt nothing."""
    parser = ConfigParser(ConfigParser.load_config_file(CONFIGS / "forecast.yaml"))
    parser.update(
        {
            "contrasts": ["t1c", "t1n", "t2f", "t2w"],
            "channels": [32, 32, 32],
            "blocks": 1,
            "last_channels": 32,
        }
    )
    parser.get_parsed_content("imports")
    torch.manual_seed(0)
    network = parser.get_parsed_content("network_def")
    summary = forecast(
        cohort, tmp_path, scans=1, network=network, card={"sha256": "0", "geometry": {"contrasts": ["t1c", "t1n", "t2f", "t2w"]}},
        channels=[32, 32, 32], blocks=1, last_channels=32, steps=2, device="cpu",
    )  # fmt: skip
    kept = []
    for patient in summary["patients"]:  # type: ignore[attr-defined]
        told = read_json(tmp_path / patient / "forecast.json")
        name = f"{patient}-sample-00"
        apart = []
        for contrast in ("t1c", "t1n", "t2f", "t2w"):
            last = next((cohort / "cohort").rglob(f"{told['last_case']}-{contrast}.nii.gz"))
            file = tmp_path / patient / "samples" / name / f"{name}-{contrast}.nii.gz"
            made, was = (np.asarray(read_volume(path).data, np.float32) for path in (file, last))
            assert np.isfinite(made).all()
            assert not made[was == 0].any()
            kept.append(float((made == was)[was != 0].mean()))
            apart.append(np.abs(made - was))
        difference = read_volume(tmp_path / patient / "samples" / name / f"{name}-difference.nii.gz")
        np.testing.assert_allclose(np.asarray(difference.data, np.float32), np.mean(apart, 0), atol=1e-5)
    assert min(kept) < 1  # somewhere the tumour grows
    assert min(kept) > 0.7


@pytest.mark.parametrize("fault", ["grid", "no tumour", "not there"])
def test_patient_with_a_fault_is_named_and_the_others_go_on(cohort: Path, tmp_path: Path, fault: str) -> None:
    shutil.copytree(cohort, tmp_path / "copy")
    visits = (tmp_path / "copy" / "raw" / "visits.csv").read_text().splitlines()
    case = visits[2].split(",")[1]
    label = next((tmp_path / "copy" / "cohort").rglob(f"{case}-seg.nii.gz"))
    volume = read_volume(label)
    if fault == "grid":
        write_volume(label, Volume(data=volume.data, affine=volume.affine + np.eye(4)[:, [3, 0, 1, 2]] * 0.5))
    elif fault == "no tumour":
        write_volume(
            label, Volume(data=(np.asarray(volume.data) != 0).astype(np.uint8), affine=volume.affine)
        )
    else:
        table = tmp_path / "copy" / "raw" / "visits.csv"
        table.write_text(table.read_text().replace(case, "elsewhere"))
    summary = forecast(tmp_path / "copy", tmp_path / "out")
    assert len(summary["patients"]) == 1  # type: ignore[arg-type]
    said = next(iter(summary["refused"].values()))  # type: ignore[attr-defined]
    assert {"grid": "another grid", "no tumour": "no tumour", "not there": "not in the prepared cohort"}[
        fault
    ] in said
    assert "\n" not in said
    assert json.loads((tmp_path / "out" / "forecasts.json").read_text())["refused"]


def test_another_field_of_view_of_the_same_voxels_is_no_fault(cohort: Path, tmp_path: Path) -> None:
    """Preparation cuts each scan out for itself, and a tumour that pushes moves the cut by a voxel."""
    shutil.copytree(cohort, tmp_path / "copy")
    case = (tmp_path / "copy" / "raw" / "visits.csv").read_text().splitlines()[3].split(",")[1]
    for path in (tmp_path / "copy" / "cohort" / case).glob("*.nii.gz"):
        volume = read_volume(path)
        affine = volume.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ np.array([2, 0, -1])
        write_volume(path, Volume(data=np.roll(volume.data, (-2, 0, 1), (0, 1, 2)), affine=affine))
    moved, first = forecast(tmp_path / "copy", tmp_path / "moved"), forecast(cohort, tmp_path / "first")
    assert moved["scores"] == first["scores"]


def test_what_to_doubt_of_a_forecast_stands_on_its_page(cohort: Path, tmp_path: Path) -> None:
    """A burden that falls without a treatment told: the table of treatments was forgotten, or is not complete."""
    rows = [line.split(",") for line in (cohort / "raw" / "visits.csv").read_text().splitlines()]
    for patient in {row[0] for row in rows[1:]}:
        for row, burden in zip((row for row in rows if row[0] == patient), (9000, 3000, 4000), strict=True):
            row[3] = str(burden)
    table = tmp_path / "visits.csv"
    table.write_text("\n".join(",".join(row) for row in rows))
    for treatments in (None, str(cohort / "raw" / "treatments.csv")):
        output = tmp_path / str(treatments is None)
        patients = forecast(cohort, output, visits=str(table), treatments=treatments)["patients"]
        said = ["falls by 67%" in (output / patient / "index.html").read_text() for patient in patients]  # type: ignore[attr-defined]
        assert said == ([True, True] if treatments is None else [True, False])
