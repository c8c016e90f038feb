"""Puts the report together: ``report/index.html`` with its pictures and volumes beside it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, select_autoescape
from tqdm import tqdm

from ...errors import GliomaGenError
from ...files import written_whole
from ...labels import HEAD
from ...pictures import LABEL_COLOURS, LABEL_SHORT_NAMES
from ...randomness import derived_seed
from ...scans import Scan, ScanFiles, read_scan
from ..features import ALL, VOLUME
from ..measuring import PICTURE, Measured, feature_name
from . import plots
from .texts import HOW, cards, copies_text, score_tables
from .thumbnails import thumbnail
from .volumes import viewer_script

_HERE = Path(__file__).parent
_VIEWED = 2  # of the worst, the best, and at random
_OTHERS = {"study": "Does a segmenter gain?", "forecasts": "Forecasts of growth"}
_PAIRS = 24  # pictures of suspected copies


class Report:
    """Builds the report of an evaluation.

    Args:
        folder: Where it goes; it can be moved and zipped as it is.
        title: Stands above.
        viewed: So many of the worst, of the best, and at random can be looked at in 3-D; 0: none.
        study_dir: What ``studying`` wrote: its page comes along, and is linked.
        forecasts_dir: What ``forecasting`` wrote: its pages come along, and are linked.

    Raises:
        GliomaGenError: There is no such page.
    """

    def __init__(
        self,
        *,
        folder: str | Path,
        title: str = "Synthetic glioma MRI: evaluation",
        viewed: int = _VIEWED,
        study_dir: str | Path | None = None,
        forecasts_dir: str | Path | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.title = title
        self.viewed = viewed
        self.others: dict[str, Path] = {}
        for name, workflow, other in (
            ("study", "studying", study_dir),
            ("forecasts", "forecasting", forecasts_dir),
        ):
            if other is None:
                continue
            if not (Path(other) / "index.html").is_file():
                raise GliomaGenError(f"{other}: has no index.html; give what {workflow} wrote")
            self.others[name] = Path(other)

    def build(
        self,
        metrics: Mapping[str, Any],
        measured: Mapping[str, Sequence[Measured]],
        files: Mapping[str, Sequence[ScanFiles]],
    ) -> Path:
        """Writes the report.

        Args:
            metrics: Content of ``metrics.json``.
            measured: What was measured, by set.
            files: The scans' files, by set.

        Returns:
            ``index.html``, which is written last.
        """
        contrasts = list(metrics["contrasts"])
        partner = {scan.case: scan for scan in files["real"]}
        cases = self._cases(measured["synthetic"])
        viewed = self._volumes(cases, files["synthetic"], partner, contrasts)
        copies = self._copies(metrics, files)
        both = {what: measured[what] for what in ("real", "synthetic")}
        drawn = [
            {"name": "Grey of each label and contrast", "svg": plots.intensities(both, contrasts)},
            {"name": "Volume of each label", "svg": plots.volumes(both)},
        ]
        if _has_features(measured["real"]):
            name = "Features of whole scans, all contrasts together"
            drawn.append({"name": name, "svg": plots.feature_map(measured)})
        environment = Environment(
            loader=FileSystemLoader(_HERE), autoescape=select_autoescape(default=True), trim_blocks=True
        )
        sets = metrics["sets"]
        page = environment.get_template("page.html.j2").render(
            title=self.title,
            lead=f"{sets['synthetic']['cases']} synthetic scans compared with {sets['real']['cases']} real ones that nothing "
            f"was trained on; {sets['training']['cases']} training scans. gliomagen {metrics['package_version']}.",
            css=_text("page.css"),
            js=_text("page.js"),
            contrasts=contrasts,
            any_paired=any(case["paired"] for case in cases),
            ranked_by="mean Dice of the label map and what the segmenter finds"
            if any(case["rank"] is not None for case in cases)
            else "name",
            legend=[(LABEL_SHORT_NAMES[n], colour) for n, colour in LABEL_COLOURS.items() if n > HEAD],
            sets=list(plots.COLOURS.items()),
            cards=cards(metrics),
            viewed=viewed,
            plots=drawn,
            copies=copies,
            others=[(_OTHERS[name], self._along(name)) for name in self.others],
            copies_text=copies_text(metrics),
            tables=score_tables(metrics),
            left_out=metrics["left_out"],
            how=HOW,
            record=json.dumps(
                {k: v for k, v in metrics.items() if k not in ("scores", "left_out")}, indent=1
            ),
            data=_embedded(
                {"cases": cases, "contrasts": contrasts, "viewed": viewed, "colormap": _colormap()}
            ),
        )
        path = self.folder / "index.html"
        with written_whole(path) as beside:
            beside.write_text(page, encoding="utf-8")
        return path

    def _along(self, name: str) -> str:
        """Copies another page with those below it and their pictures, so that the report can be moved; returns the link to it."""
        folder = self.others[name]
        for file in (found for pattern in ("*", "*/*") for found in folder.glob(pattern)):
            if file.name == "index.html" or file.suffix == ".png":
                there = self.folder / name / file.relative_to(folder)
                there.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, there)
        return f"{name}/index.html"

    def _cases(self, measured: Sequence[Measured]) -> list[dict[str, Any]]:
        cases = []
        for number, scan in enumerate(tqdm(measured, desc="pictures", unit="case", dynamic_ncols=True)):
            image = f"images/{number:05d}.webp"
            with written_whole(self.folder / image) as beside:
                beside.write_bytes(scan.array(PICTURE).tobytes())
            dice = _mean_dice(scan)
            told = f" · mean Dice {dice:.2f}" if dice is not None else ""
            cases.append(
                {
                    "case": scan.case,
                    "image": image,
                    "paired": scan.facts["pictured"] == 2,
                    "rank": dice,
                    "caption": scan.case + told,
                    "random": derived_seed(0, "gallery", scan.case) % 10**9,
                    "number": number,
                }
            )
        return cases

    def _volumes(
        self,
        cases: Sequence[Mapping[str, Any]],
        files: Sequence[ScanFiles],
        partner: Mapping[str, ScanFiles],
        contrasts: Sequence[str],
    ) -> list[dict[str, str]]:
        if not self.viewed:
            return []
        ranked = sorted(
            cases, key=lambda case: (case["rank"] if case["rank"] is not None else 0, case["case"])
        )
        at_random = sorted(cases, key=lambda case: case["random"])
        chosen: dict[str, tuple[str, Mapping[str, Any]]] = {}
        for why, some in (
            ("worst", ranked[: self.viewed]),
            ("best", ranked[::-1][: self.viewed]),
            ("random", at_random),
        ):
            taken = 0
            for case in some:
                if taken < self.viewed and case["case"] not in chosen:
                    chosen[case["case"]] = (why, case)
                    taken += 1
        shutil.copy(_HERE / "niivue.umd.js", self.folder / "niivue.umd.js")
        shutil.copy(_HERE / "niivue.LICENSE.txt", self.folder / "niivue.LICENSE.txt")
        viewed = []
        for why, case in chosen.values():
            own = files[case["number"]]
            scans = {"synthetic": read_scan(own)}
            if real := partner.get(own.mask_case or own.case):
                scans["real"] = read_scan(real)
            script = f"volumes/{case['number']:05d}.js"
            viewer_script(self.folder / script, case["case"], scans, contrasts)
            viewed.append({"case": case["case"], "why": why, "script": script})
        return viewed

    def _copies(
        self, metrics: Mapping[str, Any], files: Mapping[str, Sequence[ScanFiles]]
    ) -> list[dict[str, Any]]:
        suspected = (metrics.get("privacy") or {}).get("suspected", [])[:_PAIRS]
        by_case = {what: {scan.case: scan for scan in files[what]} for what in ("training", "synthetic")}
        for number, entry in enumerate(suspected):
            pair = [by_case["training"][entry["resembles"]], by_case["synthetic"][entry["case"]]]
            entry = suspected[number] = {**entry, "image": f"copies/{number:03d}.webp"}
            with written_whole(self.folder / entry["image"]) as beside:
                beside.write_bytes(thumbnail(_same_grid([read_scan(one) for one in pair])))
        return list(suspected)


def _same_grid(scans: list[Scan]) -> list[Scan]:
    """Drops the first of two scans that are not of one size: they cannot be shown slice by slice."""
    return scans if len({scan.label.shape for scan in scans}) == 1 else scans[-1:]


def _mean_dice(scan: Measured) -> float | None:
    found = scan.facts.get("segmentation", {})
    values = [found[name]["dice"] for name in ("NETC", "SNFH", "ET", "RC") if name in found]
    there = [value for value in values if np.isfinite(value)]
    return float(np.mean(there)) if there else None


def _has_features(scans: Sequence[Measured]) -> bool:
    with np.load(scans[0].path, allow_pickle=False) as content:
        return feature_name(ALL, VOLUME) in content.files and len(scans) > 2


def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _embedded(content: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(content, allow_nan=False).replace("<", "\\u003c")


def _colormap() -> dict[str, list[Any]]:
    """NiiVue's table of label colours; the viewer's numbers are one below ours, without the head."""
    numbers = [n for n in sorted(LABEL_COLOURS) if n > HEAD]
    channels = [[int(LABEL_COLOURS[n][place : place + 2], 16) for n in numbers] for place in (1, 3, 5)]
    return {
        "R": [0, *channels[0]],
        "G": [0, *channels[1]],
        "B": [0, *channels[2]],
        "A": [0, *[255] * len(numbers)],
        "I": [0, *[n - 1 for n in numbers]],
        "labels": ["", *[LABEL_SHORT_NAMES[n] for n in numbers]],
    }
