"""A prepared scan as completion takes it: its contrasts, some of which may be missing, and its label map."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import GliomaGenError
from ..labels import HEAD, LabelConvention

Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Scan:
    """A scan on one grid.

    Attributes:
        name: For messages.
        image: (C, *S) float32 in [0, 1]; 0 where a contrast is missing.
        here: (C,) which contrasts there are.
        label: (*S) uint8, prepared.
        affine: (4, 4)
    """

    name: str
    image: NDArray[np.float32]
    here: Mask
    label: NDArray[np.uint8]
    affine: NDArray[np.float64]

    @property
    def voxel_mm(self) -> tuple[float, ...]:
        """Edge lengths of a voxel in mm."""
        return tuple(float(mm) for mm in np.linalg.norm(self.affine[:3, :3], axis=0))


def scan_of(case: Mapping[Hashable, Any], *, contrasts: Sequence[str], prefix: str = "") -> Scan:
    """Puts the tensors of a case together.

    Args:
        case: ``label`` (1, *S) and the contrasts it has, each (1, *S) with an affine.
        contrasts: All of the network's, in order.
        prefix: Before the keys.

    Raises:
        GliomaGenError: A contrast does not lie on the label map's grid.
    """
    label = case[f"{prefix}label"]
    affine = np.asarray(label.affine, np.float64)
    image = np.zeros((len(contrasts), *label.shape[1:]), np.float32)
    here = np.array([f"{prefix}{contrast}" in case for contrast in contrasts])
    for channel, contrast in enumerate(contrasts):
        if here[channel]:
            tensor = case[f"{prefix}{contrast}"]
            require_same_grid(tensor, label)
            image[channel] = np.asarray(tensor)[0]
    return Scan(name=file_of(label), image=image, here=here, label=np.asarray(label)[0], affine=affine)


def edited_label(scan: Scan, edited: Any, convention: LabelConvention) -> NDArray[np.uint8]:
    """Returns an edited label map of a scan, its head the scan's own, (*S).

    Args:
        scan: The scan.
        edited: (1, *S)
        convention: Of its labels.

    Raises:
        GliomaGenError: It lies on another grid, has labels that are not of the convention, or lesion outside the scan's head.
    """
    require_same_grid(edited, scan)
    try:
        wanted = convention.to_prepared(np.asarray(edited)[0])
    except GliomaGenError as error:
        raise GliomaGenError(f"{file_of(edited)}: {error}") from None
    outside = int(((wanted > HEAD) & (scan.label == 0)).sum())
    if outside:
        raise GliomaGenError(
            f"{file_of(edited)}: {outside} lesion voxels lie outside the head of {scan.name}; move the lesion inside"
        )
    return np.where(wanted > HEAD, wanted, np.minimum(scan.label, HEAD)).astype(np.uint8)


def require_same_grid(image: Any, like: Any) -> None:
    """Checks that an image lies on the grid of another: equal shape, corners within a tenth of a voxel.

    Args:
        image: (1, *S), with an affine.
        like: Likewise, or a :class:`Scan`.

    Raises:
        GliomaGenError: It does not.
    """
    theirs, name = (
        (like.label.shape, like.name) if isinstance(like, Scan) else (like.shape[1:], file_of(like))
    )
    affine = np.asarray(like.affine, np.float64)
    apart = np.asarray(image.affine, np.float64) - affine
    corners = np.array(np.meshgrid(*[(0, size - 1) for size in theirs])).reshape(3, -1)
    apart_mm = float(np.abs(apart[:3, :3] @ corners + apart[:3, 3:]).max())
    if tuple(image.shape[1:]) != tuple(theirs):
        problem = f"shape {tuple(image.shape[1:])} is not {tuple(theirs)}"
    elif apart_mm > 0.1 * np.linalg.norm(affine[:3, :3], axis=0).min():
        problem = f"its place differs by {apart_mm:.3g} mm"
    else:
        return
    raise GliomaGenError(
        f"{file_of(image)}: not on the grid of {name} ({problem}); bring both to one grid first"
    )


def file_of(image: Any) -> str:
    """Returns the file a tensor came from, for messages."""
    return str(image.meta.get("filename_or_obj", "an image without a file"))
