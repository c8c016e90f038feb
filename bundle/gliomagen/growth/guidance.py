"""A scan whose burden is moved to a target, by the gradient of a regressor that reads it from the noisy scan.

The published route (Laslo et al. 2025), for the rectified flow. The last scan is walked toward noise, without guidance, and back
with it. With g the gradient of log p(y | z_t), guidance is v <- v - t / (1 - t) g; p is normal in the logarithm of the burden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor, nn

from ..diffusion.basis import Basis
from ..diffusion.condition import make_condition
from ..diffusion.denoiser import Denoiser
from ..diffusion.greys import measure_greys, restore, standardize
from ..diffusion.inferer import slice_heights
from ..diffusion.inversion import Denoise, flow_step, flow_times, walked
from ..diffusion.known import cut_off, keeping
from ..diffusion.process import RectifiedFlow
from ..errors import GliomaGenError
from ..labels import HEAD
from ..machine import autocast
from ..randomness import torch_generator
from .patients import Seen
from .regressor import BLOCK, log_variance, read_blocks, shares_read
from .spread import BURDEN

Mask = NDArray[np.bool_]
NOISE = 0.999
"""Time at which nothing of a scan is seen."""


@dataclass(frozen=True, kw_only=True)
class Inverted:
    """A scan on its way to noise.

    Attributes:
        noisy: (B, Cw, *S') at the last of the times.
        told: Logarithm of the burden that the regressor reads at each time, falling.
        shown: Share of a change of it that a scan of each time shows, falling times.
        denoise: Walks it; its estimates have what is known put in.
        denoiser: Without that.
        greys: (B, C, 2)
        noise: (B, Cw, *S') that was put on at the first time.
        image: (B, C, *S) in [0, 1].
        error: Root mean square of what a way there and back changes, in the head.
        shares: (B, 1, *S') of tumour that the regressor reads at the first time.
    """

    noisy: Tensor
    told: tuple[float, ...]
    shown: tuple[float, ...]
    denoise: Denoise
    denoiser: Denoiser
    greys: Tensor
    noise: Tensor
    image: Tensor
    error: float
    shares: Tensor

    def volume(self, image: Tensor) -> Tensor:
        """Returns contrasts (B, C, *S) as a volume, (C, X, Y, Z): slices are put on one another."""
        whole = image[0] if image.ndim == 5 else image.movedim(0, -1)
        return whole.float().cpu()


class BurdenGuidance:
    """Moves scans to a burden.

    Args:
        network: The generator's; nothing is told to it but that background is black.
        regressor: Reads shares of tumour, see :mod:`.regressor`.
        basis: Basis the process runs in.
        process: A rectified flow.
        contrasts: Of both networks.
        start: First time, near 0, where seeded noise is put on: a network has not seen a scan without.
        depth: Last time, below 1.
        steps: Between the two.
        free: Below this time the generator is left to itself, so that what it ends on is a scan of its own.
        reach_mm: From the last tumour's edge; beyond, guidance does not act, unless growth needs more room.
        most_error: Largest error of a way there and back; more, and the result would not be the patient.
        seed: Of the noise.
        device: Where it runs.
        precision: ``bf16`` or ``fp32``.
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        regressor: nn.Module,
        basis: Basis,
        process: RectifiedFlow,
        contrasts: Sequence[str],
        spatial_dims: int = 3,
        num_labels: int = 5,
        start: float = 0.02,
        depth: float = 0.8,
        steps: int = 10,
        free: float = 0.3,
        reach_mm: float = 4.0,
        most_error: float = 0.02,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: str = "fp32",
    ) -> None:
        if not 0 < start < depth < 1 or steps < 1:
            raise GliomaGenError(
                f"guidance from {start} to {depth} in {steps} steps: choose 0 < start < depth < 1 and at least one step"
            )
        self.network, self.regressor = network.eval(), regressor.eval()
        self.basis, self.process, self.contrasts = basis, process, list(contrasts)
        self.spatial_dims, self.num_labels = spatial_dims, num_labels
        self.times = flow_times(start, depth, steps)
        self.free = free
        self.reach_mm, self.most_error = reach_mm, most_error
        self.seed, self.device, self.precision = seed, torch.device(device), precision

    def inverted(self, last: Seen, name: str) -> Inverted:
        """Walks a scan toward noise, and back to see that it comes back.

        Args:
            last: The scan.
            name: The noise is drawn for it.

        Raises:
            GliomaGenError: A contrast is missing, there is no tumour, or the scan does not come back.
        """
        missing = [one for one in self.contrasts if one not in last.images]
        if missing:
            raise GliomaGenError(f"guidance by a regressor needs {', '.join(missing)}; take guidance mask")
        if not np.isin(last.labels, BURDEN).any():
            raise GliomaGenError("no tumour in the last label map: there is no burden to guide")
        volume = torch.from_numpy(np.stack([last.images[one] for one in self.contrasts]))
        image = self._views(volume)
        labels = self._views(torch.from_numpy(last.labels)[None])
        with torch.no_grad(), autocast(self.device, self.precision):
            healthy = torch.from_numpy(last.labels == HEAD).expand_as(volume)
            greys = measure_greys(volume[None], healthy[None]).to(image).expand(len(image), -1, -1)
            denoise, denoiser = self._denoise(image, labels, greys)
            clean = self.basis(standardize(image, greys))
            drawn = torch.randn(image.shape, generator=torch_generator(self.seed, "inversion", name))
            noise = self.basis(drawn.to(self.device))
            first = self.process.add_noise(clean, noise, self.times[:1].to(self.device))
            path = walked(denoise, first, self.times)
            back = walked(denoise, path[-1], self.times.flip(0))[-1]
            came = restore(self.basis.inverse(self._without(back, noise)), greys)
            head = (labels > 0).expand_as(image)
            error = float((came - image)[head].square().mean().sqrt())
        if not error <= self.most_error:
            raise GliomaGenError(
                f"the scan comes back from noise with an error of {error:.3f}, more than {self.most_error}; take more guidance_steps or less guidance_depth"
            )
        told = tuple(float(self._shares(z, t).sum().log1p()) for z, t in zip(path, self.times, strict=True))
        variances = [self._variance(z, t) for z, t in zip(path, self.times, strict=True)]
        shown = shares_shown(variances, self._variance(noise, torch.tensor(NOISE)))
        return Inverted(
            noisy=path[-1],
            told=told[::-1],
            shown=shown[::-1],
            denoise=denoise,
            denoiser=denoiser,
            greys=greys,
            noise=noise,
            image=image,
            error=error,
            shares=self._shares(first, self.times[0]),
        )

    def region(self, last: Seen, change: float) -> Mask:
        """Returns where guidance acts, (X, Y, Z): within reach of the tumour, further where less has no room for twice the burden.

        The further it reaches, the less it changes the tumour and the more it makes of tissue around it what tissue is not.

        Args:
            last: The scan.
            change: Burden wanted over that of the scan.
        """
        tumour, head = np.isin(last.labels, BURDEN), last.labels > 0
        away = np.where(head, distance_transform_edt(~tumour, sampling=last.voxel_mm), np.inf)
        room = np.sort(away[head])[: max(1, int(2 * change * tumour.sum()))][-1]
        region: Mask = away <= max(self.reach_mm, room)
        return region

    def guided(self, scan: Inverted, change: float, region: Mask) -> tuple[Tensor, Tensor]:
        """Returns the contrasts at ``change`` times the burden, (B, C, *S) in [0, 1], and the shares of tumour read of them.

        What the regressor misreads of this patient it misreads on both ways: so the target at each time is what it read on the way
        there, times as much of the change as a scan so noisy shows. To ask for all of it at once would take the scan to where no
        scans are: of what is mostly noise the regressor hardly reads anything else, however it is moved.

        Args:
            scan: From :meth:`inverted`.
            change: Burden wanted over that of the scan, above 0.
            region: (X, Y, Z) where guidance acts.
        """
        near = _blocks(self._views(torch.from_numpy(region)[None]))
        z = scan.noisy
        falling = self.times.flip(0)
        for k, (t, after) in enumerate(pairwise(falling)):
            with torch.no_grad(), autocast(self.device, self.precision):
                z = flow_step(scan.denoise, z, t, after)
            if after >= self.free:
                z = self._moved(
                    z, after, scan.told[k + 1] + scan.shown[k + 1] * float(np.log(change)), scan, near
                )
        with torch.no_grad():
            image = restore(self.basis.inverse(self._without(z, scan.noise)), scan.greys).clamp(0, 1)
            return image, self._shares(z, falling[-1])

    def _moved(self, z: Tensor, t: Tensor, target: float, scan: Inverted, near: Tensor) -> Tensor:
        """Returns z with the guidance of one step: so far along the generator's covariance that, to first order, the target is read.

        The limit of the published velocity for a target that is sure, v - t / (1 - t) g over a step: along g alone the distance to
        it falls by exp(-|g|^2 W / variance), W the integral of t / (1 - t).
        """
        with torch.enable_grad():
            where = z.clone().requires_grad_()
            read = shares_read(self._blocks(where, t)).sum().log1p()
            (gradient,) = torch.autograd.grad(read, where)
        gradient = gradient * near
        way = self._along(z, t, gradient, scan) * near
        size = float((gradient * way).sum())
        return z + way * ((target - float(read.detach())) / size) if size > 0 else z

    def _along(self, z: Tensor, t: Tensor, gradient: Tensor, scan: Inverted) -> Tensor:
        """Returns the gradient times the clean estimate's derivative, (B, Cw, *S').

        That derivative is the covariance of what the scan may be (Efron 2011), so that what is moved are scans: the gradient by
        itself also goes where only this regressor looks.
        """
        with torch.enable_grad(), autocast(self.device, self.precision):
            where = z.clone().requires_grad_()
            clean = scan.denoiser(where, t.to(z).expand(len(z)))
            (way,) = torch.autograd.grad((clean * gradient).sum(), where)
        return way

    def _blocks(self, z: Tensor, t: Tensor) -> Tensor:
        with autocast(self.device, self.precision):
            return read_blocks(self.regressor, self.process, z, t.to(z).expand(len(z)))

    def _variance(self, z: Tensor, t: Tensor) -> float:
        with torch.no_grad():
            return float(log_variance(self._blocks(z, t)).mean().exp())

    def _shares(self, z: Tensor, t: Tensor) -> Tensor:
        with torch.no_grad():
            return shares_read(self._blocks(z, t))

    def _without(self, z: Tensor, noise: Tensor) -> Tensor:
        """Takes off the noise that was put on."""
        return (z - self.times[0] * noise) / (1 - self.times[0])

    def _views(self, volume: Tensor) -> Tensor:
        """Returns a volume (C, X, Y, Z) as the network sees it: (1, C, X, Y, Z), or its slices (Z, C, X, Y)."""
        seen = volume[None] if self.spatial_dims == 3 else volume.movedim(-1, 0)
        return seen.to(self.device)

    def _heights(self, labels: Tensor) -> Tensor | None:
        """Returns what a network that is told the height of slices is told."""
        if getattr(self.network, "place_in", None) is None:
            return None
        return slice_heights((labels > 0).flatten(1).any(1))

    def _denoise(self, image: Tensor, labels: Tensor, greys: Tensor) -> tuple[Denoise, Denoiser]:
        condition = make_condition(
            labels,
            num_labels=self.num_labels,
            contrasts=len(self.contrasts),
            labels_known=torch.zeros_like(labels),
            greys=greys,
            position=self._heights(labels),
        )
        level = greys.new_zeros(*greys.shape[:2], *[1] * self.spatial_dims)
        black, white = standardize(level, greys), standardize(level + 1, greys)
        denoiser = Denoiser(network=self.network, basis=self.basis, process=self.process, condition=condition)
        within = cut_off(self.basis, black, white, denoiser) if self.process.censored else denoiser
        return keeping(self.basis, labels == 0, black, within), denoiser


def _blocks(near: Tensor) -> Tensor:
    """Returns the blocks that have a voxel of it, (B, 1, *S / 2) float32."""
    pool = nn.functional.max_pool3d if near.ndim == 5 else nn.functional.max_pool2d
    return pool(near.float(), BLOCK)


def shares_shown(variances: Sequence[float], nothing: float) -> tuple[float, ...]:
    """Returns the share of a change in the logarithm of the burden that scans of each time show.

    Of what is jointly normal, what is read of a noisy scan has the slope 1 - variance / variance without seeing it. What a regressor
    cannot tell of a scan without noise either is its own and drops out of a change.

    Args:
        variances: Of the logarithm of the burden, rising times; the first is of next to no noise.
        nothing: The variance when nothing is seen.
    """
    seen = max(nothing - variances[0], 1e-6)
    return tuple(float(np.clip((nothing - variance) / seen, 0, 1)) for variance in variances)
