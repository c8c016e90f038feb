"""What many tests share: a tiny prepared cohort, running a workflow as a user does, where the real scans are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gliomagen.export.nnunet import NnunetWriter
from gliomagen.files import write_json
from gliomagen.labels import CONTRASTS, LABEL_NAMES
from gliomagen.provenance import patient_hash
from gliomagen.volume import Volume, write_volume

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "bundle" / "configs"
REAL = ROOT.parent / "shared" / "data"


def write_prepared_case(folder: Path, case: str, *, size: tuple[int, ...], seed: int) -> dict[str, Any]:
    """Writes an ellipsoid head with a ball of each tumour label and returns its cohort entry."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in size], indexing="ij"))
    label = ((grid**2).sum(0) < 0.8).astype(np.uint8)
    for number in (2, 3, 4, 5):
        centre = rng.uniform(-0.4, 0.4, 3).reshape(3, 1, 1, 1)
        label[((grid - centre) ** 2).sum(0) < 0.06] = number
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    entry: dict[str, Any] = {
        "case": case,
        "patient": case.rsplit("-", 1)[0],
        "label": f"{case}/{case}-seg.nii.gz",
    }
    write_volume(folder / entry["label"], Volume(data=label, affine=affine))
    for i, contrast in enumerate(CONTRASTS):
        means = np.array([0, 0.4, 0.2 + 0.1 * i, 0.7, 0.9, 0.1 + 0.2 * i])
        image = np.clip(means[label] + 0.05 * rng.standard_normal(size), 0, 1) * (label > 0)
        entry[contrast] = f"{case}/{case}-{contrast}.nii.gz"
        write_volume(folder / entry[contrast], Volume(data=image.astype(np.float32), affine=affine))
    return entry


def write_prepared_cohort(
    folder: Path, *, training: int, validation: int, size: tuple[int, ...] = (16, 16, 16), first: int = 0
) -> Path:
    """Writes a small prepared cohort as ``preparing`` does; patients are counted from ``first``."""
    entries = [
        write_prepared_case(folder, f"BraTS-GLI-{90000 + i}-100", size=size, seed=i)
        for i in range(first, first + training + validation)
    ]
    write_json(
        folder / "cohort.json",
        {
            "format": "gliomagen-cohort",
            "format_version": 1,
            "package_version": "0",
            "contrasts": list(CONTRASTS),
            "labels": {str(k): v for k, v in LABEL_NAMES.items()},
            "label_convention": "prepared",
            "spatial_size": list(size),
            "voxel_mm": [3.0, 3.0, 3.0],
            "seed": 0,
            "preparation": {},
            "training": entries[:training],
            "validation": entries[training:],
            "rejected": [],
        },
    )
    return folder


def write_synthetic(
    out: Path,
    *,
    seen: list[str],
    children: int = 8,
    size: tuple[int, ...] = (16, 16, 16),
    number: int = 501,
    segmenter_saw: Sequence[str] = (),
    sources: list[str] | None = None,
    thresholds_by: tuple[str, ...] = (),
) -> Path:
    """Volumes by somebody's generator: their label maps go back to each source, the cohort's eight patients, in turn."""
    sources = sources or [f"BraTS-GLI-{90000 + i}" for i in range(8)]
    card = {"sha256": "w" * 64, "steps": 1, "training_patients": [patient_hash(p) for p in seen]}
    settings = {
        "weights_sha256": "w" * 64,
        "seed": 0,
        "sampler": "euler",
        "extrapolation": 1.0,
        "steps": 1,
        "guidance": 1.0,
        "precision": "fp32",
    }
    writer = NnunetWriter(
        output_dir=out,
        dataset_id=number,
        dataset_name="Made",
        contrasts=CONTRASTS,
        labels="challenge",
        settings=settings,
        card=card,
    )
    names = [f"made{'' if number == 501 else number}-{i:03d}-s0" for i in range(children)]
    writer.pending([{"case": name} for name in names])
    for i, name in enumerate(names):
        label = np.zeros(size, np.uint8)
        label[2:-2, 2:-2, 2:-2] = 1
        label[4:8, 4:8, 4:8] = 4
        volumes = np.broadcast_to(0.5 * (label > 0), (4, *size))
        facts = {"mask_sha256": str(i), "source_patient": sources[i % len(sources)], "network_calls": 1}
        writer.write(name, volumes, label, np.diag([3.0, 3.0, 3.0, 1.0]), facts, seconds=2.0)
    assert writer.complete()
    entries = [
        {"case": name, "accepted": i % 2 == 0, "score": 1.0, "reasons": []} for i, name in enumerate(names)
    ]
    (writer.folder / "acceptance.jsonl").write_text("".join(json.dumps(e) + "\n" for e in entries))
    reference = {
        "reference_patients": [patient_hash(p) for p in seen],
        "validation_patients": [patient_hash(p) for p in thresholds_by],
        "segmenter_patients": [patient_hash(p) for p in segmenter_saw],
    }
    (writer.folder / "acceptance.json").write_text(json.dumps(reference))
    return writer.folder


def bundle_run(
    run_id: str, *configs: str, cwd: Path = ROOT, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Runs a workflow as a user does."""
    return subprocess.run(
        bundle_command(run_id, *configs, **options),
        cwd=cwd,
        env=run_environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )


def bundle_command(run_id: str, *configs: str, **options: Any) -> list[str]:
    """The command line of a workflow."""
    paths = [str(CONFIGS / name) for name in configs]
    files = paths[0] if len(paths) == 1 else str(paths)
    flags = [part for name, value in options.items() for part in (f"--{name.replace('__', '#')}", str(value))]
    return [sys.executable, "-m", "monai.bundle", "run", run_id, "--config_file", files, *flags]


def run_environment() -> dict[str, str]:
    """One thread a process: tests run side by side."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}
