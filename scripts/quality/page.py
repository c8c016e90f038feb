"""The page of the quality benchmark: one table, one figure, and what they rest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from gliomagen import BUNDLE_ROOT, __version__
from gliomagen.cohort.datalist import datalist
from gliomagen.evaluation.intervals import Estimate
from gliomagen.files import read_json, written_whole

from .downstream import summary
from .setting import FEW, Setting

DOCS = Path(BUNDLE_ROOT) / "docs"
Key = tuple[str, str, str, str]


def rows(setting: Setting) -> dict[str, Key]:
    """Returns the scores of the table."""
    # The second extractor sees one contrast at a time.
    of, view = ("all", "volume") if setting.own_features else ("each", "planes")
    features = {
        "FID": "fid",
        "KID": "kid",
        "precision": "precision",
        "recall": "recall",
        "coverage": "coverage",
    }
    return {
        **{title: ("volume", name, of, view) for title, name in features.items()},
        "FID, texture": ("volume", "fid", "all", "texture"),
        "MS-SSIM between samples": ("volume", "ms_ssim between samples", "all", "slices"),
        **{f"Dice {region}": ("faithfulness", "dice", region, "") for region in ("WT", *setting.tissues)},
        "HD95 WT, mm": ("faithfulness", "hd95_mm", "WT", ""),
        "suspected copies": ("privacy", "suspected copies", "all", ""),
    }


SECOND: dict[str, Key] = {
    "FID, second extractor": ("volume", "fid", "each", "planes"),
    "KID, second extractor": ("volume", "kid", "each", "planes"),
}


class Metrics:
    """The scores of a ``metrics.json``."""

    def __init__(self, path: Path, setting: Setting) -> None:
        self.scores = read_json(path)["scores"]
        self.tissues, self.contrasts = setting.tissues, setting.contrasts

    def __call__(self, key: Key) -> dict[str, Any] | None:
        """Returns a score; the number of scales at the end of its name does not matter.

        That of ``each`` is the mean over contrasts; its interval the mean of theirs, which are of the same patients.
        """
        recipe, name, of, view = key
        if of == "each":
            found = [self((recipe, name, contrast, view)) for contrast in self.contrasts]
            there = [score for score in found if score]
            if len(there) < len(found):
                return None
            return {part: _mean([score[part] for score in there]) for part in ("estimate", "floor")}
        for score in self.scores:
            there = (score["recipe"], score["of"], score["view"]) == (recipe, of, view)
            if there and (score["name"] == name or score["name"].startswith(f"{name},")):
                return dict(score)
        return None

    def faithfulness(self) -> tuple[float, float]:
        """Returns mean Dice over the tissues, of the synthetic scans and of the real ones."""
        found = [self(("faithfulness", "dice", tissue, "")) for tissue in self.tissues]
        there = [score for score in found if score]
        if not there:
            return float("nan"), float("nan")
        return tuple(sum(s[part]["value"] for s in there) / len(there) for part in ("estimate", "floor"))  # type: ignore[return-value]


def _mean(parts: Sequence[Mapping[str, float | None] | None]) -> dict[str, float | None] | None:
    if any(part is None for part in parts):
        return None
    there = [part for part in parts if part]

    def mean(end: str) -> float | None:
        values = [value for part in there if (value := part.get(end)) is not None]
        return sum(values) / len(values) if len(values) == len(there) else None

    return {end: mean(end) for end in ("value", "low", "high")}


def _number(value: float | None, percent: bool = False) -> str:
    if value is None or value != value:
        return ""
    return f"{100 * value:.1f} %" if percent else f"{value:.3g}"


def _cell(estimate: Mapping[str, Any] | None, percent: bool = False) -> str:
    if not estimate:
        return ""
    low, high = (_number(estimate.get(end), percent) for end in ("low", "high"))
    return _number(estimate["value"], percent) + (f" ({low} to {high})" if low and high else "")


def _estimate(found: Estimate) -> str:
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def fidelity_table(plan: Any, judged: Mapping[str, Mapping[str, Path]]) -> list[str]:
    """Every generator beside the floor."""
    minutes = plan.minutes
    columns = {
        "ours": "ours 10",
        "noise prediction": "noise prediction 10",
        "noise prediction, 100 calls": "noise prediction 100",
        "reference": f"reference {minutes:g}",
        "reference, longer": f"reference {plan.reference_minutes[-1]:g}",
        "label painter": "painter",
    }
    setting = plan.setting
    found = {title: Metrics(judged["first"][name], setting) for title, name in columns.items()}
    lines = [
        "| | " + " | ".join(columns) + " | real against real |",
        "| --- |" + " --- |" * (len(columns) + 1),
    ]

    def made(name: str) -> dict[str, Any]:
        path = plan.work / "held-out sets" / name / "done.json"
        return dict(read_json(path)) if path.is_file() else {}

    def row(title: str, cells: Sequence[str], floor: str = "") -> None:
        lines.append(f"| {title} | " + " | ".join([*cells, floor]) + " |")

    times = {
        title: plan.work / recipe / f"{at:g}" / "done.json"
        for title, recipe, at in (
            ("ours", "ours", minutes),
            ("noise prediction", "noise prediction", minutes),
            ("noise prediction, 100 calls", "noise prediction", minutes),
            ("reference", "reference", minutes),
            ("reference, longer", "reference", plan.reference_minutes[-1]),
        )
    }
    facts = {title: read_json(path) for title, path in times.items()}
    row("parameters, million", [_million(facts.get(t, {}).get("parameters")) for t in columns])
    row("minutes of training", [_number(facts[t]["train_s"] / 60) if t in facts else "" for t in columns])
    row("training steps", [str(facts[t]["steps"]) if t in facts else "" for t in columns])
    row("network calls of a volume", [str(made(name).get("network_calls", "")) for name in columns.values()])
    row("seconds of a volume", [_number(made(name).get("volume_s")) for name in columns.values()])
    for title, key in rows(plan.setting).items():
        percent = title == "suspected copies"
        scores = [metrics(key) for metrics in found.values()]
        floor = next((score["floor"] for score in scores if score), None)
        row(title, [_cell(score and score["estimate"], percent) for score in scores], _cell(floor, percent))
        if title == "FID" and floor:
            above = [score["estimate"]["value"] - floor["value"] if score else None for score in scores]
            row("FID above real against real", [_number(value) for value in above])
    dice = [metrics.faithfulness() for metrics in found.values()]
    row("mean Dice of the tissues, share of real scans'", [_number(a / b) for a, b in dice], "1")
    if "second" in judged:
        seconds = [
            Metrics(judged["second"][name], setting) if name in judged["second"] else None
            for name in columns.values()
        ]
        for title, key in SECOND.items():
            scores = [metrics(key) if metrics else None for metrics in seconds]
            floor = next((score["floor"] for score in scores if score), None)
            row(title, [_cell(score and score["estimate"]) for score in scores], _cell(floor))
    return lines


def _million(count: int | None) -> str:
    return f"{count / 1e6:.1f}" if count else ""


def downstream_table(plan: Any, segmenters: Mapping[str, Sequence[Path]]) -> list[str]:
    """What segmenters gain."""
    lines = [
        "| patients | trained on | Dice | share of real alone | gain over real alone |",
        "| --- |" + " --- |" * 4,
    ]
    for setting, title in (("full", _patients(plan)), ("few", str(FEW))):
        arms = {name: folders for name, folders in segmenters.items() if name.startswith(setting)}
        for name, found in summary(arms, plan.setting.tissues, f"{setting}: real").items():
            what = name.partition(": ")[2]
            base = what == "real"
            cells = [_estimate(found["dice"])] + [
                "" if base else _estimate(found[part]) for part in ("share", "gain")
            ]
            lines.append(f"| {title} | {what} | " + " | ".join(cells) + " |")
    return lines


def _patients(plan: Any) -> str:
    return str(len({case["patient"] for case in datalist(plan.full, contrasts=())}))


def reference_table(plan: Any) -> list[str]:
    """Whether the reference has learnt anything yet."""
    lines = ["| minutes of training | steps | validation loss |", "| --- | --- | --- |"]
    for minutes in plan.reference_minutes:
        facts = read_json(plan.work / "reference" / f"{minutes:g}" / "done.json")
        lines.append(f"| {minutes:g} | {facts['steps']} | {_number(facts['validation_loss'])} |")
    return lines


def ladder_table(
    plan: Any, judged: Mapping[str, Mapping[str, Path]]
) -> tuple[list[str], list[dict[str, Any]]]:
    """Quality against network calls."""
    lines = ["| sampler | calls | seconds | FID | FID, texture | mean Dice |", "| --- |" + " --- |" * 5]
    points = []
    for name in judged["first"]:
        if not name.startswith("ours "):
            continue
        metrics = Metrics(judged["first"][name], plan.setting)
        made = read_json(plan.work / "held-out sets" / name / "done.json")
        scores = [metrics(rows(plan.setting)[title]) for title in ("FID", "FID, texture")]
        point = {
            "sampler": name.split()[1].capitalize() if len(name.split()) == 3 else "Multistep",
            "calls": made["network_calls"],
            "seconds": made["volume_s"],
            "fid": scores[0]["estimate"]["value"] if scores[0] else float("nan"),
            "texture": scores[1]["estimate"]["value"] if scores[1] else float("nan"),
            "dice": metrics.faithfulness()[0],
            "floor": scores[0]["floor"]["value"] if scores[0] else float("nan"),
        }
        points.append(point)
        cells = [_number(point[part]) for part in ("calls", "seconds", "fid", "texture", "dice")]
        lines.append(f"| {point['sampler']} | " + " | ".join(cells) + " |")
    return lines, points


def draw(
    plan: Any,
    judged: Mapping[str, Mapping[str, Path]],
    points: Sequence[Mapping[str, Any]],
    segmenters: Mapping[str, Sequence[Path]],
    path: Path,
) -> None:
    """Draws the figure: quality against time of sampling, of training, and what segmenters gain."""
    setting, fid = plan.setting, rows(plan.setting)["FID"]
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(15, 4.6), layout="constrained")
    for sampler, mark in (("Multistep", "o-"), ("Heun", "s--"), ("Euler", "x:")):
        chosen = [p for p in points if p["sampler"] == sampler]
        name = f"ours, {sampler}"
        left.plot([p["seconds"] for p in chosen], [p["fid"] for p in chosen], mark, label=name)
        for p in chosen:
            left.annotate(
                f"{p['calls']:.0f}", (p["seconds"], p["fid"]), xytext=(4, 4), textcoords="offset points"
            )
    times = plan.reference_minutes[-2:]
    reference = []
    for at in times:
        metrics = Metrics(judged["first"][f"reference {at:g}"], setting)
        made = read_json(plan.work / "held-out sets" / f"reference {at:g}" / "done.json")
        score = metrics(fid)
        reference.append(
            (
                score["estimate"]["value"] if score else float("nan"),
                made["volume_s"],
                metrics.faithfulness()[0],
            )
        )
    left.plot([r[1] for r in reference], [r[0] for r in reference], "^", label="reference")
    left.axhline(points[0]["floor"], color="grey", lw=1, label="real against real")
    left.set(
        xscale="log", yscale="log", xlabel="seconds of a volume, one core", ylabel="FID", title="Sampling"
    )
    for name, mark in (("ours", "o"), ("noise prediction", "s")):
        at, score = plan.minutes, Metrics(judged["first"][f"{name} 10"], setting)(fid)
        middle.plot([at], [score["estimate"]["value"] if score else float("nan")], mark, label=name)
    middle.plot(times, [r[0] for r in reference], "^-", label="reference")
    middle.axhline(points[0]["floor"], color="grey", lw=1, label="real against real")
    middle.set(yscale="log", xlabel="minutes of training, one core", ylabel="FID", title="Training")
    labels, values, ends = [], [], []
    for size in ("full", "few"):
        arms = {name: folders for name, folders in segmenters.items() if name.startswith(size)}
        for name, found in summary(arms, setting.tissues, f"{size}: real").items():
            labels.append(name.replace("full", _patients(plan)).replace("few", str(FEW)))
            values.append(found["dice"].value)
            ends.append((found["dice"].value - found["dice"].low, found["dice"].high - found["dice"].value))
    right.barh(labels, values, xerr=list(zip(*ends, strict=True)), color="#5b8fb0")
    right.invert_yaxis()
    right.set(xlabel="Dice on held-out real scans", title="Segmenters trained on")
    left.legend()
    middle.legend()
    with written_whole(path) as beside:
        figure.savefig(beside, format="png", dpi=130)
    plt.close(figure)


def write(plan: Any, judged: dict[str, dict[str, Path]], segmenters: dict[str, list[Path]]) -> Path:
    """Writes the experiment's part of the page, and its figure."""
    name = plan.setting.name
    picture = f"quality-{name.replace(' ', '-')}.png"
    ladder, points = ladder_table(plan, judged)
    draw(plan, judged, points, segmenters, DOCS / picture)
    options = f" --minutes {plan.minutes:g}" + (" --extractor FILE" if plan.extractor else "")
    options += "" if plan.setting.own_features else " --slices FOLDER"
    part = [
        f"Made by `python scripts/quality_benchmark.py --work FOLDER{options}`, package {__version__}; one thread of "
        "a CPU for each run.",
        "",
        *fidelity_table(plan, judged),
        "",
        f"![Sampling, training, segmenters]({picture})",
        "",
        "Segmenters, tested on the held-out scans; mean Dice over tissues, patients and three seeds:",
        "",
        *downstream_table(plan, segmenters),
        "",
        "The reference over time; its loss is the mean error of the noise it names, 0.8 if it names none:",
        "",
        *reference_table(plan),
        "",
        "Steps of sampling:",
        "",
        *ladder,
    ]
    path, begin, end = DOCS / "quality.md", f"<!-- {name} -->", f"<!-- end of {name} -->"
    text = path.read_text(encoding="utf-8") if path.is_file() else "# How good for the cost?\n"
    before, _, rest = text.partition(begin)
    after = rest.partition(end)[2] if rest else "\n"
    with written_whole(path) as beside:
        beside.write_text(
            "\n".join([before.rstrip(), "", begin, "", *part, "", end]) + after, encoding="utf-8"
        )
    return path
