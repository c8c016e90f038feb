"""Runs ``monai.bundle`` and kills itself, with all its workers, at a chosen moment of a chosen step.

    python killed_run.py MOMENT STEP run training --config_file ...

MOMENT: ``checkpoint`` and ``weights`` while half of that file is written, ``validation`` and ``pictures`` in their
midst. A helper of ``test_resume.py``; the process must lead a process group of its own.
"""

from __future__ import annotations

import io
import os
import runpy
import signal
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bundle"))
from gliomagen.training import progress, trainer


def die(*_: Any, **__: Any) -> None:
    """Ends this process and its workers as a power cut does: nothing is closed, nothing is cleaned up."""
    os.killpg(0, signal.SIGKILL)


def in_writing(name: str, step: int) -> None:
    """Dies when half of the file ``name`` is written, in the saving of ``step``."""
    save, save_step = torch.save, trainer.StepTrainer._save
    current = 0

    def noting_step(self: trainer.StepTrainer) -> None:
        nonlocal current
        current = self.state.iteration
        save_step(self)

    def half(content: Any, path: Any) -> None:
        if current != step or Path(path).name != f".partial-{name}":
            return save(content, path)
        whole = io.BytesIO()
        save(content, whole)
        with open(path, "wb") as file:
            file.write(whole.getvalue()[: whole.tell() // 2])
        die()

    trainer.StepTrainer._save, torch.save = noting_step, half


def in_handler(handler: type[progress.Occasional], step: int, inner: tuple[Any, str]) -> None:
    """Dies in the midst of what a handler does after ``step``: at the first call of the attribute ``inner``."""
    act = handler.act

    def dying(self: Any, at: int) -> None:
        if at == step:
            setattr(*inner, die)
        act(self, at)

    handler.act = dying  # type: ignore[method-assign]


if __name__ == "__main__":
    moment, chosen = sys.argv[1], int(sys.argv[2])
    if moment == "checkpoint":
        in_writing(f"step_{chosen:08d}.pt", chosen)
    elif moment == "weights":
        in_writing("model.pt", chosen)
    elif moment == "validation":
        in_handler(progress.Validation, chosen, (progress.MeanLoss, "update"))
    elif moment == "pictures":
        in_handler(progress.SamplePictures, chosen, (progress, "picture_grid"))
    else:
        raise SystemExit(f"no such moment: {moment}")
    sys.argv = ["monai.bundle", *sys.argv[3:]]
    runpy.run_module("monai.bundle", run_name="__main__")
