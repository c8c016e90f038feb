"""Synthetic cases as NIfTI files, each with a sidecar that says what made it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from .. import __version__
from ..errors import GliomaGenError
from ..files import file_sha256, read_json, write_json
from ..machine import is_mine
from ..volume import Volume, write_volume


class CaseWriter:
    """Writes ``<output_dir>/<case>/<case>-<contrast>.nii.gz`` and then, last, the sidecar ``<case>.json``.

    A case with a sidecar is finished; one without is made anew.

    Args:
        output_dir: Where the cases go.
        contrasts: Names of the channels.
        settings: What made the cases: sampler, steps, seed, hash of the weights. A folder holds cases of one
            setting; others are refused.
    """

    def __init__(
        self, *, output_dir: str | Path, contrasts: Sequence[str], settings: Mapping[str, Any]
    ) -> None:
        self.output_dir = Path(output_dir)
        self.contrasts = tuple(contrasts)
        self.settings = {"synthetic": True, "package_version": __version__, **settings}

    def sidecar(self, case: str) -> Path:
        """Returns where the sidecar of a case stands."""
        return self.output_dir / case / f"{case}.json"

    def pending(self, entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Returns this process's entries that are not finished.

        Raises:
            GliomaGenError: A finished case was made with other settings.
        """
        left = []
        for entry in entries:
            case = entry["case"]
            if not is_mine(case):
                continue
            if self.sidecar(case).is_file():
                self._refuse_other_settings(case)
            else:
                left.append(dict(entry))
        return left

    def write(
        self,
        case: str,
        volumes: NDArray[Any],
        affine: NDArray[Any],
        facts: Mapping[str, Any],
        masks: Mapping[str, NDArray[np.uint8]] | None = None,
    ) -> None:
        """Writes one case.

        Args:
            case: Its name.
            volumes: (C, X, Y, Z), [0, 1]; stored as float32.
            affine: (4, 4)
            facts: What is particular to this case: source mask, network calls.
            masks: Further images, by what their names end in, (X, Y, Z).
        """
        folder = self.output_dir / case
        images: dict[str, NDArray[Any]] = dict(zip(self.contrasts, volumes.astype(np.float32), strict=True))
        images.update(masks or {})
        paths = {folder / f"{case}-{name}.nii.gz": data for name, data in images.items()}
        try:
            for path, data in paths.items():
                write_volume(path, Volume(data=data, affine=affine))
            write_json(self.sidecar(case), {"case": case, **self.settings, **facts})
        except GliomaGenError:  # no room, say: some contrasts alone are worth nothing
            for path in paths:
                path.unlink(missing_ok=True)
            raise

    def _refuse_other_settings(self, case: str) -> None:
        made = read_json(self.sidecar(case))
        for name, value in self.settings.items():
            if made.get(name) != value:
                raise GliomaGenError(
                    f"{self.sidecar(case)}: was made with {name} {made.get(name)}, not {value}; choose another output_dir"
                )


class SaveSynthetic:
    """Postprocessing step of the evaluator: writes the prediction on the mask's own grid.

    Args:
        writer: Where cases go.
        inferer: Its ``network_calls`` are recorded.
        restore: ``restore(pred, item)`` brings (C, X, Y, Z) to the mask's own grid and says its affine.
    """

    def __init__(
        self,
        *,
        writer: CaseWriter,
        inferer: Any,
        restore: Callable[[NDArray[Any], Mapping[str, Any]], tuple[NDArray[Any], NDArray[Any]]],
    ) -> None:
        self.writer = writer
        self.inferer = inferer
        self.restore = restore

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        """Writes ``item['pred']`` of ``item['case']``; returns the item."""
        volumes, affine = self.restore(torch.as_tensor(item["pred"]).cpu().numpy(), item)
        mask = item.get("mask_file")
        facts = {
            "mask": Path(mask).name if mask else None,
            "mask_sha256": file_sha256(mask) if mask else None,
            "network_calls": self.inferer.network_calls,
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
        }
        self.writer.write(str(item["case"]), volumes, affine, facts)
        return item


def prepare_synthesis(
    batch: Mapping[str, Any], device: torch.device | str, non_blocking: bool = False, **_: Any
) -> tuple[torch.Tensor, torch.Tensor, tuple[()], dict[str, Any]]:
    """Turns a batch into what the evaluator gives the inferer: MONAI's ``prepare_batch``.

    Args:
        batch: ``image`` label map (B, 1, *S), ``labels_known`` (B, 1, *S), ``case``, and ``position`` (B, slices) where
            the heights of slices are stated.
        device: Where the network is.
        non_blocking: As in ``Tensor.to``.
        **_: Not used.
    """
    image = torch.as_tensor(batch["image"]).to(device, non_blocking=non_blocking)
    known = torch.as_tensor(batch["labels_known"]).to(device, non_blocking=non_blocking)
    stated = {"position": torch.as_tensor(batch["position"])} if "position" in batch else {}
    return image, image, (), {"case_ids": list(batch["case"]), "labels_known": known, **stated}


def run_pending(evaluator: Any, dataset: Dataset[Any]) -> None:
    """Runs the evaluator if there is a case to do; an engine cannot run over nothing."""
    if len(dataset):  # type: ignore[arg-type]
        evaluator.run()
