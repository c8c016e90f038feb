"""Measures every case of a setting, each once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.bundle import ConfigParser
from tqdm import tqdm

from gliomagen.evaluation.features import EncoderFeatures
from gliomagen.files import content_sha256, read_json, write_json

from .measures import (
    Completed,
    continuity,
    exact,
    mirrored_null,
    mirrored_tissue,
    read_completed,
    read_scan,
    seams,
    similarity,
)
from .settings import CONFIGS, REGIONS, SLICES

Row = dict[str, Any]


def features() -> EncoderFeatures:
    """Returns the feature extractor that ships with the bundle."""
    parser = ConfigParser()
    parser.read_config(str(CONFIGS / "evaluate.yaml"))
    parser.update({"device": "cpu", "precision": "fp32"})
    parser.get_parsed_content("imports")
    found = parser.get_parsed_content("encoder")
    assert isinstance(found, EncoderFeatures)
    return found


class Measure:
    """Measures the cases of a setting.

    Args:
        entries: The true scans.
        contrasts: Theirs.
        work: Where measurements are kept.
        perceptual: Also by the network that judges, which takes volumes.
    """

    def __init__(
        self,
        entries: Mapping[str, Mapping[str, Any]],
        contrasts: Sequence[str],
        work: Path,
        *,
        perceptual: bool,
    ) -> None:
        self.entries = entries
        self.contrasts = contrasts
        self.work = work
        self.features = features() if perceptual else None
        self._scans: dict[str, tuple[Any, Any]] = {}

    def __call__(self, name: str, folder: Path) -> list[Row]:
        """Returns a row for each case in the output of a setting."""
        act = self._region if name in REGIONS else self._whole
        rows = []
        for sidecar in tqdm(sorted(folder.glob("*/*.json")), desc=name):
            facts = read_json(sidecar)
            key = content_sha256(facts)[:16]
            kept = self.work / "measured" / name / f"{facts['case']}-{key}.json"
            if not kept.is_file():
                entry = self.entries[facts["source_case"]]
                case = read_completed(folder, facts["case"], entry, self.contrasts)
                row = {"case": facts["case"], "patient": facts["patient"], "exact": exact(case), **act(case)}
                write_json(kept, row)
            rows.append(read_json(kept))
        return rows

    def _whole(self, case: Completed) -> Mapping[str, Any]:
        given_somewhere = np.zeros(case.true_label.shape, bool)
        if not case.given.all((1, 2, 3)).any():  # slices; of whole contrasts all voxels of the others count
            inside = np.flatnonzero((case.true_label > 0).any((0, 1)))
            low, high = int(inside[0]), int(inside[-1])
            for run in SLICES.values():
                for position in run.get("position", ()):
                    given_somewhere[:, :, low + round(position * (high - low))] = True
        return {**similarity(case, given_somewhere, self.features), **continuity(case)}

    def _region(self, case: Completed) -> Mapping[str, Any]:
        row = {**seams(case), **continuity(case), "voxels": int(case.region.sum())}
        if case.facts["task"] == "healthy":
            null = mirrored_null(case, self._other_scans(str(case.facts["source_case"])))
            row |= {"mirror": mirrored_tissue(case), "mirror, others": null}
        return row

    def _other_scans(self, but: str) -> list[tuple[Any, Any]]:
        if not self._scans:
            self._scans = {case: read_scan(entry, self.contrasts) for case, entry in self.entries.items()}
        return [scan for case, scan in self._scans.items() if case != but]
