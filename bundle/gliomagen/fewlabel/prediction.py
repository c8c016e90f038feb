"""What several members say together: a vote, how sure it is, and where they disagree."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Of one scan.

    Attributes:
        classes: (*S) int64, the most probable of the members' mean.
        uncertainty: (*S) entropy of that mean, 0 to 1.
        disagreement: (*S) what of it is disagreement of members, not doubt that they share (mutual information: Houlsby et
            al. 2011), on the same scale.
    """

    classes: Tensor
    uncertainty: Tensor
    disagreement: Tensor


def entropy(probabilities: Tensor) -> Tensor:
    """Returns the entropy over the last axis, 0 to 1."""
    nats: Tensor = torch.special.entr(probabilities).sum(-1)
    return nats / math.log(probabilities.shape[-1])


def vote(members: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns class, uncertainty and disagreement of some voxels, (N,) each.

    Args:
        members: (M, N, K) probabilities.
    """
    mean = members.mean(0)
    total = entropy(mean)
    return mean.argmax(-1), total, (total - entropy(members).mean(0)).clamp(min=0)
