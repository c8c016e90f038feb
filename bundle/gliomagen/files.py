"""Files that are whole or absent: write beside, then rename. And their hashes."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import GliomaGenError


@contextmanager
def written_whole(path: str | Path, *, durable: bool = False) -> Iterator[Path]:
    """Yields a path beside ``path`` to write to; on success it becomes ``path``, on any error it is removed.

    The name beside ``path`` is fixed, so what a killed process left behind is overwritten by the next one.
    It keeps the suffixes, since writers choose the format by them.

    Args:
        path: The file to be. Its folder is made.
        durable: Also wait until the disk has it (checkpoints).

    Raises:
        GliomaGenError: The folder or file cannot be written.
    """
    path = Path(path)
    beside = path.with_name(f".partial-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        if durable:
            with open(beside, "rb") as file:
                os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise GliomaGenError(
            f"{path}: cannot be written ({error.strerror or error}); check the folder and its free space"
        ) from error
    except RuntimeError as error:
        beside.unlink(missing_ok=True)
        if "inline_container" not in str(error):
            raise
        # torch.save tells of a failed write so, without saying why.
        raise GliomaGenError(f"{path}: cannot be written whole; check the folder's free space") from error
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


@contextmanager
def locked(folder: str | Path, *, wait: bool = True) -> Iterator[None]:
    """Keeps other processes and threads out of a folder, which is made, while they ask so too.

    Args:
        folder: The folder.
        wait: Wait for another that is there, rather than raise.

    Raises:
        GliomaGenError: Another is there.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    with open(Path(folder) / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise GliomaGenError(f"{folder}: another process works on it; wait for it") from None
        yield


def write_json(path: str | Path, content: Any) -> None:
    """Writes ``content`` as indented JSON, whole or not at all."""
    with written_whole(path) as beside:
        beside.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: str | Path) -> Any:
    """Reads a JSON file.

    Raises:
        GliomaGenError: It is missing or not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise GliomaGenError(f"{path}: not found") from None
    except (OSError, ValueError) as error:
        raise GliomaGenError(f"{path}: not readable as JSON ({error})") from error


def link(source: str | Path, target: str | Path) -> None:
    """Gives a file a second name, or copies it, with its time of change, where there are no hard links."""
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def file_sha256(path: str | Path) -> str:
    """Returns the sha256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def content_sha256(content: Any) -> str:
    """Returns the sha256 of plain JSON content, independent of key order."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
