"""Parameters of a burden model from a few measurements: bounded least squares, refits of perturbed data, and a sampler."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import emcee
import numpy as np
from scipy.optimize import least_squares
from scipy.stats import norm

from ..errors import GliomaGenError
from ..randomness import numpy_generator, numpy_state
from .burden import Array, BurdenModel, GrowthLaw

_WALKERS_PER_PARAMETER = 4
_THIN = 5


@dataclass(frozen=True, kw_only=True)
class Prior:
    """Log-normal, cut off.

    Attributes:
        median: In the parameter's unit.
        spread: Standard deviation of its natural logarithm.
        low: Smallest value.
        high: Largest value.
    """

    median: float
    spread: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A patient's burden so far.

    Attributes:
        days: (T,) since the first measurement, rising from 0.
        burden: (T,) mm³; 0 where none is seen.
        courses: Days on which radiotherapy begins, see :class:`.BurdenModel`.
    """

    days: tuple[float, ...]
    burden: tuple[float, ...]
    courses: tuple[float, ...] = ()

    def until(self, count: int) -> Measured:
        """Returns what was known after some measurements."""
        last = self.days[count - 1]
        return replace(
            self,
            days=self.days[:count],
            burden=self.burden[:count],
            courses=tuple(day for day in self.courses if day <= last),
        )


