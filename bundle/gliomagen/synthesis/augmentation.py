"""A cohort of label maps from a cohort of label maps: resumable, sharded, in bounded memory."""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from .. import __version__
from ..describe import describe, first_difference
from ..errors import GliomaGenError
from ..files import content_sha256, file_sha256, read_json, write_json
from ..machine import is_mine, rank
from ..volume import Volume, write_volume
from .variation import Variation, record_of

logger = logging.getLogger(__name__)
SETTINGS, SUMMARY, REJECTED = "settings.json", "augment.json", ".rejected"


@contextmanager
def finishing(output_dir: Path) -> Iterator[Path]:
    """Yields a folder to write summaries to, whose files then take their places in ``output_dir``.

    Every process has its own: two may find all cases finished at the same moment, and write the same.
    """
    folder = output_dir / f".summary-{rank()}"
    try:
        shutil.rmtree(folder, ignore_errors=True)  # a killed process may have left it
        folder.mkdir(parents=True)
        yield folder
        for file in sorted(folder.iterdir()):
            os.replace(file, output_dir / file.name)
    except OSError as error:
        raise GliomaGenError(
            f"{output_dir}: the summary cannot be written ({error.strerror or error}); check the folder and its free space"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Augmentation:
    """Writes ``<output_dir>/<case>/<case>-seg.nii.gz`` (prepared labels) and then, last, its record ``<case>.json``.

    A case with a record is finished. A number whose draws were all rejected has its record in ``.rejected/``.
    Under ``torchrun`` processes share the cases by their names; whichever finishes last writes ``augment.json``.

    Args:
        variation: Makes the label map of a number.
        output_dir: Where the cases go.
        count: Numbers to make, unless the variation says how many ``variants`` of each source.
        num_workers: Processes; 0 works in this one.

    Raises:
        GliomaGenError: Neither ``count`` nor ``variants`` is given, or not as a number above 0.
    """

    def __init__(
        self, *, variation: Variation, output_dir: str | Path, count: int | None, num_workers: int = 0
    ) -> None:
        name, asked = ("count", count) if variation.variants is None else ("variants", variation.variants)
        if isinstance(asked, bool) or not isinstance(asked, int) or asked < 1:
            raise GliomaGenError(f"{name} {asked!r}: must be a whole number, 1 or more")
        self.variation = variation
        self.output_dir = Path(output_dir)
        self.count = asked if name == "count" else asked * len(variation.sources)
        self.num_workers = num_workers

    def run(self) -> bool:
        """Makes what is missing of this process's share; returns whether all of it is finished, by anybody."""
        self._claim_folder()
        mine = [number for number in range(self.count) if is_mine(self.variation.case_of(number))]
        pending = [number for number in mine if not self.record_path(number)]
        with tqdm(
            total=len(mine), initial=len(mine) - len(pending), unit="map", desc=f"label maps {rank()}"
        ) as bar:
            for _ in self._each(pending):
                bar.update()
        return self._complete()

    def record_path(self, number: int) -> Path | None:
        """Returns the record of a finished number, else None."""
        case = self.variation.case_of(number)
        for path in (self._record(case), self._rejection(case)):
            if path.is_file():
                return path
        return None

    def make(self, number: int) -> None:
        """Makes and writes the label map of a number."""
        entry, case = self.variation.source_of(number), self.variation.case_of(number)
        outcome = self.variation.make(number)
        record = {"package_version": __version__, "number": number, "seed": self.variation.seed}
        record |= record_of(outcome, case, file_sha256(entry["label"]))
        if outcome.label is None:
            write_json(self._rejection(case), record)
            return
        made = Volume(data=outcome.label, affine=outcome.volume.affine)
        write_volume(self.output_dir / case / f"{case}-seg.nii.gz", made)
        write_json(self._record(case), record)

    def _record(self, case: str) -> Path:
        return self.output_dir / case / f"{case}.json"

    def _rejection(self, case: str) -> Path:
        return self.output_dir / REJECTED / f"{case}.json"

    def _claim_folder(self) -> None:
        """Refuses a folder with label maps of other settings."""
        sources = [[entry["case"], entry["patient"]] for entry in self.variation.sources]
        settings = {"sources_sha256": content_sha256(sources)} | describe(self.variation.describe())
        path = self.output_dir / SETTINGS
        if not path.is_file():
            if rank() == 0:
                write_json(path, settings)
            return
        there = read_json(path)
        if isinstance(there, dict) and there.get("sources_sha256") != settings["sources_sha256"]:
            raise GliomaGenError(f"{path}: label maps there have other sources; choose another output_dir")
        if difference := first_difference(there, settings):
            raise GliomaGenError(f"{path}: {difference}; choose another output_dir")

    def _each(self, numbers: list[int]) -> Iterator[int]:
        """Makes numbers, in any order; few are under way at once, so memory does not grow with their count."""
        if self.num_workers <= 1:
            for number in numbers:
                self.make(number)
                yield number
            return
        context = multiprocessing.get_context("spawn")  # a fork of a process whose threads have run may hang
        with ProcessPoolExecutor(self.num_workers, context, initializer=_start, initargs=(self,)) as pool:
            waiting = iter(numbers)
            running: set[Future[int]] = {pool.submit(_make, n) for n in islice(waiting, 2 * self.num_workers)}
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield self._result(future)
                running |= {pool.submit(_make, n) for n in islice(waiting, len(done))}

    def _result(self, future: Future[int]) -> int:
        try:
            return future.result()
        except (MemoryError, BrokenProcessPool) as error:
            raise GliomaGenError(
                f"{self.output_dir}: out of memory; run again with fewer num_workers, finished cases are kept"
            ) from error

    def _complete(self) -> bool:
        """Writes the summary if every number is finished."""
        records = [self.record_path(number) for number in range(self.count)]
        missing = sum(path is None for path in records)
        if missing:
            logger.info("%s: %d label maps are left to other processes", self.output_dir, missing)
            return False
        with finishing(self.output_dir) as folder:
            write_json(folder / SUMMARY, summary_of(read_json(path) for path in records if path))
        return True


def summary_of(records: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Returns counts and parents of the outputs of an augmentation."""
    children, lost = [], []
    policies: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for record in records:
        reasons.update(record["rejected_draws"])
        parents = sorted({record["source_patient"], record["donor_patient"] or record["source_patient"]})
        if record["accepted"]:
            policies[record["policy"]] += 1
            children.append({"case": record["case"], "policy": record["policy"], "parents": parents})
        else:
            lost.append(record["case"])
    return {
        "made": len(children),
        "rejected": len(lost),
        "policies": dict(sorted(policies.items())),
        "rejected_draws": dict(reasons.most_common()),
        "cases": children,
        "rejected_cases": lost,
    }


_augmentation: Augmentation | None = None


def _start(augmentation: Augmentation) -> None:
    global _augmentation
    _augmentation = augmentation
    torch.set_num_threads(1)


def _make(number: int) -> int:
    assert _augmentation is not None
    _augmentation.make(number)
    return number
