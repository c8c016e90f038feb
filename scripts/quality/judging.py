"""How synthetic scans are judged: the bundle's own evaluation, beside the held-out scans of a cohort."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from .runs import DONE, once, run, stamp
from .setting import Setting


def second_extractor(file: Path | None) -> dict[str, Any]:
    """Returns the options that put a network for photographs in place of ours: EfficientNet-Lite's sizes and greys."""
    return {
        "extractor": str(file),
        "extractor_size": [128, 128],
        "extractor_mean": 0.498,
        "extractor_deviation": 0.502,
    }


def evaluate(
    setting: Setting,
    cohort: Path,
    made: Path,
    dataset: Path,
    folder: Path,
    *,
    like: Path | None,
    **options: Any,
) -> Path:
    """Evaluates a data set and returns its ``metrics.json``.

    Args:
        setting: The experiment.
        cohort: Whose validation section scans are compared with; its training section may have been copied.
        made: Where the data set was made; what stands there is part of the settings.
        dataset: The data set.
        folder: Of the evaluation.
        like: Another with the same cohort and options: what real scans measure need not be measured again.
        **options: Of ``evaluating``.
    """

    def go() -> dict[str, Any]:
        for what in ("real", "training") if like else ():
            shutil.copytree(like / "measured" / what, folder / "measured" / what, dirs_exist_ok=True)
        run(
            "evaluating",
            ["evaluate", *setting.judging],
            folder / "evaluating.log",
            real_dir=str(cohort),
            synthetic_dir=str(dataset),
            output_dir=str(folder),
            label_convention="prepared",
            weights="",
            report=False,
            contrasts=list(setting.contrasts),
            **setting.segments,
            **options,
        )
        return {}

    once(folder, go, {"options": options, "made": stamp(made / DONE)})
    return folder / "metrics.json"
