"""A tiny challenge folder in BraTS 2024's layout, and preparing it with the real transforms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from monai.transforms import Compose

from gliomagen.cohort.geometry import FitGeometryd
from gliomagen.cohort.head import AddHeadLabeld
from gliomagen.cohort.intensity import NormalizeContrastsd
from gliomagen.cohort.layouts import LABEL
from gliomagen.cohort.loading import ConvertLabelsd, LoadVolumesd
from gliomagen.cohort.preparation import Preparation
from gliomagen.labels import CONTRASTS
from gliomagen.volume import Volume, write_volume

SIZE = 24
AFFINE = np.diag([-1.5, -1.5, 1.5, 1.0])
AFFINE[:3, 3] = (10.0, 20.0, -5.0)


def make_case(folder: Path, case: str, *, seed: int, name: str = "{case}/{case}-{contrast}.nii.gz") -> None:
    """Writes an ellipsoid head with the four tumour labels: int16 scans of 24 cubed, axes L-P-S."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, SIZE)] * 3, indexing="ij"))
    head = (grid**2).sum(0) < 0.8
    label = np.zeros(head.shape, np.uint8)
    for number in (1, 2, 3, 4):
        centre = rng.uniform(-0.3, 0.3, 3).reshape(3, 1, 1, 1)
        label[((grid - centre) ** 2).sum(0) < 0.05] = number
    for contrast in CONTRASTS:
        scan = np.where(head, 300 + 100 * label.astype(int) + rng.integers(1, 200, head.shape), 0).astype(
            np.int16
        )
        write_volume(folder / name.format(case=case, contrast=contrast), Volume(data=scan, affine=AFFINE))
    write_volume(folder / name.format(case=case, contrast="seg"), Volume(data=label, affine=AFFINE))


@pytest.fixture
def write_case() -> Callable[..., None]:
    """Writes one case, see :func:`make_case`."""
    return make_case


@pytest.fixture
def challenge(tmp_path: Path) -> Path:
    """Two patients, one scan each: BraTS-GLI-00001-100 and BraTS-GLI-00002-100."""
    for number in (1, 2):
        make_case(tmp_path / "challenge", f"BraTS-GLI-{number:05}-100", seed=number)
    return tmp_path / "challenge"


def make_transforms(**options: Any) -> Compose:
    """The list of ``prepare.yaml``, for scans of 24 cubed."""
    contrasts = options.get("contrasts", CONTRASTS)
    missing = {"allow_missing": options.get("allow_missing_contrasts", False)}
    every = [*contrasts, LABEL]
    return Compose(
        [
            LoadVolumesd(every, **missing),
            ConvertLabelsd(LABEL, convention=options.get("label_convention", "brats2024")),
            AddHeadLabeld(contrasts, **missing),
            NormalizeContrastsd(contrasts, percentiles=options.get("percentiles", (0.5, 99.5)), **missing),
            FitGeometryd(
                every, spatial_size=(32, 32, 32), voxel_mm=options.get("voxel_mm", (1.5, 1.5, 1.5)), **missing
            ),
        ]
    )


@pytest.fixture
def preparation() -> Callable[..., Preparation]:
    """Makes a :class:`Preparation` that works in this process; ``percentiles`` goes to the transforms."""

    def make(dataset_dir: Path, output_dir: Path, **options: Any) -> Preparation:
        transforms = options.pop("transforms", None) or make_transforms(**options)
        options.pop("percentiles", None)
        common: dict[str, Any] = {"spatial_size": (32, 32, 32), "voxel_mm": (1.5, 1.5, 1.5), "num_workers": 0}
        return Preparation(
            dataset_dir=dataset_dir, output_dir=output_dir, transforms=transforms, **{**common, **options}
        )

    return make
