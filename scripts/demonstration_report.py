"""Judges the demonstration weights on held-out phantoms, beside a label painter: one table, one picture.

python scripts/demonstration_report.py COHORT [--seeds 4]

COHORT is the prepared cohort that ``scripts/train_demonstration.sh`` makes; its validation patients are not in the
weights. Writes ``demonstration.png`` and ``demonstration.md`` into ``bundle/docs``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

from gliomagen import BUNDLE_ROOT, __version__
from gliomagen.cohort.datalist import datalist, read_cohort
from gliomagen.diffusion.greys import MeasureGreysd
from gliomagen.evaluation.painter import LabelPainter
from gliomagen.files import written_whole
from gliomagen.labels import CONTRASTS, HEAD
from gliomagen.pictures import PictureRow, picture_grid
from gliomagen.provenance import read_card, refuse_training_patients
from gliomagen.volume import read_volume
from gliomagen.weights import load_weights

Image = NDArray[np.float32]
ROOT = Path(BUNDLE_ROOT)
WEIGHTS = ROOT / "models" / "model.pt"
PICTURED = 3


def scans(entries: list[dict[str, Any]]) -> Iterator[tuple[Image, NDArray[np.uint8]]]:
    """Reads prepared cases, one at a time: (C, X, Y, Z) and (X, Y, Z)."""
    for entry in entries:
        image = np.stack([read_volume(entry[contrast]).data for contrast in CONTRASTS]).astype(np.float32)
        yield image, read_volume(entry["label"]).data.astype(np.uint8)


def gradient(image: Image) -> Image:
    """Gradient magnitude of each contrast, per voxel."""
    return np.sqrt(sum(g**2 for g in np.gradient(image, axis=(1, 2, 3)))).astype(np.float32)


def scores(made: Image, real: Image, label: NDArray[np.uint8]) -> dict[str, float]:
    """Scores of one volume against the real one: all of them smaller is better."""
    head, lesion = label > 0, label > HEAD
    error = np.abs(made - real)
    edges, real_edges = gradient(made), gradient(real)
    return {
        "error, head": float(error[:, head].mean()),
        "error, lesion": float(error[:, lesion].mean()) if lesion.any() else np.nan,
        "grey distance": float(
            np.mean([wasserstein_distance(m[head], r[head]) for m, r in zip(made, real, strict=True)])
        ),
        "edge distance": float(
            np.mean([wasserstein_distance(m[head], r[head]) for m, r in zip(edges, real_edges, strict=True)])
        ),
    }


def generator() -> tuple[Any, torch.nn.Module]:
    """Returns the inferer of inference.yaml and the network with the demonstration weights."""
    parser = ConfigParser()
    parser.read_config(str(ROOT / "configs" / "inference.yaml"))
    network = load_weights(parser.get_parsed_content("network_def"), WEIGHTS)
    return parser.get_parsed_content("inferer"), network


def table(rows: Mapping[str, list[dict[str, float]]]) -> str:
    """Mean and standard deviation over the cases, a row a method."""
    names = list(next(iter(rows.values()))[0])
    lines = ["| | " + " | ".join(names) + " |", "| --- |" + " --- |" * len(names)]
    for method, cases in rows.items():
        values = {name: np.array([case[name] for case in cases]) for name in names}
        cells = [f"{np.nanmean(v):.4f} ± {np.nanstd(v):.4f}" for v in values.values()]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(cohort: Path, seeds: int) -> None:
    """Samples every validation case, scores it and draws the first ones."""
    validation = datalist(cohort, "validation")
    refuse_training_patients([entry["patient"] for entry in validation], [WEIGHTS])
    painter = LabelPainter().fit(scans(datalist(cohort, "training")))
    inferer, network = generator()
    singles: dict[str, list[dict[str, float]]] = {}
    guesses: dict[str, list[dict[str, float]]] = {}
    pictures: list[PictureRow] = []
    for entry, (real, label) in zip(validation, scans(validation), strict=True):
        samples = {}
        for steps in (10, 2):
            inferer.steps = steps
            for seed in range(seeds if steps == 10 else 1):
                inferer.seed = seed
                made = inferer(torch.from_numpy(label)[None, None], network, case_ids=[entry["case"]])
                samples[steps, seed] = made[0].numpy()
        inferer.steps, inferer.seed = 10, 0
        measured = MeasureGreysd(keys="image")({"image": real, "label": label[None]})["greys"]
        alike = inferer(
            torch.from_numpy(label)[None, None],
            network,
            case_ids=[entry["case"]],
            greys=torch.from_numpy(measured)[None],
        )
        painted = painter.paint(label, seed=0, case=entry["case"])
        for name, made in (
            ("generator, 10 steps", samples[10, 0]),
            ("generator, 2 steps", samples[2, 0]),
            ("generator, 10 steps, the real scan's grey levels", alike[0].numpy()),
            ("label painter", painted),
        ):
            singles.setdefault(name, []).append(scores(made, real, label))
        average = np.mean([samples[10, seed] for seed in range(seeds)], axis=0)
        flat = painter.paint(label, seed=0, case=entry["case"], noise=False)
        for name, made in (
            (f"generator, mean of {seeds} samples", average),
            ("label painter, no noise", flat),
        ):
            kept = scores(made, real, label)
            guesses.setdefault(name, []).append({k: kept[k] for k in ("error, head", "error, lesion")})
        if len(pictures) < PICTURED and (label > HEAD).sum() > 300:
            volumes = {"real (phantom)": real, "synthetic": samples[10, 0], "label painter": painted}
            pictures.append(PictureRow(title=entry["case"], label=label, volumes=volumes))
    picture_grid(ROOT / "docs" / "demonstration.png", pictures)
    write_page(cohort, len(validation), table(singles), table(guesses))


def write_page(cohort: Path, cases: int, singles: str, guesses: str) -> None:
    """Writes the page of figures."""
    card = read_card(WEIGHTS)
    known = read_cohort(cohort)
    steps = max(entry["step"] for entry in log())
    stretches = ""
    if card["steps"] < steps:
        stretches = (
            f", in two stretches: the last {card['steps']} went on from weights {card['started_from'][:12]}… with the present "
            "objective and mix of tasks, so validation losses before and after do not compare"
        )
    page = f"""# The demonstration weights

