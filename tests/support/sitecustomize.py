"""Lets a CUDA build of torchvision be imported beside a CPU build of torch. Python imports this at its start.

Without its compiled part torchvision fails on registering operators that were never declared. Nothing here uses
those operators (detection boxes), so declaring them is enough. ``scripts/test.sh`` puts this folder on the path
only where torchvision is broken.
"""

import importlib.abc
import sys


class _DeclareOperators(importlib.abc.MetaPathFinder):
    """Declares the operators when torchvision is first looked for, then steps aside."""

    def find_spec(self, name, path=None, target=None):  # type: ignore[no-untyped-def]
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            self.library = torch.library.Library("torchvision", "DEF")
            for operator in ("nms", "qnms"):
                self.library.define(operator + signature)
            _kept.append(self)
        return None


_kept: list[object] = []  # a library that is collected takes its operators along
sys.meta_path.insert(0, _DeclareOperators())
