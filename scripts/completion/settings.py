"""What is completed and compared: each setting is a run of ``completing`` on the same held-out patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from gliomagen import BUNDLE_ROOT

CONFIGS = Path(BUNDLE_ROOT) / "configs"
REGRESSION = Path(__file__).with_name("regression.yaml")

ALONE, ALONE_LIKELIEST = "label map alone", "label map alone, likeliest greys"
SLICES: dict[str, dict[str, Any]] = {
    ALONE: {"task": "base"},
    "its own middle slice": {"task": "test", "position": [0.5]},
    "3 of its slices": {"task": "informed_slice", "position": [0.25, 0.5, 0.75]},
    "5 of its slices": {"task": "informed_slice", "position": [0.1, 0.3, 0.5, 0.7, 0.9]},
    "another patient's slice": {"task": "ic", "position": [0.5]},
    "a generated slice": {"task": "ig", "position": [0.5]},
}
LIKELIEST = {"grey_spread": 0.0}
"""Of contrasts that are missing, so that what is compared is not the luck of a drawn brightness."""
REGIONS: dict[str, dict[str, Any]] = {
    "healthy": {"task": "healthy"},
    "replace": {"task": "replace"},
    "lesion insertion": {"task": "lesion_insertion"},
    "counterfactual": {"task": "counterfactual"},
}
EDITED = ("lesion insertion", "counterfactual")


def missing(contrast: str, *, regression: bool = False) -> str:
    """Returns the name of the setting that makes a contrast of the others."""
    return f"{contrast} from the others{', regression' if regression else ''}"


def contrast_runs(contrasts: Sequence[str], *, regression: bool = False) -> dict[str, dict[str, Any]]:
    """Returns the settings that make each contrast of the others, by the generator or by regression."""
    how = {} if regression else LIKELIEST
    return {
        missing(contrast, regression=regression): {
            "task": "missing_contrast",
            "contrasts": [name for name in contrasts if name != contrast],
            **how,
        }
        for contrast in contrasts
    }


def complete(folder: Path, *, overlays: Sequence[Path] = (), **options: Any) -> None:
    """Runs ``completing``; what is finished is not done again.

    Args:
        folder: Where the cases go.
        overlays: Further configs.
        **options: Of the workflow.
    """
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / "complete.yaml"), *map(str, overlays)])
    parser.update({"output_dir": str(folder), "num_workers": 0, **_plain(options)})
    parser.get_parsed_content("imports")
    parser.get_parsed_content("completing")


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}
