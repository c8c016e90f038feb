"""What a person sees of a run: progress bar, log, TensorBoard, MLflow, validation curve, sample pictures."""

from __future__ import annotations

import json
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from ignite.metrics import Loss
from monai.inferers import Inferer
from monai.utils.enums import CommonKeys as Keys
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from ..files import written_whole
from ..pictures import PictureRow, picture_grid
from .tracking import MlflowTracker

logger = logging.getLogger(__name__)


class MeanLoss(Loss):
    """Mean of a loss over the samples of an evaluation, of this process alone: the others wait for it.

    Args:
        loss_function: (prediction, target) to the loss of each sample, (B,).
    """

    def __init__(self, loss_function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__(
            lambda prediction, target: loss_function(prediction, target).mean(),
            output_transform=lambda out: (out[Keys.PRED], out[Keys.LABEL]),
        )

    def compute(self) -> float:
        """Returns the mean. Ignite's own asks the other processes, which do not validate."""
        return float(self._sum) / self._num_examples


class RunLog:
    """``log.jsonl`` and TensorBoard of a run. A resumed run forgets what it logged beyond its checkpoint.

    Args:
        folder: The run's output folder.
        tracker: Is told of every entry, too.
    """

    def __init__(self, folder: str | Path, *, tracker: MlflowTracker | None = None) -> None:
        self.folder = Path(folder)
        self.path = self.folder / "log.jsonl"
        self.tracker = tracker
        self._board: SummaryWriter | None = None

    def forget_after(self, step: int) -> None:
        """Drops entries of steps that are done again."""
        if self.path.is_file():
            kept = [line for line, entry in self._entries() if entry["step"] <= step]
            with written_whole(self.path) as beside:
                beside.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def start(self, step: int) -> None:
        """Begins, or goes on from ``step``."""
        self.forget_after(step)
        if self.tracker is not None:
            self.tracker.start()

    def has(self, step: int, name: str) -> bool:
        """Returns whether an entry of ``step`` holds the value ``name``."""
        return any(entry["step"] == step and name in entry for _, entry in self._entries())

    def _entries(self) -> list[tuple[str, dict[str, Any]]]:
        """Returns each line and what it says; a last line cut off by a kill is left out."""
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.is_file() else []
        return [(line, json.loads(line)) for line in lines if line.endswith("}")]

    def write(self, step: int, **values: float) -> None:
        """Adds one entry."""
        if self._board is None:
            self._board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=step)
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **{k: float(f"{v:.6g}") for k, v in values.items()}}) + "\n")
        for name, value in values.items():
            self._board.add_scalar(name, value, step)
        if self.tracker is not None:
            self.tracker.log(step, values)

    def close(self) -> None:
        """Closes TensorBoard's file, and MLflow's run."""
        if self.tracker is not None:
            self.tracker.close()
        if self._board is not None:
            self._board.close()
            self._board = None


class Progress:
    """Ignite handler: progress bar with steps/s, share of time spent waiting for data and time left; the log.

    Args:
        log: Where entries go.
        max_steps: Steps in all.
        interval: Steps between entries.
    """

    def __init__(self, *, log: RunLog, max_steps: int, interval: int = 10) -> None:
        self.log = log
        self.max_steps = max_steps
        self.interval = interval

    def attach(self, engine: Engine) -> None:
        """Attaches to a trainer."""
        engine.add_event_handler(Events.STARTED, self._started)
        engine.add_event_handler(Events.GET_BATCH_STARTED, self._asked)
        engine.add_event_handler(Events.GET_BATCH_COMPLETED, self._got)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._stepped)
        engine.add_event_handler(Events.COMPLETED | Events.TERMINATE, self._ended)

    def _started(self, engine: Engine) -> None:
        self.log.start(engine.state.iteration)
        self.bar = tqdm(total=self.max_steps, initial=engine.state.iteration, unit="step", desc="training")
        self._reset()

    def _reset(self) -> None:
        self.loss: Tensor | float = 0.0
        self.count, self.waited, self.spent = 0, 0.0, 0.0

    def _asked(self, engine: Engine) -> None:
        self.asked = time.perf_counter()

    def _got(self, engine: Engine) -> None:
        self.waited += time.perf_counter() - self.asked

    def _stepped(self, engine: Engine) -> None:
        step = engine.state.iteration
        self.spent += time.perf_counter() - self.asked
        self.loss = self.loss + engine.state.output[Keys.LOSS]
        self.count += 1
        self.bar.update()
        if step % self.interval == 0 or step == self.max_steps:
            loss = float(self.loss) / self.count
            wait = self.waited / self.spent
            self.log.write(
                step,
                loss=loss,
                gradient_norm=float(engine.state.output["gradient_norm"]),
                learning_rate=engine.optimizer.param_groups[0]["lr"],
                seconds_per_step=self.spent / self.count,
                data_wait=wait,
            )
            self.bar.set_postfix_str(f"loss {loss:.4f}, waiting for data {wait:.0%}")
            self._reset()

    def _ended(self, engine: Engine) -> None:
        self.bar.close()
        self.log.close()


