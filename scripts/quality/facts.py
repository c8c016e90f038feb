"""What the quality benchmark measured, as numbers: what its page is made of, and what outlasts the working folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gliomagen import BUNDLE_ROOT, __version__
from gliomagen.cohort.datalist import datalist
from gliomagen.files import read_json, write_json

from .downstream import summary
from .runs import DONE
from .setting import FEW, Setting

DOCS = Path(BUNDLE_ROOT) / "docs"
Key = tuple[str, str, str, str]
Number = dict[str, float | None]
"""``value``, and ``low`` and ``high`` of its 95 % interval."""


def facts_file(setting: str, docs: Path = DOCS) -> Path:
    """Returns where an experiment's numbers stand."""
    return docs / f"quality-{setting.replace(' ', '-')}.json"


def record(setting: str, part: str, facts: Mapping[str, Any], docs: Path = DOCS) -> dict[str, Any]:
    """Puts a part's facts in place of what it measured before; returns all there are."""
    path = facts_file(setting, docs)
    everything = dict(read_json(path)) if path.is_file() else {}
    everything[part] = {"package": __version__, **facts}
    write_json(path, everything)
    return everything


def keys(setting: Setting) -> dict[str, Key]:
    """Returns the scores of the table: recipe, name, of what, view."""
    # The second extractor sees one contrast at a time.
    of, view = ("all", "volume") if setting.own_features else ("each", "planes")
    features = {"FID": "fid", "KID": "kid", **{name: name for name in ("precision", "recall", "coverage")}}
    second: dict[str, Key] = {
        f"{title}, second extractor": ("volume", features[title], "each", "planes")
        for title in ("FID", "KID")
    }
    return {
        **{title: ("volume", name, of, view) for title, name in features.items()},
        "FID, texture": ("volume", "fid", "all", "texture"),
        "MS-SSIM between samples": ("volume", "ms_ssim between samples", "all", "slices"),
        **{f"Dice {region}": ("faithfulness", "dice", region, "") for region in ("WT", *setting.tissues)},
        "HD95 WT, mm": ("faithfulness", "hd95_mm", "WT", ""),
        "suspected copies": ("privacy", "suspected copies", "all", ""),
        **(second if setting.own_features else {}),
    }


class Metrics:
    """The scores of one or two ``metrics.json``, the latter of the second extractor.

    Args:
        paths: Of the files.
        setting: The experiment.
    """

    def __init__(self, paths: Sequence[Path], setting: Setting) -> None:
        self.scores = [read_json(path)["scores"] for path in paths]
        self.setting = setting

    def __call__(self, title: str) -> dict[str, Any] | None:
        """Returns ``estimate`` and ``floor`` of a row of the table."""
        which = 1 if title.endswith("second extractor") else 0
        if which >= len(self.scores):
            return None
        return self._find(self.scores[which], keys(self.setting)[title])

    def dice(self) -> Number:
        """Returns the mean Dice over the tissues of the synthetic scans, and ``real`` of real ones."""
        found = [score for tissue in self.setting.tissues if (score := self(f"Dice {tissue}"))]
        parts = (
            [score[part]["value"] for score in found if score[part]["value"] is not None]
            for part in ("estimate", "floor")
        )
        value, real = (sum(part) / len(part) if part else None for part in parts)
        return {"value": value, "real": real}

    def _find(self, scores: Sequence[Mapping[str, Any]], key: Key) -> dict[str, Any] | None:
        """That of ``each`` is the mean over contrasts; its interval the mean of theirs, which are of the same patients."""
        recipe, name, of, view = key
        if of == "each":
            each = [self._find(scores, (recipe, name, contrast, view)) for contrast in self.setting.contrasts]
            there = [score for score in each if score]
            if len(there) < len(each):
                return None
            return {part: _mean([score[part] for score in there]) for part in ("estimate", "floor")}
        for score in scores:
            same = (score["recipe"], score["of"], score["view"]) == (recipe, of, view)
            if same and (score["name"] == name or score["name"].startswith(f"{name},")):  # or with its scales
                return {"estimate": score["estimate"], "floor": score["floor"]}
        return None


def _mean(parts: Sequence[Mapping[str, float | None] | None]) -> Number | None:
    there = [part for part in parts if part]
    if len(there) < len(parts):
        return None

    def mean(end: str) -> float | None:
        values = [value for part in there if (value := part.get(end)) is not None]
        return sum(values) / len(values) if len(values) == len(there) else None

    return {end: mean(end) for end in ("value", "low", "high")}


