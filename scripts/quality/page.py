"""The page of the quality benchmark: tables and a figure, made of the numbers in ``bundle/docs/quality-*.json`` alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from gliomagen.files import written_whole

from .facts import DOCS

Facts = Mapping[str, Any]
NOT_YET = "Not run to the end yet."


def number(value: float | None, percent: bool = False) -> str:
    """Returns three digits, or nothing."""
    if value is None or value != value:
        return ""
    return f"{100 * value:.1f} %" if percent else f"{value:.3g}"


def cell(estimate: Mapping[str, Any] | None, percent: bool = False) -> str:
    """Returns a number and its interval."""
    if not estimate:
        return ""
    low, high = (number(estimate.get(end), percent) for end in ("low", "high"))
    return number(estimate["value"], percent) + (f" ({low} to {high})" if low and high else "")


def _three(estimate: Mapping[str, Any]) -> str:
    if estimate["value"] is None or estimate["value"] != estimate["value"]:
        return ""
    return "{value:.3f} ({low:.3f} to {high:.3f})".format(**estimate)


def scans_table(facts: Facts) -> list[str]:
    """Every generator beside real against real."""
    columns, floor = facts["columns"], facts["floor"]
    lines = [
        "| | " + " | ".join(columns) + " | real against real |",
        "| --- |" + " --- |" * (len(columns) + 1),
    ]

    def row(title: str, cells: Sequence[str], real: str = "") -> None:
        lines.append(f"| {title} | " + " | ".join([*cells, real]) + " |")

    def plain(title: str, name: str, scale: float = 1) -> None:
        values = (column[name] for column in columns.values())
        row(title, [number(value / scale) if value else "" for value in values])

    plain("parameters, million", "parameters", 1e6)
    plain("minutes of training", "train_s", 60)
    row("training steps", [str(column["steps"] or "") for column in columns.values()])
    row("network calls of a volume", [str(column["calls"] or "") for column in columns.values()])
    plain("seconds of a volume", "volume_s")
    for title, real in floor.items():
        percent = title == "suspected copies"
        scores = [column["scores"].get(title) for column in columns.values()]
        row(title, [cell(score, percent) for score in scores], cell(real, percent))
        if title == "FID":
            above = [score["value"] - real["value"] if score else None for score in scores]
            row("FID above real against real", [number(value) for value in above])
    shares = [column["dice"] for column in columns.values()]
    row(
        "mean Dice of the tissues, share of real scans'",
        [number(dice["value"] / dice["real"]) if dice["value"] and dice["real"] else "" for dice in shares],
        "1",
    )
    return lines


def segmenters_table(facts: Facts) -> list[str]:
    """What segmenters gain."""
    lines = [
        "| patients | trained on | Dice | share of real alone | gain over real alone | share by the published rule | false alarms |",
        "| --- |" + " --- |" * 6,
    ]
    parts = ("share", "gain", "published share")
    for patients, arms in facts["arms"].items():
        for name, found in arms.items():
            others = ["", "", ""] if name == "real" else [_three(found[part]) for part in parts]
            cells = [_three(found["dice"]), *others, _three(found["false alarms"])]
            lines.append(f"| {patients} | {name} | " + " | ".join(cells) + " |")
    return lines


def copies_lines(facts: Facts) -> list[str]:
    """Whether what segmenters were trained on copies the patients it was made from."""
    lines = ["| patients | suspected copies among what was made from them | among held-out patients |"]
    lines.append("| --- | --- | --- |")
    for patients, score in facts["copies"].items():
        cells = [cell(score[part], True) for part in ("estimate", "floor")]
        lines.append(f"| {patients} | {cells[0]} | {cells[1]} |")
    return lines if facts["copies"] else []


def reference_table(facts: Facts) -> list[str]:
    """Whether the reference has learnt anything yet."""
    lines = [
        "| | minutes of training | steps | validation loss | mean Dice | FID |",
        "| --- |" + " --- |" * 5,
    ]
    for name, times in facts["reference"].items():
        for at in times:
            cells = [number(at["train_s"] / 60), str(at["steps"]), number(at["validation_loss"])]
            cells += [number(at.get("dice")), cell(at.get("fid"))]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def ladder_table(facts: Facts) -> list[str]:
    """Quality against network calls."""
    lines = ["| sampler | calls | seconds | FID | KID | FID, texture | mean Dice |", "| --- |" + " --- |" * 6]
    for point in facts["ladder"]:
        cells = [str(point["calls"]), number(point["volume_s"])]
        cells += [cell(point["scores"].get(title)) for title in ("FID", "KID", "FID, texture")]
        lines.append(f"| {point['sampler']} | " + " | ".join([*cells, number(point["dice"]["value"])]) + " |")
    return lines


def draw(scans: Facts | None, segmenters: Facts | None, path: Path) -> None:
    """Draws what there is: quality against time of sampling and of training, and what segmenters gain."""
    count = 2 * bool(scans) + bool(segmenters)
    figure, panels = plt.subplots(1, count, figsize=(5 * count, 4.6), layout="constrained", squeeze=False)
    rest = list(panels[0])
    if scans:
        _draw_scans(scans, rest.pop(0), rest.pop(0))
    if segmenters:
        _draw_segmenters(segmenters, rest.pop(0))
    with written_whole(path) as beside:
        figure.savefig(beside, format="png", dpi=130)
    plt.close(figure)


def _fid(found: Facts) -> float:
    score = found["scores"].get("FID")
    return float(score["value"]) if score else float("nan")


def _draw_scans(facts: Facts, sampling: Any, training: Any) -> None:
    columns, floor = facts["columns"], facts["floor"].get("FID")
    for sampler, mark in (("Multistep", "o-"), ("Heun", "s--"), ("Euler", "x:")):
        chosen = [point for point in facts["ladder"] if point["sampler"] == sampler]
        seconds, fids = [p["volume_s"] for p in chosen], [_fid(p) for p in chosen]
        sampling.plot(seconds, fids, mark, label=f"ours, {sampler}")
        for point, *at in zip(chosen, seconds, fids, strict=True):
            sampling.annotate(str(point["calls"]), at, xytext=(4, 4), textcoords="offset points")
    reference = [columns[name] for name in ("reference", "reference, tuned")]
    sampling.plot([r["volume_s"] for r in reference], [_fid(r) for r in reference], "^", label="reference")
    for name, mark in (("ours", "o"), ("noise prediction", "s")):
        training.plot([columns[name]["train_s"] / 60], [_fid(columns[name])], mark, label=name)
    minutes = [r["train_s"] / 60 for r in reference]
    training.plot(minutes, [_fid(r) for r in reference], "^-", label="reference")
    for panel in (sampling, training):
        if floor:
            panel.axhline(floor["value"], color="grey", lw=1, label="real against real")
        panel.legend()
    sampling.set(
        xscale="log", yscale="log", xlabel="seconds of a volume, one core", ylabel="FID", title="Sampling"
    )
    training.set(yscale="log", xlabel="minutes of training, one core", ylabel="FID", title="Training")


def _draw_segmenters(facts: Facts, panel: Any) -> None:
    arms = {
        f"{patients}: {name}": found["dice"]
        for patients, part in facts["arms"].items()
        for name, found in part.items()
    }
    values = [dice["value"] for dice in arms.values()]
    ends = [
        [dice["value"] - dice["low"] for dice in arms.values()],
        [dice["high"] - dice["value"] for dice in arms.values()],
    ]
    panel.barh(list(arms), values, xerr=ends, color="#5b8fb0")
    panel.invert_yaxis()
    panel.set(xlabel="Dice on held-out real scans", title="Segmenters trained on")


def write(name: str, facts: Facts, options: str, docs: Path = DOCS) -> Path:
    """Writes the experiment's part of the page, and its figure.

    Args:
        name: Of the experiment.
        facts: ``scans``, ``segmenters`` or both, as ``facts.record`` keeps them.
        options: Of the command, to be named.
        docs: Where.
    """
    scans, segmenters = facts.get("scans"), facts.get("segmenters")
    picture = f"quality-{name.replace(' ', '-')}.png"
    draw(scans, segmenters, docs / picture)
    part = [
        f"Made by `python scripts/quality_benchmark.py --work FOLDER{options}`; one thread of a CPU for each run; "
        f"the numbers are in [quality-{name.replace(' ', '-')}.json](quality-{name.replace(' ', '-')}.json).",
        "",
        f"![Sampling, training, segmenters]({picture})",
        "",
        "### Scans",
        "",
    ]
    if scans:
        asked = f"{scans['others']} others" if scans["others"] else "the held-out patients themselves"
        part += [
            f"{scans['patients']} patients to train on, {scans['held_out']} held-out ones to compare with, as the training "
            f"scans are for real against real. Scans were made of the label maps of {asked}. One training of each "
            "generator, one core; intervals resample scans. As many network calls as said, by the same second-order "
            "sampler: the reference's 1000 could not be afforded. Seconds include start and writing.",
            "",
            *scans_table(scans),
            "",
            "MS-SSIM, Dice, HD95 and suspected copies are good where they are near to those of real scans.",
            "",
            "The reference over time, with the published rate (0.00001) and with one that suits so few steps (0.0003); its "
            "loss is the mean error of the noise it names, 0.8 if it names none:",
            "",
            *reference_table(scans),
            "",
            "Steps of sampling, ours:",
            "",
            *ladder_table(scans),
        ]
    else:
        part += [NOT_YET]
    part += ["", "### Segmenters", ""]
    if segmenters:
        times = ", ".join(f"{s / 60:.1f} for {n} patients" for n, s in segmenters["train_s"].items())
        part += [
            f"Tested on {segmenters['held_out']} held-out real patients; mean Dice over the tissues that a patient has, patients and seeds (three; six for ten patients with and without ours; painter: one); "
            f"{segmenters['segmenter_steps']} steps for every arm, {segmenters['label_maps']} varied label maps of each arm's "
            f"own patients, who are all that its generator has seen. Minutes of the generators' training, one core: {times}. "
            "By the published rule (GliomaGen 2025) Dice is 1 where neither truth nor result has a tissue, and 0 where the result alone has some. "
            "False alarms: of tissues that a patient lacks, the share of which some voxel is found. Intervals are for other patients and other trainings (Welch), for one generator, one set of label maps and one choice of ten "
            "patients.",
            "",
            *segmenters_table(segmenters),
            "",
            *copies_lines(segmenters),
        ]
    else:
        part += [NOT_YET]
    path, begin, end = docs / "quality.md", f"<!-- {name} -->", f"<!-- end of {name} -->"
    text = path.read_text(encoding="utf-8") if path.is_file() else "# How good for the cost?\n"
    before, _, rest = text.partition(begin)
    after = rest.partition(end)[2] if rest else "\n"
    with written_whole(path) as beside:
        beside.write_text(
            "\n".join([before.rstrip(), "", begin, "", *part, "", end]) + after, encoding="utf-8"
        )
    return path
