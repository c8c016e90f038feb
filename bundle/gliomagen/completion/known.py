"""From an entry's tensors to what the generator is given."""

from __future__ import annotations

import json
import logging
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform
from numpy.typing import NDArray

from ..diffusion.greys import measure_greys
from ..errors import GliomaGenError
from ..labels import HEAD, convention
from ..randomness import numpy_generator
from .requests import DONOR, task_named
from .scan import Scan, edited_label, scan_of
from .slices import axis_named, slices_at
from .tasks import Ask, Given

logger = logging.getLogger(__name__)


class GiveKnownd(Transform):
    """Adds what the generator is given: ``image`` (the label map, (1, *S)), ``labels_known``, ``voxels``, ``voxels_known``.

    Args:
        task: See :data:`.tasks.TASKS`.
        contrasts: Those that may be known.
        network_contrasts: All of the network's, in order.
        axis: ``axial``, ``coronal`` or ``sagittal``, of slices.
        position: Of slices, 0 to 1 within the head; ``drawn``: one of the middle half for each case.
        slices: Their indices, in place of positions.
        margin_mm: By so much is a lesion widened.
        labels: ``given``, or ``unknown``: the generator is not told them.
        style: With a donor: ``slice``, its slices; or ``greys``, its grey levels alone.
        mask_convention: Of edited label maps.
        voxel_mm: Of the weights' training; other voxels are warned of.
        seed: For drawn positions.
    """

    def __init__(
        self,
        *,
        task: str,
        contrasts: Sequence[str],
        network_contrasts: Sequence[str],
        axis: str = "axial",
        position: Sequence[float] | str = (0.5,),
        slices: Sequence[int] | None = None,
        margin_mm: float = 6.0,
        labels: str = "given",
        style: str = "slice",
        mask_convention: str = "prepared",
        voxel_mm: Sequence[float | None] = (None, None, None),
        seed: int = 0,
    ) -> None:
        if labels not in ("given", "unknown"):
            raise GliomaGenError(f"labels '{labels}': choose given or unknown")
        if style not in ("slice", "greys"):
            raise GliomaGenError(f"style '{style}': choose slice or greys")
        if isinstance(margin_mm, bool) or not isinstance(margin_mm, int | float) or margin_mm < 0:
            raise GliomaGenError(f"margin_mm {margin_mm!r}: must be a number from 0 on")
        self.task = task_named(task)
        self.contrasts = tuple(network_contrasts)
        self.may = np.array([name in contrasts for name in network_contrasts])
        self.axis = axis_named(axis)
        if isinstance(position, str) and position != "drawn":
            raise GliomaGenError(f"position '{position}': give numbers from 0 to 1 in a list, or drawn")
        self.position, self.slices = position, slices
        self.margin_mm, self.labels, self.style = float(margin_mm), labels, style
        self.convention = convention(mask_convention)
        self.voxel_mm = tuple(voxel_mm)
        self.seed = seed

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Returns ``case``, what the generator is given, ``original`` and ``source_label``, ``region``, ``record`` (JSON)."""
        scan = scan_of(data, contrasts=self.contrasts)
        self._warn_of_voxels(scan)
        donor = scan_of(data, contrasts=self.contrasts, prefix=DONOR) if f"{DONOR}label" in data else None
        edited = edited_label(scan, data["edited"], self.convention) if "edited" in data else None
        position = self.position
        if isinstance(position, str):
            position = [float(numpy_generator(self.seed, "position", data["case"]).uniform(0.25, 0.75))]
        ask = Ask(
            scan=scan,
            edited=edited,
            donor=donor,
            contrasts=self.may,
            axis=self.axis,
            positions=position,
            slices=self.slices,
            margin_mm=self.margin_mm,
        )
        given = self.task.given(ask)
        greys = None
        if donor is not None and self.style == "greys":
            greys = _greys_of(donor, self.may)
            given = Given(label=given.label, voxels=given.voxels, known=np.zeros_like(given.known))
        names = ("case", "source_case", "patient", "mask_case", "mask_sha256")
        record = {name: data[name] for name in names if name in data}
        if donor is not None:
            record |= {f"donor_{name}": data[f"{DONOR}{name}"] for name in ("case", "patient")}
        elif "donor_case" in data:
            record |= {name: data[name] for name in ("donor_case", "donor_patient")}
        region = given.region if given.region is not None else np.zeros(scan.label.shape, bool)

        def tensor(array: NDArray[Any]) -> MetaTensor:
            return MetaTensor(
                torch.from_numpy(np.ascontiguousarray(array)), affine=torch.as_tensor(scan.affine)
            )

        return {
            "case": data["case"],
            "image": tensor(given.label[None]),
            "labels_known": tensor(np.full((1, *scan.label.shape), self.labels == "given", np.uint8)),
            "voxels": tensor(given.voxels),
            "voxels_known": tensor(given.known),
            "original": tensor(scan.image),
            "source_label": tensor(scan.label[None]),
            "region": tensor(region[None]),
            "record": json.dumps({**record, **given.facts}),  # as a text it passes through a batch unchanged
            **({} if greys is None else {"greys": greys}),
            **self._to_generate(scan, given),
        }

    @staticmethod
    def _to_generate(scan: Scan, given: Given) -> dict[Hashable, Any]:
        if not len(given.generate):
            return {}
        low, high = slices_at(scan, 2, (0, 1), None)
        at = torch.tensor(list(given.generate))
        return {"generate": at, "heights": ((at - low) / max(high - low, 1)).clamp(0, 1)}

    def _warn_of_voxels(self, scan: Scan) -> None:
        for mm, wanted in zip(scan.voxel_mm, self.voxel_mm, strict=True):
            if wanted is not None and abs(np.log(mm / wanted)) > np.log(1.2):
                sizes = [" x ".join(f"{v:g}" for v in of if v) for of in (scan.voxel_mm, self.voxel_mm)]
                logger.warning(
                    "%s: voxels of %s mm, weights trained at %s mm: expect wrong anatomy", scan.name, *sizes
                )
                return


def _greys_of(donor: Scan, may: NDArray[np.bool_]) -> torch.Tensor:
    """Returns the grey levels of a scan, (C, 2); NaN, to be drawn, of contrasts it lacks or that may not be known."""
    healthy = torch.from_numpy(donor.label == HEAD)[None, None]
    greys = measure_greys(torch.from_numpy(donor.image)[None], healthy)[0]
    return torch.where(torch.from_numpy(may & donor.here)[:, None], greys, torch.nan)


def prepare_completion(
    batch: Mapping[str, Any], device: torch.device | str, non_blocking: bool = False, **_: Any
) -> tuple[torch.Tensor, torch.Tensor, tuple[()], dict[str, Any]]:
    """Turns a batch into what the evaluator gives the inferer: MONAI's ``prepare_batch``.

    Args:
        batch: As :class:`GiveKnownd` makes items.
        device: Where the network is.
        non_blocking: As in ``Tensor.to``.
        **_: Not used.
    """
    names = ("image", "labels_known", "voxels", "voxels_known")
    on = {name: torch.as_tensor(batch[name]).to(device, non_blocking=non_blocking) for name in names}
    image = on.pop("image")
    further = {name: batch[name] for name in ("greys", "generate", "heights") if name in batch}
    return image, image, (), {"case_ids": list(batch["case"]), **further, **on}
