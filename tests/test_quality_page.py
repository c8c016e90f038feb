"""The quality benchmark's page: numbers in the wrong column, or of an older run, would be false claims."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gliomagen.errors import GliomaGenError
from gliomagen.files import read_json, write_json
from quality import generators
from quality.downstream import summary, table_of
from quality.facts import Metrics, facts_file, record
from quality.page import write
from quality.runs import once
from quality.setting import phantoms

COLUMNS = (
    "ours",
    "noise prediction",
    "noise prediction, 100 calls",
    "reference",
    "reference, tuned",
    "label painter",
)


def _scans() -> dict[str, Any]:
    columns = {
        name: {
            "parameters": 1e6 * (number + 1),
            "train_s": 60.0 * (number + 1),
            "steps": 100 + number,
            "calls": 10 + number,
            "volume_s": 2.0 + number,
            "scores": {"FID": {"value": 100.0 + number, "low": 90.0, "high": 120.0 + number}},
            "dice": {"value": 0.6, "real": 0.5 + number},
        }
        for number, name in enumerate(COLUMNS)
    }
    del columns["label painter"]["steps"], columns["label painter"]["train_s"]
    columns["label painter"] |= {"steps": None, "train_s": None, "parameters": None}
    return {
        "patients": 200,
        "held_out": 48,
        "others": 48,
        "columns": columns,
        "floor": {"FID": {"value": 66.0, "low": 60.0, "high": 70.0}},
        "ladder": [{"sampler": "Multistep", **columns["ours"]}, {"sampler": "Heun", **columns["ours"]}],
        "reference": {"reference": [{"train_s": 60.0, "steps": 3, "validation_loss": 0.8, "dice": 0.1}]},
    }


def _segmenters() -> dict[str, Any]:
    number = {"value": 0.5, "low": 0.4, "high": 0.6}
    arm = {"dice": number, "share": number, "gain": number, "published share": number}
    arm["false alarms"] = dict.fromkeys(number)
    return {
        "patients": 200,
        "held_out": 48,
        "train_s": {"200": 1800.0, "10": 900.0},
        "copies": {"10": {"estimate": number, "floor": number}},
        "label_maps": 200,
        "segmenter_steps": 500,
        "arms": {"200": {"real": arm, "ours": arm}, "10": {"real": arm}},
    }


def test_a_part_replaces_itself_and_leaves_the_rest(tmp_path: Path) -> None:
    """One part can be measured again without the other; what has not been measured is said."""
    (tmp_path / "quality.md").write_text(
        "# Title\n\n<!-- phantoms -->\nold\n<!-- end of phantoms -->\n\n## Log\n"
    )
    write("phantoms", record("phantoms", "scans", _scans(), tmp_path), " --minutes 1", tmp_path)
    page = (tmp_path / "quality.md").read_text()
    assert "old" not in page and page.count("Not run to the end yet.") == 1 and page.endswith("## Log\n")
    facts = record("phantoms", "segmenters", _segmenters(), tmp_path)
    write("phantoms", facts, " --minutes 1", tmp_path)
    page = (tmp_path / "quality.md").read_text()
    assert "Not run" not in page and page.count("<!-- phantoms -->") == 1
    assert "| FID | 100 (90 to 120) | 101 (90 to 121) | 102 (90 to 122) |" in page
    assert "| FID above real against real | 34 | 35 | 36 | 37 | 38 | 39 |  |" in page
    assert "| training steps | 100 | 101 | 102 | 103 | 104 |  |  |" in page
    assert "| 200 | ours | 0.500 (0.400 to 0.600) |" in page
    assert "30.0 for 200 patients, 15.0 for 10 patients" in page and "the label maps of 48 others" in page
    assert "| 10 | 50.0 % (40.0 % to 60.0 %) |" in page and "| reference | 1 | 3 | 0.8 | 0.1 |  |" in page
    assert (tmp_path / "quality-phantoms.png").stat().st_size > 10_000
    assert json.loads(facts_file("phantoms", tmp_path).read_text())["scans"]["patients"] == 200


def test_scores_are_those_of_their_row(tmp_path: Path) -> None:
    """The second extractor's scores are the mean over contrasts; one contrast missing makes no number."""

    def score(name: str, of: str, view: str, value: float, recipe: str = "volume") -> dict[str, Any]:
        estimate = {"value": value, "low": value - 1, "high": value + 1}
        return {
            "recipe": recipe,
            "name": name,
            "of": of,
            "view": view,
            "estimate": estimate,
            "floor": estimate,
        }

    first, second, part = (tmp_path / name for name in ("first.json", "second.json", "part.json"))
    each = [
        score("fid", contrast, "planes", 10.0 * n) for n, contrast in enumerate(["t1c", "t1n", "t2f", "t2w"])
    ]
    dice = [score("dice", tissue, "", 0.5, "faithfulness") for tissue in ("NETC", "SNFH", "ET", "RC")]
    first.write_text(
        json.dumps(
            {"scores": [score("fid", "all", "volume", 7.0), score("fid", "all", "texture", 3.0), *dice]}
        )
    )
    second.write_text(json.dumps({"scores": each}))
    part.write_text(json.dumps({"scores": each[1:]}))
    metrics = Metrics([first, second], phantoms(2, 2))
    found = [metrics(row) for row in ("FID", "FID, texture", "FID, second extractor", "KID")]
    assert [f and f["estimate"]["value"] for f in found] == [7.0, 3.0, 15.0, None]
    assert metrics.dice() == {"value": 0.5, "real": 0.5}
    assert Metrics([first, part], phantoms(2, 2))("FID, second extractor") is None


