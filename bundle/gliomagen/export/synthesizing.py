"""Label maps in, cases of an nnU-Net data set out: what stands around the evaluator of ``synthesize.yaml``."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import MapTransform
from numpy.typing import NDArray
from torch.utils.data import Dataset

from ..errors import GliomaGenError
from ..files import file_sha256, read_json
from ..labels import HEAD
from ..volume import Volume
from .background import BackgroundWriter
from .cases import run_pending
from .nnunet import NnunetWriter
from .nnunet_form import to_dataset_labels

logger = logging.getLogger(__name__)

PARENTS = ("source_case", "source_patient", "donor_case", "donor_patient", "policy", "parameters")
"""What a varied label map's own record says of where it comes from."""

Restore = Callable[[NDArray[Any], Mapping[str, Any]], tuple[NDArray[Any], NDArray[Any]]]


def with_seeds(
    entries: Sequence[Mapping[str, Any]], *, masks: Sequence[Mapping[str, Any]], seeds_per_mask: int
) -> list[dict[str, Any]]:
    """Returns an entry for each volume to be: ``<mask>-s0`` and so on, whose names make their noise differ.

    Args:
        entries: Inputs of the generator, with ``case`` and the label map's file ``image``.
        masks: The data list they come from, with ``case`` and ``patient``.
        seeds_per_mask: Volumes of each label map.

    Raises:
        GliomaGenError: The number is not 1 or more.
    """
    if isinstance(seeds_per_mask, bool) or not isinstance(seeds_per_mask, int) or seeds_per_mask < 1:
        raise GliomaGenError(f"seeds_per_mask {seeds_per_mask!r}: must be a whole number, 1 or more")
    patients = {str(mask["case"]): str(mask.get("patient", mask["case"])) for mask in masks}
    return [
        {**entry, "case": f"{mask}-s{k}", "mask_case": mask, "patient": patients.get(mask, mask)}
        for entry in entries
        for mask in [str(entry["case"])]
        for k in range(seeds_per_mask)
    ]


def parents_of(mask: str | Path, case: str, patient: str) -> dict[str, Any]:
    """Returns which cases and patients a label map goes back to.

    Args:
        mask: Its file. A record ``<case>.json`` beside it, as variation writes it, says where it comes from.
        case: Its own name, which is its source if there is no such record.
        patient: Its own patient.

    Returns:
        The keys :data:`PARENTS`.

    Raises:
        GliomaGenError: The record is not readable, or names a source case without its patient.
    """
    path = Path(mask).with_name(f"{case}.json")
    record = read_json(path) if path.is_file() else None
    if not isinstance(record, dict) or "source_case" not in record:
        return {**dict.fromkeys(PARENTS), "source_case": case, "source_patient": patient}
    for part in ("source", "donor"):
        if record.get(f"{part}_case") and not record.get(f"{part}_patient"):
            raise GliomaGenError(
                f"{path}: names the {part} case but not its {part}_patient, so that nobody could keep patients apart; "
                "add it"
            )
    return {name: record.get(name) for name in PARENTS}


class CheckMaskd(MapTransform):
    """Refuses a label map of which no training case can be made, before time goes into sampling.

    Args:
        keys: The label map, in prepared labels; ``labels_known`` is there.
        labels: Form of the data set's label maps, ``challenge`` or ``prepared``.
        max_lesion: Largest share of the head that a lesion may fill. Measured ones stay below a third.
    """

    def __init__(self, keys: str, *, labels: str, max_lesion: float = 0.5) -> None:
        super().__init__(keys)
        self.labels = labels
        self.max_lesion = max_lesion

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Checks the label map of one case.

        Raises:
            GliomaGenError: No head where it is needed, a lesion larger than a head allows, or a label that the data
                set's convention lacks.
        """
        case = dict(data)
        for key in self.keys:
            label = np.asarray(case[key])
            file = case[key].meta.get("filename_or_obj", key)
            known = bool(np.asarray(case["labels_known"]).all())
            if (known or self.labels == "prepared") and not (label == HEAD).any():
                raise GliomaGenError(
                    f"{file}: has no head (label {HEAD}); prepare it, or name its label_convention and put its scan beside"
                )
            share = float((label > HEAD).sum() / max(1, (label > 0).sum()))
            if known and share > self.max_lesion:
                raise GliomaGenError(
                    f"{file}: its lesion fills {share:.0%} of the head, more than a head allows ({self.max_lesion:.0%}); "
                    "mend or leave out the label map"
                )
            to_dataset_labels(label, self.labels, where=file)
        return case


class SaveToDataset:
    """Postprocessing step of the evaluator: gives the prediction to the data set's writer, which works beside.

    Args:
        writer: Of the data set.
        background: Does the writing.
        inferer: Its ``network_calls`` are recorded.
        restore: ``restore(pred, item)`` brings (C, X, Y, Z) to the mask's own grid and says its affine.
    """

    def __init__(
        self, *, writer: NnunetWriter, background: BackgroundWriter, inferer: Any, restore: Restore
    ) -> None:
        self.writer = writer
        self.background = background
        self.inferer = inferer
        self.restore = restore
        self.since = time.monotonic()

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        """Takes ``item['pred']`` of ``item['case']``; returns the item."""
        pred = torch.as_tensor(item["pred"])
        volumes = pred.cpu().numpy()  # (C, X, Y, Z), on the network's grid
        facts = {
            "network_calls": self.inferer.network_calls,
            "device": pred.device.type,
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
        }
        kept = {name: item[name] for name in ("case", "image", "mask_file", "mask_case", "patient", "native")}
        before, self.since = self.since, time.monotonic()
        seconds = self.since - before  # with reading and waiting; of the first case with the start
        self.background(lambda: self._write(volumes, kept, facts, seconds))
        return item

    def _write(
        self, volumes: NDArray[Any], item: Mapping[str, Any], facts: Mapping[str, Any], seconds: float
    ) -> None:
        restored, affine = self.restore(volumes, item)
        native = item["native"]
        label = Volume(data=np.asarray(native["label"]), affine=np.asarray(native["affine"], np.float64))
        mask, mask_case = str(item["mask_file"]), str(item["mask_case"])
        made = {
            "mask": Path(mask).name,
            "mask_case": mask_case,
            "mask_sha256": file_sha256(mask),
            **parents_of(mask, mask_case, str(item["patient"])),
            **facts,
        }
        oriented = label.oriented_like(affine).data
        self.writer.write(str(item["case"]), restored, oriented, affine, made, seconds)


def run_synthesis(
    evaluator: Any, dataset: Dataset[Any], *, writer: NnunetWriter, background: BackgroundWriter
) -> None:
    """Makes this process's cases, waits until they are written and, after the last of all, completes the data set."""
    background.expect(writer.mine, writer.finished)
    try:
        run_pending(evaluator, dataset)
    except BaseException:
        with contextlib.suppress(Exception):  # the first error is the one to tell
            background.close()
        raise
    background.close()
    if writer.complete():
        logger.info("%s: complete", writer.folder)
    else:
        logger.info("%s: the cases of this process are finished, others are not", writer.folder)