class BurdenFit:
    """Fits one patient's burden.

    A measurement is the burden times a log-normal error, so too large is as likely as too small. A burden of nothing says that it is
    below what can be seen. What a few measurements cannot tell, the priors do.

    Args:
        measured: By day.
        law: Of growth.
        priors: By parameter, see :attr:`.BurdenModel.parameters`, and ``error``: standard deviation of a measurement's logarithm.
            ``start`` has none: it lies around the first measurement.
        smallest_mm3: Burden that can just be seen.

    Raises:
        GliomaGenError: A prior is missing or impossible, or there was never any tumour.
    """

    def __init__(
        self, *, measured: Measured, law: GrowthLaw, priors: Mapping[str, Prior], smallest_mm3: float
    ) -> None:
        self.model = BurdenModel(law=law, courses=measured.courses)
        self.measured = measured
        self.smallest = smallest_mm3
        seen = [value for value in measured.burden if value > smallest_mm3]
        if not seen:
            raise GliomaGenError(f"no burden above {smallest_mm3:g} mm³ at any visit: nothing to forecast")
        # Before the first measurement the tumour may have been of quite another size.
        earlier = -self.model.first_day()
        first = max(measured.burden[0], smallest_mm3)
        around = Prior(
            median=first, spread=1.0 if earlier else 0.5, low=smallest_mm3 / 100, high=max(seen) * 1000
        )
        used = {"start": around, **{name: priors[name] for name in self._needed(priors)}}
        self.names = (*self.model.parameters, "error")
        chosen = [used[name] for name in self.names]
        for name, prior in zip(self.names, chosen, strict=True):
            if not 0 < prior.low < prior.median < prior.high or prior.spread <= 0:
                raise GliomaGenError(
                    f"prior of {name}: 0 < low < median < high and spread > 0 is needed, not {prior}"
                )
        self.centre = np.log([prior.median for prior in chosen])
        self.spread = np.array([prior.spread for prior in chosen])
        self.low, self.high = (np.log([getattr(prior, end) for prior in chosen]) for end in ("low", "high"))
        self.days = np.asarray(measured.days)
        self.seen = np.asarray(measured.burden) > smallest_mm3
        self.log_measured = np.log(np.maximum(measured.burden, smallest_mm3))

    def _needed(self, priors: Mapping[str, Prior]) -> list[str]:
        needed = [*self.model.parameters[1:], "error"]
        if missing := [name for name in needed if name not in priors]:
            raise GliomaGenError(f"prior of {missing[0]} is missing; {self.model.law} growth needs {needed}")
        return needed

    def best(self) -> Array:
        """Returns the likeliest parameters, (P,), by bounded least squares from several starts; the error is its prior's median.

        Residuals enter squared once: the published code squared them before, and so minimized their fourth powers.
        """
        return np.exp(self._least_squares(self.log_measured, self.centre))

    def bootstrapped(self, count: int, seed: int) -> Array:
        """Returns parameters refitted to perturbed data, (N, P).

        Measurements and priors' medians are both drawn anew, symmetrically in the logarithm (randomized maximum likelihood: Oliver,
        He and Reynolds 1996), so that what data do not tell keeps its prior's width. The published bootstrap multiplied by
        N(1, 0.1) cut off above 1, so that noise could only shrink a tumour.

        Args:
            count: N.
            seed: Of the draws.
        """
        rng = numpy_generator(seed, "bootstrap")
        error = math.exp(self.centre[-1])
        found = []
        for _ in range(count):
            logs = self.log_measured + error * rng.standard_normal(len(self.days)) * self.seen
            centre = self.centre + self.spread * rng.standard_normal(len(self.centre))
            found.append(self._least_squares(logs, np.clip(centre, self.low, self.high)))
        return np.exp(np.stack(found))

    def sampled(self, count: int, seed: int, *, steps: int = 1500) -> Array:
        """Returns draws of the posterior, (N, P), by an affine-invariant ensemble (Goodman and Weare 2010; emcee).

        Args:
            count: N.
            seed: Of the draws.
            steps: Of each walker; the first half is thrown away.
        """
        rng = numpy_generator(seed, "walkers")
        walkers = _WALKERS_PER_PARAMETER * len(self.names)
        middle = np.log(self.best())
        begin = middle + 0.3 * self.spread * rng.standard_normal((walkers, len(middle)))
        edge = 1e-3 * (self.high - self.low)
        begin = np.clip(begin, self.low + edge, self.high - edge)
        sampler = emcee.EnsembleSampler(
            *(walkers, len(middle), self.log_posterior),
            vectorize=True,
            # Walkers far out in a narrow, bent posterior come back by differences, not by stretches alone.
            moves=[(emcee.moves.DEMove(), 0.6), (emcee.moves.StretchMove(), 0.4)],
        )
        sampler.run_mcmc(emcee.State(begin, random_state=numpy_state(seed, "sampler").get_state()), steps)
        chain = sampler.get_chain(discard=steps // 2, thin=_THIN, flat=True)
        return np.exp(chain[rng.permutation(len(chain))[:count]])

    def log_posterior(self, logs: Array) -> Array:
        """Returns the logarithm of the posterior up to a constant, (N,).

        Args:
            logs: (N, P) logarithms of parameters, the error last.
        """
        inside = ((logs >= self.low) & (logs <= self.high)).all(1)
        prior = -0.5 * (((logs - self.centre) / self.spread) ** 2).sum(1)
        error = np.exp(logs[:, -1:])
        apart = (self.log_measured - self._log_burden(logs)) / error
        with np.errstate(invalid="ignore"):
            likelihood = np.where(self.seen, -0.5 * apart**2 - logs[:, -1:], norm.logcdf(apart)).sum(1)
        total = prior + likelihood
        return np.where(inside & np.isfinite(total), total, -np.inf)

    def predictive(self, values: Array, days: Sequence[float] | Array, seed: int) -> Array:
        """Returns measurements to be expected, (N, T): burden times error.

        Args:
            values: (N, P)
            days: (T,)
            seed: Of the errors.
        """
        burden = self.model.burden(values[:, :-1], days)
        noise = numpy_generator(seed, "measurements").standard_normal(burden.shape)
        return np.asarray(burden * np.exp(values[:, -1:] * noise))

    def _log_burden(self, logs: Array) -> Array:
        burden = self.model.burden(np.exp(logs[:, :-1]), self.days)
        return np.log(np.maximum(burden, 1e-12))

    def _least_squares(self, logs: Array, centre: Array) -> Array:
        error = math.exp(self.centre[-1])

        def residuals(free: Array) -> Array:
            apart = (logs - self._log_burden(np.append(free, self.centre[-1])[None])[0]) / error
            apart = np.where(self.seen, apart, np.minimum(apart, 0.0))
            return np.concatenate(
                [np.nan_to_num(apart, neginf=-1e6), (free - centre[:-1]) / self.spread[:-1]]
            )

        edge = 1e-6 * (self.high - self.low)
        begin = np.clip(centre, self.low + edge, self.high - edge)[:-1]
        tried = [begin]
        if "delay" in self.names:  # an answer that comes late looks like none: two valleys
            for shift in (-1.0, 1.0):
                other = begin.copy()
                for name in ("delay", "decay"):
                    k = self.names.index(name)
                    other[k] = np.clip(
                        begin[k] + shift * self.spread[k], self.low[k] + edge[k], self.high[k] - edge[k]
                    )
                tried.append(other)
        found = [
            least_squares(residuals, start, bounds=(self.low[:-1], self.high[:-1]), method="trf")
            for start in tried
        ]
        return np.append(min(found, key=lambda fit: float(fit.cost)).x, self.centre[-1])