class Occasional(ABC):
    """Ignite handler of every ``interval`` steps and of the last.

    A step's checkpoint is written before: if the process was killed in between, the resumed run makes up for it.

    Args:
        log: Where :meth:`act` puts its value.
        interval: Steps between.
        max_steps: Steps in all.

    Attributes:
        value: Name of the value in the log.
    """

    value: str

    def __init__(self, *, log: RunLog, interval: int, max_steps: int) -> None:
        self.log = log
        self.interval = interval
        self.max_steps = max_steps

    def attach(self, engine: Engine) -> None:
        """Attaches to a trainer."""
        engine.add_event_handler(Events.STARTED, self._started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._stepped)

    @abstractmethod
    def act(self, step: int) -> None:
        """Does what is due after ``step``."""

    def _is_due(self, step: int) -> bool:
        return step > 0 and (step % self.interval == 0 or step == self.max_steps)

    def _started(self, engine: Engine) -> None:
        step = engine.state.iteration
        if self._is_due(step) and not self.log.has(step, self.value):
            self.act(step)

    def _stepped(self, engine: Engine) -> None:
        if self._is_due(engine.state.iteration):
            self.act(engine.state.iteration)


class Validation(Occasional):
    """Ignite handler: validation loss, and further metrics of the evaluator, of the averaged weights.

    Args:
        evaluator: MONAI evaluator whose key metric is the validation loss.
        log: Where the loss goes.
        interval: Steps between validations; the last step has one too.
        max_steps: Steps in all.
    """

    value = "validation_loss"

    def __init__(self, *, evaluator: Any, log: RunLog, interval: int, max_steps: int) -> None:
        super().__init__(log=log, interval=interval, max_steps=max_steps)
        self.evaluator = evaluator

    def act(self, step: int) -> None:
        """Validates, if there are validation cases."""
        if not len(self.evaluator.data_loader):
            return
        logger.info("validating at step %d", step)
        self.evaluator.run(step)
        state = self.evaluator.state
        loss = float(state.metrics[state.key_metric_name])
        others = {name: value for name, value in state.metrics.items() if name != state.key_metric_name}
        scores = {name: float(value) for name, value in others.items() if not isinstance(value, Mapping)}
        self.log.write(step, validation_loss=loss, **scores)


class SamplePictures(Occasional):
    """Ignite handler: draws samples for fixed validation cases, pictures them beside the real, logs their error.

    Args:
        dataset: Gives ``image`` (C, *S) in [0, 1], ``label`` (1, *S) and ``case``.
        numbers: Which samples of it.
        network: The averaged network.
        inferer: ``inferer(label, network, case_ids=...)`` gives (B, C, *S); of slices, ``position`` is their ``height``.
        contrasts: Names of the channels.
        folder: Where ``step_<k>.png`` goes.
        log: Where the mean absolute error inside the head goes.
        interval: Steps between pictures; the last step has one too.
        max_steps: Steps in all.
        labels_told: Label maps are what samples are made of; otherwise they are made of nothing, and have no error.
    """

    value = "sample_error"

    def __init__(
        self,
        *,
        dataset: Any,
        numbers: Sequence[int],
        network: nn.Module,
        inferer: Inferer,
        contrasts: Sequence[str],
        folder: str | Path,
        log: RunLog,
        interval: int,
        max_steps: int,
        labels_told: bool = True,
    ) -> None:
        super().__init__(log=log, interval=interval, max_steps=max_steps)
        self.labels_told = labels_told
        self.dataset = dataset
        self.numbers = list(numbers)
        self.network = network
        self.inferer = inferer
        self.contrasts = tuple(contrasts)
        self.folder = Path(folder)

    def act(self, step: int) -> None:
        """Draws, pictures and measures."""
        if not self.numbers:  # no validation cases
            return
        device = next(self.network.parameters()).device
        rows, errors = [], []
        for number in self.numbers:
            sample = self.dataset[number]
            label = torch.as_tensor(sample["label"])
            real = np.asarray(sample["image"], np.float32)
            options: dict[str, Any] = {"case_ids": [sample["case"]]}
            if not self.labels_told:
                options["labels_known"] = torch.zeros_like(label[None]).to(device)
            if "height" in sample:
                options["position"] = torch.as_tensor(sample["height"])[None]
            made = self.inferer(label[None].to(device), self.network, **options)[0].float().cpu().numpy()
            head = np.broadcast_to(label.numpy() > 0, real.shape)
            errors.append(float(np.abs(made - real)[head].mean()) if head.any() else 0.0)
            volumes = {"real": real, "synthetic": made}
            rows.append(
                PictureRow(
                    title=sample["case"], label=label[0].numpy(), volumes=volumes, contrasts=self.contrasts
                )
            )
        picture_grid(self.folder / f"step_{step:08d}.png", rows)
        if self.labels_told:
            self.log.write(step, sample_error=float(np.mean(errors)))
