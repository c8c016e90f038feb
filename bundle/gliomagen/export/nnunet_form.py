"""The form of an nnU-Net data set: folders, file names, labels, ``dataset.json``.

After nnU-Net 2's description of its raw data: ``nnUNet_raw/DatasetNNN_Name`` with ``imagesTr/<case>_0000.nii.gz`` (a
file a channel), ``labelsTr/<case>.nii.gz`` (consecutive numbers from 0) and ``dataset.json``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import GliomaGenError
from ..labels import BACKGROUND, LABEL_NAMES, LESION, convention
from .placing import write_shared

RAW = "nnUNet_raw"
IMAGES, LABELS = "imagesTr", "labelsTr"
DATASET_FILE = "dataset.json"
MANIFEST_FILE = "manifest.jsonl"
SECONDS_FILE = "seconds.jsonl"
"""What each case took: apart from the records, which are the same whoever makes them."""
SET_FILE = "synthesis.json"
FILE_ENDING = ".nii.gz"
LABEL_FORMS: dict[str, str] = {"challenge": "brats2024", "prepared": "prepared"}
"""Label convention of each value of the option ``labels``."""


def dataset_folder(output_dir: str | Path, dataset_id: int, dataset_name: str) -> Path:
    """Returns ``<output_dir>/nnUNet_raw/DatasetNNN_Name``, which is not made.

    Raises:
        GliomaGenError: nnU-Net takes no such number or name, or the number is another data set's.
    """
    if isinstance(dataset_id, bool) or not isinstance(dataset_id, int) or not 1 <= dataset_id <= 999:
        raise GliomaGenError(f"dataset_id {dataset_id!r}: nnU-Net takes whole numbers from 1 to 999")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", str(dataset_name)):
        raise GliomaGenError(
            f"dataset_name {dataset_name!r}: nnU-Net makes a folder of it; use letters, digits, _ and -"
        )
    raw, number = Path(output_dir) / RAW, f"Dataset{dataset_id:03d}_"
    for other in sorted(raw.glob(f"{number}*")):
        if other.name != f"{number}{dataset_name}":
            raise GliomaGenError(
                f"{other}: has the id {dataset_id} already; choose another dataset_id, or its dataset_name"
            )
    return raw / f"{number}{dataset_name}"


def image_names(case: str, contrasts: int) -> list[str]:
    """Returns the names of a case's channels, relative to the data set."""
    return [f"{IMAGES}/{case}_{channel:04d}{FILE_ENDING}" for channel in range(contrasts)]


def label_name(case: str) -> str:
    """Returns the name of a case's label map, relative to the data set."""
    return f"{LABELS}/{case}{FILE_ENDING}"


def file_names(case: str, contrasts: int) -> list[str]:
    """Returns the names of all files of a case, relative to the data set."""
    return [*image_names(case, contrasts), label_name(case)]


def label_convention_of(labels: str) -> str:
    """Returns the label convention of a data set whose option ``labels`` is this.

    Raises:
        GliomaGenError: It is neither ``challenge`` nor ``prepared``.
    """
    try:
        return LABEL_FORMS[labels]
    except KeyError:
        raise GliomaGenError(f"labels '{labels}' is not known; choose among {sorted(LABEL_FORMS)}") from None


def to_dataset_labels(label: NDArray[Any], labels: str, *, where: str | Path) -> NDArray[np.uint8]:
    """Turns prepared labels into those of the data set.

    Args:
        label: Prepared labels, any shape.
        labels: ``challenge``: BraTS 2024's numbers, the head is background. ``prepared``: as they are.
        where: What to name in an error.

    Raises:
        GliomaGenError: A label has no number there.
    """
    try:
        return convention(label_convention_of(labels)).from_prepared(label)
    except GliomaGenError as error:
        raise GliomaGenError(f"{where}: {error}; pass --labels prepared") from None


def label_table(labels: str, used: Iterable[int] = ()) -> dict[str, int]:
    """Returns the labels of a data set as ``dataset.json`` has them, name to number.

    Args:
        labels: ``challenge`` or ``prepared``.
        used: Numbers that occur. A lesion of unknown kind is listed only if it does: nnU-Net would learn it.
    """
    table = {LABEL_NAMES[BACKGROUND]: 0}
    for number, prepared in convention(label_convention_of(labels)).prepared.items():
        if number and (prepared != LESION or number in set(used)):
            table[LABEL_NAMES[prepared]] = number
    return table


def write_dataset_json(
    folder: Path,
    *,
    contrasts: Sequence[str],
    labels: Mapping[str, int],
    cases: int,
    description: str,
    licence: str,
) -> None:
    """Writes ``dataset.json``; one that says the same is not touched.

    Args:
        folder: The data set.
        contrasts: Names of the channels. None is "CT", so nnU-Net normalizes each by its own mean and deviation.
        labels: Name to number, see :func:`label_table`.
        cases: Training cases.
        description: For people.
        licence: For people.
    """
    content = {
        "channel_names": {str(channel): name for channel, name in enumerate(contrasts)},
        "labels": dict(labels),
        "numTraining": cases,
        "file_ending": FILE_ENDING,
        # Turns every case to RAS+ when read: label maps of one set may come in several orientations.
        "overwrite_image_reader_writer": "NibabelIOWithReorient",
        "name": folder.name,
        "description": description,
        "licence": licence,
    }
    write_shared(folder / DATASET_FILE, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_manifest(folder: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Writes ``manifest.jsonl``: a line a case, sorted by case."""
    lines = [
        json.dumps(record, ensure_ascii=False) for record in sorted(records, key=lambda r: str(r["case"]))
    ]
    write_shared(folder / MANIFEST_FILE, "".join(f"{line}\n" for line in lines))


def read_json_lines(path: str | Path) -> list[dict[str, Any]]:
    """Reads a file of JSON lines.

    Raises:
        GliomaGenError: It is missing, or a line is not a JSON object.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise GliomaGenError(f"{path}: not found") from None
    except (OSError, ValueError) as error:
        raise GliomaGenError(f"{path}: not readable ({error})") from error
    entries = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if not isinstance(entry, dict):
            raise GliomaGenError(f"{path}: line {number} is not a JSON object; make the file anew")
        entries.append(entry)
    return entries