`models/model.pt`: {steps} steps on {len(card["training_patients"])} phantom patients at
{"x".join(str(n) for n in card["geometry"]["spatial_size"])} and {card["geometry"]["voxel_mm"][0]:g} mm, package {__version__},
made by `scripts/train_demonstration.sh`{stretches}. They have seen procedural phantoms and nothing else: a demonstration,
and a start for trying things out. Training log: `demonstration_log.jsonl`.

Measured by `python scripts/demonstration_report.py COHORT` on the {cases} validation patients of that cohort
(sha256 {known.sha256[:12]}…), which are not in the weights. Greys are in [0, 1]; mean ± standard deviation over
patients; smaller is better. *Error* is the mean absolute difference to the real scan; folds and vessels cannot be known
from a label map, nor how bright a scan is, so a faultless generator would not reach 0. *Grey* and *edge distance* compare distributions of
greys and of gradient magnitudes inside the head (Wasserstein-1): whether the volume looks like a scan. The *label
painter* gives each label its mean grey and noise, smoothed.

One volume a mask:

{singles}

Best guess of the scan, the mean over samples against the painter's mean:

{guesses}

{curve()}

![Real, synthetic and painted](demonstration.png)
"""
    with written_whole(ROOT / "docs" / "demonstration.md") as beside:
        beside.write_text(page, encoding="utf-8")


def log() -> list[dict[str, float]]:
    """Reads the training log."""
    text = (ROOT / "docs" / "demonstration_log.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def curve() -> str:
    """Returns the validations of the training log, as a table."""
    steps: dict[int, dict[str, float]] = {}
    for entry in log():
        steps.setdefault(entry["step"], {}).update(entry)
    rows = [
        "| step | training loss | validation loss | error of samples, head |",
        "| --- | --- | --- | --- |",
    ]
    for step, entry in sorted(steps.items()):
        if "sample_error" in entry:
            values = " | ".join(f"{entry[name]:.3f}" for name in ("loss", "validation_loss", "sample_error"))
            rows.append(f"| {step} | {values} |")
    return "\n".join(rows)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("cohort", type=Path)
    arguments.add_argument("--seeds", type=int, default=4)
    given = arguments.parse_args()
    main(given.cohort, given.seeds)
