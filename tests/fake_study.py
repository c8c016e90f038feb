"""A study whose method trains nothing, in processes that can be killed at any moment.

A module of its own, so that processes started afresh can import it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gliomagen.cohort.datalist import datalist
from gliomagen.errors import GliomaGenError
from gliomagen.evaluation.study.study import Study
from gliomagen.export.mixed import read_mixed
from gliomagen.labels import CONTRASTS
from gliomagen.randomness import numpy_generator
from gliomagen.segmenter.methods import Predictions
from gliomagen.volume import Volume, read_volume, write_volume


class FakeMethod:
    """Finds the truth but for some voxels, fewer the more cases it learns from; fails for one arm if told to."""

    def __init__(
        self, *, fails: str = "", at: Callable[[str], None] = lambda where: None, steps: int = 1
    ) -> None:
        self.fails, self.at, self.steps = fails, at, steps
        self.runs: list[str] = []

    @property
    def settings(self) -> dict[str, Any]:
        return {"segmenter": "quick", "max_steps": self.steps}

    def prepare(self, dataset: Path, *, cohort: Path, log: Path) -> dict[str, Any]:
        self.at("prepare")
        assert len(read_mixed(cohort).training) == 6
        (dataset.parents[1] / "prepared").write_text("")
        return {"patch": 7}

    def run(
        self, dataset: Path, folder: Path, *, cohort: Path, seed: int, device: str, log: Path
    ) -> Predictions:
        work = dataset.parents[1]
        assert (work / "prepared").exists()
        self.at("train")
        mixed = read_mixed(dataset)
        if self.fails and self.fails in mixed.name:
            raise GliomaGenError(f"the network exploded; all it said is in {log}")
        self.runs.append(f"{work.name} {seed}")
        wrong = 0.3 / len(mixed.training)
        files = {}
        for entry in mixed.validation:
            label = read_volume(entry["label"])
            noise = numpy_generator(seed, entry["case"]).random(label.data.shape) < wrong
            data = np.where(noise, 3, label.data).astype(np.uint8)
            files[entry["case"]] = folder / "found" / f"{entry['case']}.nii.gz"
            write_volume(files[entry["case"]], Volume(data=data, affine=label.affine))
            self.at("predict")
        return Predictions(
            files=files, label_convention="brats2024", train_s=1.0, device="CPU, 1 thread", budget="1 step"
        )


def make_study(real: Path, synthetic: Path, out: Path, **options: Any) -> Study:
    """A study of that method."""
    return Study(
        **{
            "training": datalist(real, "training"),
            "validation": datalist(real, "validation"),
            "synthetic_dirs": [synthetic],
            "output_dir": out,
            "arms": ["real", "real+1x", {"real": 3}],
            "seeds": [0, 1],
            "method": FakeMethod(),
            "devices": ["cpu"],
            "contrasts": CONTRASTS,
            **options,
        }
    )


def killed_at(real: str, synthetic: str, out: str, where: str, count: str) -> None:
    """Runs the study, and is killed when it has come to a place so many times."""
    left = int(count)

    def at(place: str) -> None:
        nonlocal left
        left -= place == where
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    make_study(Path(real), Path(synthetic), Path(out), method=FakeMethod(at=at)).run()


if __name__ == "__main__":
    killed_at(*sys.argv[1:])
