"""Prepared cases as samples: a case's slices for the 2-D network, the case itself for the 3-D one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..diffusion.inferer import SynthesisInferer
from ..errors import GliomaGenError
from ..volume import Volume, read_volume
from .features import scan_greys
from .samples import Sample

logger = logging.getLogger(__name__)

Fill = Callable[[Tensor, Tensor, str], Tensor]
"""``fill(image (C, X, Y, Z), here (C,), case)`` returns the scan with contrasts that are not there made."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A prepared case, axes RAS.

    Attributes:
        name: Its name.
        patient: Whose it is.
        image: (C, X, Y, Z) float32 in [0, 1], 0 outside the head.
        label: (X, Y, Z) prepared labels, or None where nobody labelled it.
        affine: Of both.
        original: Any of its files as it is stored, to bring results back to its axes.
        made: Contrasts that were not there, and were made of the others.
    """

    name: str
    patient: str
    image: Tensor
    label: Tensor | None
    affine: NDArray[np.float64]
    original: Volume
    made: tuple[str, ...] = ()

    def samples(self, spatial_dims: int, only: Sequence[int] | None = None) -> list[Sample]:
        """Returns the case as samples: axial slices that show some head, or the whole.

        Args:
            spatial_dims: Of the network.
            only: Indices of the slices to take, in RAS; None: all.

        Raises:
            GliomaGenError: There is no such slice.
        """
        label = torch.zeros(self.image.shape[1:], dtype=torch.uint8) if self.label is None else self.label
        greys = scan_greys(self.image[None])[0]
        if spatial_dims == 3:
            return [Sample(name=self.name, case=self.name, image=self.image, label=label, greys=greys)]
        shows = (self.image > 0).any(0).flatten(0, 1).any(0).nonzero().flatten().tolist()
        depth = self.image.shape[-1]
        if only is not None and (beyond := [z for z in only if not 0 <= z < depth]):
            raise GliomaGenError(f"case {self.name}: slices {beyond} are not in it; it has 0 to {depth - 1}")
        low, high = (shows[0], shows[-1]) if shows else (0, depth - 1)
        return [
            Sample(
                name=f"{self.name}-{z}",
                case=self.name,
                image=self.image[..., z].contiguous(),
                label=label[..., z].contiguous(),
                greys=greys,
                position=(z - low) / max(high - low, 1) if depth > 1 else float("nan"),
            )
            for z in (shows if only is None else only)
        ]


class MakeMissing:
    """Makes contrasts that a scan lacks of those it has: the generator is given these as known voxels, and no labels.

    Args:
        network: The generator's.
        inferer: Samples with it.
        device: Where it runs.
    """

    def __init__(
        self, *, network: nn.Module, inferer: SynthesisInferer, device: torch.device | str = "cpu"
    ) -> None:
        self.network = network
        self.inferer = inferer
        self.device = torch.device(device)

    def __call__(self, image: Tensor, here: Tensor, case: str) -> Tensor:
        """Returns the whole scan, (C, X, Y, Z).

        Args:
            image: (C, X, Y, Z); 0 where not there.
            here: (C,) which contrasts are there.
            case: Named for the noise.
        """
        nothing = torch.zeros_like(image[:1])[None]
        known = here.reshape(1, -1, 1, 1, 1).expand(1, *image.shape)
        told = {"labels_known": nothing, "voxels": image[None], "voxels_known": known}
        moved = {name: part.to(self.device) for name, part in told.items()}
        made = self.inferer(nothing.to(self.device), self.network, case_ids=[case], **moved)[0].cpu()
        return made * (image > 0).any(0)


def read_case(
    entry: Mapping[str, Any], contrasts: Sequence[str], *, labelled: bool, fill: Fill | None = None
) -> Case:
    """Reads a case of a prepared cohort.

    Args:
        entry: Of the data list.
        contrasts: Of the network, in order.
        labelled: Its label map is read.
        fill: Makes contrasts that are not there.

    Raises:
        GliomaGenError: It has none of the contrasts, lacks one that nothing can make, or is not prepared.
    """
    name = str(entry["case"])
    here = [contrast for contrast in contrasts if contrast in entry]
    lacking = tuple(contrast for contrast in contrasts if contrast not in entry)
    if not here or (lacking and fill is None):
        raise GliomaGenError(
            f"case {name}: lacks {', '.join(lacking)}; choose weights for the contrasts it has"
        )
    volumes = {contrast: read_volume(entry[contrast]) for contrast in here}
    first = volumes[here[0]]
    ras = {contrast: volume.to_ras() for contrast, volume in volumes.items()}
    shape = next(iter(ras.values())).data.shape
    image = torch.zeros(len(contrasts), *shape)
    for k, contrast in enumerate(contrasts):
        if contrast in ras:
            image[k] = torch.from_numpy(np.asarray(ras[contrast].data, np.float32))
    if float(image.min()) < -1e-3 or float(image.max()) > 1 + 1e-3:
        raise GliomaGenError(f"{entry[here[0]]}: intensities beyond 0 to 1; run preparing first")
    if lacking and fill is not None:
        logger.warning("case %s: %s not there, made of %s", name, ", ".join(lacking), ", ".join(here))
        image = fill(image, torch.tensor([contrast in ras for contrast in contrasts]), name)
    label = None
    if labelled:
        numbers = read_volume(entry["label"]).to_ras().data
        label = torch.from_numpy(np.asarray(numbers, np.uint8))
    return Case(
        name=name,
        patient=str(entry["patient"]),
        image=image.clamp(0, 1),
        label=label,
        affine=next(iter(ras.values())).affine,
        original=first,
        made=lacking,
    )
