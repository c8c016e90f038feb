"""Bundle runs as the benchmark makes them: one thread each, said to a log, done once."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from gliomagen.cohort.casework import COHORT_FILE
from gliomagen.cohort.datalist import read_cohort
from gliomagen.errors import GliomaGenError
from gliomagen.files import read_json, write_json
from gliomagen.labels import CONTRASTS
from gliomagen.scans import synthetic_scans

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
DONE = "done.json"
_WRITING = threading.Lock()

Entry = dict[str, Any]


def run(workflow: str, configs: Sequence[str | Path], log: Path, **options: object) -> None:
    """Runs one workflow of the bundle on one thread.

    Raises:
        GliomaGenError: It failed; names the log.
    """
    files = [str(c) if isinstance(c, Path) else f"bundle/configs/{c}.yaml" for c in configs]
    command = [sys.executable, "-m", "monai.bundle", "run", workflow, "--config_file", repr(files)]
    for name, value in {"threads": 1, **options}.items():
        command += [f"--{name}", value if isinstance(value, str) else repr(value)]
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with open(log, "a", encoding="utf-8") as file:
        ended = subprocess.run(command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT)
    if ended.returncode:
        raise GliomaGenError(f"{workflow} stopped; all it said is in {log}")


def once(folder: Path, make: Callable[[], Mapping[str, Any]], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Makes something in a folder unless that is done, and returns the facts of it.

    Args:
        folder: Where; ``done.json`` there says that it is finished.
        make: Makes it, going on where it was, and returns facts.
        settings: What it is made by; that of a finished one must be the same.

    Raises:
        GliomaGenError: It was made otherwise.
    """
    marker = folder / DONE
    settings = json.loads(json.dumps(settings, default=str))
    if not marker.is_file():
        began = time.monotonic()
        facts = dict(make())
        write_json(marker, {"wall_s": time.monotonic() - began, "settings": settings, **facts})
    facts = dict(read_json(marker))
    if facts.get("settings") != settings:
        raise GliomaGenError(f"{folder}: made with {facts.get('settings')}, not with {settings}; remove it")
    return facts


def stamp(file: Path) -> str:
    """Returns what a file holds, in short, for the settings of what is made from it."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def side_by_side(tasks: Mapping[str, Callable[[], Any]], jobs: int) -> dict[str, Any]:
    """Runs tasks, so many at a time, in the order given; tells of each as it ends."""

    def told(name: str, task: Callable[[], Any]) -> Any:
        began = time.monotonic()
        result = task()
        minutes = (time.monotonic() - began) / 60
        if minutes > 0.05:
            print(f"    {name}: {minutes:.1f} min", flush=True)
        return result

    with ThreadPoolExecutor(jobs) as pool:
        futures = {name: pool.submit(told, name, task) for name, task in tasks.items()}
        try:
            return {name: future.result() for name, future in futures.items()}
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def write_cohort(
    folder: Path,
    like: Path,
    *,
    training: Sequence[Entry],
    validation: Sequence[Entry],
    contrasts: Sequence[str] = CONTRASTS,
) -> Path:
    """Writes a prepared cohort of cases that lie elsewhere.

    Args:
        folder: Of the new cohort.
        like: A cohort, whose geometry and labels it takes over.
        training: Entries with absolute paths.
        validation: Likewise.
        contrasts: C.
    """
    content = read_json(like / COHORT_FILE)

    def placed(entry: Entry) -> Entry:
        files = {name: os.path.relpath(entry[name], folder.absolute()) for name in (*contrasts, "label")}
        return {"case": entry["case"], "patient": entry["patient"], **files}

    content["training"] = [placed(entry) for entry in training]
    content["validation"] = [placed(entry) for entry in validation]
    with _WRITING:  # the seeds of an arm share its cohort
        if not (folder / COHORT_FILE).is_file() or read_json(folder / COHORT_FILE) != content:
            write_json(folder / COHORT_FILE, content)
    read_cohort(folder)
    return folder


def dataset_entries(dataset: Path, contrasts: Sequence[str] = CONTRASTS) -> list[Entry]:
    """Lists a synthetic data set as cohort entries; each case is a patient of its own."""
    return [
        {
            "case": files.case,
            "patient": files.case,
            **{name: str(path.absolute()) for name, path in zip(contrasts, files.images, strict=True)},
            "label": str(files.label.absolute()),
        }
        for files in synthetic_scans(dataset, contrasts=contrasts, label_convention="prepared")
    ]


def keep_weights(run_folder: Path, target: Path) -> Path:
    """Copies the weights a run has now, with their card."""
    target.mkdir(parents=True, exist_ok=True)
    for name in ("model.json", "model.pt"):
        shutil.copyfile(run_folder / name, target / name)
    return target / "model.pt"
