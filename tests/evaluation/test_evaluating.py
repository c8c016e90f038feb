"""The run as a user starts it: from two folders to numbers, resumable, and one line for whatever is wrong."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from helpers import bundle_command, bundle_run, run_environment, write_prepared_cohort
from PIL import Image

from gliomagen.evaluation.report.build import _embedded
from gliomagen.files import read_json, write_json
from gliomagen.labels import CONTRASTS

pytestmark = pytest.mark.slow
SIZE = (24, 24, 16)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prepared_cohort(tmp_path_factory.mktemp("real"), training=14, validation=12, size=SIZE)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network that judges, after two steps on other patients."""
    folder = tmp_path_factory.mktemp("judges")
    others = write_prepared_cohort(folder / "cohort", training=4, validation=1, size=SIZE)
    content = read_json(others / "cohort.json")
    for entry in (*content["training"], *content["validation"]):
        entry["patient"] = "Judge-" + entry["patient"]
    write_json(others / "cohort.json", content)
    done = bundle_run(
        "training",
        "segmenter.yaml",
        "features.yaml",
        dataset_dir=others,
        output_dir=folder / "run",
        max_steps=2,
        checkpoint_interval=2,
        sample_interval=2,
        num_workers=0,
        half="all",
        precision="fp32",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "run" / "model.pt"


@pytest.fixture(scope="module")
def synthetic(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Case folders: scans of the validation label maps with other greys, and one copy of a training scan."""
    folder = tmp_path_factory.mktemp("synthetic")
    content = read_json(cohort / "cohort.json")
    for number, entry in enumerate(content["validation"][:7]):
        made = f"{entry['case']}"
        source = entry if number else content["training"][0]
        for name in (*CONTRASTS, "label"):
            suffix = "seg" if name == "label" else name
            (folder / made).mkdir(exist_ok=True)
            target = folder / made / f"{made}-{suffix}.nii.gz"
            image = nib.load(cohort / source[name])
            data = np.asarray(image.dataobj)
            if name != "label" and number:
                noise = np.random.default_rng(number).normal(0, 0.1, data.shape)
                data = np.where(data > 0, np.clip(data + noise, 0.01, 1), 0).astype(np.float32)
            nib.save(nib.Nifti1Image(data, image.affine), target)
    return folder


def options(cohort: Path, weights: Path, synthetic: Path, output: Path, **more: Any) -> dict[str, Any]:
    return {
        "real_dir": cohort,
        "synthetic_dir": synthetic,
        "output_dir": output,
        "features": weights,
        "weights": "",
        "label_convention": "prepared",
        "draws": 20,
        **more,
    }


@pytest.fixture(scope="module")
def metrics(
    cohort: Path, weights: Path, synthetic: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    output = tmp_path_factory.mktemp("evaluation")
    study = output / "gain"
    study.mkdir()
    for name in ("index.html", "arms.png"):
        (study / name).write_text("of the study")
    forecasts = output / "grown"
    for name in ("index.html", "one/index.html", "one/forecast.png", "one/probability.nii.gz"):
        (forecasts / name).parent.mkdir(parents=True, exist_ok=True)
        (forecasts / name).write_text("of forecasts")
    others = {"study_dir": study, "forecasts_dir": forecasts}
    done = bundle_run("evaluating", "evaluate.yaml", **options(cohort, weights, synthetic, output, **others))
    assert done.returncode == 0, done.stdout + done.stderr
    return output, read_json(output / "metrics.json")


def test_every_number_says_how_it_was_made(metrics: tuple[Path, dict[str, Any]], weights: Path) -> None:
    _, content = metrics
    card = read_json(weights.with_suffix(".json"))
    assert content["extractor"] == {"name": "encoder", "sha256": card["sha256"]}
    assert {what: entry["cases"] for what, entry in content["sets"].items()} == {
        "real": 12,
        "training": 14,
        "synthetic": 7,
    }
    by_name = {(s["recipe"], s["name"], s["of"], s["view"]): s for s in content["scores"]}
    for key in (
        ("volume", "fid", "all", "volume"),
        ("volume", "kid", "t1c", "planes"),
        ("volume", "coverage", "all", "volume"),
        ("volume", "feature distance of pairs", "all", "volume"),
        ("privacy", "suspected copies", "all", ""),
    ):
        assert np.isfinite(by_name[key]["estimate"]["value"]), key
    fid = by_name["volume", "fid", "all", "volume"]
    assert fid["floor"]["value"] > 0 and fid["real"] == 12 and fid["synthetic"] == 7
    assert fid["estimate"]["low"] < fid["estimate"]["value"] < fid["estimate"]["high"]


def test_the_copy_is_named(metrics: tuple[Path, dict[str, Any]], cohort: Path) -> None:
    """Balls in an ellipsoid have little of their own, so others may be suspected too; the copy comes first."""
    content = read_json(cohort / "cohort.json")
    first = metrics[1]["privacy"]["suspected"][0]
    assert first["case"] == content["validation"][0]["case"]
    assert first["resembles"] == content["training"][0]["case"]


def test_a_second_run_measures_nothing_again_and_says_the_same(
    metrics: tuple[Path, dict[str, Any]], cohort: Path, weights: Path, synthetic: Path
) -> None:
    output, content = metrics
    times = {file: file.stat().st_mtime_ns for file in output.rglob("*.npz")}
    victim = sorted((output / "measured" / "synthetic").glob("*.npz"))[0]
    victim.write_bytes(victim.read_bytes()[:100])  # as a full disk leaves it
    again = options(
        cohort, weights, synthetic, output, study_dir=output / "gain", forecasts_dir=output / "grown"
    )
    done = bundle_run("evaluating", "evaluate.yaml", **again)
    assert done.returncode == 0, done.stdout + done.stderr
    changed = [file for file in times if file.stat().st_mtime_ns != times[file]]
    assert changed == [victim] and len(times) == 33
    assert read_json(output / "metrics.json") == content


def test_two_processes_find_what_one_does(
    metrics: tuple[Path, dict[str, Any]], cohort: Path, weights: Path, synthetic: Path, tmp_path: Path
) -> None:
    command = bundle_command("evaluating", "evaluate.yaml", **options(cohort, weights, synthetic, tmp_path))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*launcher, *command[1:]], env=run_environment(), capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert read_json(tmp_path / "metrics.json") == metrics[1]


def test_other_peoples_extractors_can_be_used(
    cohort: Path, weights: Path, synthetic: Path, tmp_path: Path
) -> None:
    """RadImageNet's networks come as TorchScript; one that returns another shape is refused in one line."""

    class Extractor(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.adaptive_avg_pool2d(x, [4, 4])[:, :2]

    class Wrong(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean()

    for name, network in (("good", Extractor()), ("wrong", Wrong())):
        torch.jit.script(network).save(str(tmp_path / f"{name}.pt"))
    settings = options(cohort, weights, synthetic, tmp_path / "out", recipes="['volume']")
    done = bundle_run("evaluating", "evaluate.yaml", extractor=tmp_path / "good.pt", **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    content = read_json(tmp_path / "out" / "metrics.json")
    assert content["extractor"]["name"] == "good.pt"

    def of_planes(content: dict[str, Any]) -> dict[str, float]:
        found = [s for s in content["scores"] if (s["view"], s["of"]) == ("planes", "t1c")]
        return {s["name"]: s["estimate"]["value"] for s in found}

    every = of_planes(content)
    assert {"fid", "kid", "precision", "coverage"} <= set(every)
    done = bundle_run(
        "evaluating",
        "evaluate.yaml",
        extractor=tmp_path / "good.pt",
        extractor_planes="['axial']",
        **settings,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    axial = of_planes(read_json(tmp_path / "out" / "metrics.json"))
    assert axial["fid"] != every["fid"]  # measured anew, not taken from before
    done = bundle_run("evaluating", "evaluate.yaml", extractor=tmp_path / "wrong.pt", **settings)
    line = done.stderr.strip().splitlines()[-1]
    assert done.returncode != 0 and "wrong.pt" in line and "(B, F)" in line, done.stderr


def test_what_is_wrong_is_one_line(cohort: Path, weights: Path, synthetic: Path, tmp_path: Path) -> None:
    def refused(**more: Any) -> str:
        settings = options(cohort, weights, synthetic, tmp_path / "out", **more)
        done = bundle_run("evaluating", "evaluate.yaml", **settings)
        assert done.returncode != 0 and "Traceback" not in done.stderr, done.stderr
        assert not (tmp_path / "out" / "metrics.json").exists()
        return done.stderr.strip().splitlines()[-1]

    coarse = tmp_path / "coarse"
    shutil.copytree(synthetic, coarse)
    for file in coarse.rglob("*.nii.gz"):
        image = nib.load(file)
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj), np.diag([2.0, 2.0, 2.0, 1.0])), file)
    assert "one grid" in refused(synthetic_dir=coarse)

    holey = tmp_path / "holey"
    shutil.copytree(synthetic, holey)
    file = sorted(holey.rglob("*-t2f.nii.gz"))[2]
    image = nib.load(file)
    data = np.asarray(image.dataobj).copy()
    data[5, 5, 5] = np.nan
    nib.save(nib.Nifti1Image(data, image.affine), file)
    line = refused(synthetic_dir=holey)
    assert "not finite" in line and file.parent.name in line

    file.unlink()
    assert file.name in refused(synthetic_dir=holey)
    assert "not known" in refused(recipes="['fid']")
    assert "not found" in refused(synthetic_dir=tmp_path / "nowhere")
    assert "give what studying wrote" in refused(study_dir=tmp_path)
    assert "give what forecasting wrote" in refused(forecasts_dir=tmp_path)

    # a patient the judging network was trained on
    judged = read_json(weights.parent.parent / "cohort" / "cohort.json")
    assert judged["training"][0]["patient"] in refused(
        real_dir=weights.parent.parent / "cohort", section="training"
    )


def test_few_cases_leave_scores_out_with_a_reason(
    cohort: Path, weights: Path, synthetic: Path, tmp_path: Path
) -> None:
    few = tmp_path / "few"
    for folder in sorted(synthetic.iterdir())[:2]:
        shutil.copytree(folder, few / folder.name)
    done = bundle_run("evaluating", "evaluate.yaml", **options(cohort, weights, few, tmp_path / "out"))
    assert done.returncode == 0, done.stdout + done.stderr
    left_out = read_json(tmp_path / "out" / "metrics.json")["left_out"]
    assert any("fid" in entry["name"] and "at least 5" in entry["why"] for entry in left_out), json.dumps(
        left_out
    )


def test_copies_are_not_looked_for_among_strangers(
    cohort: Path, weights: Path, synthetic: Path, tmp_path: Path
) -> None:
    """Training scans that the generator never saw would acquit it of everything; its card says whom it saw."""
    settings = options(cohort, weights, synthetic, tmp_path, recipes="['privacy']", report=False)
    done = bundle_run("evaluating", "evaluate.yaml", **settings | {"weights": weights})
    assert done.returncode == 0, done.stdout + done.stderr
    content = read_json(tmp_path / "metrics.json")
    assert (
        content["privacy"] is None
        and "0 of patients the generator learnt from" in content["left_out"][0]["why"]
    )


def test_a_judge_of_other_voxels_does_not_judge(
    cohort: Path, weights: Path, synthetic: Path, tmp_path: Path
) -> None:
    """The network that comes along knows 3 mm; what it finds at 1.25 mm says nothing of the scan."""
    judge = tmp_path / "judge" / "model.pt"
    judge.parent.mkdir()
    shutil.copy(weights, judge)
    card = read_json(weights.with_suffix(".json"))
    card["geometry"]["voxel_mm"] = [1.25, 1.25, 1.25]
    write_json(judge.with_suffix(".json"), card)
    settings = options(cohort, judge, synthetic, tmp_path, recipes="['faithfulness']", report=False)
    done = bundle_run("evaluating", "evaluate.yaml", **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    left_out = read_json(tmp_path / "metrics.json")["left_out"]
    assert "1.25 x 1.25 x 1.25 mm" in left_out[0]["why"] and "features.yaml" in done.stdout + done.stderr


def test_the_report_needs_nothing_but_its_folder(metrics: tuple[Path, dict[str, Any]]) -> None:
    """A hospital's computer has no network, and a report is sent as a folder."""
    folder = metrics[0] / "report"
    page = (folder / "index.html").read_text(encoding="utf-8")
    named = set(re.findall(r'(?:src|href)="([^"#][^"]*)"', page)) | set(
        re.findall(r'"image": "([^"]+)"', page)
    )
    named |= set(re.findall(r'"script": "([^"]+)"', page))
    assert "study/index.html" in named and (folder / "study" / "arms.png").is_file()
    assert "forecasts/index.html" in named and (folder / "forecasts" / "one" / "forecast.png").is_file()
    assert not list((folder / "forecasts").rglob("*.nii.gz"))
    assert len(named) > 7 and all((folder / name).is_file() for name in named), named
    outside = re.findall(r"https?://[^\s\"'<>)]+", page)
    assert all(address.startswith("http://www.w3.org/") for address in outside), outside  # names of formats
    assert "default-src 'none'" in page and str(metrics[0]) not in page


def test_a_case_cannot_write_into_the_page() -> None:
    """Whoever names a case decides what it is called, not what the page does."""
    assert "</script" not in _embedded({"case": "</script><script>alert(1)</script>"})


def test_a_browser_shows_a_volume_and_asks_nobody(metrics: tuple[Path, dict[str, Any]]) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if browser is None:
        pytest.skip("there is no Chromium on this machine")
    flags = [
        "--no-sandbox",
        "--disable-background-networking",
        "--use-angle=swiftshader",
        "--enable-unsafe-swiftshader",
    ]
    with api.sync_playwright() as player:
        page = player.chromium.launch(executable_path=browser, args=flags).new_page()
        asked: list[str] = []
        wrong: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto((metrics[0] / "report" / "index.html").as_uri())
        assert page.locator("#gallery figure").count() == 7
        page.click("[data-order=best]")
        assert page.get_attribute("[data-order=best]", "aria-pressed") == "true"
        page.click("#open")
        page.wait_for_function("window.gliomagen.ready", timeout=120_000)
        shot = page.locator("#canvas-synthetic").screenshot()
        assert not wrong and np.asarray(Image.open(io.BytesIO(shot)).convert("L")).max() > 120
        assert all(url.startswith(("file:", "data:", "blob:")) for url in asked), asked
