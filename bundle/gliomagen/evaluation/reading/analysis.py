"""What readers' answers say: can they tell, do they agree, is the quality enough."""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ...errors import GliomaGenError
from ...files import read_json, write_json, written_whole
from ..intervals import Estimate, interval, resamples
from .pack import KEY_FILE

logger = logging.getLogger(__name__)

RESULT_FILE, TABLE_FILE = "readers.json", "readers.md"
SYNTHETIC_FROM = 4
"""Verdicts from 1, surely real, to 6, surely synthetic; from here on the reader says synthetic."""

TARGETS = {"natural": 0.90, "free of artefacts": 0.85, "consistent": 0.90, "quality": 4.0}
"""Thresholds of the published form (GliomaGen 2025), of synthetic scans."""

Answers = dict[str, dict[str, dict[str, float]]]
"""By reader, item and question."""


class ReadingAnalysis:
    """Analyses the answers of a reader study.

    Args:
        output_dir: Folder of the pack, with ``key.json``; the results go there too.
        answers: Folder of the readers' CSV files; None: ``output_dir``.
        draws: Resamples of the cases for each interval.
        seed: Of the resampling.
    """

    def __init__(
        self, *, output_dir: str | Path, answers: str | Path | None = None, draws: int = 2000, seed: int = 0
    ) -> None:
        self.output_dir = Path(output_dir)
        self.answers = Path(answers or output_dir)
        self.draws, self.seed = draws, seed

    def run(self) -> dict[str, Any]:
        """Writes ``readers.json`` and ``readers.md``; returns the former's content.

        Raises:
            GliomaGenError: No key, no answers, or answers of another study.
        """
        key = read_json(self.output_dir / KEY_FILE)
        answers = read_answers(self.answers, key)
        result = analyse(key, answers, draws=self.draws, seed=self.seed)
        write_json(self.output_dir / RESULT_FILE, result)
        with written_whole(self.output_dir / TABLE_FILE) as beside:
            beside.write_text(table(result), encoding="utf-8")
        logger.info("%s: %d readers", self.output_dir / TABLE_FILE, len(answers))
        return result


