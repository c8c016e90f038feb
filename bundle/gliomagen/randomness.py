"""Randomness as a function, not a state: a generator for every (seed, what it is for)."""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def derived_seed(seed: int, *parts: object) -> int:
    """Returns a 63-bit seed that depends on ``seed`` and every part, and on nothing else."""
    text = "\x1f".join(str(part) for part in (seed, *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def torch_generator(seed: int, *parts: object) -> torch.Generator:
    """Returns a CPU generator for (seed, parts): the same numbers on every device, rank and worker."""
    return torch.Generator().manual_seed(derived_seed(seed, *parts))


def numpy_generator(seed: int, *parts: object) -> np.random.Generator:
    """Returns a NumPy generator for (seed, parts)."""
    return np.random.default_rng(derived_seed(seed, *parts))


def numpy_state(seed: int, *parts: object) -> np.random.RandomState:
    """Returns what MONAI's random transforms take, for (seed, parts)."""
    return np.random.RandomState(derived_seed(seed, *parts) & 0xFFFFFFFF)
