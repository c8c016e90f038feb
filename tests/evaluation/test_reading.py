"""The reader study: blind, repeatable, and analysed as it should be."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import bundle_run, write_prepared_cohort
from sklearn import metrics

from gliomagen.cohort.datalist import datalist
from gliomagen.errors import GliomaGenError
from gliomagen.evaluation.reading.analysis import analyse, area, fleiss_kappa, read_answers
from gliomagen.evaluation.reading.pack import ReadingPack
from gliomagen.files import read_json
from gliomagen.labels import CONTRASTS
from gliomagen.scans import real_scans

QUESTIONS = [
    "natural",
    "consistent",
    *[f"{q}_{c}" for c in CONTRASTS for q in ("artefacts", "quality")],
    "verdict",
]


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A cohort, and case folders that stand for synthetic scans."""
    folder = tmp_path_factory.mktemp("reading")
    real = write_prepared_cohort(folder / "real", training=1, validation=6)
    made = write_prepared_cohort(folder / "made", training=6, validation=1)
    for path in sorted(made.glob("*/")):
        new = made / f"S-{path.name}"
        path.rename(new)
        for file in new.iterdir():
            file.rename(new / f"S-{file.name}")
    return real, made


@pytest.fixture(scope="module")
def study(cohorts: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("study")
    options = {"cases": 8, "repeated": 2, "label_convention": "prepared"}
    done = bundle_run(
        "reading", "reading.yaml", real_dir=cohorts[0], synthetic_dir=cohorts[1], output_dir=output, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return output


def answer(key: dict[str, Any], *, skill: float, seed: int) -> dict[str, dict[str, float]]:
    """A reader who sees what is synthetic, but for noise."""
    rng = np.random.default_rng(seed)
    answers = {}
    for entry in key["items"]:
        seen = 3.5 + skill * (1 if entry["synthetic"] else -1) + rng.normal()
        row = {name: float(rng.random() < 0.8) for name in QUESTIONS if not name.startswith("quality")}
        row |= {f"quality_{name}": float(rng.integers(1, 6)) for name in CONTRASTS}
        answers[entry["item"]] = {**row, "verdict": float(np.clip(round(seen), 1, 6))}
    return answers


def save(path: Path, study: str, reader: str, answers: dict[str, dict[str, float]]) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["study", "reader", "item", *QUESTIONS])
        for item, row in answers.items():
            writer.writerow([study, reader, item, *[f"{row[name]:g}" for name in QUESTIONS]])


def test_a_reader_cannot_know(study: Path) -> None:
    """No name, no path, no order gives away what is synthetic; the key does, and is not in the readers' folder."""
    key = read_json(study / "key.json")
    assert sum(entry["synthetic"] for entry in key["items"][:]) in (4, 5, 6)
    assert len({entry["case"] for entry in key["items"]}) == 8 and len(key["items"]) == 10
    for file in (study / "reader").rglob("*"):
        if file.is_file():
            text = file.read_text(encoding="utf-8")
            assert "key.json" not in text and "BraTS" not in text and "S-" not in file.name
            assert not any(entry["case"] in text for entry in key["items"])
    order = [entry["synthetic"] for entry in key["items"]]
    assert order != sorted(order)


def test_the_seed_makes_the_study_again(cohorts: tuple[Path, Path], study: Path, tmp_path: Path) -> None:
    scans = real_scans(datalist(cohorts[0], "all"))
    with pytest.raises(GliomaGenError, match="another study"):
        ReadingPack(
            output_dir=study, real=scans, synthetic=scans, contrasts=CONTRASTS, cases=6, repeated=0, seed=9
        ).run()
    with pytest.raises(GliomaGenError, match="are needed"):
        ReadingPack(output_dir=tmp_path, real=scans[:2], synthetic=scans, contrasts=CONTRASTS, cases=8)


def test_answers_are_analysed_by_the_workflow(study: Path, tmp_path: Path) -> None:
    key = read_json(study / "key.json")
    for number, reader in enumerate(("aa", "bb")):
        save(tmp_path / f"{reader}.csv", key["study"], reader, answer(key, skill=4.0, seed=number))
    done = bundle_run("analysing", "reading.yaml", output_dir=study, answers=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    result = read_json(study / "readers.json")
    assert result["all"]["auc"]["value"] == 1 and result["agreement"] == 1
    assert result["readers"]["aa"]["with_himself"] == {"pairs": 2, "agree": 1.0}
    assert "| aa | 8 | 1.00" in (study / "readers.md").read_text()


def test_guessing_is_no_detection() -> None:
    """A number without its interval would call luck a finding."""
    items = [{"item": f"R{k}", "synthetic": k % 2 == 0, "case": f"C{k}"} for k in range(30)]
    key = {"study": "x", "items": items, "contrasts": list(CONTRASTS)}
    result = analyse(key, {str(n): answer(key, skill=0.0, seed=n) for n in range(3)}, draws=200)
    auc = result["all"]["auc"]
    assert auc["low"] < 0.5 < auc["high"] and abs(result["agreement"]) < 0.4
    part = result["readers"]["0"]["detection"]
    assert part["low"] < part["value"] < part["high"]


def test_area_and_kappa_are_the_usual_ones() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(40) < 0.5
    verdicts = np.clip(np.round(3.5 + truth + rng.normal(size=40)), 1, 6)
    assert area(verdicts, truth) == pytest.approx(metrics.roc_auc_score(truth, verdicts))
    assert np.isnan(area(verdicts[truth], truth[truth]))
    # Fleiss by hand: three readers, four items, yes counts 3, 3, 0, 1.
    said = np.array([[1, 1, 0, 1], [1, 1, 0, 0], [1, 1, 0, 0]], bool)
    agree, chance = (1 + 1 + 1 + 1 / 3) / 4, (7 / 12) ** 2 + (5 / 12) ** 2
    assert fleiss_kappa(said, np.ones_like(said)) == pytest.approx((agree - chance) / (1 - chance))
    assert fleiss_kappa(said[:1], np.ones((1, 4), bool)) is None


def test_answers_that_do_not_belong_are_refused(study: Path, tmp_path: Path) -> None:
    key = read_json(study / "key.json")
    with pytest.raises(GliomaGenError, match="no answers"):
        read_answers(tmp_path, key)
    save(tmp_path / "a.csv", "other", "aa", answer(key, skill=1, seed=0))
    with pytest.raises(GliomaGenError, match="of study other"):
        read_answers(tmp_path, key)
    save(tmp_path / "a.csv", key["study"], "aa", answer(key, skill=1, seed=0))
    shutil.copy(tmp_path / "a.csv", tmp_path / "b.csv")
    with pytest.raises(GliomaGenError, match="second file"):
        read_answers(tmp_path, key)
    (tmp_path / "b.csv").write_text("study,reader,item,natural\nx,y\n")
    with pytest.raises(GliomaGenError, match="not the answers"):
        read_answers(tmp_path, key)


def test_a_reader_can_answer_in_a_browser_and_nothing_leaves_it(study: Path, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if browser is None:
        pytest.skip("there is no Chromium on this machine")
    with api.sync_playwright() as player:
        page = player.chromium.launch(executable_path=browser, args=["--no-sandbox"]).new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((study / "reader" / "index.html").as_uri())
        page.wait_for_selector("body[data-shown]")
        middle = page.get_attribute("body", "data-shown")
        page.press("body", "ArrowUp")
        assert page.get_attribute("body", "data-shown") != middle
        page.fill("#reader", "rr")
        for name, value in {
            "natural": 1,
            "consistent": 0,
            "verdict": 5,
            **{f"quality_{c}": 4 for c in CONTRASTS},
        }.items():
            page.check(f"input[name={name}][value='{value}']")
        page.check("input[name=artefacts_t1c]")
        page.screenshot(path=os.environ.get("READER_SHOT", tmp_path / "reader.png"))
        page.click("#next")
        page.wait_for_selector("body[data-shown^=R002]")
        with page.expect_download() as download:
            page.click("#save")
        download.value.save_as(tmp_path / "rr.csv")
        assert all(url.startswith(("file:", "data:", "blob:")) for url in asked), asked
    answers = read_answers(tmp_path, read_json(study / "key.json"))
    assert list(answers) == ["rr"] and answers["rr"]["R001"]["verdict"] == 5
    assert answers["rr"]["R001"]["artefacts_t1c"] == 1 and answers["rr"]["R001"]["artefacts_t2w"] == 0
