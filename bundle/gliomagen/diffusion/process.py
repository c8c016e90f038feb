"""The noising processes: rectified flow with clean prediction (ours), cosine DDPM with noise prediction (reference).

Time t runs from 1 (pure noise) to 0 (clean). A process knows how to add noise, what the network sees and is told,
what its output means, and what its error is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from monai.networks.schedulers import DDPMScheduler
from torch import Generator, Tensor

from .basis import Basis, IdentityBasis


class Process(Protocol):
    """What training and sampling need to know of a noising process. All w, z, noise are (B, C, *S), t is (B,)."""

    outputs: int
    """Channels that the network makes for each of z."""
    censored: bool
    """Scans are cut off at black and white, and so are clean estimates: beyond, an error is none."""

    def draw_times(self, count: int, generator: Generator) -> Tensor:
        """Draws ``count`` training times, (count,) in (0, 1]."""
        ...

    def grid(self, steps: int) -> Tensor:
        """Returns the sampling times, (steps + 1,), from 1 down to 0."""
        ...

    def scales(self, t: float) -> tuple[float, float]:
        """Returns how much of the clean coefficients and of the noise z_t holds; signal 1 and noise 0 at t = 0."""
        ...

    def add_noise(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Returns z_t."""
        ...

    def network_input(self, z: Tensor, t: Tensor) -> Tensor:
        """Returns what the network sees of z_t."""
        ...

    def network_time(self, t: Tensor) -> Tensor:
        """Returns what the network's time embedding is told, 0 to 1000."""
        ...

    def clean_from(self, output: Tensor, z: Tensor, t: Tensor) -> Tensor:
        """Returns the estimate of the clean coefficients that a network output stands for."""
        ...

    def residual(self, output: Tensor, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Returns the weighted error of a network output; the loss is a norm of it."""
        ...


def _column(t: Tensor, like: Tensor) -> Tensor:
    """Shapes (B,) to broadcast over (B, C, *S)."""
    return t.to(like).reshape(-1, *[1] * (like.ndim - 1))


class RectifiedFlow:
    """Straight paths between data and noise, with a network that predicts the clean end.

    z_t = (1 - t) w + t e (Liu et al. 2023, eq. 1, with time reversed); velocity v = e - w, so that a clean estimate
    w' gives v' = (z_t - w') / t and ‖v' - v‖ = ‖w' - w‖ / t. MONAI's ``RFlowScheduler`` has the opposite sign of v.

    Training times are logit-normal (Esser et al. 2024, eq. 19): logit t = ln shift + spread * n. ``shift`` moves them
    toward noise (their eq. 23), since neighbouring voxels of a volume tell the same and a large volume is still
    legible under much noise; ``spread`` reaches both the times where the large anatomy is decided and those where
    the fine texture is. The sampling grid is of the same family: logit t = ln shift + spread * logit u with u evenly
    spread. The logit-normal is empty at t = 1, where sampling starts, so a part is drawn there.

    With ``detail_rms`` the network makes two outputs of each coefficient, an estimate f and a number a that says how
    much it misses. The estimate is blended with what z_t itself tells of w: w' = (1 - c) f + c z_t / (1 - t), c =
    ((1 - t) s)^2 / (((1 - t) s)^2 + t^2), the best linear estimate if f errs by s, independently of the noise (Wiener
    1949). A network whose first level is narrower than its input cannot make all fine detail: so under little noise
    detail passes by it, and where there is none (a falls) the noise does not. s^2 = 4 sigmoid(a - ln 3) detail_rms^2;
    in the first band, the local mean, s^2 = sigmoid(a + ln 3) detail_rms^2, never more than that of ``detail_rms``, or
    a young network would rather pass noise than learn.

    With ``censored`` a voxel that a scan shows black may be estimated as dark as one likes, a white one as bright
    (Tobin 1958), and in sampling estimates are cut off as scans are. A network that must hit 1 where tissue is brighter
    than white misses to both sides, and what is then cut off makes it darker than it was in any scan.

    Args:
        shift: Odds of noise to signal at the median training time. Grows with the volume.
        spread: Standard deviation of logit t.
        uniform: Share of training times drawn uniformly instead.
        pure_noise: Share of training times at exactly 1.
        data_rms: Root mean square of the coefficients; scales the network's input to unit size.
        detail_rms: What a network misses of each band of the basis; empty: the network makes all of w'.
        minimum_time: The loss is the velocity error for t above this, and flattens below.
        censored: Black and white stand for all that is beyond.

    Attributes:
        outputs: Of the network, for each coefficient.
    """

    def __init__(
        self,
        *,
        shift: float = 1.0,
        spread: float = 1.0,
        uniform: float = 0.05,
        pure_noise: float = 0.02,
        data_rms: float = 0.85,
        detail_rms: Sequence[float] = (),
        minimum_time: float = 0.05,
        censored: bool = True,
    ) -> None:
        self.censored = censored
        self.shift = shift
        self.spread = spread
        self.uniform = uniform
        self.pure_noise = pure_noise
        self.data_rms = data_rms
        self.detail_rms = tuple(detail_rms)
        self.outputs = 2 if self.detail_rms else 1
        self.minimum_time = minimum_time

    def _time(self, logit: Tensor) -> Tensor:
        return (math.log(self.shift) + self.spread * logit).sigmoid()

    def draw_times(self, count: int, generator: Generator) -> Tensor:
        """Draws training times, (count,) in (0, 1]."""
        normal = torch.randn(count, generator=generator)
        flat = 1 - torch.rand(count, generator=generator)  # (0, 1]
        which = torch.rand(count, generator=generator)
        t = torch.where(which < self.uniform, flat, self._time(normal))
        return torch.where(which > 1 - self.pure_noise, torch.ones_like(t), t)

    def grid(self, steps: int) -> Tensor:
        """Returns the sampling times, (steps + 1,), from exactly 1 down to exactly 0."""
        return self._time(torch.linspace(1, 0, steps + 1, dtype=torch.float64).logit()).float()

    def scales(self, t: float) -> tuple[float, float]:
        """Returns 1 - t and t."""
        return 1 - t, t

    def add_noise(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Returns z_t = (1 - t) w + t e."""
        t = _column(t, clean)
        return (1 - t) * clean + t * noise

    def network_input(self, z: Tensor, t: Tensor) -> Tensor:
        """Returns z_t divided by its expected size."""
        t = _column(t, z)
        return z * torch.rsqrt(((1 - t) * self.data_rms) ** 2 + t**2)

    def network_time(self, t: Tensor) -> Tensor:
        """Returns 1000 t."""
        return 1000 * t

    def clean_from(self, output: Tensor, z: Tensor, t: Tensor) -> Tensor:
        """Returns the clean end: the output, blended with what z_t tells."""
        if not self.detail_rms:
            return output
        estimate, missed = output.chunk(2, dim=1)
        channels = z.shape[1] // len(self.detail_rms)  # of a band
        size = torch.tensor(self.detail_rms)
        sure = torch.full_like(size, -math.log(3))  # added to a
        sure[0] = math.log(3)
        most = torch.full_like(size, 4.0)
        most[0] = 1.0
        sure, most = (
            _column(v.repeat_interleave(channels), z).transpose(0, 1) for v in (sure, most * size**2)
        )
        t = _column(t, z)
        power = (missed + sure).sigmoid() * (most * (1 - t) ** 2)
        told = power / (power + t**2)  # c
        return torch.lerp(estimate, z / (1 - t).clamp(min=1e-6), told)  # at t = 1 told is 0

    def residual(self, output: Tensor, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Returns the velocity error, (w' - w) / max(t, minimum_time)."""
        estimate = self.clean_from(output, self.add_noise(clean, noise, t), t)
        return (estimate - clean) / _column(t, clean).clamp(min=self.minimum_time)


class CosineDDPM:
    """The reference recipe's process: cosine schedule and noise prediction (Ho et al. 2020, Nichol & Dhariwal 2021).

    The tables are those of MONAI's ``DDPMScheduler``; step k of T stands at t = (k + 1) / T.

    Where nearly all is noise an error of the named noise is thousands of times as large in the clean estimate, so
    that this is held to the range of voxels.

    Args:
        train_steps: T.
        clip: Least and largest voxel of a clean estimate; None: any.
        basis: The basis the process runs in, if not the image itself.
    """

    def __init__(
        self,
        *,
        train_steps: int = 1000,
        clip: Sequence[float] | None = (-1.0, 1.0),
        basis: Basis | None = None,
    ) -> None:
        self.outputs = 1
        self.censored = False  # its error is one of the noise
        self.train_steps = train_steps
        self.clip = clip
        self.basis = IdentityBasis() if basis is None else basis
        schedule = DDPMScheduler(num_train_timesteps=train_steps, schedule="cosine")
        self.alphas_cumprod: Tensor = schedule.alphas_cumprod.double()  # (T,)

    def _index(self, t: Tensor) -> Tensor:
        return (t.double() * self.train_steps).round().long().cpu() - 1

    def alpha_bar(self, t: Tensor) -> Tensor:
        """Returns the cumulative signal power at times t, (B,), 1 at t = 0, in double precision."""
        index = self._index(t)
        return torch.where(index < 0, 1.0, self.alphas_cumprod[index.clamp(min=0)])

    def draw_times(self, count: int, generator: Generator) -> Tensor:
        """Draws training times uniformly from the T steps."""
        return (1 + torch.randint(self.train_steps, (count,), generator=generator)) / self.train_steps

    def grid(self, steps: int) -> Tensor:
        """Returns ``steps`` of the T steps, evenly spread, and 0; ``steps`` = T is the published sampler."""
        index = torch.linspace(self.train_steps, 0, steps + 1, dtype=torch.float64).round()
        return (index / self.train_steps).float()

    def scales(self, t: float) -> tuple[float, float]:
        """Returns sqrt(a) and sqrt(1 - a)."""
        a = float(self.alpha_bar(torch.tensor([t])))
        return math.sqrt(a), math.sqrt(1 - a)

    def add_noise(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Returns z_t = sqrt(a) x + sqrt(1 - a) e."""
        a = _column(self.alpha_bar(t), clean)
        return a.sqrt() * clean + (1 - a).sqrt() * noise

    def network_input(self, z: Tensor, t: Tensor) -> Tensor:
        """Returns z_t, which has about unit variance already."""
        return z

    def network_time(self, t: Tensor) -> Tensor:
        """Returns the step's number, 0 to T - 1."""
        return self._index(t).to(t)

    def clean_from(self, output: Tensor, z: Tensor, t: Tensor) -> Tensor:
        """Returns (z - sqrt(1 - a) e') / sqrt(a), its voxels clipped."""
        a = _column(self.alpha_bar(t), z)
        clean = (z - (1 - a).sqrt() * output) / a.sqrt()
        return clean if self.clip is None else self.basis(self.basis.inverse(clean).clamp(*self.clip))

    def residual(self, output: Tensor, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Returns the noise error, e' - e."""
        return output - noise
