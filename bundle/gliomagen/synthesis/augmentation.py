"""A cohort of label maps from a cohort of label maps: resumable, sharded, in bounded memory."""

from __future__ import annotations

import logging
import multiprocessing
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from .. import __version__
from ..describe import describe
from ..errors import GliomaGenError
from ..files import content_sha256, file_sha256, read_json, write_json
from ..machine import is_mine, rank
from ..volume import Volume, write_volume
from .variation import Variation, record_of

logger = logging.getLogger(__name__)
SETTINGS, SUMMARY, REJECTED = "settings.json", "augment.json", ".rejected"


class Augmentation:
    """Writes ``<output_dir>/<case>/<case>-seg.nii.gz`` (prepared labels) and then, last, its record ``<case>.json``.

    A case with a record is finished. A number whose draws were all rejected has its record in ``.rejected/``.
    Under ``torchrun`` processes share the cases by their names; whichever finishes last writes ``augment.json``.

    Args:
        variation: Makes the label map of a number.
        output_dir: Where the cases go.
        count: Numbers to make; None with ``variants``: all sources so many times.
        num_workers: Processes; 0 works in this one.

    Raises:
        GliomaGenError: Neither ``count`` nor ``variants`` is given, or both.
    """

    def __init__(
        self, *, variation: Variation, output_dir: str | Path, count: int | None, num_workers: int = 0
    ) -> None:
        if (count is None) == (variation.variants is None):
            raise GliomaGenError("count, variants: give one of the two, and null for the other")
        self.variation = variation
        self.output_dir = Path(output_dir)
        self.count = count or len(variation.sources) * (variation.variants or 0)
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
        settings = describe(self.variation.describe()) | {"sources_sha256": content_sha256(sources)}
        path = self.output_dir / SETTINGS
        if not path.is_file():
            if rank() == 0:
                write_json(path, settings)
            return
        there = read_json(path)
        for name, value in settings.items():
            if there.get(name) != value:
                raise GliomaGenError(
                    f"{path}: label maps there were made with other {name}; choose another output_dir"
                )

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
                    yield future.result()
                running |= {pool.submit(_make, n) for n in islice(waiting, len(done))}

    def _complete(self) -> bool:
        """Writes the summary if every number is finished."""
        records = [self.record_path(number) for number in range(self.count)]
        missing = sum(path is None for path in records)
        if missing:
            logger.info("%s: %d label maps are left to other processes", self.output_dir, missing)
            return False
        write_json(self.output_dir / SUMMARY, summary_of(read_json(path) for path in records if path))
        return True


def summary_of(records: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Returns counts and parents of the outputs of an augmentation."""
    children, lost = [], []
    policies: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for record in records:
        reasons.update(record["rejected_draws"])
        parents = sorted({record["source_patient"], record["donor_patient"] or record["source_patient"]})
        if record["parameters"]:
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
