"""Weight files in and out of the network: flat state dicts of plain tensors, as ``.pt`` or ``.safetensors``, loaded strictly."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .errors import GliomaGenError
from .files import written_whole

SAFETENSORS = ".safetensors"


def read_state(path: str | Path, *, device: str | torch.device = "cpu") -> dict[str, Tensor]:
    """Reads a flat state dict; nothing in it is ever run (``weights_only=True``, or safetensors, which hold no code).

    Raises:
        GliomaGenError: Missing, damaged, or not a flat dict of tensors.
    """
    if not Path(path).is_file():
        raise GliomaGenError(f"{path}: no weights there; train first, or set the option weights")
    try:
        if Path(path).suffix == SAFETENSORS:
            state = _read_safetensors(path, device)
        else:
            state = torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, OSError, ValueError) as error:
        raise GliomaGenError(
            f"{path}: not readable as weights ({str(error).splitlines()[0][:120]})"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise GliomaGenError(f"{path}: not a flat state dict of tensors; give model.pt, not a checkpoint")
    return state


def save_state(path: str | Path, network: nn.Module) -> None:
    """Writes a network's flat state dict on the CPU, whole or not at all."""
    write_state(path, network.state_dict())


def write_state(path: str | Path, state: Mapping[str, Tensor]) -> None:
    """Writes a flat state dict on the CPU, whole or not at all; the file's ending says in which form."""
    plain = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    with written_whole(path, durable=True) as beside:
        if Path(path).suffix == SAFETENSORS:
            _safetensors(path).torch.save_file(plain, beside, metadata={"format": "pt"})
        else:
            torch.save(plain, beside)


def _read_safetensors(path: str | Path, device: str | torch.device) -> Any:
    form = _safetensors(path)
    try:
        return form.torch.load_file(path, device=str(device))
    except form.SafetensorError as error:
        raise ValueError(str(error)) from error


def _safetensors(path: str | Path) -> Any:
    try:
        import safetensors.torch
    except ImportError:
        raise GliomaGenError(f"{path}: needs the package safetensors; pip install safetensors") from None
    return safetensors


def load_weights(network: nn.Module, path: str | Path) -> nn.Module:
    """Loads weights strictly into a network, and returns it.

    Raises:
        GliomaGenError: They do not fit; names the first difference and the likely cause.
    """
    state, own = read_state(path), network.state_dict()
    for name, value in own.items():
        if name not in state:
            _refuse(path, f"it lacks '{name}', which the configured network has")
        require_shape(path, name, state[name], value)
    for name in state:
        if name not in own:
            _refuse(path, f"it has '{name}', which the configured network lacks")
    network.load_state_dict(state)
    return network


def require_shape(path: str | Path, name: str, there: Tensor, here: Tensor) -> None:
    """Refuses weights of which a tensor has another shape than the configured network's.

    Raises:
        GliomaGenError: Says which, and the likely cause.
    """
    if there.shape != here.shape:
        _refuse(path, f"'{name}' is {tuple(there.shape)} there and {tuple(here.shape)} in the config")


def _refuse(path: str | Path, difference: str) -> None:
    raise GliomaGenError(
        f"{path}: does not fit the configured network: {difference}; was it trained with other "
        "channels, contrasts or spatial_dims? Pass the overlay it was trained with"
    )
