"""Similarity of a made scan to the true one: PSNR, SSIM and MS-SSIM (Wang et al. 2003, 2004), by scikit-image and torchmetrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.metrics import structural_similarity
from torch import Tensor

from ..torchvision_import import repair_torchvision

BETAS: tuple[float, ...] = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the five scales, fine to coarse (Wang et al. 2003, and every library's default)."""

_KERNEL = 11  # voxels of the default Gaussian, sigma 1.5


def betas_that_fit(size: Sequence[int]) -> tuple[float, ...]:
    """Returns the exponents of as many scales as an image of this size bears, scaled to sum to 1.

    Images of more than 160 along each axis bear all five, 90 four, 40 three; empty where not even one fits. Values
    over different numbers of scales cannot be compared: the number is part of a score's name.

    Args:
        size: Voxels along each axis.
    """
    for count in range(len(BETAS), 0, -1):
        if min(size) > (_KERNEL - 1) * max(1, count - 1) ** 2:
            chosen = BETAS[:count]
            return BETAS if count == len(BETAS) else tuple(beta / sum(chosen) for beta in chosen)
    return ()


def ms_ssim(a: Tensor, b: Tensor, *, betas: Sequence[float] = BETAS) -> Tensor:
    """Returns MS-SSIM of each pair, (B,), for images in [0, 1].

    Args:
        a: (B, C, H, W) or (B, C, X, Y, Z)
        b: The same shape.
        betas: Exponents of the scales, see :func:`betas_that_fit`.
    """
    repair_torchvision()
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as measure

    options: dict[str, Any] = {"data_range": 1.0, "betas": tuple(betas), "reduction": "none"}
    value: Tensor = measure(a.float(), b.float(), **options)
    return torch.as_tensor(value).reshape(-1)


def psnr(made: Tensor, true: Tensor, where: Tensor) -> Tensor:
    """Returns the peak signal-to-noise ratio of each contrast in dB, (C,), for images in [0, 1].

    Args:
        made: (C, *S)
        true: (C, *S)
        where: (*S), the voxels that count.
    """
    error = (made - true)[:, where].double().square().mean(1)
    return -10 * error.clamp(min=1e-12).log10()


def ssim(made: Tensor, true: Tensor, where: Tensor) -> Tensor:
    """Returns the structural similarity of each contrast, (C,), averaged over some voxels, for images in [0, 1].

    Args:
        made: (C, *S), sizes of 11 or more.
        true: (C, *S)
        where: (*S), the voxels that count. Each is compared within a Gaussian of sigma 1.5 voxels.
    """
    options: dict[str, Any] = {"data_range": 1.0, "gaussian_weights": True, "sigma": 1.5, "full": True}
    pairs = zip(
        made.double().numpy(), true.double().numpy(), strict=True
    )  # contrasts are compared one by one
    images = [
        structural_similarity(one, other, use_sample_covariance=False, **options)[1] for one, other in pairs
    ]
    return torch.stack([torch.from_numpy(image)[where].mean() for image in images])


def similar(
    made: NDArray[np.float32], true: NDArray[np.float32], where: NDArray[np.bool_]
) -> dict[str, float]:
    """Returns PSNR in dB, SSIM and mean absolute error, each the mean over contrasts, of images in [0, 1] within a region.

    Args:
        made: (C, *S), sizes of 11 or more.
        true: (C, *S)
        where: (*S)
    """
    one, other, here = torch.from_numpy(made), torch.from_numpy(true), torch.from_numpy(where)
    return {
        "psnr_db": float(psnr(one, other, here).mean()),
        "ssim": float(ssim(one, other, here).mean()),
        "mae": float((one - other)[:, here].abs().mean()),
    }
