"""What a forecast needs of a patient: label maps and contrasts of the visits, on one grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import GliomaGenError
from ..volume import Volume, read_volume
from .fitting import Measured
from .spread import Labels, burden_mm3
from .tissue import Float
from .visits import History, Task, Visit


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One visit's scan, axes RAS.

    Attributes:
        case: Name.
        images: By contrast, (X, Y, Z) in [0, 1].
        labels: (X, Y, Z) prepared.
        affine: (4, 4)
        original: Label map as it is stored.
    """

    case: str
    images: dict[str, Float]
    labels: Labels
    affine: NDArray[np.float64]
    original: Volume

    @property
    def voxel_mm(self) -> tuple[float, ...]:
        """Voxel size."""
        return tuple(np.linalg.norm(self.affine[:3, :3], axis=0).tolist())


class Visits:
    """Reads visits of a prepared cohort.

    Args:
        entries: Data list.
        contrasts: That may be there.
    """

    def __init__(self, entries: Sequence[Mapping[str, Any]], contrasts: Sequence[str]) -> None:
        self.entries = {str(entry["case"]): entry for entry in entries}
        self.contrasts = list(contrasts)

    def seen(self, visit: Visit, *, like: Seen | None = None) -> Seen:
        """Reads a visit's scan.

        Args:
            visit: Which.
            like: The scan whose grid it must be on.

        Raises:
            GliomaGenError: The case is not in the cohort or not labelled, or lies on another grid.
        """
        entry = self.entries.get(visit.case)
        if entry is None:
            raise GliomaGenError(f"case '{visit.case}' of {visit.date} is not in the prepared cohort")
        if "label" not in entry:
            raise GliomaGenError(
                f"case '{visit.case}' of {visit.date} has no label map; a forecast needs one"
            )
        original = read_volume(entry["label"])
        label = original.to_ras()
        found = {name: read_volume(entry[name]).to_ras() for name in self.contrasts if name in entry}
        if like is not None:
            label = _on_grid(label, like, entry["label"])
            found = {name: _on_grid(volume, like, entry[name]) for name, volume in found.items()}
        images = {name: np.asarray(volume.data, np.float32) for name, volume in found.items()}
        return Seen(
            case=visit.case,
            images=images,
            labels=np.asarray(label.data, np.uint8),
            affine=label.affine,
            original=original,
        )

    def measured(self, history: History, last: Seen) -> Measured:
        """Returns a patient's burden so far, measured from label maps where the table does not tell it.

        Args:
            history: What is known.
            last: Its last scan, whose grid all share.
        """
        first = history.visits[0].date
        burdens = []
        for visit in history.visits:
            if visit.burden_mm3 is not None:
                burdens.append(visit.burden_mm3)
                continue
            seen = last if visit.case == last.case else self.seen(visit, like=last)
            burdens.append(burden_mm3(seen.labels, seen.voxel_mm))
        return Measured(
            days=tuple(float((visit.date - first).days) for visit in history.visits),
            burden=tuple(burdens),
            courses=history.courses(),
        )


def _on_grid(volume: Volume, like: Seen, path: str) -> Volume:
    """Returns the volume on another scan's grid, if its voxels are the same ones: only its field of view may be another."""
    ahead = np.linalg.inv(like.affine) @ volume.affine
    steps: list[int] = np.rint(ahead[:3, 3]).astype(int).tolist()
    if not np.allclose(ahead[:3, :3], np.eye(3), atol=1e-3) or not np.allclose(
        ahead[:3, 3], steps, atol=0.05
    ):
        raise GliomaGenError(
            f"{path}: lies on another grid than {like.case}; register the visits of a patient to one another before preparing them"
        )
    data: NDArray[Any] = np.zeros(like.labels.shape, volume.data.dtype)
    here: list[slice] = []
    there: list[slice] = []
    for step, size, own in zip(steps, data.shape, volume.data.shape, strict=True):
        here.append(slice(max(step, 0), max(min(size, own + step), 0)))
        there.append(slice(max(-step, 0), max(min(own, size - step), 0)))
    data[tuple(here)] = volume.data[tuple(there)]
    return Volume(data=data, affine=like.affine)


def forecast_day(task: Task) -> float:
    """Returns the day that is forecast, since the first visit that is known."""
    return float((task.day - task.known.visits[0].date).days)
