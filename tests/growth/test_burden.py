"""Burden: a forecast is only as good as the system it solves, and as honest as its bands."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from gliomagen.errors import GliomaGenError
from gliomagen.growth.burden import BurdenModel, GrowthLaw, checked_law
from gliomagen.growth.fitting import BurdenFit, Measured, Prior
from gliomagen.growth.forecast import BurdenForecaster

PRIORS = {
    "rate": Prior(median=0.008, spread=0.8, low=0.0005, high=0.2),
    "capacity": Prior(median=150000, spread=0.8, low=5000, high=1e6),
    "survival": Prior(median=0.1, spread=0.8, low=0.001, high=0.9),
    "decay": Prior(median=0.015, spread=0.8, low=0.0005, high=1),
    "delay": Prior(median=30, spread=0.7, low=1, high=300),
    "slope": Prior(median=0.1, spread=1, low=0.001, high=10),
    "error": Prior(median=0.1, spread=0.3, low=0.02, high=0.5),
}
TRUE = {
    "start": 9000.0, "rate": 0.012, "capacity": 80000.0, "survival": 0.2, "decay": 0.03, "delay": 25.0, "slope": 0.15
}  # fmt: skip
LAWS = get_args(GrowthLaw)


def values(model: BurdenModel) -> np.ndarray:
    return np.array([[TRUE[name] for name in model.parameters]])


def solved(model: BurdenModel, days: np.ndarray) -> np.ndarray:
    """Returns burden by a library's stiff solver, piece by piece between courses."""

    def growth(live: float) -> float:
        if model.law == "exponential":
            return TRUE["rate"] * live
        if model.law == "logistic":
            return TRUE["rate"] * live * (1 - live / TRUE["capacity"])
        return TRUE["rate"] * live * float(np.log(TRUE["capacity"] / live))

    def change(t: float, y: np.ndarray) -> list[float]:
        dead = [
            -TRUE["decay"] * np.tanh(TRUE["slope"] * (t - TRUE["delay"] - course)) * y[1 + k]
            for k, course in enumerate(model.courses)
        ]
        return [growth(y[0]), *dead]

    y, at = np.array([TRUE["start"], *[0.0] * len(model.courses)]), model.first_day()
    found = np.zeros(len(days))
    for k, until in enumerate((*model.courses, days[-1] + 1)):
        here = (days >= at) & (days < until)
        if until > at:
            path = solve_ivp(
                change, (at, until), y, method="Radau", rtol=1e-9, atol=1e-9, dense_output=True, max_step=1.0
            )
            found[here] = path.sol(days[here]).sum(0)
            y, at = path.y[:, -1].copy(), until
        if k < len(model.courses):
            y[1 + k] += (1 - TRUE["survival"]) * y[0]
            y[0] *= TRUE["survival"]
    return found


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("courses", [(), (40.0,), (-20.0, 60.0)])
def test_closed_form_is_what_a_stiff_solver_finds(law: GrowthLaw, courses: tuple[float, ...]) -> None:
    model = BurdenModel(law=law, courses=courses)
    days = np.arange(0, 200, 7.0)
    np.testing.assert_allclose(model.burden(values(model), days)[0], solved(model, days), rtol=1e-5)


def test_dying_tissue_first_swells_and_then_goes() -> None:
    """Pseudo-progression is why a burden model is there: a line through the visits would call it growth."""
    model = BurdenModel(law="exponential", courses=(0.0,))
    before, swollen, gone = model.burden(values(model), [0.0, 20.0, 120.0])[0]
    assert swollen > 1.2 * before
    assert gone < 0.7 * swollen


@pytest.mark.parametrize("law", LAWS)
def test_many_good_measurements_give_the_parameters_back(law: GrowthLaw) -> None:
    model = BurdenModel(law=law, courses=(50.0,))
    days = np.arange(0, 300, 6.0)
    burden = model.burden(values(model), days)[0]
    priors = {name: Prior(median=p.median, spread=3.0, low=p.low, high=p.high) for name, p in PRIORS.items()}
    priors["error"] = Prior(median=0.005, spread=0.1, low=0.001, high=0.01)
    fit = BurdenFit(
        measured=Measured(days=tuple(days), burden=tuple(burden), courses=(50.0,)),
        law=law,
        priors=priors,
        smallest_mm3=1,
    )
    found = dict(zip(fit.names, fit.best(), strict=True))
    for name in model.parameters:
        assert found[name] == pytest.approx(TRUE[name], rel=0.1), name


