"""How a tumour's burden changes: growth laws, and tissue that radiotherapy has killed and that goes with a delay.

The system is that of Laslo et al. 2025 (LMID workshop at MICCAI). At the beginning of a course the live pool keeps the surviving
fraction S, the rest dies:

    dL/dt = growth of L        dD/dt = -decay tanh(slope (t - delay - course)) D

so a dying pool first swells (pseudo-progression), then shrinks. Burden is L plus all D. Here every course has a dying pool of its
own, growth may slow down as the tumour fills a capacity K, and everything is solved exactly: all parts have closed forms, so that
steep slopes cost nothing and no tolerance is chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..errors import GliomaGenError

Array = NDArray[np.float64]
GrowthLaw = Literal["exponential", "logistic", "gompertz"]
"""dL/dt: rate L; rate L (1 - L / K); rate L log(K / L)."""

TREATED = ("survival", "decay", "delay", "slope")
"""Parameters that only patients with a course have."""


def checked_law(law: str) -> GrowthLaw:
    """Returns the law of that name.

    Raises:
        GliomaGenError: There is none.
    """
    if law not in get_args(GrowthLaw):
        raise GliomaGenError(f"growth law '{law}' is not known; choose among {list(get_args(GrowthLaw))}")
    return law  # type: ignore[return-value]


@dataclass(frozen=True, kw_only=True)
class BurdenModel:
    """Burden over time for given parameters, each of which is positive.

    Attributes:
        law: Growth of the live pool.
        courses: Days on which radiotherapy begins, rising; negative ones lie before day 0.
    """

    law: GrowthLaw
    courses: tuple[float, ...] = ()

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names, in the order of the last axis.

        ``start`` mm³, ``rate`` 1/day, ``capacity`` mm³ (not exponential), and with a course ``survival`` 0 to 1, ``decay`` 1/day,
        ``delay`` days, ``slope`` 1/day.
        """
        own = ("start", "rate") if self.law == "exponential" else ("start", "rate", "capacity")
        return own + (TREATED if self.courses else ())

    def first_day(self) -> float:
        """Returns the day on which burden is ``start``: day 0, or the first course if that is earlier."""
        return min((0.0, *self.courses))

    def burden(self, values: Array, days: Sequence[float] | Array) -> Array:
        """Returns burden in mm³, (N, T).

        Args:
            values: (N, P) parameters, see :attr:`parameters`.
            days: (T,), none before :meth:`first_day`.
        """
        told = dict(zip(self.parameters, np.asarray(values, np.float64).T, strict=True))  # each (N,)
        when = np.asarray(days, np.float64)
        live, since = told["start"], self.first_day()
        total = np.zeros((len(live), len(when)))
        with np.errstate(over="ignore"):  # a runaway is infinite, and no fit
            for course in (*self.courses, np.inf):
                here = (when >= since) & (when < course)
                total[:, here] += self._grown(live, when[here] - since, told)
                if np.isinf(course):
                    break
                live = self._grown(live, np.array([course - since]), told)[:, 0]
                after = when >= course
                killed = live * (1 - told["survival"])
                total[:, after] += killed[:, None] * _decayed(when[after] - course, told)
                live, since = live * told["survival"], course
        return total

    def _grown(self, live: Array, days: Array, told: Mapping[str, Array]) -> Array:
        """Returns the live pool after some days without a course, (N, T)."""
        live = live[:, None]
        if self.law == "exponential":
            return np.asarray(live * np.exp(told["rate"][:, None] * days))
        capacity, fallen = told["capacity"][:, None], np.exp(-told["rate"][:, None] * days)
        if self.law == "logistic":
            return np.asarray(capacity * live / (live + (capacity - live) * fallen))
        return np.asarray(capacity * (live / capacity) ** fallen)


def _decayed(days: Array, told: Mapping[str, Array]) -> Array:
    """Returns what share of a dying pool is there some days after its course, (N, T).

    The integral of tanh is log cosh.
    """
    decay, delay, slope = (told[name][:, None] for name in ("decay", "delay", "slope"))
    return np.asarray(np.exp(-decay / slope * (_log_cosh(slope * (days - delay)) - _log_cosh(slope * delay))))


def _log_cosh(x: Array) -> Array:
    """Returns log(cosh(x)), also where cosh overflows."""
    return np.asarray(np.abs(x) + np.log1p(np.exp(-2 * np.abs(x))) - np.log(2.0))
