"""Completed scans as files: cases with a sidecar that says which voxels were given, or cases of an nnU-Net data set."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from ..diffusion.blending import blended
from ..export.cases import CaseWriter, run_pending
from ..export.nnunet import NnunetWriter
from ..labels import HEAD
from .scan import Mask

logger = logging.getLogger(__name__)


def bits(known: Mask) -> NDArray[np.uint8]:
    """Packs which contrasts are known, (C, *S), into one image: bit k for contrast k."""
    weight = (1 << np.arange(len(known))).reshape(-1, *[1] * (known.ndim - 1))
    return np.asarray((known * weight).sum(0), np.uint8)


class SaveCompletion:
    """Postprocessing step of the evaluator: writes a completed scan, its label map, and which voxels were given.

    Args:
        writer: Of cases, or of an nnU-Net data set.
        inferer: Its ``network_calls`` are recorded.
        blend_mm: See :func:`blended`.
    """

    def __init__(self, *, writer: CaseWriter | NnunetWriter, inferer: Any, blend_mm: float = 0.0) -> None:
        self.writer = writer
        self.inferer = inferer
        self.blend_mm = float(blend_mm)
        self.since = time.monotonic()

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        """Writes ``item['pred']`` of ``item['case']``; returns the item."""
        case, record = str(item["case"]), json.loads(item["record"])
        arrays = {
            name: torch.as_tensor(item[name]).cpu().numpy()
            for name in ("pred", "original", "region", "voxels_known", "image", "source_label")
        }
        label, source = arrays["image"][0].astype(np.uint8), arrays["source_label"][0]
        known = arrays["voxels_known"].astype(bool)
        affine = np.asarray(item["image"].affine, np.float64)
        volumes: NDArray[np.float32] = np.where(
            ~known & (label == 0), 0, arrays["pred"]
        )  # also where labels were not told
        mixed = blended(
            volumes,
            arrays["original"],
            arrays["region"][0],
            head=label > 0,
            lesion=(label > HEAD) | (source > HEAD),
            voxel_mm=tuple(np.linalg.norm(affine[:3, :3], axis=0)),
            band_mm=self.blend_mm,
        )
        some_known = known.any(tuple(range(1, known.ndim)), keepdims=True)  # of a contrast
        volumes = np.where(some_known, mixed, volumes)
        facts = {
            **record,
            "given_share": [round(float(share), 6) for share in known.mean((1, 2, 3))],
            "network_calls": self.inferer.network_calls,
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
        }
        if isinstance(self.writer, NnunetWriter):
            before, self.since = self.since, time.monotonic()
            self.writer.write(case, volumes, label, affine, _as_parents(facts), self.since - before)
        else:
            self.writer.write(case, volumes, affine, facts, masks={"seg": label, "given": bits(known)})
        return item


def _as_parents(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Names where a case comes from as the records of data sets do, so that nobody's children meet their parents."""
    named = {"source_patient": facts["patient"], "mask_case": facts.get("mask_case", facts["source_case"])}
    donors = {name: facts.get(name) for name in ("donor_case", "donor_patient")}
    return {**facts, **named, **donors, "policy": None, "parameters": None}


def run_completion(evaluator: Any, dataset: Dataset[Any], writer: CaseWriter | NnunetWriter) -> None:
    """Makes this process's cases; after the last of all, a data set is completed."""
    run_pending(evaluator, dataset)
    if isinstance(writer, NnunetWriter) and writer.complete():
        logger.info("%s: complete", writer.folder)
