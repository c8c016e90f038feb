"""Weights of monai-generative in MONAI's network."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from ..errors import GliomaGenError
from ..weights import read_state, require_shape


def load_generative_weights(network: nn.Module, path: str | Path) -> nn.Module:
    """Loads weights of monai-generative's ``DiffusionModelUNet`` into MONAI's.

    The outputs are equal only if the network was built with ``include_fc=False`` and ``use_combined_linear=False``:
    monai-generative's attention has a projection that it never applied.

    Args:
        network: ``monai.networks.nets.DiffusionModelUNet`` built with those two flags.
        path: A flat state dict saved from monai-generative 0.2.3.

    Raises:
        GliomaGenError: The network has the layers that those weights have no values for.
    """
    if any(".qkv." in name or ".out_proj." in name for name in network.state_dict()):
        raise GliomaGenError(
            f"{path}: weights of monai-generative need a network with include_fc: false, use_combined_linear: false"
        )
    state, own = read_state(path), network.state_dict()
    for name, value in state.items():
        if name in own:  # its attention layers go by other names
            require_shape(path, name, value, own[name])
    network.load_old_state_dict(state)  # type: ignore[operator]
    return network
