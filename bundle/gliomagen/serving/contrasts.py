"""For hosts of MONAI bundles: the scan of a label map on the label map's own grid, whole or one contrast of it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform
from numpy.typing import NDArray

from ..errors import GliomaGenError

Restore = Callable[[NDArray[Any], Mapping[Hashable, Any]], tuple[NDArray[Any], NDArray[Any]]]


class RestoreContrastsd(MapTransform):
    """Brings a prediction to the grid of the label map's own file.

    Args:
        keys: The prediction, (C, X, Y, Z).
        image_key: The label map. Its geometry becomes that of its own file, where hosts look for it.
        contrasts: Names of the channels.
        contrast: The only one to give, or a list that a host shows as a choice, whose first is given until one is
            chosen; None gives all. (MONAI Label's writer makes a four-channel volume a file that cannot be opened.)
        restore: ``restore(pred, item)`` brings (C, X, Y, Z) to the label map's own grid and says its affine.
    """

    def __init__(
        self,
        keys: str,
        *,
        image_key: str,
        contrasts: Sequence[str],
        contrast: str | Sequence[str] | None = None,
        restore: Restore,
    ) -> None:
        super().__init__(keys)
        self.image_key = image_key
        self.channels = slice(None)
        if contrast is not None:
            name = contrast if isinstance(contrast, str) else contrast[0]
            if name not in contrasts:
                raise GliomaGenError(f"contrast '{name}' is not made; choose among {list(contrasts)}")
            channel = list(contrasts).index(name)
            self.channels = slice(channel, channel + 1)
        self.restore = restore

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Returns the item with (C, X', Y', Z') or (1, X', Y', Z') in place of (C, X, Y, Z)."""
        item = dict(data)
        for key in self.keys:
            pred = torch.as_tensor(item[key]).float().cpu().numpy()
            volumes, affine = self.restore(pred, item)
            meta = {"original_affine": affine, "spatial_shape": np.array(volumes.shape[1:])}
            chosen = torch.from_numpy(np.ascontiguousarray(volumes[self.channels], np.float32))
            item[key] = MetaTensor(chosen, affine=torch.as_tensor(affine), meta=dict(meta))
            item[self.image_key] = MetaTensor(item[self.image_key], affine=torch.as_tensor(affine), meta=meta)
        return item
