"""Random changes of labelled samples, as published for fine-tuning, with probabilities that are probabilities.

The source drew them from a normal distribution, called a second gamma brightness, and left masks as they were.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from monai.transforms import (
    Compose,
    RandAdjustContrastd,
    RandAffined,
    RandFlipd,
    RandScaleIntensityd,
    RandSpatialCropd,
)
from torch import Tensor

from ..randomness import derived_seed


class Augmentation:
    """Mirrors left to right (0.5), rotates and scales (0.3), changes gamma (0.2) and brightness (0.1) of each contrast.

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
            RandAdjustContrastd("image", prob=0.2, gamma=(0.7, 1.4)),
            RandScaleIntensityd("image", factors=0.15, prob=0.1, channel_wise=True),
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
        image_after = torch.as_tensor(np.asarray(changed["image"])).clamp(0, 1)
        target_after = torch.as_tensor(np.asarray(changed["target"]))[0].round().long() - 1
        return image_after, target_after
