"""A run's log in MLflow too: one MLflow run for one training, however often it was stopped and taken up again."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import GliomaGenError
from ..files import content_sha256, read_json, write_json

logger = logging.getLogger(__name__)
_LONGEST = 250
"""Characters of a parameter; what is longer is told by its hash."""


class MlflowTracker:
    """Writes what :class:`.progress.RunLog` is told to an MLflow run.

    The run's id stands in ``<folder>/mlflow.json``. Steps that are done again after a kill give the same values, so what
    the run has already is not written twice. A server that fails once training is under way is warned of, not waited for.

    Args:
        uri: ``local`` (``<folder>/mlflow.db``, SQLite) or MLflow's tracking address.
        folder: The training's output folder; its name becomes the run's.
        experiment: Name of the experiment.
        parameters: What the run was started with.
    """

    def __init__(
        self, *, uri: str, folder: str | Path, experiment: str, parameters: Mapping[str, Any]
    ) -> None:
        self.uri = uri
        self.folder = Path(folder)
        self.experiment = experiment
        self.parameters = parameters
        self._last: dict[str, int] = {}

    def start(self) -> None:
        """Finds or makes the run.

        Raises:
            GliomaGenError: MLflow is not installed, or nothing answers at ``uri``.
        """
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # else minutes go by at every entry
        try:
            from mlflow import MlflowClient
            from mlflow.exceptions import MlflowException
        except ModuleNotFoundError as error:
            raise GliomaGenError(
                f"mlflow '{self.uri}': {error.name} is not installed; pip install '.[tracking]'"
            ) from None
        self._failures = (MlflowException, OSError)
        self.folder.mkdir(parents=True, exist_ok=True)
        local = f"sqlite:///{(self.folder / 'mlflow.db').resolve()}"
        address = local if self.uri == "local" else self.uri
        try:
            self._client = MlflowClient(address)
            self.run_id = self._known_run(address) or self._new_run(address)
        except self._failures as error:
            raise GliomaGenError(
                f"mlflow '{self.uri}': {_first_line(error)}; correct the address, or leave the option out"
            ) from None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Adds the values of a step that the run does not have yet."""
        try:
            for name, value in values.items():
                if name not in self._last:
                    history = self._client.get_metric_history(self.run_id, name)
                    self._last[name] = max((point.step for point in history), default=-1)
                if step > self._last[name]:
                    self._client.log_metric(self.run_id, name, value, int(time.time() * 1000), step)
                    self._last[name] = step
        except self._failures as error:
            logger.warning("step %d is not in MLflow: %s", step, _first_line(error))

    def close(self) -> None:
        """Tells MLflow that the training has ended."""
        try:
            self._client.set_terminated(self.run_id)
        except self._failures as error:
            logger.warning("MLflow was not told of the end: %s", _first_line(error))

    def _known_run(self, address: str) -> str | None:
        path = self.folder / "mlflow.json"
        known = read_json(path) if path.is_file() else {}
        if known.get("address") != address:
            return None
        run_id = str(known["run_id"])
        if self._client.get_run(run_id).info.lifecycle_stage == "deleted":
            return None
        self._client.update_run(run_id, status="RUNNING")
        return run_id

    def _new_run(self, address: str) -> str:
        found = self._client.get_experiment_by_name(self.experiment)
        where = found.experiment_id if found else self._client.create_experiment(self.experiment)
        run_id = str(self._client.create_run(where, run_name=self.folder.resolve().name).info.run_id)
        for name, value in self.parameters.items():
            text = str(value)
            self._client.log_param(run_id, name, text if len(text) <= _LONGEST else content_sha256(value))
        write_json(self.folder / "mlflow.json", {"address": address, "run_id": run_id})
        return run_id


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