def scans(plan: Any, judged: Mapping[str, Mapping[str, Path]]) -> dict[str, Any]:
    """Returns what the generators' scans are worth: a column of the table for each, the floor, and the ladder."""
    setting = plan.setting
    columns = {  # title: data set, training, its time
        "ours": ("ours 10", "ours", "equal"),
        "noise prediction": ("noise prediction 10", "noise prediction", "equal"),
        "noise prediction, 100 calls": ("noise prediction 100", "noise prediction", "equal"),
        "reference": ("reference", "reference", "equal"),
        "reference, tuned": ("reference, tuned", "reference, tuned", "double"),
        "label painter": ("painter", None, ""),
    }
    found: dict[str, Any] = {}
    floor: dict[str, Any] = {}
    for title, (name, training, when) in columns.items():
        paths = [judged[kind][name] for kind in ("first", "second") if name in judged.get(kind, {})]
        metrics = Metrics(paths, setting)
        scores = {row: score for row in keys(setting) if (score := metrics(row))}
        for row, score in scores.items():
            floor.setdefault(row, score["floor"])
        trained = read_json(plan.work / training / when / DONE) if training else {}
        found[title] = {
            "parameters": trained.get("parameters"),
            "train_s": trained.get("train_s"),
            "steps": trained.get("steps"),
            **_made(plan, name),
            "scores": {row: score["estimate"] for row, score in scores.items()},
            "dice": metrics.dice(),
        }
    ladder = []
    for name, path in judged["first"].items():
        words = name.split()
        if words[0] != "ours":
            continue
        metrics = Metrics([path], setting)
        scores = {row: score["estimate"] for row in ("FID", "KID", "FID, texture") if (score := metrics(row))}
        sampler = words[1].capitalize() if len(words) == 3 else "Multistep"
        ladder.append({"sampler": sampler, **_made(plan, name), "scores": scores, "dice": metrics.dice()})
    over_time = {
        name: sorted((_at(plan, judged["first"], name, path) for path in paths), key=lambda at: at["steps"])
        for name in ("reference", "reference, tuned")
        if (paths := list((plan.work / name).glob(f"*/{DONE}")))
    }
    return {
        **_experiment(plan),
        "others": len(_patients(plan.asked, "validation") - _patients(plan.full, "validation")),
        "columns": found,
        "floor": floor,
        "ladder": ladder,
        "reference": over_time,
    }


def _at(plan: Any, judged: Mapping[str, Path], name: str, path: Path) -> dict[str, Any]:
    """Returns how far a training was at one of its times, and how good the scans were, if some were made."""
    facts, time = read_json(path), path.parent.name
    found = {key: facts[key] for key in ("train_s", "steps", "validation_loss")}
    last = {"reference": "equal", "reference, tuned": "double"}[name]
    metrics = judged.get(name if time == last else f"{name}, {time}")
    if metrics:
        score = Metrics([metrics], plan.setting)
        found |= {"dice": score.dice()["value"], "fid": (score("FID") or {}).get("estimate")}
    return found


def _made(plan: Any, name: str) -> dict[str, Any]:
    facts = read_json(plan.work / "held-out sets" / name / DONE)
    return {"calls": facts.get("network_calls"), "volume_s": facts.get("volume_s")}


def _experiment(plan: Any) -> dict[str, Any]:
    patients = {section: len(_patients(plan.full, section)) for section in ("training", "validation")}
    return {"patients": patients["training"], "held_out": patients["validation"]}


def _patients(cohort: Path, section: str) -> set[str]:
    return {str(case["patient"]) for case in datalist(cohort, section, contrasts=())}


def segmenters(
    plan: Any, folders: Mapping[str, Sequence[Path]], copies: Mapping[str, Path]
) -> dict[str, Any]:
    """Returns what segmenters gain, by the number of patients and what they were trained on; and what was copied."""
    trained = {"full": "ours", "few": "ours, ten patients"}
    facts: dict[str, Any] = {
        **_experiment(plan),
        "label_maps": plan.label_maps,
        "segmenter_steps": plan.segmenter_steps,
        "arms": {},
        "train_s": {},
        "copies": {},
    }
    for name, patients in (("full", facts["patients"]), ("few", FEW)):
        facts["train_s"][str(patients)] = read_json(plan.work / trained[name] / "equal" / DONE)["train_s"]
        if name in copies:
            facts["copies"][str(patients)] = Metrics([copies[name]], plan.setting)("suspected copies")
        arms = {arm: places for arm, places in folders.items() if arm.startswith(name)}
        facts["arms"][str(patients)] = {
            arm.partition(": ")[2]: {
                part: {"value": number.value, "low": number.low, "high": number.high}
                for part, number in found.items()
            }
            for arm, found in summary(arms, plan.setting.tissues, f"{name}: real").items()
        }
    return facts
