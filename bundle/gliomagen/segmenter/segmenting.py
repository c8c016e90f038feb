"""Scans in, label files out: what stands around the evaluator of ``segment.yaml``."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from monai.transforms import MapTransform

from ..errors import GliomaGenError
from ..files import write_json
from ..labels import convention
from ..volume import Volume, write_volume

logger = logging.getLogger(__name__)


class Cases(Protocol):
    """Says where cases go and which are finished: those that have a sidecar."""

    settings: Mapping[str, Any]

    def sidecar(self, case: str) -> Path:
        """Returns where the sidecar of a case stands."""
        ...


class CheckScand(MapTransform):
    """Refuses a scan that was not prepared: the network would label it all the same, and wrongly.

    Args:
        keys: The scan, (C, X, Y, Z); ``case`` names it.
        voxel_mm: Of the weights' training. Voxels more than a fifth off are warned of; null axes are not compared.
    """

    def __init__(self, keys: str, *, voxel_mm: Sequence[float | None]) -> None:
        super().__init__(keys)
        self.voxel_mm = tuple(voxel_mm)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Checks the scan of one case.

        Raises:
            GliomaGenError: Its intensities are not in [0, 1].
        """
        case = dict(data)
        for key in self.keys:
            image = case[key]
            low, high = float(image.min()), float(image.max())
            if low < -1e-3 or high > 1 + 1e-3:
                raise GliomaGenError(
                    f"{image.meta.get('filename_or_obj', case['case'])}: intensities from {low:g} to {high:g}, "
                    "not 0 to 1; run preparing first"
                )
            here_mm = np.linalg.norm(np.asarray(image.affine, np.float64)[:3, :3], axis=0)
            pairs = [(a, b) for a, b in zip(here_mm, self.voxel_mm, strict=True) if b is not None]
            if any(abs(np.log(a / b)) > np.log(1.2) for a, b in pairs):
                logger.warning(
                    "%s: voxels of %s mm, weights trained at %s mm: expect wrong labels",
                    case["case"],
                    " x ".join(f"{size:g}" for size in here_mm),
                    " x ".join("any" if size is None else f"{size:g}" for size in self.voxel_mm),
                )
        return case


class SaveLabels:
    """Postprocessing step of the evaluator: writes ``<case>-seg.nii.gz`` on the scan's grid, then the sidecar.

    Args:
        output_dir: Where the cases go.
        cases: Knows the sidecar and what goes into all of them.
        label_convention: Of the files written.

    Raises:
        GliomaGenError: There is no such convention.
    """

    def __init__(self, *, output_dir: str | Path, cases: Cases, label_convention: str) -> None:
        self.output_dir = Path(output_dir)
        self.cases = cases
        self.convention = convention(label_convention)

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        """Writes the likeliest label of each voxel of ``item['pred']``, (L, X, Y, Z); returns the item.

        Raises:
            GliomaGenError: The convention has no number for a label found, or the files cannot be written.
        """
        case = str(item["case"])
        path = self.output_dir / case / f"{case}-seg.nii.gz"
        label = torch.as_tensor(item["pred"]).argmax(0).to(torch.uint8).cpu().numpy()
        try:
            numbers = self.convention.from_prepared(label)
        except GliomaGenError as error:
            raise GliomaGenError(f"{path}: {error}; choose another label_convention") from None
        write_volume(path, Volume(data=numbers, affine=np.asarray(item["image"].affine, np.float64)))
        facts = {"torch": torch.__version__, "threads": torch.get_num_threads()}
        write_json(self.cases.sidecar(case), {"case": case, **self.cases.settings, **facts})
        return item
