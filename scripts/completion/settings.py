"""What is completed and compared: each setting is a run of ``completing`` on the same held-out patients."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from gliomagen import BUNDLE_ROOT
from gliomagen.labels import CONTRASTS

CONFIGS = Path(BUNDLE_ROOT) / "configs"
REGRESSION = Path(__file__).with_name("regression.yaml")

SLICES: dict[str, dict[str, Any]] = {
    "label map alone": {"task": "base"},
    "its own middle slice": {"task": "test", "position": [0.5]},
    "3 of its slices": {"task": "informed_slice", "position": [0.25, 0.5, 0.75]},
    "5 of its slices": {"task": "informed_slice", "position": [0.1, 0.3, 0.5, 0.7, 0.9]},
    "another patient's slice": {"task": "ic", "position": [0.5]},
    "a generated slice": {"task": "ig", "position": [0.5]},
}
LIKELIEST = {"grey_spread": 0.0}
"""Of contrasts that are missing, so that what is compared is not the luck of a drawn brightness."""


def _others(contrast: str) -> list[str]:
    return [name for name in CONTRASTS if name != contrast]


CONTRAST_RUNS: dict[str, dict[str, Any]] = {
    "label map alone, likeliest greys": {"task": "base", **LIKELIEST},
    **{
        f"{contrast} from the others": {
            "task": "missing_contrast",
            "contrasts": _others(contrast),
            **LIKELIEST,
        }
        for contrast in CONTRASTS
    },
}
REGRESSIONS: dict[str, dict[str, Any]] = {
    f"{contrast} from the others, regression": {"task": "missing_contrast", "contrasts": _others(contrast)}
    for contrast in CONTRASTS
}
REGIONS: dict[str, dict[str, Any]] = {
    "healthy": {"task": "healthy"},
    "replace": {"task": "replace"},
    "lesion insertion": {"task": "lesion_insertion"},
    "counterfactual": {"task": "counterfactual"},
}
EDITED = ("lesion insertion", "counterfactual")


def complete(folder: Path, *, overlay: Path | None = None, **options: Any) -> None:
    """Runs ``completing``; what is finished is not done again.

    Args:
        folder: Where the cases go.
        overlay: A further config.
        **options: Of the workflow.
    """
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / "complete.yaml"), *([str(overlay)] if overlay else [])])
    parser.update({"output_dir": str(folder), "num_workers": 0, **_plain(options)})
    parser.get_parsed_content("imports")
    parser.get_parsed_content("completing")


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}
