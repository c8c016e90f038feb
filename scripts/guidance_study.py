"""How near guidance by a regressor comes to a burden, and what else it changes: a table of ``bundle/docs/forecast.md``.

python scripts/guidance_study.py COHORT VISITS --regressor WEIGHTS --judge WEIGHTS [--judge_channels N …] [--name NAME]
  [--changes C …] [--patients N] [--skip N] [--page FILE] [--picture FILE] [--set OPTION=VALUE …]

Each patient's last scan is moved to C times its burden. JUDGE: a segmenter that guidance does not know (``segmenter.yaml`` with
another seed and other channels). Two scans of the same label map by different noise tell what guidance must stay below elsewhere.
Figures of each patient stand beside the page; rerunning continues. OPTION: of ``forecast.yaml``.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from monai.bundle import ConfigParser
from scipy.ndimage import distance_transform_edt

from completion.figures import Figures
from completion.page import replaced, table
from gliomagen import BUNDLE_ROOT
from gliomagen.diffusion.greys import measure_greys
from gliomagen.evaluation.intervals import mean_interval
from gliomagen.growth.spread import BURDEN, burden_mm3
from gliomagen.growth.visits import Visit, read_histories
from gliomagen.labels import HEAD
from gliomagen.provenance import read_card
from guidance.pictures import Shown, write_pictures

CONFIGS = Path(BUNDLE_ROOT) / "configs"
FAR_MM = 6.0
"""Tissue at least so far from any lesion, before or after, is outside."""
SMALLEST_MM3 = 2000.0
"""Of smaller tumours a voxel more or less is read as a change."""
BLACK = 0.1
"""No tissue is as dark in all contrasts; liquor is bright in t2w."""


class Study:
    """Moves scans and measures what came.

    Args:
        options: Of the command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        config = ConfigParser(ConfigParser.load_config_file(str(CONFIGS / "forecast.yaml")))
        self.told = {
            **{"dataset_dir": str(options.cohort), "guidance": "regressor", "samples": 1},
            **{"regressor_weights": str(options.regressor)},
            **{name: yaml.safe_load(value) for name, value in (pair.split("=", 1) for pair in options.set)},
        }
        config.update(self.told)
        self.growing = config.get_parsed_content("by_regressor")
        self.network = config.get_parsed_content("network")
        self.inferer = config.get_parsed_content("inferer")
        self.visits = config.get_parsed_content("visit_reader")
        judge = ConfigParser(ConfigParser.load_config_file(str(CONFIGS / "forecast.yaml")))
        judge.update(
            {
                **self.told,
                "segmenter_weights": str(options.judge),
                "segmenter_channels": options.judge_channels,
            }
        )
        self.judge = judge.get_parsed_content("by_regressor").read

    def burden_mm3(self, visit: Visit) -> float:
        """Returns the burden of a visit's label map."""
        seen = self.visits.seen(visit)
        return burden_mm3(seen.labels, seen.voxel_mm)

    def measured(self, visit: Visit, changes: list[float], shown: list[Shown]) -> list[dict[str, Any]]:
        """Returns a row for each change wanted."""
        last = self.visits.seen(visit)
        original = np.stack([last.images[one] for one in self.growing.contrasts])
        before = self._labels(original)
        noises = [self._made(last.labels, original, name) for name in ("one", "other")]
        rows = []
        for wanted in changes:
            reached = self.growing.reached(last, wanted, f"{visit.case} {wanted}")
            raw, written = reached.made, reached.image
            after = self._labels(written)
            lesion = (last.labels > HEAD) | (before > HEAD) | (after > HEAD)
            outside = (last.labels > 0) & (distance_transform_edt(~lesion, sampling=last.voxel_mm) > FAR_MM)
            black = (written.max(0) < BLACK) & (original.max(0) >= BLACK) & (last.labels > 0)
            rows.append(
                {
                    "wanted": wanted,
                    "judge": _change(before, after),
                    "outside": _apart(raw, original, outside),
                    "outside_written": _apart(written, original, outside),
                    "outside_noises": _apart(*noises, outside),
                    "black_mm3": float(black.sum() * np.prod(last.voxel_mm)),
                    "burden_mm3": burden_mm3(last.labels, last.voxel_mm),
                    **reached.facts,
                }
            )
            shown.append(Shown(visit.case, wanted, original, written, last.labels, before, after))
            print(visit.case, {name: round(value, 3) for name, value in rows[-1].items()}, flush=True)
        return rows

    def _labels(self, image: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return np.asarray(self.judge(torch.from_numpy(image)[None])[0].argmax(0), np.uint8)

    def _made(self, labels: np.ndarray, original: np.ndarray, noise: str) -> np.ndarray:
        """Returns a synthetic scan of the label map, of the grey levels of the original."""
        label, image = torch.from_numpy(labels)[None, None], torch.from_numpy(original)[None]
        greys = measure_greys(image, (label == HEAD).expand_as(image))
        return np.asarray(self.inferer(label, self.network, case_ids=[noise], greys=greys)[0].float())


def main() -> None:
    """Measures, writes the table."""
    options = _options()
    study = Study(options)
    inputs = {
        **{name: read_card(path)["sha256"] for name, path in vars(options).items() if name in ("regressor", "judge")},
        **{"told": {name: value for name, value in study.told.items() if "dir" not in name and "weights" not in name}},
        "changes": options.changes,
    }  # fmt: skip
    figures = Figures(options.page.with_suffix(".jsonl"), options.name)
    shown: list[Shown] = []
    rows = []
    last = [history.visits[-1] for history in read_histories(options.visits)[options.skip :]]
    large = [visit for visit in last if study.burden_mm3(visit) >= SMALLEST_MM3]
    for visit in large[: options.patients]:
        rows += figures.of(visit.case, inputs, partial(study.measured, visit, options.changes, shown))
    if options.picture and shown:
        write_pictures(options.picture, shown)
    replaced(options.page, options.name, "\n\n".join(_page(rows, options)))


def _page(rows: list[dict[str, Any]], options: argparse.Namespace) -> list[str]:
    lines = []
    for wanted in options.changes:
        some = [row for row in rows if row["wanted"] == wanted]
        names = list(range(len(some)))

        def shown(values: list[float], digits: int, scale: float = 1.0, names: list[int] = names) -> str:
            one = mean_interval(values, names)
            low, high = sorted((scale * one.low, scale * one.high))
            return f"{scale * one.value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"

        def change(name: str, some: list[dict[str, Any]] = some, wanted: float = wanted) -> str:
            logs = [np.log(max(row[name], 1e-3)) for row in some]
            one = mean_interval(logs, range(len(logs)))
            off = np.median([abs(np.log(max(row[name], 1e-3) / wanted)) for row in some])
            return f"{np.exp(one.value):.2f} ({np.exp(one.low):.2f} to {np.exp(one.high):.2f}), {100 * np.expm1(off):.0f} %"

        lines.append(
            [
                f"{wanted:g}",
                change("judge"),
                change("change_read"),
                shown([row["outside"] for row in some], 2, 100),
                shown([row["outside_written"] for row in some], 2, 100),
                shown([row["outside_noises"] for row in some], 2, 100),
                shown([row["black_mm3"] / row["burden_mm3"] for row in some], 1, 100),
            ]
        )
    told = "".join(f" --set {pair}" for pair in options.set)
    patients = len({row["setting"] for row in rows})
    return [
        f"`python scripts/guidance_study.py COHORT VISITS --regressor WEIGHTS --judge WEIGHTS{told}`: last scans of {patients} patients with at least {SMALLEST_MM3 / 1000:g} ml; "
        "geometric mean of the change read, 95 % interval, median distance from what was wanted. Difference: mean absolute, in "
        f"% of the range, in tissue {FAR_MM:g} mm and more from any lesion. Black: tissue that is now below {BLACK:g} in every contrast.",
        table(
            [
                "burden wanted",
                "read by the judge",
                "by the segmenter that guidance knows",
                "difference outside, as generated",
                "as written",
                "of two scans by different noise",
                "black, % of the burden",
            ],
            lines,
        ),
    ]


def _change(before: np.ndarray, after: np.ndarray) -> float:
    return float(max(np.isin(after, BURDEN).sum(), 1) / max(np.isin(before, BURDEN).sum(), 1))


def _apart(one: np.ndarray, other: np.ndarray, where: np.ndarray) -> float:
    return float(np.abs(one - other)[:, where].mean())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cohort", type=Path)
    parser.add_argument("visits", type=Path)
    parser.add_argument("--regressor", type=Path, required=True)
    parser.add_argument("--judge", type=Path, required=True)
    parser.add_argument("--judge_channels", type=int, nargs="+", default=[24, 48, 96, 128])
    parser.add_argument("--name", default="guidance", help="of the table on the page")
    parser.add_argument("--changes", type=float, nargs="+", default=[0.5, 1.5])
    parser.add_argument("--patients", type=int, default=None)
    parser.add_argument("--skip", type=int, default=0)
    parser.add_argument("--page", type=Path, default=Path(BUNDLE_ROOT) / "docs" / "forecast.md")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--set", nargs="*", default=[], metavar="OPTION=VALUE")
    options: argparse.Namespace = parser.parse_args()
    return options


if __name__ == "__main__":
    main()
