"""How alike two sets of feature vectors are: FID, KID, and precision, recall, density, coverage."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from ..randomness import numpy_generator

Features = NDArray[np.float64]


def fid(real: Features, synthetic: Features) -> float:
    """Returns the Fréchet distance of two normal distributions fitted to the features (Heusel et al. 2017, eq. 6).

    It is biased upward for few vectors: compare only sets of one size, and see the floor of real against real.

    Args:
        real: (N, F), N ≥ 2.
        synthetic: (M, F), M ≥ 2.
    """
    mean_a, mean_b = real.mean(0), synthetic.mean(0)
    a, b = real - mean_a, synthetic - mean_b
    traces = (a**2).sum() / (len(a) - 1) + (b**2).sum() / (len(b) - 1)
    # The trace of the root of S_a S_b is the sum of the singular values of A Bᵀ / sqrt((N-1)(M-1)), since
    # S_a S_b = AᵀA BᵀB / ((N-1)(M-1)): exact for covariances of any rank. Many vectors are compressed first.
    a, b = _compact(a), _compact(b)
    cross = linalg.svdvals(a @ b.T).sum() / np.sqrt((len(real) - 1) * (len(synthetic) - 1))
    return float(((mean_a - mean_b) ** 2).sum() + traces - 2 * cross)


def fid_of_moments(real: tuple[Features, Features], synthetic: tuple[Features, Features]) -> float:
    """Returns the same of means (F,) and covariances (F, F), for sets too large to hold.

    Args:
        real: Mean and covariance.
        synthetic: Likewise.
    """
    (mean_a, covariance_a), (mean_b, covariance_b) = real, synthetic
    values, vectors = linalg.eigh(covariance_a)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    # root.T S_b root has the eigenvalues of S_a S_b and is symmetric.
    cross = np.sqrt(np.maximum(linalg.eigvalsh(root.T @ covariance_b @ root), 0.0)).sum()
    traces = np.trace(covariance_a) + np.trace(covariance_b)
    return float(((mean_a - mean_b) ** 2).sum() + traces - 2 * cross)


def _compact(centred: Features) -> Features:
    """Returns at most F rows with the same Gram matrix AᵀA: the R of a QR decomposition."""
    if centred.shape[0] <= centred.shape[1]:
        return centred
    return np.asarray(linalg.qr(centred, mode="r", check_finite=False)[0][: centred.shape[1]])


def kid(real: Features, synthetic: Features) -> float:
    """Returns the unbiased squared maximum mean discrepancy with kernel (x·y / F + 1)³ (Bińkowski et al. 2018).

    Args:
        real: (N, F), N ≥ 2.
        synthetic: (M, F), M ≥ 2.
    """
    return _mmd(kernel(real, real), kernel(synthetic, synthetic), kernel(real, synthetic))


def kid_subsets(
    real: Features, synthetic: Features, *, subsets: int = 10, seed: int = 0
) -> tuple[float, float]:
    """Returns mean and standard deviation of KID over disjoint random subsets of the vectors.

    Args:
        real: (N, F)
        synthetic: (M, F)
        subsets: Their number; each has min(N, M) // subsets vectors of either side.
        seed: Says who goes where.

    Raises:
        ValueError: A subset would have fewer than two vectors.
    """
    size = min(len(real), len(synthetic)) // subsets
    if size < 2:
        raise ValueError(f"{min(len(real), len(synthetic))} vectors are too few for {subsets} subsets")
    order_a = numpy_generator(seed, "kid", "real").permutation(len(real))
    order_b = numpy_generator(seed, "kid", "synthetic").permutation(len(synthetic))
    values = [
        kid(real[order_a[i * size : (i + 1) * size]], synthetic[order_b[i * size : (i + 1) * size]])
        for i in range(subsets)
    ]
    return float(np.mean(values)), float(np.std(values))


def kernel(a: Features, b: Features) -> Features:
    """Returns the polynomial kernel (x·y / F + 1)³ of all pairs, (N, M)."""
    return np.asarray((a @ b.T / a.shape[1] + 1) ** 3)


def _mmd(aa: Features, bb: Features, ab: Features) -> float:
    n, m = len(aa), len(bb)
    within_a = (aa.sum() - np.trace(aa)) / (n * (n - 1))
    within_b = (bb.sum() - np.trace(bb)) / (m * (m - 1))
    return float(within_a + within_b - 2 * ab.mean())


def prdc(real: Features, synthetic: Features, *, nearest: int = 5) -> dict[str, float]:
    """Returns precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020).

    ``precision``: share of synthetic vectors within the reach of a real one, a vector's reach being the distance to
    its k-th nearest of its own set. ``recall``: the same with the sets exchanged. ``density``: number of real vectors
    within whose reach a synthetic one lies, over k. ``coverage``: share of real vectors with a synthetic one in reach.

    Args:
        real: (N, F), N > nearest.
        synthetic: (M, F), M > nearest.
        nearest: k.

    Raises:
        ValueError: A set has too few vectors.
    """
    if min(len(real), len(synthetic)) <= nearest:
        raise ValueError(f"needs more than {nearest} vectors on either side")
    reach_real = _kth_distance(real, nearest)
    reach_synthetic = _kth_distance(synthetic, nearest)
    apart = distances(real, synthetic)  # (N, M)
    return {
        "precision": float((apart <= reach_real[:, None]).any(0).mean()),
        "recall": float((apart <= reach_synthetic[None, :]).any(1).mean()),
        "density": float((apart <= reach_real[:, None]).sum(0).mean() / nearest),
        "coverage": float((apart.min(1) <= reach_real).mean()),
    }


def distances(a: Features, b: Features) -> Features:
    """Returns Euclidean distances between all pairs, (N, M)."""
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2 * a @ b.T
    return np.asarray(np.sqrt(np.maximum(squares, 0.0)))


def _kth_distance(vectors: Features, k: int) -> NDArray[np.float64]:
    apart = distances(vectors, vectors)
    np.fill_diagonal(apart, 0.0)
    return np.asarray(np.partition(apart, k, axis=1)[:, k])  # place 0 is the vector itself
