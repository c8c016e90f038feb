"""The whole way on phantoms: a cohort, a short training, synthesis, a data set of new patients, a report to judge by.

Called by ``scripts/demo.sh``. Every step is an ordinary bundle run, whose output goes to ``OUT/logs``; steps that
are done are passed over by the workflows themselves, so running it again continues.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from gliomagen.errors import GliomaGenError
from gliomagen.evaluation.painter import LabelPainter
from gliomagen.files import read_json
from gliomagen.labels import CONTRASTS
from gliomagen.pictures import PictureRow, picture_grid
from gliomagen.volume import read_volume

ROOT = Path(__file__).resolve().parent.parent
PATIENTS, KNOWN, DRAWN, VARIANTS = 20, 12, 3, 6
"""Patients of the demonstration, half of them held out; of those the weights learnt from; in the picture; label maps."""


@contextmanager
def step(headline: str) -> Iterator[None]:
    """Prints what is being done, and how long it took."""
    print(f"{headline} … ", end="", flush=True)
    began = time.monotonic()
    yield
    print(f"{time.monotonic() - began:.0f} s", flush=True)


def run(workflow: str, config: str, log: Path, **options: object) -> None:
    """Runs one workflow of the bundle; ends the program with the workflow's own message if it fails."""
    command = [sys.executable, "-m", "monai.bundle", "run", workflow]
    command += ["--config_file", f"bundle/configs/{config}.yaml"]
    for name, value in options.items():
        command += [f"--{name}", value if isinstance(value, str) else json.dumps(value)]
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w", encoding="utf-8") as file:
        status = subprocess.run(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT).returncode
    if status:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        # A user's error is one line; of a chain of tracebacks the first ends with the cause.
        told = [line for line in lines if line.startswith("error: ")]
        told = told or [line for line in lines if re.match(r"[\w.]+(Error|Exception|Interrupt)\b", line)]
        sys.exit("\n" + "\n".join(told[:1] or lines[-5:]) + f"\n{workflow} stopped; all it said is in {log}")


def validation_cases(cohort: Path) -> list[str]:
    """Returns some cases nobody trained on, one per patient."""
    case_of: dict[str, str] = {}
    for entry in read_json(cohort / "cohort.json")["validation"]:
        case_of.setdefault(entry["patient"], entry["case"])
    return list(case_of.values())[:DRAWN]


def falling_loss(log: Path) -> str:
    """Says how the training loss went."""
    losses = [(e["step"], e["loss"]) for e in map(json.loads, log.read_text().splitlines()) if "loss" in e]
    return "loss " + ", ".join(f"{loss:.2f} at step {at}" for at, loss in losses)


def contrasts_of(folder: Path, case: str) -> np.ndarray:
    """Reads the contrasts of a case, (C, X, Y, Z)."""
    volumes = [read_volume(folder / case / f"{case}-{contrast}.nii.gz").to_ras() for contrast in CONTRASTS]
    return np.stack([volume.data.astype(np.float32) for volume in volumes])


