"""Processes that share the cases of a preparation."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Any

import torch
from tqdm import tqdm

from ..errors import GliomaGenError
from .casework import CaseWork

_TITLES = {"check": "checking", "prepare": "preparing"}


class Workers:
    """Does steps of :class:`.casework.CaseWork` for many cases, in processes of one thread each.

    Args:
        work: What to do.
        num_workers: Processes, started when first needed; 0 or 1: none, the work is done here.
        quiet: Whether to show no progress.
    """

    def __init__(self, work: CaseWork, num_workers: int, *, quiet: bool = False) -> None:
        self.work = work
        self.num_workers = num_workers
        self.quiet = quiet
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def each(self, step: str, cases: Sequence[tuple[Any, ...]]) -> None:
        """Does ``step`` (``check`` or ``prepare``) for each tuple of arguments.

        Raises:
            GliomaGenError: The machine is at fault; what is finished stays.
        """
        if not cases:
            return
        with tqdm(total=len(cases), desc=_TITLES[step], unit="case", disable=self.quiet) as bar:
            try:
                if self.num_workers <= 1:
                    self._here(step, cases, bar)
                else:
                    self._elsewhere(step, cases, bar)
            except (MemoryError, BrokenProcessPool) as error:
                raise GliomaGenError(
                    f"{self.work.output_dir}: out of memory while {_TITLES[step]}; run again with fewer num_workers, "
                    "finished cases are kept"
                ) from error

    def _here(self, step: str, cases: Sequence[tuple[Any, ...]], bar: tqdm[Any]) -> None:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # the same sums, to the bit, as in worker processes
        try:
            for arguments in cases:
                getattr(self.work, step)(*arguments)
                bar.update()
        finally:
            torch.set_num_threads(threads)

    def _elsewhere(self, step: str, cases: Sequence[tuple[Any, ...]], bar: tqdm[Any]) -> None:
        if self._pool is None:
            # Not forked: a fork of a process whose OpenMP threads have run may hang.
            context = multiprocessing.get_context("spawn")
            workers = min(self.num_workers, len(cases))
            self._pool = ProcessPoolExecutor(workers, context, initializer=_start, initargs=(self.work,))
        futures = [self._pool.submit(_do, step, *arguments) for arguments in cases]
        for future in as_completed(futures):
            future.result()
            bar.update()


_work: CaseWork | None = None


def _start(work: CaseWork) -> None:
    global _work
    _work = work
    torch.set_num_threads(1)


def _do(step: str, *arguments: Any) -> None:
    getattr(_work, step)(*arguments)
