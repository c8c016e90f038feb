"""What an object is, as plain content: for fingerprints of a run and keys of a cache."""

from __future__ import annotations

import types
from collections.abc import Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np
import torch

_SKIPPED = (np.random.RandomState, np.random.Generator, torch.Generator, PurePath)


def describe(thing: Any) -> Any:
    """Returns class names and public settings of an object, recursively, as JSON content.

    Two objects built from the same configuration describe the same; paths, random states and what an object keeps
    for itself (names with a leading underscore) do not count. A network is described by its layers and shapes.

    Args:
        thing: A MONAI transform, a network, or any object whose attributes say what it does.
    """
    return _describe(thing, ())


def _describe(thing: Any, above: tuple[int, ...]) -> Any:
    if thing is None or isinstance(thing, (bool, int, float, str)):
        return thing
    if isinstance(thing, Enum):
        return str(thing.value)
    if isinstance(thing, (torch.dtype, torch.device, np.dtype)):
        return str(thing)
    if isinstance(thing, type):
        return f"{thing.__module__}.{thing.__qualname__}"
    if id(thing) in above or isinstance(thing, _SKIPPED):
        return None
    above = (*above, id(thing))
    if isinstance(thing, torch.nn.Module):
        shapes = {name: list(value.shape) for name, value in thing.state_dict().items()}
        return {"class": _describe(type(thing), above), "layers": repr(thing), "shapes": shapes}
    if isinstance(thing, (torch.Tensor, np.ndarray, np.generic)):
        return np.asarray(thing).tolist()
    if isinstance(thing, Mapping):
        return {str(key): _describe(value, above) for key, value in thing.items()}
    if isinstance(thing, (list, tuple)):
        return [_describe(value, above) for value in thing]
    if isinstance(thing, (set, frozenset)):
        return sorted(str(value) for value in thing)
    if isinstance(thing, (types.FunctionType, types.BuiltinFunctionType, types.MethodType)):
        return f"{thing.__module__}.{thing.__qualname__}"
    settings = {
        name: _describe(value, above)
        for name, value in sorted(getattr(thing, "__dict__", {}).items())
        if not name.startswith("_") and not isinstance(value, _SKIPPED)
    }
    return {"class": _describe(type(thing), above), **settings}


def first_difference(one: Any, other: Any, where: str = "") -> str | None:
    """Returns where two plain contents first differ and how, or None if they are equal."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in [*one, *(key for key in other if key not in one)]:
            found = first_difference(one.get(key), other.get(key), f"{where}.{key}" if where else str(key))
            if found:
                return found
        return None
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            found = first_difference(a, b, f"{where}[{i}]")
            if found:
                return found
        return None
    return None if one == other else f"{where} is {_brief(one)} there and {_brief(other)} here"


def _brief(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 80 else text[:77] + "..."
