"""Checkpoints that are whole or absent, found again by themselves, and refused if they belong to another run."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import Any

import torch

from ..describe import first_difference
from ..errors import GliomaGenError
from ..files import file_sha256, read_json, write_json, written_whole

logger = logging.getLogger(__name__)
_DAMAGED = (GliomaGenError, OSError, ValueError, KeyError, EOFError, RuntimeError, pickle.UnpicklingError)


class CheckpointStore:
    """A folder of checkpoints of one run.

    A checkpoint is ``step_<k>.pt`` and, written after it, ``step_<k>.json`` with its hash and the run's fingerprint:
    without the second the first is unfinished.

    Args:
        folder: Where they are.
        fingerprint: Plain content that says what run this is: configuration without paths, cohort, seed.
        keep: How many of the newest stay.
    """

    def __init__(self, folder: str | Path, *, fingerprint: dict[str, Any], keep: int = 2) -> None:
        self.folder = Path(folder)
        self.fingerprint = fingerprint
        self.keep = keep

    def save(self, step: int, state: dict[str, Any]) -> Path:
        """Writes the checkpoint of a step, then removes the oldest beyond ``keep``, and those of later steps.

        Later ones are damaged, or of a run that was given up with ``resume: false``.
        """
        path = self.folder / f"step_{step:08d}.pt"
        with written_whole(path, durable=True) as beside:
            torch.save(state, beside)
        facts = {"step": step, "sha256": file_sha256(path), "fingerprint": self.fingerprint}
        write_json(path.with_suffix(".json"), facts)
        steps = self._steps()
        here = steps.index(path.with_suffix(".json"))
        for old in [*steps[:here], *steps[here + self.keep :]]:
            old.unlink(missing_ok=True)  # the facts first: what is left without them is unfinished
            old.with_suffix(".pt").unlink(missing_ok=True)
        return path

    def newest(self, *, device: str | torch.device = "cpu") -> tuple[int, dict[str, Any]] | None:
        """Returns (step, state) of the newest good checkpoint, or None if there is none.

        A damaged one is passed over with a warning.

        Raises:
            GliomaGenError: The newest belongs to another run; names the first difference.
        """
        for facts_path in self._steps():
            path = facts_path.with_suffix(".pt")
            try:
                facts = read_json(facts_path)
                if file_sha256(path) != facts["sha256"]:
                    raise ValueError("its content changed after it was written")
                state = torch.load(path, map_location=device, weights_only=True)
            except _DAMAGED as error:
                logger.warning("%s: damaged (%s); falling back to the checkpoint before", path, error)
                continue
            self._refuse_another_run(path, facts["fingerprint"])
            return int(facts["step"]), state
        return None

    def _steps(self) -> list[Path]:
        return sorted(self.folder.glob("step_*.json"), reverse=True)

    def _refuse_another_run(self, path: Path, fingerprint: dict[str, Any]) -> None:
        difference = first_difference(fingerprint, self.fingerprint)
        if difference:
            raise GliomaGenError(
                f"{path}: is of another run: {difference}; choose another output_dir, or resume with its settings"
            )
