"""Label map in, contrasts out: the inferer that the evaluator, MONAI Label and MONAI Deploy all run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor, nn

from ..errors import GliomaGenError
from ..labels import HEAD
from ..machine import autocast
from ..randomness import torch_generator
from .basis import Basis
from .condition import make_condition
from .denoiser import Denoiser
from .greys import GreyDistribution, fixed_greys, measure_greys, restore, standardize
from .known import cut_off, keeping
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
        sampler: ``multistep``, ``euler``, ``heun`` or, for the reference recipe, ``ancestral``.
        extrapolation: Of ``multistep``, see :mod:`.samplers`.
        guidance: Classifier-free guidance scale; 1 costs one network call a step.
        seed: Noise depends on this and the case's id, and on nothing else.
        precision: ``bf16`` or ``fp32``.
        data_range: Range of the network for [0, 1], if it has no grey levels of its own (``network.greys``).
        mask_background: Set voxels whose label is given as background to 0.
        background_known: Keep them 0 on the way, too: for a network that has not learnt them.
        resampling: More than 1: walk each interval so many times, see :func:`.samplers.repainting`, instead of ``sampler``.
        tell_voxels: Tell the network the known voxels. Without, they are only put into its estimates: for weights that
            were not trained on them.
        grey_spread: Of grey levels that are not known: 1 draws them as training scans have them, 0 takes the likeliest.

    Attributes:
        network_calls: Forward passes of the last call, for each voxel: slices made one after the other count once.
        network_dims: Axes that the network sees at once; 0: all.
    """

    network_dims = 0

    def __init__(
        self,
        *,
        basis: Basis,
        process: Process,
        contrasts: int = 4,
        num_labels: int = 5,
        steps: int = 10,
        sampler: str = "multistep",
        extrapolation: float = 1.4,
        guidance: float = 1.0,
        seed: int = 0,
        precision: str = "fp32",
        data_range: tuple[float, float] = (-1.0, 1.0),
        mask_background: bool = True,
        background_known: bool = False,
        resampling: int = 1,
        tell_voxels: bool = True,
        grey_spread: float = 1.0,
    ) -> None:
        self.basis = basis
        self.process = process
        self.contrasts = contrasts
        self.num_labels = num_labels
        self.steps = steps
        self.sampler = sampler
        self._sample = sampler_named(sampler, process, extrapolation=extrapolation, resampling=resampling)
        self.tell_voxels = tell_voxels
        self.grey_spread = grey_spread
        self.guidance = guidance
        self.seed = seed
        self.precision = precision
        self.data_range = data_range
        self.mask_background = mask_background
        self.background_known = background_known
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
        greys: Tensor | None = None,
        position: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Returns the contrasts, (B, C, *S) float32 in [0, 1].

        Args:
            inputs: Prepared label maps, (B, 1, *S), whole numbers in any dtype. Sizes are multiples of 16. For hosts that
                hand over one tensor, a second channel may be ``labels_known``.
            network: The denoising network.
            *args: Not used.
            case_ids: Names the noise is drawn for; the position in the batch if None.
            labels_known: (B, 1, *S) where the label is given; everywhere if None.
            voxels: (B, C, *S) given intensities in [0, 1], returned as they are where known.
            voxels_known: (B, C, *S) where they are given.
            greys: (B, C, 2) grey levels to give the scan (:mod:`.greys`), NaN for those to be drawn. Where None, they
                are measured on the known voxels of a contrast, and drawn where there are none.
            position: (B,) relative height of slices, or (B, slices) of those of volumes that are made slice by slice; NaN
                where not known. Of volumes it is taken from the label map where None. For networks that are told it.
            **kwargs: Not used.

        Raises:
            GliomaGenError: A size is not a multiple of 16.
        """
        label = torch.as_tensor(inputs).as_subclass(Tensor).round().long()  # MetaTensor slows every operation
        if label.shape[1] == 2:
            label, labels_known = label.split(1, dim=1)
        sizes = label.shape[2 : 2 + self.network_dims] if self.network_dims else label.shape[2:]
        if any(size % 16 for size in sizes):
            raise GliomaGenError(
                f"volume size {tuple(label.shape[2:])} is not a multiple of 16; fit the geometry first"
            )
        cases = list(case_ids or [str(i) for i in range(len(label))])
        parts = {"labels_known": labels_known, "voxels": voxels, "voxels_known": voxels_known}
        told = self.draw_greys(network, cases, label, greys, **parts)
        was_training = network.training
        network.eval()
        try:
            image = self._scan(
                label, network, cases, told, parts, self._position(network, label, position, parts)
            )
        finally:
            network.train(was_training)
        image = (image * (1 + 2e-6) - 1e-6).clamp(0, 1)  # rounding left black and white a millionth off
        if self.mask_background:
            background = label == 0
            if labels_known is not None:
                background = background & (labels_known > 0)
            image = torch.where(background, 0, image)
        if voxels is not None and voxels_known is not None:
            image = torch.where(voxels_known.to(torch.bool), torch.as_tensor(voxels).to(image), image)
        return image

    def _scan(
        self,
        label: Tensor,
        network: nn.Module,
        cases: Sequence[str],
        told: Tensor | None,
        parts: Mapping[str, Tensor | None],
        position: Tensor | None,
    ) -> Tensor:
        """Returns the contrasts as the network makes them, not yet cut off at black and white, (B, C, *S)."""
        greys = fixed_greys(len(label), self.contrasts, self.data_range) if told is None else told
        greys = greys.to(label.device)
        voxels = parts["voxels"]
        condition = make_condition(
            label,
            num_labels=self.num_labels,
            contrasts=self.contrasts,
            labels_known=parts["labels_known"],
            voxels=None if voxels is None else standardize(torch.as_tensor(voxels), greys),
            voxels_known=parts["voxels_known"],
            greys=None if told is None else greys,
            position=position,
        )
        known = (label == 0) & (condition.labels_known > 0) & self.background_known  # (B, 1, *S)
        levels = greys.new_zeros(*greys.shape[:2], *[1] * (label.ndim - 2))
        black, white = standardize(levels, greys), standardize(levels + 1, greys)
        given = black
        if voxels is not None:
            given = torch.where(known, black, condition.voxels)
            known = known | (condition.voxels_known > 0)
        if not self.tell_voxels:
            nothing = torch.zeros_like(condition.voxels)
            condition = replace(condition, voxels=nothing, voxels_known=nothing)
        generators = [torch_generator(self.seed, "noise", case) for case in cases]

        def noise() -> Tensor:
            drawn = [torch.randn(self.contrasts, *label.shape[2:], generator=g) for g in generators]
            return self.basis(torch.stack(drawn).to(label.device))  # (B, Cw, *S')

        with autocast(label.device, self.precision):
            denoiser = Denoiser(
                network=network,
                basis=self.basis,
                process=self.process,
                condition=condition,
                guidance=self.guidance,
            )
            del condition  # as large as several volumes, and not needed beside what the denoiser took of it
            within = cut_off(self.basis, black, white, denoiser) if self.process.censored else denoiser
            denoise = keeping(self.basis, known, given, within)
            clean = self._sample(denoise, noise(), self.process.grid(self.steps), noise)
        self.network_calls = denoiser.network_calls
        return restore(self.basis.inverse(clean.float()), greys)

    def _position(
        self, network: nn.Module, label: Tensor, position: Tensor | None, parts: Mapping[str, Tensor | None]
    ) -> Tensor | None:
        """Returns what a network that is told positions is told, (B,)."""
        if getattr(network, "place_in", None) is None:
            return None
        position = torch.full((len(label),), torch.nan) if position is None else torch.as_tensor(position)
        return position.to(label.device, torch.float32)

    def draw_greys(
        self,
        network: nn.Module,
        cases: Sequence[str],
        label: Tensor,
        greys: Tensor | None = None,
        *,
        labels_known: Tensor | None = None,
        voxels: Tensor | None = None,
        voxels_known: Tensor | None = None,
    ) -> Tensor | None:
        """Returns the grey levels of scans to be made, (B, C, 2): given, measured on known voxels, or drawn.

        Args:
            network: Carries the distribution; None is returned where it carries none.
            cases: Names the grey levels are drawn for.
            label: (B, 1, *S)
            greys: As in the call, as what follows.
            labels_known: (B, 1, *S)
            voxels: (B, C, *S)
            voxels_known: (B, C, *S)
        """
        distribution = getattr(network, "greys", None)
        if not isinstance(distribution, GreyDistribution):
            return None
        if greys is None:
            greys = torch.full((len(label), self.contrasts, 2), torch.nan)
            if voxels is not None and voxels_known is not None:
                image, known = torch.as_tensor(voxels).nan_to_num(), voxels_known.to(torch.bool)
                healthy = (
                    label == HEAD if labels_known is None else (label == HEAD) & labels_known.to(torch.bool)
                )
                greys = measure_greys(image, known & healthy)
                greys = torch.where(greys.isnan(), measure_greys(image, known & (image > 0)), greys)
        generators = [torch_generator(self.seed, "greys", case) for case in cases]
        normal = [torch.randn(2 * self.contrasts, generator=generator) for generator in generators]
        return distribution.draw(self.grey_spread * torch.stack(normal), greys.cpu())


class SliceInferer(SynthesisInferer):
    """Makes volumes with a 2-D network, one axial slice after the other.

    All slices of a volume have the same noise and grey levels, so that neighbours with like labels are alike.
    """

    network_dims = 2
    slices_at_once = 16

    def _position(
        self, network: nn.Module, label: Tensor, position: Tensor | None, parts: Mapping[str, Tensor | None]
    ) -> Tensor | None:
        """Returns the relative height of each slice in the head, (B, slices); over all slices where no head is known."""
        if position is not None or getattr(network, "place_in", None) is None:
            return super()._position(network, label, position, parts)
        known = parts["labels_known"]
        head = ((label > 0) & (True if known is None else known > 0)).flatten(1, -2).any(1)  # (B, slices)
        return torch.stack([slice_heights(one) for one in head])

    def _scan(
        self,
        label: Tensor,
        network: nn.Module,
        cases: Sequence[str],
        told: Tensor | None,
        parts: Mapping[str, Tensor | None],
        position: Tensor | None,
    ) -> Tensor:
        volumes = []
        for index, case in enumerate(cases):
            made = []
            for first in range(0, label.shape[-1], self.slices_at_once):
                some = slice(first, first + self.slices_at_once)
                here = {
                    name: None if part is None else part[index, ..., some].movedim(-1, 0)
                    for name, part in parts.items()
                }
                slices = label[index, ..., some].movedim(-1, 0)  # (slices, 1, X, Y)
                greys = None if told is None else told[index].expand(len(slices), -1, -1)
                heights = None if position is None else position[index, some]
                made.append(super()._scan(slices, network, [case] * len(slices), greys, here, heights))
            volumes.append(torch.cat(made).movedim(0, -1))
        return torch.stack(volumes)


def slice_heights(has_head: Tensor) -> Tensor:
    """Returns the relative height of each slice in the head, (slices,) float32 in [0, 1]; over all of them where there is no head.

    Args:
        has_head: (slices,) bool.
    """
    found = has_head.nonzero()
    low, high = (int(found[0]), int(found[-1])) if len(found) else (0, len(has_head) - 1)
    number = torch.arange(len(has_head), device=has_head.device, dtype=torch.float32)
    return ((number - low) / max(high - low, 1)).clamp(0, 1)


def synthesis_inferer(*, spatial_dims: int, **options: Any) -> SynthesisInferer:
    """Returns the inferer of volumes for a network of so many dimensions."""
    return (SliceInferer if spatial_dims == 2 else SynthesisInferer)(**options)
