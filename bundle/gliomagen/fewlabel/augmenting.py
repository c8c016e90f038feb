"""Random changes of labelled samples: those published for fine-tuning, and lesions pasted elsewhere.

The source drew its probabilities from a normal distribution, called a second gamma
brightness, and left masks as they were. Here probabilities are probabilities, and masks move with scans.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from monai.transforms import (
    Compose,
    RandAffined,
    RandFlipd,
    RandSpatialCropd,
)
from torch import Tensor
from torch.nn import functional

from ..diffusion.greys import restore, standardize
from ..randomness import derived_seed, torch_generator
from .features import scan_greys
from .samples import IGNORED, Sample

AROUND = 3
"""Voxels around a pasted lesion that come with it, at most."""


GREYS_CHANGED = 0.6
"""Probability of other grey levels."""


class Augmentation:
    """Mirrors left to right (0.5), rotates and scales (0.3), and changes gamma and brightness of each contrast by itself (0.6).

    The published changes of greys were the same for all contrasts and rare; of real scans, which vary more than that, 20
    labelled slices then taught less than they could (Dice of development patients 0.60 for 0.65).

    Args:
        spatial_dims: 2 or 3.
        crop: Cut out this size first, of volumes that are too large to train on; None: all of it.
    """

    def __init__(self, *, spatial_dims: int, crop: Sequence[int] | None = None) -> None:
        both = ("image", "target")
        turn = 0.35 if spatial_dims == 2 else (0.1, 0.1, 0.35)
        steps = [
            *([RandSpatialCropd(both, roi_size=crop, random_size=False)] if crop else []),
            RandFlipd(both, prob=0.5, spatial_axis=0),
            RandAffined(
                both,
                prob=0.3,
                rotate_range=turn,
                scale_range=[0.1] * spatial_dims,
                mode=("bilinear", "nearest"),
                padding_mode="zeros",
            ),
        ]
        self.change = Compose(steps)

    def __call__(self, image: Tensor, target: Tensor, *key: object) -> tuple[Tensor, Tensor]:
        """Returns a changed sample, and the same one for the same key.

        Args:
            image: (C, *S) in [0, 1].
            target: (*S) classes, negative where nobody learns.
            *key: What the changes are drawn for.
        """
        self.change.set_random_state(seed=derived_seed(0, *key) % 2**32)
        # Outside the field of view nearest interpolation puts 0: shifted by one, that is where nobody learns.
        changed = self.change({"image": image, "target": (target + 1)[None].float()})
        image_after = _other_greys(torch.as_tensor(np.asarray(changed["image"])).clamp(0, 1), *key)
        target_after = torch.as_tensor(np.asarray(changed["target"]))[0].round().long() - 1
        return image_after, target_after


class LesionPaste:
    """Puts a lesion of one labelled sample anywhere into another, in that one's grey levels.

    Among a handful of samples the anatomy around a lesion tells which one it is, and so what to say; what a lesion looks like is
    then not learnt. Pasting parts the two. Up to three voxels around the lesion come with it, so that its edge is a lesion's and
    the edge of what is pasted is none (after CarveMix, Zhang et al. 2021).

    Args:
        samples: Labelled.
        targets: (*S) classes of each.
        augment: Changes the lesion first.
        probability: For which a sample gets one.
    """

    def __init__(
        self, samples: Sequence[Sample], targets: Sequence[Tensor], augment: Augmentation, probability: float
    ) -> None:
        self.samples, self.targets, self.augment = samples, targets, augment
        self.greys = [
            scan_greys(sample.image[None])[0] if sample.greys is None else sample.greys for sample in samples
        ]
        self.bearing = [k for k, target in enumerate(targets) if (target > 0).any()]
        self.probability = probability if self.bearing else 0.0

    def __call__(self, image: Tensor, target: Tensor, into: int, *key: object) -> tuple[Tensor, Tensor]:
        """Returns the sample with a lesion more, or as it is.

        Args:
            image: (C, *S) of a sample, changed or not.
            target: (*S)
            into: Its number.
            *key: What is drawn for.
        """
        generator = torch_generator(0, "paste", *key)
        head = (target != IGNORED).nonzero()
        if not len(head) or float(torch.rand((), generator=generator)) >= self.probability:
            return image, target
        number, place, around = (
            int(torch.randint(count, (), generator=generator))
            for count in (len(self.bearing), len(head), AROUND + 1)
        )
        donor = self.bearing[number]
        lesion, classes = self.augment(self.samples[donor].image, self.targets[donor], "lesion", *key)
        if not (classes > 0).any():
            return image, target
        centre = (classes > 0).nonzero().float().mean(0).round().long()
        shift = (head[place] - centre).tolist()
        axes = tuple(range(classes.ndim))
        classes = classes.roll(shift, axes)
        lesion = lesion.roll(shift, tuple(axis + 1 for axis in axes))[None]
        lesion = restore(standardize(lesion, self.greys[donor][None]), self.greys[into][None])[0].clamp(0, 1)
        inside = target != IGNORED
        where = _grown((classes > 0) & inside, around) & (classes != IGNORED) & inside
        return torch.where(where, lesion, image), torch.where(where, classes, target)


def _other_greys(image: Tensor, *key: object) -> Tensor:
    """Returns the image with another gamma, exp(±0.35), and brightness, ±0.2, of each contrast."""
    generator = torch_generator(0, "other greys", *key)
    if float(torch.rand((), generator=generator)) >= GREYS_CHANGED:
        return image
    gamma, brightness = (
        2 * torch.rand((len(image), *[1] * (image.ndim - 1)), generator=generator) - 1 for _ in range(2)
    )
    return (image ** torch.exp(0.35 * gamma) * (1 + 0.2 * brightness)).clamp(0, 1)


def _grown(region: Tensor, voxels: int) -> Tensor:
    pool = functional.max_pool2d if region.ndim == 2 else functional.max_pool3d
    return pool(region[None, None].float(), 2 * voxels + 1, 1, voxels)[0, 0] > 0