def training_cases(cohort: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Reads the training cases, (C, X, Y, Z) and labels (X, Y, Z)."""
    for entry in read_json(cohort / "cohort.json")["training"]:
        yield contrasts_of(cohort, entry["case"]), read_volume(cohort / entry["label"]).to_ras().data


def main(out: Path, *, study: bool = False) -> None:
    """Runs every step below ``out`` and prints the picture's path last."""
    names = ("phantoms", "cohort", "known", "synthetic", "masks", "logs")
    phantoms, cohort, known, synthetic, masks, logs = (out / name for name in names)
    with step(
        f"1/9 simulating {PATIENTS} patients with treated gliomas, and {KNOWN} the weights learnt from"
    ):
        for name, count, seed in (("", PATIENTS, 7), ("-known", KNOWN, 0)):
            run(
                "simulating",
                "phantoms",
                logs / f"simulating{name}.log",
                output_dir=f"{phantoms}{name}",
                patients=count,
                spatial_size=[64, 72, 56],
                voxel_mm=3.0,
                seed=seed,
            )
    with step("2/9 preparing them as one would prepare BraTS"):
        for source, target, fraction in ((phantoms, cohort, 0.5), (f"{phantoms}-known", known, 0.0)):
            run(
                "preparing",
                "prepare",
                logs / f"preparing-{target.name}.log",
                dataset_dir=str(source),
                output_dir=str(target),
                spatial_size=[64, 64, 48],
                voxel_mm=[3.0, 3.0, 3.0],
                validation_fraction=fraction,
                seed=7,
            )
    with step("3/9 training 60 steps, enough to see the loss fall"):
        run(
            "training",
            "train",
            logs / "training.log",
            dataset_dir=str(cohort),
            output_dir=str(out / "training"),
            max_steps=60,
            warmup=20,
            log_interval=20,
            checkpoint_interval=30,
            sample_interval=60,
            sample_cases=1,
        )
    print(f"    {falling_loss(out / 'training' / 'log.jsonl')}", flush=True)
    with step("4/9 synthesizing from masks nobody trained on, with the weights that come along"):
        run(
            "inferring",
            "inference",
            logs / "inferring.log",
            dataset_dir=str(cohort),
            output_dir=str(synthetic),
        )
    with step("5/9 varying the training patients' label maps: growth, treatment, lesions of others"):
        run(
            "augmenting",
            "augment",
            logs / "augmenting.log",
            dataset_dir=str(cohort),
            output_dir=str(masks),
            count=VARIANTS,
            num_workers=0,
            seed=7,
        )
    with step("6/9 synthesizing an nnU-Net data set of patients that never were"):
        run(
            "synthesizing",
            "synthesize",
            logs / "synthesizing.log",
            dataset_dir=str(masks),
            output_dir=str(out),
            dataset_name="Demo",
        )
    dataset = out / "nnUNet_raw" / "Dataset501_Demo"
    with step("7/9 judging it by what is usual in scans"):
        run(
            "accepting",
            "accept",
            logs / "accepting.log",
            dataset_dir=str(dataset),
            masks_dir=str(masks),
            thresholds=str(ROOT / "bundle" / "models" / "acceptance.json"),
        )
    verdicts = [json.loads(line) for line in (dataset / "acceptance.jsonl").read_text().splitlines()]
    print(f"    {sum(v['accepted'] for v in verdicts)} of {len(verdicts)} accepted; {dataset}", flush=True)
    with step("8/9 comparing the synthetic scans with the real ones, and with those the weights know"):
        run(
            "evaluating",
            "evaluate",
            logs / "evaluating.log",
            real_dir=str(cohort),
            training_dir=str(known),
            synthetic_dir=str(synthetic),
            masks_dir=str(cohort),
            output_dir=str(out / "evaluation"),
        )
    with step("9/9 drawing"):
        draw_variants(out / "new-patients.png", dataset, masks, verdicts)
        draw_validation(out / "real-beside-synthetic.png", cohort, synthetic)
    if study:
        with step("studying, with nnU-Net trained for a few iterations, enough to see the path"):
            run(
                "studying",
                "study",
                logs / "studying.log",
                real_dir=str(cohort),
                synthetic_dir=str(dataset),
                output_dir=str(out / "study"),
                arms=["real", {"real": 10, "synthetic": VARIANTS}],
                seeds=[0],
                trainer="nnUNetTrainer_short",
            )
        print(out / "study" / "index.html")
    print(out / "new-patients.png")
    print(out / "real-beside-synthetic.png")
    print(out / "evaluation" / "report" / "index.html")


def draw_validation(picture: Path, cohort: Path, synthetic: Path) -> None:
    """Draws real scans nobody trained on, beside what their masks alone gave."""
    painter = LabelPainter().fit(training_cases(cohort))
    rows = []
    for case in validation_cases(cohort):
        mask = read_volume(cohort / case / f"{case}-seg.nii.gz").to_ras()
        volumes = {
            "real (phantom)": contrasts_of(cohort, case),
            "synthetic": contrasts_of(synthetic, case),
            "label painter": painter.paint(mask.data, seed=0, case=case),
        }
        rows.append(PictureRow(title=case, label=mask.data, volumes=volumes, voxel_mm=mask.voxel_mm))
    picture_grid(picture, rows)


def draw_variants(picture: Path, dataset: Path, masks: Path, verdicts: list[dict[str, Any]]) -> None:
    """Draws the synthetic patients with the verdict on each."""
    rows = []
    for verdict in verdicts:
        case = verdict["case"]
        source = case.rsplit("-s", 1)[0]
        mask = read_volume(masks / source / f"{source}-seg.nii.gz").to_ras()
        names = [f"imagesTr/{case}_{channel:04d}.nii.gz" for channel in range(len(CONTRASTS))]
        volumes = np.stack([read_volume(dataset / name).to_ras().data for name in names])
        policy = read_json(masks / source / f"{source}.json")["policy"]
        title = f"{policy}: {'accepted' if verdict['accepted'] else 'rejected'}"
        rows.append(
            PictureRow(title=title, label=mask.data, volumes={"synthetic": volumes}, voxel_mm=mask.voxel_mm)
        )
    picture_grid(picture, rows, cases_per_line=len(rows))


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]).resolve(), study="--study" in sys.argv[2:])
    except GliomaGenError as error:
        sys.exit(f"\nerror: {error}")
