"""Cases that nnU-Net preprocessed, each once for all data sets of a plan; the data sets link to them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ..errors import GliomaGenError
from ..files import content_sha256, link, locked, read_json, write_json


class PreprocessedCases:
    """A folder of preprocessed cases. A full study has some thousand, most of them in several arms.

    Args:
        folder: Theirs.
        settings: What they are made by, beside their files: plan and labels.
    """

    def __init__(self, folder: Path, settings: Any) -> None:
        self.folder = folder
        self._settings = content_sha256(settings)

    def link(
        self, dataset: Path, cases: Iterable[str], target: Path, preprocess: Callable[[Path], Path]
    ) -> None:
        """Gives a data set its cases as nnU-Net looks for them; what is missing is preprocessed first.

        Args:
            dataset: nnU-Net's raw folder of it.
            cases: Its cases.
            target: nnU-Net's preprocessed folder of it.
            preprocess: Preprocesses a raw data set; returns the folder of results, named after the configuration.

        Raises:
            GliomaGenError: It left a case out, or the disk is full.
        """
        places = {case: self._place(dataset, case) for case in cases}
        try:
            with locked(self.folder):  # other data sets may add theirs
                missing = {case: place for case, place in places.items() if not place.is_dir()}
                if missing:
                    self._make(dataset, missing, preprocess)
            for case, place in places.items():
                for file in place.glob("*/*"):
                    link(file, target / file.parent.name / file.name)
                label = _label(dataset, case)
                link(label, target / "gt_segmentations" / label.name)
        except OSError as error:
            raise GliomaGenError(
                f"{self.folder}: cannot be written ({error.strerror or error}); check the folder and its free space"
            ) from error

    def _place(self, dataset: Path, case: str) -> Path:
        stats = [os.stat(file) for file in (*_images(dataset, case), _label(dataset, case))]
        state = [[stat.st_size, stat.st_mtime_ns] for stat in stats]
        return self.folder / f"{case}-{content_sha256([self._settings, case, state])[:16]}"

    def _make(self, dataset: Path, missing: dict[str, Path], preprocess: Callable[[Path], Path]) -> None:
        working = self.folder / ".working"
        shutil.rmtree(working, ignore_errors=True)  # what a kill left
        part = working / "nnUNet_raw" / dataset.name
        for case in missing:
            for file in (*_images(dataset, case), _label(dataset, case)):
                link(file, part / file.relative_to(dataset))
        write_json(
            part / "dataset.json", {**read_json(dataset / "dataset.json"), "numTraining": len(missing)}
        )
        made = preprocess(part)
        files = list(made.iterdir())
        for case, place in missing.items():
            own = [file for file in files if file.name.startswith((f"{case}.", f"{case}_seg."))]
            if not own:
                raise GliomaGenError(
                    f"{made}: nnU-Net made nothing of {case}; remove {working} and run again"
                )
            beside = working / place.name / made.name
            beside.mkdir(parents=True)
            for file in own:
                os.replace(file, beside / file.name)
            os.replace(beside.parent, place)
        shutil.rmtree(working)


def _images(dataset: Path, case: str) -> list[Path]:
    return sorted((dataset / "imagesTr").glob(f"{case}_[0-9][0-9][0-9][0-9].*"))


def _label(dataset: Path, case: str) -> Path:
    return dataset / "labelsTr" / f"{case}.nii.gz"
