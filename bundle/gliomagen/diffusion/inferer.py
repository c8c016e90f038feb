"""Label map in, contrasts out: the inferer that the evaluator, MONAI Label and MONAI Deploy all run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor, nn

from ..errors import GliomaGenError
from ..machine import autocast
from ..randomness import torch_generator
from .basis import Basis
from .condition import Condition, make_condition
from .denoiser import Denoiser
from .process import Process
from .samplers import sampler_named


class SynthesisInferer(Inferer):
    """Samples contrasts for label maps and, where given, known voxels.

    Args:
        basis: Basis the process runs in.
        process: The noising process.
        contrasts: Channels of the output, C.
        num_labels: Labels without background, L.
        steps: Intervals of the sampling grid.
        sampler: ``euler``, ``heun`` or, for the reference recipe, ``ancestral``.
        guidance: Classifier-free guidance scale; 1 costs one network call a step.
        seed: Noise depends on this and the case's id, and on nothing else.
        precision: ``bf16`` or ``fp32``.
        data_range: Range the network works in.
        mask_background: Set voxels whose label is given as background to 0.

    Attributes:
        network_calls: Forward passes of the last call.
    """

    def __init__(
        self,
        *,
        basis: Basis,
        process: Process,
        contrasts: int = 4,
        num_labels: int = 5,
        steps: int = 10,
        sampler: str = "euler",
        guidance: float = 1.0,
        seed: int = 0,
        precision: str = "fp32",
        data_range: tuple[float, float] = (-1.0, 1.0),
        mask_background: bool = True,
    ) -> None:
        self.basis = basis
        self.process = process
        self.contrasts = contrasts
        self.num_labels = num_labels
        self.steps = steps
        self.sampler = sampler
        self._sample = sampler_named(sampler, process)
        self.guidance = guidance
        self.seed = seed
        self.precision = precision
        self.low, self.high = data_range
        self.mask_background = mask_background
        self.network_calls = 0

    @torch.inference_mode()
    def __call__(  # type: ignore[override]
        self,
        inputs: Tensor,
        network: nn.Module,
        *args: Any,
        case_ids: Sequence[str] | None = None,
        labels_known: Tensor | None = None,
        voxels: Tensor | None = None,
        voxels_known: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Returns the contrasts, (B, C, *S) float32 in [0, 1].

        Args:
            inputs: Prepared label maps, (B, 1, *S), whole numbers in any dtype. Sizes are multiples of 16.
            network: The denoising network.
            *args: Not used.
            case_ids: Names the noise is drawn for; the position in the batch if None.
            labels_known: (B, 1, *S) where the label is given; everywhere if None.
            voxels: (B, C, *S) given intensities in [0, 1], returned as they are where known.
            voxels_known: (B, C, *S) where they are given.
            **kwargs: Not used.

        Raises:
            GliomaGenError: A size is not a multiple of 16.
        """
        label = torch.as_tensor(inputs).as_subclass(Tensor).round().long()  # MetaTensor slows every operation
        bad = [size for size in label.shape[2:] if size % 16]
        if bad:
            raise GliomaGenError(
                f"volume size {tuple(label.shape[2:])} is not a multiple of 16; fit the geometry first"
            )
        scaled = None if voxels is None else torch.as_tensor(voxels) * (self.high - self.low) + self.low
        condition = make_condition(
            label,
            num_labels=self.num_labels,
            contrasts=self.contrasts,
            labels_known=labels_known,
            voxels=scaled,
            voxels_known=voxels_known,
        )
        image = self._sample_image(network, condition, case_ids or [str(i) for i in range(len(label))])
        image = ((image - self.low) / (self.high - self.low)).clamp(0, 1)
        if self.mask_background:
            background = (label == 0) & (condition.labels_known > 0)
            image = torch.where(background, 0, image)
        if voxels is not None and voxels_known is not None:
            image = torch.where(voxels_known.to(torch.bool), torch.as_tensor(voxels).to(image), image)
        return image

    def _sample_image(self, network: nn.Module, condition: Condition, case_ids: Sequence[str]) -> Tensor:
        like = condition.voxels
        generators = [torch_generator(self.seed, "noise", case) for case in case_ids]

        def noise() -> Tensor:
            drawn = [torch.randn(tuple(like.shape[1:]), generator=generator) for generator in generators]
            return self.basis(torch.stack(drawn).to(like.device))  # (B, Cw, *S')

        denoiser = Denoiser(
            network=network,
            basis=self.basis,
            process=self.process,
            condition=condition,
            guidance=self.guidance,
        )
        denoise = self._keeping_known(denoiser, condition)
        was_training = network.training
        network.eval()
        with autocast(like.device, self.precision):
            clean = self._sample(denoise, noise(), self.process.grid(self.steps), noise)
        network.train(was_training)
        self.network_calls = denoiser.network_calls
        return self.basis.inverse(clean.float())

    def _keeping_known(self, denoiser: Denoiser, condition: Condition) -> Callable[[Tensor, Tensor], Tensor]:
        """Puts known voxels into every clean estimate, so that the path ends on them.

        Through voxels, since a known slice may cut through the blocks of the basis.
        """
        known = condition.voxels_known > 0
        if not known.any():
            return denoiser

        def denoise(z: Tensor, t: Tensor) -> Tensor:
            clean = self.basis.inverse(denoiser(z, t))
            return self.basis(torch.where(known, condition.voxels, clean))

        return denoise
