"""Muon for the convolutions, AdamW for all else."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class MuonAdamW:
    """Two of PyTorch's optimisers as one: each hidden weight takes a step with all its directions at one size.

    Muon (Jordan et al. 2024) makes the averaged gradient of a weight matrix orthogonal. A convolution's weight counts
    as a matrix, (out, in * kernel). Steps have the size of AdamW's (Liu et al. 2025, section 2.2), so that one
    learning rate serves both. First and last layers, biases and norms are AdamW's.

    Args:
        network: Whose parameters.
        lr: Learning rate of both.
        hidden: Names' beginnings of what Muon takes, as far as they are weights of two dimensions or more.
        betas: Of AdamW.
        momentum: Of Muon.
        weight_decay: Of both.
        eps: Of AdamW.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        lr: float,
        hidden: tuple[str, ...] = ("down", "coarser", "attention", "middle", "up", "finer", "last."),
        betas: tuple[float, float] = (0.9, 0.99),
        momentum: float = 0.95,
        weight_decay: float = 0.01,
        eps: float = 1e-8,
    ) -> None:
        named = list(network.named_parameters())
        chosen = {name for name, p in named if p.ndim > 1 and name.startswith(tuple(hidden))}
        self._hidden = [p for name, p in named if name in chosen]
        self._flat = [nn.Parameter(p.detach().flatten(1)) for p in self._hidden]  # the same memory
        self.muon = torch.optim.Muon(
            self._flat, lr=lr, momentum=momentum, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
        )
        rest = [p for name, p in named if name not in chosen]
        self.adamw = torch.optim.AdamW(rest, lr=lr, betas=betas, weight_decay=weight_decay, eps=eps)
        self._rest = rest

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of both."""
        return [*self.muon.param_groups, *self.adamw.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients."""
        for parameter in (*self._hidden, *self._flat, *self._rest):
            parameter.grad = None

    def step(self) -> None:
        """Takes one step."""
        for parameter, flat in zip(self._hidden, self._flat, strict=True):
            flat.grad = None if parameter.grad is None else parameter.grad.flatten(1)
        self.muon.step()
        self.adamw.step()

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of both."""
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up the state of both."""
        self.muon.load_state_dict(state["muon"])
        self.adamw.load_state_dict(state["adamw"])
