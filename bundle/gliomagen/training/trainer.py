"""The training loop: Ignite's engine through MONAI's ``SupervisedTrainer``; one iteration is one optimiser step."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedTrainer
from monai.inferers import Inferer
from monai.utils.enums import CommonKeys as Keys
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from ..files import written_whole
from .checkpoint import CheckpointStore
from .ema import EMA
from .progress import Progress
from .ranks import mean_over_ranks
from .samples import StepSampler

logger = logging.getLogger(__name__)


def learning_rate_factor(
    step: int, *, warmup: int, decay_from: int, cooldown: int = 0, max_steps: int = 0
) -> float:
    """Returns the factor on the base learning rate at optimiser step ``step`` (from 1).

    Linear warm-up, constant, then inverse square root (Karras et al. 2024, eq. 67): a function of the step alone,
    so that a run may be prolonged. Over the last ``cooldown`` steps it falls linearly to nothing.
    """
    factor = min(step / max(warmup, 1), 1.0) / math.sqrt(max(step / max(decay_from, 1), 1.0))
    return factor * min((max_steps + 1 - step) / (cooldown + 1), 1.0) if cooldown else factor


def split_batch(batch: Mapping[str, Any], parts: int) -> Iterator[dict[str, Any]]:
    """Splits a batch into micro-batches along the first dimension."""
    size = len(next(value for value in batch.values() if isinstance(value, Tensor))) // parts
    for start in range(0, size * parts, size):
        yield {key: value[start : start + size] for key, value in batch.items()}


class StepTrainer(SupervisedTrainer):
    """Trains to an exact number of optimiser steps, and continues exactly where it was killed.

    Everything random is in the samples, which are numbered; a checkpoint is network, EMA, optimiser and step.

    Args:
        device: Where to train.
        max_steps: Optimiser steps in all.
        max_epochs: Epochs of ``epoch_length`` steps; the run ends with whichever comes first.
        epoch_length: Steps between checkpoints.
        train_data_loader: Batches are steps, by a :class:`StepSampler`.
        network: The network, wrapped for several devices or not.
        optimizer: Its learning rate is the base rate.
        loss_function: (prediction, target) to the loss of each sample.
        prepare_batch: Batch to (inputs, targets, args, kwargs).
        inferer: ``inferer(inputs, network, *args, **kwargs)`` gives the prediction.
        ema: Averaged weights; what ``model.pt`` holds.
        store: Where checkpoints go.
        model_path: Where the finished weights go, ``model.pt``.
        write_card: Called with (model_path, step) after each writing of the weights.
        accumulation: Micro-batches of a step.
        clip_norm: Largest gradient norm.
        warmup: Steps of warm-up.
        decay_from: Step from which the rate falls.
        cooldown: Last steps, over which it falls to nothing. To prolong a run exactly, prolong it before they begin.
        resume: Continue from the newest good checkpoint.
        train_handlers: Further Ignite handlers; all but :class:`.Progress` run after the checkpoint of a step is
            written.
    """

    def __init__(
        self,
        *,
        device: torch.device | str,
        max_steps: int,
        max_epochs: int,
        epoch_length: int,
        train_data_loader: DataLoader[Any],
        network: nn.Module,
        optimizer: Optimizer,
        loss_function: Callable[[Tensor, Tensor], Tensor],
        prepare_batch: Callable[..., Any],
        inferer: Inferer,
        ema: EMA,
        store: CheckpointStore,
        model_path: str | Path,
        write_card: Callable[[Path, int], None],
        accumulation: int = 1,
        clip_norm: float = 1.0,
        warmup: int = 100,
        decay_from: int = 10_000,
        cooldown: int = 0,
        resume: bool = True,
        train_handlers: Sequence[Any] | None = None,
    ) -> None:
        self.max_steps = max_steps
        self.ema = ema
        self.store = store
        self.model_path = Path(model_path)
        self.write_card = write_card
        self.accumulation = accumulation
        self.clip_norm = clip_norm
        self.warmup = warmup
        self.decay_from = decay_from
        self.cooldown = cooldown
        self.resume = resume
        self.base_rates = [group["lr"] for group in optimizer.param_groups]
        self.saved_step = -1
        super().__init__(
            device=device,
            max_epochs=max_epochs,
            epoch_length=epoch_length,
            train_data_loader=train_data_loader,
            network=network,
            optimizer=optimizer,
            loss_function=loss_function,
            prepare_batch=prepare_batch,
            inferer=inferer,
            train_handlers=train_handlers,
            amp=False,  # its switch is CUDA-only and adds a scaler; the inferer has the autocast
            decollate=False,
        )

    @property
    def bare_network(self) -> nn.Module:
        """The network without what wraps it for several devices."""
        return self.network.module if hasattr(self.network, "module") else self.network

    @property
    def is_main(self) -> bool:
        """True on the one process that writes."""
        sampler = self.data_loader.batch_sampler
        return not isinstance(sampler, StepSampler) or sampler.rank == 0

    def _register_handlers(self, handlers: Sequence[Any]) -> None:
        # A step's line in the log comes before its checkpoint: killed between the two, it is done again, not lost.
        # Validation and pictures come after: they take long, and are made up for on resuming.
        super()._register_handlers([handler for handler in handlers if isinstance(handler, Progress)])
        self.add_event_handler(Events.ITERATION_COMPLETED, self._after_step)
        super()._register_handlers([handler for handler in handlers if not isinstance(handler, Progress)])

    def run(self) -> None:
        """Trains from the newest checkpoint, or from the start, to ``max_steps``, and writes the weights."""
        self._resume()
        first = self.state.iteration
        if first < min(self.max_steps, self.state.max_epochs * self.state.epoch_length):
            super().run()
        else:  # nothing left to train; the handlers make what a kill left out
            self.fire_event(Events.STARTED)
            self.fire_event(Events.COMPLETED)
        self._save()
        logger.info("trained %d steps, now at step %d", self.state.iteration - first, self.state.iteration)

    def _resume(self) -> None:
        found = self.store.newest(device=self.state.device) if self.resume else None
        if found is None:
            return
        step, state = found
        self.bare_network.load_state_dict(state["network"])
        self.ema.network.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.state.iteration = self.saved_step = step
        self.state.epoch = step // self.state.epoch_length
        self.data_loader.batch_sampler.start_step = step
        logger.info("resumed at step %d", step)

    def _iteration(self, engine: Engine, batchdata: dict[str, Any]) -> dict[str, Tensor]:
        """One optimiser step: forward and backward on each micro-batch, clip, step, average."""
        step = self.state.iteration  # from 1
        factor = learning_rate_factor(
            step,
            warmup=self.warmup,
            decay_from=self.decay_from,
            cooldown=self.cooldown,
            max_steps=self.max_steps,
        )
        for group, base in zip(self.optimizer.param_groups, self.base_rates, strict=True):
            group["lr"] = base * factor
        self.network.train()
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.state.device)
        for part, micro in enumerate(split_batch(batchdata, self.accumulation), start=1):
            alone = part < self.accumulation and hasattr(self.network, "no_sync")
            with self.network.no_sync() if alone else nullcontext():
                inputs, targets, args, kwargs = self.prepare_batch(micro, self.state.device, True)
                prediction = self.inferer(inputs, self.network, *args, **kwargs)
                loss = self.loss_function(prediction, targets).mean() / self.accumulation
                loss.backward()
            total += loss.detach()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.clip_norm)
        if torch.isfinite(norm):
            self.optimizer.step()
            self.ema.update(self.bare_network, step=step)
        else:
            logger.warning("step %d: gradient is not finite; left out", step)
        return {Keys.LOSS: mean_over_ranks(total), "gradient_norm": norm}

    def _after_step(self, engine: Engine) -> None:
        step = self.state.iteration
        if step % self.state.epoch_length == 0 or step == self.max_steps:
            self._save()
        if step == self.max_steps:
            self.terminate()

    def _save(self) -> None:
        """Writes weights, card and checkpoint of this step, unless that is done.

        The checkpoint comes last: where it is, the weights are those of its step.
        """
        step = self.state.iteration
        done = step == self.saved_step and self.model_path.is_file()
        if done or not self.is_main:
            return
        state = {
            "network": self.bare_network.state_dict(),
            "ema": self.ema.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        with written_whole(self.model_path, durable=True) as beside:
            torch.save({name: value.cpu() for name, value in state["ema"].items()}, beside)
        self.write_card(self.model_path, step)
        self.store.save(step, state)
        self.saved_step = step
