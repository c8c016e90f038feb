"""The training mix: which part of each sample is given to the network, and which it must make."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import MapTransform, Randomizable
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import GliomaGenError
from ..labels import HEAD
from ..randomness import torch_generator
from .process import Process

Mask = NDArray[np.bool_]
Drawn = tuple[Mask, Mask]
"""Where labels are known (1, *S), where voxels are known (C, *S)."""


def _contrasts(r: np.random.RandomState, count: int, *, all_allowed: bool) -> Mask:
    """Draws a non-empty subset of the contrasts, (C,); of a single one that may not be all, the empty one."""
    if count == 1 and not all_allowed:
        return np.zeros(1, bool)
    while True:
        chosen: Mask = r.rand(count) < r.uniform(0.3, 0.9)
        if chosen.any() and (all_allowed or not chosen.all()):
            return chosen


def _over_contrasts(chosen: Mask, where: Mask) -> Mask:
    """(C,) and (*S) to (C, *S)."""
    return chosen.reshape(-1, *[1] * where.ndim) & where


def _lesion_margin(label: NDArray[Any], r: np.random.RandomState) -> Mask:
    """The lesion with a margin; without a lesion, a ball somewhere in the head."""
    lesion = label > HEAD
    if lesion.any():
        return np.asarray(ndimage.binary_dilation(lesion, iterations=int(r.randint(1, 5))))
    return _ball(label, r)


def _ball(label: NDArray[Any], r: np.random.RandomState) -> Mask:
    """An ellipsoid centred somewhere in the head, up to half of each size wide."""
    inside = np.flatnonzero(label > 0)
    centre = (
        np.unravel_index(inside[r.randint(len(inside))], label.shape) if len(inside) else [0] * label.ndim
    )
    distance = np.zeros(label.shape, np.float32)
    for axis, (at, size) in enumerate(zip(centre, label.shape, strict=True)):
        along = (np.arange(size, dtype=np.float32) - at) / max(size * r.uniform(0.06, 0.25), 1.0)
        distance += along.reshape([-1 if axis == k else 1 for k in range(label.ndim)]) ** 2
    return distance <= 1


def _slices(shape: tuple[int, ...], r: np.random.RandomState) -> Mask:
    """One to three whole slices along one axis."""
    where = np.zeros(shape, bool)
    axis = r.randint(len(shape))
    at = r.randint(shape[axis], size=r.randint(1, 4))
    np.moveaxis(where, axis, 0)[at] = True
    return where


def _mask(label: NDArray[Any], contrasts: int, r: np.random.RandomState) -> Drawn:
    """Labels only: synthesis from a label map."""
    return np.ones((1, *label.shape), bool), np.zeros((contrasts, *label.shape), bool)


def _none(label: NDArray[Any], contrasts: int, r: np.random.RandomState) -> Drawn:
    """Nothing: guidance, features."""
    return np.zeros((1, *label.shape), bool), np.zeros((contrasts, *label.shape), bool)


def _lesion_labels(label: NDArray[Any], contrasts: int, r: np.random.RandomState) -> Drawn:
    """Lesion labels only: a challenge mask with no scan beside it says nothing of where the head is."""
    return (label > HEAD)[None], np.zeros((contrasts, *label.shape), bool)


def _missing_contrasts(label: NDArray[Any], contrasts: int, r: np.random.RandomState) -> Drawn:
    """Labels and some contrasts; a third of the time without labels."""
    given = _contrasts(r, contrasts, all_allowed=False)
    where = _over_contrasts(given, np.ones(label.shape, bool))
    return np.full((1, *label.shape), r.rand() > 1 / 3), where


def _contrasts_alone(label: NDArray[Any], contrasts: int, r: np.random.RandomState) -> Drawn:
    """Some contrasts, no labels: for what is learnt without them."""
    given = _contrasts(r, contrasts, all_allowed=False)
    return np.zeros((1, *label.shape), bool), _over_contrasts(given, np.ones(label.shape, bool))


def _informed_slices(label: NDArray[Any], contrasts: int, r: np.random.RandomState) -> Drawn:
    """Labels and one to three slices in some contrasts."""
    given = _contrasts(r, contrasts, all_allowed=True)
    return np.ones((1, *label.shape), bool), _over_contrasts(given, _slices(label.shape, r))


def _outside_lesion(label: NDArray[Any], contrasts: int, r: np.random.RandomState) -> Drawn:
    """Labels and everything but the lesion and a margin: lesion insertion."""
    where = ~_lesion_margin(label, r)
    return np.ones((1, *label.shape), bool), np.broadcast_to(where, (contrasts, *label.shape)).copy()


def _outside_ball(label: NDArray[Any], contrasts: int, r: np.random.RandomState) -> Drawn:
    """Labels and everything but an ellipsoid: inpainting, of healthy tissue too."""
    where = ~_ball(label, r)
    return np.ones((1, *label.shape), bool), np.broadcast_to(where, (contrasts, *label.shape)).copy()


TASKS: dict[str, Callable[[NDArray[Any], int, np.random.RandomState], Drawn]] = {
    "mask": _mask,
    "none": _none,
    "lesion_labels": _lesion_labels,
    "missing_contrasts": _missing_contrasts,
    "contrasts_alone": _contrasts_alone,
    "informed_slices": _informed_slices,
    "outside_lesion": _outside_lesion,
    "outside_ball": _outside_ball,
}


class DrawTaskd(MapTransform, Randomizable):
    """Draws a task and adds ``labels_known`` (1, *S) and ``voxels_known`` (C, *S), bool.

    Args:
        keys: The image, (C, *S).
        label_key: The prepared label map, (1, *S).
        shares: Weight of each task of :data:`TASKS`; they need not sum to 1.

    Raises:
        GliomaGenError: A task is not known.
    """

    def __init__(self, *, keys: str, label_key: str = "label", shares: Mapping[str, float]) -> None:
        super().__init__(keys)
        unknown = sorted(set(shares) - set(TASKS))
        if unknown:
            raise GliomaGenError(f"tasks {unknown} are not known; choose among {sorted(TASKS)}")
        self.label_key = label_key
        self.names = list(shares)
        self.shares = np.asarray(list(shares.values()), float) / sum(shares.values())
        self.task = self.names[0]

    def randomize(self, data: Any = None) -> None:
        """Draws the task."""
        self.task = self.names[int(self.R.choice(len(self.names), p=self.shares))]

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Adds the two masks to a sample."""
        self.randomize()
        label = np.asarray(data[self.label_key])[0]
        contrasts = data[self.first_key(data)].shape[0]
        labels_known, voxels_known = TASKS[self.task](label, contrasts, self.R)
        return {
            **data,
            "labels_known": torch.from_numpy(labels_known),
            "voxels_known": torch.from_numpy(voxels_known),
        }


class DrawNoised(MapTransform, Randomizable):
    """Draws the training time ``time`` () and the noise ``noise`` (C, *S) of a sample.

    The noise is drawn voxel-wise: an orthonormal basis leaves it white.

    Args:
        keys: The image, (C, *S).
        process: Says how times are distributed.
        times: Fixed times in place of drawn ones (validation): sample n takes ``times[n % len(times)]``, so that
            the validation loss is a curve and not a cloud.
    """

    def __init__(self, *, keys: str, process: Process, times: Sequence[float] | None = None) -> None:
        super().__init__(keys)
        self.process = process
        self.times = None if times is None else [float(t) for t in times]

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Adds time and noise to a sample."""
        image = data[self.first_key(data)]
        generator = torch_generator(int(self.R.randint(2**31 - 1)))
        time = self.process.draw_times(1, generator)[0]
        if self.times is not None:
            time = torch.tensor(self.times[int(data["number"]) % len(self.times)])
        noise = torch.randn(tuple(image.shape), generator=generator)
        return {**data, "time": time.float(), "noise": noise}
