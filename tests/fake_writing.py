"""A synthetic data set written from made-up volumes, in processes that can be killed at any moment.

A module of its own, so that processes started afresh can import it.
"""

from __future__ import annotations

import functools
import itertools
import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import nibabel as nib
import numpy as np

from gliomagen.export.background import BackgroundWriter
from gliomagen.export.nnunet import NnunetWriter
from gliomagen.export.synthesizing import SaveToDataset, run_synthesis, with_seeds
from gliomagen.labels import CONTRASTS
from gliomagen.randomness import numpy_generator
from gliomagen.volume import Volume, write_volume

SIZE = (12, 10, 8)
AFFINE = np.array([[-2.0, 0, 0, 11], [0, 2, 0, -9], [0, 0, 3, -12], [0, 0, 0, 1]])
CARD = {
    "sha256": "w" * 64,
    "steps": 7,
    "licence": "Apache-2.0",
    "data_terms": "terms of a test",
    "training_patients": ["0" * 16, "1" * 16],
}
SETTINGS = {
    "weights_sha256": "w" * 64,
    "seed": 0,
    "sampler": "euler",
    "extrapolation": 1.0,
    "steps": 2,
    "guidance": 1.0,
    "precision": "fp32",
}


def label_of(case: str) -> np.ndarray:
    """A prepared label map, a function of its name."""
    label = np.zeros(SIZE, np.uint8)
    label[1:-1, 1:-1, 1:-1] = 1
    x, y, z = numpy_generator(0, "label", case).integers(2, 5, 3)
    for number in (2, 3, 4, 5):
        label[x + number - 2, y : y + 2, z : z + 2] = number
    return label


def write_masks(folder: Path, count: int) -> list[dict[str, Any]]:
    """Writes label maps in one folder; returns their data list."""
    entries = []
    for number in range(count):
        case = f"BraTS-GLI-{number:05d}-100"
        path = folder / f"{case}-seg.nii.gz"
        write_volume(path, Volume(data=label_of(case), affine=AFFINE))
        entries.append({"case": case, "patient": case[:-4], "image": str(path)})
    return entries


def make_writer(output_dir: Path, **options: Any) -> NnunetWriter:
    """A writer of data set 501."""
    defaults: dict[str, Any] = {
        "dataset_id": 501,
        "dataset_name": "Fake",
        "contrasts": CONTRASTS,
        "labels": "challenge",
        "settings": SETTINGS,
        "card": CARD,
    }
    return NnunetWriter(output_dir=output_dir, **{**defaults, **options})


def write_set(
    output_dir: Path,
    masks: Sequence[dict[str, Any]],
    *,
    seeds_per_mask: int = 2,
    threads: int = 2,
    **options: Any,
) -> NnunetWriter:
    """Writes what this process has to of a data set of made-up volumes, as ``synthesizing`` does."""
    writer, background = make_writer(output_dir, **options), BackgroundWriter(threads)
    entries = with_seeds(masks, masks=masks, seeds_per_mask=seeds_per_mask)
    save = SaveToDataset(
        writer=writer,
        background=background,
        inferer=SimpleNamespace(network_calls=2),
        restore=lambda volumes, item: (volumes, AFFINE),
    )
    pending = writer.pending(entries)

    def sample_all() -> None:
        for entry in pending:
            native = {"label": label_of(entry["mask_case"]), "affine": AFFINE}
            volumes = numpy_generator(0, entry["case"]).random((len(CONTRASTS), *SIZE), np.float32)
            save({**entry, "pred": volumes, "mask_file": entry["image"], "native": native})

    run_synthesis(SimpleNamespace(run=sample_all), pending, writer=writer, background=background)  # type: ignore[arg-type]
    return writer


def started(**arguments: Any) -> BaseProcess:
    """Starts :func:`in_process` in a process of its own, quickly: it is forked from one that has all imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=in_process, kwargs=arguments)
    path = os.pathsep.join(sys.path)  # or the server imports nothing, without a word
    with patch.dict(os.environ, PYTHONPATH=path):
        process.start()
    return process


def in_process(
    *,
    environment: dict[str, str] | None = None,
    die_at: int = -1,
    count_file: Path | None = None,
    **arguments: Any,
) -> None:
    """Writes the set and dies, as in a power cut, at the given moment: in, before or after an operation on files."""
    os.environ.update(environment or {})
    counter = itertools.count()
    seen = 0

    def moment(act: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(act)
        def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal seen
            number = next(counter)
            seen = max(seen, number + 1)
            if number == die_at and act is save:
                save(*args, **kwargs)
                with open(args[1], "rb+") as file:  # half of the image is on the disk
                    file.truncate(os.path.getsize(args[1]) // 2)
            if number == die_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return act(*args, **kwargs)

        return counted

    save = nib.save
    nib.save, os.replace, shutil.rmtree = moment(save), moment(os.replace), moment(shutil.rmtree)
    Path.write_text = moment(Path.write_text)  # type: ignore[method-assign]
    write_set(**arguments)
    if count_file is not None:
        with open(count_file, "w") as file:
            file.write(str(seen))
