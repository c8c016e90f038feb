"""Importing what needs torchvision where torchvision cannot load its compiled part.

A CUDA build of torchvision beside a CPU build of torch (what an index without CPU builds gives) fails on import: it
describes operators that nobody declared. torchmetrics and nnU-Net import it without need for those operators (they
merge detection boxes), so declaring them is enough.
"""

from __future__ import annotations

import importlib
import sys

import torch

_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_kept: list[torch.library.Library] = []  # a library that is collected takes its operators along


def repair_torchvision() -> None:
    """Makes ``import torchvision`` work, if it is installed; does nothing where it works or is absent."""
    if "torchvision" in sys.modules:
        return
    try:
        importlib.import_module("torchvision")
    except ImportError:
        return
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]  # half imported
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(operator + _SIGNATURE)
        _kept.append(library)
        importlib.import_module("torchvision")
