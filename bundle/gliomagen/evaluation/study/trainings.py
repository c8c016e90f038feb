"""Trainings side by side, one a device; each is done once, whatever is killed on the way."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import GliomaGenError
from ...files import locked, read_json, write_json

logger = logging.getLogger(__name__)
Job = Callable[[str], None]
"""Does something on a device."""


def side_by_side(jobs: Mapping[str, Job], devices: Sequence[str]) -> dict[str, GliomaGenError]:
    """Runs jobs, each on the next free device, in the order given.

    A job that fails with a :class:`GliomaGenError` does not stop the others. The threads are daemons: interrupted, the
    program ends, and with it what it started.

    Returns:
        What failed, by name.
    """
    waiting: queue.SimpleQueue[tuple[str, Job]] = queue.SimpleQueue()
    for pair in jobs.items():
        waiting.put(pair)
    failed: dict[str, GliomaGenError] = {}
    bugs: list[BaseException] = []

    def work(device: str) -> None:
        while not bugs:
            try:
                name, job = waiting.get_nowait()
            except queue.Empty:
                return
            began = time.monotonic()
            try:
                job(device)
                logger.info("%s: done after %.1f min", name, (time.monotonic() - began) / 60)
            except GliomaGenError as error:
                logger.error("%s: %s", name, error)
                failed[name] = error
            except BaseException as error:
                logger.exception("%s: stops the study when the trainings that run are done", name)
                bugs.append(error)

    threads = [threading.Thread(target=work, args=(device,), daemon=True) for device in devices]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(1)  # so that an interrupt is heard
    if bugs:
        raise bugs[0]
    return failed


def once(folder: Path, name: str, settings: Mapping[str, Any], make: Callable[[], Any]) -> Any:
    """Returns the content of ``<folder>/<name>``, which ``make`` gives unless it is there.

    Args:
        folder: Of a training.
        name: JSON file that is written last.
        settings: What the training is made by. They are noted before it starts: it is not carried on with others.
        make: Gives the content.

    Raises:
        GliomaGenError: It was begun with other settings, or another process works on it.
    """
    noted = folder / "settings.json"
    with locked(folder, wait=False):
        if noted.is_file() and (there := read_json(noted)) != settings:
            was = {
                key: there.get(key)
                for key in sorted({*there, *settings})
                if there.get(key) != settings.get(key)
            }
            now = {key: settings.get(key) for key in was}
            raise GliomaGenError(
                f"{folder}: was begun with {was}, not {now}; remove it, or choose another output_dir"
            )
        write_json(noted, settings)
        if not (folder / name).is_file():
            write_json(folder / name, make())
    return read_json(folder / name)