def test_gain_is_of_the_same_patients(tmp_path: Path) -> None:
    """A gain that every patient has is certain, however different patients are; a tissue nobody has is left out."""
    generator = np.random.default_rng(0)
    base = generator.uniform(0.2, 0.9, 30) + generator.normal(0, 0.01, (3, 30))
    folders: dict[str, list[Path]] = {}
    for name, more in (("real", 0.0), ("real and ours", 0.05)):
        for seed in range(3):
            folder = tmp_path / name / str(seed)
            folder.mkdir(parents=True)
            cases = {
                f"case{n:02d}": {
                    "ET": {
                        "dice": base[seed, n] + more,
                        "false_alarm": float("nan"),
                        "poster_dice": base[seed, n] + more,
                    },
                    "RC": {"dice": float("nan"), "false_alarm": float(n < 3), "poster_dice": float(n >= 3)},
                }
                for n in range(base.shape[1])
            }
            (folder / "scores.json").write_text(json.dumps(cases))
            folders.setdefault(name, []).append(folder)
    arm = summary(folders, ["ET", "RC"], "real")["real and ours"]
    found = arm["gain"]
    assert found.value == pytest.approx(0.05)
    assert 0 < found.low <= found.value <= found.high < 0.1
    assert np.isfinite(table_of("dice", folders["real"], ["ET", "RC"])).all()
    assert arm["false alarms"].value == pytest.approx(3 / 30), "of those who lack the tissue"


def test_what_was_made_otherwise_is_not_taken_for_it(tmp_path: Path) -> None:
    """Else a page would give new settings for old numbers."""
    assert once(tmp_path, lambda: {"volumes": 3}, {"steps": 10})["volumes"] == 3
    assert once(tmp_path, lambda: {"volumes": 4}, {"steps": 10})["volumes"] == 3
    with pytest.raises(GliomaGenError, match=r"made with .*10.*remove it"):
        once(tmp_path, lambda: {"volumes": 4}, {"steps": 4})


def test_a_training_stops_when_its_time_is_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal time is the promise, on a machine whose pace changes on the way."""
    log, calls = tmp_path / "work" / "run" / "log.jsonl", []

    def run(*_: object, max_steps: int, cooldown: int, **__: object) -> None:
        calls.append((max_steps, cooldown))
        log.parent.mkdir(parents=True, exist_ok=True)
        done = len(log.read_text().splitlines()) if log.is_file() else 0
        with open(log, "a") as file:
            for step in range(done, max_steps):
                file.write(json.dumps({"step": step, "seconds_per_step": 1.0 if step < 100 else 2.0}) + "\n")

    monkeypatch.setattr(generators, "run", run)
    monkeypatch.setattr(generators, "keep_weights", lambda *_: None)
    monkeypatch.setattr(generators, "_parameters", lambda _: 1)
    write_json(tmp_path / "cohort" / "cohort.json", {})
    generators.train(generators.OURS, tmp_path / "cohort", tmp_path / "work", {"equal": 10.0})
    facts = read_json(tmp_path / "work" / "equal" / "done.json")
    assert facts["train_s"] == pytest.approx(600, rel=0.03)
    steps, cooldown = calls[-1]
    assert cooldown == round(steps / 4) and steps - cooldown >= calls[-2][0]