def test_errors_pull_a_forecast_up_as_often_as_down() -> None:
    """The published refits multiplied by at most one, so a tumour could only be made smaller."""
    days = (0.0, 50.0, 100.0)
    model = BurdenModel(law="exponential")
    burden = model.burden(values(model), days)[0]
    fit = BurdenFit(
        measured=Measured(days=days, burden=tuple(burden)), law="exponential", priors=PRIORS, smallest_mm3=30
    )
    best = model.burden(fit.best()[None, :-1], [100.0])[0, 0]
    refitted = model.burden(fit.bootstrapped(80, 0)[:, :-1], [100.0])[:, 0]
    assert 0.35 < (refitted > best).mean() < 0.65


def test_bands_hold_what_comes_about_as_often_as_they_say() -> None:
    """24 patients drawn from the priors; a band that is too narrow or always hits misleads whoever plans with it."""
    rng = np.random.default_rng(0)
    hit, days = [], np.array([0.0, 45, 90, 150])
    for patient in range(24):
        rate = PRIORS["rate"].median * np.exp(PRIORS["rate"].spread * rng.standard_normal())
        truth = 15000 * np.exp(rate * days)
        seen = truth * np.exp(0.1 * rng.standard_normal(4))
        forecaster = BurdenForecaster(priors=PRIORS, law="exponential", draws=200, seed=patient)
        told = forecaster(Measured(days=tuple(days[:3]), burden=tuple(seen[:3])), 150.0)
        low, high = np.quantile(told.measured, (0.05, 0.95))
        hit.append(low <= seen[3] <= high)
    assert 17 <= sum(hit) <= 24


def test_forecast_is_repeatable_and_another_seed_is_another() -> None:
    measured = Measured(days=(0.0, 60.0, 100.0), burden=(8000.0, 11000.0, 15000.0), courses=(30.0,))
    first, again, other = (
        BurdenForecaster(priors=PRIORS, draws=50, seed=seed)(measured, 150.0).measured for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_growth_laws_are_drawn_by_how_well_they_told_the_visits() -> None:
    days = tuple(np.arange(0, 301, 50.0))
    model = BurdenModel(law="gompertz")
    burden = model.burden(np.array([[4000.0, 0.02, 30000.0]]), days)[0]
    forecaster = BurdenForecaster(priors=PRIORS, draws=100)
    told = forecaster(Measured(days=days, burden=tuple(burden)), 350.0)
    shares = told.facts()["growth_laws"]
    assert told.law == next(iter(shares)) != "exponential"
    assert shares.get("exponential", 0) < 0.1 < shares[told.law] and sum(shares.values()) == pytest.approx(1)
    assert told.one_step_ahead["exponential"] > told.one_step_ahead[told.law]
    assert len(told.measured) == len(told.change) == len(told.errors()) == len(told.burdens([0.0])) == 100
    two = forecaster(Measured(days=days[:2], burden=tuple(burden[:2])), 350.0)
    assert two.facts()["growth_laws"] == {"logistic": 1}  # nothing tells them apart


def test_nothing_seen_is_below_what_can_be_seen_and_never_seen_is_refused() -> None:
    measured = Measured(days=(0.0, 60.0), burden=(5000.0, 0.0), courses=(5.0,))
    fit = BurdenFit(measured=measured, law="exponential", priors=PRIORS, smallest_mm3=30)
    assert fit.model.burden(fit.best()[None, :-1], [60.0])[0, 0] < 1500
    with pytest.raises(GliomaGenError, match="nothing to forecast"):
        BurdenFit(
            measured=Measured(days=(0.0,), burden=(0.0,)), law="exponential", priors=PRIORS, smallest_mm3=30
        )


def test_wrong_names_and_priors_are_told_in_one_line() -> None:
    with pytest.raises(GliomaGenError, match="choose among"):
        checked_law("linear")
    with pytest.raises(GliomaGenError, match="sampler"):
        BurdenForecaster(priors=PRIORS, method="guess")
    measured = Measured(days=(0.0,), burden=(900.0,))
    with pytest.raises(GliomaGenError, match="prior of rate is missing"):
        BurdenFit(measured=measured, law="exponential", priors={"error": PRIORS["error"]}, smallest_mm3=30)
    wrong = {**PRIORS, "rate": Prior(median=0.5, spread=0.8, low=0.001, high=0.2)}
    with pytest.raises(GliomaGenError, match="prior of rate"):
        BurdenFit(measured=measured, law="exponential", priors=wrong, smallest_mm3=30)
