"""Placing files whole where others count whatever they find: made in a working folder, then renamed.

nnU-Net takes every name in ``imagesTr`` that ends in ``.nii.gz`` for an image. So nothing unfinished may stand there,
under whatever name: a case is made in ``.working/<case>`` on the same file system and moved when it is whole, its
record (``cases/<case>.json``) last. The working folder of a case goes when its record stands; one that is left behind
by a kill tells which files may have been moved without one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import GliomaGenError
from ..files import write_json
from ..machine import rank

WORKING = ".working"
RECORDS = "cases"


def record_path(folder: Path, case: str) -> Path:
    """Returns where the record of a case stands; where it does, the case is finished."""
    return folder / RECORDS / f"{case}.json"


def recorded_cases(folder: Path) -> list[str]:
    """Returns the finished cases, sorted."""
    return sorted(file.stem for file in (folder / RECORDS).glob("[!.]*.json"))


def unfinished_cases(folder: Path) -> list[str]:
    """Returns the cases that are being made, or were when a process was killed."""
    working = folder / WORKING
    made = sorted(path.name for path in working.iterdir() if path.is_dir()) if working.is_dir() else []
    return [case for case in made if not record_path(folder, case).is_file()]


def place_case(
    folder: Path,
    case: str,
    writers: Mapping[str, Callable[[Path], None]],
    record: Mapping[str, Any],
) -> None:
    """Makes the files of a case and moves them to their places, then its record.

    Args:
        folder: The data set.
        case: Its name.
        writers: For each file, by its name relative to ``folder``, what writes it to a path.
        record: Plain content of ``cases/<case>.json``.

    Raises:
        GliomaGenError: No room, or another process makes the same case.
    """
    working = folder / WORKING / case
    try:
        for name, write in writers.items():
            write(working / Path(name).name)
        write_json(working / "record.json", record)
    except BaseException:
        shutil.rmtree(working, ignore_errors=True)  # nothing was moved yet
        raise
    final = record_path(folder, case)
    try:
        for target in (*(folder / name for name in writers), final):
            target.parent.mkdir(parents=True, exist_ok=True)
        for name in writers:
            os.replace(working / Path(name).name, folder / name)
        os.replace(working / "record.json", final)
    except FileNotFoundError:
        raise GliomaGenError(
            f"{working}: another process makes this case too; run a data set once at a time"
        ) from None
    except OSError as error:
        raise GliomaGenError(
            f"{final}: cannot be placed ({error.strerror or error}); check the folder and its free space"
        ) from error
    shutil.rmtree(working, ignore_errors=True)


def remove_unfinished(folder: Path, files_of: Callable[[str], Sequence[str]]) -> None:
    """Removes what killed processes left behind, files that were moved without a record included.

    Only for when every case that is wanted is finished: nobody is at work then.

    Args:
        folder: The data set.
        files_of: Names of a case's files, relative to ``folder``.
    """
    for case in unfinished_cases(folder):
        for name in files_of(case):
            (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / WORKING, ignore_errors=True)


def write_shared(path: Path, text: str) -> None:
    """Writes a text that several processes may write at once, whole; one that stands there already is not touched.

    Args:
        path: A file of the data set's folder.
        text: Its content, the same whoever writes it.

    Raises:
        GliomaGenError: It cannot be written.
    """
    beside = path.parent / WORKING / f"{path.name}.{rank()}.{os.getpid()}"
    for _ in range(100):
        try:
            if path.read_text(encoding="utf-8") == text:
                return
        except OSError:
            pass  # not there, or not to be read: it is written
        try:
            beside.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(text, encoding="utf-8")
            os.replace(beside, path)
            return
        except FileNotFoundError:
            continue  # another process finished and removed the working folder in between
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise GliomaGenError(
                f"{path}: cannot be written ({error.strerror or error}); check the folder and its free space"
            ) from error
    raise GliomaGenError(f"{path}: cannot be written; its folder is removed again and again")