def read_answers(folder: Path, key: Mapping[str, Any]) -> Answers:
    """Reads all CSV files of a folder.

    Raises:
        GliomaGenError: There is none, or one is damaged, of another study, or of a reader read before.
    """
    items = {entry["item"] for entry in key["items"]}
    answers: Answers = {}
    for path in sorted(folder.glob("*.csv")):
        found: dict[str, dict[str, float]] = {}
        readers = set()
        with open(path, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                try:
                    study, reader, item = (row.pop(name) for name in ("study", "reader", "item"))
                    found[item] = {name: float(value) for name, value in row.items()}
                except (KeyError, TypeError, ValueError) as error:
                    raise GliomaGenError(
                        f"{path}: not the answers of a reader ({error}); save them again"
                    ) from error
                if study != key["study"] or item not in items:
                    raise GliomaGenError(f"{path}: is of study {study}, not of {key['study']}; remove it")
                readers.add(reader)
        if len(readers) != 1:
            raise GliomaGenError(f"{path}: holds the answers of {len(readers)} readers; one file a reader")
        if (reader := readers.pop()) in answers:
            raise GliomaGenError(f"{path}: a second file of reader {reader}; keep the newer one")
        answers[reader] = found
    if not answers:
        raise GliomaGenError(f"{folder}: no answers there; readers save them as CSV from the page")
    return answers


def analyse(key: Mapping[str, Any], answers: Answers, *, draws: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Analyses answers.

    Of scans shown twice, the first showing counts; the second says how far a reader agrees with himself.

    Args:
        key: Content of ``key.json``.
        answers: As :func:`read_answers` gives them.
        draws: Resamples of the cases.
        seed: Of the resampling.

    Returns:
        ``readers`` (each: ``answered``, ``auc``, ``sensitivity``, ``specificity``, ``detection``, ``with_himself``),
        ``all`` (the mean over readers, resampled by case), ``agreement`` (Fleiss' kappa of the verdict), ``quality``
        by contrast and set, ``targets``.
    """
    first: dict[str, str] = {}
    second: list[tuple[str, str]] = []
    for entry in key["items"]:
        if entry["case"] in first:
            second.append((first[entry["case"]], entry["item"]))
        else:
            first[entry["case"]] = entry["item"]
    synthetic = {entry["item"]: bool(entry["synthetic"]) for entry in key["items"]}
    shown = [entry["item"] for entry in key["items"] if entry["item"] in set(first.values())]
    truth = np.array([synthetic[item] for item in shown])
    verdicts = np.array(
        [[answers[reader].get(item, {}).get("verdict", np.nan) for item in shown] for reader in answers]
    )  # (readers, items)
    return {
        "study": key["study"],
        "cases": {"real": int((~truth).sum()), "synthetic": int(truth.sum())},
        "readers": {
            reader: _of_reader(row, truth, answers[reader], second)
            for reader, row in zip(answers, verdicts, strict=True)
        },
        "all": _of_all(verdicts, truth, shown, draws=draws, seed=seed),
        "agreement": fleiss_kappa(verdicts >= SYNTHETIC_FROM, ~np.isnan(verdicts)),
        "quality": _quality(answers, shown, synthetic, key["contrasts"]),
        "targets": TARGETS,
    }


def _of_reader(
    verdicts: NDArray[np.float64],
    truth: NDArray[np.bool_],
    answers: Mapping[str, Mapping[str, float]],
    second: Sequence[tuple[str, str]],
) -> dict[str, Any]:
    there = ~np.isnan(verdicts)
    said = verdicts[there] >= SYNTHETIC_FROM
    told = truth[there]
    twice = [(answers[a], answers[b]) for a, b in second if a in answers and b in answers]
    same = [(a["verdict"] >= SYNTHETIC_FROM) == (b["verdict"] >= SYNTHETIC_FROM) for a, b in twice]
    return {
        "answered": int(there.sum()),
        "auc": _plain(area(verdicts[there], told)),
        "sensitivity": _share(said[told]),
        "specificity": _share(~said[~told]),
        "detection": _share(said == told),
        "with_himself": {"pairs": len(same), "agree": float(np.mean(same)) if same else None},
    }


def _of_all(
    verdicts: NDArray[np.float64], truth: NDArray[np.bool_], items: Sequence[str], *, draws: int, seed: int
) -> dict[str, Any]:
    def scores(chosen: NDArray[np.intp]) -> tuple[float, float]:
        areas, right = [], []
        for row in verdicts[:, chosen]:
            there = ~np.isnan(row)
            areas.append(area(row[there], truth[chosen][there]))
            right.append(
                float(((row[there] >= SYNTHETIC_FROM) == truth[chosen][there]).mean())
                if there.any()
                else np.nan
            )
        return float(np.nanmean(areas)) if not np.isnan(areas).all() else np.nan, float(np.nanmean(right))

    everything = np.arange(len(items))
    value = scores(everything)
    drawn = [
        scores(np.repeat(everything, weights))
        for weights in resamples(items, draws=draws, seed=seed, what="readers")
    ]
    names = ("auc", "detection")
    estimates: dict[str, Estimate] = {
        name: interval(value[k], [draw[k] for draw in drawn]) for k, name in enumerate(names)
    }
    return {name: estimate.to_json() for name, estimate in estimates.items()}


def area(verdicts: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """Returns the area under the ROC curve: the chance that a synthetic scan looks more so than a real one.

    Ties count half (Mann and Whitney 1947); nan where one kind is missing.
    """
    a, b = verdicts[truth], verdicts[~truth]
    if not len(a) or not len(b):
        return float("nan")
    return float((np.sign(a[:, None] - b[None, :]) / 2 + 0.5).mean())


def fleiss_kappa(said: NDArray[np.bool_], answered: NDArray[np.bool_]) -> float | None:
    """Returns Fleiss' kappa (1971) of a yes or no, over the items that every reader answered; None if undefined.

    Args:
        said: (readers, items)
        answered: (readers, items)
    """
    rows = said[:, answered.all(0)]
    readers, items = rows.shape
    if readers < 2 or not items:
        return None
    counts = np.stack([rows.sum(0), readers - rows.sum(0)], axis=1)  # (items, 2)
    agree = ((counts**2).sum(1) - readers) / (readers * (readers - 1))
    chance = float(((counts.sum(0) / (items * readers)) ** 2).sum())
    return float((agree.mean() - chance) / (1 - chance)) if chance < 1 else None


def _quality(
    answers: Answers, items: Sequence[str], synthetic: Mapping[str, bool], contrasts: Sequence[str]
) -> dict[str, Any]:
    """Shares and mean grades, over readers and scans, of either set; by contrast where it was asked by contrast."""
    result: dict[str, Any] = {}
    for what in ("real", "synthetic"):
        rows = [
            answer
            for found in answers.values()
            for item, answer in found.items()
            if item in items and synthetic[item] == (what == "synthetic")
        ]
        if not rows:
            continue
        result[what] = {
            "answers": len(rows),
            "natural": float(np.mean([row["natural"] for row in rows])),
            "consistent": float(np.mean([row["consistent"] for row in rows])),
            "free of artefacts": {
                name: float(np.mean([1 - row[f"artefacts_{name}"] for row in rows])) for name in contrasts
            },
            "quality": {name: float(np.mean([row[f"quality_{name}"] for row in rows])) for name in contrasts},
        }
    return result


def _share(right: NDArray[np.bool_]) -> dict[str, float | None]:
    if not len(right):
        return Estimate(value=float("nan"), low=float("nan"), high=float("nan")).to_json()
    ends = stats.binomtest(int(right.sum()), len(right)).proportion_ci(method="wilson")
    return Estimate(value=float(right.mean()), low=float(ends.low), high=float(ends.high)).to_json()


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def table(result: Mapping[str, Any]) -> str:
    """Returns the result as Markdown."""

    def ends(part: Mapping[str, float | None]) -> str:
        if part["value"] is None:
            return "–"
        if part["low"] is None:
            return f"{part['value']:.2f}"
        return f"{part['value']:.2f} ({part['low']:.2f} to {part['high']:.2f})"

    cases = result["cases"]
    lines = [
        "# Reader study",
        "",
        f"{len(result['readers'])} readers, {cases['real']} real and {cases['synthetic']} synthetic scans. 95 % intervals; those of "
        "all readers resample the scans.",
        "",
        "| reader | answered | found out (both kinds) | synthetic found out | real recognised | AUC | agrees with himself |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, reader in result["readers"].items():
        himself = reader["with_himself"]
        again = f"{himself['agree']:.0%} of {himself['pairs']}" if himself["pairs"] else "–"
        auc = "–" if reader["auc"] is None else f"{reader['auc']:.2f}"
        lines.append(
            f"| {name} | {reader['answered']} | {ends(reader['detection'])} | {ends(reader['sensitivity'])} | "
            f"{ends(reader['specificity'])} | {auc} | {again} |"
        )
    lines.append(f"| all | | {ends(result['all']['detection'])} | | | {ends(result['all']['auc'])} | |")
    kappa = result["agreement"]
    lines += [
        "",
        "AUC 0.5 is guessing. Agreement of the readers on real or synthetic (Fleiss' kappa): "
        + ("not defined." if kappa is None else f"{kappa:.2f}."),
        "",
        "| | natural anatomy | label map fits | free of artefacts | quality, 1 to 5 |",
        "| --- | --- | --- | --- | --- |",
    ]
    for what, part in result["quality"].items():
        clean = ", ".join(f"{name} {share:.0%}" for name, share in part["free of artefacts"].items())
        grade = ", ".join(f"{name} {value:.1f}" for name, value in part["quality"].items())
        lines.append(f"| {what} | {part['natural']:.0%} | {part['consistent']:.0%} | {clean} | {grade} |")
    goal = result["targets"]
    lines += [
        f"| wanted of synthetic ones | {goal['natural']:.0%} | {goal['consistent']:.0%} | {goal['free of artefacts']:.0%} | "
        f"{goal['quality']:.1f} |",
        "",
    ]
    return "\n".join(lines)
