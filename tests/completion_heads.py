"""Made-up heads for completion."""

from __future__ import annotations

import numpy as np

from gliomagen.completion.scan import Scan


def head(
    seed: int = 0, *, size: tuple[int, ...] = (16, 16, 16), mm: tuple[float, ...] = (3.0, 3.0, 3.0)
) -> Scan:
    """A noisy ellipsoid, a little off centre, with a lesion."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in size], indexing="ij"))
    away = ((grid - rng.uniform(-0.1, 0.1, 3).reshape(3, 1, 1, 1)) ** 2).sum(0)
    label = (away < rng.uniform(0.6, 0.75)).astype(np.uint8)
    label[((grid - 0.2) ** 2).sum(0) < 0.05] = 3
    image = rng.uniform(0.1, 0.9, (4, *size)).astype(np.float32) * (label > 0)
    return Scan(
        name=f"head {seed}", image=image, here=np.ones(4, bool), label=label, affine=np.diag([*mm, 1.0])
    )
