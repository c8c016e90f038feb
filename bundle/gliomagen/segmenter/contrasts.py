"""Training with some contrasts left out, so that each means something by itself."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform


class RandDropContrastsd(RandomizableTransform, MapTransform):
    """Sets a random set of channels, but not all, to 0.

    Args:
        keys: Scans, (C, *S).
        prob: Of leaving any out; then every set but none and all is as likely as every other.
    """

    def __init__(self, keys: KeysCollection, prob: float = 0.5) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Leaves channels out of a case, or does not."""
        case = dict(data)
        self.randomize(None)
        for key in self.keys:
            channels = len(case[key])
            if self._do_transform and channels > 1:
                drawn = int(self.R.randint(1, 2**channels - 1))
                kept = np.array([drawn >> k & 1 for k in range(channels)], bool)
                image = case[key].clone()
                image[~kept] = 0
                case[key] = image
        return case
