"""Training the denoiser with a head, all of it or the head alone, on a few labelled samples."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..diffusion.basis import Basis
from ..diffusion.process import Process
from ..errors import GliomaGenError
from ..machine import autocast
from ..randomness import torch_generator
from .augmenting import Augmentation, LesionPaste
from .features import Choice, block_names, checked
from .headed import HeadedDenoiser, Learning
from .samples import Classes, Sample, class_weights, stacked


class FineTuning:
    """Trains copies of a denoiser with a head on labelled samples.

    The head learns first, by itself: while it knows nothing, what it asks of the denoiser spoils the features (Kumar et al. 2022).

    Args:
        network: The denoiser, with its weights; left as it is.
        basis: Basis the process runs in.
        process: The noising process.
        num_labels: Labels without background that the network can be told, L.
        spatial_dims: 2 or 3.
        learning: What of it learns, see :data:`.headed.Learning`.
        choice: Decoder blocks that the head sees, by time of the noise; None: the finest, with little noise.
        layers: Convolutions of the head that see neighbours.
        members: How many copies.
        head_steps: Of the head by itself.
        head_rate: Of AdamW then, at the beginning; falls to nothing as a cosine does.
        steps: Of what learns, after that.
        learning_rate: Of these.
        batch_size: Samples a step.
        paste: Probability of a pasted lesion, see :class:`.LesionPaste`.
        crop: Of volumes, see :class:`.Augmentation`.
        seed: Of heads, order, changes and noise.
        precision: ``bf16`` or ``fp32``.

    Raises:
        GliomaGenError: There is no such block, a time is not in (0, 1], or ``learning`` is not known.
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        basis: Basis,
        process: Process,
        num_labels: int,
        spatial_dims: int,
        learning: Learning = "decoder",
        choice: Choice | None = None,
        layers: int = 1,
        members: int = 1,
        head_steps: int = 200,
        head_rate: float = 2e-3,
        steps: int = 400,
        learning_rate: float = 5e-4,
        batch_size: int = 8,
        paste: float = 0.5,
        crop: Sequence[int] | None = None,
        seed: int = 0,
        precision: str = "fp32",
    ) -> None:
        if learning not in get_args(Learning):
            raise GliomaGenError(
                f"learning '{learning}' is not known; choose among {list(get_args(Learning))}"
            )
        self.network = network
        self.learning = learning
        self.built: dict[str, Any] = {
            "basis": basis,
            "process": process,
            "num_labels": num_labels,
            "spatial_dims": spatial_dims,
            "layers": layers,
        }
        self.choice = checked(network, {0.05: block_names(network)[-1:]} if choice is None else choice)
        self.members = members
        self.stages: list[tuple[Learning, int, float]] = [("head", head_steps, head_rate)]
        if learning != "head":
            self.stages.append((learning, steps, learning_rate))
        self.batch_size = batch_size
        self.paste = paste
        self.augment = Augmentation(spatial_dims=spatial_dims, crop=crop)
        self.seed = seed
        self.precision = precision
        self.models: list[HeadedDenoiser] = []

    def fit(self, samples: Sequence[Sample], classes: Classes) -> None:
        """Trains all members."""
        self.models = [self._trained(member, samples, classes) for member in range(self.members)]

    @torch.inference_mode()
    def probabilities(
        self,
        image: Tensor,
        names: Sequence[str],
        *,
        greys: Tensor | None = None,
        position: Tensor | None = None,
    ) -> Tensor:
        """Returns what each member says of scans and of their mirror images, (2 M, B, K, *S).

        Args:
            image: (B, C, *S)
            names: Of the scans; the noise is drawn for them.
            greys: (B, C, 2)
            position: (B,)
        """
        said = []
        for number, model in enumerate(self.models):
            noise = torch.stack(
                [
                    torch.randn(
                        image.shape[1:], generator=torch_generator(self.seed, "predict", number, name)
                    )
                    for name in names
                ]
            ).to(image)
            for mirrored in (False, True):
                turned = [x.flip(2) if mirrored else x for x in (image, noise)]
                with autocast(image.device, self.precision):
                    logits = model(*turned, greys, position)
                said.append((logits.flip(2) if mirrored else logits).softmax(1))
        return torch.stack(said)

    def _trained(self, member: int, samples: Sequence[Sample], classes: Classes) -> HeadedDenoiser:
        generator = torch_generator(self.seed, "fine-tuning", member)
        device = next(self.network.parameters()).device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
            model = HeadedDenoiser(
                network=copy.deepcopy(self.network),
                contrasts=len(samples[0].image),
                classes=classes.count,
                choice=self.choice,
                **self.built,
            )
        model.to(device).train()
        targets = [classes.target(sample) for sample in samples]
        weight = class_weights(torch.cat([target.flatten() for target in targets]), classes.count).to(device)
        paste = LesionPaste(samples, targets, self.augment, self.paste)
        for learning, steps, rate in self.stages:
            parameters = model.learns(learning)
            optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.01)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
            for step in range(steps):
                chosen = torch.randint(len(samples), (self.batch_size,), generator=generator).tolist()
                key = (self.seed, member, learning, step)
                pairs = [
                    paste(*self.augment(samples[k].image, targets[k], *key, place), k, *key, place)
                    for place, k in enumerate(chosen)
                ]
                image, target = (torch.stack(part).to(device) for part in zip(*pairs, strict=True))
                noise = torch.randn(image.shape, generator=generator).to(device)
                _, _, greys, position = stacked([samples[k] for k in chosen])
                with autocast(device, self.precision):
                    logits = model(image, noise, greys, position)
                loss = segmentation_loss(logits, target, weight)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(parameters, 1.0)
                optimizer.step()
                schedule.step()
        return model.eval()


def segmentation_loss(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Returns weighted cross-entropy plus one minus the soft Dice of the lesion classes over the batch (Milletari et al. 2016).

    Args:
        logits: (B, K, *S)
        target: (B, *S) classes; negative ones are left out.
        weight: (K,)
    """
    entropy = functional.cross_entropy(logits, target, weight, ignore_index=-1)
    there = (target >= 0)[:, None]
    chance = logits.softmax(1) * there
    truth = functional.one_hot(target.clamp(min=0), logits.shape[1]).movedim(-1, 1) * there
    axes = (0, *range(2, logits.ndim))
    overlap, total = (chance * truth).sum(axes), (chance + truth).sum(axes)
    shown = truth.sum(axes)[1:] > 0
    dice = (2 * overlap + 1)[1:] / (total + 1)[1:]
    return entropy + 1 - dice[shown].mean() if shown.any() else entropy
