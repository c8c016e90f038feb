"""Writing beside sampling: a few threads, a bounded number of volumes waiting, errors where the work is."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from tqdm import tqdm

from ..machine import rank, world_size


class BackgroundWriter:
    """Does what it is given in threads, at most ``threads`` at a time and as many waiting; then the giver waits.

    Compression releases the interpreter, so that the next case is sampled meanwhile. An error of a thread is raised
    by the next call, or by :meth:`close`.

    Args:
        threads: How many; 0 does the work at once, in the calling thread.
    """

    def __init__(self, threads: int = 2) -> None:
        self.threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._given: deque[Future[None]] = deque()
        self._bar: tqdm[Any] | None = None

    def expect(self, total: int, finished: int) -> None:
        """Begins the line of progress of this process: how many jobs there are in all, and how many are done."""
        what = f"synthesizing, process {rank() + 1} of {world_size()}" if world_size() > 1 else "synthesizing"
        self._bar = tqdm(total=total, initial=finished, desc=what, unit="case", position=rank())

    def __call__(self, job: Callable[[], None]) -> None:
        """Takes a job. Waits for the oldest one if too many are waiting."""
        if self.threads <= 0:
            job()
            self._done()
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.threads, "writing")
        self._given.append(self._pool.submit(job))
        while self._given and (self._given[0].done() or len(self._given) > 2 * self.threads):
            self._collect()

    def close(self) -> None:
        """Waits until all is written.

        Raises:
            Exception: The first that a job raised; the others are done nevertheless.
        """
        error: Exception | None = None
        while self._given:
            try:
                self._collect()
            except Exception as first:
                error = error or first
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        if error is not None:
            raise error

    def _collect(self) -> None:
        self._given.popleft().result()
        self._done()

    def _done(self) -> None:
        if self._bar is not None:
            self._bar.update()
