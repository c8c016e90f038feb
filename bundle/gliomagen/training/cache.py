"""Cases made ready once and then memory-mapped: no gzip and no preparation while the network waits."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from .. import __version__
from ..describe import describe
from ..files import content_sha256, locked, write_json, written_whole
from ..machine import rank

Transform = Callable[[dict[str, Any]], Mapping[str, Any]]


class CachedCases:
    """A sequence of cases, each the result of a deterministic transform, kept on disk as memory-mapped arrays.

    A case's key is the sha256 of the transform's settings, its files' sizes and times of change, and the package
    version, so that a changed parameter or file is never answered from an old entry. Call :meth:`fill` first. Images are kept in half
    precision (error below 2.5e-4 of the range), labels in 8 bits.

    Args:
        data: Cases: plain entries, and paths under the keys that the transform reads.
        transform: Deterministic; gives arrays under ``keys``.
        keys: What to keep of its result.
        folder: Where the entries go.
        num_workers: Processes that fill the cache.
    """

    def __init__(
        self,
        *,
        data: Sequence[Mapping[str, Any]],
        transform: Transform,
        keys: Sequence[str] = ("image", "label"),
        folder: str | Path,
        num_workers: int = 0,
    ) -> None:
        self.data = [dict(entry) for entry in data]
        self.transform = transform
        self.keys = tuple(keys)
        self.folder = Path(folder)
        self.num_workers = num_workers
        self._settings = content_sha256([describe(transform), self.keys, __version__])
        self.places = [self._place(entry) for entry in self.data]

    def __len__(self) -> int:
        """Returns the number of cases."""
        return len(self.data)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns a case: its plain entries, and memory maps (changes stay in memory) under ``keys``."""
        place = self.places[index]
        arrays = {key: np.load(place / f"{key}.npy", mmap_mode="c") for key in self.keys}
        plain = {name: value for name, value in self.data[index].items() if name in ("case", "patient")}
        return {**plain, **arrays}

    def fill(self) -> None:
        """Makes what is missing. Of several processes the first does, and the others wait for it."""
        missing = [i for i, place in enumerate(self.places) if not _is_made(place)]
        if rank() == 0 and missing:
            with locked(self.folder):  # other trainings may fill it too
                missing = [i for i in missing if not _is_made(self.places[i])]
                self._make_all([self.data[i] for i in missing], [self.places[i] for i in missing])
        while not all(_is_made(self.places[i]) for i in missing):
            time.sleep(1)

    def _place(self, entry: Mapping[str, Any]) -> Path:
        state = []
        for name, value in sorted(entry.items()):
            path = value["path"] if isinstance(value, Mapping) and "path" in value else value
            if isinstance(path, (str, os.PathLike)) and os.path.isfile(path):
                stat = os.stat(path)
                state.append([name, stat.st_size, stat.st_mtime_ns])
        key = content_sha256([self._settings, entry.get("case"), state])
        return self.folder / f"{entry['case']}-{key[:16]}"

    def _make_all(self, entries: list[dict[str, Any]], places: list[Path]) -> None:
        bar = {"desc": "caching", "unit": "case", "total": len(entries), "disable": not entries}
        if self.num_workers < 2 or len(entries) < 2:
            for entry, place in tqdm(zip(entries, places, strict=True), **bar):
                _make(entry, place, self.transform, self.keys)
            return
        with ProcessPoolExecutor(
            self.num_workers,
            mp_context=get_context("spawn"),
            initializer=torch.set_num_threads,
            initargs=(1,),
        ) as pool:
            made = pool.map(_make, entries, places, repeat(self.transform), repeat(self.keys))
            for _ in tqdm(made, **bar):
                pass


def _is_made(place: Path) -> bool:
    return (place / "case.json").is_file()


def _make(entry: dict[str, Any], place: Path, transform: Transform, keys: Sequence[str]) -> None:
    result = transform(entry)
    for key in keys:
        array: NDArray[Any] = np.asarray(result[key])
        array = array.astype(np.float16 if array.dtype.kind == "f" else np.uint8)
        with written_whole(place / f"{key}.npy") as beside:
            np.save(beside, array)
    write_json(place / "case.json", {"case": entry["case"]})  # last: it is finished
